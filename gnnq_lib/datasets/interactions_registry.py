"""The recommendation data sets by name, and `load_interactions`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gnnq_lib.datasets.interactions import (
    Interactions,
    UserItems,
    interactions_from_pairs,
    leave_out_per_user,
    parse_interactions,
)
from gnnq_lib.datasets.interactions_generated import power_law_interactions
from gnnq_lib.datasets.sources import PackageMirror, RawFiles, obtain
from gnnq_lib.errors import InputError
from gnnq_lib.naming import nearest

Reader = Callable[[str, str, dict[str, bytes], "InteractionsSpec", int], Interactions]


@dataclass(frozen=True)
class InteractionsSpec:
    """What the registry knows of a data set.

    Attributes:
        num_users, num_items: sizes of the id spaces (some ids may have no interaction).
        num_train, num_test: interactions of the given split.
        forms: equivalent raw forms, each with its reader; empty for generated sets.
    """

    num_users: int
    num_items: int
    num_train: int
    num_test: int
    forms: tuple[tuple[RawFiles, Reader], ...] = ()


def _read_given(name: str, source: str, content: dict[str, bytes], spec: InteractionsSpec, seed: int) -> Interactions:
    """train.txt and test.txt, and MovieLens' u.item where it is among the files."""
    part = {path.rsplit("/", 1)[1]: data for path, data in content.items()}
    train, test = (parse_interactions(part[file], f"{name}/{file}") for file in ("train.txt", "test.txt"))
    titles = None
    if "u.item" in part:
        titles = [line.split("|")[1] for line in part["u.item"].decode("latin-1").splitlines()]
    return interactions_from_pairs(
        name, train, test, source, num_users=spec.num_users, num_items=spec.num_items, titles=titles
    )


def _read_recbole(name: str, source: str, content: dict[str, bytes], spec: InteractionsSpec, seed: int) -> Interactions:
    """RecBole's atomic files, ids from 1; ten random ratings per user are held out, as in GroupLens' ua."""
    part = {path.rsplit(".", 1)[1]: data.decode("utf-8") for path, data in content.items()}
    rows = [line.split("\t")[:2] for line in part["inter"].splitlines()[1:] if line]
    users, items = np.array(rows, dtype=np.int64).T - 1
    pairs = UserItems(users, items, spec.num_users, spec.num_items)
    test = leave_out_per_user(pairs, 10, seed)
    titles = [""] * spec.num_items
    for line in part["item"].splitlines()[1:]:
        item, title, year = line.split("\t")[:3]
        titles[int(item) - 1] = f"{title} ({year})" if year else title
    split = f"random with seed {seed}, 10 test items per user"
    return Interactions(name, pairs.select(~test), pairs.select(test), source, split, tuple(titles))


_INTER, _ITEM = "recbole/ml-100k/ml-100k.inter", "recbole/ml-100k/ml-100k.item"
RECBOLE = PackageMirror(
    project="recbole",
    version="1.2.1",
    wheel="recbole-1.2.1-py3-none-any.whl",
    pip_options=(),
    members={f"recbole/dataset_example/ml-100k/{Path(path).name}": path for path in (_INTER, _ITEM)},
)


def _spec(folder: str, *sizes: int, extra: tuple[str, ...] = (), more: tuple = ()) -> InteractionsSpec:
    files = tuple(f"recsys/{folder}/{file}" for file in ("train.txt", "test.txt", *extra))
    return InteractionsSpec(*sizes, forms=((RawFiles(files), _read_given), *more))


INTERACTION_SETS: dict[str, InteractionsSpec] = {
    "ml-100k": _spec(
        "ml-100k",
        *(943, 1682, 90570, 9430),
        extra=("raw/u.item",),
        more=((RawFiles((_INTER, _ITEM), package=RECBOLE), _read_recbole),),
    ),
    "ml-1m": _spec("ml-1m", 6040, 3952, 797758, 202451),
    "lastfm": _spec("lastfm", 1892, 4489, 42135, 10533),
    "gowalla": _spec("gowalla", 29858, 40981, 810128, 217242),
    "yelp2018": _spec("yelp2018", 31668, 38048, 1237259, 324147),
    "amazon-book-kgat": _spec("amazon-book-kgat", 70679, 24915, 652514, 193920),
    "power-law": InteractionsSpec(400, 300, 6086, 1600),
}


def load_interactions(name: str, root: Path | str | None = None, seed: int = 0) -> Interactions:
    """Load a recommendation data set by name, or from a folder of your own with train.txt and test.txt.

    Raw files are looked for in `root` or `GNNQ_DATA`, the cache and the package index, in this order, and verified
    before they are opened.

    Args:
        name: one of `INTERACTION_SETS` (amazon-book-kgat is not the Amazon-Book of the LightGCN paper), or the path of
            a folder with train.txt, test.txt in LightGCN's format and, if you like, titles.txt (line i: item i).
        root: data folder, instead of `GNNQ_DATA`.
        seed: of the split where the source has none: MovieLens-100K from the package index, generated sets.

    Raises:
        InputError: for an unknown name, or a file that is altered or not in the format.
        DataUnavailableError: if no source has the data; names every place tried.

    Example:
        >>> load_interactions("power-law").num_users
        400
    """
    if name not in INTERACTION_SETS:
        if Path(name).is_dir():
            return _from_folder(Path(name))
        known = ", ".join(INTERACTION_SETS)
        guess = nearest(name, INTERACTION_SETS)
        raise InputError(f"data set {name!r} is unknown{guess}; {known} or the path of a folder is accepted")
    spec = INTERACTION_SETS[name]
    if not spec.forms:
        return power_law_interactions(spec.num_users, spec.num_items, seed=seed)
    raw = obtain([form for form, _ in spec.forms], root)
    data = spec.forms[raw.form][1](name, raw.source, raw.content, spec, seed)
    found = (data.num_users, data.num_items, len(data.train), len(data.test))
    if found != (spec.num_users, spec.num_items, spec.num_train, spec.num_test):
        raise RuntimeError(f"{name} was read with sizes {found}: a fault of the reader, please report it")
    return data


def _from_folder(folder: Path) -> Interactions:
    parts = []
    for file in ("train.txt", "test.txt"):
        path = folder / file
        if not path.is_file():
            raise InputError(f"{path} is missing; a folder with train.txt and test.txt (`user item ...`) is accepted")
        parts.append(parse_interactions(path.read_bytes(), str(path)))
    titles = folder / "titles.txt"
    try:
        lines = titles.read_text(encoding="utf-8").splitlines() if titles.is_file() else None
    except UnicodeDecodeError:
        raise InputError(f"{titles} is not UTF-8 text; save it as UTF-8") from None
    num_items = len(lines) if lines is not None else None
    return interactions_from_pairs(folder.name, *parts, str(folder), num_items=num_items, titles=lines)
