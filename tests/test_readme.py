"""The README's tables are those of data/results; its commands and links exist."""

from __future__ import annotations

import re
from collections import Counter

import pandas as pd
import pytest

from gnnq_lib.errors import InputError
from gnnq_lib.experiments import ResultsStore, readme
from gnnq_lib.experiments.tables import RECOMMENDER_TABLES, run_count, table_names
from gnnq_lib.paths import project_root
from gnnq_lib.plotting.recommendation import stored_widths
from gnnq_lib.reporting.results import Results
from tests.reporting import test_rules

SEARCHES = ("rec_search_low_bit", "rec_search_rotation", "rec_search_gnaq")
TEXT = (project_root() / "README.md").read_text(encoding="utf-8")


def test_every_table_is_what_the_results_say(monkeypatch):
    monkeypatch.setenv("GNNQ_RESULTS", str(project_root() / "data" / "results"))
    assert len(re.findall("<!-- table:", TEXT)) == len(readme.TABLES)
    assert set(re.findall(r"<!-- number: (\w+)", TEXT)) == set(readme.NUMBERS)
    assert readme.with_tables(TEXT) == TEXT, "run `gnnq readme` and commit README.md"


@pytest.mark.parametrize("name", ["recommendation", "recommendation_large", "accuracy", "size"])
def test_a_table_without_results_says_so(name):
    with pytest.raises(readme.NotMeasuredError, match="no results of .* are stored"):
        readme.with_tables(f"<!-- table: {name} -->\n<!-- end of table -->")


@pytest.mark.parametrize("name", ["gnaq_recall", "released_untrained", "int2_points_lost", "int2_cora"])
def test_a_number_without_results_says_so(name):
    with pytest.raises(readme.NotMeasuredError, match="no results of .* are stored"):
        readme.with_tables(f"<!-- number: {name} -->7<!-- end -->")


def test_a_missing_benchmark_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(readme, "project_root", lambda: tmp_path)
    with pytest.raises(readme.NotMeasuredError, match="no results of the benchmark inference are stored"):
        readme.with_tables("<!-- table: speed -->\n<!-- end of table -->")


def test_every_table_named_in_a_command_exists():
    named = re.findall(r"gnnq run (\w+)", TEXT)
    assert named and set(named) <= set(table_names())


def test_the_numbers_of_runs_are_those_of_the_tables():
    lines = re.findall(r"^\| `gnnq run (.+?) \|.*\| (\d+) \|$", TEXT, re.MULTILINE)
    assert len(lines) > 8
    for commands, runs in lines:
        assert sum(map(run_count, re.findall(r"(?:^|`)(\w+)", commands))) == int(runs), commands


def test_every_linked_file_exists():
    for target in re.findall(r"\]\(([^)#]+)\)", TEXT):
        assert (project_root() / target).exists(), target


def test_what_the_text_says_of_gnaq_beside_full_precision():
    """On MovieLens-1M GNAQ of D = 128 is above FP32 of D = 64, in 5.3 times fewer bytes; below FP32 of the same D."""
    widths = stored_widths("ml-1m").pivot_table(index="dim", columns="bits", values=["ndcg", "bytes"])
    assert widths.index.tolist() == [64, 128, 256] and (widths["ndcg"][2] < widths["ndcg"][32]).all()
    assert widths["ndcg"][2][128] > widths["ndcg"][32][64]
    assert widths["bytes"][32][64] / widths["bytes"][2][128] == pytest.approx(5.33, abs=0.01)


def test_in_a_small_catalogue_packed_ranking_gains_nothing():
    rows = pd.read_csv(project_root() / "data" / "results" / "bench_serving.csv")
    small = rows[rows.path.str.startswith("packed") & rows.case.str.contains("x 1,682 items", regex=False)]
    assert len(small) and (small.speedup_vs_best_fp32 < 1.05).all()


