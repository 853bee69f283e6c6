"""Graphs that need no download: scikit-learn's digits as a nearest-neighbour graph, and generated graphs."""

from __future__ import annotations

import numpy as np

from gnnq_lib.datasets.node_dataset import NodeDataset, unsplit
from gnnq_lib.errors import InputError


def digits_graph(num_neighbors: int = 10) -> NodeDataset:
    """Handwritten digits (1,797 images of 8 x 8 grey values 0-16) as a nearest-neighbour graph, not yet split.

    Each image is joined to its `num_neighbors` nearest images by Euclidean distance of the grey values; an edge found
    from one side counts for both.

    Args:
        num_neighbors: neighbours per image, from 1.

    Raises:
        InputError: if `num_neighbors` is out of range.

    Example:
        >>> digits_graph().num_nodes
        1797
    """
    from sklearn.datasets import load_digits
    from sklearn.neighbors import kneighbors_graph

    digits = load_digits()
    if not 1 <= num_neighbors < len(digits.target):
        raise InputError(f"num_neighbors is {num_neighbors}; a number from 1 to {len(digits.target) - 1} is accepted")
    graph = kneighbors_graph(digits.data, num_neighbors).tocoo()
    edges = np.stack([graph.row, graph.col]).astype(np.int64)
    return unsplit("digits", digits.data, edges, digits.target.astype(np.int64), "scikit-learn")


def csbm_graph(
    num_nodes: int = 2000,
    num_classes: int = 4,
    num_features: int = 64,
    average_degree: float = 10.0,
    homophily: float = 0.8,
    signal: float = 1.5,
    seed: int = 0,
) -> NodeDataset:
    """A contextual stochastic block model: classes shape both the edges and the features; not yet split.

    Each edge starts at a uniformly drawn node; with probability `homophily` it ends in the same class, otherwise in
    another one. Features are `signal` times a random unit vector of the class plus standard normal noise divided by
    sqrt(num_features), so `signal` is the ratio of class signal to noise in length.

    Args:
        num_nodes: N, at least twice `num_classes`.
        num_classes: number of equally large classes, from 2.
        num_features: F.
        average_degree: expected edges per node before duplicates and self-loops are dropped.
        homophily: share of edges inside a class, 0 to 1.
        signal: length of the class vectors, from 0.
        seed: of the generated graph.

    Raises:
        InputError: if a parameter is out of range.

    Example:
        >>> csbm_graph(num_nodes=100).num_classes
        4
    """
    accepted = {
        f"num_classes ({num_classes}) from 2": num_classes >= 2,
        f"num_nodes ({num_nodes}) from twice num_classes": num_nodes >= 2 * num_classes,
        f"num_features ({num_features}) from 1": num_features >= 1,
        f"average_degree ({average_degree}) from 0": 0 <= average_degree < np.inf,
        f"homophily ({homophily}) from 0 to 1": 0 <= homophily <= 1,
        f"signal ({signal}) from 0": 0 <= signal < np.inf,
    }
    if wrong := [rule for rule, holds in accepted.items() if not holds]:
        raise InputError(f"csbm accepts {wrong[0]}; change it")
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(num_nodes) % num_classes)
    members = [np.flatnonzero(labels == label) for label in range(num_classes)]

    num_edges = round(num_nodes * average_degree / 2)
    sources = rng.integers(num_nodes, size=num_edges)
    other = (labels[sources] + rng.integers(1, num_classes, size=num_edges)) % num_classes
    target_class = np.where(rng.random(num_edges) < homophily, labels[sources], other)
    sizes = np.array([len(group) for group in members])
    within = (rng.random(num_edges) * sizes[target_class]).astype(np.int64)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    targets = np.concatenate(members)[starts[target_class] + within]

    directions = rng.standard_normal((num_classes, num_features))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    noise = rng.standard_normal((num_nodes, num_features)) / np.sqrt(num_features)
    return unsplit("csbm", signal * directions[labels] + noise, np.stack([sources, targets]), labels, "generated")
