"""The report's figures: drawn from stored rows, left out without them."""

from __future__ import annotations

import pandas as pd
import pytest

from gnnq_lib.plotting import report
from gnnq_lib.plotting.report import depth_of_all_models, error_over_layers, speedup_beside_the_paper
from gnnq_lib.reporting.results import Results
from tests.reporting.test_rules import bench, runs


@pytest.fixture
def stored(monkeypatch):
    def put(rows=(), **benches):
        monkeypatch.setattr(report.Results, "stored", classmethod(lambda cls: Results.of(list(rows), **benches)))

    return put


@pytest.mark.parametrize("draw", [depth_of_all_models, error_over_layers, speedup_beside_the_paper])
def test_left_out_without_results(stored, draw):
    stored()
    assert draw(pd.DataFrame()) is None


def test_speedups_have_the_papers_lines(stored):
    stored(inference=bench(6.0, 4.0, 5.2))
    drawing = speedup_beside_the_paper(pd.DataFrame())
    (axes,) = drawing.axes
    assert 5.11 in [line.get_xdata()[0] for line in axes.lines]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["PubMed", "Coauthor CS", "generated graph"]
    assert drawing.get_suptitle() == "The paper's factor is reached in 2 of 3 cases"


def test_error_figure_states_the_growth(stored):
    rows = []
    for layer, value in ((8, 0.50), (64, 0.55)):
        for teleport in (0.1, 0.0):
            rows += runs("paper_error_growth", [value], f"relative_error@{layer}", method="qlr", teleport=teleport)
    stored(rows)
    drawing = error_over_layers(pd.DataFrame())
    assert "at 64 layers is at most 1.10 times" in " ".join(drawing.get_suptitle().split())
    assert len(drawing.axes[0].lines) == 2


def test_depth_figure_names_the_best(stored):
    rows = []
    for model, deep in (("gcn", 30.0), ("smp", 84.0)):
        for layers, value in ((2, 80.0), (64, deep)):
            rows += runs("paper_depth_cora_baselines", [value], model=model, method="fp32", bits=32, num_layers=layers)
    stored(rows)
    assert depth_of_all_models(pd.DataFrame()).get_suptitle() == "At 64 layers SMP is best: 84.0 %"
