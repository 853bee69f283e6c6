"""Energy over layers: how alike neighbours become, layer by layer, in a trained model (paper A, motivation of SMP).

Two measures of every layer's embeddings (see `propagation.smoothness`): the Dirichlet energy trace(H^T L H) / |H|^2 and
the mean average distance. Models that propagate class scores are measured on rows without their mean: adding the same
number to all classes of a node changes nothing, and low-bit scores are kept up to it. A GCN's hidden rows stay as they
are; its last layer holds class scores, so the last but one is reported, too.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field, ValidationInfo, field_validator

from gnnq_lib.experiments.config import ExperimentConfig, make_config
from gnnq_lib.experiments.node_classification import Config as ClassifierConfig
from gnnq_lib.experiments.node_classification import fit
from gnnq_lib.experiments.store import Measurement
from gnnq_lib.models import DecoupledClassifier, Method
from gnnq_lib.propagation import Trajectory, dirichlet_energy, mean_average_distance

REPORTED_LAYERS = (0, 1, 2, 4, 8, 16, 32, 64)
MODELS = ("gcn", "pairnorm", "gcnii", "dagnn", "smp", "appnp", "emp")


class Config(ExperimentConfig):
    """Everything that decides a run; all else is the model's recipe (see `node_classification`).

    Attributes:
        dataset, split, split_seed: see `load_dataset`.
        model: whose layers are measured.
        method, bits: its quantizers; bits is 32 for fp32.
        num_layers: depth.
        multiplier: SMP with its multiplier, without which its base step is APPNP.
        epochs: None takes the recipe's, for a low-bit model and its full-precision start.

    Example:
        >>> make_config(Config, {"experiment": "demo"}).num_layers
        32
    """

    dataset: str = "cora"
    split: Literal["public", "random", "given"] = "public"
    split_seed: int = 0
    model: Literal[MODELS] = "smp"  # type: ignore[valid-type]
    method: Literal[tuple(m.value for m in Method)] = "fp32"  # type: ignore[valid-type]
    bits: int = Field(default=32, validate_default=True)
    num_layers: int = Field(default=32, ge=1, le=256)
    multiplier: bool = False
    epochs: int | None = Field(default=None, ge=1)

    @field_validator("bits")
    @classmethod
    def _bits(cls, bits: int, info: ValidationInfo) -> int:
        full = info.data.get("method") == "fp32"
        if full != (bits == 32) or not (full or 2 <= bits <= 8):
            raise ValueError("32 is accepted for method 'fp32', 2 to 8 for the others")
        return bits


def run_one(config: Config) -> list[Measurement]:
    """Energy and distance after 0 (what is propagated), 1, 2, 4, ... and all layers, and the test accuracy.

    Example:
        >>> settings = {"experiment": "t", "dataset": "csbm", "split": "random", "num_layers": 2, "epochs": 2}
        >>> [m.metric for m in run_one(make_config(Config, settings))][:2]
        ['dirichlet_energy@0', 'mean_average_distance@0']
    """
    values = config.model_dump(exclude={"profile"})
    model, history, graph = fit(make_config(ClassifierConfig, {**values, "teacher_epochs": config.epochs}))
    kept = Trajectory()
    with torch.no_grad():
        model.eval()(graph.features, graph.operator, kept)
    layers = range(config.num_layers + 1)[-len(kept.embeddings) :]  # a GCN propagates nothing before its first layer
    reported = {*REPORTED_LAYERS, config.num_layers, *([] if 0 in layers else [config.num_layers - 1])}
    rows = []
    for layer, embedding in zip(layers, kept.embeddings, strict=True):
        if layer not in reported:
            continue
        if isinstance(model, DecoupledClassifier):
            embedding = embedding - embedding.mean(dim=1, keepdim=True)
        energy = dirichlet_energy(embedding, graph.operator, relative=True)
        rows.append(Measurement(f"dirichlet_energy@{layer}", energy))
        rows.append(Measurement(f"mean_average_distance@{layer}", mean_average_distance(embedding, graph.operator)))
    rows.append(Measurement("test_accuracy", history.test_accuracy[history.best_epoch], "%"))
    return [Measurement(row.metric, row.value, row.unit, source=graph.dataset.source) for row in rows]
