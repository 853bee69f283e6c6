"""Figures of the stored tables: how many runs, how far they spread, and what a collapsed setting may hide."""

from __future__ import annotations

import pytest

from gnnq_lib.plotting import results as figures
from gnnq_lib.reporting.results import Results
from tests.reporting.test_rules import runs


@pytest.fixture
def stored(monkeypatch):
    """Rows as stored results with the settings of each run, where the figures look for them."""

    def put(rows):
        found = Results.of(rows)
        settings = {row["config_key"]: row for row in rows}
        monkeypatch.setattr(figures.Results, "stored", classmethod(lambda cls: found))
        monkeypatch.setattr(figures, "_configs", lambda table: settings)
        return found.rows

    return put


def title(drawing):
    return " ".join(drawing.get_suptitle().split())


def methods():
    rows = runs("accuracy_public", [84.0, 84.2], method="fp32", bits=32)
    return rows + runs("methods_cora", [73.0, 75.0], method="qlr", bits_per_value=2.0)


def test_from_scratch_every_seed_of_every_table_is_drawn(stored):
    rows = methods()
    rows += runs("methods_cora_scratch", [74.0, 74.0], method="qlr", start="scratch")
    rows += runs("paper_switches", [74.0, 74.0, 20.0], method="qlr", start="scratch")
    rows += runs("paper_switches", [99.0], method="qlr", start="scratch", multiplier=True)
    drawing = figures.methods_on_cora(stored(rows))
    hollow = drawing.axes[0].containers[0]
    assert list(hollow[0].get_xdata()) == [pytest.approx((74 + 74 + 20) / 3)]
    assert drawing.get_supxlabel().startswith("filled: from FP32 weights (n = 2); hollow: from scratch (n = 3)")
    assert title(drawing) == (
        "Cora, INT2 from FP32 weights: 'QLR' is 10.1 points below FP32 at 2.00 bits per value (n = 2)"
    )
    assert hollow[0].get_ydata()[0] > 0 > drawing.axes[0].containers[1][0].get_ydata()[0]  # not on each other


def stage(gains):
    rows = methods()
    for name, gain in gains.items():
        where = {"method": "node_pow2", "stages": [name], "config_key": name}
        rows += runs("stages", [84.0 + gain, 84.2 + gain + 0.5], **where)
    return rows


def test_gains_within_the_noise_are_said_to_be(stored):
    drawing = figures.loss_by_stage(stored(stage({"updates": -6.0, "inputs": 0.3})))
    assert title(drawing) == (
        "INT2 at one stage: updates of power of two per node cost most, 5.8 ± 0.4 points (n = 2); 1 of 2 bars are "
        "gains, none of them clear (t-tests, Holm, 5 %)"
    )
    assert drawing.axes[0].containers[0].has_xerr


def test_depth_figure_has_bars_and_counts(stored):
    rows = []
    for layers, values in ((2, [82.0, 84.0]), (64, [81.0, 83.0])):
        where = {"method": "fp32", "bits": 32, "num_layers": layers, "config_key": f"d{layers}"}
        rows += runs("depth", values, **where)
    drawing = figures.accuracy_by_depth(stored(rows))
    assert title(drawing) == (
        "SMP at 64 layers is at most 1.0 points below its best depth (Cora, n = 2); there the seeds' standard "
        "deviation is 1.4"
    )
    assert drawing.axes[0].containers[0].has_yerr


def calibration(failed):
    rows = []
    for method in ("qlr", "bt_star"):
        for i, (place, first) in enumerate((("evaluation", False), ("training", True))):
            for released in (False, True):
                level = 70.0 + 8 * i
                values = [level, level + 0.5, failed if (method, i, released) == ("qlr", 0, False) else level + 1]
                where = {"calibration": place, "dropout_first": first, "as_released": released}
                rows += runs("calibration", values, method=method, **where)
    return rows


def test_a_collapsed_setting_is_counted_and_hides_nothing(stored):
    shared = "(differences above twice the seeds' standard deviation; n = 3)"
    assert title(figures.range_calibration(stored(calibration(71.0)))).endswith(
        f"it has an effect in 4 of 4 cases {shared}"
    )
    assert title(figures.range_calibration(stored(calibration(20.0)))).endswith(
        f"it has an effect in 3 of 4 cases {shared}; 1 setting with a failed seed left out"
    )


def test_figures_are_left_out_without_rows(stored):
    empty = stored([])
    names = ("methods_on_cora", "accuracy_by_depth", "loss_by_stage", "range_calibration")
    assert [getattr(figures, name)(empty) for name in names] == [None] * 4
