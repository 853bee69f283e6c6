"""Three ways to spread predictions over a graph: APPNP, SMP (paper A), EMP - each with quantizers at every stage.

All three repeat one base step and differ in its coefficients and in what is added:

    H+ = Q_update( c_h H + c_a Q_aggregate(A_hat Q_message(H)) + c_x X_in + extra )

    APPNP   c_h = 0               c_a = 1 - teleport   c_x = teleport     extra = 0
    SMP     c_h = 1-(1+mu) eta_H  c_a = mu eta_H       c_x = eta_H        extra = 2 eta_H lambda P   (P from the gap G)
    EMP     c_h = 0               c_a = 1 - gamma      c_x = gamma        extra = -gamma B^T Z
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from enum import Enum

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from gnnq_lib.errors import InputError
from gnnq_lib.propagation.lowbit import (
    Coordinates,
    MessagePlacement,
    PropagationQuantizers,
    aggregate,
    enter,
    leave,
)
from gnnq_lib.propagation.operators import GraphOperator
from gnnq_lib.quantizers.base import Quantized, frozen_ranges
from gnnq_lib.quantizers.ste import ClampSTE


@dataclass
class Trajectory:
    """What happened layer by layer, filled in on request.

    Attributes:
        multiplier, slack, change: lambda, s and trace(G^T L G) after each layer (SMP only).
        embeddings: H after each layer, the input first (detached).

    Example:
        >>> Trajectory().multiplier
        []
    """

    multiplier: list[float] = field(default_factory=list)
    slack: list[float] = field(default_factory=list)
    change: list[float] = field(default_factory=list)
    embeddings: list[Tensor] = field(default_factory=list)


@dataclass(frozen=True)
class Route:
    """How the state travels: coordinates, message placement, and whether layers are recomputed in the backward pass.

    Example:
        >>> Route().coordinates.value
        'symmetric'
    """

    coordinates: Coordinates = Coordinates.SYMMETRIC
    placement: MessagePlacement = MessagePlacement.NODE
    recompute: bool = False


class Scheme:
    """What the three schemes share: the layer loop, the base step and hooks for what a scheme adds to it.

    Called as scheme(x_in, operator, quantizers, route, trajectory).

    Example:
        >>> pair = GraphOperator(torch.tensor([[0, 1], [1, 0]]), 2)
        >>> from gnnq_lib.propagation import full_precision_quantizers
        >>> Appnp(0.5)(torch.tensor([[0.0], [4.0]]), pair, full_precision_quantizers(1)).round().flatten().tolist()
        [1.0, 3.0]
    """

    @property
    def coefficients(self) -> tuple[float, float, float]:
        """(c_h, c_a, c_x) of the base step."""
        raise NotImplementedError

    def __call__(
        self,
        x_in: Tensor,
        operator: GraphOperator,
        quantizers: PropagationQuantizers,
        route: Route = Route(),
        trajectory: Trajectory | None = None,
    ) -> Tensor:
        """Propagate x_in; a layer for every entry of `quantizers.updates`.

        Args:
            x_in: float32 (|V|, F), predictions to spread.
            operator: the graph.
            quantizers: one per layer and stage.
            route: coordinates, message placement, recomputation.
            trajectory: filled in layer by layer, if given.

        Returns:
            H after the last layer, float32 (|V|, F).

        Raises:
            InputError: rows of x_in that are not the graph's nodes, or what the scheme cannot do.
        """
        self.check(x_in, operator, quantizers, route)
        context = _Context(operator, quantizers, route)
        x = quantizers.features(enter(x_in, operator, route.coordinates))
        state, carried = x, self.start(x, operator)
        if trajectory is not None:
            trajectory.embeddings.append(_embedding(state, context))
        for layer in range(len(quantizers.updates)):
            state, carried = _layer(self, layer, state, x, carried, context)
            if trajectory is not None:
                trajectory.embeddings.append(_embedding(state, context))
                self.record(carried, trajectory)
        return leave(state.dequantize(), operator, route.coordinates)

    def check(self, x_in: Tensor, operator: GraphOperator, quantizers: PropagationQuantizers, route: Route) -> None:
        """Refuse input this scheme cannot work on."""
        if x_in.dim() != 2 or x_in.shape[0] != operator.num_nodes:
            raise InputError(
                f"x_in has shape {tuple(x_in.shape)}; (|V|, F) with |V| = {operator.num_nodes} is accepted."
            )

    def start(self, x: Quantized, operator: GraphOperator) -> tuple[Tensor, ...]:
        """What is carried from layer to layer besides the state; nothing by default."""
        return ()

    def gather(self, layer: int, state: Quantized, context: _Context) -> Quantized:
        """Q_aggregate(A_hat Q_message(H))."""
        q, route = context.quantizers, context.route
        args = q.messages[layer], q.aggregates[layer], route.coordinates, route.placement
        return aggregate(state, context.operator, *args)

    def extra(
        self, layer: int, update: Tensor, state: Quantized, carried: tuple[Tensor, ...], context: _Context
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Add the scheme's own term to the base step; nothing by default."""
        return update, carried

    def record(self, carried: tuple[Tensor, ...], trajectory: Trajectory) -> None:
        """Keep what is carried; nothing by default."""


