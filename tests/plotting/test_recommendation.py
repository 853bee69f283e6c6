"""Figures of recommendation from rows made by hand; stored tables, averaged over seeds and told apart by settings."""

from __future__ import annotations

import itertools
import json

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from gnnq_lib.experiments import Measurement, ResultsStore, load_table, make_config
from gnnq_lib.experiments.recommendation import Config
from gnnq_lib.experiments.report import results_table
from gnnq_lib.naming import dataset_title
from gnnq_lib.plotting import (
    ablation_changes,
    curves_side_by_side,
    node_levels,
    popularity_curve,
    quality_by_bytes,
    stored_ablations,
    stored_methods,
    validation_curves,
)
from gnnq_lib.plotting.recommendation import (
    recommendation_ablations,
    recommendation_by_bytes,
    recommendation_by_width,
    stored_widths,
)

RUNS = [
    ({"method": "fp32", "bits": 32, "start": "teacher"}, 0.20, 8e5),
    ({"method": "gnaq"}, 0.19, 1e5),
    ({"method": "gnaq", "tanh": True}, 0.18, 1e5),
    ({"method": "gnaq", "bits": 1}, 0.17, 5e4),
    ({"method": "gnaq_as_released"}, 0.10, 1e5),
    ({"method": "gnaq_as_released", "linear_head": False}, 0.12, 1e5),
]


@pytest.fixture
def measured(monkeypatch, tmp_path):
    """The runs above in both tables, two seeds, NDCG 0.02 apart; the project's own results are out of sight."""
    monkeypatch.setenv("GNNQ_ROOT", str(tmp_path))
    for table in ("rec_methods", "rec_ablations"):
        store = ResultsStore(table)
        for values, ndcg, size in RUNS:
            for seed in (0, 1):
                config = make_config(Config, {"experiment": table, "dataset": "lastfm", "seed": seed, **values})
                rows = [Measurement("ndcg@10", ndcg + 0.02 * seed, ""), Measurement("recall@10", ndcg, ""),
                        Measurement("val_ndcg@10", 0.5, ""), Measurement("model_bytes", size, "bytes"),
                        Measurement("seconds_per_epoch", 1.0, "s")]  # fmt: skip
                store.append(config, rows, 1.0)
    yield
    plt.close("all")


def test_stored_methods_average_seeds_and_name_settings(measured):
    table = stored_methods("rec_methods").set_index(["method", "bits", "linear_head", "setting"])
    assert len(table) == len(RUNS) and table.index.is_unique and (table.dim == 64).all()
    default = table.loc["gnaq", 2, False, ""]
    assert default["ndcg@10"] == pytest.approx(0.20) and default["ndcg@10_std"] == pytest.approx(0.02 / 2**0.5)
    assert default["n"] == 2 and default["bytes"] == 1e5 and "val_ndcg@10" not in table
    assert table.loc["gnaq", 2, False, "tanh=True"]["ndcg@10"] == pytest.approx(0.19)
    # nothing said: as released has the head, GNAQ has not
    assert table.loc["gnaq_as_released", 2, True, ""]["ndcg@10"] == pytest.approx(0.11)
    assert table.loc["gnaq_as_released", 2, False, ""]["ndcg@10"] == pytest.approx(0.13)


def test_widths_are_told_apart_by_their_column_and_not_by_the_setting():
    """As many runs of either width: neither is the usual one."""
    for dim, method, bits in itertools.product((64, 128), ("gnaq", "fp32"), (2,)):
        values = {"method": method, "bits": 32 if method == "fp32" else bits, "dim": dim}
        config = make_config(Config, {"experiment": "rec_quick", **values})
        ResultsStore("rec_quick").append(config, [Measurement("ndcg@10", 0.001 * dim, "")], 1.0)
    table = stored_methods("rec_quick")
    assert set(table.setting) == {""}
    assert sorted(zip(table.method, table.dim, table["ndcg@10"])) == [
        (method, dim, pytest.approx(0.001 * dim)) for method in ("fp32", "gnaq") for dim in (64, 128)
    ]


def test_a_tie_of_settings_is_broken_by_what_runs_have_where_nothing_is_said():
    """'False' comes before 'True' in the alphabet, and was stored first; update_every is 1 unless it is said."""
    store = ResultsStore("rec_quick")
    for values in ({"update_every": 0, "lr": 1.0}, {"update_every": 1, "lr": 5e-3}):
        config = make_config(Config, {"experiment": "rec_quick", "method": "gnaq", **values})
        store.append(config, [Measurement("ndcg@10", 0.2, "")], 1.0)
    # lr: the recipe's for GNAQ
    assert stored_methods("rec_quick").setting.tolist() == ["lr=1.0, update_every=0", ""]


