"""Affine quantization in three verbs: choose the parameters, quantize, dequantize. `fake_quantize` composes them.

    q  = clip(round(x / s) + z, 0, 2^b - 1)         codes, unsigned; round half to even
    x^ = s (q - z)                                   at most s / 2 away from x inside the range

Source: the standard affine quantizer both papers start from (fact sheet A, 3.2 with alpha = 1).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gnnq_lib.errors import InputError
from gnnq_lib.quantizers.granularity import PER_TENSOR, Granularity
from gnnq_lib.quantizers.ste import GridSTE

SCALE_BITS, ZERO_POINT_BITS = 32, 8


@dataclass(frozen=True)
class QParams:
    """Scale and zero point of a grid with 2^num_bits points.

    Attributes:
        scale: float32 > 0, broadcasts against the tensor.
        zero_point: integers in 0 .. 2^num_bits - 1 stored as float32, same shape; the code that means 0.
        num_bits: 1 to 8.

    Example:
        >>> QParams(torch.tensor(0.5), torch.tensor(1.0), 2).levels
        3
    """

    scale: Tensor
    zero_point: Tensor
    num_bits: int

    @property
    def levels(self) -> int:
        """Largest code n = 2^b - 1."""
        return 2**self.num_bits - 1


def check_bits(num_bits: int, lowest: int = 1) -> int:
    """Return `num_bits` if it is an integer in lowest..8, else raise InputError.

    Example:
        >>> check_bits(2)
        2
    """
    if isinstance(num_bits, bool) or not isinstance(num_bits, int) or not lowest <= num_bits <= 8:
        raise InputError(f"num_bits={num_bits!r} was given; an integer from {lowest} to 8 is accepted.")
    return num_bits


def check_ratio(ratio: float) -> float:
    """Return `ratio`, a share of a range, if it lies in (0, 1], else raise InputError.

    Example:
        >>> check_ratio(0.5)
        0.5
    """
    if not 0 < ratio <= 1:
        raise InputError(f"ratio={ratio} was given; a number in (0, 1] is accepted.")
    return ratio


def check_values(x: Tensor, name: str = "x") -> Tensor:
    """Return `x` if it is a non-empty floating tensor without NaN or infinity, else raise InputError.

    Example:
        >>> check_values(torch.ones(1)).shape
        torch.Size([1])
    """
    if not torch.is_floating_point(x):
        raise InputError(f"{name} has dtype {x.dtype}; give a floating-point tensor.")
    if x.numel() == 0:
        raise InputError(f"{name} is empty (shape {tuple(x.shape)}); a quantization range needs at least one value.")
    if not torch.isfinite(x).all():
        raise InputError(f"{name} holds NaN or infinity; remove or replace such values before quantizing.")
    return x


def choose_qparams(x: Tensor, num_bits: int, granularity: Granularity = PER_TENSOR, ratio: float = 1.0) -> QParams:
    """Min-max parameters: the range is `ratio` times [min(x, 0), max(x, 0)], so zero is always a grid point.

    A constant group is exact: its scale is the constant's magnitude (1 for all zeros).

    Args:
        x: finite values, shape (|V|, F) or any shape for `PerTensor`.
        num_bits: 1 to 8.
        granularity: which values share a scale.
        ratio: share of the observed range to keep, in (0, 1]; values beyond are clipped.

    Raises:
        InputError: bits, ratio or values out of what is accepted.

    Example:
        >>> choose_qparams(torch.tensor([-1.0, 2.0]), 2).scale.item()
        1.0
    """
    levels = 2 ** check_bits(num_bits) - 1
    low, high = granularity.limits(check_values(x.detach()))
    return QParams(*affine_grid(low, high, levels, check_ratio(ratio)), num_bits)


def affine_grid(
    low: Tensor, high: Tensor, levels: int, ratio: float | Tensor = 1.0, coarse: int = 1
) -> tuple[Tensor, Tensor]:
    """Scale and zero point of the range ratio * [min(low, 0), max(high, 0)] with `levels` steps (fact sheet A, 3.2).

    If low = high, that value is a grid point at any ratio: `coarse` steps away from zero, so that it is among the codes
    a truncation to every `coarse`-th one keeps.

    Example:
        >>> [v.item() for v in affine_grid(torch.tensor(-1.0), torch.tensor(2.0), 3)]
        [1.0, 1.0]
    """
    bottom, top = low.clamp(max=0) * ratio, high.clamp(min=0) * ratio
    scale = (top - bottom) / levels
    # A subnormal or zero width cannot be divided by; such a group is constant for every practical purpose.
    usable = scale > torch.finfo(scale.dtype).tiny
    zero_point = torch.where(usable, -torch.round(bottom / torch.where(usable, scale, 1.0)), 0.0).clamp(0, levels)
    constant = (low == high) & (low != 0)
    scale = torch.where(constant, low.abs() / coarse, torch.where(usable, scale, torch.ones_like(scale)))
    zero_point = torch.where(constant, coarse * (low < 0).to(scale.dtype), zero_point)
    return scale, zero_point


def quantize(x: Tensor, qparams: QParams) -> Tensor:
    """Codes of x: uint8, same shape, 0 .. 2^b - 1; values beyond the range saturate.

    Example:
        >>> quantize(torch.tensor([-1.0, 0.4, 9.0]), QParams(torch.tensor(1.0), torch.tensor(1.0), 2)).tolist()
        [0, 1, 3]
    """
    return (torch.round(x / qparams.scale) + qparams.zero_point).clamp(0, qparams.levels).to(torch.uint8)


def dequantize(codes: Tensor, qparams: QParams) -> Tensor:
    """Values of codes: float32 s (q - z), same shape.

    Example:
        >>> grid = QParams(torch.tensor(0.5), torch.tensor(1.0), 2)
        >>> dequantize(torch.tensor([0, 3], dtype=torch.uint8), grid).tolist()
        [-0.5, 1.0]
    """
    return (codes.to(qparams.scale.dtype) - qparams.zero_point) * qparams.scale


def fake_quantize(x: Tensor, qparams: QParams) -> Tensor:
    """dequantize(quantize(x)) with a straight-through gradient: 1 where nothing is clipped, else 0.

    The clipping bounds lie half a step beyond the first and last grid point; on the bounds the gradient is 1.

    Example:
        >>> fake_quantize(torch.tensor([0.4, 9.0]), QParams(torch.tensor(1.0), torch.tensor(1.0), 2)).tolist()
        [0.0, 2.0]
    """
    return centred_codes(x, qparams) * qparams.scale


def centred_codes(x: Tensor, qparams: QParams) -> Tensor:
    """Integers q - z of x as float32 with a straight-through gradient; times the scale they are the fake-quantized x.

    Example:
        >>> centred_codes(torch.tensor([0.4, 9.0]), QParams(torch.tensor(1.0), torch.tensor(1.0), 2)).tolist()
        [0.0, 2.0]
    """
    return GridSTE.apply(x / qparams.scale, -qparams.zero_point, qparams.levels - qparams.zero_point)
