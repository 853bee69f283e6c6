"""One scale for a whole tensor, one power of two per row: the quantizer between the steps of packed inference.

A row keeps b-bit codes q and an exponent e; code and value are tied by

    top-anchored:   t = max(x) - x,   value = -(q << e) * scale    (messages: differences within a row are what counts)
    zero-anchored:  t = max(x, 0),    value = +(q << e) * scale    (after a relu)

    e = stride * #{ j = 0 ... M - 2 : threshold_j < max(t) }
    threshold_j = ((scale * 2^(stride * j)) * n) / gamma,   n = 2^b - 1
    q = rint(min((t / scale) * 2^-e, n))               (half to even; t / scale is t * (1 / scale), all in float32)

so e is the smallest of M exponents whose range holds gamma times the row, and the last one clips.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gnnq_lib.errors import InputError
from gnnq_lib.kernels.checks import MAX_EXPONENT
from gnnq_lib.quantizers.packing import check_bits

# Far from where float32 loses bits: multiplying by a power of two must be exact.
_SMALLEST_SCALE, _LARGEST_SCALE = 1e-25, 1e25
_STRIDES = (1, 2, 4)  # powers of two: the compiled kernels round exponents up with a mask


@dataclass(frozen=True)
class RowQuantizer:
    """Constants of one quantizer instance.

    Args:
        scale: step at exponent 0, > 0 (kept as float32).
        bits: width of a code: 1, 2, 4 or 8.
        num_exponents: M, 1 ... 8.
        gamma: share of a row's range that must fit before the exponent is raised, > 0.
        stride: distance between neighbouring exponents: 1, 2 or 4; (M - 1) * stride is at most 7.

    Raises:
        InputError: one of them is outside its range.

    Example:
        >>> quantizer = RowQuantizer(scale=0.5, bits=2, num_exponents=3)
        >>> quantizer.quantize(torch.tensor([[0.0, 1.0, 4.0]]))  # largest first: 4.0 is code 0
        (tensor([[2., 2., 0.]]), tensor([2]))
    """

    scale: float
    bits: int
    num_exponents: int = 1
    gamma: float = 1.0
    stride: int = 1

    def __post_init__(self) -> None:
        check_bits(self.bits)
        if not _SMALLEST_SCALE < float(self.scale) < _LARGEST_SCALE:
            raise InputError(f"scale={self.scale} given; accepted is {_SMALLEST_SCALE} to {_LARGEST_SCALE}")
        if not 1 <= self.num_exponents <= MAX_EXPONENT + 1:
            raise InputError(f"num_exponents={self.num_exponents} given; accepted is 1 to {MAX_EXPONENT + 1}")
        if not 1e-3 <= float(self.gamma) <= 1e3 or math.isnan(self.gamma):
            raise InputError(f"gamma={self.gamma} given; accepted is 0.001 to 1000")
        if self.stride not in _STRIDES or self.max_shift > MAX_EXPONENT:
            raise InputError(
                f"stride={self.stride} given with {self.num_exponents} exponents; accepted is 1, 2 or 4, "
                f"and (exponents - 1) * stride up to {MAX_EXPONENT}"
            )

    @property
    def top_code(self) -> int:
        """n = 2^bits - 1."""
        return (1 << self.bits) - 1

    @property
    def max_shift(self) -> int:
        """Largest shift of a row's codes."""
        return (self.num_exponents - 1) * self.stride

    @property
    def scale32(self) -> Tensor:
        """The scale as a float32 number."""
        return torch.tensor(self.scale, dtype=torch.float32, device="cpu")

    @property
    def inverse32(self) -> Tensor:
        """1 / scale, rounded to float32."""
        return torch.tensor(1.0, dtype=torch.float32, device="cpu") / self.scale32

    def thresholds(self) -> Tensor:
        """float32 (max(M - 1, 1),): ranges above which the exponent is raised, from low to high."""
        exponents = [self.stride * j for j in range(max(self.num_exponents - 1, 1))]
        powers = torch.tensor([2.0**e for e in exponents], dtype=torch.float32, device="cpu")
        top, gamma = (torch.tensor(float(x), dtype=torch.float32, device="cpu") for x in (self.top_code, self.gamma))
        return ((self.scale32 * powers) * top) / gamma

    def quantize(self, x: Tensor, zero_anchored: bool = False) -> tuple[Tensor, Tensor]:
        """Codes (float32, same shape as x, whole numbers 0 ... n) and exponents (int64, one per row)."""
        t = x.clamp(min=0) if zero_anchored else x.amax(dim=1, keepdim=True) - x
        thresholds = self.thresholds()[: self.num_exponents - 1].to(x.device)
        exponent = self.stride * (thresholds < t.amax(dim=1, keepdim=True)).sum(dim=1)
        u = (t * self.inverse32.to(x.device)) * torch.exp2(-exponent.float())[:, None]
        return torch.round(u.clamp(max=float(self.top_code))), exponent

    def whole_numbers(self, x: Tensor, zero_anchored: bool = False) -> Tensor:
        """float32 whole numbers v with value = v * scale: -(q << e), or +(q << e) where zero-anchored."""
        code, exponent = self.quantize(x, zero_anchored)
        shifted = code * torch.exp2(exponent.float())[:, None]
        return shifted if zero_anchored else 0.0 - shifted
