"""Level tables: places of levels, codes, sizes, gradients."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gnnq_lib.errors import InputError
from gnnq_lib.recommendation.levels import (
    LevelLookup,
    LevelTable,
    fitted_levels,
    look_up,
    nearest_codes,
    range_codes,
    range_levels,
    sums_per_code,
)

ROW = torch.tensor([[0.0, 10.0, 2.4, 2.5, 2.6, 7.4, 7.6]])


def test_released_levels_and_codes_by_hand():
    assert torch.allclose(range_levels(ROW, 2, "released"), torch.tensor([[2.0, 4.0, 6.0, 8.0]]))
    assert range_codes(ROW, 2).tolist() == [[0, 3, 0, 0, 1, 2, 3]]  # quarters closed on the right
    assert torch.allclose(range_levels(ROW, 1, "released"), torch.tensor([[10 / 3, 20 / 3]]))


def test_midpoints_by_hand_and_shared_by_all():
    assert torch.allclose(range_levels(ROW, 2), torch.tensor([[1.25, 3.75, 6.25, 8.75]]))
    two = torch.tensor([[0.0, 1.0], [4.0, 8.0]])
    assert range_levels(two, 2, per_node=False).tolist() == [[1.0, 3.0, 5.0, 7.0]]


@pytest.mark.parametrize("bits", [1, 2, 3, 4])
@pytest.mark.parametrize("per_node", [True, False], ids=["per node", "per tensor"])
def test_lloyd_beats_midpoints_and_is_ordered(bits, per_node):
    table = torch.randn(30, 64, generator=torch.Generator().manual_seed(0))
    errors = {}
    for placement in ("lloyd", "midpoints", "released"):
        levels = fitted_levels(table, bits, placement, per_node)
        assert levels.shape == (30 if per_node else 1, 2**bits) and (levels.diff(dim=1) >= 0).all()
        errors[placement] = (look_up(nearest_codes(table, levels), levels) - table).square().mean()
    assert errors["lloyd"] <= min(errors["midpoints"], errors["released"])


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 4), st.integers(0, 1000))
def test_codes_are_the_nearest_levels(bits, seed):
    generator = torch.Generator().manual_seed(seed)
    table = torch.randn(3, 9, generator=generator)
    levels = torch.randn(3, 2**bits, generator=generator).sort(dim=1).values
    distance = (table[:, :, None] - levels[:, None, :]).abs()
    found = distance.gather(2, nearest_codes(table, levels).long()[..., None])[..., 0]
    assert torch.allclose(found, distance.amin(dim=2), atol=1e-6)


def test_a_constant_row_and_few_values():
    constant = torch.full((1, 5), 3.0)
    for placement in ("lloyd", "midpoints", "released"):
        levels = fitted_levels(constant, 2, placement)
        assert torch.equal(look_up(nearest_codes(constant, levels), levels), constant)
    one = torch.tensor([[1.5]])
    assert torch.equal(look_up(nearest_codes(one, fitted_levels(one, 3)), fitted_levels(one, 3)), one)


@pytest.mark.parametrize(("dim", "ratio", "half"), [(64, 8.0, 10.667), (128, 10.667, 12.8), (256, 12.8, 14.222)])
def test_sizes_follow_the_formula(dim, ratio, half):
    table = LevelTable(torch.zeros(100, dim, dtype=torch.uint8), torch.zeros(100, 4))
    assert 400 * dim / table.num_bytes() == pytest.approx(ratio, rel=1e-3)
    assert 400 * dim / table.num_bytes(16) == pytest.approx(half, rel=1e-3)


def test_half_levels_are_near():
    table = LevelTable(torch.tensor([[0, 1]], dtype=torch.uint8), torch.tensor([[0.1, 0.2]]))
    half = table.with_half_levels()
    assert half.levels.half().float().tolist() == half.levels.tolist()
    assert torch.allclose(half.dequantize(), table.dequantize(), rtol=1e-3)


def test_gradients_by_hand_and_shared_levels():
    latent = torch.tensor([[0.2, 0.9], [5.0, -1.0]], requires_grad=True)
    levels = torch.tensor([[0.0, 1.0]], requires_grad=True)
    codes = nearest_codes(latent.detach(), levels.detach())
    weight = torch.tensor([[1.0, 2.0], [4.0, 8.0]])
    (LevelLookup.apply(latent, levels, codes.long()) * weight).sum().backward()
    assert torch.equal(latent.grad, weight) and levels.grad.tolist() == [[9.0, 6.0]]
    assert sums_per_code(weight, codes, 2).tolist() == [[1.0, 2.0], [8.0, 4.0]]


@pytest.mark.parametrize("bits", [0, 5, 2.0, True])
def test_bits_out_of_range(bits):
    with pytest.raises(InputError, match="tables of 1, 2, 3 or 4 bits are accepted"):
        fitted_levels(ROW, bits)


def test_unknown_placement():
    with pytest.raises(InputError, match="placement='other' given; 'lloyd', 'midpoints' and 'released' are"):
        fitted_levels(ROW, 2, "other")


@pytest.mark.parametrize("placement", ["lloyd", "relesed"])
def test_placements_that_a_range_does_not_give(placement):
    with pytest.raises(InputError, match=f"placement='{placement}' given; 'midpoints' and 'released' are accepted"):
        range_levels(ROW, 2, placement)
