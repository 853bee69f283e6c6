"""The report as one self-contained HTML page: claims, differences of the released codes, tables, figures, rules."""

from __future__ import annotations

import base64
import html
import re
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from gnnq_lib.experiments import readme
from gnnq_lib.files import atomic_write
from gnnq_lib.naming import case_title
from gnnq_lib.paths import figures_dir
from gnnq_lib.reporting.claims import PAPERS
from gnnq_lib.reporting.released import release_differences
from gnnq_lib.reporting.results import Results
from gnnq_lib.reporting.rules import RULES, Status
from gnnq_lib.reporting.targets import targets_table
from gnnq_lib.reporting.verdicts import Verdict, counts, judge_all, sensitivity, verdict_frame

TABLE_TITLES = {
    "accuracy": "SMP on the public splits: accuracy and bits per value",
    "methods": "INT2 quantizers on Cora",
    "calibration": "Where ranges are measured (INT2 on Cora, from scratch)",
    "paper_accuracy": "Paper A's accuracy table: per cent, mean ± standard deviation (seeds or random splits)",
    "depth": "Accuracy of SMP against depth",
    "speed": "Speed of the whole classifier, packed",
    "size": "Packed files",
    "recommendation": "Low-bit recommenders: per cent, mean ± standard deviation (seeds)",
    "recommendation_large": "Low-bit recommenders on the large sets: per cent, mean ± standard deviation (seeds)",
}
FOLD = 240  # characters of a cell
SECTIONS_OF_THEIR_OWN = ("claims", "published", "targets")  # of the README's tables
_STYLE = """
:root{--ink:#1b1b1b;--faint:#5c5c5c;--line:#d5d5d5;--back:#fff;--band:#f5f6f8;--link:#0b5394}
@media(prefers-color-scheme:dark){:root{--ink:#e8e8e8;--faint:#a9a9a9;--line:#444;--back:#17191c;--band:#212429;
--link:#8ab4f8}figure img{background:#fff}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:96rem;padding:1rem;font:16px/1.5 system-ui,sans-serif;color:var(--ink);
background:var(--back)}
h1{font-size:1.6rem;line-height:1.25;margin:.5rem 0}h2{font-size:1.25rem;margin:2.2rem 0 .5rem}h3{font-size:1.05rem}
a{color:var(--link)}code{font-size:.85em}p code{overflow-wrap:anywhere}
.scroll{overflow-x:auto;border:1px solid var(--line);border-radius:4px;margin:.6rem 0}
table{border-collapse:collapse;font-size:.875rem;width:100%}
caption{text-align:left;padding:.4rem .6rem;color:var(--faint)}
th,td{padding:.35rem .6rem;text-align:left;vertical-align:top;border-bottom:1px solid var(--line)}
thead th{background:var(--band);vertical-align:bottom}tbody tr:last-child td{border-bottom:0}
th button{font:inherit;font-weight:600;text-align:left;color:inherit;background:none;border:0;padding:0;cursor:pointer}
th[aria-sort=ascending] button::after{content:" \\25B2"}th[aria-sort=descending] button::after{content:" \\25BC"}
td.wide{min-width:11rem}td.command{min-width:9rem;overflow-wrap:anywhere}td.brief{min-width:7rem}
td.short{white-space:nowrap}
th:first-child,td:first-child{position:sticky;left:0;background:var(--back)}thead th:first-child{background:var(--band)}
td code{display:block;margin-bottom:.25rem}td details{margin:0}td details[open] summary{display:none}
@media print{td details:not([open])::details-content{content-visibility:visible;height:auto}}
@media(max-width:40rem){td.wide{min-width:11rem}nav li{padding:.2rem 0}
.cards thead{display:none}.cards table,.cards tbody,.cards tr,.cards td{display:block;min-width:0}
.cards tr{padding:.5rem 0;border-bottom:2px solid var(--line)}.cards td{border:0;padding:.15rem .6rem;position:static}
.cards td:empty{display:none}
.cards td::before{content:attr(data-name);display:block;color:var(--faint);font-size:.75rem}}
.badge{display:inline-block;padding:0 .5rem;border-radius:1rem;white-space:nowrap;border:1px solid currentColor}
.holds{color:#00664b}.in-part{color:#8a5a00}.does-not-hold{color:#a83a00}.not-run{color:var(--faint)}
.cannot-be-told{color:#4a4a8c}
@media(prefers-color-scheme:dark){.holds{color:#4fd1a5}.in-part{color:#f0b94d}.does-not-hold{color:#ff9466}
.cannot-be-told{color:#b9b9f5}}
.counts{display:flex;flex-wrap:wrap;gap:.6rem;padding:0;list-style:none}
.counts li{border:1px solid var(--line);border-radius:4px;padding:.3rem .8rem}.counts b{font-size:1.3rem}
details{margin:.5rem 0}summary{cursor:pointer}
.figures{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,26rem),1fr));gap:1rem}
figure{margin:0}figure img{max-width:100%;height:auto}figcaption{font-size:.85rem;color:var(--faint)}
""".strip()
_SCRIPT = """
document.querySelectorAll("th button").forEach(function (button) {
  button.addEventListener("click", function () {
    var th = button.closest("th"), table = th.closest("table"), body = table.tBodies[0];
    var column = Array.prototype.indexOf.call(th.parentNode.children, th);
    var up = th.getAttribute("aria-sort") !== "ascending";
    table.querySelectorAll("th").forEach(function (other) { other.removeAttribute("aria-sort"); });
    th.setAttribute("aria-sort", up ? "ascending" : "descending");
    var key = function (row) { return row.cells[column].textContent.trim(); };
    var number = function (text) { return parseFloat(text.replace(/,/g, "").replace(/^[^0-9.+-]+/, "")); };
    Array.prototype.slice.call(body.rows).sort(function (a, b) {
      var x = key(a), y = key(b), m = number(x), n = number(y);
      var order = isNaN(m) || isNaN(n) ? x.localeCompare(y) : m - n;
      return up ? order : -order;
    }).forEach(function (row) { body.appendChild(row); });
  });
});
""".strip()


