"""The report's figures: drawn from stored rows, left out without them."""

from __future__ import annotations

import pandas as pd
import pytest

from gnnq_lib.plotting import FIGURES, report
from gnnq_lib.reporting.results import Results
from tests.reporting.test_rules import bench, runs


@pytest.fixture
def stored(monkeypatch):
    def put(rows=(), **benches):
        monkeypatch.setattr(report.Results, "stored", classmethod(lambda cls: Results.of(list(rows), **benches)))

    return put


EVERY = [name for name, draw in FIGURES.items() if draw.__module__ == report.__name__]


@pytest.mark.parametrize("name", EVERY)
def test_left_out_without_results(stored, name):
    stored()
    assert FIGURES[name](pd.DataFrame()) is None


def test_speedups_have_the_papers_lines(stored):
    stored(inference=bench(6.0, 4.0, 5.2))
    drawing = report.inference_speedups(pd.DataFrame())
    (axes,) = drawing.axes
    assert 5.11 in [line.get_xdata()[0] for line in axes.lines]
    names = [label.get_text().split("\n")[0] for label in axes.get_yticklabels()]
    assert names == ["PubMed", "Coauthor CS", "generated graph"]
    assert " ".join(drawing.get_suptitle().split()).endswith("the paper's factors are reached in 2 of 3 cases")


def test_error_figure_states_the_growth(stored):
    rows = []
    for layer, value in ((8, 0.50), (64, 0.55)):
        for teleport, factor in ((0.1, 1.0), (0.0, 2.0 if layer == 64 else 1.0)):
            values = [value * factor - 0.02, value * factor + 0.02]
            rows += runs("paper_error_growth", values, f"relative_error@{layer}", method="qlr", teleport=teleport)
    stored(rows)
    drawing = report.error_over_layers(pd.DataFrame())
    assert " ".join(drawing.get_suptitle().split()) == (
        "The error at 64 layers is with teleport at most 1.10 times and without at most 2.20 times that at 8 "
        "(Cora, INT2, n = 2)"
    )
    with_teleport, without = drawing.axes[0].containers
    assert with_teleport.get_label() == "QLR" and without.has_yerr


def test_depth_figure_tells_smp_from_the_worst_with_the_runs(stored):
    rows = []
    for model, deep in (("gcn", 30.0), ("smp", 84.0)):
        for layers, value in ((2, 80.0), (64, deep)):
            values = [value] if model == "gcn" else [value, value + 1]
            rows += runs("paper_depth_cora_baselines", values, model=model, method="fp32", bits=32, num_layers=layers)
    stored(rows)
    drawing = report.depth_of_all_models(pd.DataFrame())
    assert " ".join(drawing.get_suptitle().split()) == (
        "At 64 layers SMP has 84.5 % in FP32; GCN has 30.0 % in FP32 (Cora, n = 1 to 2)"
    )
    above, below = drawing.axes
    assert above.get_ylim()[0] == below.get_ylim()[1] and below.get_ylim()[0] < 30 < below.get_ylim()[1]


def test_depth_figure_waits_for_a_second_model(stored):
    stored(runs("paper_depth_cora_baselines", [30.0], model="gcn", method="fp32", bits=32, num_layers=64))
    assert report.depth_of_all_models(pd.DataFrame()) is None


def test_depth_figure_has_a_panel_for_int2_with_depths_of_its_own(stored):
    rows = []
    for model, method, bits, layers in (
        ("gcn", "fp32", 32, 64), ("smp", "fp32", 32, 64), ("gcn", "node_pow2", 2, 32), ("smp", "node_pow2", 2, 64)
    ):  # fmt: skip
        table = "depth" if model == "smp" else f"paper_depth_cora_{'baselines' if bits == 32 else 'int2'}"
        value = 80.0 + layers / 32 - (0.5 if (model, bits) == ("gcn", 32) else 0)
        rows += runs(table, [value], model=model, method=method, bits=bits, num_layers=layers)
    rows += runs("paper_depth_cora_int2", [10.0], model="smp", method="bt_star", num_layers=64)
    stored(rows)
    full, low = report.depth_of_all_models(pd.DataFrame()).axes[:2]
    assert (full.get_title("left"), low.get_title("left")) == ("FP32", "INT2")
    assert full.figure.get_suptitle().replace("\n", " ") == (
        "At 64 layers SMP has 82.0 % in FP32 and 82.0 % in INT2; GCN has 81.5 % in FP32 (Cora, n = 1)"
    )
    drawn = {box.get_label(): [list(axis) for axis in box[0].get_data()] for box in low.containers}
    assert drawn == {"GCN": [[32], [81.0]], "SMP": [[64], [82.0]]}


def energies(model, values, method="fp32", measure="dirichlet_energy", last=32):
    bits = 32 if method == "fp32" else 2
    return [
        row
        for layer, value in values.items()
        for row in runs("paper_energy", [value, value], f"{measure}@{layer}", model=model, method=method, bits=bits,
                        num_layers=last)
    ]  # fmt: skip


def test_energy_figure_states_how_far_smp_and_a_gcn_come_down(stored):
    rows = energies("smp", {0: 0.4, 8: 0.05, 16: 0.04, 32: 0.04})
    rows += energies("gcn", {8: 0.04, 16: 0.01, 31: 0.03, 32: 0.9})
    rows += energies("smp", {0: 0.3, 32: 0.1}, "node_pow2")
    for model in ("smp", "gcn"):
        rows += energies(model, {8: 0.2, 31: 0.1}, measure="mean_average_distance")
    stored(rows)
    drawing = report.energy_over_layers(pd.DataFrame())
    title = " ".join(drawing.get_suptitle().split())
    assert title == (
        "From 8 to 32 layers SMP's energy changes by 20 %; a GCN's is 25 % of SMP's after 16 layers and 75 % (75 to "
        "75) after 31, its last hidden one (Cora, n = 2)"
    )
    lines = {line.get_label(): list(line.get_xdata()) for line in drawing.axes[0].lines}
    assert lines == {"SMP": [0, 8, 16, 32], "GCN": [8, 16, 31], "SMP, INT2": [0, 32]}  # without a GCN's class scores
    assert [axes.get_yscale() for axes in drawing.axes] == ["log", "log"]


