"""The training benchmark: its dense peer computes what the sparse model computes, only more slowly."""

from __future__ import annotations

import pytest
import torch

from gnnq_lib.benchmarks.training import DenseFeatures, DenseOperator, TrainingBench, _DenseModel, run
from gnnq_lib.errors import InputError
from gnnq_lib.experiments import make_config
from gnnq_lib.experiments.node_classification import Config, build_model, load_graph, resolve
from gnnq_lib.models.features import FeatureMatrix
from gnnq_lib.propagation import GraphOperator

RELEASED = {"method": "bt_star", "bits": 2, "start": "scratch", "placement": "edge", "multiplier": True}
EDGES = torch.tensor([[0, 0, 0, 1, 2, 3, 2, 3], [1, 2, 3, 0, 0, 0, 3, 2]])


def test_dense_operator_is_the_sparse_one():
    dense, sparse = DenseOperator(EDGES, 5), GraphOperator(EDGES, 5)  # node 4 is isolated
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(dense.normalised(x), sparse.normalised(x))
    torch.testing.assert_close(dense.edge_weight, sparse.edge_weight)
    assert dense.num_entries == sparse.num_entries == 13


def test_dense_features_are_the_sparse_ones():
    raw = torch.tensor([[1.0, 0.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]])
    dense, sparse, weight = DenseFeatures(raw), FeatureMatrix(raw), torch.arange(8.0).view(4, 2)
    torch.testing.assert_close(dense.product(weight), sparse.product(weight))
    torch.testing.assert_close(dense.product_with_values(weight, dense.values), sparse.product(weight))
    assert dense.values.shape == (3, 4) and dense.implicit_zeros == 0


@pytest.mark.parametrize("released", [False, True], ids=lambda v: f"as_released={v}")
def test_dense_and_sparse_models_agree(released):
    """On features without zeros to store, the peer differs from the sparse model in how it computes, not in what."""
    graph = load_graph("digits", "random")
    base = {"experiment": "t", "dataset": "digits", "split": "random", "num_layers": 2, "as_released": released}
    model = build_model(resolve(make_config(Config, {**base, **RELEASED})), graph).eval()
    operator = DenseOperator(graph.dataset.edge_index, graph.dataset.num_nodes)
    with torch.no_grad():
        sparse = model(graph.features, graph.operator)
        dense = _DenseModel(model)(DenseFeatures(graph.dataset.features), operator)
    # A value that rounds to another code may differ by a step; hardly any does.
    assert ((sparse - dense).abs() < 1e-4).float().mean() > 0.99


def test_rows_say_what_was_timed():
    rows = run(TrainingBench("digits", "random", num_layers=1, rounds=1, epochs=2))
    assert [row["variant"] for row in rows] == ["dense, as released", "sparse", "sparse, full training"]
    assert all(row["median_ms"] > 0 and row["path"].startswith("simulated") for row in rows)
    assert rows[0]["speedup_vs_dense"] == 1.0 and rows[2]["seconds"] > 0


@pytest.mark.parametrize("values", [{"rounds": 0}, {"epochs": 0}], ids=str)
def test_nothing_to_time_is_refused(values):
    with pytest.raises(InputError, match="1 or more are accepted"):
        TrainingBench(**values)
