"""Every check on a graph, and the form that comes out."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings

from gnnq_lib.datasets.node_dataset import undirected, unsplit
from gnnq_lib.errors import InputError

EDGES = np.array([[0, 1, 1, 3], [1, 0, 2, 3]])
LABELS = np.array([0, 1, 0, 1])


def build(features=None, edges=EDGES, labels=LABELS):
    features = np.arange(8.0).reshape(4, 2) if features is None else features
    return unsplit("toy", features, edges, labels, "by hand")


def test_by_hand():
    graph = build()
    assert graph.edge_index.tolist() == [[0, 1, 1, 2], [1, 0, 2, 1]]
    assert (graph.num_nodes, graph.num_edges, graph.num_features, graph.num_classes) == (4, 4, 2, 2)
    assert graph.features.layout == torch.sparse_csr
    assert graph.features.dtype == torch.float32
    assert graph.features.to_dense().tolist() == [[0, 1], [2, 3], [4, 5], [6, 7]]


def test_sparse_and_dense_features_agree():
    dense = np.array([[0, 1.5], [0, 0], [2, 0], [0, 0]])
    for form in (sp.csr_matrix, sp.coo_matrix, sp.csc_matrix):
        assert torch.equal(build(form(dense)).features.to_dense(), torch.tensor(dense, dtype=torch.float32))


def test_features_are_copied():
    matrix = sp.csr_matrix(np.eye(4, dtype=np.float32))
    graph = build(matrix)
    matrix.data[:] = 7
    assert graph.features.values().tolist() == [1, 1, 1, 1]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=30))
def test_undirected_is_symmetric_unique_loopless_and_sorted(pairs):
    edges = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    result = [tuple(edge) for edge in undirected(edges, 7).T.tolist()]
    assert result == sorted({(a, b) for a, b in pairs if a != b} | {(b, a) for a, b in pairs if a != b})


@pytest.mark.parametrize("edges", [np.zeros((2, 0), dtype=np.int64), np.zeros(0), np.array([[2], [2]])])
def test_no_edges_and_isolated_nodes_are_valid(edges):
    assert build(edges=edges).edge_index.shape == (2, 0)


def test_constant_and_zero_features_are_valid():
    assert build(np.zeros((4, 3))).features.to_dense().abs().sum() == 0


BAD = {
    "nan": ({"features": np.array([[0, 0], [0, np.nan], [0, 0], [0, 0]])}, "1 feature value.* NaN .* node 1"),
    "infinity": ({"features": sp.csr_matrix([[0, 0], [0, 0], [np.inf, 0], [0, 0]])}, "NaN or infinite.* node 2"),
    "overflow": ({"features": np.full((4, 1), 1e300)}, "infinite as 32-bit floats"),
    "words": ({"features": np.full((4, 1), "a")}, "matrix of numbers"),
    "rows": ({"features": np.zeros((3, 2))}, r"shape \(3, 2\)"),
    "no columns": ({"features": np.zeros((4, 0))}, r"shape \(4, 0\)"),
    "edge too large": ({"edges": np.array([[0, 1], [1, 4]])}, "edge 1 joins nodes 1 and 4; node numbers from 0 to 3"),
    "edge negative": ({"edges": np.array([[0], [-1]])}, "edge 0 joins nodes 0 and -1"),
    "edge floats": ({"edges": np.array([[0.5], [1]])}, "whole numbers"),
    "edge shape": ({"edges": np.array([[0, 1, 2]])}, "two rows"),
    "class without nodes": ({"labels": np.array([0, 2, 0, 2])}, "no node has class 1"),
    "one class": ({"labels": np.zeros(4, dtype=int)}, "1 class.*at least 2"),
    "labels below -1": ({"labels": np.array([0, 1, -2, 0])}, "a label is -2"),
    "labels floats": ({"labels": np.array([0.0, 1, 0, 1])}, "one whole number per node"),
    "empty graph": ({"labels": np.zeros(0, dtype=int)}, "no nodes"),
    "one node": ({"labels": np.zeros(1, dtype=int)}, "one node"),
    "no labels at all": ({"labels": np.full(4, -1)}, r"0 class"),
}


@pytest.mark.parametrize(("change", "message"), BAD.values(), ids=BAD)
def test_bad_input_is_named(change, message):
    with pytest.raises(InputError, match=message):
        build(**change)


def test_describe_and_pyg():
    graph = build().with_split(tuple(torch.eye(4, dtype=torch.bool)[:3]), "random", 5)
    assert "toy: 4 nodes, 4 edges" in graph.describe()
    assert "random split (seed 5) 1/1/1; from by hand" in graph.describe()
    data = graph.to_pyg()
    assert data.num_nodes == 4 and data.x.shape == (4, 2) and data.train_mask[0]
    assert graph.to_pyg(dense=False).x.layout == torch.sparse_csr