def test_energy_of_another_experiment_is_not_drawn(stored):
    stored([{**row, "experiment": "mine"} for row in energies("smp", {0: 0.4, 8: 0.05})])
    assert report.energy_over_layers(pd.DataFrame()) is None


def test_bits_per_value_figure_takes_each_seed_once_and_leaves_ablations_out(stored):
    plain = {"as_released": False, "multiplier": False, "dataset": "cora", "start": "fp32"}
    rows = runs("accuracy_public", [84.0, 84.0], method="fp32", bits=32, **plain)
    rows += runs("accuracy_public", [83.0, 83.4], method="node_pow2", bits_per_value=2.3, **plain)
    rows += runs("methods_cora", [83.0, 83.4, 82.0], method="node_pow2", bits_per_value=2.3, **plain)
    rows += runs("methods_cora_scratch", [70.0], method="qlr", bits_per_value=2.0, **{**plain, "start": "scratch"})
    rows += runs("paper_methods_cora", [20.0], method="qlr", bits_per_value=2.0, **{**plain, "as_released": True})
    rows += runs("paper_switches", [20.0], method="qlr", **{**plain, "start": "scratch", "placement": "edge"})
    rows += runs("accuracy_public", [84.5], method="node_pow2", bits=4, bits_per_value=4.3, **plain)
    rows += runs(
        "paper_methods_cora", [80.0], method="qlr", bits=4, bits_per_value=4.0, **{**plain, "start": "scratch"}
    )
    rows += runs("methods_cora", [60.0], method="tensor", bits_per_value=2.1, **plain)  # one width: no line
    stored(rows)
    drawing = report.accuracy_by_bits_per_value(pd.DataFrame())
    (axes,) = drawing.axes
    points = sorted(tuple(float(v) for v in point) for c in axes.containers for point in zip(*c[0].get_data()))
    mean = pytest.approx((83.0 + 83.4 + 82.0) / 3)
    assert points == [(2.0, pytest.approx(70.0)), (2.3, mean), (4.0, 80.0), (4.3, 84.5)]
    assert 84.0 in [line.get_ydata()[0] for line in axes.lines]
    title = " ".join(drawing.get_suptitle().split())
    assert title == (
        "Under 3 bits per value 'power of two per node' from FP32 weights loses least on Cora: 1.2 points at 2.30 bits "
        "(n = 3)"
    )


def test_switches_are_named_and_every_seed_is_drawn(stored):
    rows = runs("paper_switches", [84.0, 84.2], method="fp32", bits=32, multiplier=True)
    for value, switches in ((60.0, {}), (50.0, {"shared_ranges": True}), (76.0, {"as_released": True})):
        rows += runs("paper_switches", [value], method="qlr", bits=2, **switches)
    rows += runs("paper_switches", [60.0, 74.0], method="qlr", bits=2, dropout_first=True)
    stored(rows)
    drawing = report.switches_on_cora(pd.DataFrame())
    names = [label.get_text() for label in drawing.axes[0].get_yticklabels()]
    assert names == ["SMP, multiplier", "QLR", "QLR, shared range factors", "QLR, released gradient",
                     "QLR, dropout first"]  # fmt: skip
    title = " ".join(drawing.get_suptitle().split())
    assert title == (
        "Cora, INT2 from scratch: best of these switches 76.0 (1) % "
        "(QLR, released gradient); seeds differ most at 67.0 \u00b1 9.9 "
        "(2) % (QLR, dropout first)"
    )
    strokes = {tuple(line.get_xdata()) for line in drawing.axes[0].lines if line.get_marker() == "|"}
    assert strokes == {(84.0, 84.2), (60.0,), (50.0,), (76.0,), (60.0, 74.0)}


def test_points_lost_are_drawn_per_data_set_split_and_scheme(stored):
    run = {"dataset": "cora", "split": "public", "split_seed": 0, "model": "emp"}
    rows = []
    for place in ({}, {"dataset": "pubmed", "split": "random"}):
        rows += runs("paper_public_cora", [84.0, 84.0], method="fp32", bits=32, **{**run, **place})
        rows += runs("paper_public_cora", [83.0, 85.0], method="node_pow2", start="fp32", **{**run, **place})
        rows += runs("paper_public_cora", [64.0, 68.0], method="qlr", start="scratch", **{**run, **place})
    rows += runs("paper_public_cora", [50.0], method="qlr", start="scratch", **{**run, "model": "appnp"})  # has no FP32
    stored(rows)
    drawing = report.points_lost_by_form(pd.DataFrame())
    assert [axes.get_title(loc="left") for axes in drawing.axes] == ["Cora,\npublic", "PubMed,\nrandom"]
    (marks,) = [c for c in drawing.axes[0].containers if len(c[0].get_xdata())]
    assert marks.get_label() == "EMP" and sorted(marks[0].get_xdata()) == [0.0, 18.0]
    assert " ".join(drawing.get_suptitle().split()) == (
        "INT2 from FP32 weights (ours): from 0.0 lost to 0.0 points lost; from scratch (QLR, BT, BT*), 18.0 to 18.0 "
        "lost (n = 2 a mark)"
    )
