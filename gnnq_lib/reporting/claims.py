"""The claims of both papers and the published numbers that ours are held against: `data/reported/claims.csv`.

A claim says what a publication states (in our words), the number if it gives one, where it was read, and the rule that
judges it. Only what was read in its source is there: nothing recalled, nothing quoted at second hand.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from gnnq_lib.errors import InputError
from gnnq_lib.paths import project_root

COLUMNS = ("paper", "claim", "text", "number", "unit", "source", "read", "rule")
# How it was read: in the publication or page that `source` names, or in the authors' own notebook.
READ = ("READ", "CODE")
PAPERS = {
    "A": "Paper A: SMP and QLR (CIKM 2023)",
    "B": "Paper B: GNAQ (CIKM 2025)",
    "A notebook": "Numbers that the authors of paper A printed",
    "baselines": "Published numbers of the baselines",
}


@dataclass(frozen=True)
class Claim:
    """One claim.

    Attributes:
        paper: a key of `PAPERS`.
        name: its id, a capital letter and a number, such as "A1".
        text: the claim in our words.
        number, unit: what it states; None and "" for a claim in words.
        source: where it was read.
        read: how, see `READ`.
        rule: name of the rule that judges it.
        arguments: the rule's arguments, as text.
    """

    paper: str
    name: str
    text: str
    number: float | None
    unit: str
    source: str
    read: str
    rule: str
    arguments: Mapping[str, str]

    @property
    def stated(self) -> str:
        """The claim's number with its unit, or "in words".

        Example:
            >>> Claim("A", "A1", "", 5.11, "times", "", "READ", "speedup", {}).stated
            '5.11 times'
        """
        return "in words" if self.number is None else f"{self.number:g} {self.unit}".strip()


def load_claims(path: Path | None = None) -> list[Claim]:
    """Read the claims, in the file's order.

    Args:
        path: a CSV with the columns of `COLUMNS`; `data/reported/claims.csv` if not given.

    Raises:
        InputError: a missing column, an id given twice or of another form, a claim that was not read, of an unknown
            paper, or with a number or rule that cannot be parsed.

    Example:
        >>> load_claims()[0].name
        'A1'
    """
    path = path or project_root() / "data" / "reported" / "claims.csv"
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    if list(table.columns) != list(COLUMNS):
        raise InputError(f"{path} has the columns {', '.join(table.columns)}; {', '.join(COLUMNS)} are accepted.")
    if table.claim.duplicated().any():
        raise InputError(
            f"{path} has the claim {table.claim[table.claim.duplicated()].iloc[0]!r} twice; ids are unique."
        )
    unread = table[~table["read"].isin(READ)]
    if len(unread):
        first = unread.iloc[0]
        raise InputError(f"{path}: claim {first.claim!r} is marked {first['read']!r}; {' or '.join(READ)} is accepted.")
    return [_claim(row, path) for _, row in table.iterrows()]


def _claim(row: pd.Series, path: Path) -> Claim:
    if row.paper not in PAPERS:
        raise InputError(f"{path}: claim {row.claim!r} is of paper {row.paper!r}; {', '.join(PAPERS)} are accepted.")
    if not re.fullmatch("[A-Z][0-9]+", row.claim):
        raise InputError(f"{path}: a claim has the id {row.claim!r}; a capital letter and a number are accepted.")
    try:
        rule, *arguments = row.rule.split()
        number = float(row.number) if row.number else None
        given = dict(argument.split("=") for argument in arguments)
    except ValueError:
        raise InputError(
            f"{path}: claim {row.claim!r} has the number {row.number!r} and the rule {row.rule!r}; "
            "a number or nothing, and a rule's name followed by name=value, are accepted."
        ) from None
    return Claim(row.paper, row.claim, row.text, number, row.unit, row.source, row["read"], rule, given)
