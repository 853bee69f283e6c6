"""Generated user-item interactions that need no download: power-law popularity and latent tastes."""

from __future__ import annotations

import numpy as np

from gnnq_lib.datasets.interactions import Interactions, UserItems, leave_out_per_user
from gnnq_lib.errors import InputError


def power_law_interactions(
    num_users: int = 400,
    num_items: int = 300,
    per_user: int = 20,
    num_factors: int = 8,
    taste: float = 3.0,
    exponent: float = 0.8,
    held_out: int = 4,
    seed: int = 0,
) -> Interactions:
    """Interactions whose item popularity follows a power law and whose users have tastes.

    User u likes item i with weight rank_i^-exponent * exp(taste * cos(p_u, q_i)), p and q random vectors; every user
    draws items without replacement by these weights, a random number of them around `per_user` (geometric above 5).

    Args:
        num_users, num_items: sizes, num_items at least 2.
        per_user: expected items per user, from 6.
        num_factors: length of the latent vectors.
        taste: how much taste matters beside popularity; 0: not at all.
        exponent: of the popularity's power law.
        held_out: test items per user.
        seed: of everything.

    Raises:
        InputError: a size out of range.

    Example:
        >>> power_law_interactions(num_users=10, num_items=30).num_items
        30
    """
    if num_users < 1 or num_items < 2 or per_user < 6 or held_out < 1:
        raise InputError(
            f"num_users={num_users}, num_items={num_items}, per_user={per_user}, held_out={held_out} given; "
            "at least 1, 2, 6 and 1 are accepted"
        )
    rng = np.random.default_rng(seed)
    users, items = (rng.standard_normal((size, num_factors)) for size in (num_users, num_items))
    users /= np.linalg.norm(users, axis=1, keepdims=True)
    items /= np.linalg.norm(items, axis=1, keepdims=True)
    popularity = -exponent * np.log1p(rng.permutation(num_items))
    # Largest perturbed log-weights: a draw without replacement (Gumbel top-k).
    keys = popularity + taste * users @ items.T + rng.gumbel(size=(num_users, num_items))
    lengths = np.minimum(5 + rng.geometric(1 / (per_user - 5), size=num_users), num_items)
    order = np.argsort(-keys, axis=1)
    chosen = np.arange(num_items) < lengths[:, None]
    pairs = UserItems(np.repeat(np.arange(num_users), lengths), order[chosen], num_users, num_items)
    test = leave_out_per_user(pairs, held_out, seed)
    return Interactions("power-law", pairs.select(~test), pairs.select(test), "generated", "random")
