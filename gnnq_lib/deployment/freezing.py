"""From the simulated classifier to the packed one: the same codes, stored as integers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import torch
from torch import Tensor

from gnnq_lib.deployment.header import SCHEMES, PackedHeader
from gnnq_lib.deployment.packed_model import PackedModel, fingerprint, layer_multipliers
from gnnq_lib.errors import InputError
from gnnq_lib.experiments.training import Graph
from gnnq_lib.models import STAGES, DecoupledClassifier, Method
from gnnq_lib.propagation import MessagePlacement, Smp, Trajectory
from gnnq_lib.quantizers import NodePowerOfTwo
from gnnq_lib.quantizers.packing import SUPPORTED_BITS, pack


def freeze(model: DecoupledClassifier, graph: Graph, config: Mapping[str, object] | None = None) -> PackedModel:
    """Pack a trained classifier; its logits on integer kernels are those of the simulated model.

    Args:
        model: trained with method node_pow2, all stages quantized, 1, 2, 4 or 8 bits.
        graph: the graph it was trained on; SMP's multipliers are measured there and stored.
        config: settings of the run, kept in the header (anything JSON can hold).

    Raises:
        InputError: another method, stage set, width or scheme, or a model that never ran.
    """
    _check(model, graph)
    header = _header(model, graph, dict(config or {}))
    _check_ready(model, header)
    tensors = {**_weights(model, graph), "scales": _scales(model, header)}
    if header.has_multipliers:
        tensors["multipliers"] = _multipliers(model, graph)
    return PackedModel(header, tensors)


def _check(model: DecoupledClassifier, graph: Graph) -> None:
    if not isinstance(model, DecoupledClassifier):
        raise InputError(f"a {type(model).__name__} was given to pack; a DecoupledClassifier is accepted.")
    options, scheme = model.options, model.options.scheme
    if options.method is not Method.NODE_POW2 or options.num_bits not in SUPPORTED_BITS:
        raise InputError(
            f"a model of method {options.method.value} with {options.num_bits} bits was given to pack; "
            "method node_pow2 with 1, 2, 4 or 8 bits is accepted."
        )
    missing = [stage for stage in STAGES if stage not in options.stages]
    if missing:
        raise InputError(f"a model whose {missing[0]} are not quantized was given to pack; quantize all stages.")
    if options.placement is not MessagePlacement.NODE:
        raise InputError("a model that quantizes messages per edge was given to pack; placement node is accepted.")
    if type(scheme) not in SCHEMES.values():
        raise InputError(f"a model with {type(scheme).__name__} was given to pack; Smp and Appnp are accepted.")
    if isinstance(scheme, Smp) and scheme.use_multiplier and scheme.gap_term:
        raise InputError("SMP with gap_term=True was given to pack; gap_term=False is accepted.")
    if graph.features.num_features != model.weight1.shape[0]:
        raise InputError(
            f"a graph of {graph.features.num_features} features was given for a model of {model.weight1.shape[0]}; "
            "give the graph it was trained on."
        )


def _header(model: DecoupledClassifier, graph: Graph, config: dict) -> PackedHeader:
    options, propagated, hidden = model.options, model.propagation.features, model.hidden_quantizer
    return PackedHeader(
        dataset=graph.dataset.name,
        bits=options.num_bits,
        num_features=model.weight1.shape[0],
        hidden=model.weight1.shape[1],
        num_classes=model.weight2.shape[1],
        num_layers=options.num_layers,
        feature_kind=graph.features.kind.value,
        scheme=next(name for name, kind in SCHEMES.items() if type(options.scheme) is kind),
        scheme_settings=dataclasses.asdict(options.scheme),
        exponent_bits=propagated.exponent_bits,
        stride=propagated.stride,
        ratio=propagated.ratio,
        hidden_exponent_bits=hidden.exponent_bits,
        hidden_ratio=hidden.ratio,
        class_names=list(getattr(graph.dataset, "class_names", ())),
        trained_graph=fingerprint(graph),
        config=config,
    )


@torch.no_grad()
def _weights(model: DecoupledClassifier, graph: Graph) -> dict[str, Tensor]:
    low = model.low_bit_features(graph.features)
    first = model.weight1 if low.column_scale is None else model.weight1 * low.column_scale[:, None]
    tensors = {}
    for number, weight, bias in (("1", first, model.bias1), ("2", model.weight2, model.bias2)):
        quantizer = model.weight_quantizers[int(number) - 1]
        quantized = quantizer(weight)
        codes = (quantized.values + quantizer.levels) / 2
        tensors[f"weight{number}"] = pack(codes.to(torch.uint8), quantizer.num_bits)
        tensors[f"columns{number}"] = torch.stack([quantized.scale[0], bias])
    if low.column_scale is not None:
        tensors["column_scale"] = low.column_scale.clone()
    return tensors


@torch.no_grad()
def _scales(model: DecoupledClassifier, header: PackedHeader) -> Tensor:
    return torch.stack([quantizer.scale for quantizer in _row_quantizers(model, header)])


def _row_quantizers(model: DecoupledClassifier, header: PackedHeader) -> list[NodePowerOfTwo]:
    """The quantizers of activations, in the order of the packed scales."""
    layers = [quantizer for stage in header.stages for quantizer in getattr(model.propagation, stage)]
    return [model.hidden_quantizer, model.propagation.features, *layers]


def _check_ready(model: DecoupledClassifier, header: PackedHeader) -> None:
    if not all(bool(quantizer.ready) for quantizer in (*model.weight_quantizers, *_row_quantizers(model, header))):
        raise InputError("a model that never ran was given to pack, so its scales are not set; train it first.")


@torch.no_grad()
def _multipliers(model: DecoupledClassifier, graph: Graph) -> Tensor:
    trajectory = Trajectory()
    training = model.training
    model.eval()
    model(graph.features, graph.operator, trajectory)
    model.train(training)
    return layer_multipliers(model.options.scheme, trajectory)
