"""Range rules: percentiles, the released search, signal to noise."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gnnq_lib.quantizers import percentile_limits, search_ratio, sqnr_db
from gnnq_lib.quantizers.ranges import released_grid


@pytest.mark.parametrize("percent", [0, 1, 5, 20, 49])
def test_percentiles_against_numpy(percent):
    x = torch.randn(101, generator=torch.Generator().manual_seed(0))  # percentiles fall on values: no interpolation
    low, high = percentile_limits(x.reshape(1, 101), percent / 100)
    assert [low.item(), high.item()] == np.percentile(x.numpy(), [percent, 100 - percent]).astype(np.float32).tolist()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-9, 9, width=32), min_size=1, max_size=40), st.floats(0, 0.49))
def test_percentiles_leave_out_a_share_at_each_end(values, share):
    low, high = percentile_limits(torch.tensor(values), share)
    drop = int(share * len(values))
    assert [low.item(), high.item()] == [sorted(values)[drop], sorted(values)[-1 - drop]]


@pytest.mark.parametrize("share", [-0.1, 0.5, float("nan")], ids=repr)
def test_bad_share(share, refuses):
    with refuses("share=.* in \\[0, 0.5\\) is accepted"):
        percentile_limits(torch.ones(3), share)


def test_percentiles_refuse_nan(refuses):
    with refuses("NaN or infinity"):
        percentile_limits(torch.tensor([float("nan")]), 0.1)


def test_released_grid_follows_the_fact_sheet(refuses):
    assert released_grid(2) == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
    assert released_grid(4) == released_grid(8)
    assert released_grid(4)[0] == 0.02 and released_grid(4)[-1] == 1.0 and len(released_grid(4)) == 50
    with refuses("num_bits=1"):
        released_grid(1)


@pytest.mark.parametrize("bits", [2, 4], ids=lambda b: f"bits={b}")
def test_search_against_brute_force(bits):
    x = torch.randn(500, generator=torch.Generator().manual_seed(bits)).double()
    n, m, big_m = 2**bits - 1, x.min().item(), x.max().item()
    errors = []
    for alpha in released_grid(bits):
        s = alpha * (big_m - m) / n
        z = min(max(-round(alpha * m / s), 0), n)
        q = [min(max(round(v / s + z), 0), n) for v in x.tolist()]
        errors.append(sum(abs(s * (c - z) - v) for c, v in zip(q, x.tolist())))
    expected = released_grid(bits)[errors.index(min(errors))]
    assert search_ratio(x, x.min(), x.max(), n, released_grid(bits)) == expected
    assert expected < 1  # else the search would not be tested


def test_search_keeps_the_smallest_of_equals_but_all_of_a_constant():
    zero, one = torch.tensor(0.0), torch.tensor(1.0)
    assert search_ratio(torch.zeros(3), zero, one, 3, [0.1, 0.5, 1.0]) == 0.1
    assert search_ratio(torch.ones(3), one, one, 3, [0.1, 0.5, 1.0]) == 1.0


def test_sqnr_by_hand():
    assert sqnr_db(torch.tensor([3.0, 4.0]), torch.tensor([3.0, 3.5])) == pytest.approx(20)
    assert sqnr_db(torch.tensor([1.0]), torch.tensor([0.0])) == pytest.approx(0)
    assert sqnr_db(torch.ones(2), torch.ones(2)) == math.inf
