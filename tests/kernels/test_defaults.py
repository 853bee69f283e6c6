"""What PyTorch allocates by default is none of the kernels' business: they write float32 where their inputs are."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
import torch
from cases import forced, random_codes, random_graph

from gnnq_lib.datasets import load_dataset
from gnnq_lib.experiments.training import Graph
from gnnq_lib.kernels import (
    IntegerFeatures,
    PackedClassifier,
    PropagationGraph,
    PropagationPlan,
    RowQuantizer,
    TwoLayerWeights,
    available_isas,
    linear,
    neighbour_sum,
    score_difference,
    score_difference_backward,
    search,
    spmm,
    two_layer,
)
from gnnq_lib.kernels.native import large_empty
from gnnq_lib.models import DecoupledClassifier, Method, ModelOptions
from gnnq_lib.quantizers import calibration


def _calls() -> dict:
    """Every kernel on small inputs of its own, nothing laid out yet."""
    generator = torch.Generator().manual_seed(0)
    graph, codes = random_graph(generator, 20, 20, 90), random_codes(generator, 20, 6, 2)
    ones, rows = torch.ones(20), torch.randn(20, 6, generator=generator)
    places = torch.randint(0, 20, (30,), generator=generator)
    feature_codes = torch.randint(0, 3, (90,), generator=generator).to(torch.int8)
    features = IntegerFeatures(graph, ones, feature_codes)
    weight = random_codes(generator, 6, 3, 2)
    weights = TwoLayerWeights(codes, ones[:6], ones[:6], weight, ones[:3], ones[:3], RowQuantizer(0.1, 2, 3))
    propagation = PropagationGraph(graph, ones, ones, ones)
    queries = torch.randint(-9, 9, (4, 20), generator=generator).to(torch.int8)
    classifier = PackedClassifier(features, weights, propagation, PropagationPlan(2, 1.0, [0.1], [0.1]))
    return {
        "score_difference": lambda: score_difference(rows, places),
        "score_difference_backward": lambda: score_difference_backward(rows, places, ones[:10]),
        "neighbour_sum": lambda: neighbour_sum(graph, rows),
        "spmm": lambda: spmm(graph, codes),
        "spmm to floats": lambda: spmm(graph, codes, scale=0.5),
        "linear": lambda: linear(codes, weight, scale=0.5),
        "search": lambda: torch.cat(search(codes, queries, ones[:6], ones[:6], ones[:4], k=3)),
        "two_layer": lambda: two_layer(features, weights),
        "classifier": classifier,
        "large_empty": lambda: large_empty(2, 3).fill_(1.0),
    }


@contextmanager
def _default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


DEFAULTS = {
    "float64": lambda: _default_dtype(torch.float64),
    "bfloat16": lambda: _default_dtype(torch.bfloat16),
    "meta": lambda: torch.device("meta"),  # stands for "cuda": memory that the compiled kernels cannot write to
}


@pytest.mark.parametrize("method", list(Method))
def test_models_are_float32_under_another_default(method):
    def logits():
        graph = Graph(load_dataset("digits", split="random"))
        torch.manual_seed(0)
        model = DecoupledClassifier(64, 10, graph.operator, ModelOptions(num_layers=2, hidden=8, method=method))
        with torch.no_grad(), calibration(model):
            return model(graph.features, graph.operator)

    wanted = logits()
    with _default_dtype(torch.float64):
        found = logits()
    assert found.dtype == torch.float32 and torch.equal(found, wanted)


@pytest.mark.parametrize("name", _calls())
@pytest.mark.parametrize("default", DEFAULTS)
@pytest.mark.parametrize("isa", available_isas())
def test_defaults_change_nothing(name, default, isa):
    with forced(isa):
        wanted, call = _calls()[name](), _calls()[name]
        with DEFAULTS[default]():
            found = call()
    assert found.dtype == wanted.dtype and found.device == wanted.device and torch.equal(found, wanted)
