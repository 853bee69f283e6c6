"""One low-bit aggregation: messages, their sum, the aggregate - each with its quantizer.

Where is a message quantized? The released SMP code quantizes each of the |E| products w_ij x_j. That cannot be stored
packed. Since w_ij = d_i^-1/2 d_j^-1/2, one can quantize d_j^-1/2 x_j once per node, add integers over the neighbours
and scale the sum by d_i^-1/2: `MessagePlacement.NODE`, the default. `MessagePlacement.EDGE` is the released form.

In which coordinates does the state live? `Coordinates.SYMMETRIC` keeps h, as the paper writes it. `Coordinates.MEAN`
keeps g = D^-1/2 h; there A_hat becomes the plain neighbourhood mean D^-1 (A + I), so a state that is stored in low bits
*is* the message: one rounding per layer less, with the same fixed point.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from torch import Tensor, nn

from gnnq_lib.errors import InputError
from gnnq_lib.propagation.operators import GraphOperator
from gnnq_lib.quantizers.base import FullPrecision, Quantized, Quantizer
from gnnq_lib.quantizers.qlr import LearnedRange

STAGES = ("features", "messages", "aggregates", "updates", "gap_messages", "gap_aggregates", "gap_updates")


class MessagePlacement(str, Enum):
    """Quantize once per node (default) or once per edge (as released)."""

    NODE = "node"
    EDGE = "edge"


class Coordinates(str, Enum):
    """Keep h (`symmetric`, as in the paper) or g = D^-1/2 h (`mean`)."""

    SYMMETRIC = "symmetric"
    MEAN = "mean"


class PropagationQuantizers(nn.Module):
    """The quantizers of a K-layer propagation, one of its own for every layer and stage.

    Args:
        make: called as make(stage) for every quantizer; stages are those in `STAGES`.
        num_layers: K.
        with_gap: also make those of the second propagation, of the layer-wise change G (SMP with a multiplier).

    Example:
        >>> q = PropagationQuantizers(lambda stage: FullPrecision(), num_layers=2); len(q.messages)
        2
    """

    def __init__(self, make: Callable[[str], Quantizer], num_layers: int, with_gap: bool = False) -> None:
        super().__init__()
        self.features = make("features")
        for stage in STAGES[1:] if with_gap else STAGES[1:4]:
            setattr(self, stage, nn.ModuleList(make(stage) for _ in range(num_layers)))

    def share_ranges(self) -> None:
        """One range factor alpha per stage for all layers and both propagations (as released; fact sheet A, fault 3).

        Every quantizer still searches alpha at its first call and so overwrites the others' result: after the first
        forward the last one has set it, the gap of the last layer where there is one. Stages that are not quantized
        have nothing to share.

        Raises:
            InputError: quantizers without a range factor.

        Example:
            >>> q = PropagationQuantizers(lambda stage: LearnedRange(2), num_layers=3, with_gap=True); q.share_ranges()
            >>> len({id(each.alpha) for each in [*q.messages, *q.gap_messages]}), len(list(q.parameters()))
            (1, 4)
        """
        for stage in STAGES[1:4]:
            stages = [name for name in (stage, f"gap_{stage}") if hasattr(self, name)]
            members = [q for name in stages for q in getattr(self, name) if not isinstance(q, FullPrecision)]
            without = [q for q in members if not isinstance(q, LearnedRange)]
            if without:
                raise InputError(
                    f"shared ranges were asked for of {type(without[0]).__name__}, which has no range factor to share; "
                    "QLR, BT and BT* have one."
                )
            for member in members[1:]:
                member.alpha = members[0].alpha


def full_precision_quantizers(num_layers: int, with_gap: bool = False) -> PropagationQuantizers:
    """Quantizers that quantize nothing.

    Example:
        >>> full_precision_quantizers(3).features.num_bits
        32
    """
    return PropagationQuantizers(lambda stage: FullPrecision(), num_layers, with_gap)


def enter(x: Tensor, operator: GraphOperator, coordinates: Coordinates) -> Tensor:
    """Embeddings h -> state in the chosen coordinates.

    Example:
        >>> import torch; pair = GraphOperator(torch.tensor([[0, 1], [1, 0]]), 2)
        >>> round(enter(torch.ones(2, 1), pair, Coordinates.MEAN)[0].item(), 4)
        0.7071
    """
    return x * operator.inv_sqrt_degree if coordinates is Coordinates.MEAN else x


def leave(state: Tensor, operator: GraphOperator, coordinates: Coordinates) -> Tensor:
    """State in the chosen coordinates -> embeddings h; the inverse of `enter`."""
    return state * operator.sqrt_degree if coordinates is Coordinates.MEAN else state


def aggregate(
    state: Quantized,
    operator: GraphOperator,
    message_quantizer: Quantizer,
    aggregate_quantizer: Quantizer,
    coordinates: Coordinates,
    placement: MessagePlacement,
) -> Quantized:
    """Q_aggregate( A_hat Q_message(state) ), in the state's coordinates.

    Args:
        state: what every node holds, (|V|, F).
        operator: the graph.
        message_quantizer, aggregate_quantizer: their quantizers; `FullPrecision` switches a stage off.
        coordinates, placement: see the top of this file.

    Example:
        >>> import torch; x = torch.tensor([[2.0], [4.0]]); pair = GraphOperator(torch.tensor([[0, 1], [1, 0]]), 2)
        >>> fp = FullPrecision(); args = (pair, fp, fp, Coordinates.MEAN, MessagePlacement.NODE)
        >>> aggregate(Quantized(x, torch.ones(()), False), *args).dequantize().flatten().tolist()
        [3.0, 3.0]
    """
    if placement is MessagePlacement.EDGE:
        return aggregate_quantizer(_sum_of_edge_messages(state, operator, message_quantizer, coordinates))
    mean = coordinates is Coordinates.MEAN
    if mean and state.low_bit:
        message = state
    else:
        x = state.dequantize()
        message = message_quantizer(x if mean else x * operator.inv_sqrt_degree)
    if message.exact_sum:
        total = operator.neighbour_sum(message.values) * message.scale
    else:
        total = operator.neighbour_sum(message.dequantize())
    return aggregate_quantizer(total * (operator.inv_degree if mean else operator.inv_sqrt_degree))


def _sum_of_edge_messages(
    state: Quantized, operator: GraphOperator, message_quantizer: Quantizer, coordinates: Coordinates
) -> Tensor:
    mean = coordinates is Coordinates.MEAN
    weight = operator.inv_degree[operator.row] if mean else operator.edge_weight[:, None]
    return operator.edge_sum(message_quantizer(weight * state.dequantize()[operator.col]).dequantize())
