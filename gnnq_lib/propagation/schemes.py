"""Three ways to spread predictions over a graph: APPNP, SMP (paper A), EMP - each with quantizers at every stage.

All three repeat one base step and differ in its coefficients and in what is added:

    H+ = Q_update( c_h H + c_a Q_aggregate(A_hat Q_message(H)) + c_x X_in + extra )

    APPNP   c_h = 0               c_a = 1 - teleport   c_x = teleport     extra = 0
    SMP     c_h = 1-(1+mu) eta_H  c_a = mu eta_H       c_x = eta_H        extra = 2 eta_H lambda P   (P from the gap G)
    EMP     c_h = 0               c_a = 1 - gamma      c_x = gamma        extra = -gamma B^T Z
"""

from __future__ import annotations

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
from gnnq_lib.quantizers.base import Quantized


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


@dataclass(frozen=True)
class Appnp:
    """APPNP: personalised PageRank by power iteration (arXiv 1810.05997, eq. 4).

    Args:
        teleport: share of the input mixed in at every layer, in (0, 1].

    Example:
        >>> Appnp(0.1).coefficients
        (0.0, 0.9, 0.1)
    """

    teleport: float = 0.1

    @property
    def coefficients(self) -> tuple[float, float, float]:
        """(c_h, c_a, c_x) of the base step."""
        return 0.0, 1 - self.teleport, self.teleport

    def __call__(
        self,
        x_in: Tensor,
        operator: GraphOperator,
        quantizers: PropagationQuantizers,
        route: Route = Route(),
        trajectory: Trajectory | None = None,
    ) -> Tensor:
        """Propagate x_in (|V|, F); returns H after as many layers as there are quantizers, same shape."""
        return _run(self, x_in, operator, quantizers, route, trajectory)

    def start(self, x: Quantized, operator: GraphOperator) -> tuple[Tensor, ...]:
        """Nothing is carried from layer to layer."""
        return ()

    def extra(
        self, layer: int, update: Tensor, state: Quantized, carried: tuple[Tensor, ...], context: _Context
    ) -> tuple:
        """Nothing is added."""
        return update, carried


@dataclass(frozen=True)
class Smp:
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
        non_negative: keep lambda >= 0, as the theory of inequality constraints asks; the released code does not.
        detach_change: do not differentiate through trace(G^T L G); the released code does.

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

    @property
    def coefficients(self) -> tuple[float, float, float]:
        """(c_h, c_a, c_x) of the base step."""
        keep = 1 - (1 + self.mu) * self.eta_h
        return 0.0 if abs(keep) < 1e-12 else keep, self.mu * self.eta_h, self.eta_h

    def __call__(
        self,
        x_in: Tensor,
        operator: GraphOperator,
        quantizers: PropagationQuantizers,
        route: Route = Route(),
        trajectory: Trajectory | None = None,
    ) -> Tensor:
        """Propagate x_in (|V|, F); returns H after as many layers as there are quantizers, same shape."""
        return _run(self, x_in, operator, quantizers, route, trajectory)

    def start(self, x: Quantized, operator: GraphOperator) -> tuple[Tensor, ...]:
        """Multiplier and slack, scalars."""
        return x.values.new_tensor(self.multiplier_start), x.values.new_tensor(self.slack_start)

    def extra(
        self, layer: int, update: Tensor, state: Quantized, carried: tuple[Tensor, ...], context: _Context
    ) -> tuple:
        """Add the correction 2 eta_H lambda P, then step slack and multiplier."""
        if not self.use_multiplier:
            return update, carried
        multiplier, slack = carried
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
        context.record(multiplier=multiplier, slack=slack, change=change)
        return update, (multiplier, slack)


class Norm(str, Enum):
    """Which norm of the edge differences EMP penalises."""

    L21 = "l21"
    L1 = "l1"


