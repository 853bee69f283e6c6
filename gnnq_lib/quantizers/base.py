"""What every quantizer module returns and promises.

A quantizer maps values to `Quantized`: integers (kept in float32, so that they carry a gradient) and a scale. Sums of
such integers are exact in float32 below 2^24, in whatever order they are added. That is why the simulated model and the
packed integer model give the same bits.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Quantized(NamedTuple):
    """Integers times a scale: x^ = values * scale.

    Attributes:
        values: float32 integers (full precision: the values themselves), shape (|V|, F).
        scale: float32, broadcasts against `values`: () per tensor, (|V|, 1) per node, (1, F) per channel.
        low_bit: False if nothing was quantized.

    Example:
        >>> Quantized(torch.tensor([1.0, 3.0]), torch.tensor(0.5)).dequantize().tolist()
        [0.5, 1.5]
    """

    values: Tensor
    scale: Tensor
    low_bit: bool = True

    def dequantize(self) -> Tensor:
        """The real values, float32."""
        return self.values * self.scale if self.low_bit else self.values

    @property
    def exact_sum(self) -> bool:
        """True if rows can be added as integers, that is, if the scale is the same for every row."""
        return self.low_bit and (self.scale.dim() == 0 or self.scale.shape[0] == 1)


class Quantizer(nn.Module):
    """Base class: `forward` gives `Quantized`, `side_bits` says what scales and zero points cost.

    Attributes:
        num_bits: bits of one code.
        calibrating: True while ranges are measured on what evaluation sees; see `calibration`.
        step_names: parameters in the units of the tensor (step sizes); their learning rate goes with their size, so
            that one rate fits 2 and 8 bits. Factors and logarithms are not among them.
        frozen: True while a layer is computed a second time; nothing is measured then; see `frozen_ranges`.
    """

    num_bits: int = 32
    step_names: tuple[str, ...] = ()
    calibrating: bool = False
    frozen: bool = False

    def forward(self, x: Tensor, implicit_zeros: int = 0) -> Quantized:
        """Quantize x; `implicit_zeros` counts zeros a sparse tensor does not store."""
        raise NotImplementedError

    def side_bits(self, shape: tuple[int, ...]) -> float:
        """Bits stored besides the codes for a tensor of this shape: scales, zero points, exponents."""
        raise NotImplementedError

    def bits_per_value(self, shape: tuple[int, ...]) -> float:
        """Codes and side information, per value of a tensor of this shape.

        Example:
            >>> FullPrecision().bits_per_value((10, 4))
            32.0
        """
        return self.num_bits + self.side_bits(shape) / torch.Size(shape).numel()


class FullPrecision(Quantizer):
    """No quantization: what a stage uses when it is switched off.

    Example:
        >>> FullPrecision()(torch.tensor([0.3])).dequantize() == torch.tensor([0.3])
        tensor([True])
    """

    def forward(self, x: Tensor, implicit_zeros: int = 0) -> Quantized:
        """Return x as it is."""
        return Quantized(x, x.new_ones(()), low_bit=False)

    def side_bits(self, shape: tuple[int, ...]) -> float:
        """Nothing besides the 32-bit values."""
        return 0.0


@contextmanager
def calibration(model: nn.Module) -> Iterator[None]:
    """Inside, the model is in evaluation mode and range-tracking quantizers measure what they see.

    Training tensors are scaled up by dropout (1 / (1 - p)); a range measured on them wastes levels at evaluation
    (fact sheet A, fault 4). Running one evaluation forward in here measures the right range instead.

    Example:
        >>> with calibration(nn.Sequential(FullPrecision())) as _: pass
    """
    # Module by module: parts may be in evaluation mode on purpose.
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with _flag(model, "calibrating"), torch.no_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def frozen_ranges(model: nn.Module) -> Iterator[None]:
    """Inside, no quantizer measures anything: for the second pass over a layer when memory is saved by recomputing it.

    Without this a moving average would take the same tensor in twice.

    Example:
        >>> with frozen_ranges(nn.Sequential(FullPrecision())) as _: pass
    """
    with _flag(model, "frozen"):
        yield


@contextmanager
def _flag(model: nn.Module, name: str) -> Iterator[None]:
    quantizers = [m for m in model.modules() if isinstance(m, Quantizer)]
    for quantizer in quantizers:
        setattr(quantizer, name, True)
    try:
        yield
    finally:
        for quantizer in quantizers:
            setattr(quantizer, name, False)
