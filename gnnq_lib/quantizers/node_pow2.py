r"""Per-node power-of-two scales: nearly the freedom of one scale per node, at a few bits per node, integers throughout.

Row i is stored as b-bit codes q and one exponent e_i out of 2^k; its step is s 2^(e_i) with one scale s for the whole
tensor. Adding up neighbours is then integer arithmetic: sum_j q_j << e_j.

Three anchors:

- **zero**: x^ = s 2^e q. For values >= 0, such as ReLU outputs.
- **top**: x^ = max(x) - s 2^e q, and the row maximum itself is dropped. For class logits: adding the same number to all
  classes of a node changes neither its softmax nor, through the linear propagation, anyone else's. So no zero point is
  stored and no level is spent on reaching zero.
- **middle**: x^ = s 2^e v with odd integers v from -n to n, the grid of `ColumnStep`. For hidden values of either sign,
  where a shift of the row would not cancel.

This is this project's own quantizer, not in the papers: the paper's per-tensor ranges (`qlr`) stand beside it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gnnq_lib.errors import InputError
from gnnq_lib.quantizers.affine import SCALE_BITS, check_bits, check_ratio
from gnnq_lib.quantizers.base import Quantized, Quantizer
from gnnq_lib.quantizers.ste import ClampSTE, NodePowerOfTwoQuantize, RoundSTE

ANCHORS = ("top", "zero", "middle")
HEADROOM = 1.2  # of the 99th percentile; chosen by agreement with full precision on Cora, CiteSeer and PubMed


class NodePowerOfTwo(Quantizer):
    r"""Quantizer with one shared learned scale and one power-of-two exponent per row.

        t = max(x) - x  (top)  or  x  (zero)  or  |x|  (middle);   R = max(t)
        e = smallest of 0, stride, 2 stride, ... with s 2^e n >= ratio * R     (the largest one if none)
        q = min(round(t / (s 2^e)), n);    x^ = -s 2^e q  (top)  or  s 2^e q  (zero)
        q = clip(round((x / (s 2^e) + n) / 2), 0, n);    x^ = s 2^e (2 q - n)  (middle)

    Args:
        num_bits: 1 to 8.
        exponent_bits: bits of the stored exponent, 0 to 3; 2^exponent_bits exponents.
        anchor: "top", "zero" or "middle", see above.
        ratio: share of a row's range that its exponent must hold; below 1 the row's largest values are clipped.
        stride: distance between neighbouring exponents; above 1, few exponents span a wide range.

    Shapes:
        x: (|V|, F); scale (); codes (|V|, F) uint8; exponents (|V|,) uint8.

    Raises:
        InputError: an argument out of what is accepted.

    Example:
        >>> q = NodePowerOfTwo(2, anchor="zero", ratio=1.0); q.set_scale(1.0)
        >>> q(torch.tensor([[0.0, 1.0, 3.0], [0.0, 5.0, 12.0]])).dequantize().tolist()
        [[0.0, 1.0, 3.0], [0.0, 4.0, 12.0]]
    """

    def __init__(
        self,
        num_bits: int,
        exponent_bits: int = 3,
        anchor: str = "top",
        ratio: float = 0.6,
        stride: int = 1,
    ) -> None:
        super().__init__()
        if anchor not in ANCHORS:
            raise InputError(f"anchor={anchor!r} was given; {', '.join(map(repr, ANCHORS))} are accepted.")
        if exponent_bits not in (0, 1, 2, 3):
            raise InputError(f"exponent_bits={exponent_bits!r} was given; 0 to 3 are accepted.")
        if stride not in (1, 2, 3, 4):
            raise InputError(f"stride={stride!r} was given; 1 to 4 are accepted.")
        self.num_bits, self.exponent_bits, self.anchor = check_bits(num_bits), exponent_bits, anchor
        self.ratio, self.stride = check_ratio(ratio), stride
        self.log_scale = nn.Parameter(torch.zeros((), dtype=torch.float32))
        self.register_buffer("ready", torch.zeros((), dtype=torch.bool))
        powers = torch.exp2(stride * torch.arange(self.num_exponents - 1.0))
        self.register_buffer("_powers", powers, persistent=False)

    @property
    def levels(self) -> int:
        """Largest code n."""
        return 2**self.num_bits - 1

    @property
    def num_exponents(self) -> int:
        """How many exponents a row can choose from."""
        return 2**self.exponent_bits

    @property
    def scale(self) -> Tensor:
        """The shared scale s > 0, shape ()."""
        return self.log_scale.exp()

    def set_scale(self, scale: float) -> None:
        """Fix the scale (> 0) by hand; the first call then does not set it."""
        if not 0 < scale < float("inf"):
            raise InputError(f"scale={scale} was given; a positive finite number is accepted.")
        with torch.no_grad():
            self.log_scale.fill_(torch.tensor(float(scale)).log())
        self.ready.fill_(True)

    def thresholds(self) -> Tensor:
        """Row ranges above which the next exponent is taken: (s 2^e) n / ratio, float32 (2^k - 1,)."""
        return self.scale.detach() * self._powers * float(self.levels) / self.ratio

    def row_exponents(self, x: Tensor) -> Tensor:
        """What each row's step is shifted by: float32 integers (|V|, 1)."""
        return self.stride * torch.bucketize(self._row_range(x), self.thresholds()).float()

    def forward(self, x: Tensor, implicit_zeros: int = 0) -> Quantized:
        """Quantize each row; the first call sets s so that the largest exponent holds 99 % of the rows and more."""
        if not self.ready:
            self._initialise(x.detach())
        scale = self.scale
        step = torch.exp2(self.row_exponents(x.detach()))
        if self.anchor == "middle":
            units = ClampSTE.apply((x / (scale * step) + self.levels) / 2, 0.0, float(self.levels))
            return Quantized((2 * RoundSTE.apply(units) - self.levels) * step, scale)
        return Quantized(NodePowerOfTwoQuantize.apply(x, scale, step, self.levels, self.anchor == "top"), scale)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Codes (|V|, F) uint8 and shifts (|V|,) uint8 that stand for `forward(x)`.

        Example:
            >>> q = NodePowerOfTwo(2, anchor="zero", ratio=1.0); q.set_scale(1.0)
            >>> codes, exponents = q.encode(torch.tensor([[0.0, 5.0, 12.0]])); codes.tolist(), exponents.tolist()
            ([[0, 1, 3]], [2])
        """
        values = self(x).values  # first: a fresh quantizer sets its scale here, and exponents depend on it
        exponents = self.row_exponents(x)
        codes = values / torch.exp2(exponents)
        codes = (codes + self.levels) / 2 if self.anchor == "middle" else codes.abs()
        return codes.to(torch.uint8), exponents[:, 0].to(torch.uint8)

    def side_bits(self, shape: tuple[int, ...]) -> float:
        """An exponent per row and one scale."""
        return shape[0] * self.exponent_bits + SCALE_BITS

    def _row_range(self, x: Tensor) -> Tensor:
        """The largest distance R of each row, (|V|, 1); rounding keeps the order, so no distance need be formed."""
        if self.anchor == "middle":
            return x.abs().amax(dim=1, keepdim=True)
        top = x.amax(dim=1, keepdim=True)
        return top - x.amin(dim=1, keepdim=True) if self.anchor == "top" else top.clamp(min=0)

    def _initialise(self, x: Tensor) -> None:
        row_range = self._row_range(x)[:, 0]
        # torch.quantile takes at most 16 million values; a million rows say as much.
        largest = torch.quantile(row_range[:: 1 + row_range.numel() // 1_000_000], 0.99)
        span = self.levels * 2 ** (self.stride * (self.num_exponents - 1))
        self.set_scale(float((largest * HEADROOM / span).clamp(min=1e-12)))
