"""Gradient rules: inside, exactly on and outside every bound; formulas against finite differences."""

from __future__ import annotations

import pytest
import torch

from gnnq_lib.quantizers.affine import affine_grid
from gnnq_lib.quantizers.ste import (
    ClampSTE,
    GridSTE,
    LearnedRangeQuantize,
    NodePowerOfTwoQuantize,
    ReleasedRangeQuantize,
    RoundSTE,
    ScaleGradient,
    truncate_codes,
)

TRUNCATIONS = [(3, 1, 0), (15, 1, 0), (255, 1, 0), (255, 85, 0), (255, 85, 7), (255, 17, -3)]
TRUNCATION_IDS = ["int2", "int4", "int8", "bt2", "bt_star2", "bt_star4"]


def gradient(function, x, *args):
    x = torch.tensor(x, requires_grad=True)
    y = function.apply(x, *args)
    y.backward(torch.full_like(y, 2.0))
    return y.tolist(), x.grad.tolist()


def test_round_half_to_even_and_gradient_everywhere():
    values, grad = gradient(RoundSTE, [-1.5, -0.5, 0.5, 1.5, 2.4])
    assert values == [-2.0, 0.0, 0.0, 2.0, 2.0]
    assert grad == [2.0] * 5


def test_clamp_counts_both_bounds_as_inside():
    values, grad = gradient(ClampSTE, [-1.0001, -1.0, 0.0, 3.0, 3.0001], -1.0, 3.0)
    assert values == [-1.0, -1.0, 0.0, 3.0, 3.0]
    assert grad == [0.0, 2.0, 2.0, 2.0, 0.0]


def test_grid_bounds_lie_half_a_step_outside_the_last_points():
    values, grad = gradient(GridSTE, [-0.5001, -0.5, 0.0, 3.0, 3.5, 3.5001], torch.tensor(0.0), torch.tensor(3.0))
    assert values == [0.0, 0.0, 0.0, 3.0, 3.0, 3.0]
    assert grad == [0.0, 2.0, 2.0, 2.0, 2.0, 0.0]


def test_scale_gradient_is_the_identity_forward():
    assert gradient(ScaleGradient, [1.0, -3.0], 0.25) == ([1.0, -3.0], [0.5, 0.5])


@pytest.mark.parametrize(
    ("codes", "shift", "expected"),
    [
        ([0, 42, 43, 127, 128, 212, 213, 255], 0, [0, 0, 85, 85, 170, 170, 255, 255]),
        ([0, 39, 40, 254, 255], 3, [0, 0, 85, 255, 255]),
        ([0, 45, 46, 255], -3, [0, 0, 85, 255]),
        ([0, 255], 60, [85, 255]),
    ],
    ids=["bt", "shift up", "shift down", "no fifth level"],
)
def test_truncation_by_hand(codes, shift, expected):
    assert truncate_codes(torch.tensor(codes).float(), 255, 85, shift).tolist() == expected


def test_no_truncation_returns_the_codes():
    codes = torch.arange(4.0)
    assert torch.equal(truncate_codes(codes, 3, 1, 99), codes)


def setting(levels, coarse, shift, alpha=0.6, count=400):
    x = torch.randn(count, generator=torch.Generator().manual_seed(levels + coarse)).double() + 0.3
    low, high = x.min().clamp(max=0), x.max().clamp(min=0)
    scale, zero_point = affine_grid(low, high, levels, alpha)
    return x, torch.tensor(alpha).double(), low, high, scale, zero_point


def values_and_gradients(function, x, alpha, low, high, scale, zero_point, *rest, grad=None):
    """x^, dL/dx and dL/dalpha for dL/dx^ = grad (ones by default)."""
    x, alpha = x.clone().requires_grad_(), alpha.clone().requires_grad_()
    output = function.apply(x, alpha, low, high, scale, zero_point, *rest) * scale
    output.backward(torch.ones_like(x) if grad is None else grad)
    return output.detach(), x.grad, alpha.grad


@pytest.mark.parametrize("truncation", TRUNCATIONS, ids=TRUNCATION_IDS)
def test_correct_alpha_gradient_against_finite_differences(truncation):
    """The straight-through model of x^ (fact sheet 3.4): x + s(alpha) r inside, r the rounding error in steps, held
    fixed; alpha * bound outside. Its derivative is taken numerically."""
    levels, coarse, shift = truncation
    x, alpha, low, high, scale, zero_point = setting(*truncation)
    weight = torch.linspace(-1, 2, x.numel()).double()
    output, grad_x, grad_alpha = values_and_gradients(
        LearnedRangeQuantize, x, alpha, low, high, scale, zero_point, levels, coarse, shift, grad=weight
    )
    below, above = x < alpha * low, x > alpha * high
    error = (output - x) / scale

    def model(a):
        inside = x + (high - low) * a / levels * error
        return (weight * torch.where(below, a * low, torch.where(above, a * high, inside))).sum()

    numeric = (model(alpha + 1e-6) - model(alpha - 1e-6)) / 2e-6
    assert 0 < below.sum() + above.sum() < x.numel() / 2
    assert grad_alpha.item() == pytest.approx(numeric.item(), rel=1e-6)
    assert torch.equal(grad_x != 0, (weight != 0) & ~(below | above))
    torch.testing.assert_close(grad_x[~(below | above)], weight[~(below | above)])


