"""The packed classifier: codes, scales and biases that the integer kernels run on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from gnnq_lib.deployment.header import PackedHeader
from gnnq_lib.errors import InputError
from gnnq_lib.experiments.training import Graph
from gnnq_lib.kernels import (
    CSRGraph,
    IntegerFeatures,
    PackedClassifier,
    PropagationGraph,
    PropagationPlan,
    RowQuantizer,
    TwoLayerWeights,
    two_layer,
)
from gnnq_lib.models.features import FeatureMatrix
from gnnq_lib.propagation import Coordinates, PropagationQuantizers, Route, Smp, Trajectory
from gnnq_lib.quantizers import NodePowerOfTwo
from gnnq_lib.quantizers.packing import PackedCodes
from gnnq_lib.tensor_files import check_tensors

_LARGEST_ENTRY = 127  # of a stored feature in one int8


@dataclass(frozen=True, eq=False)
class PackedModel:
    """A classifier in packed integers; made by `freeze` or `load_packed`.

    Attributes:
        header: sizes, settings, origin.
        tensors: as `PackedHeader.layout` says.

    Raises:
        InputError: a tensor that is missing, left over, of another shape or dtype, or not finite.
    """

    header: PackedHeader
    tensors: dict[str, Tensor]

    def __post_init__(self) -> None:
        check_tensors(self.tensors, self.header.layout())
        self._check_positive("scales", self.tensors["scales"])
        self._check_positive("column_scale", self.tensors.get("column_scale", torch.ones(1)))
        # The kernels' own checks of scales and sums, now rather than at the first call.
        _ = self.weights, self._plan(self.tensors.get("multipliers"))

    @staticmethod
    def _check_positive(name: str, values: Tensor) -> None:
        if not bool((values > 0).all()):
            raise InputError(f"tensor {name} holds a number that is not above 0; scales above 0 are accepted.")

    def logits(self, graph: Graph) -> Tensor:
        """Class scores of every node, float32 (N, C), on integer kernels.

        Args:
            graph: the trained graph, or another one with features of the same kind and number.

        Raises:
            InputError: features of another kind or number.
        """
        return self.prepare(graph)()

    def prepare(self, graph: Graph) -> PackedClassifier:
        """The model laid out for one graph, checked once: call the result for class scores, as often as wanted."""
        features = self._integer_features(graph.features)
        operator = graph.operator
        propagation = PropagationGraph(
            CSRGraph(operator.row_ptr, operator.col),
            operator.inv_degree[:, 0].contiguous(),
            operator.inv_sqrt_degree[:, 0].contiguous(),
            operator.sqrt_degree[:, 0].contiguous(),
        )
        return PackedClassifier(features, self.weights, propagation, self._plan(self._multipliers(graph, features)))

    @cached_property
    def weights(self) -> TwoLayerWeights:
        """The two linear layers."""
        header, tensors = self.header, self.tensors
        half_step1, bias1 = tensors["columns1"]
        half_step2, bias2 = tensors["columns2"]
        return TwoLayerWeights(
            PackedCodes(tensors["weight1"], header.bits, header.hidden),
            half_step1.clone(),
            bias1.clone(),
            PackedCodes(tensors["weight2"], header.bits, header.num_classes),
            half_step2.clone(),
            bias2.clone(),
            RowQuantizer(float(tensors["scales"][0]), header.bits, 2**header.hidden_exponent_bits, header.hidden_ratio),
        )

    @property
    def _layer_scales(self) -> dict[str, list[float]]:
        """Scales of every stage of the propagation, one per layer."""
        table = self.tensors["scales"][2:].view(len(self.header.stages), self.header.num_layers)
        return dict(zip(self.header.stages, table.tolist()))

    def _plan(self, multipliers: Tensor | None) -> PropagationPlan:
        header, scales = self.header, self._layer_scales
        scheme = header.make_scheme()
        keep, spread, inject = scheme.coefficients
        gaps = {}
        if multipliers is not None:
            gaps = {
                "gap_coefficients": (2 * scheme.eta_h * multipliers).tolist(),
                "gap_scales": scales["gap_messages"],
                "gap_aggregate_scales": scales["gap_aggregates"],
            }
        return PropagationPlan(
            header.bits,
            float(self.tensors["scales"][1]),
            scales["aggregates"],
            scales["updates"],
            num_exponents=2**header.exponent_bits,
            gamma=header.ratio,
            stride=header.stride,
            state_weight=keep,
            aggregate_weight=spread,
            input_weight=inject,
            **gaps,
        )

    def _integer_features(self, features: FeatureMatrix) -> IntegerFeatures:
        header = self.header
        if features.num_features != header.num_features or features.kind.value != header.feature_kind:
            raise InputError(
                f"{features.num_features} {features.kind.value} features given; this model takes "
                f"{header.num_features} {header.feature_kind} ones, as in {header.dataset}."
            )
        low = features.low_bit(header.bits, self.tensors.get("column_scale"))
        pattern = CSRGraph(features.row_ptr, features.col, features.num_features)
        row_scale = low.row_scale[:, 0].contiguous()
        if low.num_bits == 1:
            return IntegerFeatures(pattern, row_scale)
        return IntegerFeatures(*_split_large_codes(pattern, row_scale, low.codes.to(torch.int32)))

    def _multipliers(self, graph: Graph, features: IntegerFeatures) -> Tensor | None:
        """Lambda of each layer: stored for the trained graph, from a simulated run for another."""
        if not self.header.has_multipliers:
            return None
        if fingerprint(graph) == self.header.trained_graph:
            return self.tensors["multipliers"]
        trajectory, scheme = Trajectory(), self.header.make_scheme()
        scores = two_layer(features, self.weights)
        with torch.no_grad():
            scheme(scores, graph.operator, self._simulated_quantizers(), Route(Coordinates.MEAN), trajectory)
        return layer_multipliers(scheme, trajectory)

    def _simulated_quantizers(self) -> PropagationQuantizers:
        """The propagation's quantizers as the simulated model has them."""
        header, scales = self.header, self._layer_scales
        quantizers = PropagationQuantizers(
            lambda stage: _GivenScale(header.bits, header.exponent_bits, ratio=header.ratio, stride=header.stride),
            header.num_layers,
            with_gap=True,
        )
        quantizers.features.given = self.tensors["scales"][1]
        for stage in header.stages:
            for quantizer, scale in zip(getattr(quantizers, stage), scales[stage], strict=True):
                quantizer.given = torch.tensor(scale)
        return quantizers


