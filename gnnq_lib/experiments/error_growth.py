"""Error growth runs: how far quantized propagation strays from full precision, layer by layer (paper A).

A model trained in full precision gives the scores; they are propagated once exactly and once with a method's quantizers
at every stage. The quantizers are set up on these scores and not trained, so that the numbers are about quantization
and propagation alone. See `propagation.error_bound` for the bound.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from scipy.stats import spearmanr

from gnnq_lib.experiments.config import ExperimentConfig, make_config
from gnnq_lib.experiments.node_classification import Config as ClassifierConfig
from gnnq_lib.experiments.node_classification import fit
from gnnq_lib.experiments.seeding import seed_everything
from gnnq_lib.experiments.store import Measurement
from gnnq_lib.models import STAGES, Method, MethodOptions
from gnnq_lib.propagation import Appnp, PropagationQuantizers, Route, Trajectory, full_precision_quantizers
from gnnq_lib.propagation.error_bound import centred_norm, error_bound, measured_error, rounding_errors

REPORTED_LAYERS = (1, 2, 4, 8, 16, 32, 64)


class Config(ExperimentConfig):
    """Everything that decides a run.

    Attributes:
        dataset, split, split_seed: see `load_dataset`.
        model: fixed; SMP's base step is APPNP, and the bound covers it.
        method, bits: of every quantizer of the propagation.
        teleport: share of the input mixed in at every layer; 0.1 is SMP's base step at the released settings.
        num_layers: depth.
        epochs: of the full-precision model; None takes the recipe's.

    Example:
        >>> make_config(Config, {"experiment": "demo"}).num_layers
        64
    """

    dataset: str = "cora"
    split: Literal["public", "random", "given"] = "public"
    split_seed: int = 0
    model: Literal["smp"] = "smp"
    method: Literal[tuple(m.value for m in Method if m is not Method.FP32)] = "qlr"  # type: ignore[valid-type]
    bits: int = Field(default=2, ge=2, le=8)
    teleport: float = Field(default=0.1, ge=0, le=1)
    num_layers: int = Field(default=64, ge=1, le=256)
    epochs: int | None = Field(default=None, ge=1)


def run_one(config: Config) -> list[Measurement]:
    """Relative error and bound after 1, 2, 4, ... layers, the largest share of the bound reached after any, and the
    rank correlation of a node's degree and its error after one layer.

    Example:
        >>> settings = {"experiment": "t", "dataset": "csbm", "split": "random", "num_layers": 2, "epochs": 2}
        >>> tiny = make_config(Config, settings)
        >>> sorted({m.metric for m in run_one(tiny)})[:2]
        ['degree_correlation', 'largest_error_over_bound']
    """
    shared = ("experiment", "seed", "device", "dataset", "split", "split_seed", "epochs")
    full = {name: getattr(config, name) for name in shared}
    model, _, graph = fit(make_config(ClassifierConfig, {**full, "method": "fp32", "bits": 32}))
    model.eval()
    with torch.no_grad():
        scores = model.predict(graph.features)
    scheme, operator = Appnp(config.teleport), graph.operator
    exact = Trajectory()
    scheme(scores, operator, full_precision_quantizers(config.num_layers), trajectory=exact)
    options = MethodOptions(Method(config.method), config.bits, STAGES, operator.degree, scores.shape[1])
    seed_everything(config.seed)
    quantizers = PropagationQuantizers(options.propagation_quantizer, config.num_layers).to(scores.device)
    errors = rounding_errors(scheme, scores, operator, quantizers, Route(options.coordinates))
    measured = measured_error(errors, exact.embeddings)
    bounds = error_bound(errors, scheme.coefficients)
    sizes = [centred_norm(embedding) for embedding in exact.embeddings]
    first = errors.embeddings[1] - exact.embeddings[1]
    first = (first - first.mean(dim=1, keepdim=True)).norm(dim=1)
    rows = [
        Measurement("degree_correlation", float(spearmanr(operator.degree.cpu(), first.cpu()).statistic)),
        Measurement("largest_error_over_bound", max(e / b for e, b in zip(measured[1:], bounds[1:]) if b > 0)),
    ]
    for layer in (layer for layer in REPORTED_LAYERS if layer <= config.num_layers):
        rows.append(Measurement(f"relative_error@{layer}", measured[layer] / sizes[layer]))
        rows.append(Measurement(f"relative_bound@{layer}", bounds[layer] / sizes[layer]))
    return [Measurement(row.metric, row.value, source=graph.dataset.source) for row in rows]