@dataclass(frozen=True)
class _Picture:
    """A figure as it goes into the page."""

    name: str
    finding: str
    description: str
    png: bytes


def build_report(out: Path | None = None, results: Results | None = None) -> Path:
    """Judge every claim, draw every figure, and write the page.

    Args:
        out: where to; `report.html` in the figures folder if not given.
        results: everything stored, if not given.

    Returns:
        The file.
    """
    results = Results.stored() if results is None else results
    text = page(judge_all(results), release_differences(results), _pictures(), _tables(), results)
    return atomic_write(Path(out or figures_dir() / "report.html"), text)


def page(
    verdicts: Sequence[Verdict],
    differences: pd.DataFrame,
    pictures: Sequence[_Picture] = (),
    tables: Sequence[tuple[str, pd.DataFrame]] = (),
    results: Results | None = None,
) -> str:
    """The page's HTML; nothing in it points outside.

    Args:
        verdicts: of all claims.
        differences: from `release_differences`.
        pictures: figures.
        tables: (title, table of text).
        results: benchmarks, and the rows that versions and devices are read from.
    """
    sections = [(title, _claims_section(verdicts, paper)) for paper, title in PAPERS.items()]
    sections = [(title, body) for title, body in sections if body]
    sections.append(("What the released codes do differently", _differences_section(differences)))
    if results is not None:
        sections.append(("What this project set out to reach", _targets_section(results)))
    if tables:
        sections.append(("Tables", "".join(_titled_table(title, frame) for title, frame in tables)))
    if results is not None and results.benches:
        sections.append(("Benchmarks", _benchmarks(results)))
    if pictures:
        sections.append(("Figures", f'<div class="figures">{"".join(map(_figure, pictures))}</div>'))
    sections.append(("The rules", _rules_section(verdicts)))
    if results is not None:
        sections.append(("Other bounds, other verdicts", _bounds_section(results)))
    sections.append(("Where the numbers come from", _provenance(None if results is None else results.rows)))
    contents = "".join(f'<li><a href="#{_anchor(title)}">{_text(title)}</a></li>' for title, _ in sections)
    body = "".join(
        f'<section id="{_anchor(title)}"><h2>{_text(title)}</h2>{content}</section>' for title, content in sections
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<link rel="icon" href="data:,">'
        f"<title>GNNQ: what holds</title><style>{_STYLE}</style></head><body>"
        f"<header><h1>What holds of two papers on low-bit graph neural networks</h1>{_summary(verdicts)}</header>"
        f'<nav aria-label="Contents"><h2>Contents</h2><ol>{contents}</ol></nav><main>{body}</main>'
        f"<script>{_SCRIPT}</script></body></html>\n"
    )


def table_html(
    frame: pd.DataFrame, caption: str = "", classes: dict[str, str] | None = None, cards: bool = False
) -> str:
    """A table that scrolls sideways where it is too wide and sorts by its header buttons.

    Args:
        frame: text; a cell that is a `Status` value in the column "verdict" becomes a badge, "command" becomes code,
            and what is long is folded after its first words.
        caption: a sentence above it.
        classes: column -> class of its cells.
        cards: on a narrow screen every row is a block with the column's name over each cell.

    Example:
        >>> '<td data-name="a">1 &lt; 2</td>' in table_html(pd.DataFrame({"a": ["1 < 2"]}))
        True
    """
    head = "".join(f'<th scope="col"><button type="button">{_text(name) or "row"}</button></th>' for name in frame)
    lines = "".join(
        "<tr>" + "".join(_cell(name, value, (classes or {}).get(name, "")) for name, value in row.items()) + "</tr>"
        for _, row in frame.iterrows()
    )
    described = f"<caption>{_text(caption)}</caption>" if caption else ""
    return (
        f'<div class="scroll{" cards" * cards}" role="region" aria-label="table" tabindex="0"><table>{described}'
        f"<thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></div>"
    )


