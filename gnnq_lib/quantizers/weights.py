"""Weight matrices: a symmetric low-bit grid per output column, its steps searched and then learned."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gnnq_lib.quantizers.affine import SCALE_BITS, check_bits
from gnnq_lib.quantizers.base import Quantized, Quantizer
from gnnq_lib.quantizers.ste import ClampSTE, RoundSTE, ScaleGradient

SEARCH_RATIOS = 40


class ColumnStep(Quantizer):
    """LSQ for weight matrices with one step per output column and a symmetric grid without zero.

        v = 2 clip(round((w / h + n) / 2), 0, n) - n,      w^ = h v,      v odd integers -n .. n

    The half step h starts where the squared error is smallest and is then learned with LSQ's gradient
    (arXiv 1902.08153). At 2 bits the four points -3h, -h, h, 3h serve bell-shaped weights better than -2h .. h.

    Args:
        num_bits: 1 to 8.
        num_columns: C, number of output columns.

    Shapes:
        weight (F, C); scale (1, C).

    Example:
        >>> ColumnStep(2, 1)(torch.tensor([[-3.0], [-1.0], [1.0], [3.0]])).values.flatten().tolist()
        [-3.0, -1.0, 1.0, 3.0]
    """

    step_names = ("half_step",)

    def __init__(self, num_bits: int, num_columns: int) -> None:
        super().__init__()
        self.num_bits = check_bits(num_bits)
        self.half_step = nn.Parameter(torch.ones(1, num_columns, dtype=torch.float32))
        self.register_buffer("ready", torch.zeros((), dtype=torch.bool))

    @property
    def levels(self) -> int:
        """Largest code n."""
        return 2**self.num_bits - 1

    def forward(self, x: Tensor, implicit_zeros: int = 0) -> Quantized:
        """Quantize a weight matrix; the first call searches the half steps."""
        if not self.ready:
            self._search(x.detach())
        step = ScaleGradient.apply(self.half_step.clamp(min=1e-8), (x.shape[0] * self.levels) ** -0.5)
        codes = RoundSTE.apply(ClampSTE.apply((x / step + self.levels) / 2, 0.0, float(self.levels)))
        return Quantized(2 * codes - self.levels, step)

    def side_bits(self, shape: tuple[int, ...]) -> float:
        """One half step per column."""
        return SCALE_BITS * shape[1]

    def _search(self, weight: Tensor) -> None:
        largest = weight.abs().amax(dim=0, keepdim=True).clamp(min=1e-8)
        best_error = torch.full_like(largest, float("inf"))
        with torch.no_grad():
            for i in range(1, SEARCH_RATIOS + 1):
                step = largest * (i / SEARCH_RATIOS / self.levels)
                codes = torch.round((weight / step + self.levels) / 2).clamp(0, self.levels)
                error = ((2 * codes - self.levels) * step - weight).square().sum(dim=0, keepdim=True)
                self.half_step.copy_(torch.where(error < best_error, step, self.half_step))
                best_error = torch.minimum(error, best_error)
            self.ready.fill_(True)