@dataclass(frozen=True)
class Emp:
    r"""Elastic message passing (ElasticGNN, arXiv 2107.06996; fact sheet A, 3.7).

    Args:
        lambda1: weight of the l1 or l21 norm of B F.
        lambda2: weight of the l2 smoothness; gamma = 1 / (1 + lambda2).
        norm: L21 (rows projected on a ball) or L1 (entries clamped).
        as_released: the variant in the released SMP code: the l1 part is discarded and A_hat is replaced by
            x -> sum_j x_j / d_j. It is not ElasticGNN.

    Example:
        >>> Emp(lambda2=9.0).coefficients[2]
        0.1
    """

    lambda1: float = 3.0
    lambda2: float = 3.0
    norm: Norm = Norm.L21
    as_released: bool = False

    @property
    def gamma(self) -> float:
        """Share of the input at every layer."""
        return 1 / (1 + self.lambda2)

    @property
    def coefficients(self) -> tuple[float, float, float]:
        """(c_h, c_a, c_x) of the base step."""
        return 0.0, 1 - self.gamma, self.gamma

    def __call__(
        self,
        x_in: Tensor,
        operator: GraphOperator,
        quantizers: PropagationQuantizers,
        route: Route = Route(),
        trajectory: Trajectory | None = None,
    ) -> Tensor:
        """Propagate x_in (|V|, F); returns F after as many layers as there are quantizers, same shape."""
        if route.coordinates is not Coordinates.SYMMETRIC:
            raise InputError("EMP was asked for in mean coordinates; its incidence term needs Coordinates.SYMMETRIC.")
        return _run(self, x_in, operator, quantizers, route, trajectory)

    def start(self, x: Quantized, operator: GraphOperator) -> tuple[Tensor, ...]:
        """Dual variable Z, one row per undirected edge."""
        if self.as_released:
            return ()
        return (x.values.new_zeros(operator.incidence[0].shape[0], x.values.shape[1]),)

    def extra(
        self, layer: int, update: Tensor, state: Quantized, carried: tuple[Tensor, ...], context: _Context
    ) -> tuple:
        """One projected dual step, then the primal correction."""
        if self.as_released:
            return update, carried
        forward, backward = context.operator.incidence
        (dual,) = carried
        beta = 1 / (2 * self.gamma)
        predicted = update - self.gamma * (backward @ dual)
        dual = self._project(dual + beta * (forward @ predicted))
        return update - self.gamma * (backward @ dual), (dual,)

    def _project(self, dual: Tensor) -> Tensor:
        if self.norm is Norm.L1:
            return dual.clamp(-self.lambda1, self.lambda1)
        length = dual.norm(dim=1, keepdim=True)
        return dual * (self.lambda1 / length.clamp(min=self.lambda1)) if self.lambda1 > 0 else dual * 0


Scheme = Appnp | Smp | Emp


@dataclass(frozen=True)
class _Context:
    """What a scheme's extra step may use."""

    operator: GraphOperator
    quantizers: PropagationQuantizers
    route: Route
    trajectory: Trajectory | None

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

    def record(self, **scalars: Tensor) -> None:
        """Append to the trajectory, if one is kept."""
        if self.trajectory is not None:
            for name, value in scalars.items():
                getattr(self.trajectory, name).append(float(value))


def _run(
    scheme: Scheme,
    x_in: Tensor,
    operator: GraphOperator,
    quantizers: PropagationQuantizers,
    route: Route,
    trajectory: Trajectory | None,
) -> Tensor:
    context = _Context(operator, quantizers, route, trajectory)
    x = quantizers.features(enter(x_in, operator, route.coordinates))
    state, carried = x, scheme.start(x, operator)
    _keep_embedding(context, state)
    for layer in range(len(quantizers.updates)):
        if route.recompute and torch.is_grad_enabled():
            state, carried = checkpoint(_layer, scheme, layer, state, x, carried, context, use_reentrant=False)
        else:
            state, carried = _layer(scheme, layer, state, x, carried, context)
        _keep_embedding(context, state)
    return leave(state.dequantize(), operator, route.coordinates)


def _layer(
    scheme: Scheme, layer: int, state: Quantized, x: Quantized, carried: tuple[Tensor, ...], context: _Context
) -> tuple[Quantized, tuple[Tensor, ...]]:
    q, route = context.quantizers, context.route
    keep, spread, inject = scheme.coefficients
    gathered = (
        _released_emp_aggregate(state, context, layer)
        if getattr(scheme, "as_released", False)
        else aggregate(
            state, context.operator, q.messages[layer], q.aggregates[layer], route.coordinates, route.placement
        )
    )
    update = spread * gathered.dequantize()
    if keep:
        update = keep * state.dequantize() + update
    update = update + inject * x.dequantize()
    update, carried = scheme.extra(layer, update, state, carried, context)
    return q.updates[layer](update), carried


def _released_emp_aggregate(state: Quantized, context: _Context, layer: int) -> Quantized:
    """sum_j x_j / d_j: the released EMP reads the diagonal of A_hat as edge weight (fact sheet A, 3.7)."""
    operator, q = context.operator, context.quantizers
    message = q.messages[layer](state.dequantize() * operator.inv_degree)
    return q.aggregates[layer](operator.neighbour_sum(message.dequantize()))


def _keep_embedding(context: _Context, state: Quantized) -> None:
    if context.trajectory is not None:
        h = leave(state.dequantize(), context.operator, context.route.coordinates)
        context.trajectory.embeddings.append(h.detach())
