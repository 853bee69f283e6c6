"""The whole packed classifier in one call: equal to its parts and to its twin, in several threads; what it refuses."""

from __future__ import annotations

import threading

import pytest
import torch
from cases import BITS, COMPILED, forced, random_codes, random_graph
from hypothesis import given, settings
from hypothesis import strategies as st

from gnnq_lib.errors import InputError
from gnnq_lib.kernels import (
    IntegerFeatures,
    PackedClassifier,
    PropagationGraph,
    PropagationPlan,
    RowQuantizer,
    TwoLayerWeights,
    available_isas,
    propagate,
    torch_classify,
    two_layer,
)


def random_classifier(
    seed: int,
    nodes: int,
    classes: int,
    bits: int = 2,
    steps: int = 3,
    limit: int = 1,
    exponents: int = 4,
    hidden: int = 64,
) -> PackedClassifier:
    """Features with codes below `limit` (1: none), a graph of six edges per node with isolated ones, K = `steps`."""
    generator = torch.Generator().manual_seed(seed)
    pattern = random_graph(generator, nodes, 40, 7 * nodes)
    codes = None if limit == 1 else torch.randint(0, limit, (pattern.num_edges,), generator=generator).to(torch.int8)
    features = IntegerFeatures(pattern, torch.rand(nodes, generator=generator), codes)
    weights = TwoLayerWeights(
        random_codes(generator, 40, hidden, bits), torch.rand(hidden, generator=generator), torch.randn(hidden),
        random_codes(generator, hidden, classes, bits), torch.rand(classes, generator=generator), torch.randn(classes),
        RowQuantizer(0.05, bits, 8, gamma=0.8),
    )  # fmt: skip
    graph = random_graph(generator, nodes, nodes, 6 * (nodes - nodes % 3), hub=True)
    degree = graph.degree.clamp(min=1).float()
    plan = PropagationPlan(
        bits, 0.3, [0.2] * steps, [0.1] * steps, num_exponents=exponents, aggregate_weight=0.9, input_weight=0.1
    )
    return PackedClassifier(features, weights, PropagationGraph(graph, 1 / degree, degree.rsqrt(), degree.sqrt()), plan)


@st.composite
def classifiers(draw):
    """Sizes around the kernels' own: rows of 4, 8, 16 and more columns, states of 8, 16 and 32 bits."""
    return random_classifier(
        draw(st.integers(0, 2**31)),
        draw(st.sampled_from([1, 2, 15, 16, 17, 70, 300])),
        draw(st.one_of(st.integers(1, 57), st.sampled_from([64, 70, 257]))),
        draw(BITS),
        draw(st.integers(0, 3)),
        draw(st.sampled_from([1, 2, 4, 128])),
        draw(st.sampled_from([1, 4, 8])),
        draw(st.sampled_from([3, 64, 100])),
    )


@pytest.mark.parametrize("isa", COMPILED)
@settings(max_examples=60, deadline=None)
@given(classifier=classifiers())
def test_equals_the_twin_bit_for_bit(isa, classifier):
    with forced(isa):
        result = classifier()
    assert torch.equal(result, torch_classify(classifier))


@pytest.mark.parametrize("isa", available_isas())
def test_is_its_parts_one_after_the_other(isa):
    classifier = random_classifier(0, 200, 7)
    with forced(isa):
        scores = two_layer(classifier.features, classifier.weights)
        assert torch.equal(classifier(), propagate(classifier.graph, scores, classifier.plan))


@pytest.mark.parametrize("isa", available_isas())
def test_writes_into_what_is_given(isa):
    classifier = random_classifier(1, 50, 5)
    out = torch.full((50, 5), 7.0)
    with forced(isa):
        assert classifier(out) is out
    assert torch.equal(out, torch_classify(classifier))
    with pytest.raises(InputError, match="shape"):
        classifier(torch.empty(50, 4))


def test_serves_threads_that_call_it_first_at_the_same_moment():
    for seed in range(10):
        classifier = random_classifier(seed, 3000, 7)
        expected, wrong, together = torch_classify(classifier), [], threading.Barrier(4)

        def work(classifier=classifier, expected=expected, wrong=wrong, together=together):
            together.wait()
            wrong.extend(turn for turn in range(5) if not torch.equal(classifier(), expected))

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong


@pytest.mark.parametrize("isa", COMPILED)
def test_thread_count_does_not_matter(isa):
    classifier, before = random_classifier(3, 4000, 15), torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            with forced(isa):
                assert torch.equal(classifier(), torch_classify(classifier))
    finally:
        torch.set_num_threads(before)


def test_works_in_inference_mode():
    with torch.inference_mode():
        classifier = random_classifier(4, 30, 3)
        assert torch.equal(classifier(), torch_classify(classifier))


def test_parts_must_fit():
    small, large = random_classifier(5, 20, 3), random_classifier(5, 21, 3)
    with pytest.raises(InputError, match="features of 20 nodes"):
        PackedClassifier(small.features, small.weights, large.graph, small.plan)
    with pytest.raises(InputError, match="PropagationPlan"):
        PackedClassifier(small.features, small.weights, small.graph, None)
    with pytest.raises(InputError, match="TwoLayerWeights"):
        PackedClassifier(small.features, None, small.graph, small.plan)
