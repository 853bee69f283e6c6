"""Baselines: plain min-max, LSQ against its paper, Degree-Quant."""

from __future__ import annotations

import pytest
import torch

from gnnq_lib.quantizers import (
    DegreeQuant,
    LearnedStep,
    MinMax,
    PerChannel,
    PerNode,
    choose_qparams,
    fake_quantize,
    percentile_limits,
)
from gnnq_lib.quantizers.base import frozen_ranges
from gnnq_lib.quantizers.baselines import _rank


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("granularity", [PerNode(), PerChannel()], ids=["per_node", "per_channel"])
@pytest.mark.parametrize("bits", [1, 2, 8], ids=lambda b: f"bits={b}")
def test_min_max_is_the_affine_quantizer_of_the_tensor_at_hand(bits, granularity):
    q = MinMax(bits, granularity)
    for seed in (0, 1):  # nothing is remembered between the calls
        x = normal(6, 4, seed=seed)
        assert torch.equal(q(x).dequantize(), fake_quantize(x, choose_qparams(x, bits, granularity)))
    assert not list(q.parameters())


def test_min_max_shares_one_scale_for_sparse_values():
    out = MinMax(2, PerNode())(torch.tensor([1.0, 3.0]))
    assert out.scale.item() == 1.0 and out.values.tolist() == [1.0, 3.0]


def test_min_max_costs_a_scale_and_a_zero_point_per_group():
    assert MinMax(2).bits_per_value((10, 5)) == 2 + (32 + 2) / 50
    assert MinMax(4, PerNode()).bits_per_value((10, 5)) == 4 + (32 + 4) / 5


def lsq_by_the_paper(x, s, q_n, q_p):
    """Equations 1 to 3 of arXiv 1902.08153, value by value: x^, dx^/ds, dx^/dx."""
    rows = []
    for v in (x / s).tolist():
        rounded = float(torch.tensor(v).clamp(-q_n, q_p).round())
        if v <= -q_n:
            rows.append((rounded * s, -q_n, 0.0))
        elif v >= q_p:
            rows.append((rounded * s, q_p, 0.0))
        else:
            rows.append((rounded * s, rounded - v, 1.0))
    return (torch.tensor(column, dtype=x.dtype) for column in zip(*rows))


