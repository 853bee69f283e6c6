r"""How far low-bit propagation strays from full precision, layer by layer, and a bound on it that can be proved.

One layer of APPNP, or of SMP without its multiplier, is H+ = c_h H + c_a A_hat H + c_x X. A quantizer replaces a tensor
by itself plus a rounding error. Since the eigenvalues of A_hat lie in (-1, 1], |A_hat E|_F <= |E|_F for every E, hence

    E_k <= (c_h + c_a) E_(k-1) + c_x E_0 + c_a (m_k + a_k) + u_k

with E_k the error of H after layer k, E_0 that of X, and m_k, a_k, u_k the rounding errors of messages, aggregates and
updates. With c_h + c_a < 1 (teleport) the sum is a geometric series and stays finite however many layers there are.

All errors are Frobenius norms in the paper's coordinates h. A row's mean is left out: adding one number to all classes
of a node changes no softmax, and propagation passes it on as such, so quantizers may drop it.

This bound is this project's own: the theorem of paper A was not available (fact sheet A, section 6).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gnnq_lib.errors import InputError
from gnnq_lib.propagation.lowbit import Coordinates, MessagePlacement, PropagationQuantizers
from gnnq_lib.propagation.operators import GraphOperator
from gnnq_lib.propagation.schemes import Emp, Route, Scheme, Smp, Trajectory
from gnnq_lib.quantizers.base import Quantized

LAYER_STAGES = ("messages", "aggregates", "updates")


@dataclass(frozen=True)
class LayerErrors:
    """Rounding errors of one layer's quantizers.

    Attributes:
        messages, aggregates, updates: m_k, a_k, u_k.

    Example:
        >>> LayerErrors(1.0, 2.0, 0.5).added(0.9)
        3.2
    """

    messages: float
    aggregates: float
    updates: float

    def added(self, spread: float) -> float:
        """What the layer adds to the bound at most: c_a (m_k + a_k) + u_k."""
        return spread * (self.messages + self.aggregates) + self.updates


@dataclass(frozen=True)
class RoundingErrors:
    """What every quantizer of one propagation has added.

    Attributes:
        start: E_0, of the propagation's input.
        layers: one entry per layer.
        embeddings: H after each layer of the quantized propagation, the input first, (|V|, F).
    """

    start: float
    layers: tuple[LayerErrors, ...]
    embeddings: tuple[Tensor, ...]


def centred_norm(x: Tensor) -> float:
    """Frobenius norm of x (|V|, F) without its row means.

    Example:
        >>> centred_norm(torch.tensor([[5.0, 5.0], [3.0, 1.0]])) == 2**0.5
        True
    """
    x = x.detach().double()
    return float((x - x.mean(dim=1, keepdim=True)).norm())


def rounding_errors(
    scheme: Scheme,
    x_in: Tensor,
    operator: GraphOperator,
    quantizers: PropagationQuantizers,
    route: Route | None = None,
    maximal: bool = False,
) -> RoundingErrors:
    """Run a propagation and measure the rounding error of each of its quantizers.

    Args:
        scheme: APPNP, or SMP without multiplier.
        x_in, operator, quantizers, route: as for calling the scheme.
        maximal: take every value's error for as large as the largest one of its tensor, as one must who knows only the
            step of the grid.

    Raises:
        InputError: a scheme or message placement that the bound does not cover.

    Example:
        >>> from gnnq_lib.propagation import Appnp, full_precision_quantizers
        >>> pair = GraphOperator(torch.tensor([[0, 1], [1, 0]]), 2)
        >>> rounding_errors(Appnp(), torch.eye(2), pair, full_precision_quantizers(1)).layers
        (LayerErrors(messages=0.0, aggregates=0.0, updates=0.0),)
    """
    route = route or Route()
    if isinstance(scheme, Emp) or (isinstance(scheme, Smp) and scheme.use_multiplier):
        raise InputError(f"{scheme} was given; the bound covers APPNP and SMP with use_multiplier=False.")
    if route.placement is MessagePlacement.EDGE:
        raise InputError("messages are quantized per edge; the bound covers MessagePlacement.NODE.")
    mean = route.coordinates is Coordinates.MEAN
    weights = {
        stage: operator.sqrt_degree if mean else torch.ones((), dtype=torch.float32)
        for stage in ("features", "aggregates", "updates")
    }
    weights["messages"] = operator.sqrt_degree  # a message is D^-1/2 h in either coordinates
    errors: dict[nn.Module, float] = {}

    def measure(weight: Tensor):
        def hook(module: nn.Module, args: tuple, output: Quantized) -> None:
            errors[module] = _size(output.dequantize() - args[0], weight, maximal)

        return hook

    stages = [("features", [quantizers.features])] + [(name, list(getattr(quantizers, name))) for name in LAYER_STAGES]
    handles = [q.register_forward_hook(measure(weights[name])) for name, group in stages for q in group]
    trajectory = Trajectory()
    try:
        with torch.no_grad():
            scheme(x_in, operator, quantizers, route, trajectory)
    finally:
        for handle in handles:
            handle.remove()
    layers = zip(quantizers.messages, quantizers.aggregates, quantizers.updates)
    return RoundingErrors(
        errors[quantizers.features],
        # In mean coordinates a low-bit state is the message itself: its quantizer is not called and adds nothing.
        tuple(LayerErrors(*(errors.get(q, 0.0) for q in layer)) for layer in layers),
        tuple(trajectory.embeddings),
    )


def error_bound(errors: RoundingErrors, coefficients: tuple[float, float, float]) -> list[float]:
    """The bound on |H_k^q - H_k|_F for k = 0 .. K, from measured rounding errors.

    Args:
        errors: from `rounding_errors`.
        coefficients: (c_h, c_a, c_x) of the scheme.

    Example:
        >>> error_bound(RoundingErrors(1.0, (LayerErrors(0.0, 0.0, 1.0),) * 2, ()), (0.0, 0.5, 0.5))
        [1.0, 2.0, 2.5]
    """
    keep, spread, inject = map(abs, coefficients)
    bounds = [errors.start]
    for layer in errors.layers:
        bounds.append((keep + spread) * bounds[-1] + inject * errors.start + layer.added(spread))
    return bounds


def error_ceiling(errors: RoundingErrors, coefficients: tuple[float, float, float]) -> float:
    """A level that `error_bound` never passes at any depth, if no layer adds more than those measured.

    Infinite without teleport (c_h + c_a >= 1).

    Example:
        >>> error_ceiling(RoundingErrors(1.0, (LayerErrors(0.0, 0.0, 1.0),) * 2, ()), (0.0, 0.5, 0.5))
        3.0
    """
    keep, spread, inject = map(abs, coefficients)
    remaining = 1 - keep - spread
    if remaining <= 0:
        return float("inf")
    largest = max((layer.added(spread) for layer in errors.layers), default=0.0)
    return max(errors.start, (largest + inject * errors.start) / remaining)


def measured_error(errors: RoundingErrors, reference: Sequence[Tensor]) -> list[float]:
    """|H_k^q - H_k|_F for k = 0 .. K, row means left out.

    Args:
        errors: of the quantized propagation.
        reference: H_k of the same propagation in full precision, the input first.
    """
    return [centred_norm(low - full) for low, full in zip(errors.embeddings, reference, strict=True)]


def _size(difference: Tensor, weight: Tensor, maximal: bool) -> float:
    difference = difference.detach().double()
    difference = difference - difference.mean(dim=1, keepdim=True)
    if maximal:
        difference = difference.abs().max().expand_as(difference)
    return float((difference * weight).norm())
