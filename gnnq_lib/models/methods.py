"""Which quantizer stands at which stage: every method of the comparison in one place.

Paper A names these stages: inputs, weights, features, messages, aggregates, updates, final embeddings.

| method          | what it is                                                                | source         |
| --------------- | ------------------------------------------------------------------------- | -------------- |
| fp32            | nothing quantized                                                         | -              |
| qlr             | learned range per tensor                                                  | paper A        |
| bt, bt_star     | the same with bitwise truncation, BT* shifted by the skewness             | paper A        |
| minmax          | plain quantization-aware training, range per tensor                       | baseline       |
| lsq             | learned step per tensor                                                   | baseline       |
| degree_quant    | percentile ranges, protected nodes                                        | baseline       |
| node_pow2       | a shared scale times a power of two per node; weight grid per column      | ours           |
| tensor, degree_bucket, node_free | as node_pow2, but what is propagated shares one scale per | ours, ablation |
|                 | tensor or degree bucket, or has a free one per node                       |                |
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from torch import Tensor

from gnnq_lib.errors import InputError
from gnnq_lib.propagation import Coordinates
from gnnq_lib.quantizers import (
    BitwiseTruncation,
    ColumnStep,
    DegreeQuant,
    FullPrecision,
    LearnedRange,
    LearnedStep,
    MinMax,
    NodePowerOfTwo,
    PerDegreeBucket,
    PerNode,
    PerTensor,
    Quantizer,
    SkewedBitwiseTruncation,
)


class Method(str, Enum):
    """Names of the methods; see the table at the top of this file."""

    FP32 = "fp32"
    QLR = "qlr"
    BT = "bt"
    BT_STAR = "bt_star"
    MINMAX = "minmax"
    LSQ = "lsq"
    DEGREE_QUANT = "degree_quant"
    TENSOR = "tensor"
    DEGREE_BUCKET = "degree_bucket"
    NODE_FREE = "node_free"
    NODE_POW2 = "node_pow2"


class Values(str, Enum):
    """What a tensor holds: class scores (a shift of a row changes nothing), hidden values from 0, or of either sign."""

    SCORES = "scores"
    NON_NEGATIVE = "non_negative"
    SIGNED = "signed"


OURS = (Method.TENSOR, Method.DEGREE_BUCKET, Method.NODE_FREE, Method.NODE_POW2)
STAGES = ("inputs", "weights", "features", "messages", "aggregates", "updates", "embeddings")
MOST_BITS_AT_TWO = 2.6  # the budget for INT2, scales included (exponents per node must fit what 2-bit codes leave)


@dataclass(frozen=True)
class MethodOptions:
    """What a method needs to know to make its quantizers.

    Attributes:
        method, num_bits: which, and how many bits.
        stages: the stages that are quantized; the others stay in full precision.
        degree: node degrees (|V|,).
        num_classes: C, the width of what is propagated.
        as_released, calibration: see `LearnedRange`.
        exponent_bits: bits of a node's exponent; None takes 2, or 1 where 2 would exceed 2.6 bits per value.
        ratio: see `NodePowerOfTwo`.

    Example:
        >>> import torch
        >>> MethodOptions(Method.NODE_POW2, 2, STAGES, torch.ones(3), num_classes=7).propagated_exponent_bits
        2
    """

    method: Method
    num_bits: int
    stages: tuple[str, ...]
    degree: Tensor
    num_classes: int
    as_released: bool = False
    calibration: str = "evaluation"
    exponent_bits: int | None = None
    ratio: float = 0.6

    def __post_init__(self) -> None:
        unknown = [stage for stage in self.stages if stage not in STAGES]
        if unknown:
            raise InputError(f"stage {unknown[0]!r} was given; {', '.join(STAGES)} are accepted.")

    @property
    def propagated_exponent_bits(self) -> int:
        """Bits of the exponent of a propagated row of C values."""
        if self.exponent_bits is not None:
            return self.exponent_bits
        return min(2, int((MOST_BITS_AT_TWO - 2) * self.num_classes + 1e-9))

    @property
    def coordinates(self) -> Coordinates:
        """Mean coordinates for our methods, the paper's for the others."""
        return Coordinates.MEAN if self.method in OURS else Coordinates.SYMMETRIC

    def input_quantizer(self) -> Quantizer | None:
        """Quantizer of the input features; None where the integer features of `FeatureMatrix.low_bit` serve."""
        if "inputs" not in self.stages or self.method is Method.FP32:
            return FullPrecision()
        return None if self.method in OURS else self._activation(None)

    def weight_quantizer(self, num_columns: int) -> Quantizer:
        """Quantizer of a weight matrix (F, num_columns)."""
        if "weights" not in self.stages or self.method is Method.FP32:
            return FullPrecision()
        return ColumnStep(self.num_bits, num_columns) if self.method in OURS else self._activation(None)

    def hidden_quantizer(self) -> Quantizer:
        """Quantizer of the hidden layer after its ReLU."""
        if "features" not in self.stages or self.method is Method.FP32:
            return FullPrecision()
        if self.method in OURS:
            return _hidden_rows(self.num_bits, "zero")
        return self._activation(self.degree)

    def quantizer_of(self, stage: str, values: Values, width: int) -> Quantizer | None:
        """Quantizer of a tensor with `width` columns at a stage, by what its values are.

        Args:
            stage: one of `STAGES`.
            values: class scores take the propagated quantizer; of hidden values, per-node powers of two are anchored
                at zero or, for either sign, in the middle; to the other methods it makes no difference.
            width: columns.

        Returns:
            None for inputs that are coded as integers, see `input_quantizer`.

        Example:
            >>> import torch
            >>> rules = MethodOptions(Method.NODE_POW2, 2, STAGES, torch.ones(3), num_classes=7)
            >>> [rules.quantizer_of("messages", values, 8).anchor for values in Values]
            ['top', 'zero', 'middle']
        """
        if stage == "inputs":
            return self.input_quantizer()
        if stage == "weights":
            return self.weight_quantizer(width)
        if values is Values.SCORES or stage not in self.stages or self.method is not Method.NODE_POW2:
            return self.propagation_quantizer(stage)
        return _hidden_rows(self.num_bits, "zero" if values is Values.NON_NEGATIVE else "middle")

    def propagation_quantizer(self, stage: str) -> Quantizer:
        """Quantizer of one stage of the propagation ("features" is its input; gap stages count as their namesakes)."""
        if stage.removeprefix("gap_") not in self.stages or self.method is Method.FP32:
            return FullPrecision()
        return self._activation(self.degree)

    def embedding_quantizer(self) -> Quantizer:
        """Quantizer of the final embeddings, where the last update has not put them on a grid already."""
        return self.propagation_quantizer("embeddings")

    def _activation(self, degree: Tensor | None) -> Quantizer:
        bits = self.num_bits
        makers: dict[Method, Callable[[], Quantizer]] = {
            Method.QLR: lambda: LearnedRange(bits, self.as_released, self.calibration),
            Method.BT: lambda: BitwiseTruncation(bits, self.as_released, self.calibration),
            Method.BT_STAR: lambda: SkewedBitwiseTruncation(bits, self.as_released, self.calibration),
            Method.MINMAX: lambda: MinMax(bits),
            Method.LSQ: lambda: LearnedStep(bits, signed=None),
            Method.DEGREE_QUANT: lambda: DegreeQuant(bits, degree),
            Method.TENSOR: lambda: MinMax(bits, PerTensor()),
            Method.DEGREE_BUCKET: lambda: MinMax(bits, PerDegreeBucket(self.degree)),
            Method.NODE_FREE: lambda: MinMax(bits, PerNode()),
            Method.NODE_POW2: self._node_pow2,
        }
        return makers[self.method]()

    def _node_pow2(self) -> Quantizer:
        exponent_bits = self.propagated_exponent_bits
        # With one bit the two exponents stand two octaves apart, so that they still span a wide range.
        return NodePowerOfTwo(self.num_bits, exponent_bits, ratio=self.ratio, stride=2 if exponent_bits == 1 else 1)


def _hidden_rows(num_bits: int, anchor: str) -> NodePowerOfTwo:
    """Per-node powers of two for rows of hidden values."""
    return NodePowerOfTwo(num_bits, 3, anchor=anchor, ratio=0.8)