@pytest.mark.parametrize("signed", [True, False], ids=["signed", "unsigned"])
@pytest.mark.parametrize("bits", [2, 4, 8], ids=lambda b: f"bits={b}")
def test_lsq_against_its_paper(bits, signed):
    q = LearnedStep(bits, signed).double()
    q_n, q_p = (2 ** (bits - 1), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    x = normal(200).double().requires_grad_()
    q(x)
    assert q.step.item() == pytest.approx(2 * x.abs().mean().item() / q_p**0.5)
    with torch.no_grad():
        q.step.fill_(3.0 / q_p)  # some values are clipped
    weight = torch.linspace(-1, 3, 200).double()
    output = q(x).dequantize()
    (output * weight).sum().backward()
    expected, slope, inside = lsq_by_the_paper(x.detach(), q.step.item(), q_n, q_p)
    assert 0 < (inside == 0).sum() < 150
    torch.testing.assert_close(output.detach(), expected)
    torch.testing.assert_close(x.grad, weight * inside)
    assert q.step.grad.item() == pytest.approx((weight * slope).sum().item() / (200 * q_p) ** 0.5)


def test_lsq_counts_its_bounds_as_inside():
    q = LearnedStep(2)
    x = torch.tensor([-2.5, -2.0, 1.0, 1.5], requires_grad=True)
    q(x)
    with torch.no_grad():
        q.step.fill_(1.0)
    q(x).dequantize().sum().backward()
    assert x.grad.tolist() == [0.0, 1.0, 1.0, 0.0]


def test_lsq_of_zeros_is_exact_and_its_step_stays_positive():
    q = LearnedStep(2)
    assert torch.equal(q(torch.zeros(5)).dequantize(), torch.zeros(5))
    with torch.no_grad():
        q.step.fill_(-1.0)
    assert q(torch.ones(5)).scale > 0


@pytest.mark.parametrize(("first", "levels"), [([0.0, 1.0, 3.0], (0, 3)), ([-0.1, 1.0, 3.0], (-2, 1))])
def test_lsq_takes_its_sign_from_the_first_tensor(first, levels):
    q = LearnedStep(2, signed=None)
    q(torch.tensor(first))
    assert q.step.item() == pytest.approx(2 * torch.tensor(first).abs().mean().item() / levels[1] ** 0.5)
    copied = LearnedStep(2, signed=None)
    copied.load_state_dict(q.state_dict())
    values = torch.tensor([-100.0, 100.0])
    for each in (q, copied):
        assert each(values).values.tolist() == list(levels)


def test_lsq_costs_one_step():
    assert LearnedStep(2).bits_per_value((4, 4)) == 2 + 32 / 16


def test_ranks_are_cumulative_and_shared_by_equal_degrees():
    assert _rank(torch.tensor([5, 2, 1, 2])).tolist() == [1.0, 0.75, 0.25, 0.75]
    assert _rank(torch.tensor([3, 3])).tolist() == [1.0, 1.0]


def test_protection_probability_follows_the_degree_rank():
    """5000 nodes of each degree 1, 2, 3, 4: ranks 1/4 .. 1, probabilities low + change * rank."""
    degree = torch.arange(1, 5).repeat(5000)
    q = DegreeQuant(2, degree, low=0.1, change=0.4)
    torch.manual_seed(0)
    values = q(torch.rand(20_000, 3)).values
    is_code = values == values.round()
    protected = ~is_code.all(dim=1)
    assert torch.equal(protected, ~is_code.any(dim=1)), "a node is protected as a whole"
    for d in range(1, 5):
        p = 0.1 + 0.4 * d / 4
        share = protected[degree == d].float().mean().item()
        assert share == pytest.approx(p, abs=4 * (p * (1 - p) / 5000) ** 0.5)


def test_protected_nodes_keep_their_values_and_gradient():
    q = DegreeQuant(2, torch.tensor([1, 1]), low=1.0, change=0.0)
    x = torch.tensor([[0.1, 0.2], [0.7, 1.0]], requires_grad=True)
    out = q(x).dequantize()
    out.sum().backward()
    torch.testing.assert_close(out, x)
    assert torch.equal(x.grad, torch.ones(2, 2))


def test_nobody_is_protected_at_evaluation_or_among_weights():
    x = torch.rand(50, 3)
    for q in (DegreeQuant(2, torch.ones(50), low=1.0, change=0.0).eval(), DegreeQuant(2, None)):
        values = q(x).values
        assert torch.equal(values, values.round())
    other_rows = DegreeQuant(2, torch.ones(7), low=1.0, change=0.0)(x).values
    assert torch.equal(other_rows, other_rows.round())


def test_range_is_a_moving_average_of_percentiles():
    q = DegreeQuant(4, None, share=0.1, momentum=0.25)
    first, second = normal(100), 3 * normal(100, seed=1)
    q(first)
    low, high = percentile_limits(first, 0.1)
    assert (q.minimum, q.maximum) == (low, high)
    q(second)
    low2, high2 = percentile_limits(second, 0.1)
    torch.testing.assert_close(q.minimum, 0.75 * low + 0.25 * low2)
    torch.testing.assert_close(q.maximum, 0.75 * high + 0.25 * high2)
    kept = q.minimum.clone()
    q.eval()(first)
    q.train()
    with frozen_ranges(q):
        q(first)
    assert q.minimum == kept


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MinMax(0), "num_bits=0"),
        (lambda: MinMax(2, ratio=0.0), "ratio=0.0"),
        (lambda: LearnedStep(1), "num_bits=1 .* 2 to 8"),
        (lambda: DegreeQuant(1, None), "num_bits=1"),
        (lambda: DegreeQuant(2, None, low=0.9, change=0.2), "low=0.9, change=0.2 .* in \\[0, 1\\]"),
        (lambda: DegreeQuant(2, None, low=-0.1), "low=-0.1"),
        (lambda: DegreeQuant(2, None)(torch.tensor([float("nan")])), "NaN or infinity"),
    ],
    ids=["minmax bits", "minmax ratio", "lsq 1 bit", "dq 1 bit", "dq sum", "dq negative", "dq nan"],
)
def test_bad_input(make, message, refuses):
    with refuses(message):
        make()
