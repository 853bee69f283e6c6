"""QLR, BT and BT*: forward, first search, what learns, when ranges are measured."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from gnnq_lib.quantizers import (
    BitwiseTruncation,
    LearnedRange,
    SkewedBitwiseTruncation,
    calibration,
    search_ratio,
)
from gnnq_lib.quantizers.base import frozen_ranges
from gnnq_lib.quantizers.qlr import population_skewness
from gnnq_lib.quantizers.ranges import released_grid

KINDS = [LearnedRange, BitwiseTruncation, SkewedBitwiseTruncation]


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def skewed(size: int = 400) -> torch.Tensor:
    return normal(size).exp()


def test_forward_by_hand():
    q = LearnedRange(2)
    out = q(torch.tensor([-1.0, 0.2, 0.9, 2.0]))  # exact at alpha = 1 except 0.2 and 0.9
    assert q.alpha.item() == 1.0 and out.scale.item() == 1.0
    assert out.values.tolist() == [-1.0, 0.0, 1.0, 2.0]


@pytest.mark.parametrize("bits", [2, 3, 4, 8], ids=lambda b: f"bits={b}")
def test_forward_follows_the_fact_sheet(bits):
    q, x = LearnedRange(bits), normal(300)
    q(x)
    with torch.no_grad():
        q.alpha.fill_(0.7)
    alpha, m, big_m, n = np.float32(0.7), x.min().numpy(), x.max().numpy(), 2**bits - 1
    lo, hi = min(0, alpha * m), max(0, alpha * big_m)
    s = (hi - lo) / np.float32(n)
    z = np.clip(-np.round(lo / s), 0, n)
    expected = s * (np.clip(np.round(x.numpy() / s + z), 0, n) - z)
    torch.testing.assert_close(q(x).dequantize().detach(), torch.from_numpy(expected))


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.__name__)
def test_first_alpha_is_the_best_of_the_released_grid(kind):
    q, x = kind(2), skewed()
    q(x)
    found = search_ratio(x, x.min(), x.max(), q.levels, released_grid(2), q.coarse, q.shift())
    expected = found + 0.1 if found < kind.search_floor else found
    assert q.alpha.item() == pytest.approx(expected)


def test_small_results_of_the_search_are_raised_by_a_tenth():
    x = torch.cat([torch.linspace(0, 1, 2000), torch.tensor([100.0])])
    q = LearnedRange(4)
    q(x)
    assert search_ratio(x, x.min(), x.max(), 15, released_grid(4)) == 0.02
    assert q.alpha.item() == pytest.approx(0.12)
    star = SkewedBitwiseTruncation(2)
    star(x)
    assert 0.1 < star.alpha.item() < 0.6


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.__name__)
@pytest.mark.parametrize("value", [0.0, 0.3, -7.0])
def test_constant_tensors_are_exact_and_keep_their_gradient(kind, value):
    q, x = kind(2), torch.full((3, 2), value, requires_grad=True)
    y = q(x).dequantize()
    y.sum().backward()
    assert torch.equal(x.grad, torch.ones(3, 2))
    assert q.alpha.item() == 1.0
    torch.testing.assert_close(y.detach(), x.detach(), rtol=2e-7, atol=0)


def test_implicit_zeros_widen_the_range_to_zero():
    q = LearnedRange(2)
    q(torch.tensor([1.0, 3.0]), implicit_zeros=5)
    assert (q.minimum.item(), q.maximum.item()) == (0.0, 3.0)
    q = LearnedRange(2)
    q(torch.tensor([-3.0, -1.0]), implicit_zeros=5)
    assert (q.minimum.item(), q.maximum.item()) == (-3.0, 0.0)


def train_alpha(as_released: bool) -> tuple[float, float, float, float]:
    """Start with alpha far too small and follow the loss |x^ - x|^2; alpha and loss before and after."""
    q, x = LearnedRange(4, as_released), normal(1000)
    q(x)
    with torch.no_grad():
        q.alpha.fill_(0.2)
    optimizer = torch.optim.SGD([q.alpha], lr=0.02)
    losses = []
    for _ in range(40):
        loss = (q(x).dequantize() - x).square().mean()
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return 0.2, q.alpha.item(), losses[0], losses[-1]


def test_alpha_learns_with_the_correct_gradient_and_stays_as_released():
    before, after, first, last = train_alpha(as_released=False)
    assert after > before + 0.2 and last < first / 4
    before, after, first, last = train_alpha(as_released=True)
    assert after == pytest.approx(before, abs=1e-4) and last == pytest.approx(first, rel=1e-2)


def test_released_mask_uses_the_observed_minimum_even_above_zero():
    """m' = alpha m with m = 3 (fact sheet 3.4): outputs below it are masked, though zero is inside the grid."""
    q = LearnedRange(2, as_released=True)
    x = torch.tensor([3.0, 6.0, 9.0])
    q(x)
    with torch.no_grad():
        q.alpha.fill_(1.0)
    probe = torch.tensor([0.2, 3.0, 9.0], requires_grad=True)
    q(probe).dequantize().sum().backward()
    assert probe.grad.tolist() == [0.0, 1.0, 1.0]


def test_ranges_are_calibrated_on_evaluation_tensors_by_default():
    q = LearnedRange(2)
    q(torch.tensor([0.0, 1.0]))
    q(torch.tensor([0.0, 5.0]))  # training: dropout-scaled tensors are not looked at
    assert q.maximum.item() == 1.0
    q.eval()(torch.tensor([0.0, 5.0]))
    assert q.maximum.item() == 1.0
    with calibration(q):
        q(torch.tensor([0.0, 2.0]))
    assert q.maximum.item() == 2.0


