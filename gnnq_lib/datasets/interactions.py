"""User-item interactions: lists of items per user, read from LightGCN-format files, split for validation.

LightGCN's format has one line per user, `user item item ...`, ids from 0, separated by blanks.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from gnnq_lib.checks import check_whole
from gnnq_lib.errors import InputError

logger = logging.getLogger(__name__)

LARGEST_ID = 2**31 - 2
SPARSEST_IDS = 100  # ids per interaction; beyond that a table of rows for all ids would be nearly empty
_DIGITS_AND_BLANKS = set("0123456789 \t\r\n")

Protocol = Literal["lightgcn", "gnaq"]


class UserItems:
    """The items of every user, sorted and without duplicates.

    Args:
        users, items: one entry per interaction, any order; duplicates are kept once.
        num_users, num_items: sizes of the id spaces.

    Attributes:
        row_ptr: int64 (num_users + 1,): user u has items[row_ptr[u] : row_ptr[u + 1]].
        items: int64 (|E|,), sorted per user.

    Raises:
        InputError: not integers, or an id outside its space.

    Example:
        >>> pairs = UserItems([1, 0, 1, 1], [2, 0, 0, 2], num_users=3, num_items=4)
        >>> pairs.of(1).tolist(), pairs.counts.tolist()
        ([0, 2], [1, 2, 0])
    """

    def __init__(
        self, users: Sequence[int] | np.ndarray, items: Sequence[int] | np.ndarray, num_users: int, num_items: int
    ) -> None:
        users, items = _ids("user", users, num_users), _ids("item", items, num_items)
        if len(users) != len(items):
            raise InputError(f"{len(users)} users and {len(items)} items given; give one of each per interaction")
        self.num_users, self.num_items = num_users, num_items
        keys = np.unique(users * num_items + items)
        self.items = keys % max(num_items, 1)
        counts = np.bincount(keys // max(num_items, 1), minlength=num_users)
        self.row_ptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)

    def __len__(self) -> int:
        """Number of interactions."""
        return len(self.items)

    @property
    def counts(self) -> np.ndarray:
        """Items per user, int64 (num_users,)."""
        return np.diff(self.row_ptr)

    @cached_property
    def users(self) -> np.ndarray:
        """The user of every interaction, int64 (|E|,), ascending."""
        return np.repeat(np.arange(self.num_users), self.counts)

    @cached_property
    def keys(self) -> np.ndarray:
        """user * num_items + item of every interaction, ascending."""
        return self.users * self.num_items + self.items

    @property
    def item_counts(self) -> np.ndarray:
        """Users per item, int64 (num_items,)."""
        return np.bincount(self.items, minlength=self.num_items)

    def of(self, user: int) -> np.ndarray:
        """Items of one user, ascending.

        Raises:
            InputError: an unknown user.
        """
        if not 0 <= user < self.num_users:
            raise InputError(f"user {user} is unknown; users are numbered 0 to {self.num_users - 1}")
        return self.items[self.row_ptr[user] : self.row_ptr[user + 1]]

    def select(self, chosen: np.ndarray) -> UserItems:
        """The interactions where the mask `chosen`, bool (|E|,), holds."""
        return UserItems(self.users[chosen], self.items[chosen], self.num_users, self.num_items)

    def minus(self, other: UserItems) -> UserItems:
        """The interactions that `other` does not have."""
        return self.select(~np.isin(self.keys, other.keys))

    def plus(self, other: UserItems) -> UserItems:
        """The interactions of both."""
        users, items = np.append(self.users, other.users), np.append(self.items, other.items)
        return UserItems(users, items, self.num_users, self.num_items)

    def __repr__(self) -> str:
        return f"UserItems({self.num_users} users, {self.num_items} items, {len(self)} interactions)"


@dataclass(frozen=True, eq=False)
class Interactions:
    """A recommendation data set: what was seen (train) and what is to be found (test), without a validation part.

    Attributes:
        name: of the data set or folder.
        train, test: disjoint.
        source: where the files came from.
        split: how train and test came about: "given", or in words.
        titles: one per item, or None.

    Example:
        >>> from gnnq_lib.datasets.interactions_generated import power_law_interactions
        >>> power_law_interactions(num_users=50, num_items=40).describe()
        'power-law: 50 users, 40 items, ... training and ... test interactions (random, from generated)'
    """

    name: str
    train: UserItems
    test: UserItems
    source: str
    split: str = "given"
    titles: tuple[str, ...] | None = None

    @property
    def num_users(self) -> int:
        """Size of the space of user ids."""
        return self.train.num_users

    @property
    def num_items(self) -> int:
        """Size of the space of item ids."""
        return self.train.num_items

    def describe(self) -> str:
        """Sizes and source in one line."""
        return (
            f"{self.name}: {self.num_users:,} users, {self.num_items:,} items, {len(self.train):,} training and "
            f"{len(self.test):,} test interactions ({self.split}, from {self.source})"
        )


@dataclass(frozen=True, eq=False)
class RatingSplit:
    """What a model trains on, is chosen by, and is scored with; the three parts are disjoint.

    Attributes:
        data: the data set.
        train, val, test: the parts.
        protocol: "lightgcn" or "gnaq".
    """

    data: Interactions
    train: UserItems
    val: UserItems
    test: UserItems
    protocol: Protocol

    def with_validation_in_training(self) -> RatingSplit:
        """The same test with train and val as one training part, for a final training of a chosen length."""
        empty = self.val.select(np.zeros(len(self.val), dtype=bool))
        return RatingSplit(self.data, self.train.plus(self.val), empty, self.test, self.protocol)


def split_interactions(
    data: Interactions, protocol: Protocol = "lightgcn", seed: int = 0, share: float = 0.1
) -> RatingSplit:
    """Set a validation part aside, by its own seed, so that every method and model seed has the same one.

    Args:
        data: train and test.
        protocol: "lightgcn": from every user's training items, share of them (rounded down), at least one where the
            user has at least two; the whole test set is scored, as in published tables. "gnaq": from every user's n
            test items, max(1, ceil(n / 3)); the rest of them is scored (GNAQ fact sheet, section 2); unlike in the
            release, the validation items are then masked in the ranking. The numbers of the two protocols can't be
            compared.
        seed: of the split.
        share: of a user's training items, protocol "lightgcn" only.

    Raises:
        InputError: unknown protocol, share out of range.

    Example:
        >>> from gnnq_lib.datasets.interactions_generated import power_law_interactions
        >>> split = split_interactions(power_law_interactions())
        >>> len(split.train) + len(split.val) == len(split.data.train)
        True
    """
    if protocol not in ("lightgcn", "gnaq"):
        raise InputError(f"protocol is {protocol!r}; 'lightgcn' or 'gnaq' is accepted")
    if not 0 < share < 1:
        raise InputError(f"the validation share is {share}; a number between 0 and 1 is accepted")
    if protocol == "gnaq":
        counts = data.test.counts
        chosen = _random_per_user(data.test, np.maximum(1, -(-counts // 3)), seed)
        return RatingSplit(data, data.train, data.test.select(chosen), data.test.select(~chosen), protocol)
    counts = data.train.counts
    wanted = np.where(counts >= 2, np.maximum(1, (share * counts).astype(np.int64)), 0)
    chosen = _random_per_user(data.train, wanted, seed)
    return RatingSplit(data, data.train.select(~chosen), data.train.select(chosen), data.test, protocol)


def part_dispersion(part: UserItems, rest: UserItems, least: int = 20) -> float:
    """How unevenly a part takes from the items' interactions: near 1 where it was drawn at random, larger otherwise.

    The mean over items with at least `least` of their n interactions in both together of (t - n p)^2 / (n p (1 - p)),
    t of them in the part, p the part's share of all interactions.

    Example:
        >>> users, half = list(range(40)), [0] * 20 + [1] * 20
        >>> part_dispersion(UserItems(users, half, 40, 2), UserItems(users, half[::-1], 40, 2))
        0.0
    """
    t, n = part.item_counts, part.item_counts + rest.item_counts
    p = t.sum() / n.sum()
    t, n = t[n >= least], n[n >= least]
    return float(((t - n * p) ** 2 / (n * p * (1 - p))).mean())


def leave_out_per_user(pairs: UserItems, count: int, seed: int) -> np.ndarray:
    """Mask of `count` random interactions per user, of all but one where a user has no more than that.

    Example:
        >>> int(leave_out_per_user(UserItems([0, 0, 0, 1], [0, 1, 2, 0], 2, 3), 2, seed=0).sum())
        2
    """
    return _random_per_user(pairs, np.minimum(count, np.maximum(pairs.counts - 1, 0)), seed)


def _random_per_user(pairs: UserItems, wanted: np.ndarray, seed: int) -> np.ndarray:
    """Mask of wanted[u] random interactions of every user u."""
    check_whole("split_seed", seed, 0, 2**32 - 1)  # as far as RandomState goes
    draws = np.random.RandomState(seed).random_sample(len(pairs))  # its stream is frozen across releases
    order = np.lexsort((draws, pairs.users))
    rank = np.empty(len(pairs), dtype=np.int64)
    rank[order] = np.arange(len(pairs)) - np.repeat(pairs.row_ptr[:-1], pairs.counts)
    return rank < np.repeat(wanted, pairs.counts)


def parse_interactions(text: str | bytes, name: str = "the file") -> tuple[np.ndarray, np.ndarray]:
    """Read LightGCN's format: (users, items), one entry per interaction, in the file's order.

    Empty lines are left out; a line with a user and no item stands for a user without items; the same user may have
    several lines.

    Args:
        text: the file's content.
        name: what errors call it.

    Raises:
        InputError: an id that is no whole number, negative or too large; names line and id.

    Example:
        >>> [part.tolist() for part in parse_interactions("0 3 1\\n\\n2 0\\n")]
        [[0, 0, 2], [3, 1, 0]]
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8", errors="replace")
    if not set(text) <= _DIGITS_AND_BLANKS:
        raise InputError(_bad_line(text, name))
    lengths, tokens = [], []
    for line in text.splitlines():
        parts = line.split()
        lengths.append(len(parts))
        tokens += parts
    try:
        ids = np.fromiter(map(int, tokens), dtype=np.int64, count=len(tokens))
    except (OverflowError, ValueError):  # ValueError: thousands of digits
        raise InputError(_bad_line(text, name)) from None
    if len(ids) and ids.max() > LARGEST_ID:
        raise InputError(_bad_line(text, name))
    lengths = np.array(lengths, dtype=np.int64)
    lengths = lengths[lengths > 0]
    first = np.zeros(len(ids), dtype=bool)
    first[np.cumsum(lengths) - lengths] = True
    return np.repeat(ids[first], lengths - 1), ids[~first]


