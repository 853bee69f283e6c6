"""Straight-through estimators: every gradient rule of the library, one small `autograd.Function` each.

Rounding has derivative zero almost everywhere, so training would stop at the first quantizer. A straight-through
estimator (STE) keeps the forward value and replaces the backward rule. The rules differ in one thing only: what happens
**outside and exactly on** the clipping bounds. Rounded values often lie exactly on a bound, so each rule states it.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor


def keep_inside(grad: Tensor, x: Tensor, low: float, high: float) -> Tensor:
    """The gradient where low <= x <= high, bounds included, and 0 elsewhere.

    One pass over floats: on a CPU, comparing and multiplying by booleans takes several times as long. Numbers below 0
    that are closer to it than any normal number count as 0.

    Example:
        >>> keep_inside(torch.ones(4), torch.tensor([-0.1, 0.0, 3.0, 3.1]), 0.0, 3.0).tolist()
        [0.0, 1.0, 1.0, 0.0]
    """
    return _keep_between(grad, x, *_just_outside(low, high, x.dtype))


def _keep_between(grad: Tensor, x: Tensor, low: float, high: float) -> Tensor:
    """The gradient where low < x < high, bounds left out, and 0 elsewhere."""
    return torch.ops.aten.hardtanh_backward(grad, x, low, high)


@lru_cache(maxsize=256)
def _just_outside(low: float, high: float, dtype: torch.dtype) -> tuple[float, float]:
    """The nearest numbers of this type below `low` and above `high` (below 0: the nearest normal one)."""
    kind = torch.empty((), dtype=dtype).numpy().dtype.type
    below = -torch.finfo(dtype).tiny if low == 0 else float(np.nextafter(kind(low), kind(-np.inf)))
    return below, float(np.nextafter(kind(high), kind(np.inf)))


class RoundSTE(torch.autograd.Function):
    """Round half to even; gradient 1 everywhere.

    Example:
        >>> x = torch.tensor([0.4, 1.6], requires_grad=True)
        >>> RoundSTE.apply(x).sum().backward(); x.grad.tolist()
        [1.0, 1.0]
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return torch.round(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad


class ClampSTE(torch.autograd.Function):
    """Clamp to [low, high]; gradient 1 on the closed interval (both bounds included), 0 outside.

    The framework's own rule at the bounds is left out of the game: it has changed between versions.

    Example:
        >>> x = torch.tensor([-1.0, 0.0, 3.0, 4.0], requires_grad=True)
        >>> ClampSTE.apply(x, 0.0, 3.0).sum().backward(); x.grad.tolist()
        [0.0, 1.0, 1.0, 0.0]
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, low: float, high: float) -> Tensor:
        ctx.low, ctx.high = low, high
        ctx.save_for_backward(x)
        return x.clamp(low, high)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        return keep_inside(grad, x, ctx.low, ctx.high), None, None


class GridSTE(torch.autograd.Function):
    """Round to the integers low .. high; gradient 1 for all that rounds there, 0 for what is clipped.

    The bounds are low - 0.5 and high + 0.5; on them the gradient is 1.

    Example:
        >>> x = torch.tensor([-0.6, -0.5, 3.4, 3.6], requires_grad=True)
        >>> GridSTE.apply(x, torch.tensor(0.0), torch.tensor(3.0)).sum().backward(); x.grad.tolist()
        [0.0, 1.0, 1.0, 0.0]
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, low: Tensor, high: Tensor) -> Tensor:
        ctx.save_for_backward((x >= low - 0.5) & (x <= high + 0.5))
        return torch.minimum(torch.maximum(torch.round(x), low), high)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (inside,) = ctx.saved_tensors
        return grad * inside, None, None


class ScaleGradient(torch.autograd.Function):
    """Identity whose gradient is multiplied by a constant (LSQ's step-size gradient scale).

    Example:
        >>> s = torch.tensor(2.0, requires_grad=True)
        >>> ScaleGradient.apply(s, 0.5).backward(); s.grad.item()
        0.5
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad * ctx.factor, None


class LearnedRangeQuantize(torch.autograd.Function):
    r"""QLR with the correct gradient: the range factor alpha learns (fact sheet A, 3.2, 3.4; BT and BT* from 3.5).

    low0 = min(m, 0) and high0 = max(M, 0) are the observed range, alpha * [low0, high0] the clipping range,
    s = alpha * (high0 - low0) / n its step, z the zero point:

        q          = clip(round(x / s + z), 0, n)
        q          = c * clip(round((q + k) / c), 0, n / c)          only for bitwise truncation (c > 1)
        x^         = s (q - z)
        dx^/dx     = 1 on alpha*low0 <= x <= alpha*high0, else 0
        dx^/dalpha = (s / alpha) (q - (x / s + z)) inside;  low0 below;  high0 above

    Returns the centred integers q - z (float32); multiply by s, as a constant, for x^.

    Example:
        >>> a, one, zero = torch.tensor(0.5, requires_grad=True), torch.tensor(1.0), torch.tensor(0.0)
        >>> v = LearnedRangeQuantize.apply(torch.tensor([2.0]), a, zero, 3 * one, one / 2, zero, 3, 1, 0)
        >>> (v * 0.5).sum().backward(); v.item(), a.grad.item()      # clipped above: the gradient is high0
        (3.0, 3.0)
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        alpha: Tensor,
        low0: Tensor,
        high0: Tensor,
        scale: Tensor,
        zero_point: Tensor,
        levels: int,
        coarse: int,
        shift: int,
    ) -> Tensor:
        steps = (x / scale).add_(zero_point)
        codes = truncate_codes(torch.round(steps).clamp_(0, levels), levels, coarse, shift)
        ctx.save_for_backward(x, alpha, low0, high0, scale, codes - steps)
        return codes - zero_point

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, alpha, low0, high0, scale, rounding = ctx.saved_tensors
        low, high = float(alpha * low0), float(alpha * high0)
        inside = keep_inside(grad, x, low, high)
        below, above = _keep_between(grad, x, -math.inf, low).sum(), _keep_between(grad, x, high, math.inf).sum()
        of_alpha = (inside * rounding).sum() * (scale / alpha) + below * low0 + above * high0
        return inside.div_(scale), of_alpha / scale, *[None] * 7


