"""Small graphs with their dense matrices, in float64: what the sparse operators are compared with."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from gnnq_lib.propagation import GraphOperator


@dataclass(frozen=True)
class Dense:
    """One graph twice: `operator` under test, and A + I, A_hat, L and B from their definitions."""

    edge_index: Tensor
    operator: GraphOperator
    adjacency: Tensor
    normalised: Tensor
    laplacian: Tensor
    incidence: Tensor

    @property
    def num_nodes(self) -> int:
        return self.adjacency.shape[0]


def _dense(edges: list[tuple[int, int]], num_nodes: int) -> Dense:
    adjacency = torch.eye(num_nodes, dtype=torch.float64)
    for i, j in edges:
        adjacency[i, j] = adjacency[j, i] = 1
    degree = adjacency.sum(dim=1)
    normalised = adjacency / (degree[:, None] * degree[None, :]).sqrt()
    incidence = torch.zeros(len(edges), num_nodes, dtype=torch.float64)
    for row, (i, j) in enumerate(sorted(edges)):
        incidence[row, i], incidence[row, j] = degree[i] ** -0.5, -(degree[j] ** -0.5)
    both = [*edges, *((j, i) for i, j in edges)]
    edge_index = torch.tensor(both, dtype=torch.long).reshape(-1, 2).t()
    laplacian = torch.eye(num_nodes, dtype=torch.float64) - normalised
    return Dense(edge_index, GraphOperator(edge_index, num_nodes), adjacency, normalised, laplacian, incidence)


GRAPHS = {
    "one_node": ([], 1),
    "no_edges": ([], 4),
    "pair": ([(0, 1)], 2),
    "star": ([(0, i) for i in range(1, 6)], 6),
    "path_and_isolated": ([(0, 1), (1, 2), (2, 3)], 6),
}


@pytest.fixture(params=[*GRAPHS, "random_1", "random_2"])
def graph(request) -> Dense:
    """Every graph in turn."""
    if request.param in GRAPHS:
        return _dense(*GRAPHS[request.param])
    return _random(int(request.param[-1]), 15)


@pytest.fixture
def random_graph():
    """random_graph(seed, num_nodes): edges with probability 0.2, the last node isolated."""
    return _random


def _random(seed: int, num_nodes: int = 20) -> Dense:
    chosen = torch.rand(num_nodes, num_nodes, generator=torch.Generator().manual_seed(seed)) < 0.2
    chosen[:, -1] = False
    edges = [(i, j) for i in range(num_nodes) for j in range(i + 1, num_nodes) if chosen[i, j]]
    return _dense(edges, num_nodes)
