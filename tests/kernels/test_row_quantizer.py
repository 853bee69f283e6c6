"""The row quantizer by hand, its error bound, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gnnq_lib.errors import InputError
from gnnq_lib.kernels import RowQuantizer


def test_top_anchored_by_hand():
    # range 4: thresholds 1.5 and 3 (n * scale * 2^j), so e = 2, step 0.5 * 4 = 2; t = 4, 3, 0 -> 2, 1.5 -> 2 (even), 0
    code, exponent = RowQuantizer(0.5, bits=2, num_exponents=3).quantize(torch.tensor([[0.0, 1.0, 4.0]]))
    assert exponent.tolist() == [2]
    assert code.tolist() == [[2, 2, 0]]
    assert RowQuantizer(0.5, 2, 3).whole_numbers(torch.tensor([[0.0, 1.0, 4.0]])).tolist() == [[-8, -8, 0]]


def test_zero_anchored_by_hand():
    code, exponent = RowQuantizer(0.5, bits=2).quantize(torch.tensor([[-1.0, 0.5, 9.0], [0, 0, 0]]), zero_anchored=True)
    assert exponent.tolist() == [0, 0]
    assert code.tolist() == [[0, 1, 3], [0, 0, 0]]


def test_a_range_on_a_threshold_keeps_the_smaller_exponent():
    exponents = RowQuantizer(1.0, bits=2, num_exponents=4).quantize(torch.tensor([[0.0, 3.0], [0.0, 3.0000002]]))[1]
    assert exponents.tolist() == [0, 1]


def test_exponents_two_apart():
    # thresholds 3 and 12: ranges 3, 4, 12, 13 and 200 take 0, 2, 2, 4, 4; 13 / 16 -> 1, 200 / 16 is clipped to 3
    quantizer = RowQuantizer(1.0, bits=2, num_exponents=3, stride=2)
    x = torch.tensor([[0.0, 3.0], [0.0, 4.0], [0.0, 12.0], [0.0, 13.0], [0.0, 200.0]])
    code, exponent = quantizer.quantize(x)
    assert exponent.tolist() == [0, 2, 2, 4, 4]
    assert code[:, 0].tolist() == [3, 1, 3, 1, 3]


@given(st.integers(0, 2**31), st.sampled_from([1, 2, 4, 8]), st.integers(1, 8))
def test_error_within_half_a_step_unless_clipped(seed, bits, num_exponents):
    x = torch.randn(20, 5, generator=torch.Generator().manual_seed(seed))
    quantizer = RowQuantizer(0.05, bits, num_exponents)
    code, exponent = quantizer.quantize(x)
    step = 0.05 * torch.exp2(exponent.float())[:, None]
    error = (x.amax(1, keepdim=True) + quantizer.whole_numbers(x) * 0.05 - x).abs()
    clipped = code == quantizer.top_code
    assert bool((error[~clipped] <= step.expand_as(error)[~clipped] * 0.5 + 1e-5).all())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": 0.0}, "scale=0.0"),
        ({"scale": float("nan")}, "scale=nan"),
        ({"scale": 1.0, "bits": 3}, "bits=3"),
        ({"scale": 1.0, "num_exponents": 9}, "1 to 8"),
        ({"scale": 1.0, "gamma": 0.0}, "gamma"),
        ({"scale": 1.0, "stride": 3}, "stride=3"),
        ({"scale": 1.0, "num_exponents": 4, "stride": 4}, "up to 7"),
    ],
)
def test_bad_constants_are_named(options, message):
    with pytest.raises(InputError, match=message):
        RowQuantizer(**{"bits": 2, **options})
