"""The registry of rules: a rule reads the results and says whether a claim holds, why, and on which rows that rests.

A rule is a function (results, claim, **arguments) -> Finding. The first paragraph of its docstring is what the report
prints as the rule's statement, so it must say exactly what the code decides.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from enum import Enum

import pandas as pd

from gnnq_lib.errors import InputError
from gnnq_lib.experiments.store import mean_and_spread
from gnnq_lib.naming import dataset_title, nearest
from gnnq_lib.reporting.bounds import bound


class Status(str, Enum):
    """What became of a claim.

    Example:
        >>> Status.IN_PART.value
        'holds in part'
    """

    HOLDS = "holds"
    IN_PART = "holds in part"
    DOES_NOT_HOLD = "does not hold"
    CANNOT_TELL = "cannot be told"  # measured, but the runs are too few or differ too much to tell
    NOT_RUN = "not run"


@dataclass(frozen=True)
class Finding:
    """What a rule found.

    Attributes:
        status: the verdict.
        why: one sentence, made from the numbers.
        ours: our number as text with spread and count, "83.7 ± 0.8 (10)".
        comparison: ratio to, or difference from, the claim's number, as text.
        value: our number in the claim's unit; NaN without one.
        p_value: of the test that decides, the largest one where several are needed; NaN where no test decides.
        rows: the measurements used.
    """

    status: Status
    why: str
    ours: str = ""
    comparison: str = ""
    value: float = math.nan
    p_value: float = math.nan
    rows: pd.DataFrame = field(default_factory=pd.DataFrame)


Rule = Callable[..., Finding]


@dataclass(frozen=True)
class RegisteredRule:
    """A rule with the command that measures what it reads; `{name}` in it stands for an argument of the rule.

    `judged_by` says in a few words what is compared, for tables.
    """

    judge: Rule
    command: str
    judged_by: str = ""

    @property
    def statement(self) -> str:
        """The rule in words: the first paragraph of its docstring."""
        return " ".join((inspect.getdoc(self.judge) or "").split("\n\n")[0].split())


RULES: dict[str, RegisteredRule] = {}


def rule(command: str, judged_by: str = "") -> Callable[[Rule], Rule]:
    """Decorator that registers a rule under its function's name.

    Example:
        >>> @rule("gnnq run toy")
        ... def toy(results, claim):
        ...     "Holds always."
        >>> RULES.pop("toy").statement
        'Holds always.'
    """

    def register(judge: Rule) -> Rule:
        RULES[judge.__name__] = RegisteredRule(judge, command, judged_by)
        return judge

    return register


def find_rule(name: str) -> RegisteredRule:
    """A rule by name.

    Raises:
        InputError: if there is none of that name.
    """
    if name not in RULES:
        raise InputError(f"rule {name!r} is unknown{nearest(name, RULES)}; {', '.join(RULES)} are accepted.")
    return RULES[name]


def not_run(why: str) -> Finding:
    """The finding where results are missing; `why` says which.

    Example:
        >>> not_run("no depth was measured").status.value
        'not run'
    """
    return Finding(Status.NOT_RUN, why)


def status_of(holds: bool, in_part: bool) -> Status:
    """Holds, else holds in part, else does not hold.

    Example:
        >>> status_of(False, True).value
        'holds in part'
    """
    return Status.HOLDS if holds else Status.IN_PART if in_part else Status.DOES_NOT_HOLD


def status_of_gains(above: Collection[bool], below: Collection[bool]) -> Status:
    """Of several comparisons: holds if all were won, in part if some; does not hold if none was and one was lost.

    Where none was won and none lost, it cannot be told.

    Args:
        above, below: whether a comparison was clearly won, and clearly lost.

    Example:
        >>> status_of_gains([True, False], [False, True]).value, status_of_gains([False], [False]).value
        ('holds in part', 'cannot be told')
    """
    if any(above):
        return status_of(all(above), True)
    return Status.DOES_NOT_HOLD if any(below) else Status.CANNOT_TELL


def at_most_in_part(status: Status, runs: int) -> Status:
    """The status, but "holds in part" in place of "holds" where it rests on fewer runs than asked for.

    Example:
        >>> at_most_in_part(Status.HOLDS, 1).value, at_most_in_part(Status.HOLDS, 3).value
        ('holds in part', 'holds')
    """
    least = bound("least_runs")
    return Status.IN_PART if status is Status.HOLDS and runs < least else status


def spread_of(rows: pd.DataFrame) -> str:
    """Mean ± std (n) of the values.

    Example:
        >>> spread_of(pd.DataFrame({"value": [80.0, 82.0]}))
        '81.0 ± 1.4 (2)'
    """
    return mean_and_spread(rows.value.mean(), rows.value.std(), len(rows))


def span_and_spread(values: pd.Series, digits: int, unit: str, over: str, sign: str = "") -> str:
    """Smallest to largest value, and mean ± std with what the values are counted over.

    Example:
        >>> span_and_spread(pd.Series([3.0, 4.0]), 1, " times", "graphs")
        '3.0 to 4.0 times; mean 3.5 ± 0.7 (2 graphs)'
    """
    low, high = f"{values.min():{sign}.{digits}f}", f"{values.max():{sign}.{digits}f}"
    spread = f" ± {values.std():.{digits}f}" if len(values) > 1 else ""
    reach = low if low == high else f"{low} to {high}"
    return f"{reach}{unit}; mean {values.mean():{sign}.{digits}f}{spread} ({len(values)} {over})"


def span(values: pd.Series, digits: int) -> str:
    """Smallest to largest value; one number if they round to the same.

    Example:
        >>> span(pd.Series([2.31, 2.34]), 1), span(pd.Series([2.3, 3.0]), 1)
        ('2.3', '2.3 to 3.0')
    """
    low, high = f"{values.min():.{digits}f}", f"{values.max():.{digits}f}"
    return low if low == high else f"{low} to {high}"


def p_text(p_value: float) -> str:
    """A p-value in a sentence.

    Example:
        >>> p_text(0.0002), p_text(0.0312), p_text(math.nan)
        ('p < 0.001', 'p = 0.031', 'no test with one pair')
    """
    if math.isnan(p_value):
        return "no test with one pair"
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"


def title(name: str) -> str:
    """A data set's or method's name as it is written in text.

    Example:
        >>> title("citeseer"), title("degree_quant"), title("something")
        ('CiteSeer', 'Degree-Quant', 'something')
    """
    return _TITLES.get(name) or dataset_title(name)


_TITLES = {
    "generated": "the generated graph",
    "fp32": "FP32",
    "qlr": "QLR",
    "bt": "BT",
    "bt_star": "BT*",
    "minmax": "min-max QAT",
    "lsq": "LSQ",
    "degree_quant": "Degree-Quant",
    "node_pow2": "a power of two per node (ours)",
    "smp": "SMP",
    "emp": "EMP",
    "appnp": "APPNP",
    "gcn": "GCN",
    "gcnii": "GCNII",
    "dagnn": "DAGNN",
    "sgc": "SGC",
    "gnaq": "GNAQ",
    "gnaq_as_released": "GNAQ as released",
    "post_training_tensor": "post-training per tensor",
    "post_training_node": "post-training per node",
    "n2uq": "N2UQ",
    "bigear": "BiGeaR",
    "lightgcn": "LightGCN",
}
