"""A rotation of a table before it is quantized: no score changes, the error of rounding does.

LightGCN's scores are inner products of rows of H = P X. With an orthogonal R, (P X R)(P X R)^T = (P X)(P X)^T: every
rotated table ranks alike. Rounding to levels does care along which axes the values lie. Choosing R for small error is
iterative quantization (ITQ; Gong and Lazebnik, CVPR 2011), there for signs, here for levels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gnnq_lib.recommendation.levels import fitted_levels, look_up, nearest_codes

ROUNDS = 30
LLOYD_ROUNDS = 3  # in each round; the next one goes on from a table that is nearly the same
SAMPLE = 20_000  # rows that the rotation is fitted to, where a table has more


@torch.no_grad()
def fitted_rotation(table: Tensor, bits: int, per_node: bool = True, seed: int = 0) -> Tensor:
    """R for which X R has a small squared distance to its nearest level table.

    From a random R, in turns: Q = X R on fitted levels; R = the orthogonal matrix with the least |X R - Q|^2, which is
    U V^T of the singular value decomposition X^T Q = U S V^T (Procrustes).

    Args:
        table: X, float32 (|V|, D).
        bits: 1 to 4.
        per_node: levels per node, else one set for all; see `fitted_levels`.
        seed: of the first R and the rows that are looked at (at most 20,000).

    Returns:
        float32 (D, D), orthogonal.

    Raises:
        InputError: bits out of range.

    Example:
        >>> square = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
        >>> turned = square @ fitted_rotation(square, bits=1, per_node=False)
        >>> turned.abs().allclose(torch.tensor(0.5).sqrt())  # one number for all: the corners of a square
        True
    """
    generator = torch.Generator().manual_seed(seed)
    width = table.shape[1]
    if len(table) > SAMPLE:
        table = table[torch.randperm(len(table), generator=generator)[:SAMPLE].to(table.device)]
    rotation = torch.linalg.qr(torch.randn(width, width, generator=generator)).Q.to(table.device)
    for _ in range(ROUNDS):
        turned = table @ rotation
        levels = fitted_levels(turned, bits, per_node=per_node, rounds=LLOYD_ROUNDS)
        nearest = look_up(nearest_codes(turned, levels), levels)
        left, _, right = torch.linalg.svd(table.T @ nearest)
        rotation = left @ right
    return rotation