def test_full_precision_of_the_stored_search_has_its_best_settings():
    """What `accuracy_searched` runs is what had the highest mean validation accuracy, the default number of layers."""
    names = ["lr", "schedule", "dropout", "weight_decay", "second_weight_decay"]
    wanted = {tuple(c[name] for name in ["dataset", *names]) for c in _configs("accuracy_searched")}
    best = set()
    for table in ("search_fp32", "search_fp32_pubmed"):
        rows, configs = _store(table).frame(), _store(table).configs()
        rows = rows[rows.metric == "val_accuracy"]
        settings = pd.DataFrame(rows.config_key.map(configs).tolist(), index=rows.index)[["dataset", *names]]
        means = settings.assign(value=rows.value).groupby(["dataset", *names]).value.mean()
        best |= {part.idxmax() for _, part in means.groupby(level="dataset")}
    assert wanted == best


def test_what_the_text_says_of_searches():
    configs = [config for name in SEARCHES for config in _configs(name)]
    trials = Counter((c["dataset"], c["method"], c["bits"]) for c in configs if c["experiment"] != "rec_search_gnaq")
    methods = {("gnaq", 2), ("gnaq", 1), ("lsq", 2), ("n2uq", 2), ("bigear", 1)}
    on_gowalla = methods - {("bigear", 1)}
    wanted = dict.fromkeys(((dataset, *method) for dataset in readme.SMALL_SETS for method in methods), 6)
    wanted |= {(dataset, "gnaq_as_released", 2): 5 for dataset in readme.SMALL_SETS}
    wanted |= dict.fromkeys((("amazon-book-kgat", *method) for method in methods), 5)
    wanted |= dict.fromkeys((("yelp2018", *method) for method in on_gowalla), 5)
    with_two_teachers = dict.fromkeys((("gowalla", *method) for method in on_gowalla), 9) | {("gowalla", "gnaq", 1): 5}
    assert trials == wanted | with_two_teachers
    for sampling, each in (("interactions", 4), ("users", 5)):  # of each of two teachers; not stored: by interaction
        mine = [c for c in configs if c["dataset"] == "gowalla" and c.get("sampling", "interactions") == sampling]
        found = Counter((c["method"], c["bits"]) for c in mine)
        assert found == {method: each for method in on_gowalla if method[1] == 2 or sampling == "users"}
    rotated = {(c["dataset"], c["method"], c["bits"]) for c in configs if c.get("rotation")}
    assert rotated == {key for key in trials if key[1] != "gnaq_as_released"}
    more = Counter((c["dataset"], c["method"]) for c in configs if c["experiment"] == "rec_search_gnaq")
    assert more == {("ml-100k", "gnaq"): 4}
    full = Counter(c["dataset"] for name in ("rec_search_fp32", "rec_search_large") for c in _configs(name))
    assert full == {"lastfm": 3, "ml-100k": 5, "ml-1m": 5, "gowalla": 9}
    assert len({c["l2"] for c in _configs("rec_search_large")}) == 1


def test_one_teacher_for_all_methods_of_a_seed():
    frame = pd.concat([_store(name).frame() for name in RECOMMENDER_TABLES])
    trained = frame[frame.metric == "teacher_seconds"]
    for _, same in trained.groupby(["experiment", "dataset", "seed"]):
        assert same.device.str.contains("NVIDIA").nunique() == 1  # a CUDA device draws other batches


def test_seeds_of_the_recommenders():
    frame = pd.concat([_store(name).frame() for name in RECOMMENDER_TABLES])
    seeds = frame[frame.metric == "ndcg@10"].groupby(["dataset", "config_key"]).seed.first().reset_index()
    assert seeds.groupby("dataset").seed.nunique().to_dict() == {
        "lastfm": 3, "ml-1m": 3, "ml-100k": 10, "gowalla": 1, "yelp2018": 1, "amazon-book-kgat": 1
    }  # fmt: skip


def _store(name):
    return ResultsStore(project_root() / "data" / "results" / f"{name}.csv")


def _configs(name):
    return list(_store(name).configs().values())


def test_methods_from_scratch_are_pooled_over_tables(monkeypatch):
    """The seeds of every table count, each once; another data set, and a run with a switch on, do not."""
    rows = test_rules.runs("methods_cora_scratch", [74.0, 76.0], method="qlr", start="scratch")
    rows += test_rules.runs("paper_switches", [74.0, 76.0, 12.0], method="qlr", start="scratch")
    rows += test_rules.runs("paper_switches", [99.0], method="qlr", start="scratch", as_released=True)
    rows += test_rules.runs("paper_methods_citeseer", [99.0], method="qlr", start="scratch", dataset="citeseer")
    monkeypatch.setattr(Results, "stored", classmethod(lambda cls: Results.of(rows)))
    scratch = readme._from_scratch()
    fine_tuned = pd.DataFrame({"method": ["qlr"], "value": [73.0], "bits_per_value": [2.0]})
    assert "| 73.0 (1) | 54.0 ± 36.4 (3) | 2.00 |" in readme.methods_table(fine_tuned, scratch)


