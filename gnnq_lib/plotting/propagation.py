"""Figures of propagation: something against the number of layers, one line per model or method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter

from gnnq_lib.plotting.style import LOOKS, look


def lines_against_depth(
    axes: Axes,
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    ylabel: str,
    log: bool = False,
    labels: Mapping[str, str] | None = None,
    spreads: Mapping[str, Sequence[float]] | None = None,
) -> None:
    """One line per model or method against the number of layers.

    Args:
        axes: where to draw.
        lines: name -> (numbers of layers, values); names with a fixed look get it, others matplotlib's next colour.
        ylabel: what is measured, with its unit.
        log: logarithmic vertical axis.
        labels: name -> text for the legend, where the look's own would not do.
        spreads: name -> standard deviations of the values, drawn as bars.

    Example:
        >>> from matplotlib.figure import Figure
        >>> axes = Figure().subplots(); lines_against_depth(axes, {"smp": ([2, 4], [80, 81])}, "accuracy (%)")
        >>> axes.get_xlabel(), [text.get_text() for text in axes.get_legend().get_texts()]
        ('layers', ['SMP'])
    """
    for name, (depths, values) in lines.items():
        kwargs = look(name).line() if name in LOOKS else {"label": name}
        kwargs["label"] = (labels or {}).get(name, kwargs["label"])
        if name in (spreads or {}):
            axes.errorbar(depths, values, spreads[name], capsize=2, **kwargs)
        else:
            axes.plot(depths, values, **kwargs)
    axes.set(xlabel="layers", ylabel=ylabel)
    if log:
        axes.set_yscale("log")
    axes.legend()


def doubling_ticks(axes: Axes, depths: Sequence[int]) -> None:
    """Make the horizontal axis logarithmic to base 2, with these depths as whole numbers; 0 is kept at its left end.

    Example:
        >>> from matplotlib.figure import Figure
        >>> axes = Figure().subplots(); doubling_ticks(axes, [0, 2, 4]); axes.get_xscale()
        'symlog'
    """
    if 0 in depths:
        axes.set_xscale("symlog", base=2, linthresh=1, linscale=0.5)
        axes.set_xlim(left=-0.15)
    else:
        axes.set_xscale("log", base=2)
        axes.set_xlim(left=min(depths) / 1.15)
    axes.set_xlim(right=max(depths) * 1.15)
    axes.xaxis.set_major_locator(FixedLocator(list(depths)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(ScalarFormatter())


def runs_text(sizes: pd.Series) -> str:
    """Numbers of runs, "n = 3" or "n = 5 to 10".

    Example:
        >>> runs_text(pd.Series([5, 10]))
        'n = 5 to 10'
    """
    few, many = int(sizes.min()), int(sizes.max())
    return f"n = {few}" if few == many else f"n = {few} to {many}"
