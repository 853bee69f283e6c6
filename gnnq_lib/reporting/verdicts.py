"""Claims judged: one verdict per claim, computed from the stored results by the claim's rule."""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from gnnq_lib.errors import InputError
from gnnq_lib.reporting import rules_paper_a, rules_paper_b  # noqa: F401 - registers the rules
from gnnq_lib.reporting.bounds import BOUNDS, bounds_read, moved
from gnnq_lib.reporting.claims import Claim, load_claims
from gnnq_lib.reporting.results import Results
from gnnq_lib.reporting.rules import Finding, Status, find_rule

COLUMNS = ("claim", "verdict", "text", "judged by", "paper's number", "ours", "comparison", "why", "p", "command",
           "seconds", "source")  # fmt: skip


@dataclass(frozen=True)
class Verdict:
    """A claim and what was found.

    Attributes:
        claim, finding: the two.
        command: what measures the results it rests on.
        seconds: that the runs behind it took, added up, a teacher that several share once; NaN where none are stored
            run by run.
    """

    claim: Claim
    finding: Finding
    command: str
    seconds: float = math.nan


def judge(claim: Claim, results: Results) -> Verdict:
    """Apply the claim's rule to the results.

    The command is that of the tables whose rows the finding rests on; the rule's own where there are none or it was not
    run.

    Raises:
        InputError: if the rule is unknown or does not take the arguments that the claim gives.
    """
    registered = find_rule(claim.rule)
    signature = inspect.signature(registered.judge)
    try:
        given = signature.bind(results, claim, **claim.arguments)
    except TypeError:
        accepted = ", ".join(list(signature.parameters)[2:]) or "no arguments"
        raise InputError(
            f"claim {claim.name!r}: rule {claim.rule!r} does not take {dict(claim.arguments)}; {accepted} are accepted."
        ) from None
    given.apply_defaults()
    command = registered.command.format(**given.arguments)
    finding = registered.judge(*given.args, **given.kwargs)
    if finding.status is not Status.NOT_RUN:
        command = commands(finding.rows) or command
    return Verdict(claim, finding, command, cost(finding.rows, results))


def commands(rows: pd.DataFrame) -> str:
    """The commands that measure some rows, by the tables they stand in; "" where they stand in none.

    Example:
        >>> commands(pd.DataFrame({"experiment": ["depth", "rec_dims", "depth"]})), commands(pd.DataFrame())
        ('gnnq run depth && gnnq run rec_dims', '')
    """
    return " && ".join(f"gnnq run {name}" for name in sorted(set(rows.experiment))) if "experiment" in rows else ""


def cost(rows: pd.DataFrame, results: Results) -> float:
    """Seconds of the runs behind some rows: of a run whose training was resumed the whole training, not its last part
    alone; of a teacher that several runs share, its training once. Behind a benchmark's rows: what its command took.
    NaN where nothing is stored.

    Args:
        rows: with `config_key` and `seconds`, or with `command_seconds`.
        results: where the runs' `train_seconds` and `teacher_seconds` stand.
    """
    if "config_key" not in rows:
        return float(rows.command_seconds.max()) if "command_seconds" in rows else math.nan
    whole = rows.drop_duplicates("config_key").set_index("config_key").seconds
    every = results.rows[results.rows.config_key.isin(whole.index)]
    trained = every[every.metric == "train_seconds"].drop_duplicates("config_key").set_index("config_key").value
    teachers = every[every.metric == "teacher_seconds"].drop_duplicates("config_key")
    alone = whole.drop(teachers.config_key)  # without a teacher of their own
    recommenders = trained.reindex(teachers.config_key).sum()
    shared = teachers.drop_duplicates(["dataset", "seed", "dim", "value"]).value.sum()
    return float(pd.concat([alone, trained.reindex(alone.index)], axis=1).max(axis=1).sum() + recommenders + shared)


def judge_all(results: Results | None = None, claims: Sequence[Claim] | None = None) -> list[Verdict]:
    """Verdicts on all claims, in their order.

    Args:
        results: everything stored, if not given.
        claims: those of `data/reported/claims.csv`, if not given.
    """
    results = Results.stored() if results is None else results
    return [judge(claim, results) for claim in (load_claims() if claims is None else claims)]


