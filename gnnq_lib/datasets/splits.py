"""Training, validation and test nodes: Planetoid's public split and seeded random splits."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from gnnq_lib.checks import check_whole
from gnnq_lib.errors import InputError

Masks = tuple[Tensor, Tensor, Tensor]


def public_split(num_train: int, test_nodes: np.ndarray, num_nodes: int) -> Masks:
    """Planetoid's split: the first `num_train` nodes train, the next 500 validate, the listed ones test.

    Args:
        num_train: number of training nodes (20 per class).
        test_nodes: (1000,) node numbers.
        num_nodes: N.

    Returns:
        Three bool masks of shape (N,).

    Example:
        >>> [int(m.sum()) for m in public_split(140, np.arange(1708, 2708), 2708)]
        [140, 500, 1000]
    """
    order = np.arange(num_nodes)
    return _masks(num_nodes, order[:num_train], order[num_train : num_train + 500], test_nodes)


def random_split(
    labels: Tensor, seed: int, train_per_class: int = 20, num_val: int = 500, num_test: int | None = 1000
) -> Masks:
    """A seeded random split with the same number of training nodes per class.

    Where a class has fewer than twice `train_per_class` nodes, half of them (at least one) train. Where fewer nodes
    are left than validation and test ask for, a third of the rest validates and the others test.

    Args:
        labels: (N,) int64; nodes with -1 are in no part.
        seed: the same seed gives the same split on every platform.
        train_per_class: training nodes per class.
        num_val: validation nodes.
        num_test: test nodes; None takes all that remain.

    Returns:
        Three bool masks of shape (N,), disjoint.

    Raises:
        InputError: if the seed is negative or nothing is left to validate or test on.

    Example:
        >>> [int(m.sum()) for m in random_split(torch.arange(3000) % 3, seed=0)]
        [60, 500, 1000]
    """
    return _split(labels, seed, train_per_class, lambda rest, _: _val_and_test(rest, num_val, num_test))


def random_split_per_class(labels: Tensor, seed: int, train_per_class: int = 20, val_per_class: int = 30) -> Masks:
    """The usual split of Coauthor and Amazon graphs: 20 training and 30 validation nodes per class, the rest tests.

    Args, Returns, Raises: as for `random_split`. A class too small for both gives half of its remaining nodes to
    validation.

    Example:
        >>> [int(m.sum()) for m in random_split_per_class(torch.arange(3000) % 3, seed=0)]
        [60, 90, 2850]
    """

    def parts(rest: np.ndarray, rest_labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        groups = [rest[rest_labels == label] for label in np.unique(rest_labels)]
        val = np.concatenate([group[: min(val_per_class, len(group) // 2)] for group in groups])
        return val, np.setdiff1d(rest, val)

    return _split(labels, seed, train_per_class, parts)


def _split(labels: Tensor, seed: int, train_per_class: int, parts) -> Masks:
    check_whole("split_seed", seed, 0, 2**32 - 1)  # as far as RandomState goes
    values = labels.numpy()
    order = np.random.RandomState(seed).permutation(len(values))  # RandomState's stream is frozen across releases
    order = order[values[order] >= 0]
    train = []
    for label in np.unique(values[order]):
        members = order[values[order] == label]
        train.append(members[: min(train_per_class, max(1, len(members) // 2))])
    train = np.concatenate(train)
    rest = order[~np.isin(order, train)]
    if len(rest) < 2:
        raise InputError(
            f"{len(order)} labelled nodes leave {len(rest)} besides those to train on; "
            "give more labelled nodes, so that at least one validates and one tests"
        )
    val, test = parts(rest, values[rest])
    return _masks(len(values), train, val, test)


def _val_and_test(rest: np.ndarray, num_val: int, num_test: int | None) -> tuple[np.ndarray, np.ndarray]:
    wanted = num_val + (1 if num_test is None else num_test)
    if len(rest) < wanted:
        num_val, num_test = max(1, len(rest) // 3), None
    stop = None if num_test is None else num_val + num_test
    return rest[:num_val], rest[num_val:stop]


def _masks(num_nodes: int, *parts: np.ndarray) -> Masks:
    masks = []
    for nodes in parts:
        mask = torch.zeros(num_nodes, dtype=torch.bool)
        mask[torch.as_tensor(nodes, dtype=torch.int64)] = True
        masks.append(mask)
    return tuple(masks)
