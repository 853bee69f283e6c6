"""Per-node powers of two: codes and shifts stand for the values, whatever the options."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gnnq_lib.quantizers import NodePowerOfTwo
from gnnq_lib.quantizers.node_pow2 import HEADROOM

few = settings(max_examples=60, deadline=None)
rows = st.lists(st.lists(st.integers(-4000, 4000), min_size=4, max_size=4), min_size=1, max_size=8)
OPTIONS = list(itertools.product(["top", "zero"], [1, 2, 4, 8], [0, 2, 3], [1, 3]))


def name(options: tuple) -> str:
    anchor, bits, exponent_bits, stride = options
    return f"{anchor}-bits={bits}-exponents={2**exponent_bits}-stride={stride}"


def data(num_nodes: int = 40) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(num_nodes, 5, generator=generator) * torch.logspace(-2, 2, num_nodes)[:, None]


def make(anchor="top", bits=2, exponent_bits=3, stride=1, ratio=0.6, scale=None) -> NodePowerOfTwo:
    q = NodePowerOfTwo(bits, exponent_bits, anchor, ratio, stride)
    if scale is not None:
        q.set_scale(scale)
    return q


def reference(x: np.ndarray, s: np.float32, bits, num_exponents, gamma, stride, top: bool):
    """The definition, row by row in float32: codes and shifts."""
    n = 2**bits - 1
    f32 = np.float32
    thresholds = [f32(f32(f32(s * f32(2.0 ** (stride * j))) * f32(n)) / f32(gamma)) for j in range(num_exponents - 1)]
    codes, shifts = [], []
    for row in x:
        t = row.max() - row if top else np.maximum(row, f32(0))
        e = sum(threshold < t.max() for threshold in thresholds)
        shift = stride * e
        u = (t * (f32(1) / s)) * f32(2.0**-shift)
        codes.append(np.rint(np.minimum(u, f32(n))).astype(int).tolist())
        shifts.append(shift)
    return codes, shifts


@pytest.mark.parametrize("options", OPTIONS, ids=name)
def test_encode_forward_and_the_definition_agree_to_the_bit(options):
    anchor, bits, exponent_bits, stride = options
    x = data()
    q = make(anchor, bits, exponent_bits, stride)
    codes, shifts = q.encode(x)  # a fresh quantizer: the scale is set here
    sign = -1 if anchor == "top" else 1
    decoded = sign * (codes.long() << shifts.long()[:, None])
    out = q(x)
    assert codes.dtype == shifts.dtype == torch.uint8
    assert torch.equal(decoded.float(), out.values)
    assert int(codes.max()) <= 2**bits - 1
    scale = q.scale.detach().numpy()
    expected = reference(x.numpy(), scale, bits, 2**exponent_bits, 0.6, stride, anchor == "top")
    assert (codes.tolist(), shifts.tolist()) == expected


def test_by_hand():
    q = make("zero", ratio=1.0, scale=1.0)
    out = q(torch.tensor([[0.0, 1.4, 3.0], [0.0, 5.0, 12.0], [-1.0, 0.0, 7.0]]))
    assert out.values.tolist() == [[0.0, 1.0, 3.0], [0.0, 4.0, 12.0], [0.0, 0.0, 8.0]]
    q = make("top", ratio=1.0, scale=1.0)
    assert q(torch.tensor([[9.0, 8.0, 6.0], [9.0, 5.0, -3.0]])).values.tolist() == [[0, -1, -3], [0, -4, -12]]


def test_ratio_below_one_clips_the_largest_values_for_a_finer_step():
    x = torch.tensor([[0.0, 1.0, 5.0]])
    assert make("zero", ratio=1.0, scale=1.0)(x).values.tolist() == [[0.0, 0.0, 4.0]]  # 0.5 rounds to even
    assert make("zero", ratio=0.6, scale=1.0)(x).values.tolist() == [[0.0, 1.0, 3.0]]


def test_a_row_exactly_on_a_threshold_keeps_the_smaller_exponent():
    q = make("zero", ratio=1.0, scale=1.0)
    assert q.thresholds().tolist() == [3.0 * 2**j for j in range(7)]
    edge = torch.tensor([3.0, 6.0])
    above = torch.nextafter(edge, torch.tensor(math.inf))
    assert q.row_exponents(torch.stack([edge, above]).reshape(4, 1)).flatten().tolist() == [0.0, 1.0, 1.0, 2.0]


@pytest.mark.parametrize("stride", [1, 2, 3, 4], ids=lambda s: f"stride={s}")
def test_thresholds_are_float32_products_in_the_stated_order(stride):
    q = make(stride=stride, ratio=0.6, scale=0.3)
    s = q.scale.detach().numpy()
    expected = [s * np.float32(2.0 ** (stride * j)) * np.float32(3) / np.float32(0.6) for j in range(7)]
    assert q.thresholds().tolist() == [float(v) for v in expected]


def test_stride_sets_the_distance_of_the_shifts():
    q = make("zero", exponent_bits=1, stride=3, ratio=1.0, scale=1.0)
    _, shifts = q.encode(torch.tensor([[3.0], [4.0], [100.0]]))  # 3 just fits the first exponent
    assert shifts.tolist() == [0, 3, 3]


@pytest.mark.parametrize("exponent", range(12), ids=lambda e: f"shift={e}")
def test_powers_of_two_are_exact(exponent):
    assert torch.exp2(torch.full((37,), float(exponent))).tolist() == [2.0**exponent] * 37
    assert torch.exp2(torch.full((37,), -float(exponent))).tolist() == [2.0**-exponent] * 37


@few
@given(rows, st.sampled_from(["top", "zero"]), st.sampled_from([1, 2, 4, 8]))
def test_error_is_at_most_half_a_step_where_nothing_is_clipped(values, anchor, bits):
    x = torch.tensor(values).float()
    q = make(anchor, bits, ratio=1.0, scale=4096 / (2**bits - 1) / 64)  # 8 exponents hold all of 8000
    out, step = q(x).dequantize().detach(), q.scale.detach() * torch.exp2(q.row_exponents(x))
    target = x - x.amax(dim=1, keepdim=True) if anchor == "top" else x.clamp(min=0)
    assert ((out - target).abs() <= step / 2 * (1 + 1e-5)).all()


@few
@given(rows, st.sampled_from(["top", "zero"]), st.sampled_from([1, 2, 4, 8]))
def test_monotone_in_a_row_idempotent_and_the_anchor_exact(values, anchor, bits):
    x = torch.tensor(values).float()
    q = make(anchor, bits, ratio=1.0, scale=16.0)
    once = q(x).dequantize().detach()
    order = x.argsort(dim=1)
    assert (once.gather(1, order).diff(dim=1) >= 0).all()
    assert torch.equal(q(once).dequantize(), once)
    anchored = x == x.amax(dim=1, keepdim=True) if anchor == "top" else x <= 0
    assert (once[anchored] == 0).all()


@few
@given(rows, st.integers(-1000, 1000))
def test_top_anchored_rows_may_be_shifted(values, shift):
    x, q = torch.tensor(values).float(), make(scale=10.0)
    assert torch.equal(q(x + shift).values, q(x).values)


@pytest.mark.parametrize("anchor", ["top", "zero"])
def test_permuting_nodes_permutes_the_result(anchor):
    x, order = data(), torch.randperm(40, generator=torch.Generator().manual_seed(2))
    plain, permuted = make(anchor)(x), make(anchor)(x[order])
    assert torch.equal(permuted.values, plain.values[order]) and permuted.scale == plain.scale


@pytest.mark.parametrize("value", [0.0, 2.5, -3.0])
def test_constant_rows_are_exact_up_to_their_shift_and_zeros_exact(value):
    x = torch.full((6, 3), value)
    assert not make("top")(x).values.any()
    if value <= 0:
        assert not make("zero")(x).values.any()


def test_first_call_sets_the_scale_so_that_99_percent_of_the_rows_fit():
    x = torch.rand(1000, 4, generator=torch.Generator().manual_seed(0)).pow(8) * 1000
    q = make("zero", ratio=1.0)
    q(x)
    largest = q.scale * 3 * 2**7 / HEADROOM
    share = (x.amax(dim=1) <= largest * (1 + 1e-5)).float().mean().item()
    assert share == pytest.approx(0.99, abs=0.002)
    before = q.scale.item()
    q(100 * x)
    assert q.scale.item() == before


def test_scale_learns():
    x = data() * 3
    q = make("zero", exponent_bits=0, scale=0.01)
    loss_before = (q(x).dequantize() - x.clamp(min=0)).square().mean()
    loss_before.backward()
    assert q.log_scale.grad < 0  # everything is clipped: a larger scale is better
    assert q.log_scale.grad.isfinite()


def test_bits_per_value_by_hand():
    """7 classes, 2 bits and 4 exponents: 2 + 2/7 bits and one scale."""
    assert make(exponent_bits=2).bits_per_value((100, 7)) == pytest.approx(2 + 2 / 7 + 32 / 700)
    assert make(exponent_bits=0).bits_per_value((100, 7)) == pytest.approx(2 + 32 / 700)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bits": 9}, "num_bits=9"),
        ({"anchor": "left"}, "anchor='left' was given; 'top', 'zero', 'middle' are accepted"),
        ({"exponent_bits": 4}, "exponent_bits=4 was given; 0 to 3"),
        ({"ratio": 0.0}, "ratio=0.0"),
        ({"stride": 5}, "stride=5 was given; 1 to 4"),
        ({"scale": 0.0}, "scale=0.0 was given; a positive finite number"),
        ({"scale": float("nan")}, "scale=nan"),
    ],
    ids=["bits", "anchor", "exponent_bits", "ratio", "stride", "zero scale", "nan scale"],
)
def test_bad_input(options, message, refuses):
    with refuses(message):
        make(**options)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_rows_anchored_in_the_middle_are_encoded_to_the_bit(bits):
    x, q, n = data(), make("middle", bits), 2**bits - 1
    codes, shifts = q.encode(x)
    decoded = (2 * codes.long() - n) * (1 << shifts.long())[:, None]
    assert torch.equal(decoded.float(), q(x).values) and int(codes.max()) <= n
    s = q.scale.detach()
    expected = [sum(bool(t < row.abs().max()) for t in q.thresholds()) for row in x]
    assert shifts.tolist() == expected
    nearest = ((x / (s * torch.exp2(shifts[:, None].float())) + n) / 2).round().clamp(0, n)
    assert torch.equal(codes.float(), nearest)


def test_middle_by_hand():
    out = make("middle", ratio=1.0, scale=1.0)(torch.tensor([[-3.0, -0.9, 1.2], [12.0, -5.0, 0.5]]))
    assert out.values.tolist() == [[-3.0, -1.0, 1.0], [12.0, -4.0, 4.0]]


def test_middle_is_odd_up_to_ties_and_its_gradients_are_those_of_learned_steps():
    x = data().requires_grad_()
    q = make("middle", exponent_bits=0, scale=0.5)
    assert torch.equal(q(-x).values, -q(x).values)
    q(x).dequantize().sum().backward()
    inside = x.detach().abs() <= 3 * 0.5
    assert torch.equal(x.grad, inside.float())
    values = q(x.detach()).values.detach()
    expected = torch.where(inside, values * 0.5 - x.detach(), values * 0.5).sum()
    torch.testing.assert_close(q.log_scale.grad, expected, rtol=1e-4, atol=1e-4)
