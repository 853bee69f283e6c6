"""Checks of single settings: what is accepted comes back, what is not is named with what would be."""

from __future__ import annotations

import pytest

from gnnq_lib.checks import check_number, check_whole
from gnnq_lib.errors import InputError


@pytest.mark.parametrize(("value", "lowest", "highest"), [(0, 0, None), (16, 0, 16), (1, 1, 1)])
def test_whole_numbers_in_range(value, lowest, highest):
    assert check_whole("layers", value, lowest, highest) == value


@pytest.mark.parametrize("value", [-1, 17, 2.0, True, "3", None])
def test_whole_numbers_out_of_range(value):
    with pytest.raises(InputError, match=f"layers={value!r} given; a whole number from 0 to 16 is accepted"):
        check_whole("layers", value, 0, 16)


@pytest.mark.parametrize(("value", "above_zero"), [(0, False), (0.5, True), (1, True)])
def test_numbers_in_range(value, above_zero):
    assert check_number("share", value, highest=1, above_zero=above_zero) == value


@pytest.mark.parametrize("value", [0, -0.1, 1.1, float("nan"), float("inf"), False, "a", None])
def test_numbers_out_of_range(value):
    with pytest.raises(InputError, match=f"share={value!r} given; a number above 0, to 1, is accepted"):
        check_number("share", value, highest=1, above_zero=True)


def test_numbers_without_an_upper_end():
    with pytest.raises(InputError, match="lr=inf given; a number from 0 is accepted"):
        check_number("lr", float("inf"))