def test_accuracy_table_by_hand():
    rows = pd.DataFrame(
        {"dataset": "cora", "bits": [32, 32, 2], "bits_per_value": [32, 32, 2.29], "value": [84.0, 85.0, 83.5]}
    )
    continued = pd.DataFrame({"dataset": ["cora", "cora"], "value": [85.0, 87.0]})
    searched = pd.DataFrame({"dataset": ["cora"], "value": [84.8]})
    assert readme.accuracy_table(rows, continued=continued, searched=searched).splitlines() == [
        "|  | Cora | bits, Cora |",
        "| --- | --- | --- |",
        "| FP32 | 84.5 ± 0.7 (2) | 32.00 |",
        "| FP32, trained on with the same budget | 86.0 ± 1.4 (2) | 32.00 |",
        "| FP32, settings of the stored search | 84.8 (1) | 32.00 |",
        "| INT2 | 83.5 (1) | 2.29 |",
    ]


def test_an_unknown_table_is_named():
    with pytest.raises(InputError, match="'weather'"):
        readme.with_tables("<!-- table: weather -->\n<!-- end of table -->")


def test_numbers_in_sentences_are_renewed(monkeypatch):
    monkeypatch.setitem(readme.NUMBERS, "answer", lambda: "42")
    assert readme.with_tables("<!-- number: answer -->7<!-- end --> it is") == (
        "<!-- number: answer -->42<!-- end --> it is"
    )


def test_an_unknown_number_is_named():
    with pytest.raises(InputError, match="a number 'luck'"):
        readme.with_tables("<!-- number: luck -->7<!-- end -->")


def test_calibration_table_by_hand():
    keys = {"a": (False, "training", True), "b": (True, "evaluation", False)}
    configs = {k: {"as_released": r, "calibration": c, "dropout_first": d} for k, (r, c, d) in keys.items()}
    rows = pd.DataFrame({"config_key": ["a", "b"], "method": ["qlr", "bt_star"], "value": [70.0, 75.0]})
    assert readme.calibration_table(rows, configs).splitlines()[2:] == [
        "| evaluation, quantizer first | – | – | – | 75.0 (1) |",
        "| training, dropout first | 70.0 (1) | – | – | – |",
    ]


def test_speed_table_by_hand():
    packed = {"path": "packed (real low-bit)", "variant": "packed", "case": "toy"}
    rows = pd.DataFrame(
        [{"case": "toy", "path": "fp32", "bits": 32, "median_ms": ms} for ms in (9.0, 4.0)]
        + [{**packed, "bits": bits, "median_ms": 4 / gain, "speedup_vs_best_fp32": gain,
            "speedup_vs_fp32_as_released": 2 * gain} for bits, gain in ((2, 4.0), (4, 2.0), (8, 1.0))]
    )  # fmt: skip
    line = readme.speed_table(rows).splitlines()[2]
    assert line == "| toy | 4.00 | 1.00 | 2.00 | 4.00 | 4.0 | 2.0 | 1.0 | 8.0 | 4.0 |"


def test_size_table_by_hand():
    values = {"model_bytes": 24000, "times_smaller": 15.0, "largest_logit_difference": 0.0,
              "nodes_of_another_class": 0, "nodes_compared": 2708}  # fmt: skip
    rows = pd.DataFrame([{"dataset": "cs", "bits": 2, "metric": m, "value": v} for m, v in values.items()])
    assert readme.size_table(rows).splitlines()[2] == "| Coauthor CS | INT2 | 24,000 | 15.0 | 0 | 0 of 2,708 |"


