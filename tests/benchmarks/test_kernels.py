"""The kernel benchmark: its table on small cases, its graph, its arithmetic."""

from __future__ import annotations

import pytest
import torch

from gnnq_lib.benchmarks import kernels
from gnnq_lib.benchmarks.kernels import (
    FeatureCase,
    KernelBench,
    LinearCase,
    SpmmCase,
    power_law_graph,
    run,
    sweep,
)
from gnnq_lib.benchmarks.timing import interleaved_medians
from gnnq_lib.errors import InputError


def test_table_has_every_path_and_true_ratios():
    cases = (SpmmCase("generated-200-1000", 16), LinearCase(32, 16, 8), FeatureCase(40, 30, 5, 16))
    rows = run(KernelBench(cases=cases, bits=(2, 8), rounds=1))
    assert {row["bench"] for row in rows} == {"spmm", "linear", "feature"}
    for case in {row["case"] for row in rows}:
        table = [row for row in rows if row["case"] == case]
        full = [row for row in table if row["path"] == "fp32"]
        best = min(row["median_ms"] for row in full)
        by_torch = min(row["median_ms"] for row in full if row["variant"] != kernels.OURS)
        for row in table:
            assert row["speedup_vs_torch_fp32"] == pytest.approx(by_torch / row["median_ms"])
            assert row["speedup_vs_best_fp32"] == pytest.approx(best / row["median_ms"])
            assert row["gb_per_s"] == pytest.approx(row["bytes"] / row["median_ms"] / 1e6)
    ours = {row["bench"] for row in rows if row["variant"] == kernels.OURS}
    assert ours == {"spmm", "feature"}
    peers = [row for row in rows if row["bench"] == "spmm" and row["path"] == "peer"]
    assert {row["bits"] for row in peers} == {2, 8}


def test_bytes_by_hand():
    rows = run(KernelBench(cases=(SpmmCase("generated-100-400", 16),), bits=(2,), rounds=1))
    packed = next(row for row in rows if row["variant"] == "normalised")
    # 101 pointers of 4 bytes, 400 edges of 4 + 4 bytes, results of 100 x 16 x 4, 100 scales of 4
    assert packed["bytes"] == 101 * 4 + 400 * 8 + 6400 + 400


def has_both_directions(graph):
    row, col = graph.edge_rows, graph.col.long()
    return torch.equal((row * graph.num_rows + col).sort()[0], (col * graph.num_rows + row).sort()[0])


def test_power_law_graph_is_symmetric_and_skewed():
    graph = power_law_graph(2000, 20_000)
    assert has_both_directions(graph)
    assert graph.max_degree > 10 * 10


@pytest.mark.parametrize(("nodes", "edges", "exponent"), [(0, 2, 2.5), (5, 3, 2.5), (5, 4, 2.0)])
def test_bad_graph_sizes_are_named(nodes, edges, exponent):
    with pytest.raises(InputError, match="accepted are at least 1 node"):
        power_law_graph(nodes, edges, exponent)


@pytest.mark.parametrize("case", ["generated-x-2", "generated-10", "generated-10-20-3", "generated-0-2", "generated-"])
def test_bad_sizes_in_a_case_are_named(case):
    with pytest.raises(InputError, match=f"case '{case}' given; generated-NODES-EDGES, whole numbers from 1 each, is"):
        run(KernelBench(cases=(SpmmCase(case, 16),), rounds=1))


def test_unknown_variant_is_named():
    with pytest.raises(InputError, match="'fast' given"):
        run(KernelBench(cases=(SpmmCase("generated-100-400", 16, ("fast",)),), rounds=1))


def test_sweep_holds_the_limit():
    rows = sweep(edges=(1000, 2000), widths=(8, 16), bits=(2,), rounds=1)
    assert {(row["edges"], row["width"]) for row in rows} == {(1000, 128), (2000, 128), (1000, 8), (1000, 16)}
    assert all(row["limit_gb_per_s"] > 0 for row in rows)


def test_calls_take_turns():
    order = []
    interleaved_medians({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, rounds=2)
    shape = "".join(order)
    assert shape.strip("a").strip("b")  # both appear between the other's turns
    with pytest.raises(InputError, match="rounds=0"):
        interleaved_medians({}, rounds=0)


@pytest.mark.parametrize("name", kernels._SIZES)
def test_default_graphs_have_both_directions_of_every_edge(name):
    graph = kernels._graph(name, seed=0)
    assert (graph.num_rows, graph.num_edges) == kernels._SIZES[name] and has_both_directions(graph)
