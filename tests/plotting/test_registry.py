"""Figures: drawn from rows only, skipped without them, equal for equal rows."""

from __future__ import annotations

import matplotlib as mpl
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from gnnq_lib.errors import InputError
from gnnq_lib.experiments import ExperimentConfig, Measurement, ResultsStore, load_table, make_config, table_names
from gnnq_lib.files import sha256_bytes
from gnnq_lib.paths import figures_dir
from gnnq_lib.plotting import FIGURES, accuracy_by_bits, draw_figures, missing_runs, show_figure
from gnnq_lib.plotting.registry import FIGURE_TABLES, finding_and_description

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
    assert title == "With 2-bit codes the points of accuracy lost are 2.0 on Cora (n = 2)"
    assert figure.axes[0].get_xlabel() == "bits per code"


def test_more_bits_that_cost_more_are_not_hidden(results):
    worse = results.assign(value=results.value.where(results.bits != 8, results.value - 30))
    title = " ".join(accuracy_by_bits(worse).get_suptitle().split())
    lost = "With 2-bit codes the points of accuracy lost are 2.0 on Cora"
    assert title == f"{lost}; with 8-bit codes 30.0 on Cora (n = 2)"


def test_no_rows_no_figure(results):
    assert accuracy_by_bits(results[results.bits == 32]) is None
    assert accuracy_by_bits(pd.DataFrame(columns=results.columns)) is None


def test_drawing_twice_gives_the_same_file(results):
    lines = []
    draw_figures(["accuracy_by_bits"], say=lines.append)
    first = sha256_bytes((figures_dir() / "accuracy_by_bits.png").read_bytes())
    draw_figures(["accuracy_by_bits"], say=lines.append)
    assert sha256_bytes((figures_dir() / "accuracy_by_bits.png").read_bytes()) == first
    assert lines == ["figure accuracy_by_bits: accuracy_by_bits.png"] * 2


def test_every_figure_is_skipped_without_results(monkeypatch, tmp_path):
    monkeypatch.setenv("GNNQ_ROOT", str(tmp_path))
    lines = []
    draw_figures(say=lines.append)
    assert len(lines) == len(FIGURES)
    assert all("skipped, the results it needs are not there" in line for line in lines)


def test_every_figure_has_a_text_alternative_and_its_tables_exist():
    for name, draw in FIGURES.items():
        description = finding_and_description(name, Figure())[1]
        assert description.endswith(".") and len(description) > 60, name
        assert draw.__name__ == name and set(FIGURE_TABLES[name]) <= set(table_names())


def test_the_file_carries_its_text_alternative(results):
    draw_figures(["accuracy_by_bits"], say=lambda _: None)
    with Image.open(figures_dir() / "accuracy_by_bits.png") as picture:
        text = picture.info["Description"]
    assert text.startswith("With 2-bit codes the points of accuracy lost are 2.0 on Cora (n = 2). Test accuracy")


def test_a_shown_figure_says_which_runs_are_missing(results, monkeypatch):
    shown, lines = [], []
    monkeypatch.setattr("IPython.display.display", shown.append)
    there, wanted = missing_runs("accuracy_by_bits")["accuracy_public"]
    assert there == 8 and wanted == len(load_table("accuracy_public").configs)
    show_figure("accuracy_by_bits", say=lines.append)
    assert shown[0].alt.startswith("With 2-bit codes") and lines == [
        f"Results still come in; stored so far: 8 of {wanted} runs of accuracy_public. "
        "`gnnq run TABLE` does the rest of a table."
    ]
    show_figure("switches_on_cora", say=lines.append)
    assert len(shown) == 1 and lines[1] == (
        "The figure switches_on_cora is not drawn: the results it needs are not stored yet."
    )
    show_figure("kernel_scaling", say=lines.append)
    assert lines[-1].startswith("The figure kernel_scaling")  # a benchmark's, without a table


def test_unknown_figure():
    with pytest.raises(InputError, match="figure 'accuracy_by_bit' is unknown .did you mean accuracy_by_bits"):
        draw_figures(["accuracy_by_bit"])
