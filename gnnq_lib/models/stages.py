"""Places in a model where a tensor is quantized, and the layers built on them; full precision until they are filled.

A model is written once. Every tensor that the paper's stages name (inputs, weights, features, messages, aggregates,
updates, embeddings) passes a `Stage`. A fresh stage hands its tensor through, so a fresh model is the full-precision
one bit for bit; `quantize(model, rules)` puts a method's quantizers in, which makes the low-bit form (simulated).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from gnnq_lib.models.dropout import dropout
from gnnq_lib.models.features import FeatureMatrix, LowBitFeatures
from gnnq_lib.models.methods import STAGES, MethodOptions, Values
from gnnq_lib.propagation import Coordinates, GraphOperator, MessagePlacement, aggregate
from gnnq_lib.quantizers import FullPrecision, Quantized, Quantizer


class Stage(nn.Module):
    """One place where a tensor of a stage is quantized.

    Args:
        name: one of `models.methods.STAGES`.
        width: columns of the tensor.
        values: what it holds.
        rows: rows, of a weight matrix; None for one row per node.

    Attributes:
        quantizer: `FullPrecision` until `quantize`; None for inputs coded as integers.

    Example:
        >>> Stage("features", 2)(torch.tensor([[0.3, 0.4]])).dequantize()
        tensor([[0.3000, 0.4000]])
    """

    def __init__(self, name: str, width: int, values: Values = Values.SIGNED, rows: int | None = None) -> None:
        super().__init__()
        self.name, self.width, self.values, self.rows = name, width, values, rows
        self.quantizer: Quantizer | None = FullPrecision()

    @property
    def low_bit(self) -> bool:
        """Whether anything is quantized here."""
        return not isinstance(self.quantizer, FullPrecision)

    def forward(self, x: Tensor) -> Quantized:
        """Quantize x, or hand it through."""
        return self.quantizer(x)

    def bits_per_value(self, num_nodes: int) -> float:
        """Codes and scales, per value."""
        return self.quantizer.bits_per_value((self.rows or num_nodes, self.width))


def quantize(model: nn.Module, rules: MethodOptions) -> None:
    """Put a method's quantizers at every stage of a model, one of its own at each.

    Example:
        >>> from gnnq_lib.models.methods import Method
        >>> layer = Linear(nn.Linear(3, 2)); quantize(layer, MethodOptions(Method.BT, 2, STAGES, torch.ones(4), 2))
        >>> type(layer.weights.quantizer).__name__
        'BitwiseTruncation'
    """
    for stage in stages_of(model):
        stage.quantizer = rules.quantizer_of(stage.name, stage.values, stage.width)


def stages_of(model: nn.Module, name: str | None = None) -> list[Stage]:
    """The stages of a model, or those of one name."""
    found = [module for module in model.modules() if isinstance(module, Stage)]
    return found if name is None else [stage for stage in found if stage.name == name]


class SparseLinear(nn.Module):
    """X W + b on sparse features, with dropout on the stored values.

    Args:
        in_channels, out_channels: F and the width of the result.
        dropout: rate in training.
        bias: whether b is added.

    Example:
        >>> SparseLinear(3, 2, 0.5)(FeatureMatrix(torch.eye(2, 3))).shape
        torch.Size([2, 2])
    """

    def __init__(self, in_channels: int, out_channels: int, dropout: float, bias: bool = True) -> None:
        super().__init__()
        self.dropout = dropout
        self.weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(in_channels, out_channels, dtype=torch.float32)))
        self.bias = nn.Parameter(torch.zeros(out_channels, dtype=torch.float32)) if bias else None
        self.inputs = Stage("inputs", in_channels)
        self.weights = Stage("weights", out_channels, rows=in_channels)

    def forward(self, features: FeatureMatrix) -> Tensor:
        """(|V|, F) sparse -> (|V|, out_channels)."""
        low = features.low_bit(self.weights.quantizer.num_bits) if self.inputs.quantizer is None else None
        product = input_product(
            features, self.weight, self.inputs.quantizer, self.weights.quantizer, low, self.dropout, self.training
        )
        return product if self.bias is None else product + self.bias


def input_product(
    features: FeatureMatrix,
    weight: Tensor,
    input_quantizer: Quantizer | None,
    weight_quantizer: Quantizer,
    low: LowBitFeatures | None,
    rate: float,
    training: bool,
    dropout_first: bool = False,
) -> Tensor:
    """Q_in(X) Q_w(W), the first linear map of every model, (|V|, F) sparse -> (|V|, C).

    Args:
        features: X.
        weight: W (F, C).
        input_quantizer: of the stored values; None takes the integers of `low`.
        weight_quantizer: of W.
        low: integer form of the features, where there is no input quantizer.
        rate, training: dropout on the stored values.
        dropout_first: dropout before the input quantizer, as released, and not after it.
    """
    if input_quantizer is None:
        weight = weight if low.column_scale is None else weight * low.column_scale[:, None]
        quantized_weight = weight_quantizer(weight)
        # Integer products first, scales after: the packed model does the same and gets the same bits.
        product = features.product(quantized_weight.values, dropout(low.codes, rate, training)) * low.row_scale
        return product * quantized_weight.scale if quantized_weight.low_bit else product
    weight = weight_quantizer(weight).dequantize()
    values = features.values
    if dropout_first:
        values = dropout(values, rate, training)
    quantized = input_quantizer(values, implicit_zeros=features.implicit_zeros).dequantize()
    if not dropout_first:
        quantized = dropout(quantized, rate, training)
    if quantized.requires_grad:
        return features.product_with_values(weight, quantized)
    return features.product(weight, quantized)


def input_bits(features: FeatureMatrix, input_quantizer: Quantizer | None, low: LowBitFeatures | None) -> float:
    """Bits per stored value of the inputs, scales included; arguments as for `input_product`."""
    if input_quantizer is None:
        return low.num_bits + low.side_bits / max(1, features.num_stored)
    return input_quantizer.bits_per_value((max(1, features.num_stored), 1))


class Linear(nn.Module):
    """x Q_w(W) + b with the parameters of a given linear layer, under the same names.

    Args:
        linear: holds `weight` (out, in) and `bias`.

    Example:
        >>> plain = nn.Linear(3, 2); x = torch.ones(1, 3); torch.equal(Linear(plain)(x), plain(x))
        True
    """

    def __init__(self, linear: nn.Module) -> None:
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias
        out_channels, in_channels = self.weight.shape
        self.weights = Stage("weights", out_channels, rows=in_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(|V|, in) -> (|V|, out)."""
        return functional.linear(x, self.weights(self.weight.t()).dequantize().t(), self.bias)