def _cell(name: str, value: object, css: str) -> str:
    if name == "verdict":
        kind = str(value).replace("holds in part", "in part").replace(" ", "-")
        text = f'<span class="badge {kind}">{_text(value)}</span>'
    elif name == "command" and value:
        text = _commands(str(value).split(" && "))
    else:
        text = _folded(str(value))
    described = f' class="{css}"' if css else ""
    return f'<td{described} data-name="{_text(name)}">{text}</td>'


def _commands(commands: Sequence[str]) -> str:
    """One line for each; more than two are folded."""
    lines = "".join(f"<code>{_text(command)}</code>" for command in commands)
    if len(commands) <= 2:
        return lines
    return f"<details><summary>{len(commands)} commands</summary>{lines}</details>"


def _folded(text: str) -> str:
    """Text of a cell; what is longer than `FOLD` characters shows its first words until it is opened.

    Example:
        >>> _folded("short"), _folded("word " * 100).startswith("<details><summary>word word")
        ('short', True)
    """
    if len(text) <= FOLD:
        return _text(text)
    first = textwrap.shorten(text, FOLD // 2, placeholder=" …")
    return f"<details><summary>{_text(first)}</summary>{_text(text)}</details>"


def _text(value: object) -> str:
    return html.escape(str(value))


def _anchor(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def _summary(verdicts: Sequence[Verdict]) -> str:
    of_papers = [v for v in verdicts if v.claim.paper in ("A", "B")]
    items = "".join(f"<li><b>{number}</b> {_text(name)}</li>" for name, number in counts(of_papers).items())
    return (
        "<p>Every claim of both papers' abstracts and every published number used, with what was measured here beside "
        "it. Each verdict is worked out from stored results by a rule that is stated below; means are given with "
        "standard deviation and number of runs, or of what else they were taken over. A p-value is that of the test "
        "that decides; there is none where a distance does.</p>"
        f'<ul class="counts" aria-label="Verdicts on the claims of the two papers">{items}</ul>'
        "<p>This page is written by <code>gnnq report</code>.</p>"
    )


def _claims_section(verdicts: Sequence[Verdict], paper: str) -> str:
    frame = verdict_frame([v for v in verdicts if v.claim.paper == paper])
    if frame.empty:
        return ""
    if not frame["judged by"].any():
        frame = frame.drop(columns="judged by")
    classes = {"why": "wide", "command": "command", "source": "wide"}
    classes |= dict.fromkeys(("judged by", "ours", "comparison", "paper's number"), "brief")
    return table_html(
        frame.rename(columns={"text": "claim in our words"}), "", {**classes, "claim in our words": "wide"}, cards=True
    )


def _differences_section(differences: pd.DataFrame) -> str:
    names = {"released": "the release", "ours": "here", "effect": "what it changes, measured"}
    measured = int((differences.effect != Status.NOT_RUN.value).sum())
    intro = (
        f"<p>{measured} of {len(differences)} differences were measured. Differences are released minus ours over runs "
        "that share data set, split and seed, with a paired t-test; means are those of these runs.</p>"
    )
    wide = {"the release": "wide", "here": "wide", "what it changes, measured": "wide"}
    return intro + table_html(differences.rename(columns=names), "", wide, cards=True)


def _targets_section(results: Results) -> str:
    intro = "<p>Set before anything was measured. Of several numbers the worst decides whether a target is met.</p>"
    return intro + table_html(targets_table(results), "", {"target": "wide", "command": "command"}, cards=True)


def _rules_section(verdicts: Sequence[Verdict]) -> str:
    used: dict[str, list[str]] = {}
    for verdict in verdicts:
        used.setdefault(verdict.claim.rule, []).append(verdict.claim.name)
    frame = pd.DataFrame(
        [(_spans(claims), RULES[name].statement, name) for name, claims in used.items()],
        columns=["claims", "rule", "its name in the code"],
    )
    return "<p>Where results are missing, the verdict is “not run”.</p>" + table_html(frame, "", {"rule": "wide"})


def _bounds_section(results: Results) -> str:
    intro = (
        "<p>Bounds that no claim names (the level of the tests, how many runs, how close is close) are ours. Here one "
        "at a time is moved, to a stricter and to a looser number, and the abstracts' claims whose rules read it are "
        "judged again.</p>"
    )
    classes = {"bound": "wide", "verdicts that change": "wide", "as judged": "short", "in its place": "short"}
    return intro + table_html(sensitivity(results), "", {**classes, "read by": "brief"}, cards=True)


def _spans(names: Sequence[str]) -> str:
    """Names of claims, three or more in a row as first and last.

    Example:
        >>> _spans(["D1", "D2", "D3", "N1", "N2", "N4"])
        'D1 to D3, N1, N2, N4'
    """
    runs: list[list[str]] = []
    for name in names:
        if runs and name[0] == runs[-1][-1][0] and int(name[1:]) == int(runs[-1][-1][1:]) + 1:
            runs[-1].append(name)
        else:
            runs.append([name])
    return ", ".join(f"{run[0]} to {run[-1]}" if len(run) > 2 else ", ".join(run) for run in runs)


def _provenance(rows: pd.DataFrame | None) -> str:
    note = (
        "<p>Numbers of others are in <code>data/reported</code>, ours in <code>data/results</code>: a measurement per "
        "row, with settings, seed, commit, versions and device.</p>"
    )
    if rows is None or rows.empty:
        return note
    facts = rows.groupby("experiment", sort=True).agg(
        runs=("config_key", "nunique"), rows=("value", "size"), devices=("device", _each), commits=("commit", _each)
    )
    return note + table_html(facts.reset_index().astype(str))


def _each(values: pd.Series) -> str:
    """Every value once.

    Example:
        >>> _each(pd.Series(["a", "b", "a", None]))
        'a; b'
    """
    return "; ".join(values.dropna().astype(str).unique())


def _titled_table(title: str, frame: pd.DataFrame) -> str:
    classes = dict(zip(frame.columns, ["wide", *["short"] * (len(frame.columns) - 1)]))
    return f"<h3>{_text(title)}</h3>{table_html(frame, '', classes)}"


def _benchmarks(results: Results) -> str:
    """Every benchmark's table, folded away; columns that are the same in all rows are said once."""
    parts = ["<p>Times are medians of several rounds, all paths in turn in one process; see the columns.</p>"]
    for name, table in results.benches.items():
        table = table.drop(columns=["bench", "versions"], errors="ignore")
        same = [column for column in table if len(table) > 1 and table[column].nunique(dropna=False) == 1]
        shared = "; ".join(f"{column}: {table[column].iloc[0]}" for column in same if pd.notna(table[column].iloc[0]))
        if "case" in table:
            table = table.assign(case=table.case.map(case_title))
        body = table_html(table.drop(columns=same).map(_rounded), shared, {"case": "brief"})
        parts.append(f"<details><summary>{_text(name)} ({len(table)} rows)</summary>{body}</details>")
    return "".join(parts)


def _rounded(value: object) -> str:
    if isinstance(value, float):
        return "" if pd.isna(value) else f"{value:.4g}"
    return str(value)


def _figure(picture: _Picture) -> str:
    data = base64.b64encode(picture.png).decode()
    alt = _text(f"{picture.finding}. {picture.description}")
    return (
        f'<figure id="figure-{_anchor(picture.name)}"><img src="data:image/png;base64,{data}" alt="{alt}">'
        f"<figcaption>{_text(picture.description)}</figcaption></figure>"
    )


def _pictures() -> list[_Picture]:
    """Every figure that the results suffice for, drawn anew and small."""
    import matplotlib.pyplot as plt

    from gnnq_lib.experiments.store import all_results
    from gnnq_lib.plotting import FIGURES, use_style
    from gnnq_lib.plotting.registry import finding_and_description
    from gnnq_lib.plotting.style import small_png

    use_style()
    results, pictures = all_results(), []
    with plt.ioff():
        for name, draw in FIGURES.items():
            drawn = draw(results)
            if drawn is None:
                continue
            finding, description = finding_and_description(name, drawn)
            pictures.append(_Picture(name, finding, description, small_png(drawn)))
            plt.close(drawn)
    return pictures


def _tables() -> list[tuple[str, pd.DataFrame]]:
    """The README's tables whose results are there, without those that have a section of their own."""
    tables = []
    for name, make in readme.TABLES.items():
        if name in SECTIONS_OF_THEIR_OWN:
            continue
        table = _table(make)
        if len(table):
            tables.append((TABLE_TITLES.get(name, name.replace("_", " ").capitalize()), table))
    return tables


def _table(make: Callable[[], str]) -> pd.DataFrame:
    """A table of the README; empty if its results are not stored."""
    try:
        lines = _padded(make())
    except readme.NotMeasuredError:
        return pd.DataFrame()
    head, _, *body = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines]
    return pd.DataFrame(body, columns=head)


def _padded(markdown: str) -> list[str]:
    """Lines of a Markdown table; an empty first heading gets a name, so that no cell is lost."""
    lines = markdown.splitlines()
    lines[0] = re.sub(r"^\|\s*\|", "| setting |", lines[0])
    return lines
