"""One low-bit aggregation: where messages are quantized, in which coordinates, and that integers stay exact."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gnnq_lib.propagation import (
    Appnp,
    Coordinates,
    MessagePlacement,
    PropagationQuantizers,
    Smp,
    aggregate,
    full_precision_quantizers,
)
from gnnq_lib.propagation.lowbit import STAGES, enter, leave
from gnnq_lib.quantizers import FullPrecision, LearnedRange, MinMax, NodePowerOfTwo, PerNode, Quantized, Quantizer

FP = FullPrecision()
BOTH = pytest.mark.parametrize("coordinates", list(Coordinates), ids=lambda c: c.value)


class Spy(MinMax):
    """Remembers what it was given."""

    def __init__(self) -> None:
        super().__init__(2)
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor, implicit_zeros: int = 0) -> Quantized:
        self.seen.append(x)
        return super().forward(x)


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def plain(x: Tensor) -> Quantized:
    return FP(x)


@BOTH
def test_leave_undoes_enter(coordinates, graph):
    x = normal(graph.num_nodes, 3)
    torch.testing.assert_close(leave(enter(x, graph.operator, coordinates), graph.operator, coordinates), x)


@BOTH
@pytest.mark.parametrize("placement", list(MessagePlacement), ids=lambda p: p.value)
def test_at_full_precision_every_way_gives_a_hat_h(coordinates, placement, graph):
    h = normal(graph.num_nodes, 3)
    state = plain(enter(h, graph.operator, coordinates))
    out = aggregate(state, graph.operator, FP, FP, coordinates, placement).dequantize()
    expected = (graph.normalised @ h.double()).float()
    torch.testing.assert_close(leave(out, graph.operator, coordinates), expected, rtol=1e-5, atol=1e-6)


def test_node_placement_quantizes_each_node_once_and_edge_placement_each_edge(random_graph):
    op, h = random_graph(1, 20).operator, normal(20, 3)
    args = plain(h), op
    node, edge = Spy(), Spy()
    aggregate(*args, node, FP, Coordinates.SYMMETRIC, MessagePlacement.NODE)
    aggregate(*args, edge, FP, Coordinates.SYMMETRIC, MessagePlacement.EDGE)
    torch.testing.assert_close(node.seen[0], h * op.inv_sqrt_degree)
    torch.testing.assert_close(edge.seen[0], op.edge_weight[:, None] * h[op.col])
    assert len(node.seen) == len(edge.seen) == 1


def test_in_mean_coordinates_a_low_bit_state_is_the_message(random_graph):
    op, spy = random_graph(1, 20).operator, Spy()
    state = MinMax(2)(normal(20, 3))
    out = aggregate(state, op, spy, FP, Coordinates.MEAN, MessagePlacement.NODE)
    assert not spy.seen
    expected = op.neighbour_sum(state.values) * state.scale * op.inv_degree
    assert torch.equal(out.dequantize(), expected)
    aggregate(plain(normal(20, 3)), op, spy, FP, Coordinates.MEAN, MessagePlacement.NODE)
    assert len(spy.seen) == 1, "a state kept in full precision still has to be quantized"


@pytest.mark.parametrize("make", [lambda: MinMax(8), lambda: NodePowerOfTwo(2)], ids=["per_tensor", "node_pow2"])
def test_messages_with_one_scale_are_added_as_integers(make, random_graph):
    graph, h, quantizer = random_graph(2, 20), normal(20, 3), make()
    out = aggregate(plain(h), graph.operator, quantizer, FP, Coordinates.SYMMETRIC, MessagePlacement.NODE)
    message = quantizer(h * graph.operator.inv_sqrt_degree)
    total = (graph.adjacency.long() @ message.values.long()).float()
    assert torch.equal(out.values, total * message.scale * graph.operator.inv_sqrt_degree)


def test_messages_with_a_scale_per_node_are_added_as_reals(random_graph):
    graph, h = random_graph(2, 20), normal(20, 3)
    out = aggregate(plain(h), graph.operator, MinMax(8, PerNode()), FP, Coordinates.SYMMETRIC, MessagePlacement.NODE)
    message = MinMax(8, PerNode())(h * graph.operator.inv_sqrt_degree).dequantize().double()
    expected = (graph.adjacency @ message).float() * graph.operator.inv_sqrt_degree
    torch.testing.assert_close(out.values, expected)


def test_the_aggregate_is_what_its_quantizer_returns(random_graph):
    op, spy = random_graph(1, 20).operator, Spy()
    out = aggregate(plain(normal(20, 3)), op, FP, spy, Coordinates.SYMMETRIC, MessagePlacement.NODE)
    assert out.low_bit and torch.equal(out.values, MinMax(2)(spy.seen[0]).values)


@pytest.mark.parametrize("with_gap", [False, True], ids=["plain", "with_gap"])
def test_every_layer_and_stage_has_its_own_quantizer(with_gap):
    made: list[str] = []

    def make(stage: str) -> Quantizer:
        made.append(stage)
        return FullPrecision()

    quantizers = PropagationQuantizers(make, 3, with_gap)
    stages = STAGES[1:] if with_gap else STAGES[1:4]
    assert sorted(made) == sorted(["features", *(stage for stage in stages for _ in range(3))])
    assert all(len(getattr(quantizers, stage)) == 3 for stage in stages)
    assert len({id(m) for m in quantizers.modules() if isinstance(m, Quantizer)}) == len(made)
    assert len(full_precision_quantizers(0).updates) == 0


def test_a_shared_range_is_what_the_last_first_call_found(random_graph):
    """The release: every quantizer's first call overwrites the alpha of its stage; the gap of the last layer wins."""
    op, h = random_graph(3, 20).operator, normal(20, 3)
    shared, own = (PropagationQuantizers(lambda stage: LearnedRange(2), 3, with_gap=True) for _ in range(2))
    shared.share_ranges()
    for quantizers in (shared, own):
        Smp(multiplier_start=0.5)(h, op, quantizers)
    for stage in ("messages", "aggregates", "updates"):
        members = [*getattr(shared, stage), *getattr(shared, f"gap_{stage}")]
        assert len({id(q.alpha) for q in members}) == 1
        assert all(bool(q.ready) for q in members)
    # first forward: each call still sees its own search, so the two agree; the alphas left behind do not
    alphas = {float(q.alpha.detach()) for q in [*own.messages, *own.gap_messages]}
    assert len(alphas) > 1 and torch.equal(shared.messages[0].alpha, own.gap_messages[-1].alpha)
    assert not torch.equal(Smp()(h, op, shared), Smp()(h, op, own))


def test_without_the_gap_the_last_layer_sets_the_shared_range(random_graph):
    op, h = random_graph(3, 20).operator, normal(20, 3)
    q = PropagationQuantizers(lambda stage: FullPrecision() if stage == "updates" else LearnedRange(2), 2)
    q.share_ranges()
    seen = []
    for quantizer in q.messages:
        quantizer.register_forward_hook(lambda module, x, out: seen.append(module.alpha.item()))
    Appnp()(h, op, q)
    assert q.messages[0].alpha.item() == seen[-1] and q.messages[0].alpha is q.messages[1].alpha
    assert q.features.alpha is not q.messages[0].alpha is not q.aggregates[0].alpha


def test_ranges_that_are_not_there_cannot_be_shared(refuses):
    quantizers = PropagationQuantizers(lambda stage: MinMax(2), 2)
    with refuses("of MinMax, which has no range factor to share; QLR, BT and BT"):
        quantizers.share_ranges()
