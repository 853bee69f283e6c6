"""Figures: drawn from rows only, skipped without them, equal for equal rows."""

from __future__ import annotations

import matplotlib as mpl
import pandas as pd
import pytest

from gnnq_lib.errors import InputError
from gnnq_lib.experiments import ExperimentConfig, Measurement, ResultsStore, make_config
from gnnq_lib.files import sha256_file
from gnnq_lib.paths import figures_dir
from gnnq_lib.plotting import FIGURES, accuracy_by_bits, draw_figures

mpl.use("Agg")


class Toy(ExperimentConfig):
    dataset: str = "cora"
    method: str = "qlr"
    bits: int = 2


@pytest.fixture
def results(monkeypatch, tmp_path):
    monkeypatch.setenv("GNNQ_ROOT", str(tmp_path))
    store = ResultsStore("accuracy_public")
    for method, bits, level in (("fp32", 32, 84.0), ("qlr", 2, 82.0), ("minmax", 2, 70.0), ("qlr", 8, 84.0)):
        for seed in range(2):
            config = make_config(Toy, {"experiment": "accuracy_public", "method": method, "bits": bits, "seed": seed})
            store.append(config, [Measurement("test_accuracy", level + seed, "%")], 1)
    return store.frame()


def test_accuracy_by_bits_states_its_finding(results):
    figure = accuracy_by_bits(results)
    title = " ".join(figure.get_suptitle().split())
    assert title == "With 2-bit codes cora loses 2.0 points of accuracy (n = 2)"
    assert figure.axes[0].get_xlabel() == "bits per code"


def test_more_bits_that_cost_more_are_not_hidden(results):
    worse = results.assign(value=results.value.where(results.bits != 8, results.value - 30))
    title = " ".join(accuracy_by_bits(worse).get_suptitle().split())
    assert title == "With 2-bit codes cora loses 2.0 points of accuracy, with 8-bit codes 30.0 (n = 2)"


def test_no_rows_no_figure(results):
    assert accuracy_by_bits(results[results.bits == 32]) is None
    assert accuracy_by_bits(pd.DataFrame(columns=results.columns)) is None


def test_drawing_twice_gives_the_same_file(results):
    lines = []
    draw_figures(["accuracy_by_bits"], say=lines.append)
    first = sha256_file(figures_dir() / "accuracy_by_bits.png")
    draw_figures(["accuracy_by_bits"], say=lines.append)
    assert sha256_file(figures_dir() / "accuracy_by_bits.png") == first
    assert lines == ["figure accuracy_by_bits: accuracy_by_bits.png"] * 2


def test_every_figure_is_skipped_without_results(monkeypatch, tmp_path):
    monkeypatch.setenv("GNNQ_ROOT", str(tmp_path))
    lines = []
    draw_figures(say=lines.append)
    assert len(lines) == len(FIGURES)
    assert all("skipped, the results it needs are not there" in line for line in lines)


def test_unknown_figure():
    with pytest.raises(InputError, match="figure 'accuracy_by_bit' is unknown .did you mean accuracy_by_bits"):
        draw_figures(["accuracy_by_bit"])
