"""Ranking metrics: by hand, against scikit-learn and a plain loop, masks, bad input."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import ndcg_score

from gnnq_lib.datasets.interactions import UserItems
from gnnq_lib.errors import InputError
from gnnq_lib.recommendation import ranking
from gnnq_lib.recommendation.ranking import evaluate_ranking, top_items


def test_two_users_by_hand():
    # Scores of user 0: items 3, 1, 0, 2 in this order; of user 1: 0, 1, 2, 3.
    users = torch.eye(2)
    items = torch.tensor([[2.0, 9.0], [3.0, 8.0], [1.0, 7.0], [4.0, 6.0]])
    target = UserItems([0, 0, 1], [1, 2, 3], 3, 4)
    found = evaluate_ranking(users.repeat(2, 1)[:3], items, target, [], ks=[1, 2, 4])
    gain = 1 / math.log2(3)
    assert found["recall@2"] == pytest.approx((1 / 2 + 0) / 2)
    assert found["precision@2"] == pytest.approx((1 / 2 + 0) / 2)
    assert found["ndcg@2"] == pytest.approx((gain / (1 + gain) + 0) / 2)
    assert found["recall@1"] == 0 and found["recall@4"] == 1
    last = (gain + 1 / math.log2(5)) / (1 + gain), 1 / math.log2(5)
    assert found["ndcg@4"] == pytest.approx(sum(last) / 2)


def test_masked_items_never_come_first():
    items = torch.tensor([[4.0], [3.0], [2.0], [1.0]])
    seen, checked = UserItems([0], [0], 1, 4), UserItems([0], [2], 1, 4)
    assert top_items(torch.ones(1, 1), items, [seen, checked], torch.tensor([0]), 2).tolist() == [[1, 3]]
    target = UserItems([0], [3], 1, 4)
    assert evaluate_ranking(torch.ones(1, 1), items, target, [seen], ks=[3])["recall@3"] == 1
    assert evaluate_ranking(torch.ones(1, 1), items, target, [seen], ks=[2])["recall@2"] == 0
    assert evaluate_ranking(torch.ones(1, 1), items, target, [seen, checked], ks=[2])["recall@2"] == 1


def naive(scores: np.ndarray, target: UserItems, masked: list[UserItems], k: int) -> dict[str, float]:
    """The definitions, user by user."""
    recall, ndcg, precision = [], [], []
    for user in range(target.num_users):
        wanted = set(target.of(user).tolist())
        if not wanted:
            continue
        row = scores[user].copy()
        for pairs in masked:
            row[pairs.of(user)] = -np.inf
        ranked = np.argsort(-row)[:k]
        gains = [1 / math.log2(place + 2) for place, item in enumerate(ranked) if item in wanted]
        ideal = sum(1 / math.log2(place + 2) for place in range(min(k, len(wanted))))
        recall.append(len(gains) / len(wanted))
        precision.append(len(gains) / k)
        ndcg.append(sum(gains) / ideal)
    return {f"recall@{k}": np.mean(recall), f"ndcg@{k}": np.mean(ndcg), f"precision@{k}": np.mean(precision)}


@pytest.mark.parametrize("seed", range(4))
def test_random_cases_against_a_plain_loop(seed, monkeypatch):
    monkeypatch.setattr(ranking, "_SCORES_AT_ONCE", 60)  # several chunks
    rng = np.random.default_rng(seed)
    users, items = torch.tensor(rng.normal(size=(12, 5))), torch.tensor(rng.normal(size=(20, 5)))
    parts = rng.integers(0, 4, size=(12, 20))
    train, val, test = (UserItems(*np.nonzero(parts == part), 12, 20) for part in (1, 2, 3))
    test = test.select(test.users != 4)  # a user without a target
    found = evaluate_ranking(users, items, test, [train, val], ks=[3, 9])
    for k in (3, 9):
        for name, value in naive((users @ items.T).numpy(), test, [train, val], k).items():
            assert found[name] == pytest.approx(value)


def test_ndcg_against_scikit_learn():
    rng = np.random.default_rng(0)
    users, items = torch.tensor(rng.normal(size=(8, 4))), torch.tensor(rng.normal(size=(15, 4)))
    relevant = (rng.random((8, 15)) < 0.3).astype(int)
    relevant[:, 0] = 1
    found = evaluate_ranking(users, items, UserItems(*np.nonzero(relevant), 8, 15), [], ks=[5])
    assert found["ndcg@5"] == pytest.approx(ndcg_score(relevant, (users @ items.T).numpy(), k=5))


@pytest.mark.gpu
def test_cuda_gives_the_same_metrics(tiny):
    users, items = torch.randn(tiny.num_users, 4), torch.randn(tiny.num_items, 4)
    found, expected = (evaluate_ranking(users.to(d), items.to(d), tiny, [], ks=[1, 2]) for d in ("cuda", "cpu"))
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("k", [0, 5, -1, 2.0, True])
def test_k_out_of_range(k):
    with pytest.raises(InputError, match=r"whole numbers from 1 to 4 \(the number of items\)"):
        evaluate_ranking(torch.ones(1, 1), torch.ones(4, 1), UserItems([0], [0], 1, 4), [], ks=[k])


def test_nan_and_nothing_to_score():
    target = UserItems([0], [0], 1, 2)
    with pytest.raises(InputError, match="the item table holds NaN"):
        evaluate_ranking(torch.ones(1, 1), torch.tensor([[1.0], [torch.nan]]), target, [], ks=[1])
    with pytest.raises(InputError, match="no target interaction"):
        evaluate_ranking(torch.ones(1, 1), torch.ones(2, 1), UserItems([], [], 1, 2), [], ks=[1])


@pytest.mark.parametrize("sizes", [(2, 3), (2, 5), (1, 4), (3, 4)])
def test_interactions_of_other_sizes_than_the_tables(sizes):
    """Item 3 of user 0 has the number of item 0 of user 1 where there are three items."""
    users, items = torch.ones(2, 1), torch.tensor([[1.0], [2.0], [3.0], [4.0]])
    fits, other = UserItems([0, 1], [2, 0], 2, 4), UserItems([0], [2], *sizes)
    message = f"interactions of {sizes[0]} users and {sizes[1]} items given for tables of 2 and 4"
    with pytest.raises(InputError, match=f"target {message}"):
        evaluate_ranking(users, items, other, [], ks=[1])
    with pytest.raises(InputError, match=f"masked {message}"):
        evaluate_ranking(users, items, fits, [fits, other], ks=[1])
