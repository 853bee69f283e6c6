"""Packing: the bit order by hand, round trips over every code, and what is refused."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gnnq_lib.errors import InputError
from gnnq_lib.quantizers.packing import PackedCodes, check_bits, pack, row_bytes, unpack

BITS = pytest.mark.parametrize("bits", [1, 2, 4, 8], ids=lambda bits: f"bits={bits}")


def test_planes_by_hand():
    # D=5, 2 bits: 2 bytes. Byte 0 holds codes 0, 2, 4 and a pad; byte 1 holds codes 1, 3 and two pads.
    packed = pack(torch.tensor([[1, 3, 2, 0, 3]]), 2)
    assert packed.tolist() == [[1 + (2 << 2) + (3 << 4), 3 + (0 << 2)]]


@BITS
def test_every_code_survives(bits):
    codes = torch.arange(1 << bits).repeat(3)[None, :]
    assert torch.equal(unpack(pack(codes, bits), bits, codes.shape[1]).long(), codes)


@given(st.sampled_from([1, 2, 4, 8]), st.integers(1, 70), st.integers(0, 5), st.integers(0, 2**31))
def test_round_trip(bits, num_values, num_rows, seed):
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randint(0, 1 << bits, (num_rows, num_values), generator=generator)
    packed = PackedCodes.from_codes(codes, bits)
    assert packed.nbytes == num_rows * row_bytes(num_values, bits)
    assert packed.shape == (num_rows, num_values)
    assert torch.equal(packed.codes().long(), codes)


@BITS
def test_padding_is_zero(bits):
    ones = torch.full((1, 3), (1 << bits) - 1)
    assert int(pack(ones, bits).to(torch.int64).sum()) > 0
    assert unpack(pack(ones, bits), bits, 3).tolist() == ones.tolist()
    whole = unpack(pack(ones, bits), bits, row_bytes(3, bits) * 8 // bits)
    assert sorted(whole[0].tolist(), reverse=True)[3:] == [0] * (whole.shape[1] - 3)


def test_keeps_leading_dimensions():
    codes = torch.randint(0, 4, (2, 3, 9))
    assert torch.equal(unpack(pack(codes, 2), 2, 9).long(), codes)


@pytest.mark.parametrize("bits", [0, 3, 5, 16, True, "2"])
def test_unknown_width_is_named(bits):
    with pytest.raises(InputError, match="1, 2, 4 or 8"):
        check_bits(bits)


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (torch.tensor([[4]]), "2 bits hold 0 to 3"),
        (torch.tensor([[-1]]), "2 bits hold 0 to 3"),
        (torch.tensor([[1.0]]), "integer tensor"),
        (torch.tensor(1), "at least one dimension"),
        (torch.zeros(2, 0, dtype=torch.long), "at least 1 value"),
        ([1, 2], "list"),
    ],
)
def test_bad_codes_are_named(codes, message):
    with pytest.raises(InputError, match=message):
        pack(codes, 2)


@pytest.mark.parametrize(
    ("data", "num_values", "message"),
    [
        (torch.zeros(2, 2, dtype=torch.int32), 7, "torch.uint8"),
        (torch.zeros(2, 3, dtype=torch.uint8), 7, "take 2 bytes"),
        (torch.zeros(4, 2, dtype=torch.uint8).t(), 13, "contiguous"),
        (torch.zeros(2, dtype=torch.uint8), 7, "matrix"),
    ],
)
def test_bad_packed_data_is_named(data, num_values, message):
    with pytest.raises(InputError, match=message):
        PackedCodes(data, 2, num_values)
