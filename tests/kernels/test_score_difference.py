"""score_difference and its gradient: by hand, against the PyTorch twins on every instruction set, against autograd."""

from __future__ import annotations

import pytest
import torch
from cases import COMPILED, WIDTHS, forced
from hypothesis import given, settings
from hypothesis import strategies as st

from gnnq_lib.errors import InputError
from gnnq_lib.kernels import (
    available_isas,
    score_difference,
    score_difference_backward,
    torch_score_difference,
    torch_score_difference_backward,
)

PATHS = pytest.mark.parametrize("isa", available_isas())
ROWS = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 7.0]])
PLACES = torch.tensor([0, 0, 1, 2, 2, 1])  # (user, first, second): (0, 1, 2) and (0, 2, 1)


@PATHS
def test_by_hand(isa):
    with forced(isa):
        assert score_difference(ROWS, PLACES).tolist() == [8, -8]
        grad = score_difference_backward(ROWS, PLACES, torch.tensor([1.0, 10.0]))
    assert grad.tolist() == [[2 - 20, 3 - 30], [-1 + 10, -2 + 20], [1 - 10, 2 - 20]]


@st.composite
def cases(draw):
    """(rows, places, grad); some rows are in many triplets, and a triplet may have the same row twice."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    count = draw(st.sampled_from([0, 1, 7, 300]))
    size = draw(st.integers(1 if count else 0, 40))
    places = torch.randint(0, max(size, 1), (3 * count,), generator=generator)
    return torch.randn(size, draw(WIDTHS), generator=generator), places, torch.randn(count, generator=generator)


@pytest.mark.parametrize("isa", COMPILED)
@given(case=cases(), threads=st.sampled_from([1, 2, 3]))
@settings(max_examples=80, deadline=None)
def test_equals_the_twins_bit_for_bit(isa, case, threads):
    rows, places, grad = case
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        with forced(isa):
            found = score_difference(rows, places), score_difference_backward(rows, places, grad)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0], torch_score_difference(rows, places))
    assert torch.equal(found[1], torch_score_difference_backward(rows, places, grad))


@PATHS
def test_against_autograd(isa):
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(30, 70, generator=generator).double().requires_grad_()
    places, grad = torch.randint(0, 30, (3 * 50,), generator=generator), torch.randn(50, generator=generator)
    users, first, second = (rows[part] for part in places.chunk(3))
    wanted = (users * (second - first)).sum(dim=1)
    wanted.backward(grad.double())
    with forced(isa):
        found = score_difference(rows.detach().float(), places)
        slope = score_difference_backward(rows.detach().float(), places, grad)
    torch.testing.assert_close(found.double(), wanted.detach(), rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(slope.double(), rows.grad, rtol=1e-5, atol=1e-4)


def test_refusals():
    for rows, places, message in [
        (ROWS.double(), PLACES, "rows given as torch.float64"),
        (ROWS[0], PLACES, "rows given as a tensor of 1 dimensions"),
        (ROWS.T, PLACES, "rows is not contiguous"),
        ("rows", PLACES, "rows given as str"),
        (ROWS, PLACES[:4], "places given as torch.int64"),
        (ROWS, PLACES.int(), "places given as torch.int32"),
        (ROWS, PLACES + 1, "places 1 to 3 given; 0 to 2 are accepted"),
    ]:
        for call in (score_difference, torch_score_difference):
            with pytest.raises(InputError, match=message):
                call(rows, places)
    for call in (score_difference_backward, torch_score_difference_backward):
        with pytest.raises(InputError, match="grad given as"):
            call(ROWS, PLACES, torch.ones(3))


@pytest.mark.gpu
def test_cuda_gives_the_same_up_to_rounding():
    generator = torch.Generator().manual_seed(0)
    rows, places = torch.randn(9, 7, generator=generator), torch.randint(0, 9, (30,), generator=generator)
    grad = torch.randn(10, generator=generator)
    there = rows.cuda(), places.cuda()
    torch.testing.assert_close(score_difference(*there).cpu(), score_difference(rows, places))
    slope = score_difference_backward(*there, grad.cuda())
    torch.testing.assert_close(slope.cpu(), score_difference_backward(rows, places, grad))


@PATHS
def test_rows_without_a_value_score_nothing(isa):
    rows = torch.zeros(3, 0)
    with forced(isa):
        assert score_difference(rows, PLACES).tolist() == [0, 0] == torch_score_difference(rows, PLACES).tolist()
        assert score_difference_backward(rows, PLACES, torch.ones(2)).shape == (3, 0)


@PATHS
def test_no_gradient_is_recorded(isa):
    rows, grad = ROWS.clone().requires_grad_(), torch.ones(2, requires_grad=True)
    with forced(isa):
        assert not score_difference(rows, PLACES).requires_grad
        assert not score_difference_backward(rows, PLACES, grad).requires_grad
