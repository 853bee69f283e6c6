"""Small graphs of every feature kind, and models whose scales have moved off their starting values."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gnnq_lib.datasets import csbm_graph, digits_graph
from gnnq_lib.datasets.node_dataset import unsplit
from gnnq_lib.datasets.splits import random_split_per_class
from gnnq_lib.experiments.training import Graph, evaluate
from gnnq_lib.models import DecoupledClassifier, Method, ModelOptions
from gnnq_lib.propagation import Smp

ISOLATED = 3  # nodes of the binary graph that have no edge


def _binary(seed: int = 0, num_nodes: int = 90, classes: int = 5) -> Graph:
    """A bag-of-words graph: words and edges favour the own class; the first nodes have no edge, one has no word."""
    rng = np.random.default_rng(seed)
    labels = np.arange(num_nodes) % classes
    words = rng.random((num_nodes, 24)) < np.where(labels[:, None] == np.arange(24) % classes, 0.3, 0.08)
    words[-1] = False
    ends = rng.integers(ISOLATED, num_nodes, (2, 6 * num_nodes))
    kept = (labels[ends[0]] == labels[ends[1]]) | (rng.random(ends.shape[1]) < 0.2)
    data = unsplit("words", words.astype(np.float32), ends[:, kept], labels, "generated")
    return Graph(data.with_split(random_split_per_class(data.labels, 0, 4, 4), "random", 0))


@pytest.fixture(scope="session")
def graphs() -> dict[str, Graph]:
    """Digits (grey values: graded), a block model (signed) and bags of words (binary, with isolated nodes)."""
    csbm = csbm_graph(num_nodes=300, num_features=16)
    return {
        "digits": Graph(digits_graph()),
        "csbm": Graph(csbm),
        "words": _binary(),
        "other words": _binary(seed=1, num_nodes=70),
        "three classes": _binary(seed=2, classes=3),  # one bit per exponent, two octaves apart
    }


@pytest.fixture(scope="session")
def make_model(graphs):
    """`make_model("words", bits=2)`: a classifier that has seen its graph once; deterministic."""

    def make(name: str, bits: int = 2, *, scheme=None, layers: int = 3, run: bool = True, **options):
        graph = graphs[name]
        torch.manual_seed(0)
        scheme = Smp(use_multiplier=False) if scheme is None else scheme
        options = ModelOptions(scheme, layers, 16, method=Method.NODE_POW2, num_bits=bits, **options)
        model = DecoupledClassifier(graph.features.num_features, graph.dataset.num_classes, graph.operator, options)
        with torch.no_grad():
            for parameter in (model.bias1, model.bias2):
                parameter.normal_(0, 0.1)
        if run:
            evaluate(model, graph)
            # As training leaves them: scales of every layer differ and are no round numbers.
            with torch.no_grad():
                for number, (_, parameter) in enumerate(sorted(model.named_parameters())):
                    parameter.mul_(1 + 0.01 * (number % 7))
        return model

    return make