def test_recommendation_table_by_hand():
    configs = {"a": {"method": "fp32", "bits": 32, "linear_head": False},
               "b": {"method": "gnaq", "bits": 2, "linear_head": False}}  # fmt: skip
    values = {"a": (0.2, 0.1, 800), "b": (0.19, 0.095, 100)}
    rows = pd.DataFrame(
        [{"config_key": key, "method": configs[key]["method"], "dataset": "lastfm", "metric": metric, "value": value}
         for key in "ab" for metric, value in zip(("recall@10", "ndcg@10", "model_bytes"), values[key])]
    )  # fmt: skip
    assert readme.recommendation_table(rows, configs, ("lastfm",)).splitlines() == [
        "|  | LastFM, Recall@10 | LastFM, NDCG@10 | times smaller |",
        "| --- | --- | --- | --- |",
        "| FP32, trained on with the same budget | 20.00 (1) | 10.00 (1) | 1.0 |",
        "| GNAQ (ours), 2 bits | 19.00 (1) | 9.50 (1) | 8.0 |",
    ]


def test_cells_of_the_state_before_training_are_marked():
    configs = {key: {"method": "lsq", "bits": 2, "linear_head": False} for key in "ab"}
    measured = {"recall@10": 0.2, "ndcg@10": 0.1, "model_bytes": 100}
    rows = [
        {"config_key": key, "dataset": name, "metric": metric, "value": value}
        for key, name, epoch in (("a", "lastfm", 0), ("b", "ml-1m", 20))
        for metric, value in {**measured, "best_epoch": epoch}.items()
    ]
    table = readme.recommendation_table(pd.DataFrame(rows).assign(method="lsq"), configs, ("lastfm", "ml-1m"))
    assert "| 20.00 (1)† | 10.00 (1)† | 20.00 (1) | 10.00 (1) |" in table
    rounded = {key: {**c, "method": "post_training_node"} for key, c in configs.items()}
    rows = pd.DataFrame(rows).assign(method="post_training_node")  # never trained: nothing to mark
    assert "†" not in readme.recommendation_table(rows, rounded, ("lastfm", "ml-1m"))


def test_the_state_after_the_last_epoch_has_a_line_of_its_own():
    configs = {"a": {"method": "gnaq_as_released", "bits": 2, "linear_head": False}}
    values = {"recall@10": 0.18, "ndcg@10": 0.17, "last_recall@10": 0.09, "last_ndcg@10": 0.08, "model_bytes": 100}
    rows = pd.DataFrame([{"metric": metric, "value": value} for metric, value in values.items()])
    rows = rows.assign(config_key="a", method="gnaq_as_released", dataset="lastfm")
    lines = readme.recommendation_table(rows, configs, ("lastfm",)).splitlines()[2:]
    assert [line.split("|")[2:4] for line in lines] == [[" 18.00 (1) ", " 17.00 (1) "], [" 9.00 (1) ", " 8.00 (1) "]]


def test_released_runs_that_keep_the_start_are_counted():
    keys = {"a": False, "b": False, "c": True}
    rows = pd.DataFrame({"config_key": list("abca"), "value": [0.0, 20.0, 0.0, 0.1]})
    rows = rows.assign(metric=[*["best_epoch"] * 3, "ndcg@10"], method="gnaq_as_released")
    assert readme.untrained_as_released(rows, {k: {"linear_head": head} for k, head in keys.items()}) == "1 of 2"


def test_yelp2018s_teacher_was_best_at_its_last_epoch():
    """What the README says beside the one set where GNAQ at 2 bits is within half a percent."""
    assert "whose best epoch\n  is its last (500)" in TEXT
    runs = Results.stored().select("best_epoch", "rec_gowalla", dataset="yelp2018", method="fp32", refit=False)
    assert runs.value.tolist() == runs.epochs.tolist() == [500]


def test_no_stored_result_or_figure_is_over_a_megabyte():
    root = project_root()
    files = [file for folder in ("data/results", "data/reported", "figures") for file in (root / folder).iterdir()]
    assert len(files) > 100
    assert [file.name for file in files if file.stat().st_size > 1_000_000] == []


def test_environment_variables_that_are_named_are_read():
    code = "".join(path.read_text(encoding="utf-8") for path in (project_root() / "gnnq_lib").rglob("*.py"))
    named = set(re.findall(r"`(GNNQ_[A-Z_]+)`", TEXT))
    read = set(re.findall(r'environ(?:\.get\(|\[)"(GNNQ_[A-Z_]+)"', code))
    assert named <= read and read - named <= {"GNNQ_KERNEL_LIBRARY"}  # for `make sanitize`