def test_learned_range_counts_its_bounds_as_inside():
    one, zero = torch.tensor(1.0), torch.tensor(0.0)
    x = torch.tensor([-0.0001, 0.0, 1.5, 1.5001])
    _, grad, _ = values_and_gradients(LearnedRangeQuantize, x, one / 2, zero, 3 * one, one / 2, zero, 3, 1, 0)
    assert grad.tolist() == [0.0, 1.0, 1.0, 0.0]


@pytest.mark.parametrize("truncation", TRUNCATIONS[:3], ids=TRUNCATION_IDS[:3])
@pytest.mark.parametrize("alpha", [0.3, 0.6, 1.0], ids=lambda a: f"alpha={a}")
def test_released_alpha_gradient_is_zero_up_to_noise(truncation, alpha):
    """Fact sheet 3.4, consequence 3: between 0 and 5e-4 where the correct one is between 0.8 and 408."""
    args = [t.float() for t in setting(*truncation, alpha, 14_000)]
    *_, released = values_and_gradients(ReleasedRangeQuantize, *args, *truncation)
    *_, correct = values_and_gradients(LearnedRangeQuantize, *args, *truncation)
    assert abs(released.item()) < 1e-2 < abs(correct.item())
    assert abs(released.item()) < abs(correct.item()) / 100


def test_released_gradients_against_the_formula_in_the_fact_sheet():
    """With a zero point that rounding moved, outputs leave [alpha m, alpha M] and are masked."""
    m, big_m, alpha, n = -1.0, 1.9, 1.0, 3
    x = torch.tensor([-1.5, -0.9, 0.1, 1.8, 3.0])
    scale, zero_point = affine_grid(torch.tensor(m), torch.tensor(big_m), n, alpha)
    args = torch.tensor(alpha), torch.tensor(m), torch.tensor(big_m), scale, zero_point, n, 1, 0
    output, grad, _ = values_and_gradients(ReleasedRangeQuantize, x, *args)
    assert grad.tolist() == [float(alpha * m <= v <= alpha * big_m) for v in output.tolist()]
    assert grad.tolist() == [1.0, 1.0, 1.0, 0.0, 0.0]  # the top level, 1.9333, lies beyond M


@pytest.mark.parametrize("function", [LearnedRangeQuantize, ReleasedRangeQuantize], ids=["correct", "released"])
def test_both_learned_ranges_share_one_forward(function):
    args = setting(15, 1, 0)
    values, *_ = values_and_gradients(function, *args, 15, 1, 0)
    x, _, _, _, scale, zero_point = args
    expected = scale * (torch.round(x / scale + zero_point).clamp(0, 15) - zero_point)
    torch.testing.assert_close(values, expected)


@pytest.mark.parametrize("top_anchored", [True, False], ids=["top", "zero"])
def test_node_power_of_two_gradients_against_finite_differences(top_anchored):
    """Straight-through model of v: t / s with the rounding error held fixed where nothing is clipped, else constant."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(20, 5, generator=generator).double() * 4
    step = torch.tensor([1.0, 2.0]).double().repeat(10)[:, None]
    scale, weight = torch.tensor(0.7).double(), torch.randn(20, 5, generator=generator).double()
    sign = -1.0 if top_anchored else 1.0
    argmax = x.argmax(dim=1, keepdim=True)

    def distance(x):
        return x.gather(1, argmax) - x if top_anchored else x

    inside = (distance(x) / (scale * step) <= 3) & (distance(x) >= 0)

    def model(x, s):
        return (weight * torch.where(inside, sign * distance(x) / s, 0.0)).sum()

    leaf, s = x.clone().requires_grad_(), scale.clone().requires_grad_()
    (NodePowerOfTwoQuantize.apply(leaf, s, step, 3, top_anchored) * weight).sum().backward()
    assert inside.any() and (~inside).any()
    numeric_scale = (model(x, scale + 1e-6) - model(x, scale - 1e-6)) / 2e-6
    assert s.grad.item() == pytest.approx(numeric_scale.item(), rel=1e-6)
    numeric = torch.zeros_like(x)
    for i in range(x.numel()):
        bump = torch.zeros_like(x).flatten()
        bump[i] = 1e-6
        bump = bump.view_as(x)
        numeric.view(-1)[i] = (model(x + bump, scale) - model(x - bump, scale)) / 2e-6
    torch.testing.assert_close(leaf.grad, numeric, rtol=1e-6, atol=1e-8)


def test_node_power_of_two_counts_its_bounds_as_inside():
    one = torch.tensor(1.0)
    x = torch.tensor([[-0.1, 0.0, 3.0, 3.1]], requires_grad=True)
    NodePowerOfTwoQuantize.apply(x, one, torch.ones(1, 1), 3, False).sum().backward()
    assert x.grad.tolist() == [[0.0, 1.0, 1.0, 0.0]]
    x = torch.tensor([[9.0, 6.0, 5.9]], requires_grad=True)  # t = 0, 3, 3.1
    NodePowerOfTwoQuantize.apply(x, one, torch.ones(1, 1), 3, True).sum().backward()
    assert x.grad.tolist() == [[-1.0, 1.0, 0.0]]  # the row's maximum receives minus the others' sum
