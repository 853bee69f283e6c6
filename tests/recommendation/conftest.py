"""Small fixed data for the recommendation tests."""

from __future__ import annotations

import pytest

from gnnq_lib.datasets.interactions import RatingSplit, UserItems, split_interactions
from gnnq_lib.datasets.interactions_generated import power_law_interactions
from gnnq_lib.recommendation.bipartite import BipartiteGraph


@pytest.fixture(scope="session")
def split() -> RatingSplit:
    """60 users, 50 items, generated."""
    return split_interactions(power_law_interactions(num_users=60, num_items=50, per_user=12))


@pytest.fixture(scope="session")
def graph(split) -> BipartiteGraph:
    """The graph of the training part."""
    return BipartiteGraph(split.train)


@pytest.fixture(scope="session")
def tiny() -> UserItems:
    """Four users, four items: user 3 and item 3 are isolated."""
    return UserItems([0, 0, 1, 2, 2], [0, 1, 1, 1, 2], 4, 4)
