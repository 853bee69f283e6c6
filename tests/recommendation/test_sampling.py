"""Triplets: every positive once, negatives never a positive and uniform."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gnnq_lib.datasets.interactions import UserItems
from gnnq_lib.errors import InputError
from gnnq_lib.recommendation.sampling import TripletSampler


@settings(max_examples=40, deadline=None)
@given(st.sets(st.tuples(st.integers(0, 3), st.integers(0, 5)), min_size=1))
def test_negatives_are_never_positives(interactions):
    users, items = zip(*interactions)
    pairs = UserItems(users, items, 4, 6)
    full = set((pairs.counts == 6).nonzero()[0].tolist())
    if set(users) <= full:
        with pytest.raises(InputError, match="none of a user who lacks an item"):
            TripletSampler(pairs, 4, seed=0)
        return
    sampler = TripletSampler(pairs, 4, seed=0)
    seen = []
    for epoch in range(3):
        for batch in sampler.epoch(epoch):
            for user, positive, negative in zip(*[part.tolist() for part in batch]):
                assert (user, positive) in interactions and (user, negative) not in interactions
                assert 0 <= negative < 6
                seen.append((epoch, user, positive))
    assert len(seen) == len(set(seen)) == 3 * sum(user not in full for user, _ in interactions)


def test_negatives_are_uniform_over_the_free_items():
    pairs = UserItems([0, 0, 0, 1], [0, 3, 4, 2], 2, 7)
    sampler = TripletSampler(pairs, 8, seed=0)
    drawn = sampler.negatives(torch.zeros(40_000, dtype=torch.long), torch.Generator().manual_seed(1))
    shares = torch.bincount(drawn, minlength=7) / 40_000
    assert shares[[0, 3, 4]].tolist() == [0, 0, 0]
    assert torch.allclose(shares[[1, 2, 5, 6]], torch.tensor(0.25), atol=0.01)


def test_catalogues_whose_keys_need_64_bits():
    pairs = UserItems([*[0] * 9, 2, 2], [*range(9), 0, 1], 3, 2**30)
    sampler = TripletSampler(pairs, 8, seed=0)
    drawn = sampler.negatives(torch.full((1000,), 2), torch.Generator().manual_seed(1))
    draws = torch.rand(1000, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert torch.equal(drawn, (draws * (2**30 - 2)).long() + 2)  # both of the user's items come before


def test_epochs_repeat_and_differ(split):
    sampler = TripletSampler(split.train, 64, seed=5)
    first, again, other = (
        torch.cat([torch.stack(batch) for batch in sampler.epoch(number)], 1) for number in (0, 0, 1)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert sampler.num_batches == -(-len(split.train) // 64)


def test_users_are_drawn_uniformly_and_so_are_their_interactions():
    """User 0 has three interactions, user 2 one, user 1 none, user 3 every item (so no negative)."""
    pairs = UserItems([0, 0, 0, 2, *[3] * 5], [0, 3, 4, 2, *range(5)], 4, 5)
    sampler = TripletSampler(pairs, 1000, seed=0, sampling="users")
    triplets = [torch.stack(batch) for epoch in range(10_000) for batch in sampler.epoch(epoch)]
    users, positives, negatives = torch.cat(triplets, 1)
    assert len(users) == 40_000 and set(users.tolist()) == {0, 2}
    assert float((users == 0).double().mean()) == pytest.approx(0.5, abs=0.01)
    shares = torch.bincount(positives[users == 0], minlength=5) / int((users == 0).sum())
    assert torch.allclose(shares, torch.tensor([1 / 3, 0, 0, 1 / 3, 1 / 3]), atol=0.01)
    assert set(positives[users == 2].tolist()) == {2} and set(negatives[users == 0].tolist()) == {1, 2}


def test_epochs_repeat_and_differ_when_users_are_drawn(split):
    sampler = TripletSampler(split.train, 64, seed=5, sampling="users")
    first, again, other = (torch.cat([batch[0] for batch in sampler.epoch(number)]) for number in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other) and len(first) == len(split.train)


def test_another_word_for_sampling_is_refused(split):
    with pytest.raises(InputError, match="sampling='items' given; 'interactions' and 'users' are accepted"):
        TripletSampler(split.train, 64, seed=0, sampling="items")


@pytest.mark.parametrize("size", [0, -3, 2.0, True])
def test_batch_size_out_of_range(split, size):
    with pytest.raises(InputError, match="batch_size="):
        TripletSampler(split.train, size, seed=0)


@pytest.mark.parametrize("seed", [-1, 2**39, 2**40, 1.0, True])
def test_seed_out_of_range(split, seed):
    with pytest.raises(InputError, match="seed="):
        TripletSampler(split.train, 8, seed=seed)


def test_the_largest_seed(split):
    assert len(next(TripletSampler(split.train, 8, seed=2**39 - 1).epoch(2**24 - 1))[0]) == 8