class ReleasedRangeQuantize(torch.autograd.Function):
    """QLR with the gradient of the released code: masks and rounding term from the *output* (fact sheet A, 3.4).

    Same forward as `LearnedRangeQuantize`. The gradient of alpha is zero up to rounding noise, so alpha does not learn
    from the loss; the input gradient is close to a plain straight-through estimator. Here low0 and high0 are the
    observed minimum and maximum themselves, also where they leave zero out.

    Example:
        >>> a, one, zero = torch.tensor(0.5, requires_grad=True), torch.tensor(1.0), torch.tensor(0.0)
        >>> v = ReleasedRangeQuantize.apply(torch.tensor([2.0]), a, zero, 3 * one, one / 2, zero, 3, 1, 0)
        >>> (v * 0.5).sum().backward(); v.item(), a.grad.item()
        (3.0, 0.0)
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        alpha: Tensor,
        low0: Tensor,
        high0: Tensor,
        scale: Tensor,
        zero_point: Tensor,
        levels: int,
        coarse: int,
        shift: int,
    ) -> Tensor:
        codes = truncate_codes(torch.round(x / scale + zero_point).clamp(0, levels), levels, coarse, shift)
        centred = codes - zero_point
        ctx.save_for_backward(alpha, low0, high0, scale, zero_point, codes)
        return centred

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        alpha, low0, high0, scale, zero_point, codes = ctx.saved_tensors
        output, low, high = (codes - zero_point) * scale, alpha * low0, alpha * high0
        inside = (output >= low) & (output <= high)
        masked = grad / scale * inside
        slope = (output < low) * low + (output > high) * high + inside * (codes - (output / scale + zero_point))
        return masked, (masked * slope).sum(), *[None] * 7


def truncate_codes(codes: Tensor, levels: int, coarse: int, shift: int) -> Tensor:
    """Bitwise truncation: keep every `coarse`-th code, after adding `shift`, clamped (fact sheet A, 3.5).

    Example:
        >>> truncate_codes(torch.tensor([40.0, 50.0, 255.0]), 255, 85, 3).tolist()
        [85.0, 85.0, 255.0]
    """
    if coarse == 1:
        return codes
    return (codes + shift).div_(coarse).round_().clamp_(0, levels // coarse).mul_(coarse)


class NodePowerOfTwoQuantize(torch.autograd.Function):
    r"""One grid per row whose step is a shared scale times a power of two chosen by the row (ours; see `node_pow2`).

    Top-anchored rows count down from their largest entry, zero-anchored rows count up from zero:

        t = max(x) - x  (top)  or  max(x, 0)  (zero);   v = -/+ p * min(round(t / (s p)), n);   x^ = s v

    p is the row's power of two, a constant. Gradients: dv/dx = 1/s where t / (s p) <= n (bound included) and, for zero,
    x >= 0; else 0. For top, the row's maximum receives minus the others' sum, since all count from it. dv/ds = -t / s^2
    with the sign of v where dv/dx is not 0, else 0.

    Returns integers v (float32), to be multiplied by s.

    Example:
        >>> x, one = torch.tensor([[9.0, 5.0, 0.0]]), torch.tensor(1.0)
        >>> NodePowerOfTwoQuantize.apply(x, one, torch.tensor([[4.0]]), 3, True).tolist()
        [[-0.0, -4.0, -8.0]]
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, step: Tensor, levels: int, top_anchored: bool) -> Tensor:
        # One product per value: dividing by a power of two is exact, before or after it.
        factor, argmax = (1 / scale) / step, None
        if not top_anchored:
            units = x * factor
        elif ctx.needs_input_grad[0]:
            top, argmax = x.max(dim=1, keepdim=True)
            units = (top - x).mul_(factor)
        else:  # without positions a maximum takes a third of the time
            units = (x.amax(dim=1, keepdim=True) - x).mul_(factor)
        ctx.levels, ctx.top_anchored = float(levels), top_anchored
        ctx.save_for_backward(scale, step, units, argmax)
        return units.clamp(0, levels).round_().mul_(-step if top_anchored else step)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        scale, step, units, argmax = ctx.saved_tensors
        grad = keep_inside(grad, units, 0.0, ctx.levels).div_(scale)
        grad_scale = (grad * units).mul_(step).sum()
        if not ctx.top_anchored:
            return grad, -grad_scale, None, None, None
        return grad.scatter_add_(1, argmax, -grad.sum(dim=1, keepdim=True)), grad_scale, None, None, None
