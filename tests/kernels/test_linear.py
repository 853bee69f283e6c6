"""linear: by hand, against its PyTorch twin on every instruction set, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from cases import COMPILED, forced, linear_cases, random_codes
from hypothesis import given, settings

from gnnq_lib.errors import InputError
from gnnq_lib.kernels import available_isas, linear, torch_linear
from gnnq_lib.quantizers.packing import PackedCodes


@pytest.mark.parametrize("isa", available_isas())
def test_by_hand(isa):
    x = PackedCodes.from_codes(torch.tensor([[1, 3], [0, 2]]), bits=2)
    weight = PackedCodes.from_codes(torch.tensor([[2, 0, 1], [1, 1, 3]]), bits=2)
    with forced(isa):
        assert linear(x, weight).tolist() == [[5, 3, 10], [2, 2, 6]]
        assert linear(x, weight, weight_zero=1, x_zero=1).tolist() == [[0, 0, 4], [-1, 1, 2]]
        assert linear(x, weight, scale=0.5, bias=torch.tensor([1.0, 0.0, 0.0])).tolist() == [[3.5, 1.5, 5], [2, 1, 3]]


@pytest.mark.parametrize("isa", COMPILED)
@settings(max_examples=100, deadline=None)
@given(case=linear_cases())
def test_equals_the_twin_bit_for_bit(isa, case):
    x, weight, options = case
    expected = torch_linear(x, weight, **options)
    with forced(isa):
        result = linear(x, weight, **options)
    assert result.dtype == expected.dtype
    assert torch.equal(result, expected)


@pytest.mark.parametrize("isa", COMPILED)
@pytest.mark.parametrize(("x_bits", "weight_bits"), [(1, 8), (2, 2), (8, 1), (8, 8), (4, 2)])
@pytest.mark.parametrize(("inner", "num_values"), [(1, 1), (63, 130), (300, 65), (513, 300)])
def test_rows_and_columns_of_many_vectors(isa, x_bits, weight_bits, inner, num_values):
    generator = torch.Generator().manual_seed(inner)
    x, weight = random_codes(generator, 39, inner, x_bits), random_codes(generator, inner, num_values, weight_bits)
    for zeros in ({}, {"x_zero": 1, "weight_zero": 1}):
        with forced(isa):
            assert torch.equal(linear(x, weight, **zeros), torch_linear(x, weight, **zeros))


@settings(max_examples=40, deadline=None)
@given(case=linear_cases())
def test_twin_equals_integer_product(case):
    x, weight, options = case
    zero = options["x_zero"]
    left = x.codes().long() - (zero.long()[:, None] if isinstance(zero, torch.Tensor) else zero)
    right = weight.codes().long() - options["weight_zero"]
    sums = torch_linear(x, weight, x_zero=zero, weight_zero=options["weight_zero"])
    assert torch.equal(sums.long(), left @ right)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"x_zero": 4}, "0 to 3"),
        ({"weight_zero": 16}, "0 to 15"),
        ({"row_scale": torch.ones(5)}, "vector of 3"),
        ({"column_scale": torch.ones(5)}, "vector of 2"),
        ({"out": torch.zeros(3, 3, dtype=torch.int32)}, "shape"),
    ],
)
@pytest.mark.parametrize("kernel", [linear, torch_linear])
def test_bad_input_is_named(kernel, options, message):
    x, weight = random_codes(torch.Generator(), 3, 6, 2), random_codes(torch.Generator(), 6, 2, 4)
    with pytest.raises(InputError, match=message):
        kernel(x, weight, **options)


def test_inner_sizes_must_agree():
    with pytest.raises(InputError, match="must be equal"):
        linear(random_codes(torch.Generator(), 3, 6, 2), random_codes(torch.Generator(), 5, 2, 4))
