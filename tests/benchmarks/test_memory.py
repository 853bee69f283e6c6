"""Peak memory of a training epoch, on sizes of a test."""

from __future__ import annotations

import pytest
import torch

from gnnq_lib.benchmarks.memory import MemoryCase, generated_graph, peak_rss_bytes, run
from gnnq_lib.errors import InputError

SMALL = {"num_nodes": 300, "num_edges": 2000, "width": 4, "num_layers": 2}


def test_a_small_run_is_measured_in_a_process_of_its_own():
    result = run(MemoryCase(method="qlr", **SMALL))
    assert 2**26 < result.peak_bytes < 2**32 and result.seconds > 0
    assert 0.9 * 2000 < result.edges <= 2000 and not result.recompute


def test_the_peak_does_not_fall():
    before = peak_rss_bytes()
    block = torch.ones(2**25)  # 128 MiB
    assert peak_rss_bytes() >= before
    del block


def test_the_graph_has_the_asked_sizes():
    graph = generated_graph(MemoryCase(**SMALL))
    assert (graph.num_nodes, graph.num_features, graph.num_classes) == (300, 4, 4)


@pytest.mark.parametrize(
    ("values", "message"),
    [({"width": 1}, "width=1"), ({"width": 200}, "width=200"), ({"bits": 9}, "bits is 9"), ({"method": "x"}, "'x'")],
    ids=lambda v: str(v),
)
def test_wrong_cases_are_refused_before_a_process_starts(values, message):
    with pytest.raises(InputError, match=message):
        run(MemoryCase(**{**SMALL, **values}))
