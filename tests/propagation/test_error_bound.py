from __future__ import annotations

import math

import pytest
import torch

from gnnq_lib.errors import InputError
from gnnq_lib.propagation import (
    Appnp,
    Coordinates,
    Emp,
    GraphOperator,
    MessagePlacement,
    PropagationQuantizers,
    Route,
    Smp,
    Trajectory,
    full_precision_quantizers,
)
from gnnq_lib.propagation.error_bound import (
    LayerErrors,
    RoundingErrors,
    centred_norm,
    error_bound,
    error_ceiling,
    measured_error,
    rounding_errors,
)
from gnnq_lib.quantizers import FullPrecision, LearnedRange, MinMax, NodePowerOfTwo
from gnnq_lib.quantizers.base import Quantized

NUM_LAYERS = 12
BASE_SMP = Smp(use_multiplier=False)
QUANTIZERS = {
    "minmax": (lambda bits: MinMax(bits), Coordinates.SYMMETRIC),
    "qlr": (lambda bits: LearnedRange(bits), Coordinates.SYMMETRIC),
    "node_pow2": (lambda bits: NodePowerOfTwo(bits), Coordinates.MEAN),
}


@pytest.fixture
def paw() -> GraphOperator:
    """A triangle 0, 1, 2 with a tail 3."""
    edges = [(0, 1), (0, 2), (1, 2), (2, 3)]
    return GraphOperator(torch.tensor(edges + [(j, i) for i, j in edges]).t(), 4)


@pytest.fixture
def scores() -> torch.Tensor:
    return torch.randn(4, 3, generator=torch.Generator().manual_seed(0))


class Off(FullPrecision):
    """Adds a fixed error, so that the expected sizes can be worked out by hand."""

    def __init__(self, error: torch.Tensor) -> None:
        super().__init__()
        self.error = error

    def forward(self, x, implicit_zeros=0):
        return Quantized(x + self.error, x.new_ones(()), low_bit=False)


def full_trajectory(scheme, scores, operator, num_layers=NUM_LAYERS):
    trajectory = Trajectory()
    scheme(scores, operator, full_precision_quantizers(num_layers), trajectory=trajectory)
    return trajectory.embeddings


@pytest.mark.parametrize("bits", [2, 4, 8], ids="bits={}".format)
@pytest.mark.parametrize("maximal", [False, True], ids=["as measured", "maximal"])
@pytest.mark.parametrize("scheme", [Appnp(0.1), Appnp(0.0), BASE_SMP], ids=["appnp", "no teleport", "smp"])
@pytest.mark.parametrize("name", QUANTIZERS)
def test_measured_error_stays_below_the_bound(name, scheme, maximal, bits, paw, scores):
    make, coordinates = QUANTIZERS[name]
    quantizers = PropagationQuantizers(lambda stage: make(bits), NUM_LAYERS)
    errors = rounding_errors(scheme, scores, paw, quantizers, Route(coordinates), maximal)
    measured = measured_error(errors, full_trajectory(scheme, scores, paw))
    bound = error_bound(errors, scheme.coefficients)
    assert len(measured) == len(bound) == NUM_LAYERS + 1
    assert measured[-1] > 0
    assert all(m <= b + 1e-5 for m, b in zip(measured, bound))
    assert max(bound) <= error_ceiling(errors, scheme.coefficients) * (1 + 1e-9)


def test_errors_of_each_stage_by_hand(paw):
    # Row means are left out: (3, -1) counts as (2, -2). Messages are in D^-1/2 h, so node 3 (degree 2) counts sqrt(2).
    error = torch.zeros(4, 2)
    error[3] = torch.tensor([3.0, -1.0])
    quantizers = full_precision_quantizers(1)
    quantizers.messages[0], quantizers.updates[0] = Off(error), Off(error)
    errors = rounding_errors(Appnp(), torch.zeros(4, 2), paw, quantizers)
    assert errors.start == 0
    (layer,) = errors.layers
    assert layer.messages == pytest.approx(math.sqrt(8) * math.sqrt(2))
    assert layer.aggregates == 0
    assert layer.updates == pytest.approx(math.sqrt(8))


def test_maximal_counts_every_value_with_the_largest_error(paw):
    error = torch.zeros(4, 2)
    error[3] = torch.tensor([1.0, -1.0])
    quantizers = full_precision_quantizers(1)
    quantizers.updates[0] = Off(error)
    errors = rounding_errors(Appnp(), torch.zeros(4, 2), paw, quantizers, maximal=True)
    assert errors.layers[0].updates == pytest.approx(math.sqrt(8))  # 8 values of 1


def test_full_precision_has_no_error(paw, scores):
    errors = rounding_errors(Appnp(), scores, paw, full_precision_quantizers(3))
    assert error_bound(errors, Appnp().coefficients) == [0.0] * 4
    assert measured_error(errors, full_trajectory(Appnp(), scores, paw, 3)) == [0.0] * 4


def test_hooks_are_removed_also_after_a_failure(paw, scores):
    quantizers = full_precision_quantizers(2)
    with pytest.raises(InputError):
        rounding_errors(Appnp(), scores[:2], paw, quantizers)
    assert not any(module._forward_hooks for module in quantizers.modules())


@pytest.mark.parametrize(
    ("coefficients", "expected"), [((0.0, 0.9, 0.1), [1.0, 2.0, 2.9]), ((0.0, 1.0, 0.0), [1.0, 2.0, 3.0])]
)
def test_bound_by_hand(coefficients, expected):
    errors = RoundingErrors(1.0, (LayerErrors(0.0, 0.0, 1.0),) * 2, ())
    assert error_bound(errors, coefficients) == pytest.approx(expected)


def test_without_teleport_there_is_no_ceiling():
    errors = RoundingErrors(1.0, (LayerErrors(0.0, 0.0, 1.0),), ())
    assert error_ceiling(errors, (0.0, 1.0, 0.0)) == float("inf")


def test_a_shift_of_a_row_is_no_error():
    assert centred_norm(torch.full((3, 4), 7.0)) == 0


@pytest.mark.parametrize("scheme", [Emp(), Smp()], ids=["emp", "smp with multiplier"])
def test_refuses_schemes_it_does_not_cover(scheme, paw, scores):
    with pytest.raises(InputError, match="the bound covers APPNP"):
        rounding_errors(scheme, scores, paw, full_precision_quantizers(1, with_gap=True))


def test_refuses_messages_per_edge(paw, scores):
    with pytest.raises(InputError, match="per edge"):
        rounding_errors(Appnp(), scores, paw, full_precision_quantizers(1), Route(placement=MessagePlacement.EDGE))