def test_states_before_training_and_after_the_last_epoch_are_shown():
    store = ResultsStore("rec_quick")
    runs = [("gnaq", 0, (0, 0), 9), ("lsq", 2, (0, 6), 9), ("post_training_node", 2, (0, 0), 0)]
    for method, _, best_epochs, epochs in runs:
        for seed, best in enumerate(best_epochs):
            rows = [Measurement("ndcg@10", 0.2, ""), Measurement("best_epoch", best), Measurement("epochs", epochs)]
            if method == "gnaq":
                rows.append(Measurement("last_ndcg@10", 0.1 + 0.02 * seed, ""))
            config = make_config(Config, {"experiment": "rec_quick", "method": method, "seed": seed})
            store.append(config, rows, 1.0)
    table = stored_methods("rec_quick").set_index("method")
    assert table.untrained.to_dict() == {"gnaq": True, "lsq": False, "post_training_node": False}
    assert table.best_epoch["lsq"] == "0, 6" and (table.device == "cpu").all()
    assert table["last_ndcg@10"]["gnaq"] == pytest.approx(0.11) and pd.isna(table["last_ndcg@10"]["lsq"])


def test_runs_of_another_device_are_of_the_same_line():
    for seed, device in enumerate(("cpu", "cuda")):
        config = make_config(Config, {"experiment": "rec_quick", "seed": seed}).model_copy(update={"device": device})
        ResultsStore("rec_quick").append(config, [Measurement("ndcg@10", 0.2 + 0.1 * seed, "")], 1.0)
    (line,) = stored_methods("rec_quick").itertuples()
    assert line.setting == "" and line.n == 2 and line.device == "cpu, cuda"
    (summary,) = results_table(ResultsStore("rec_quick").frame(), ResultsStore("rec_quick").configs()).itertuples()
    assert summary.settings == ""


def test_a_table_that_was_not_measured_is_empty():
    assert stored_methods("rec_nothing").empty


def test_figures_from_stored_tables(measured):
    by_bytes = recommendation_by_bytes(pd.DataFrame())
    assert "GNAQ is highest at 2 bits: 95.2 % of FP32's NDCG@10 on LastFM (n = 2)" in by_bytes.get_suptitle().replace(
        "\n", " "
    )
    heights = [float(line.get_ydata()[0]) for line in by_bytes.axes[0].lines if len(line.get_ydata()) == 1]
    # as released: with its head only, at the foot of the axis with its value
    percents = [100 * value / 0.21 for value in (0.11, 0.13)]
    assert [text.get_text() for text in by_bytes.axes[0].texts] == [f"\u2193 {percents[0]:.0f}"]
    assert 75.0 in heights and not any(y == pytest.approx(p) for y in heights for p in percents)
    drawing = recommendation_ablations(pd.DataFrame())
    (bars,) = drawing.axes
    names = [text.get_text() for text in bars.get_yticklabels()]
    assert names == ["levels through tanh", "as released", "as released, no linear head"]
    # per seed: 0.18 / 0.19 and 0.20 / 0.21
    expected = 50 * (0.18 / 0.19 + 0.20 / 0.21) - 100
    assert bars.patches[0].get_width() == pytest.approx(expected) and bars.get_title("left") == "LastFM\n(n = 2)"
    # the forms as released lose more, but are no single part
    assert (
        " ".join(drawing.get_suptitle().split())
        == f"On LastFM, 'levels through tanh' costs GNAQ most: {-expected:.1f} % of NDCG@10 (n = 2)"
    )


