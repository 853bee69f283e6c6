"""Checks of single settings: each returns the value it was given or raises InputError."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any, TypeVar, get_args

from gnnq_lib.errors import InputError
from gnnq_lib.naming import listed

Given = TypeVar("Given")


def check_whole(name: str, value: Any, lowest: int = 0, highest: int | None = None) -> int:
    """Return `value` if it is a whole number from `lowest` to `highest`, else raise InputError.

    Args:
        name: what the error calls it.
        value: of any type; booleans are no numbers here.
        lowest, highest: the range; None: no upper end.

    Example:
        >>> check_whole("k", 2.5, 1)
        Traceback (most recent call last):
        gnnq_lib.errors.InputError: k=2.5 given; a whole number from 1 is accepted
    """
    whole = isinstance(value, int) and not isinstance(value, bool)
    if whole and value >= lowest and (highest is None or value <= highest):
        return value
    upper = "" if highest is None else f" to {highest}"
    raise InputError(f"{name}={value!r} given; a whole number from {lowest}{upper} is accepted")


def check_number(name: str, value: Any, highest: float = math.inf, above_zero: bool = False) -> float:
    """Return `value` if it is a finite number from 0 to `highest`, else raise InputError.

    Args:
        name: what the error calls it.
        value: of any type; booleans are no numbers here.
        highest: the upper end, accepted where finite.
        above_zero: refuse 0 itself.

    Example:
        >>> check_number("share", 0.0, highest=1, above_zero=True)
        Traceback (most recent call last):
        gnnq_lib.errors.InputError: share=0.0 given; a number above 0, to 1, is accepted
    """
    number = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    if number and value <= highest and (value > 0 if above_zero else value >= 0):
        return value
    lower = "above 0" if above_zero else "from 0"
    upper = "" if highest == math.inf else f", to {highest}," if above_zero else f" to {highest}"
    raise InputError(f"{name}={value!r} given; a number {lower}{upper} is accepted")


def check_choice(name: str, value: Given, choices: Any) -> Given:
    """Return `value` if it is one of a Literal's words, else raise InputError.

    Args:
        name: what the error calls it.
        value: of any type.
        choices: a `typing.Literal`.

    Example:
        >>> from typing import Literal
        >>> check_choice("schedule", "linear", Literal["constant", "cosine"])
        Traceback (most recent call last):
        gnnq_lib.errors.InputError: schedule='linear' given; 'constant' and 'cosine' are accepted
    """
    if value not in get_args(choices):
        raise InputError(f"{name}={value!r} given; {listed([repr(word) for word in get_args(choices)])} are accepted")
    return value
