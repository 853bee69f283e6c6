"""Weight grid per column: every code, the search, gradients."""

from __future__ import annotations

import pytest
import torch

from gnnq_lib.quantizers import ColumnStep

BITS = pytest.mark.parametrize("bits", [1, 2, 4, 8], ids=lambda b: f"bits={b}")


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def with_step(q: ColumnStep, step: float) -> ColumnStep:
    q.half_step.data.fill_(step)
    q.ready.fill_(True)
    return q


def test_by_hand():
    q = with_step(ColumnStep(2, 1), 0.5)  # points -1.5, -0.5, 0.5, 1.5
    w = torch.tensor([[-9.0], [-1.1], [-0.9], [0.1], [0.9], [1.1], [9.0]])
    assert q(w).values.flatten().tolist() == [-3.0, -3.0, -1.0, 1.0, 1.0, 3.0, 3.0]


@BITS
def test_every_code_survives_the_round_trip(bits):
    q = with_step(ColumnStep(bits, 1), 0.37)
    codes = torch.arange(-q.levels, q.levels + 1, 2).float()[:, None]  # odd integers
    assert torch.equal(q(codes * 0.37).values, codes)
    assert torch.equal(q(q(codes * 0.37).dequantize()).values, codes)


@BITS
def test_the_search_finds_a_step_that_no_other_beats_by_much(bits):
    w = normal(200, 1) * torch.tensor([0.1, 1.0, 10.0])
    q = ColumnStep(bits, 3)
    error = (q(w).dequantize().detach() - w).square().sum(dim=0)
    best = torch.full((3,), float("inf"))
    for i in range(1, 401):
        trial = ColumnStep(bits, 3)
        trial.ready.fill_(True)
        trial.half_step.data.copy_(w.abs().amax(dim=0, keepdim=True) * i / 400 / q.levels)
        best = torch.minimum(best, (trial(w).dequantize() - w).square().sum(dim=0))
    assert (error <= 1.1 * best).all()
    torch.testing.assert_close(error / error[0], torch.tensor([1.0, 1e2, 1e4]), rtol=1e-3, atol=0)


def test_one_bit_is_the_sign():
    w = normal(20, 2)
    assert torch.equal(ColumnStep(1, 2)(w).values, w.sign())


@BITS
def test_gradients_are_those_of_lsq(bits):
    w, weight = normal(50, 2).double().requires_grad_(), torch.linspace(-1, 2, 100).double().view(50, 2)
    q = ColumnStep(bits, 2).double()
    n = q.levels
    with_step(q, 1.5 / n)
    out = q(w)
    (out.dequantize() * weight).sum().backward()
    units = w.detach() / (1.5 / n)
    inside = units.abs() <= n
    assert inside.any() and (~inside).any()
    torch.testing.assert_close(w.grad, weight * inside)
    slope = torch.where(inside, out.values.detach() - units, n * units.sign())
    torch.testing.assert_close(q.half_step.grad, (weight * slope).sum(dim=0, keepdim=True) / (50 * n) ** 0.5)


def test_bounds_count_as_inside():
    w = torch.tensor([[-3.1], [-3.0], [3.0], [3.1]], requires_grad=True)
    with_step(ColumnStep(2, 1), 1.0)(w).dequantize().sum().backward()
    assert w.grad.flatten().tolist() == [0.0, 1.0, 1.0, 0.0]


def test_a_zero_column_stays_next_to_zero_and_harms_no_other():
    w = torch.tensor([[0.0, 1.0], [0.0, -1.0]])
    out = ColumnStep(2, 2)(w).dequantize()
    assert out[:, 0].abs().max() < 1e-7
    torch.testing.assert_close(out[:, 1], w[:, 1])


def test_columns_may_be_permuted():
    w, order = normal(30, 4), torch.tensor([2, 0, 3, 1])
    assert torch.equal(ColumnStep(2, 4)(w[:, order]).dequantize(), ColumnStep(2, 4)(w).dequantize()[:, order])


def test_a_half_step_per_column_is_counted():
    assert ColumnStep(2, 4).bits_per_value((100, 4)) == 2 + 32 * 4 / 400


@pytest.mark.parametrize("bits", [0, 9], ids=lambda b: f"bits={b}")
def test_bad_bits(bits, refuses):
    with refuses(f"num_bits={bits}"):
        ColumnStep(bits, 1)
