"""QLR: quantization with learned ranges, and the bitwise truncations BT and BT* built on it (paper A).

One range factor alpha per quantizer, found by a search at the first call and then learned. Following the fact sheet,
section 3; the switch `as_released` gives the gradient of the published code instead, in which alpha stays where the
search put it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gnnq_lib.errors import InputError
from gnnq_lib.quantizers.affine import SCALE_BITS, ZERO_POINT_BITS, affine_grid, check_bits
from gnnq_lib.quantizers.base import Quantized, Quantizer
from gnnq_lib.quantizers.ranges import released_grid, search_ratio
from gnnq_lib.quantizers.ste import LearnedRangeQuantize, ReleasedRangeQuantize

ALPHA_FLOOR = 1e-3  # a learned alpha never reaches zero, where the grid would vanish


class LearnedRange(Quantizer):
    r"""QLR: x^ = s (q - z) on the range alpha * [min(m, 0), max(M, 0)] (paper A; fact sheet 3.2 to 3.4).

    Args:
        num_bits: 2 to 8.
        as_released: gradient of the released code (alpha does not learn) instead of the correct one.
        calibration: "evaluation" measures m and M only inside `calibration(model)`; "training" measures them in every
            training forward and freezes the last ones for evaluation, as released (fault 4).

    Shapes:
        x: (|V|, F) or any other; one scale and zero point for all of it.

    Raises:
        InputError: bits outside 2..8 or an unknown calibration.

    Example:
        >>> LearnedRange(2)(torch.tensor([0.0, 1.0, 2.0, 3.0])).dequantize().detach().tolist()
        [0.0, 1.0, 2.0, 3.0]
    """

    search_floor = 0.1  # released: 0.1 is added to a smaller result of the search

    def __init__(self, num_bits: int, as_released: bool = False, calibration: str = "evaluation") -> None:
        super().__init__()
        if calibration not in ("evaluation", "training"):
            raise InputError(f"calibration={calibration!r} was given; 'evaluation' and 'training' are accepted.")
        self.num_bits = check_bits(num_bits, lowest=2)
        self.as_released, self.calibration = as_released, calibration
        self.alpha = nn.Parameter(torch.ones((), dtype=torch.float32))
        self.register_buffer("minimum", torch.zeros((), dtype=torch.float32))
        self.register_buffer("maximum", torch.zeros((), dtype=torch.float32))
        self.register_buffer("ready", torch.zeros((), dtype=torch.bool))

    @property
    def levels(self) -> int:
        """Largest code of the grid x is rounded to first."""
        return 2**self.num_bits - 1

    @property
    def coarse(self) -> int:
        """Distance of the codes that are kept; 1 without truncation."""
        return 1

    def shift(self) -> int:
        """Offset added before truncation, in codes."""
        return 0

    def forward(self, x: Tensor, implicit_zeros: int = 0) -> Quantized:
        """Quantize x and, where due, measure its range."""
        self._observe(x.detach(), implicit_zeros)
        if self.as_released:
            function, alpha, low, high = ReleasedRangeQuantize, self.alpha, self.minimum, self.maximum
        else:
            function, alpha = LearnedRangeQuantize, self.alpha.clamp(min=ALPHA_FLOOR)
            low, high = self.minimum.clamp(max=0), self.maximum.clamp(min=0)
        scale, zero_point = affine_grid(self.minimum, self.maximum, self.levels, alpha.detach(), self.coarse)
        values = function.apply(x, alpha, low, high, scale, zero_point, self.levels, self.coarse, self.shift())
        return Quantized(values, scale)

    def side_bits(self, shape: tuple[int, ...]) -> float:
        """One scale and one zero point."""
        return SCALE_BITS + ZERO_POINT_BITS

    def _observe(self, x: Tensor, implicit_zeros: int) -> None:
        due = self.calibrating if self.calibration == "evaluation" else self.training and not self.frozen
        if self.ready and not due:
            return
        minimum, maximum = torch.aminmax(x)
        zero = x.new_zeros(())
        self.minimum.copy_(torch.minimum(minimum, zero) if implicit_zeros else minimum)
        self.maximum.copy_(torch.maximum(maximum, zero) if implicit_zeros else maximum)
        self._measure_skewness(x, implicit_zeros)
        if not self.ready:
            self._search(x)
            self.ready.fill_(True)

    def _measure_skewness(self, x: Tensor, implicit_zeros: int) -> None:
        """Only BT* needs it."""

    def _search(self, x: Tensor) -> None:
        grid = released_grid(self.num_bits)
        found = search_ratio(x, self.minimum, self.maximum, self.levels, grid, self.coarse, self.shift())
        with torch.no_grad():
            self.alpha.fill_(found + 0.1 if found < self.search_floor else found)


class BitwiseTruncation(LearnedRange):
    """BT: quantize to 8 bits, keep every 85th code (2 bits) or every 17th (4 bits) (paper A; fact sheet 3.5).

    Four levels with an 8-bit zero point: unlike plain INT2, zero is in general not one of them.

    Args:
        num_bits: 2 or 4.

    Example:
        >>> BitwiseTruncation(2)(torch.tensor([0.0, 0.9, 2.0, 3.0])).dequantize().detach().tolist()
        [0.0, 1.0, 2.0, 3.0]
    """

    def __init__(self, num_bits: int, as_released: bool = False, calibration: str = "evaluation") -> None:
        if num_bits not in (2, 4):
            raise InputError(f"bitwise truncation got num_bits={num_bits!r}; 2 and 4 are accepted.")
        super().__init__(num_bits, as_released, calibration)

    @property
    def levels(self) -> int:
        """The grid before truncation has 8 bits."""
        return 255

    @property
    def coarse(self) -> int:
        """85 for 2 bits, 17 for 4 bits."""
        return 255 // (2**self.num_bits - 1)


class SkewedBitwiseTruncation(BitwiseTruncation):
    """BT*: BT whose codes are first shifted by the rounded skewness of the tensor (paper A; fact sheet 3.5).

    The shift is kept within half a truncation step: beyond it the released code produces a fifth level. It is measured
    again at every calibration; as released it is measured once, at the first call.

    Example:
        >>> q = SkewedBitwiseTruncation(2); _ = q(torch.tensor([0.0] * 20 + [1.0])); q.shift()
        4
    """

    search_floor = 0.5

    def __init__(self, num_bits: int, as_released: bool = False, calibration: str = "evaluation") -> None:
        super().__init__(num_bits, as_released, calibration)
        self.register_buffer("skewness", torch.zeros((), dtype=torch.float32))

    def shift(self) -> int:
        """round(skewness), at most half a truncation step either way."""
        limit = self.coarse // 2
        return int(self.skewness.round().clamp(-limit, limit))

    def _measure_skewness(self, x: Tensor, implicit_zeros: int) -> None:
        if not (self.ready and self.as_released):
            self.skewness.copy_(population_skewness(x, implicit_zeros))


def population_skewness(x: Tensor, implicit_zeros: int = 0) -> Tensor:
    """Third standardised moment, shape (); 0 for a constant tensor, where the released code fails.

    Args:
        x: values, any shape.
        implicit_zeros: zeros that a sparse tensor does not store.

    Example:
        >>> round(population_skewness(torch.tensor([4.0]), implicit_zeros=3).item(), 4)
        1.1547
    """
    x = x.double().flatten()
    count = x.numel() + implicit_zeros
    mean = x.sum() / count
    second = ((x - mean).square().sum() + implicit_zeros * mean**2) / count
    third = ((x - mean).pow(3).sum() - implicit_zeros * mean**3) / count
    spread = second.sqrt()
    flat = spread <= 1e-7 * x.abs().max()
    return torch.where(flat, 0.0, third / torch.where(flat, 1.0, spread) ** 3).float()
