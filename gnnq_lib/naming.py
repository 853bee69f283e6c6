"""Names: the accepted ones nearest to a mistyped one, and those of data sets as they are written in print."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence


def nearest(given: str, accepted: Iterable[str], count: int = 3) -> str:
    """Words to append to a message: the accepted names most like `given`, or nothing if none is.

    Example:
        >>> nearest("coar", ["cora", "pubmed"])
        ' (did you mean cora?)'
        >>> nearest("xyz", ["cora", "pubmed"])
        ''
    """
    matches = difflib.get_close_matches(given, list(accepted), n=count)
    return f" (did you mean {' or '.join(matches)}?)" if matches else ""


PACKED = "packed (real low-bit)"  # the path of a benchmark's row that runs on integer kernels

# The one place where data sets get the names that figures, tables and the report print.
DATASET_TITLES = {
    "cora": "Cora",
    "citeseer": "CiteSeer",
    "pubmed": "PubMed",
    "cs": "Coauthor CS",
    "physics": "Coauthor Physics",
    "photo": "Amazon Photo",
    "digits": "Digits, 10 nearest neighbours",
    "csbm": "Contextual stochastic block model",
    "lastfm": "LastFM",
    "ml-100k": "MovieLens-100K",
    "ml-1m": "MovieLens-1M",
    "gowalla": "Gowalla",
    "yelp2018": "Yelp2018",
    "amazon-book-kgat": "Amazon-Book (KGAT)",
    "power-law": "Generated, power law",
    "generated": "generated graph",
}
_GENERATED = re.compile(r"generated-(?P<nodes>\d+)-(?P<edges>\d+)(?:-(?P<classes>\d+))?")
_CASE = re.compile(r"(?P<name>[a-z][\w-]*?)(?P<sized>-sized)?(?P<rest>[ ,(].*)?")


def dataset_title(name: str) -> str:
    """A data set's name as it is written in print; a name that is not known stays as it is.

    Args:
        name: a data set, or a generated graph by its nodes, edges and, if given, classes.

    Example:
        >>> dataset_title("ml-1m"), dataset_title("mine")
        ('MovieLens-1M', 'mine')
        >>> dataset_title("generated-169343-2500000-16")
        'generated graph, 169,343 nodes, 16 classes'
    """
    made = _GENERATED.fullmatch(name)
    if not made:
        return DATASET_TITLES.get(name, name)
    title = f"{DATASET_TITLES['generated']}, {int(made['nodes']):,} nodes"
    return f"{title}, {made['classes']} classes" if made["classes"] else title


def case_title(case: str) -> str:
    """A benchmark's case as it is written in print: its data set's name, then its sizes as they stand.

    Example:
        >>> case_title("pubmed (19,717 nodes, 3 classes)"), case_title("cora-sized D=64")
        ('PubMed (19,717 nodes, 3 classes)', 'Cora-sized, D = 64')
        >>> case_title("2708 x 64"), case_title("generated-1000-9000-16 (1,000 nodes, 9,000 edges, 16 classes)")
        ('2708 x 64', 'generated graph (1,000 nodes, 9,000 edges, 16 classes)')
    """
    parts = _CASE.fullmatch(case)
    if not parts:
        return case
    name, rest = parts["name"], re.sub(r"^ (?=\w+=)", ", ", parts["rest"] or "")
    if rest.startswith(" (") and _GENERATED.fullmatch(name):
        name = "generated"  # the sizes follow
    return dataset_title(name) + (parts["sized"] or "") + re.sub(r"(?<=\w)=(?=\d)", " = ", rest)


def listed(names: Sequence[str]) -> str:
    """Names in a sentence.

    Example:
        >>> listed(["a", "b", "c"]), listed(["a"])
        ('a, b and c', 'a')
    """
    names = list(names)
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else "none"