@dataclass(frozen=True)
class Appnp(Scheme):
    """APPNP: personalised PageRank by power iteration (arXiv 1810.05997, eq. 4).

    Args:
        teleport: share of the input mixed in at every layer, in [0, 1]; 0 never looks back at the input.

    Raises:
        InputError: teleport outside [0, 1].

    Example:
        >>> Appnp(0.1).coefficients
        (0.0, 0.9, 0.1)
    """

    teleport: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.teleport <= 1:
            raise InputError(f"teleport={self.teleport} was given; a share from 0 to 1 is accepted.")

    @property
    def coefficients(self) -> tuple[float, float, float]:
        """(c_h, c_a, c_x) of the base step."""
        return 0.0, 1 - self.teleport, self.teleport


@dataclass(frozen=True)
class Smp(Scheme):
    r"""Smoothness-aware message propagation (paper A; fact sheet 3.6).

        minimise 1/2 |H - X_in|^2 + mu/2 trace(H^T L H)   subject to   trace(G^T L G) <= a |E|

    by the basic differential multiplier method: descent in H and the slack s, ascent in the multiplier lambda.

    Args:
        mu: weight of smoothness; with mu = 9 and eta_h = 0.1 the base step is APPNP with teleport 0.1.
        eta_h, eta_s, eta_lambda: step sizes of H, s and lambda.
        threshold: a, the allowed change per entry of A_hat.
        multiplier_start, slack_start: lambda(0), s(0).
        use_multiplier: False keeps lambda at 0: the fair ablation.
        gap_term: add the term -2 eta_H lambda G that the released code leaves out.
        non_negative: clamp lambda at 0 from below; the released code does not. In its Lagrangian
            f + lambda (a |E| - s^2 - T) the multiplier falls while the change T exceeds the budget a |E|, so a
            constraint that acts has lambda < 0, and this switch lets it act only while lambda is still positive.
        detach_change: do not differentiate through trace(G^T L G); the released code does.

    The equations act on H. In mean coordinates rows are kept up to a shift (the same number added to all columns of a
    node), so trace(G^T L G) is taken of G without its row means there; the two forms agree when the rows of
    D^-1/2 X_in have mean zero, and always with use_multiplier=False.

    Raises:
        InputError: mu < 0 or eta_h <= 0, or quantizers made without `with_gap` while the multiplier is used.

    Example:
        >>> Smp().coefficients
        (0.0, 0.9, 0.1)
    """

    mu: float = 9.0
    eta_h: float = 0.1
    eta_s: float = 1e-5
    eta_lambda: float = 1e-5
    threshold: float = 0.1
    multiplier_start: float = 1e-3
    slack_start: float = 1e-3
    use_multiplier: bool = True
    gap_term: bool = False
    non_negative: bool = False
    detach_change: bool = False

    def __post_init__(self) -> None:
        if not (self.mu >= 0 and self.eta_h > 0):
            raise InputError(f"mu={self.mu}, eta_h={self.eta_h} were given; mu >= 0 and eta_h > 0 are accepted.")

    @property
    def coefficients(self) -> tuple[float, float, float]:
        """(c_h, c_a, c_x) of the base step."""
        keep = 1 - (1 + self.mu) * self.eta_h
        return 0.0 if abs(keep) < 1e-12 else keep, self.mu * self.eta_h, self.eta_h

    def check(self, x_in: Tensor, operator: GraphOperator, quantizers: PropagationQuantizers, route: Route) -> None:
        """Refuse quantizers that leave out the second propagation."""
        super().check(x_in, operator, quantizers, route)
        if self.use_multiplier and not hasattr(quantizers, "gap_messages"):
            raise InputError(
                "SMP got quantizers without the gap stages; make them with with_gap=True or set use_multiplier=False."
            )

    def start(self, x: Quantized, operator: GraphOperator) -> tuple[Tensor, ...]:
        """Multiplier, slack and change, scalars."""
        if not self.use_multiplier:
            return ()
        return tuple(x.values.new_tensor(value) for value in (self.multiplier_start, self.slack_start, 0.0))

    def extra(
        self, layer: int, update: Tensor, state: Quantized, carried: tuple[Tensor, ...], context: _Context
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Add the correction 2 eta_H lambda P, then step slack and multiplier."""
        if not self.use_multiplier:
            return update, carried
        multiplier, slack, _ = carried
        gap = update - state.dequantize()
        corrected = context.gap_aggregate(layer, gap)
        if self.gap_term:
            corrected = corrected - gap
        update = update + 2 * self.eta_h * multiplier * corrected
        change = context.change(gap)
        change = change.detach() if self.detach_change else change
        slack = slack + 2 * self.eta_s * multiplier * slack
        budget = self.threshold * context.operator.num_entries
        multiplier = multiplier + self.eta_lambda * (budget - slack.square() - change)
        if self.non_negative:
            multiplier = multiplier.clamp(min=0)
        return update, (multiplier, slack, change)

    def record(self, carried: tuple[Tensor, ...], trajectory: Trajectory) -> None:
        """Keep multiplier, slack and change."""
        kept = (trajectory.multiplier, trajectory.slack, trajectory.change)
        for values, value in zip(kept, carried):
            values.append(float(value.detach()))


class Norm(str, Enum):
    """Which norm of the edge differences EMP penalises."""

    L21 = "l21"
    L1 = "l1"


@dataclass(frozen=True)
class Emp(Scheme):
    r"""Elastic message passing (ElasticGNN, arXiv 2107.06996; fact sheet A, 3.7).

    Args:
        lambda1: weight of the l1 or l21 norm of B F.
        lambda2: weight of the l2 smoothness; gamma = 1 / (1 + lambda2).
        norm: L21 (rows projected on a ball) or L1 (entries clamped).
        as_released: the variant in the released SMP code: the l1 part is discarded and A_hat is replaced by
            x -> sum_j x_j / d_j. It is not ElasticGNN.

    Raises:
        InputError: a negative lambda1 or lambda2, or mean coordinates.

    Example:
        >>> Emp(lambda2=9.0).coefficients[2]
        0.1
    """

    lambda1: float = 3.0
    lambda2: float = 3.0
    norm: Norm = Norm.L21
    as_released: bool = False

    def __post_init__(self) -> None:
        if not (self.lambda1 >= 0 and self.lambda2 >= 0):
            raise InputError(f"lambda1={self.lambda1}, lambda2={self.lambda2} were given; both must be 0 or more.")

    @property
    def gamma(self) -> float:
        """Share of the input at every layer."""
        return 1 / (1 + self.lambda2)

    @property
    def coefficients(self) -> tuple[float, float, float]:
        """(c_h, c_a, c_x) of the base step."""
        return 0.0, 1 - self.gamma, self.gamma

    def check(self, x_in: Tensor, operator: GraphOperator, quantizers: PropagationQuantizers, route: Route) -> None:
        """Refuse mean coordinates."""
        super().check(x_in, operator, quantizers, route)
        if route.coordinates is not Coordinates.SYMMETRIC:
            raise InputError("EMP was asked for in mean coordinates; its incidence term needs Coordinates.SYMMETRIC.")

    def start(self, x: Quantized, operator: GraphOperator) -> tuple[Tensor, ...]:
        """Dual variable Z, one row per undirected edge."""
        if self.as_released:
            return ()
        return (x.values.new_zeros(operator.incidence[0].shape[0], x.values.shape[1]),)

    def gather(self, layer: int, state: Quantized, context: _Context) -> Quantized:
        """As in every scheme; as released sum_j x_j / d_j: the diagonal of A_hat is read as edge weight."""
        if not self.as_released:
            return super().gather(layer, state, context)
        operator, q = context.operator, context.quantizers
        message = q.messages[layer](state.dequantize() * operator.inv_degree)
        return q.aggregates[layer](operator.neighbour_sum(message.dequantize()))

    def extra(
        self, layer: int, update: Tensor, state: Quantized, carried: tuple[Tensor, ...], context: _Context
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """One projected dual step, then the primal correction."""
        if self.as_released:
            return update, carried
        operator, (dual,) = context.operator, carried
        beta = 1 / (2 * self.gamma)
        predicted = update - self.gamma * operator.edge_divergence(dual)
        dual = self._project(dual + beta * operator.edge_difference(predicted))
        return update - self.gamma * operator.edge_divergence(dual), (dual,)

    def _project(self, dual: Tensor) -> Tensor:
        if self.norm is Norm.L1:
            return ClampSTE.apply(dual, -self.lambda1, self.lambda1)
        length = dual.norm(dim=1, keepdim=True)
        return dual * (self.lambda1 / length.clamp(min=self.lambda1)) if self.lambda1 > 0 else dual * 0


@dataclass(frozen=True)
class _Context:
    """What a scheme's extra step may use."""

    operator: GraphOperator
    quantizers: PropagationQuantizers
    route: Route

    def gap_aggregate(self, layer: int, gap: Tensor) -> Tensor:
        """Q_gap_aggregate(A_hat Q_gap_message(G)), quantized a third time as released in symmetric coordinates."""
        q = self.quantizers
        result = aggregate(
            Quantized(gap, gap.new_ones(()), low_bit=False),
            self.operator,
            q.gap_messages[layer],
            q.gap_aggregates[layer],
            self.route.coordinates,
            self.route.placement,
        )
        if self.route.coordinates is Coordinates.MEAN:
            return result.dequantize()
        return q.gap_updates[layer](result.dequantize()).dequantize()

    def change(self, gap: Tensor) -> Tensor:
        """trace(G^T L G), shape (); in mean coordinates of the row-centred G: rows there are kept up to a shift."""
        if self.route.coordinates is Coordinates.MEAN:
            gap = (gap - gap.mean(dim=1, keepdim=True)) * self.operator.sqrt_degree
        return (gap * self.operator.laplacian(gap)).sum()


def _layer(
    scheme: Scheme, layer: int, state: Quantized, x: Quantized, carried: tuple[Tensor, ...], context: _Context
) -> tuple[Quantized, tuple[Tensor, ...]]:
    if not (context.route.recompute and torch.is_grad_enabled()):
        return _base_step(scheme, layer, state, x, carried, context)

    def passes() -> tuple[AbstractContextManager, AbstractContextManager]:
        return nullcontext(), frozen_ranges(context.quantizers)

    args = scheme, layer, state, x, carried, context
    return checkpoint(_base_step, *args, use_reentrant=False, context_fn=passes)


def _base_step(
    scheme: Scheme, layer: int, state: Quantized, x: Quantized, carried: tuple[Tensor, ...], context: _Context
) -> tuple[Quantized, tuple[Tensor, ...]]:
    keep, spread, inject = scheme.coefficients
    update = spread * scheme.gather(layer, state, context).dequantize()
    if keep:
        update = keep * state.dequantize() + update
    update = update + inject * x.dequantize()
    update, carried = scheme.extra(layer, update, state, carried, context)
    return context.quantizers.updates[layer](update), carried


def _embedding(state: Quantized, context: _Context) -> Tensor:
    return leave(state.dequantize(), context.operator, context.route.coordinates).detach()