class Spread(nn.Module):
    """Q_aggregate( A_hat dropout(Q_message(x)) ), one layer of propagation; A_hat dropout(x) in full precision.

    Dropout comes after the messages' quantizer, so that training and evaluation quantize tensors of the same scale.

    Args:
        width: columns of x.
        values: what x holds.

    Example:
        >>> pair = GraphOperator(torch.tensor([[0, 1], [1, 0]]), 2)
        >>> Spread(1)(torch.tensor([[2.0], [4.0]]), pair).round().flatten().tolist()
        [3.0, 3.0]
    """

    def __init__(self, width: int, values: Values = Values.SIGNED) -> None:
        super().__init__()
        self.messages = Stage("messages", width, values)
        self.aggregates = Stage("aggregates", width, values)

    @property
    def low_bit(self) -> bool:
        """Whether messages or their sums are quantized."""
        return self.messages.low_bit or self.aggregates.low_bit

    def forward(self, x: Tensor, operator: GraphOperator, rate: float = 0.0) -> Tensor:
        """(|V|, width) -> (|V|, width); `rate` of dropout in training."""
        if not self.low_bit:
            return operator.normalised(dropout(x, rate, self.training))

        def message(x: Tensor) -> Quantized:
            quantized = self.messages(x)
            return quantized._replace(values=dropout(quantized.values, rate, self.training))

        state = Quantized(x, x.new_ones(()), low_bit=False)
        placed = Coordinates.SYMMETRIC, MessagePlacement.NODE
        return aggregate(state, operator, message, self.aggregates, *placed).dequantize()


class StagedModel(nn.Module):
    """What models built on stages share: their low-bit form and what it costs."""

    def quantize(self, rules: MethodOptions) -> None:
        """Put a method's quantizers at every stage."""
        quantize(self, rules)

    def bits_per_value(self, features: FeatureMatrix) -> dict[str, float]:
        """Bits per value of every stage that the model has, the largest of its layers; scales included.

        Inputs count stored values, weights are averaged over all matrices; full precision counts 32.
        """
        nodes = features.num_nodes
        bits = {name: [stage.bits_per_value(nodes) for stage in stages_of(self, name)] for name in STAGES[2:]}
        weights = stages_of(self, "weights")
        (inputs,) = stages_of(self, "inputs")
        low = features.low_bit(weights[0].quantizer.num_bits) if inputs.quantizer is None else None
        return {
            "inputs": input_bits(features, inputs.quantizer, low),
            "weights": 8 * self.weight_bytes() / sum(stage.rows * stage.width for stage in weights),
            **{name: max(values) for name, values in bits.items() if values},
        }

    def weight_bytes(self) -> float:
        """Bytes of all weight matrices at their bits, scales included."""
        return sum(s.bits_per_value(s.rows) * s.rows * s.width / 8 for s in stages_of(self, "weights"))

    def parameter_bytes(self) -> float:
        """Bytes of weights at their bits and of all else (biases) in full precision."""
        scales = {id(p) for stage in stages_of(self) for p in stage.parameters()}
        values = sum(p.numel() for p in self.parameters() if id(p) not in scales)
        return self.weight_bytes() + 4 * (values - sum(s.rows * s.width for s in stages_of(self, "weights")))