@pytest.mark.parametrize(
    ("losses", "untrained", "finding"),
    [
        ((0.010, 0.011, 0.012), False, "On LastFM, 'no refinement' costs GNAQ most: 5.5 % of NDCG@10 (n = 3)"),
        (
            (0.010, -0.006, 0.012),
            False,
            "On LastFM, no single change's cost in NDCG@10 can be told from zero (n = 3)",
        ),
        ((0.010, 0.011, 0.012), True, "GNAQ as released beside its plain form on LastFM"),
        ((0.010,), False, "On LastFM, 'no refinement' costs GNAQ most: 5.0 % of NDCG@10 (n = 1)"),
    ],
)
def test_the_headline_names_a_loss_only_where_seeds_agree_on_it(monkeypatch, tmp_path, losses, untrained, finding):
    monkeypatch.setenv("GNNQ_ROOT", str(tmp_path))
    store = ResultsStore("rec_ablations")
    for seed, loss in enumerate(losses):
        for values, value in (({}, 0.2), ({"refine_steps": 0}, 0.2 - loss), ({"level_bits": 16}, 0.2)):
            config = make_config(Config, {"experiment": "rec_ablations", "method": "gnaq", "seed": seed, **values})
            best = Measurement("best_epoch", 0 if untrained else 5)
            store.append(config, [Measurement("ndcg@10", value, ""), best], 1.0)
        values = {"method": "gnaq_as_released", "seed": seed}
        store.append(make_config(Config, {"experiment": "rec_ablations", **values}), [Measurement("ndcg@10", 0.1)], 1.0)
    drawing = recommendation_ablations(pd.DataFrame())
    assert " ".join(drawing.get_suptitle().split()) == finding
    table = stored_ablations().set_index("part")
    if len(losses) == 3:
        assert table.needed["no refinement"] == pytest.approx(4.3027 * table["std"]["no refinement"] / 3**0.5, rel=1e-4)
    plt.close("all")


def test_the_headline_names_what_costs_on_every_data_set(monkeypatch, tmp_path):
    """Refinement is missed on both, levels through tanh on one only."""
    monkeypatch.setenv("GNNQ_ROOT", str(tmp_path))
    store = ResultsStore("rec_ablations")
    for dataset, seed in itertools.product(("lastfm", "ml-1m"), range(3)):
        base = 0.2 + 0.01 * seed
        tanh = -0.02 if dataset == "lastfm" else 0.02
        for values, value in (({}, base), ({"refine_steps": 0}, base - 0.01), ({"tanh": True}, base + tanh)):
            run = {"experiment": "rec_ablations", "method": "gnaq", "dataset": dataset, "seed": seed, **values}
            best = Measurement("best_epoch", 5)
            store.append(make_config(Config, run), [Measurement("ndcg@10", value, ""), best], 1.0)
    drawing = recommendation_ablations(pd.DataFrame())
    assert drawing.get_suptitle().replace("\n", " ") == "'no refinement' costs GNAQ NDCG@10 on all 2 data sets"
    assert len(ablation_changes()) == 12 and set(ablation_changes().columns) >= {"part", "seed", "change"}
    plt.close("all")


def test_the_figure_by_width(measured):
    assert recommendation_by_width(pd.DataFrame()) is None  # one width only
    for (values, ndcg, size), width in itertools.product([RUNS[0], RUNS[1], RUNS[3]], (64, 128)):
        config = make_config(Config, {"experiment": "rec_dims", "dataset": "ml-1m", "dim": width, **values})
        value = ndcg - 0.02 * (width == 128)
        rows = [Measurement("ndcg@10", value, ""), Measurement("model_bytes", size * width / 64, "bytes")]
        ResultsStore("rec_dims").append(config, rows, 1.0)
    assert stored_widths("ml-1m").dim.tolist() == [64, 128] * 3
    drawing = recommendation_by_width(pd.DataFrame())
    (axes,) = drawing.axes
    assert [line.get_label() for line in axes.lines] == ["FP32", "GNAQ, 2 bits", "GNAQ, 1 bit"]
    assert axes.lines[1].get_ydata().tolist() == pytest.approx([0.19, 0.17])
    title = " ".join(drawing.get_suptitle().split())
    assert "by -5.6 to -5.0 % NDCG@10 on MovieLens-1M, in 8 to 8 times fewer bytes" in title


