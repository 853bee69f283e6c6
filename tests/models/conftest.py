"""Small graphs for the models' tests."""

from __future__ import annotations

import pytest

from gnnq_lib.datasets import csbm_graph, random_split
from gnnq_lib.experiments.training import Graph


@pytest.fixture(scope="session")
def tiny() -> Graph:
    """60 nodes, 3 classes, 8 signed features."""
    data = csbm_graph(num_nodes=60, num_classes=3, num_features=8, average_degree=4)
    return Graph(data.with_split(random_split(data.labels, 0, 5, 15, 30), "random", 0))