class _GivenScale(NodePowerOfTwo):
    """A quantizer with a scale as it was stored: through the logarithm of one, the last bit could be lost."""

    given: Tensor

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.ready.fill_(True)

    @property
    def scale(self) -> Tensor:
        """The shared scale, shape ()."""
        return self.given


def layer_multipliers(scheme: Smp, trajectory: Trajectory) -> Tensor:
    """The multiplier that each layer worked with, float32 (K,): a trajectory holds those after each layer.

    Example:
        >>> layer_multipliers(Smp(multiplier_start=0.5), Trajectory(multiplier=[1.0, 2.0])).tolist()
        [0.5, 1.0]
    """
    return torch.tensor([scheme.multiplier_start, *trajectory.multiplier][: len(trajectory.multiplier)])


def fingerprint(graph: Graph) -> str:
    """Sixteen hexadecimal digits that stand for a graph's edges and features."""
    features, operator = graph.features, graph.operator
    digest = hashlib.sha256()
    for tensor in (operator.row_ptr, operator.col, features.row_ptr, features.col, features.raw):
        digest.update(str(tuple(tensor.shape)).encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _split_large_codes(pattern: CSRGraph, row_scale: Tensor, codes: Tensor) -> tuple[CSRGraph, Tensor, Tensor]:
    """Codes above 127 as several entries at the same place (255 = 127 + 127 + 1): sums stay what they are."""
    parts = torch.div(codes.abs() + _LARGEST_ENTRY - 1, _LARGEST_ENTRY, rounding_mode="floor").clamp(min=1).long()
    ends = parts.cumsum(0)
    entry = torch.repeat_interleave(torch.arange(codes.numel()), parts)
    taken = _LARGEST_ENTRY * (torch.arange(entry.numel()) - (ends - parts)[entry])
    pieces = codes.sign()[entry] * (codes.abs()[entry] - taken).clamp(max=_LARGEST_ENTRY)
    row_ptr = torch.cat([ends.new_zeros(1), ends])[pattern.row_ptr]
    return CSRGraph(row_ptr, pattern.col[entry], pattern.num_cols), row_scale, pieces.to(torch.int8)
