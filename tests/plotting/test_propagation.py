from __future__ import annotations

import matplotlib.pyplot as plt
import pytest

from gnnq_lib.plotting.propagation import doubling_ticks, lines_against_depth
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