def test_every_part_of_the_ablation_table_has_a_name_and_each_data_set_a_panel(monkeypatch, tmp_path):
    """The table's own configs, one made-up value each: its default is found and no name stands twice."""
    monkeypatch.setenv("GNNQ_ROOT", str(tmp_path))
    configs = load_table("rec_ablations").configs
    store = ResultsStore("rec_ablations")
    seed = configs[0].seed
    for number, config in enumerate(c for c in configs if c.seed == seed):
        kept_start = config.method == "gnaq_as_released" and config.tanh is False
        best_epoch = Measurement("best_epoch", 0 if kept_start else 5, "epoch")
        store.append(config, [Measurement("ndcg@10", 0.2 - 0.001 * number, ""), best_epoch], 1.0)
    table = stored_ablations()
    assert set(table.dataset) == {config.dataset for config in configs} and table.dataset.nunique() == 2
    for _, here in table.groupby("dataset"):
        assert here.part.is_unique and len(here) == len([c for c in configs if c.seed == seed]) / 2 - 1
        assert {"no refinement", "straight-through gradient", "one set of first levels"} <= set(here.part)
        assert {"as released, no linear head, codes never renewed", "as released, no linear head, no tanh"} == {
            part for part in here.part if part.startswith("as released")
        }
    assert set(table[table.untrained].part) == {"as released, no linear head, no tanh"}
    # the first run, the default, has 0.2 on the first data set
    assert table["mean"].iloc[0] == pytest.approx(100 * (0.199 / 0.2 - 1))
    drawing = recommendation_ablations(pd.DataFrame())
    titles = [axes.get_title("left") for axes in drawing.axes]
    assert titles == [f"{dataset_title(name)}\n(n = 1)" for name in dict.fromkeys(table.dataset)]
    hatched = [[bool(bar.get_hatch()) for bar in axes.patches] for axes in drawing.axes]
    assert hatched == [list(here.untrained) for _, here in table.groupby("dataset", sort=False)]
    assert "hatched" in drawing.get_supxlabel()
    plt.close("all")


def test_without_its_default_an_ablation_says_nothing(monkeypatch, tmp_path):
    monkeypatch.setenv("GNNQ_ROOT", str(tmp_path))
    config = make_config(Config, {"experiment": "rec_ablations", "method": "gnaq_as_released"})
    ResultsStore("rec_ablations").append(config, [Measurement("ndcg@10", 0.1, "")], 1.0)
    assert stored_ablations().empty and recommendation_ablations(pd.DataFrame()) is None


def test_without_tables_there_are_no_figures(monkeypatch, tmp_path):
    monkeypatch.setenv("GNNQ_ROOT", str(tmp_path))
    assert recommendation_by_bytes(pd.DataFrame()) is None
    assert recommendation_ablations(pd.DataFrame()) is None


def test_levels_and_thresholds_are_drawn():
    axes = node_levels({"a": ([0.0, 1.0, 2.0], [2.0, 0.0])}, "x").axes[0]
    assert sorted(line.get_xdata()[0] for line in axes.lines) == [0.0, 1.0, 2.0]


def test_small_figures_hold_what_was_given():
    assert popularity_curve([0, 4, 2], "x").axes[0].lines[0].get_ydata().tolist() == [4, 2]
    curves = validation_curves({"gnaq": ([0, 1], [0.1, 0.2]), "mine": ([0], [0.3])}, "x", {"line": 0.1})
    assert [text.get_text() for text in curves.axes[0].get_legend().get_texts()] == ["GNAQ", "mine", "line"]
    table = pd.DataFrame({"method": ["gnaq", "other"], "epoch": [0, 0], "a": [1.0, 2.0], "b": [3.0, 4.0]})
    assert [axes.get_ylabel() for axes in curves_side_by_side(table, {"a": "A", "b": "B"}, "x").axes] == ["A", "B"]
    points = pd.DataFrame({"method": ["fp32", "lsq"], "bits": [32, 2], "bytes": [10.0, 1.0], "mean": [0.2, 0.1]})
    assert len(quality_by_bytes(points, "x").legends[0].get_texts()) == 2
    plt.close("all")


def test_a_part_younger_than_the_plain_form_is_told_from_it(monkeypatch, tmp_path):
    """Runs stored before a setting came do not name it; a run that has it is not taken for one of them."""
    monkeypatch.setenv("GNNQ_ROOT", str(tmp_path))
    store = ResultsStore("rec_ablations")
    for rotation, value in ((False, 0.20), (True, 0.21)):
        config = make_config(Config, {"experiment": "rec_ablations", "method": "gnaq", "rotation": rotation})
        store.append(config, [Measurement("ndcg@10", value, ""), Measurement("best_epoch", 5, "epoch")], 1.0)
    file = store.path.with_suffix(".json")
    settings = json.loads(file.read_text())
    (old,) = (values for values in settings.values() if values["rotation"] is False)
    del old["rotation"]
    file.write_text(json.dumps(settings))
    table = stored_ablations()
    assert table.part.tolist() == ["start rotated"] and table["mean"].tolist() == pytest.approx([5.0])