def interactions_from_pairs(
    name: str,
    train: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    source: str,
    *,
    num_users: int | None = None,
    num_items: int | None = None,
    split: str = "given",
    titles: Sequence[str] | None = None,
) -> Interactions:
    """Check and tidy what was read: duplicates are kept once, test interactions that train has are left out.

    Args:
        name, source, split: as in `Interactions`.
        train, test: (users, items) each.
        num_users, num_items: sizes of the id spaces; by default the largest id and one.
        titles: one per item.

    Raises:
        InputError: no training interaction, an id outside its space, or titles of another number than items.

    Example:
        >>> data = interactions_from_pairs("toy", ([0, 0, 1], [0, 0, 1]), ([0, 1], [0, 2]), "memory")
        >>> len(data.train), len(data.test), data.num_items
        (2, 1, 3)
    """
    users, items = (np.concatenate([np.asarray(train[k]), np.asarray(test[k])]) for k in (0, 1))
    if not len(train[0]):
        raise InputError(f"{name} has no training interaction; give at least one line `user item ...`")
    for kind, ids, size in (("user", users, num_users), ("item", items, num_items)):
        if size is None and (largest := int(ids.max())) > SPARSEST_IDS * (len(ids) + 1000):
            raise InputError(
                f"{name} has {kind} {largest} and {len(ids)} interactions; number {kind}s from 0 without large gaps"
            )
    num_users = int(users.max()) + 1 if num_users is None else num_users
    num_items = int(items.max()) + 1 if num_items is None else num_items
    if titles is not None and len(titles) != num_items:
        raise InputError(f"{name} has {num_items} items and {len(titles)} titles; give one title per item, or none")
    seen, held_out = (UserItems(*part, num_users, num_items) for part in (train, test))
    for part, pairs, given in (("training", seen, train), ("test", held_out, test)):
        if len(pairs) < len(given[0]):
            logger.warning("%s: %d duplicate %s interactions left out", name, len(given[0]) - len(pairs), part)
    fresh = held_out.minus(seen)
    if len(fresh) < len(held_out):
        logger.warning("%s: %d test interactions left out, train has them", name, len(held_out) - len(fresh))
    return Interactions(name, seen, fresh, source, split, None if titles is None else tuple(titles))


def _bad_line(text: str, name: str) -> str:
    accepted = f"whole numbers from 0 to {LARGEST_ID}, separated by blanks, are accepted"
    for number, line in enumerate(text.splitlines(), start=1):
        for token in line.split():
            if not (token.isascii() and token.isdigit() and len(token) <= 18 and int(token) <= LARGEST_ID):
                return f"{name}, line {number}, holds {token!r}; {accepted}"
    return f"{name} holds a character that is no digit and no blank; {accepted}"


def _ids(kind: str, ids: Sequence[int] | np.ndarray, size: int) -> np.ndarray:
    values = np.asarray(ids)
    if values.size and not np.issubdtype(values.dtype, np.integer):
        raise InputError(f"{kind} ids of type {values.dtype} given; whole numbers are accepted")
    if values.size and not 0 <= values.min() <= values.max() < size:
        wrong = values.min() if values.min() < 0 else values.max()
        raise InputError(f"{kind} id {wrong} given; ids from 0 to {size - 1} are accepted")
    return values.astype(np.int64)
