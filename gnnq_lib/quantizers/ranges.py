"""Range rules: where a grid begins and ends before anything is learned."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gnnq_lib.errors import InputError
from gnnq_lib.quantizers.affine import affine_grid, check_bits, check_values
from gnnq_lib.quantizers.ste import truncate_codes


def percentile_limits(x: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Smallest and largest value after leaving out a share of the values at each end (k-th value, no interpolation).

    Args:
        x: any shape.
        share: in [0, 0.5).

    Example:
        >>> [v.item() for v in percentile_limits(torch.arange(101.0), 0.01)]
        [1.0, 99.0]
    """
    if not 0 <= share < 0.5:
        raise InputError(f"share={share} was given; a number in [0, 0.5) is accepted.")
    flat = check_values(x.detach()).flatten()
    drop = int(share * flat.numel())
    if drop == 0:
        low, high = torch.aminmax(flat)
        return low, high
    # The same values as kthvalue's, mostly sooner where few are left out.
    low, high = (flat.topk(drop + 1, largest=largest, sorted=False).values for largest in (False, True))
    return low.max(), high.min()


def released_grid(num_bits: int) -> list[float]:
    """The released code's candidates for alpha: tenths at 2 bits, fiftieths above (fact sheet A, 3.3).

    Example:
        >>> released_grid(2)[:3], len(released_grid(4))
        ([0.1, 0.2, 0.3], 50)
    """
    count = 10 if check_bits(num_bits, lowest=2) == 2 else 50
    return [round((i + 1) / count, 2) for i in range(count)]


def search_ratio(
    x: Tensor,
    low: Tensor,
    high: Tensor,
    levels: int,
    candidates: Sequence[float],
    coarse: int = 1,
    shift: int = 0,
) -> float:
    """The ratio of the range that gives the smallest mean |x^ - x| (fact sheet A, 3.3); ties keep the smallest.

    A constant tensor keeps its whole range: its grid is exact at every ratio, but a smaller ratio would count the
    constant itself as clipped and so stop its gradient.

    Args:
        x: values, any shape.
        low, high: observed range, shape ().
        levels: largest code.
        candidates: ratios to try, ascending, in (0, 1].
        coarse, shift: bitwise truncation, see `truncate_codes`.

    Example:
        >>> x = torch.tensor([1.0] * 9 + [7.5])
        >>> search_ratio(x, x.min(), x.max(), 3, [0.1, 0.4, 1.0])
        0.4
    """
    if low == high:
        return candidates[-1]
    errors = []
    for ratio in candidates:
        scale, zero_point = affine_grid(low, high, levels, ratio)
        codes = truncate_codes(torch.round(x / scale + zero_point).clamp(0, levels), levels, coarse, shift)
        errors.append(((codes - zero_point) * scale - x).abs().mean())
    return candidates[int(torch.stack(errors).argmin())]


def sqnr_db(x: Tensor, quantized: Tensor) -> float:
    """Signal to quantization-noise ratio 10 log10(sum x^2 / sum (x - x^)^2), in dB; infinite if exact.

    Example:
        >>> round(sqnr_db(torch.tensor([3.0, 4.0]), torch.tensor([3.0, 3.5])), 1)
        20.0
    """
    signal, noise = x.double().square().sum(), (x.double() - quantized.double()).square().sum()
    return float("inf") if noise == 0 else float(10 * torch.log10(signal / noise))
