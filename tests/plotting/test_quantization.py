"""What the figures of quantization show, read back from their axes."""

from __future__ import annotations

import matplotlib
import numpy as np
import pandas as pd
import pytest

matplotlib.use("Agg")

import matplotlib.pyplot as plt

from gnnq_lib.errors import InputError
from gnnq_lib.plotting import (
    accuracy_per_seed,
    alpha_over_epochs,
    degree_distribution,
    error_curves,
    error_map,
    levels_on_values,
    look,
    relative_errors,
    search_curves,
)

ERRORS = pd.DataFrame(
    [
        {
            "tensor": t,
            "granularity": g,
            "bits": b,
            "bits_per_value": b + 0.5,
            "sqnr_db": 6.0 * b,
            "mean_abs_error": 1 / b,
        }
        for t, g in [("w", "per_tensor"), ("h", "per_tensor"), ("h", "per_node")]
        for b in (2, 3, 4)
    ]
)


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def test_error_curves_draw_a_panel_per_tensor_with_integer_bits():
    drawing = error_curves(ERRORS, "A finding")
    panels = [axes for axes in drawing.axes if axes.get_title(loc="left") or axes.get_title()]
    assert [len(panel.lines) for panel in panels] == [1, 2]
    assert [tick.get_text() for tick in panels[0].get_xticklabels()] == ["2", "3", "4"]
    assert panels[1].lines[1].get_color() == look("per_node").color
    assert drawing.get_suptitle() == "A finding"


def test_error_curves_against_bits_per_value_use_that_column():
    panel = error_curves(ERRORS, "", x="bits_per_value", y="mean_abs_error").axes[0]
    assert panel.lines[0].get_xdata().tolist() == [2.5, 3.5, 4.5]
    assert panel.get_yscale() == "log"


def test_error_map_leaves_what_was_not_measured_empty():
    texts = [text.get_text() for text in error_map(ERRORS[ERRORS.bits == 2], "").axes[0].texts]
    assert sorted(texts) == ["", "12.0", "12.0", "12.0"]


def test_search_curves_mark_the_smallest_error():
    axes = search_curves([0.2, 0.6, 1.0], {"w": [3.0, 1.0, 2.0]}, "").axes[0]
    curve, mark = axes.lines[:2]
    assert curve.get_ydata().tolist() == [1.5, 0.5, 1.0]
    assert (np.ravel(mark.get_xdata()).tolist(), np.ravel(mark.get_ydata()).tolist()) == ([0.6], [0.5])


def test_alpha_is_drawn_as_change_since_the_first_epoch():
    drawing = alpha_over_epochs({"correct_gradient": np.array([[0.3, 0.5], [0.4, 0.5]])}, "")
    assert np.allclose([line.get_ydata()[-1] for line in drawing.axes[0].lines], [0.1, 0.0])


def test_levels_keep_the_order_and_look_of_the_methods():
    bottom = levels_on_values(np.linspace(-1, 1, 50), {"qlr": [-1.0, 0.0], "bt": [0.1]}, "").axes[1]
    assert [tick.get_text() for tick in bottom.get_yticklabels()] == ["QLR", "BT"]
    assert bottom.lines[0].get_xdata().tolist() == [-1.0, 0.0]


def test_relative_errors_put_the_first_tensor_on_top():
    axes = relative_errors(pd.DataFrame({"bt": [0.9, 1.1]}, index=["w", "h"]), "").axes[0]
    assert axes.yaxis_inverted()
    assert axes.lines[1].get_xdata().tolist() == [0.9, 1.1]


def test_accuracy_per_seed_draws_every_seed_and_the_mean():
    rows = pd.DataFrame({"setting": ["a", "a", "b"], "look": ["qlr", "qlr", "bt"], "test_accuracy": [70.0, 74.0, 60.0]})
    axes = accuracy_per_seed(rows, "").axes[0]
    assert [line.get_ydata().tolist() for line in axes.lines] == [[70.0, 74.0], [60.0]]
    assert [segments.get_segments()[0][0][1] for segments in axes.collections] == [72.0, 60.0]


def test_degree_distribution_leaves_out_isolated_nodes():
    line = degree_distribution(np.array([0, 1, 1, 5]), "").axes[0].lines[0]
    assert (line.get_xdata().tolist(), line.get_ydata().tolist()) == ([1, 5], [2, 1])


def test_a_name_without_a_look_is_refused():
    with pytest.raises(InputError, match="'per_row'"):
        error_curves(ERRORS.assign(granularity="per_row"), "")
