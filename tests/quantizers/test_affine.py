"""Affine quantization: by hand, every code, properties, gradients, bad input."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gnnq_lib.quantizers import QParams, choose_qparams, dequantize, fake_quantize, quantize
from gnnq_lib.quantizers.affine import affine_grid, centred_codes

BITS = range(1, 9)
finite = st.floats(-1000, 1000, width=32)
rows = st.lists(finite, min_size=1, max_size=20)
few = settings(max_examples=60, deadline=None)


def grid(scale: float, zero_point: int, num_bits: int) -> QParams:
    return QParams(torch.tensor(scale), torch.tensor(float(zero_point)), num_bits)


@pytest.mark.parametrize(
    ("x", "bits", "scale", "zero_point", "codes", "values"),
    [
        ([-1.0, -0.4, 0.3, 2.0], 2, 1.0, 1, [0, 1, 1, 3], [-1.0, 0.0, 0.0, 2.0]),
        ([0.0, 0.5, 1.5, 3.0], 2, 1.0, 0, [0, 0, 2, 3], [0.0, 0.0, 2.0, 3.0]),
        ([2.0, 6.0], 2, 2.0, 0, [1, 3], [2.0, 6.0]),
        ([-6.0, -2.0], 2, 2.0, 3, [0, 2], [-6.0, -2.0]),
        ([-3.0, 4.4, 12.0], 4, 1.0, 3, [0, 7, 15], [-3.0, 4.0, 12.0]),
        ([-1.0, 254.0], 8, 1.0, 1, [0, 255], [-1.0, 254.0]),
        ([-4.0, 1.0], 1, 5.0, 1, [0, 1], [-5.0, 0.0]),
    ],
    ids=["signed", "half to even", "range reaches down to 0", "range reaches up to 0", "4 bits", "8 bits", "1 bit"],
)
def test_by_hand(x, bits, scale, zero_point, codes, values):
    x = torch.tensor(x)
    qparams = choose_qparams(x, bits)
    assert (qparams.scale.item(), qparams.zero_point.item()) == (scale, zero_point)
    assert quantize(x, qparams).tolist() == codes
    assert dequantize(quantize(x, qparams), qparams).tolist() == values


def test_ratio_keeps_a_share_of_the_range_and_clips_the_rest():
    x = torch.tensor([-2.0, 1.0, 4.0])
    qparams = choose_qparams(x, 2, ratio=0.5)  # range [-1, 2]
    assert (qparams.scale.item(), qparams.zero_point.item()) == (1.0, 1.0)
    assert fake_quantize(x, qparams).tolist() == [-1.0, 1.0, 2.0]


@pytest.mark.parametrize("bits", BITS, ids=lambda b: f"bits={b}")
def test_every_code_survives_the_round_trip(bits):
    codes = torch.arange(2**bits, dtype=torch.uint8)
    for zero_point in range(2**bits):
        qparams = grid(0.37, zero_point, bits)
        assert torch.equal(quantize(dequantize(codes, qparams), qparams), codes)


@few
@given(rows, st.integers(1, 8))
def test_error_is_at_most_half_a_step(values, bits):
    x = torch.tensor(values)
    qparams = choose_qparams(x, bits)
    error = (fake_quantize(x, qparams) - x).abs()
    slack = 1e-6 * float(x.abs().max())
    assert (error <= qparams.scale / 2 * (1 + 1e-5) + slack).all()


@few
@given(rows, st.integers(1, 8), st.floats(0.1, 1))
def test_monotone_idempotent_and_zero_exact(values, bits, ratio):
    x = torch.tensor([*values, 0.0]).sort().values
    qparams = choose_qparams(x, bits, ratio=ratio)
    once = fake_quantize(x, qparams)
    assert (once.diff() >= 0).all()
    assert torch.equal(fake_quantize(once, qparams), once)
    assert torch.equal(dequantize(quantize(x, qparams), qparams), once)
    assert (once[x == 0] == 0).all()


@few
@given(finite, st.integers(1, 8), st.floats(0.1, 1))
def test_constant_tensors_are_exact(value, bits, ratio):
    x = torch.full((3, 2), value)
    assert torch.equal(fake_quantize(x, choose_qparams(x, bits, ratio=ratio)), x)


def test_all_zero_and_subnormal_tensors_give_a_usable_grid():
    zeros = torch.zeros(4)
    assert torch.equal(fake_quantize(zeros, choose_qparams(zeros, 2)), zeros)
    tiny = torch.tensor([0.0, 1e-40])
    qparams = choose_qparams(tiny, 2)
    assert qparams.scale > 0 and torch.isfinite(fake_quantize(tiny, qparams)).all()


def test_gradient_inside_on_and_outside_the_bounds():
    # Grid points -1 .. 2, so clipping begins at -1.5 and 2.5.
    x = torch.tensor([-1.6, -1.5, -1.0, 0.3, 2.5, 2.6], requires_grad=True)
    fake_quantize(x, grid(1.0, 1, 2)).sum().backward()
    assert x.grad.tolist() == [0.0, 1.0, 1.0, 1.0, 1.0, 0.0]


def test_gradient_does_not_depend_on_the_scale():
    x = torch.tensor([-0.2, 0.1, 0.3], requires_grad=True)
    fake_quantize(x, grid(0.25, 1, 2)).backward(torch.tensor([1.0, 2.0, 3.0]))
    torch.testing.assert_close(x.grad, torch.tensor([1.0, 2.0, 3.0]))


def test_centred_codes_times_scale_are_the_fake_quantized_values():
    x, qparams = torch.linspace(-1, 1, 9), grid(0.3, 2, 3)
    values = centred_codes(x, qparams)
    assert torch.equal(values, values.round())
    assert torch.equal(values * qparams.scale, fake_quantize(x, qparams))


def test_grid_of_a_group_does_not_depend_on_other_groups():
    low, high = torch.tensor([[-1.0], [5.0], [0.0]]), torch.tensor([[2.0], [5.0], [0.0]])
    scale, zero_point = affine_grid(low, high, 3)
    assert scale.flatten().tolist() == [1.0, 5.0, 1.0]
    assert zero_point.flatten().tolist() == [1.0, 0.0, 0.0]


@pytest.mark.parametrize("bits", [0, 9, 2.0, "2", True, None], ids=repr)
def test_bad_bits(bits, refuses):
    with refuses("num_bits=.* an integer from 1 to 8 is accepted"):
        choose_qparams(torch.ones(2), bits)


@pytest.mark.parametrize("ratio", [0.0, -0.5, 1.1, float("nan")], ids=repr)
def test_bad_ratio(ratio, refuses):
    with refuses("ratio=.* in \\(0, 1\\] is accepted"):
        choose_qparams(torch.ones(2), 2, ratio=ratio)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.tensor([1.0, float("nan")]), "NaN or infinity"),
        (torch.tensor([1.0, float("inf")]), "NaN or infinity"),
        (torch.zeros(0, 3), "empty .*at least one value"),
        (torch.tensor([1, 2]), "torch.int64; give a floating-point tensor"),
    ],
    ids=["nan", "infinity", "empty", "integers"],
)
def test_bad_values(x, message, refuses):
    with refuses(message):
        choose_qparams(x, 2)
