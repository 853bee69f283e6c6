"""Figures of quantization itself: grids, errors, ranges. Each takes numbers and the finding that becomes its title."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from gnnq_lib.plotting.style import BLACK, PALETTE, WIDTH_INCHES, bit_ticks, look, set_finding

MARKERS = ("o", "s", "^", "D", "v", "P", "X")


def staircase(x: np.ndarray, rounded: Mapping[int, np.ndarray], finding: str) -> Figure:
    """Value after quantization against value before, one step line per number of bits.

    Args:
        x: (n,) rising.
        rounded: bits -> (n,) values of x on that grid.
        finding: title.

    Example:
        >>> staircase(np.arange(3.0), {2: np.arange(3.0)}, "Exact").axes[0].get_xlabel()
        'value before quantization'
    """
    drawing, axes = plt.subplots()
    axes.plot(x, x, color=BLACK, linestyle=":", linewidth=1, label="exact")
    for (bits, values), color in zip(rounded.items(), PALETTE):
        axes.plot(x, values, color=color, drawstyle="steps-mid", label=f"{bits} bits, {2**bits} points")
    axes.set(xlabel="value before quantization", ylabel="value after")
    axes.legend()
    set_finding(drawing, finding)
    return drawing


def error_curves(table: pd.DataFrame, finding: str, x: str = "bits", y: str = "sqnr_db") -> Figure:
    """Error against bits, a panel per tensor and a line per granularity.

    Args:
        table: columns tensor, granularity (a name with a look), bits, and those named by x and y.
        finding: title.
        x: "bits" (of one code) or "bits_per_value" (scales and zero points included).
        y: "sqnr_db" or "mean_abs_error".

    Example:
        >>> rows = pd.DataFrame({"tensor": "w", "granularity": "per_node", "bits": [2, 4], "sqnr_db": [9.0, 21.0]})
        >>> len(error_curves(rows, "Better").axes)
        1
    """
    tensors = list(dict.fromkeys(table.tensor))
    columns = min(2, len(tensors))
    lines = -(-len(tensors) // columns)
    size = (WIDTH_INCHES if columns == 1 else 6.6, 0.7 + 2.4 * lines)
    drawing, grid = plt.subplots(lines, columns, figsize=size, sharey=y == "sqnr_db", squeeze=False)
    for panel, tensor in zip(grid.flat, tensors):
        here = table[table.tensor == tensor]
        for granularity, line in here.groupby("granularity", sort=False):
            panel.plot(line[x], line[y], **look(granularity).line())
        if x == "bits":
            bit_ticks(panel, sorted(here.bits.unique()))
        else:
            panel.set_xlabel("bits per value, scales included")
            panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        if y == "mean_abs_error":
            panel.set_yscale("log")
        panel.set_title(tensor)
    for panel in list(grid.flat)[len(tensors) :]:
        panel.set_axis_off()
    for row in grid:
        row[0].set_ylabel("SQNR (dB)" if y == "sqnr_db" else "mean abs. error")
    handles = {label: handle for panel in grid.flat for handle, label in zip(*panel.get_legend_handles_labels())}
    drawing.legend(handles.values(), handles, loc="outside lower center", ncols=2)
    set_finding(drawing, finding)
    return drawing


def error_map(table: pd.DataFrame, finding: str) -> Figure:
    """SQNR as a heat map, tensors down and granularities across, numbers written in.

    Args:
        table: columns tensor, granularity, sqnr_db; one number of bits only.
        finding: title.

    Example:
        >>> rows = pd.DataFrame({"tensor": ["w"], "granularity": ["per_node"], "sqnr_db": [9.0]})
        >>> error_map(rows, "Nine").axes[0].texts[0].get_text()
        '9.0'
    """
    values = table.pivot_table("sqnr_db", "tensor", "granularity", sort=False)
    drawing, axes = plt.subplots(figsize=(WIDTH_INCHES, 1.2 + 0.5 * len(values)))
    image = axes.imshow(np.ma.masked_invalid(values.to_numpy()), aspect="auto")
    middle = (np.nanmax(values.to_numpy()) + np.nanmin(values.to_numpy())) / 2
    for (row, column), value in np.ndenumerate(values.to_numpy()):
        text = "" if np.isnan(value) else f"{value:.1f}"
        axes.text(column, row, text, ha="center", va="center", color="black" if value > middle else "white")
    axes.set_xticks(range(values.shape[1]), ["\n".join(textwrap.wrap(look(name).label, 10)) for name in values.columns])
    axes.set_yticks(range(len(values)), values.index)
    axes.grid(visible=False)
    drawing.colorbar(image, label="SQNR (dB)")
    set_finding(drawing, finding)
    return drawing


def error_by_degree(degrees: Sequence[str], errors: Mapping[str, Sequence[float]], finding: str) -> Figure:
    """Mean absolute error per degree bucket on a logarithmic axis, a line per quantity.

    Args:
        degrees: names of the buckets.
        errors: quantity -> error per bucket.
        finding: title.

    Example:
        >>> error_by_degree(["1", "2-3"], {"sum": [0.1, 0.2]}, "Doubles").axes[0].get_yscale()
        'log'
    """
    drawing, axes = plt.subplots()
    for (name, values), color, marker in zip(errors.items(), PALETTE, MARKERS):
        axes.plot(range(len(degrees)), values, color=color, marker=marker, label=name)
    axes.set_xticks(range(len(degrees)), degrees)
    axes.set(xlabel="degree of the node, self-loop included", ylabel="mean abs. error", yscale="log")
    axes.legend()
    set_finding(drawing, finding)
    return drawing


def search_curves(ratios: Sequence[float], errors: Mapping[str, Sequence[float]], finding: str) -> Figure:
    """Mean absolute error over the share alpha of the range that is kept, relative to keeping all; the best is marked.

    Args:
        ratios: candidates for alpha, the last one 1.
        errors: tensor -> mean absolute error per candidate.
        finding: title.

    Example:
        >>> search_curves([0.5, 1.0], {"w": [1.0, 2.0]}, "Half").axes[0].lines[0].get_ydata().tolist()
        [0.5, 1.0]
    """
    drawing, axes = plt.subplots()
    for (name, values), color, marker in zip(errors.items(), PALETTE, MARKERS):
        relative = np.asarray(values) / values[-1]
        axes.plot(ratios, relative, color=color, marker=marker, markersize=4, label=name)
        best = int(relative.argmin())
        axes.plot(ratios[best], relative[best], color=color, marker=marker, markersize=11, markeredgecolor=BLACK)
    axes.axhline(1.0, color=BLACK, linestyle="--", linewidth=1)
    axes.set(xlabel=r"$\alpha$, share of the range that is kept", ylabel=r"error relative to $\alpha$ = 1")
    axes.legend(title="large mark: best")
    set_finding(drawing, finding)
    return drawing


def alpha_over_epochs(runs: Mapping[str, np.ndarray], finding: str) -> Figure:
    """Change of alpha since the first epoch, a thin line per quantizer, a panel per gradient on one scale.

    Args:
        runs: "correct_gradient", "released_gradient" -> (epochs, quantizers).
        finding: title.

    Example:
        >>> len(alpha_over_epochs({"correct_gradient": np.ones((3, 2))}, "Still").axes[0].lines)
        2
    """
    drawing, axes = plt.subplots(1, len(runs), figsize=(6.6, 3.4), sharey=True, squeeze=False)
    for panel, (name, alphas) in zip(axes[0], runs.items()):
        style = look(name)
        panel.plot(range(1, len(alphas) + 1), alphas - alphas[0], color=style.color, linewidth=0.9, alpha=0.7)
        panel.set(title=style.label, xlabel="epoch")
    axes[0][0].set_ylabel(r"change of $\alpha$")
    set_finding(drawing, finding)
    return drawing


def levels_on_values(values: np.ndarray, levels: Mapping[str, Sequence[float]], finding: str) -> Figure:
    """Histogram of a tensor with each method's grid points as marks below it.

    Args:
        values: (n,) the tensor.
        levels: method (a name with a look) -> its grid points.
        finding: title.

    Example:
        >>> len(levels_on_values(np.arange(9.0), {"qlr": [0.0, 3.0], "bt": [1.0]}, "Grids").axes)
        2
    """
    drawing, (top, bottom) = plt.subplots(2, 1, sharex=True, figsize=(WIDTH_INCHES, 3.8), height_ratios=[3, 1])
    points = [point for grid in levels.values() for point in grid]
    low, high = min(np.quantile(values, 0.002), *points), max(np.quantile(values, 0.998), *points)
    top.hist(values, bins=80, range=(low, high), color="#BBBBBB")
    top.set(ylabel="values")
    for row, (name, grid) in enumerate(levels.items()):
        style = look(name)
        bottom.plot(grid, [-row] * len(grid), color=style.color, marker=style.marker, linestyle="none", markersize=8)
    for panel in (top, bottom):
        panel.axvline(0, color=BLACK, linewidth=0.8, linestyle=":")
    bottom.set_yticks([-row for row in range(len(levels))], [look(name).label for name in levels])
    bottom.set(xlabel="value (dotted: zero)", ylim=(-len(levels) + 0.4, 0.6))
    set_finding(drawing, finding)
    return drawing


def relative_errors(table: pd.DataFrame, finding: str) -> Figure:
    """Error of each method divided by QLR's, a row per tensor; left of the line is better than QLR.

    Args:
        table: index tensors, a column per method (a name with a look), values error / error of QLR.
        finding: title.

    Example:
        >>> relative_errors(pd.DataFrame({"bt": [0.9]}, index=["w"]), "Less").axes[0].get_yticks().tolist()
        [0]
    """
    drawing, axes = plt.subplots(figsize=(WIDTH_INCHES, 1.6 + 0.36 * len(table)))
    axes.axvline(1.0, color=look("qlr").color, linestyle="--", linewidth=1.2, label="QLR")
    for name in table.columns:
        _points(axes, table[name].to_numpy(), name)
    axes.set_yticks(range(len(table)), table.index)
    axes.invert_yaxis()
    axes.set_xlabel("mean abs. error, relative to QLR (left is better)")
    drawing.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    set_finding(drawing, finding)
    return drawing


def _points(axes: Axes, values: np.ndarray, name: str) -> None:
    style = look(name)
    axes.plot(
        values, range(len(values)), color=style.color, marker=style.marker, markersize=8, ls="none", label=style.label
    )


def accuracy_per_seed(table: pd.DataFrame, finding: str) -> Figure:
    """Test accuracy, a column per setting and a point per seed; the bar is the mean.

    Args:
        table: columns setting, look (a name with a look), test_accuracy.
        finding: title.

    Example:
        >>> rows = pd.DataFrame({"setting": ["a", "a"], "look": ["qlr", "qlr"], "test_accuracy": [70.0, 72.0]})
        >>> accuracy_per_seed(rows, "Spread").axes[0].get_ylabel()
        'test accuracy (%)'
    """
    drawing, axes = plt.subplots()
    settings = list(dict.fromkeys(table.setting))
    for place, setting in enumerate(settings):
        here = table[table.setting == setting]
        style = look(here.look.iloc[0])
        offsets = place + 0.08 * (np.arange(len(here)) - (len(here) - 1) / 2)
        axes.plot(offsets, here.test_accuracy, color=style.color, marker=style.marker, markersize=7, linestyle="none")
        axes.hlines(here.test_accuracy.mean(), place - 0.25, place + 0.25, color=style.color)
    axes.set_xticks(range(len(settings)), [setting.replace(", ", "\n") for setting in settings])
    axes.set_ylabel("test accuracy (%)")
    axes.set_xlim(-0.6, len(settings) - 0.4)
    set_finding(drawing, finding)
    return drawing
