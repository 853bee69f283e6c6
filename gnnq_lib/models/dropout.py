"""Dropout for large activations on a CPU: four random decisions from one draw of the generator."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

_BITS = 16  # of the random number that decides about one value: rates are met to within 2^-17


def dropout(x: Tensor, rate: float, training: bool = True) -> Tensor:
    """Zero each value with probability `rate` and scale the others by 1 / (1 - rate); x itself outside training.

    The same distribution as `torch.nn.functional.dropout` (rates rounded to multiples of 2^-16, the scale with them),
    which on a CPU draws 64 random bits for every value; this draws 16.

    Args:
        x: float32, any shape.
        rate: in [0, 1).
        training: False returns x.

    Example:
        >>> dropout(torch.ones(3), 0.5, training=False).tolist(), sorted(set(dropout(torch.ones(99), 0.5).tolist()))
        ([1.0, 1.0, 1.0], [0.0, 2.0])
    """
    dropped = round(rate * 2**_BITS)
    if not training or dropped == 0:
        return x
    if x.device.type != "cpu":
        return functional.dropout(x, rate)
    draws = torch.empty((x.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    draws = draws.view(torch.int16)[: x.numel()].to(torch.float32).view(x.shape)
    # 1 / (1 - rate) where a draw is at least the limit, else 0; in floats, which a CPU does faster than with booleans.
    scale, limit = 2**_BITS / (2**_BITS - dropped), dropped - 2 ** (_BITS - 1)
    return x * torch.ops.aten.threshold_backward(torch.full_like(draws, scale), draws, limit - 0.5)