def sensitivity(results: Results | None = None, claims: Sequence[Claim] | None = None) -> pd.DataFrame:
    """What the verdicts would be with other bounds, one moved at a time (see `BOUNDS`).

    Args:
        results: everything stored, if not given.
        claims: those of the abstracts, if not given.

    Returns:
        A line per bound that a claim's rule reads and number in its place: `bound`, `as judged`, `in its place`, `read
        by` (claims), `verdicts that change` ("A4 does not hold → holds in part").
    """
    results = Results.stored() if results is None else results
    claims = of_abstracts() if claims is None else claims
    judged, readers = {}, {name: [] for name in BOUNDS}
    for claim in claims:
        with bounds_read() as names:
            judged[claim.name] = judge(claim, results).finding.status
        for name in names:
            readers[name].append(claim)
    lines = []
    for name, reading in readers.items():
        for value in (BOUNDS[name].stricter, BOUNDS[name].looser) if reading else ():
            with moved(**{name: value}):
                others = {claim.name: judge(claim, results).finding.status for claim in reading}
            changed = [f"{c} {judged[c].value} → {other.value}" for c, other in others.items() if other != judged[c]]
            lines.append((BOUNDS[name].what, BOUNDS[name].text(), BOUNDS[name].text(value),
                          ", ".join(others), "; ".join(changed) or "none"))  # fmt: skip
    return pd.DataFrame(lines, columns=["bound", "as judged", "in its place", "read by", "verdicts that change"])


def of_abstracts() -> list[Claim]:
    """The claims of the two papers' abstracts.

    Example:
        >>> of_abstracts()[0].name, len({claim.paper for claim in of_abstracts()})
        ('A1', 2)
    """
    return [claim for claim in load_claims() if claim.paper in ("A", "B")]


def verdict_frame(verdicts: Sequence[Verdict]) -> pd.DataFrame:
    """One line of text per verdict, with the columns of `COLUMNS`.

    Example:
        >>> verdict_frame([Verdict(load_claims()[0], Finding(Status.NOT_RUN, "nothing stored"), "gnnq run t")]).why[0]
        'nothing stored'
    """
    return pd.DataFrame([_line(verdict) for verdict in verdicts], columns=list(COLUMNS))


def judged_by(claim: Claim) -> str:
    """What a claim's rule compares, in a few words; "" where the rule has none.

    Example:
        >>> judged_by(load_claims()[0])
        'time of a whole classifier against the fastest FP32 path'
    """
    return find_rule(claim.rule).judged_by


def _line(verdict: Verdict) -> tuple[str, ...]:
    claim, found = verdict.claim, verdict.finding
    p_value = "" if math.isnan(found.p_value) else "< 0.001" if found.p_value < 0.001 else f"{found.p_value:.3f}"
    seconds = "" if math.isnan(verdict.seconds) else f"{verdict.seconds:,.0f}"
    if not seconds and found.status is not Status.NOT_RUN:
        seconds = "not stored with this benchmark"
    return (
        claim.name, found.status.value, claim.text, judged_by(claim), claim.stated, found.ours, found.comparison,
        found.why, p_value, verdict.command, seconds, f"{claim.source} [{claim.read}]",
    )  # fmt: skip


def counts(verdicts: Sequence[Verdict]) -> dict[str, int]:
    """How many claims hold, hold in part, do not hold, cannot be told, were not run.

    Example:
        >>> counts([])
        {'holds': 0, 'holds in part': 0, 'does not hold': 0, 'cannot be told': 0, 'not run': 0}
    """
    return {status.value: sum(v.finding.status is status for v in verdicts) for status in Status}


def published_table(kinds: str = "NL", results: Results | None = None) -> pd.DataFrame:
    """Published numbers beside ours, as text: what it is, published, ours, difference, verdict.

    Args:
        kinds: first letters of claims' names: N, numbers that paper A's authors printed; L, LightGCN's paper.
        results: everything stored, if not given.
    """
    chosen = [claim for claim in load_claims() if claim.name[0] in kinds]
    frame = verdict_frame(judge_all(results, chosen)).replace("", "–")
    frame = frame[["text", "paper's number", "ours", "comparison", "verdict"]]
    return frame.rename(columns={"text": "", "paper's number": "published", "comparison": "difference"})


def claims_table(papers: Sequence[str] = ("A", "B"), results: Results | None = None) -> str:
    """The README's table of claims in Markdown: claim, what it is judged by, the paper's number, ours, verdict.

    Args:
        papers: whose claims.
        results: everything stored, if not given.
    """
    verdicts = judge_all(results, [claim for claim in load_claims() if claim.paper in papers])
    head = ["", "claim", "judged by", "paper", "ours", "verdict"]
    lines = [
        [
            v.claim.name, v.claim.text, judged_by(v.claim) or "–", v.claim.stated, v.finding.ours or "–",
            v.finding.status.value,
        ]
        for v in verdicts
    ]  # fmt: skip
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, ["---"] * len(head), *lines])
