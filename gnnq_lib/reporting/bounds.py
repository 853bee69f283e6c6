"""Bounds of the rules that no claim names: ours, so they can be moved to see what depends on them (`sensitivity`)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from gnnq_lib.errors import InputError
from gnnq_lib.naming import nearest


@dataclass(frozen=True)
class Bound:
    """A bound, and the two others that `sensitivity` puts in its place.

    Attributes:
        value: that of the rules.
        stricter, looser: a number that fewer claims pass, and one that more pass.
        what: in words, for tables.
        unit: behind the number.
    """

    value: float
    stricter: float
    looser: float
    what: str
    unit: str = ""

    def text(self, value: float | None = None) -> str:
        """The bound (or another number in its place) with its unit.

        Example:
            >>> BOUNDS["significance"].text(), BOUNDS["depth_loss"].text(4)
            ('5 %', '4')
        """
        value = self.value if value is None else value
        return f"{100 * value if self.unit == '%' else value:g} {self.unit}".strip()


BOUNDS = {
    "significance": Bound(0.05, 0.01, 0.10, "level of the tests", "%"),
    "least_runs": Bound(3, 5, 2, "runs asked for"),
    "most_bits": Bound(3.0, 2.5, 4.0, "bits per value of a stage, at most"),
    "gap_to_full": Bound(10.0, 5.0, 20.0, "points below FP32, at most"),
    "error_growth": Bound(1.1, 1.05, 1.2, "error at the deepest layer over that at layer 8, at most"),
    "depth_loss": Bound(2.0, 1.0, 4.0, "points that SMP loses with depth, at most"),
    "plain_loss": Bound(10.0, 20.0, 5.0, "points that plain propagation loses with depth, above"),
    "correlation": Bound(0.1, 0.2, 0.05, "rank correlation of degree and error, above"),
    "size_tolerance": Bound(0.03, 0.01, 0.05, "tolerance of sizes", "%"),
    "kept": Bound(0.01, 0.005, 0.02, "loss against FP32 to hold, at most", "%"),
    "kept_in_part": Bound(0.03, 0.02, 0.05, "loss against FP32 to hold in part, at most", "%"),
}
_MOVED: ContextVar[dict[str, float]] = ContextVar("moved bounds", default={})  # noqa: B039 - never changed in place
_READ: ContextVar[set[str] | None] = ContextVar("bounds read", default=None)


def bound(name: str) -> float:
    """A bound's number: that of `BOUNDS`, or the one that `moved` put in its place.

    Example:
        >>> bound("significance")
        0.05
    """
    read = _READ.get()
    if read is not None:
        read.add(name)
    return _MOVED.get().get(name, BOUNDS[name].value)


@contextmanager
def moved(**values: float) -> Iterator[None]:
    """Within it, bounds have other numbers.

    Args:
        values: name of a bound -> number.

    Raises:
        InputError: for a name that is no bound.

    Example:
        >>> with moved(significance=0.01):
        ...     bound("significance")
        0.01
    """
    for name in values:
        if name not in BOUNDS:
            raise InputError(f"bound {name!r} is unknown{nearest(name, BOUNDS)}; {', '.join(BOUNDS)} are accepted.")
    token = _MOVED.set({**_MOVED.get(), **values})
    try:
        yield
    finally:
        _MOVED.reset(token)


@contextmanager
def bounds_read() -> Iterator[set[str]]:
    """Collects the names of the bounds that are read within it.

    Example:
        >>> with bounds_read() as names:
        ...     _ = bound("kept")
        >>> names
        {'kept'}
    """
    names: set[str] = set()
    token = _READ.set(names)
    try:
        yield names
    finally:
        _READ.reset(token)
