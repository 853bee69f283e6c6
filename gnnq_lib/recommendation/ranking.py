"""Ranking metrics over all items: Recall, NDCG and Precision at k, with seen items masked."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from gnnq_lib.datasets.interactions import UserItems
from gnnq_lib.deployment.similarity import best_of_rows
from gnnq_lib.errors import InputError

_SCORES_AT_ONCE = 1 << 23  # 32 MiB of scores
_SCORES_AT_ONCE_ON_CUDA = 1 << 28  # 1 GiB: a chunk costs some thirty calls, however small


def top_items(user_table: Tensor, item_table: Tensor, masked: Sequence[UserItems], users: Tensor, k: int) -> Tensor:
    """The k best items of each user by inner product, masked items last: int64 (len(users), k).

    Args:
        user_table: (num_users, D). item_table: (num_items, D).
        masked: interactions that must not be recommended, such as training and validation.
        users: int64 (n,).
        k: 1 to num_items.

    Raises:
        InputError: k out of range, masked interactions of other numbers of users or items.

    Example:
        >>> seen = UserItems([0], [0], 1, 3)
        >>> top_items(torch.ones(1, 1), torch.tensor([[3.0], [1.0], [2.0]]), [seen], torch.tensor([0]), 2).tolist()
        [[2, 1]]
    """
    check_k(k, item_table.shape[0])
    for pairs in masked:
        _check_sizes("masked", pairs, user_table, item_table)
    at_once = _SCORES_AT_ONCE_ON_CUDA if user_table.is_cuda else _SCORES_AT_ONCE
    lists = [_lists(pairs, users.device) for pairs in masked]
    parts = []
    for chunk in users.split(max(1, at_once // max(1, item_table.shape[0]))):
        scores = user_table[chunk] @ item_table.T
        for row_ptr, items in lists:
            rows, places = _entries(row_ptr, chunk)
            scores[rows, items[places]] = -torch.inf
        parts.append(best_of_rows(scores, k).rows)
    return torch.cat(parts) if parts else users.new_zeros(0, k)


def evaluate_ranking(
    user_table: Tensor, item_table: Tensor, target: UserItems, masked: Sequence[UserItems], ks: Sequence[int] = (10, 20)
) -> dict[str, float]:
    """Recall, NDCG and Precision at every k: means over the users with at least one target item.

    Recall@k = hits / targets; Precision@k = hits / k; NDCG@k = sum of 1 / log2(rank + 1) over hits, divided by the same
    sum for a list that starts with min(k, targets) hits.

    Args:
        user_table: (num_users, D). item_table: (num_items, D).
        target: what is to be found.
        masked: what is left out of the ranking (training; at test also validation).
        ks: lengths of the lists, each 1 to num_items; with none, nothing is computed.

    Returns:
        "recall@10", "ndcg@10", "precision@10", ... as fractions.

    Raises:
        InputError: a k out of range, NaN in a table, no target at all, interactions of other numbers of users or items
            than the tables have rows.

    Example:
        >>> target = UserItems([0, 0], [0, 2], 1, 3)
        >>> evaluate_ranking(torch.ones(1, 1), torch.tensor([[3.0], [2.0], [1.0]]), target, [], ks=[1])
        {'recall@1': 0.5, 'ndcg@1': 1.0, 'precision@1': 1.0}
    """
    for k in ks:
        check_k(k, item_table.shape[0])
    for name, table in (("user", user_table), ("item", item_table)):
        if not torch.isfinite(table).all():
            raise InputError(f"the {name} table holds NaN or infinite values; train with a smaller learning rate")
    _check_sizes("target", target, user_table, item_table)
    users = torch.as_tensor(np.flatnonzero(target.counts), device=user_table.device)
    if not users.numel():
        raise InputError("there is no target interaction to score; give a test (or validation) part that has some")
    if not ks:
        return {}
    ranked = top_items(user_table, item_table, masked, users, max(ks))
    keys = torch.as_tensor(target.keys, device=ranked.device)
    wanted = users[:, None] * target.num_items + ranked
    place = torch.searchsorted(keys, wanted).clamp(max=keys.numel() - 1)
    hits = (keys[place] == wanted).double()
    counts = torch.as_tensor(target.counts, device=ranked.device)[users].double()
    gains = 1 / torch.arange(2, max(ks) + 2, device=ranked.device).double().log2()
    ideal = torch.cat([gains.new_zeros(1), gains.cumsum(0)])
    result = {}
    for k in ks:
        found = hits[:, :k].sum(dim=1)
        best = ideal[counts.clamp(max=k).long()]
        result[f"recall@{k}"] = float((found / counts).mean())
        result[f"ndcg@{k}"] = float(((hits[:, :k] @ gains[:k]) / best).mean())
        result[f"precision@{k}"] = float((found / k).mean())
    return result


def check_k(k: int, num_items: int) -> int:
    """Return k if it is a whole number from 1 to num_items, else raise InputError.

    Example:
        >>> check_k(2, 3)
        2
    """
    if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= num_items:
        raise InputError(f"k={k!r} given; whole numbers from 1 to {num_items} (the number of items) are accepted")
    return k


def _check_sizes(kind: str, pairs: UserItems, user_table: Tensor, item_table: Tensor) -> None:
    if (pairs.num_users, pairs.num_items) != (len(user_table), len(item_table)):
        raise InputError(
            f"{kind} interactions of {pairs.num_users} users and {pairs.num_items} items given for tables of "
            f"{len(user_table)} and {len(item_table)}; equal numbers are accepted"
        )


def _lists(pairs: UserItems, device: torch.device) -> tuple[Tensor, Tensor]:
    return torch.as_tensor(pairs.row_ptr, device=device), torch.as_tensor(pairs.items, device=device)


def _entries(row_ptr: Tensor, users: Tensor) -> tuple[Tensor, Tensor]:
    """Of every list entry of `users`: the row within `users`, and its place among all entries."""
    starts, counts = row_ptr[users], row_ptr[users + 1] - row_ptr[users]
    rows = torch.repeat_interleave(torch.arange(users.numel(), device=users.device), counts)
    offsets = starts - (counts.cumsum(0) - counts)
    return rows, torch.arange(rows.numel(), device=users.device) + offsets[rows]
