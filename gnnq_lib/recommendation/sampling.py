"""Mini-batches for BPR: training interactions, each with a negative that is never a positive."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

from gnnq_lib.checks import check_choice, check_whole
from gnnq_lib.datasets.interactions import UserItems
from gnnq_lib.errors import InputError

Sampling = Literal["interactions", "users"]
LARGEST_SEED = 2**39 - 1  # with the number of an epoch, below 2**24, behind it: 63 bits


class TripletSampler:
    """Triplets (user, positive item, negative item), all drawn with tensors.

    With "interactions" an epoch holds every training interaction once. With "users" it holds as many triplets, each of
    a user drawn uniformly and one of the user's interactions drawn uniformly, with replacement: users with few
    interactions then count as much as others, as they do in the metrics. LightGCN's published code does the latter
    (gusye1234/LightGCN-PyTorch, code/utils.py), its paper does not say.

    A user's negatives are the items not among the training positives, drawn uniformly and exactly, without rejection:
    of the n_u free items the r-th one, r uniform, is r + (positives p_0 < p_1 < ... with p_k - k <= r). One search in
    one sorted list of keys user * (num_items + 1) + p_k - k finds that number for a whole batch. Users with every item
    have no negative; their interactions are left out.

    Args:
        pairs: training interactions.
        batch_size: triplets per batch, from 1; the last batch of an epoch is smaller.
        seed: from 0 to 2**39 - 1; every epoch has a stream of its own, so training can resume at any epoch.
        device: where batches are drawn.
        sampling: see above.

    Raises:
        InputError: batch_size below 1, a seed out of range, another word for `sampling`, or no interaction left to
            train on.

    Example:
        >>> sampler = TripletSampler(UserItems([0, 0, 1], [0, 2, 1], 2, 3), batch_size=8, seed=0)
        >>> sorted(zip(*[part.tolist() for part in next(sampler.epoch(0))]))[:2]  # user 0 lacks item 1 only
        [(0, 0, 1), (0, 2, 1)]
    """

    def __init__(
        self,
        pairs: UserItems,
        batch_size: int,
        seed: int,
        device: torch.device | str = "cpu",
        sampling: Sampling = "interactions",
    ) -> None:
        self.batch_size = check_whole("batch_size", batch_size, 1)
        self.sampling = check_choice("sampling", sampling, Sampling)
        self.seed, self.device = check_whole("seed", seed, 0, LARGEST_SEED), torch.device(device)
        counts = torch.as_tensor(pairs.counts)
        users, items = torch.as_tensor(pairs.users), torch.as_tensor(pairs.items)
        rank = torch.arange(len(pairs)) - torch.as_tensor(pairs.row_ptr)[users]
        self._stride = pairs.num_items + 1
        keys = users * self._stride + items - rank
        # Half as wide where they fit: a search waits for memory.
        self._keys = keys.to(device, torch.int32 if pairs.num_users * self._stride < 2**31 else torch.int64)
        self._row_ptr = torch.as_tensor(pairs.row_ptr).to(device)
        self._num_free = (pairs.num_items - counts).to(device)
        trainable = self._num_free.cpu()[users] > 0
        self._users, self._items = users[trainable].to(device), items[trainable].to(device)
        if not self._users.numel():
            raise InputError(
                f"{len(pairs)} training interactions given, none of a user who lacks an item; "
                "BPR needs users with items they have and items they lack"
            )
        # Of each user with interactions: how many they are, and where they start.
        self._count = self._users.unique_consecutive(return_counts=True)[1]
        self._first = self._count.cumsum(0) - self._count

    @property
    def num_batches(self) -> int:
        """Batches per epoch."""
        return -(-self._users.numel() // self.batch_size)

    def epoch(self, number: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """The batches of one epoch: (users, positives, negatives), int64 each; the same number, the same batches."""
        generator = torch.Generator(self.device).manual_seed((self.seed << 24) + number)
        for chosen in self._order(generator).split(self.batch_size):
            users = self._users[chosen]
            yield users, self._items[chosen], self.negatives(users, generator)

    def _order(self, generator: torch.Generator) -> Tensor:
        """Which interactions an epoch holds, in order."""
        size = self._users.numel()
        if self.sampling == "interactions":
            return torch.randperm(size, generator=generator, device=self.device)
        who = torch.randint(self._first.numel(), (size,), generator=generator, device=self.device)
        draws = torch.rand(size, generator=generator, device=self.device, dtype=torch.float64)
        return self._first[who] + (draws * self._count[who]).long()

    def negatives(self, users: Tensor, generator: torch.Generator) -> Tensor:
        """One item per user that is none of the user's training items, uniform over those."""
        draws = torch.rand(users.numel(), generator=generator, device=self.device, dtype=torch.float64)
        free = (draws * self._num_free[users]).long()
        wanted = (users * self._stride + free).to(self._keys.dtype)
        before = torch.searchsorted(self._keys, wanted, right=True) - self._row_ptr[users]
        return free + before
