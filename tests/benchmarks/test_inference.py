"""The inference benchmark: its paths compute the same scores, its table is complete, its arithmetic."""

from __future__ import annotations

import pytest
import torch

from gnnq_lib.benchmarks import inference
from gnnq_lib.benchmarks.inference import AS_RELEASED, InferenceBench, generated_graph, run
from gnnq_lib.errors import InputError
from gnnq_lib.models import Method

SMALL = "generated-200-1000-3"


@pytest.mark.parametrize("multiplier", [False, True], ids=lambda v: f"multiplier={v}")
def test_full_precision_paths_compute_the_model(multiplier):
    graph = generated_graph(150, 900, 40, 6, 4)
    config = InferenceBench(num_layers=3, multiplier=multiplier)
    with torch.no_grad():
        model = inference._model(graph, config, Method.FP32, 32)
        if multiplier:  # the benchmark holds the multiplier where it starts
            for rate in ("eta_lambda", "eta_s"):
                object.__setattr__(model.options.scheme, rate, 0.0)
        expected = model(graph.features, graph.operator)
        fp32 = inference._Fp32(graph, model, config)
        assert {"neighbour_sum", "embedding_bag, unweighted"} <= {*fp32.first} & {*fp32.step_names}
        for first in fp32.first:
            for step in fp32.step_names:
                torch.testing.assert_close(fp32.logits(first, step), expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(inference._as_released(graph, fp32, 0).run(), expected, rtol=1e-4, atol=1e-5)


def test_packed_path_is_the_simulated_model():
    graph, config = generated_graph(150, 900, 40, 6, 4), InferenceBench(num_layers=3)
    with torch.no_grad():
        model = inference._model(graph, config, Method.NODE_POW2, 2)
        packed = inference._packed_calls(graph, config, 2)[0].run()
        assert torch.equal(packed, model(graph.features, graph.operator))


def test_table_has_every_path_and_true_ratios():
    rows = run(InferenceBench((SMALL,), bits=(2, 8), rounds=1, num_layers=2, compiled=False, stages=True))
    whole = [row for row in rows if row["bench"] == "inference"]
    full = [row for row in whole if row["path"] == "fp32"]
    best = min(row["median_ms"] for row in full)
    by_torch = min(row["median_ms"] for row in full if "neighbour_sum" not in row["variant"])
    released = next(row["median_ms"] for row in full if row["variant"] == AS_RELEASED)
    assert {row["bits"] for row in whole} == {2, 8, 32}
    for row in whole:
        assert row["speedup_vs_best_fp32"] == pytest.approx(best / row["median_ms"])
        assert row["speedup_vs_torch_fp32"] == pytest.approx(by_torch / row["median_ms"])
        assert row["speedup_vs_fp32_as_released"] == pytest.approx(released / row["median_ms"])
        assert row["gb_per_s"] == pytest.approx(row["bytes"] / row["median_ms"] / 1e6)
    stages = [row for row in rows if row["bench"] == "inference stage"]
    assert {row["variant"] for row in stages} == {"two linear layers", "propagation"}
    assert all(row["speedup_vs_best_fp32"] is None for row in stages)


def test_a_path_that_does_not_compile_is_said_so(monkeypatch):
    from torch._dynamo.exc import Unsupported

    def broken():
        raise Unsupported("no such operator")

    monkeypatch.setattr(torch, "compile", lambda function: broken)
    rows = run(InferenceBench((SMALL,), bits=(), rounds=1, num_layers=1))
    row = next(row for row in rows if row["variant"].startswith("torch.compile"))
    assert "does not work here (no such operator)" in row["variant"]
    assert row["median_ms"] is None


def test_bad_settings_are_named():
    with pytest.raises(InputError, match="rounds=0"):
        run(InferenceBench((SMALL,), rounds=0))
    with pytest.raises(InputError, match="neither a data set"):
        run(InferenceBench(("nowhere",)))
    for case in ("generated-x-2-3", "generated-10-20"):
        with pytest.raises(InputError, match=f"case '{case}' given; generated-NODES-EDGES-CLASSES, whole numbers"):
            run(InferenceBench((case,)))
