from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from gnnq_lib.plotting.propagation import doubling_ticks, lines_against_depth, runs_text
from gnnq_lib.plotting.style import look


@pytest.fixture
def axes():
    drawing, axes = plt.subplots()
    yield axes
    plt.close(drawing)


def test_lines_have_their_fixed_look_and_given_labels(axes):
    lines_against_depth(axes, {"smp": ([1, 2], [0.1, 0.01]), "mine": ([1], [1])}, "energy", True, {"mine": "my own"})
    assert [line.get_label() for line in axes.get_lines()] == ["SMP", "my own"]
    assert axes.get_lines()[0].get_color() == look("smp").color
    assert axes.get_yscale() == "log"
    assert axes.get_ylabel() == "energy"


def test_depths_are_shown_as_whole_numbers(axes):
    axes.plot([0, 2, 64], [1, 2, 3])
    doubling_ticks(axes, [0, 2, 64])
    axes.figure.canvas.draw()
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "2", "64"]


def test_spreads_are_drawn_as_bars(axes):
    lines_against_depth(axes, {"smp": ([1, 2], [80.0, 81.0])}, "accuracy (%)", spreads={"smp": [1.0, 2.0]})
    (bars,) = axes.containers
    assert bars.has_yerr and [list(line[:, 1]) for line in bars[2][0].get_segments()] == [[79.0, 81.0], [79.0, 83.0]]


def test_numbers_of_runs():
    assert runs_text(pd.Series([3, 3])) == "n = 3" and runs_text(pd.Series([10, 5])) == "n = 5 to 10"
