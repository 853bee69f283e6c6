"""The page: nothing points outside, pictures have words, tables are whole, differences are computed."""

from __future__ import annotations

import html
import json
import re
import shutil
from html.parser import HTMLParser

import pandas as pd
import pytest

from gnnq_lib.paths import project_root
from gnnq_lib.reporting import page as pages
from gnnq_lib.reporting.claims import load_claims
from gnnq_lib.reporting.page import _text, page, table_html
from gnnq_lib.reporting.released import release_differences
from gnnq_lib.reporting.results import Results
from gnnq_lib.reporting.verdicts import judge_all
from tests.reporting.test_rules import bench, methods, runs
from tests.test_cli import gnnq

VOID = {"meta", "link", "img", "br"}


class Reader(HTMLParser):
    """Collects tags, ids and links, and checks that every tag is closed in its place."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.faults = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.faults.append(tag)

    def attributes(self, tag, name):
        return [attrs[name] for found, attrs in self.tags if found == tag and name in attrs]


@pytest.fixture(scope="module")
def text():
    picture = pages._Picture("a_figure", 'INT2 < "FP32"', "Accuracy & bits.", b"\x89PNG")
    results = Results.of(methods(77.0, 20.0), inference=bench(6.0, 6.0, 6.0))
    table = pd.DataFrame({"layers": ["FP32"], "2": ["82.9"]})
    return page(judge_all(results), release_differences(results), [picture], [("Depth", table)], results)


def test_nothing_points_outside(text):
    reader = Reader(text)
    for name in ("src", "href"):
        for _, attributes in reader.tags:
            if name in attributes:
                assert attributes[name].startswith(("#", "data:")), attributes[name]
    assert not re.search(r"https?://|//cdn|@import|url\(|fetch\(|XMLHttpRequest", text)


def test_every_picture_has_words(text):
    reader = Reader(text)
    images = [attributes for tag, attributes in reader.tags if tag == "img"]
    assert images and all(len(image["alt"]) > 10 for image in images)
    assert images[0]["alt"] == 'INT2 < "FP32". Accuracy & bits.'


def test_tags_are_closed_and_ids_unique(text):
    reader = Reader(text)
    assert not reader.faults and not reader.open
    ids = [attributes["id"] for _, attributes in reader.tags if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_contents_lead_to_sections(text):
    reader = Reader(text)
    links = [href[1:] for href in reader.attributes("a", "href")]
    assert links and set(links) == set(reader.attributes("section", "id"))


def test_every_table_scrolls_and_sorts(text):
    reader = Reader(text)
    tables = sum(tag == "table" for tag, _ in reader.tags)
    assert tables == text.count('<div class="scroll') and tables >= 6
    heads = len(reader.attributes("th", "scope"))
    assert heads == sum(tag == "button" for tag, _ in reader.tags) > 0


def test_a_table_is_read_back_whole():
    frame = pd.DataFrame({"a": ["1", "x < y"], "b": ["2", "&"]})
    cells = [html.unescape(cell) for cell in re.findall("<td[^>]*>(.*?)</td>", table_html(frame))]
    assert cells == frame.to_numpy().ravel().tolist()


def test_long_cells_and_many_commands_are_folded_and_whole():
    long, commands = "first words, " + "then more " * 40, " && ".join(f"gnnq run t{n}" for n in range(3))
    text = table_html(pd.DataFrame({"why": [long], "command": [commands]}))
    assert text.count("<details>") == 2 and _text(long) in text and "<summary>3 commands</summary>" in text
    assert re.findall("<code>(.*?)</code>", text) == commands.split(" && ")
    short = table_html(pd.DataFrame({"why": ["brief"], "command": ["a && b"]}))
    assert "<details>" not in short and short.count("<code>") == 2


def test_rows_become_cards_on_a_narrow_screen(text):
    assert text.count('<div class="scroll cards"') >= 3 and ".cards td::before{content:attr(data-name)" in text
    assert text.count("<td") == text.count('data-name="')


def test_benchmarks_are_folded_away_with_what_all_rows_share(text):
    folded = text[text.index("<details><summary>inference") :]
    assert "inference (6 rows)" in folded and "threads: 1" in folded and "packed (real low-bit)" in folded


def test_what_cannot_be_told_has_a_badge_and_is_counted(text):
    assert ".cannot-be-told{" in text and "</b> cannot be told" in text
    assert 'class="badge cannot-be-told"' in table_html(pd.DataFrame({"verdict": ["cannot be told"]}))


def test_every_device_of_a_table_is_listed():
    rows = pd.DataFrame({"experiment": "t", "config_key": ["a", "b", "c"], "value": 1.0, "commit": ["x", "x", "y"],
                         "device": ["CPU", "H100", "CPU"]})  # fmt: skip
    assert '>CPU; H100</td><td data-name="commits">x; y</td>' in pages._provenance(rows)


def test_no_table_stands_twice(monkeypatch):
    monkeypatch.setattr(pages.readme, "TABLES", dict.fromkeys(("targets", "claims", "recommendation_large"),
                                                              lambda: "| a |\n| --- |\n| 1 |"))  # fmt: skip
    assert [title for title, _ in pages._tables()] == [pages.TABLE_TITLES["recommendation_large"]]


def test_a_report_without_any_results(tmp_path, monkeypatch):
    """The whole page of a project whose results folder is empty: no table, no picture, every claim not run."""
    shutil.copytree(project_root() / "data" / "reported", tmp_path / "data" / "reported")
    monkeypatch.setenv("GNNQ_ROOT", str(tmp_path))
    assert pages._tables() == []
    text = pages.build_report(tmp_path / "report.html").read_text(encoding="utf-8")
    assert text.count('class="badge not-run"') >= len(load_claims())


def test_verdicts_are_badges_with_words(text):
    assert '<span class="badge holds">holds</span>' in text and '<span class="badge not-run">not run</span>' in text


def test_what_a_claim_is_judged_by_stands_where_rules_say_it(text):
    judged = re.findall('data-name="judged by">(.*?)</td>', text)
    assert len(judged) == sum(claim.paper in ("A", "B") for claim in load_claims()) and all(map(_text, judged))


def test_the_command_writes_the_page_and_the_verdicts(tmp_path, monkeypatch):
    monkeypatch.setenv("GNNQ_RESULTS", str(project_root() / "data" / "results"))
    run = gnnq("report", "--out", tmp_path / "report.html", "--json", tmp_path / "verdicts.json")
    assert run.returncode == 0 and "report.html written" in run.stdout
    written = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert len(written) < 1_000_000
    assert written.count("<img ") == written.count("alt=") >= 3
    verdicts = json.loads((tmp_path / "verdicts.json").read_text())["results"]
    assert len(verdicts) == len(load_claims())
    missing = [line for line in run.stdout.splitlines() if line.startswith("not run: ")]
    assert bool(missing) == any(verdict["verdict"] == "not run" for verdict in verdicts)


def difference(results, words):
    frame = release_differences(Results.of(results)).set_index("released")
    (effect,) = frame.effect[frame.index.str.contains(words)]
    return effect


def test_differences_are_not_run_without_results():
    frame = release_differences(Results.of([]))
    known = frame[~frame.effect.eq("not run")]
    assert set(known.released.str.split().str[0]) == {"Embeddings"}  # from the printed logs


def test_gradient_difference_by_hand():
    where = {"method": "qlr", "calibration": "evaluation", "dropout_first": False, "multiplier": False,
             "placement": "node"}  # fmt: skip
    rows = runs("calibration", [70.0, 72.0, 71.0], as_released=True, **where)
    rows += runs("calibration", [74.0, 77.0, 75.0], as_released=False, **where)
    assert difference(rows, "gradient of the range").startswith(
        "QLR: released 71.0 ± 1.0 (3), ours 75.3 ± 1.5 (3): -4.3 points (p = 0.006"
    )


def test_collapse_by_hand():
    where = {"start": "teacher", "dim": 64, "dataset": "lastfm", "model": "lightgcn"}
    rows = runs("rec_methods", [0.04, 0.05], "recall@10", method="gnaq_as_released", linear_head=True, **where)
    rows += runs("rec_methods", [0.18, 0.18], "recall@10", method="gnaq", linear_head=False, **where)
    effect = difference(rows, "taken anew")
    assert "with its linear head, recall@10: released 0.0450 ± 0.0071 (2), ours 0.1800 ± 0.0000 (2): -75.0 %" in effect


def test_means_and_change_are_those_of_the_pairs():
    """Ten runs of ours, three of the release: the seven without a partner enter neither side."""
    where = {"method": "qlr", "calibration": "evaluation", "multiplier": False, "placement": "node"}
    where |= {"as_released": False}
    rows = runs("calibration", [70.0, 71.0, 72.0], dropout_first=True, **where)
    rows = [{**row, "calibration": "training"} for row in rows]
    rows += runs("calibration", [72.0, 73.0, 74.0] + [10.0] * 7, dropout_first=False, **where)
    assert "released 71.0 ± 1.0 (3), ours 73.0 ± 1.0 (3): -2.0 points" in difference(rows, "last training step")


def test_rankings_are_given_per_data_set():
    where = {"start": "teacher", "dim": 64, "model": "lightgcn", "metric": "recall@10"}
    rows = []
    for dataset, level in (("lastfm", 0.2), ("gowalla", 0.02)):
        rows += runs("rec_methods", [level / 2], method="gnaq_as_released", linear_head=True, dataset=dataset, **where)
        rows += runs("rec_methods", [level], method="gnaq", linear_head=False, dataset=dataset, **where)
    effect = difference(rows, "taken anew")
    assert "LastFM: released 0.1000 (1), ours 0.2000 (1): -50.0 % (no test with one pair)" in effect
    assert "Gowalla: released 0.0100 (1), ours 0.0200 (1): -50.0 %" in effect


def test_an_ablation_of_the_release_keeps_every_other_setting():
    """A run whose order weight differs too is no side of the comparison."""
    usual = {"placement": "lloyd", "tanh": False, "linear_head": False, "anchor": 0.0, "order_weight": 0.0}
    where = {"method": "gnaq", "dim": 64, "dataset": "lastfm", "metric": "ndcg@10"}
    rows = runs("rec_ablations", [0.17, 0.18], **where, **usual)
    rows += runs("rec_ablations", [0.16, 0.17], **where, **{**usual, "placement": "released"})
    rows += runs("rec_ablations", [0.01, 0.01], **where, **{**usual, "order_weight": 5.0})
    rows += runs("rec_ablations", [0.01, 0.01], **where, **{**usual, "order_weight": 5.0, "placement": "released"})
    assert "released 0.1650 ± 0.0071 (2), ours 0.1750 ± 0.0071 (2)" in difference(rows, "0.2, 0.4, 0.6, 0.8")


def test_shared_ranges_by_hand():
    where = {"method": "qlr", "start": "scratch", "multiplier": True, "placement": "node", "as_released": False,
             "calibration": "evaluation"}  # fmt: skip
    rows = runs("paper_switches", [60.0, 62.0, 61.0], shared_ranges=True, **where)
    assert difference(rows, "shared by all layers") == "not run"
    rows += runs("paper_switches", [74.0, 77.0, 75.0], **where)  # stored before the setting came
    assert difference(rows, "shared by all layers").startswith(
        "QLR with the multiplier: released 61.0 ± 1.0 (3), ours 75.3 ± 1.5 (3): -14.3 points (p < 0.001, 3 pairs)"
    )


def test_the_stored_report_is_that_of_the_stored_results():
    stored = (project_root() / "figures" / "report.html").read_text(encoding="utf-8")
    stale = [v.claim.name for v in judge_all() if _text(v.finding.ours[:60]) not in stored]
    assert not stale, f"{', '.join(stale)}: run `gnnq report` and commit figures/report.html"
    assert "Other bounds, other verdicts" in stored
