"""The low-bit node classifier of paper A: predict with two linear layers, then propagate (fact sheet A, section 3)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from gnnq_lib.errors import InputError
from gnnq_lib.models.dropout import dropout
from gnnq_lib.models.features import FeatureMatrix, LowBitFeatures
from gnnq_lib.models.methods import OURS, STAGES, Method, MethodOptions
from gnnq_lib.models.stages import input_bits, input_product
from gnnq_lib.propagation import (
    Coordinates,
    Emp,
    GraphOperator,
    MessagePlacement,
    PropagationQuantizers,
    Route,
    Scheme,
    Smp,
    Trajectory,
)
from gnnq_lib.quantizers import FullPrecision, Quantizer

RECOMPUTE_ABOVE = 2**26  # values |V| C K: about 2 GB kept for the backward pass


@dataclass(frozen=True)
class ModelOptions:
    """Architecture and quantization of a `DecoupledClassifier`.

    Attributes:
        scheme: `Smp(...)`, `Emp(...)` or `Appnp(...)`.
        num_layers: K.
        hidden: width of the hidden layer.
        dropout: rate on inputs and hidden layer.
        method, num_bits, stages: see `models.methods`.
        placement: quantize messages once per node or once per edge.
        dropout_first: dropout before the input quantizers, as released; else after them, so that training and
            evaluation quantize tensors of the same scale.
        as_released, calibration, exponent_bits, ratio: see `MethodOptions`.
        shared_ranges: one range factor per stage for all layers and both propagations, as released; see
            `PropagationQuantizers.share_ranges`.
        recompute: recompute layers in the backward pass, for large graphs.

    Example:
        >>> ModelOptions().num_layers
        10
    """

    scheme: Scheme = field(default_factory=Smp)
    num_layers: int = 10
    hidden: int = 64
    dropout: float = 0.8
    method: Method = Method.FP32
    num_bits: int = 2
    stages: tuple[str, ...] = STAGES
    placement: MessagePlacement = MessagePlacement.NODE
    dropout_first: bool = False
    as_released: bool = False
    calibration: str = "evaluation"
    exponent_bits: int | None = None
    ratio: float = 0.6
    shared_ranges: bool = False
    recompute: bool = False


class DecoupledClassifier(nn.Module):
    r"""log-softmax-ready logits of every node: H = PROP( W2 relu(W1 x) ), every stage quantized by one method.

        h      = relu( Q_in(X) Q_w(W1) + b1 )         (|V|, hidden)
        X_in   = Q_h(h) Q_w(W2) + b2                  (|V|, C)
        logits = PROP(X_in)                           K layers, on class scores

    Args:
        num_features, num_classes: F, C.
        operator: the graph; its degrees set up degree-aware quantizers.
        options: see `ModelOptions`.

    Shapes:
        input `FeatureMatrix` of (|V|, F); output (|V|, C) float32.

    Example:
        >>> pair = GraphOperator(torch.tensor([[0, 1], [1, 0]]), 2)
        >>> model = DecoupledClassifier(3, 2, pair, ModelOptions(num_layers=2))
        >>> model(FeatureMatrix(torch.eye(2, 3)), pair).shape
        torch.Size([2, 2])
    """

    def __init__(self, num_features: int, num_classes: int, operator: GraphOperator, options: ModelOptions) -> None:
        super().__init__()
        if options.num_layers < 0:
            raise InputError(f"num_layers={options.num_layers} was given; 0 or more are accepted.")
        self.options = options
        self.weight1 = nn.Parameter(torch.empty(num_features, options.hidden, dtype=torch.float32))
        self.bias1 = nn.Parameter(torch.zeros(options.hidden, dtype=torch.float32))
        self.weight2 = nn.Parameter(torch.empty(options.hidden, num_classes, dtype=torch.float32))
        self.bias2 = nn.Parameter(torch.zeros(num_classes, dtype=torch.float32))
        nn.init.xavier_uniform_(self.weight1)
        nn.init.xavier_uniform_(self.weight2)
        rules = method_options(options, operator, num_classes)
        self.route = Route(_coordinates(options.scheme, rules), options.placement, options.recompute)
        self.input_quantizer = rules.input_quantizer()
        self.weight_quantizers = nn.ModuleList(
            [rules.weight_quantizer(options.hidden), rules.weight_quantizer(num_classes)]
        )
        self.hidden_quantizer = rules.hidden_quantizer()
        with_gap = isinstance(options.scheme, Smp) and options.scheme.use_multiplier
        self.propagation = PropagationQuantizers(rules.propagation_quantizer, options.num_layers, with_gap)
        if options.shared_ranges:
            self.propagation.share_ranges()
        self.embedding_quantizer = rules.embedding_quantizer()
        self._low_bit_inputs: tuple[FeatureMatrix, LowBitFeatures] | None = None

    def forward(self, features: FeatureMatrix, operator: GraphOperator, trajectory: Trajectory | None = None) -> Tensor:
        """Class scores of every node, (|V|, C)."""
        scores = self.predict(features)
        logits = self.options.scheme(scores, operator, self.propagation, self.route, trajectory)
        last = self.propagation.updates[-1] if len(self.propagation.updates) else self.propagation.features
        if isinstance(last, FullPrecision):
            logits = self.embedding_quantizer(logits).dequantize()
        return logits

    def predict(self, features: FeatureMatrix) -> Tensor:
        """X_in: class scores before propagation, (|V|, C)."""
        hidden = functional.relu(self._first_linear(features) + self.bias1)
        if self.options.dropout_first:
            hidden = dropout(hidden, self.options.dropout, self.training)
        quantized = self.hidden_quantizer(hidden)
        weight = self.weight_quantizers[1](self.weight2)
        values = quantized.values
        if not self.options.dropout_first:
            values = dropout(values, self.options.dropout, self.training)
        # Integer products first, scales after: the packed model does the same and gets the same bits.
        product = values @ weight.values
        if quantized.low_bit:
            product = product * quantized.scale
        return (product * weight.scale if weight.low_bit else product) + self.bias2

    def _first_linear(self, features: FeatureMatrix) -> Tensor:
        return input_product(
            features,
            self.weight1,
            self.input_quantizer,
            self.weight_quantizers[0],
            self._integer_inputs(features),
            self.options.dropout,
            self.training,
            self.options.dropout_first,
        )

    def _integer_inputs(self, features: FeatureMatrix) -> LowBitFeatures | None:
        return self.low_bit_features(features) if self.input_quantizer is None else None

    def low_bit_features(self, features: FeatureMatrix) -> LowBitFeatures:
        """Integer form of the features, made once per feature matrix."""
        if self._low_bit_inputs is None or self._low_bit_inputs[0] is not features:
            self._low_bit_inputs = (features, features.low_bit(self.options.num_bits))
        return self._low_bit_inputs[1]

    def second_parameters(self) -> Iterator[nn.Parameter]:
        """Second matrix and bias: they take the second weight decay."""
        return iter((self.weight2, self.bias2))

    def bits_per_value(self, features: FeatureMatrix) -> dict[str, float]:
        """Bits per value of every stage, scales, zero points and exponents included.

        Inputs count stored values; a stage that is not quantized counts 32.
        """
        num_nodes, classes = features.num_nodes, self.weight2.shape[1]
        state = (num_nodes, classes)
        weights = [
            q.bits_per_value(tuple(w.shape)) * w.numel()
            for q, w in zip(self.weight_quantizers, (self.weight1, self.weight2), strict=True)
        ]
        first = self.propagation
        bits = {
            "inputs": input_bits(features, self.input_quantizer, self._integer_inputs(features)),
            "weights": sum(weights) / (self.weight1.numel() + self.weight2.numel()),
            "features": max(
                self.hidden_quantizer.bits_per_value((num_nodes, self.weight1.shape[1])),
                first.features.bits_per_value(state),
            ),
        }
        if self.options.num_layers:
            bits["messages"] = self._message_bits(state)
            bits["aggregates"] = first.aggregates[0].bits_per_value(state)
            bits["updates"] = first.updates[0].bits_per_value(state)
        last: Quantizer = first.updates[-1] if self.options.num_layers else first.features
        bits["embeddings"] = (self.embedding_quantizer if isinstance(last, FullPrecision) else last).bits_per_value(
            state
        )
        return bits

    def _message_bits(self, state: tuple[int, int]) -> float:
        quantizer = self.propagation.messages[0]
        if self.route.coordinates is Coordinates.MEAN and not isinstance(self.propagation.updates[0], FullPrecision):
            return self.propagation.updates[0].bits_per_value(state)
        return quantizer.bits_per_value(state)


def needs_recompute(num_nodes: int, num_classes: int, num_layers: int) -> bool:
    """Whether layers should be recomputed in the backward pass: keeping them would take several gigabytes.

    A low-bit layer keeps 5 to 10 arrays of |V| C values of 4 bytes for its backward pass.

    Example:
        >>> needs_recompute(2708, 7, 64), needs_recompute(169_343, 128, 10)
        (False, True)
    """
    return num_nodes * num_classes * num_layers > RECOMPUTE_ABOVE


def method_options(options: ModelOptions, operator: GraphOperator, num_classes: int) -> MethodOptions:
    """The quantizer rules that a model's options imply."""
    return MethodOptions(
        options.method,
        options.num_bits,
        options.stages,
        operator.degree,
        num_classes,
        options.as_released,
        options.calibration,
        options.exponent_bits,
        options.ratio,
    )


def _coordinates(scheme: Scheme, rules: MethodOptions) -> Coordinates:
    # EMP's incidence term is written for the symmetric form.
    return Coordinates.SYMMETRIC if isinstance(scheme, Emp) or rules.method not in OURS else Coordinates.MEAN