def test_the_released_way_measures_every_training_forward():
    q = LearnedRange(2, calibration="training")
    q(torch.tensor([0.0, 1.0]))
    q(torch.tensor([0.0, 5.0]))
    assert q.maximum.item() == 5.0
    q.eval()(torch.tensor([0.0, 9.0]))
    assert q.maximum.item() == 5.0
    q.train()
    with frozen_ranges(q):
        q(torch.tensor([0.0, 9.0]))
    assert q.maximum.item() == 5.0


def test_recalibration_does_not_search_alpha_again():
    q = LearnedRange(2)
    q(normal(100))
    with torch.no_grad():
        q.alpha.fill_(0.33)
    with calibration(q):
        q(normal(100, seed=1))
    assert q.alpha.item() == pytest.approx(0.33)


def test_a_learned_alpha_never_reaches_zero():
    q = LearnedRange(2)
    q(normal(10))
    with torch.no_grad():
        q.alpha.fill_(-1.0)
    assert q(normal(10)).scale > 0


@pytest.mark.parametrize(("bits", "coarse"), [(2, 85), (4, 17)], ids=["bits=2", "bits=4"])
@pytest.mark.parametrize("kind", KINDS[1:], ids=lambda k: k.__name__)
def test_truncation_keeps_2_to_the_b_levels(kind, bits, coarse):
    q, x = kind(bits), normal(4000)
    out = q(x)
    codes = out.values.detach() + torch.round(-q.alpha.detach() * q.minimum / out.scale)
    assert set(codes.tolist()) == {float(coarse * i) for i in range(2**bits)}


def test_bt_is_a_uniform_grid_that_in_general_misses_zero():
    q, x = BitwiseTruncation(2), normal(4000)
    levels = torch.unique(q(x).dequantize().detach())
    torch.testing.assert_close(levels.diff(), (85 * q(x).scale).expand(3))
    assert (levels != 0).all()
    plain = LearnedRange(2)
    assert (torch.unique(plain(x).values) == 0).any()


def test_bt_star_with_large_skewness_stays_on_four_levels():
    x = torch.cat([torch.zeros(40_000), torch.tensor([1.0])])
    q = SkewedBitwiseTruncation(2)
    out = q(x)
    assert q.skewness.item() > 190 and q.shift() == 42
    assert set((out.values.detach() / 85).tolist()) <= {0.0, 1.0, 2.0, 3.0}
    q = SkewedBitwiseTruncation(2)
    q(-x)
    assert q.shift() == -42


def test_bt_star_moves_the_thresholds_by_the_rounded_skewness():
    q = SkewedBitwiseTruncation(2)
    x = torch.arange(256.0)
    q(x)
    with torch.no_grad():
        q.alpha.fill_(1.0)
        q.skewness.fill_(2.6)
    assert q.shift() == 3
    assert q(torch.tensor([39.0, 40.0, 124.0, 125.0])).values.tolist() == [0.0, 85.0, 85.0, 170.0]


def test_skewness_is_measured_at_every_calibration_but_once_as_released():
    symmetric, lopsided = torch.tensor([-1.0, 0.0, 1.0]), torch.tensor([0.0] * 20 + [1.0])
    for as_released, expected in [(False, 4), (True, 0)]:
        q = SkewedBitwiseTruncation(2, as_released)
        q(symmetric)
        with calibration(q):
            q(lopsided)
        assert q.shift() == expected


@pytest.mark.parametrize("zeros", [0, 7, 1000], ids=lambda z: f"zeros={z}")
def test_population_skewness_against_scipy(zeros):
    x = skewed(200)
    expected = stats.skew(np.concatenate([x.double().numpy(), np.zeros(zeros)]), bias=True)
    assert population_skewness(x, zeros).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("value", [0.0, 0.1, -1e6])
def test_skewness_of_a_constant_is_zero(value):
    assert population_skewness(torch.full((1000,), value)).item() == 0


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.__name__)
def test_permuting_nodes_permutes_the_result(kind):
    x, order = normal(40, 3), torch.randperm(40, generator=torch.Generator().manual_seed(5))
    assert torch.equal(kind(2)(x[order]).dequantize(), kind(2)(x).dequantize()[order])


def test_bits_per_value_count_scale_and_zero_point():
    assert LearnedRange(2).bits_per_value((10, 4)) == 2 + 40 / 40
    assert SkewedBitwiseTruncation(4).bits_per_value((100, 4)) == 4 + 40 / 400


def test_state_survives_saving():
    q, x = SkewedBitwiseTruncation(2), skewed()
    q(x)
    other = SkewedBitwiseTruncation(2)
    other.load_state_dict(q.state_dict())
    assert torch.equal(other.eval()(x / 2).dequantize(), q.eval()(x / 2).dequantize())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LearnedRange(1), "num_bits=1 .* 2 to 8"),
        (lambda: LearnedRange(9), "num_bits=9"),
        (lambda: LearnedRange(2, calibration="test"), "calibration='test' .* 'evaluation' and 'training'"),
        (lambda: BitwiseTruncation(3), "num_bits=3; 2 and 4"),
        (lambda: SkewedBitwiseTruncation(8), "num_bits=8; 2 and 4"),
    ],
    ids=["1 bit", "9 bits", "calibration", "bt 3 bits", "bt_star 8 bits"],
)
def test_bad_input(make, message, refuses):
    with refuses(message):
        make()
