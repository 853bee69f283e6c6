"""Baselines for bits: plain min-max QAT at several granularities, LSQ, Degree-Quant."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gnnq_lib.errors import InputError
from gnnq_lib.quantizers.affine import (
    SCALE_BITS,
    ZERO_POINT_BITS,
    QParams,
    affine_grid,
    centred_codes,
    check_bits,
    check_ratio,
)
from gnnq_lib.quantizers.base import Quantized, Quantizer
from gnnq_lib.quantizers.granularity import PER_TENSOR, Granularity
from gnnq_lib.quantizers.ranges import percentile_limits
from gnnq_lib.quantizers.ste import ClampSTE, RoundSTE, ScaleGradient


class MinMax(Quantizer):
    """Plain quantization-aware training: the range is what the tensor at hand spans, nothing is learned.

    The range is taken anew in every forward, so training and evaluation each see their own.

    Args:
        num_bits: 1 to 8.
        granularity: which values share a scale.
        ratio: share of the range to keep.

    Example:
        >>> MinMax(2)(torch.tensor([[0.0, 1.4], [2.0, 3.0]])).dequantize().tolist()
        [[0.0, 1.0], [2.0, 3.0]]
    """

    def __init__(self, num_bits: int, granularity: Granularity = PER_TENSOR, ratio: float = 1.0) -> None:
        super().__init__()
        self.num_bits, self.granularity, self.ratio = check_bits(num_bits), granularity, check_ratio(ratio)

    def forward(self, x: Tensor, implicit_zeros: int = 0) -> Quantized:
        """Quantize x on its own range; sparse values always share one scale."""
        granularity = PER_TENSOR if x.dim() == 1 else self.granularity
        low, high = granularity.limits(x.detach())
        scale, zero_point = affine_grid(low, high, 2**self.num_bits - 1, self.ratio)
        return Quantized(centred_codes(x, QParams(scale, zero_point, self.num_bits)), scale)

    def side_bits(self, shape: tuple[int, ...]) -> float:
        """A scale and a zero point per group."""
        return self.granularity.num_groups(shape) * (SCALE_BITS + self.num_bits)


class LearnedStep(Quantizer):
    r"""LSQ: the step size s is a parameter with gradient scale 1 / sqrt(count * Q) (LSQ, arXiv 1902.08153, eq. 1 to 3).

        v = round(clip(x / s, -Q_N, Q_P)),   x^ = s v

    Values exactly on a clipping bound count as inside (gradient 1 to x); the paper counts them as outside.

    Args:
        num_bits: 2 to 8.
        signed: True: Q_N = 2^(b-1), Q_P = 2^(b-1) - 1. False: Q_N = 0, Q_P = 2^b - 1, for tensors without negative
            values, as in LSQ's section 2. None: by what the first call gets.

    Example:
        >>> LearnedStep(2)(torch.tensor([-2.0, 0.0, 2.0])).values.tolist()
        [-1.0, 0.0, 1.0]
        >>> LearnedStep(2, signed=None)(torch.tensor([0.0, 1.0, 2.0])).values.tolist()
        [0.0, 1.0, 2.0]
    """

    step_names = ("step",)

    def __init__(self, num_bits: int, signed: bool | None = True) -> None:
        super().__init__()
        self.num_bits, self.signed = check_bits(num_bits, lowest=2), signed
        self.register_buffer("from_zero", torch.tensor(signed is False), persistent=signed is None)
        self.step = nn.Parameter(torch.ones((), dtype=torch.float32))
        self.register_buffer("ready", torch.zeros((), dtype=torch.bool))

    def forward(self, x: Tensor, implicit_zeros: int = 0) -> Quantized:
        """Quantize x; the first call sets s = 2 mean|x| / sqrt(Q_P), and Q_N and Q_P where they are to follow x."""
        if not self.ready:
            with torch.no_grad():
                if self.signed is None:
                    self.from_zero.copy_((x >= 0).all())
                self.step.copy_((2 * x.abs().mean() / self.highest**0.5).clamp(min=1e-8))
                self.ready.fill_(True)
        step = ScaleGradient.apply(self.step.clamp(min=1e-8), (x.numel() * self.highest) ** -0.5)
        values = RoundSTE.apply(ClampSTE.apply(x / step, self.lowest, self.highest))
        return Quantized(values, step)

    @property
    def lowest(self) -> int:
        """-Q_N."""
        return 0 if self.from_zero else -(2 ** (self.num_bits - 1))

    @property
    def highest(self) -> int:
        """Q_P."""
        return self.lowest + 2**self.num_bits - 1

    def side_bits(self, shape: tuple[int, ...]) -> float:
        """One step size."""
        return SCALE_BITS


class DegreeQuant(Quantizer):
    """Degree-Quant: percentile ranges with a moving average; well-connected nodes often stay unquantized in training.

    Node i is protected (full precision) with probability low + change * rank_i, rank_i its in-degree rank in [0, 1]
    (arXiv 2008.05000; essentials in the baselines fact sheet, 3.3). At evaluation all nodes are quantized.

    Args:
        num_bits: 2 to 8.
        degree: node degrees, shape (|V|,); None for tensors whose rows are not nodes (weights): nothing is protected.
        low, change: bounds of the protection probability.
        share: values left out at each end of the range.
        momentum: weight of the newest range.

    Example:
        >>> DegreeQuant(2, None).eval()(torch.tensor([[0.0, 1.0], [2.0, 3.0]])).dequantize().tolist()
        [[0.0, 1.0], [2.0, 3.0]]
    """

    def __init__(
        self,
        num_bits: int,
        degree: Tensor | None,
        low: float = 0.0,
        change: float = 0.1,
        share: float = 0.001,
        momentum: float = 0.1,
    ) -> None:
        super().__init__()
        if min(low, change) < 0 or low + change > 1:
            raise InputError(f"low={low}, change={change} were given; probabilities low and low + change in [0, 1].")
        self.num_bits, self.share, self.momentum = check_bits(num_bits, lowest=2), share, momentum
        protection = None if degree is None else low + change * _rank(degree)[:, None]
        self.register_buffer("protection", protection, persistent=False)
        self.register_buffer("minimum", torch.zeros((), dtype=torch.float32))
        self.register_buffer("maximum", torch.zeros((), dtype=torch.float32))
        self.register_buffer("ready", torch.zeros((), dtype=torch.bool))

    def forward(self, x: Tensor, implicit_zeros: int = 0) -> Quantized:
        """Quantize x; in training update the range and protect a random set of nodes."""
        if (self.training and not self.frozen) or not self.ready:
            self._update(x.detach())
        scale, zero_point = affine_grid(self.minimum, self.maximum, 2**self.num_bits - 1)
        values = centred_codes(x, QParams(scale, zero_point, self.num_bits))
        if self.training and self.protection is not None and x.shape[:1] == self.protection.shape[:1]:
            protected = torch.rand_like(self.protection) < self.protection
            values = torch.where(protected, x / scale, values)
        return Quantized(values, scale)

    def side_bits(self, shape: tuple[int, ...]) -> float:
        """One scale and one zero point."""
        return SCALE_BITS + ZERO_POINT_BITS

    def _update(self, x: Tensor) -> None:
        low, high = percentile_limits(x, self.share)
        rate = self.momentum if self.ready else 1.0
        self.minimum.lerp_(low, rate)
        self.maximum.lerp_(high, rate)
        self.ready.fill_(True)


def _rank(degree: Tensor) -> Tensor:
    """Cumulative rank in [0, 1]; equal degrees share a rank."""
    ordered, counts = torch.unique(degree, return_counts=True)
    cumulative = counts.cumsum(0).float() / degree.numel()
    return cumulative[torch.searchsorted(ordered, degree)]
