"""How long an epoch of INT2 SMP takes: our sparse training beside a dense implementation of the released scheme.

The dense peer keeps what makes the released code slow (fact sheet A, 3.1 and fault 7) and nothing else: A_hat as a
dense |V| x |V| matrix built three times per forward, its non-zeros counted in every layer, messages quantized once per
edge, six range-tracking quantizers per layer, the change trace(G^T L G) through the dense matrix. It leaves out the
released code's kurtosis and skewness of every stage. Both run in float32 (simulated low bit), in one process, taking
turns.
"""

from __future__ import annotations

import itertools
import statistics
import time
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gnnq_lib.benchmarks.kernels import describe_machine
from gnnq_lib.errors import InputError
from gnnq_lib.experiments.config import make_config
from gnnq_lib.experiments.node_classification import Config, build_model, load_graph, resolve
from gnnq_lib.experiments.training import Graph, TrainingOptions, train
from gnnq_lib.models.features import FeatureMatrix
from gnnq_lib.propagation import GraphOperator

EPOCHS_IN_A_TURN = 3


@dataclass(frozen=True)
class TrainingBench:
    """What is timed.

    Attributes:
        dataset, split: see `load_dataset`.
        num_layers: K.
        rounds: turns that each side takes; each is a few epochs.
        epochs: length of the full training that is timed at the end.

    Example:
        >>> TrainingBench().num_layers
        10
    """

    dataset: str = "cora"
    split: str = "public"
    num_layers: int = 10
    rounds: int = 3
    epochs: int = 200

    def __post_init__(self) -> None:
        if self.rounds < 1 or self.epochs < 1:
            raise InputError(f"rounds={self.rounds}, epochs={self.epochs} were given; 1 or more are accepted.")


class DenseOperator(GraphOperator):
    """`GraphOperator` that works through dense |V| x |V| matrices, as the released code does.

    Example:
        >>> pair = torch.tensor([[0, 1], [1, 0]])
        >>> x = torch.tensor([[1.0], [3.0]])
        >>> torch.equal(DenseOperator(pair, 2).normalised(x), GraphOperator(pair, 2).normalised(x))
        True
    """

    def start_forward(self) -> None:
        """Build the matrix anew, three times, as every forward of the released code does."""
        for _ in range(3):
            self._dense = torch.zeros(self.num_nodes, self.num_nodes)
            self._dense[self.row, self.col] = (self.inv_sqrt_degree[self.row] * self.inv_sqrt_degree[self.col])[:, 0]

    @property
    def num_entries(self) -> int:
        """Non-zeros, counted in the dense matrix."""
        return int(torch.count_nonzero(self._matrix()))

    @property
    def edge_weight(self) -> Tensor:
        """Entries of A_hat, read from the dense matrix."""
        return self._matrix()[self.row, self.col]

    def normalised(self, x: Tensor) -> Tensor:
        """A_hat x by a dense product."""
        return self._matrix() @ x

    def _matrix(self) -> Tensor:
        if not hasattr(self, "_dense"):
            self.start_forward()
        return self._dense


class DenseFeatures(FeatureMatrix):
    """`FeatureMatrix` that keeps and multiplies every entry, zeros too, as the released code does.

    Example:
        >>> DenseFeatures(torch.tensor([[1.0, 0.0, 1.0]])).product(torch.ones(3, 1)).tolist()
        [[1.0]]
    """

    def __init__(self, features: Tensor) -> None:
        super().__init__(features)
        self.values = self.csr(self.values).to_dense()

    @property
    def implicit_zeros(self) -> int:
        """None: all are stored."""
        return 0

    def product(self, weight: Tensor, values: Tensor | None = None) -> Tensor:
        """X W by a dense product."""
        return (self.values if values is None else values) @ weight

    def product_with_values(self, weight: Tensor, values: Tensor) -> Tensor:
        """X W, differentiable in both."""
        return values @ weight


class _DenseModel(nn.Module):
    """The model, with the dense matrices built at every forward."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, features: object, operator: DenseOperator) -> Tensor:
        operator.start_forward()
        return self.model(features, operator)


def run(bench: TrainingBench = TrainingBench()) -> list[dict]:
    """Time both; returns one row per variant with the columns of the other benchmarks, times in ms per epoch.

    An epoch is one gradient step and one evaluation of all nodes.

    Example:
        >>> rows = run(TrainingBench("digits", "random", num_layers=1, rounds=1, epochs=1))
        >>> [row["variant"] for row in rows]
        ['dense, as released', 'sparse', 'sparse, full training']
    """
    graph = load_graph(bench.dataset, bench.split)
    dense_graph = _dense(graph)
    released = {"method": "bt_star", "start": "scratch", "placement": "edge", "multiplier": True, "as_released": True,
                "dropout_first": True}  # fmt: skip
    ours = {"method": "node_pow2", "start": "scratch"}
    dense = _DenseModel(build_model(_config(bench, **released), dense_graph))
    sparse = build_model(_config(bench, **ours), graph)
    times: dict[str, list[float]] = {"dense": [], "sparse": []}
    for _ in range(bench.rounds):
        times["dense"] += _epoch_times(dense, dense_graph, EPOCHS_IN_A_TURN)
        times["sparse"] += _epoch_times(sparse, graph, EPOCHS_IN_A_TURN)
    median = {name: statistics.median(values) for name, values in times.items()}
    fresh = build_model(_config(bench, **ours), graph)
    start = time.perf_counter()
    train(fresh, graph, TrainingOptions(epochs=bench.epochs))
    total = time.perf_counter() - start
    rows = [
        _row(bench, "dense, as released", 1e3 * median["dense"], 1.0),
        _row(bench, "sparse", 1e3 * median["sparse"], median["dense"] / median["sparse"]),
        {**_row(bench, "sparse, full training", 1e3 * total / bench.epochs, None), "seconds": round(total, 2)},
    ]
    return [{**row, **describe_machine()} for row in rows]


def _config(bench: TrainingBench, **settings: object) -> Config:
    base = {"experiment": "bench_training", "dataset": bench.dataset, "split": bench.split}
    return resolve(make_config(Config, {**base, "num_layers": bench.num_layers, "bits": 2, **settings}))


def _dense(graph: Graph) -> Graph:
    dense = Graph(graph.dataset)
    dense.features = DenseFeatures(graph.dataset.features)
    dense.operator = DenseOperator(graph.dataset.edge_index, graph.dataset.num_nodes)
    return dense


def _epoch_times(model: nn.Module, graph: Graph, epochs: int) -> list[float]:
    """Seconds of each epoch but the first, which also sets up quantizers and optimizer."""
    stamps: list[float] = []
    train(model, graph, TrainingOptions(epochs=epochs + 1), probe=lambda _: stamps.append(time.perf_counter()))
    return [after - before for before, after in itertools.pairwise(stamps)]


def _row(bench: TrainingBench, variant: str, milliseconds: float, speedup: float | None) -> dict:
    return {
        "bench": "training",
        "case": f"{bench.dataset} K={bench.num_layers}",
        "variant": variant,
        "bits": 2,
        "path": "simulated (float32)",
        "median_ms": round(milliseconds, 2),
        "speedup_vs_dense": None if speedup is None else round(speedup, 2),
    }
