"""Figures of speed and size: roofline, speedups, cost against edges, recall against bytes.

Rows are those of `gnnq bench`, with the columns bench, case, variant, bits, path, median_ms and more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gnnq_lib.naming import PACKED, case_title
from gnnq_lib.paths import project_root
from gnnq_lib.plotting.registry import figure
from gnnq_lib.plotting.style import (
    BLACK,
    BLUE,
    FULL_PRECISION_LINE,
    GREEN,
    GREY,
    HEIGHT_INCHES,
    PINK,
    SKY,
    SMALL_LETTERS,
    VERMILION,
    WIDTH_INCHES,
    set_finding,
)

# One colour and marker per width, in every figure.
WIDTHS = {32: (BLACK, "*"), 8: (GREEN, "s"), 4: (BLUE, "o"), 2: (VERMILION, "h"), 1: (PINK, "v")}


def width_name(bits: int) -> str:
    """FP32 or INT-b.

    Example:
        >>> width_name(32), width_name(2)
        ('FP32', 'INT2')
    """
    return "FP32" if bits == 32 else f"INT{bits:.0f}"


def bench_rows() -> pd.DataFrame:
    """The committed rows of all benchmarks (data/results/bench_*.csv); empty where there are none."""
    files = sorted((project_root() / "data" / "results").glob("bench_*.csv"))
    return pd.concat([pd.read_csv(file) for file in files], ignore_index=True) if files else pd.DataFrame()


def roofline(points: Sequence[Mapping], gb_per_s: float, peak: float) -> Figure:
    """Additions per second against additions per byte, under the two limits of a machine.

    Args:
        points: mappings with bits, additions and bytes of a call, and its median_ms.
        gb_per_s: memory bandwidth, the slanted limit.
        peak: billion float32 additions per second out of registers, the flat limit.

    Example:
        >>> point = {"bits": 2, "additions": 10**6, "bytes": 10**6, "median_ms": 1.0}
        >>> roofline([point], gb_per_s=10, peak=100).axes[0].get_xscale()
        'log'
    """
    drawing, axes = plt.subplots(figsize=(WIDTH_INCHES, 1.2 * HEIGHT_INCHES))
    intensity = np.array([point["additions"] / point["bytes"] for point in points])
    rate = np.array([point["additions"] / point["median_ms"] / 1e6 for point in points])
    span = np.geomspace(min(intensity.min(), 0.1), max(intensity.max(), peak / gb_per_s) * 3)
    axes.plot(span, np.minimum(span * gb_per_s, peak), color=GREY, label="limit in float32, this machine")
    axes.plot(span, span * gb_per_s, color=GREY, linestyle=":", label="limit of the memory alone")
    for x, y, bits in zip(intensity, rate, [point["bits"] for point in points]):
        color, marker = WIDTHS[bits]
        axes.plot(x, y, marker, color=color, markersize=9, label=width_name(bits))
    axes.set(xscale="log", yscale="log", xlabel="additions per byte moved", ylabel="billion additions per second")
    drawing.legend(loc="outside lower center", ncols=3)
    return drawing


def speedup_bars(rows: pd.DataFrame, paper: Mapping[int, float] | None = None) -> Figure:
    """Speedup over the fastest full-precision path, a group of bars per case.

    Args:
        rows: packed rows of one benchmark, one per case and width; columns case, bits, speedup_vs_best_fp32.
        paper: width -> a factor that a paper states, drawn as a line.

    Example:
        >>> rows = pd.DataFrame({"case": ["a", "a"], "bits": [2, 4], "speedup_vs_best_fp32": [9.0, 5.0]})
        >>> len(speedup_bars(rows).axes[0].patches)
        2
    """
    table = rows.pivot_table(index="case", columns="bits", values="speedup_vs_best_fp32", sort=False)
    table = table[sorted(table.columns)]
    drawing, axes = plt.subplots(figsize=(WIDTH_INCHES, 1.8 + 0.4 * len(table)))
    height = 0.8 / len(table.columns)
    for number, bits in enumerate(table.columns):
        places = np.arange(len(table)) + (number - (len(table.columns) - 1) / 2) * height
        axes.barh(places, table[bits], height, color=WIDTHS[bits][0], label=width_name(bits))
        if bits in (paper or {}):
            line = {"color": WIDTHS[bits][0], "linestyle": "--" if bits == 2 else ":", "linewidth": 1.4}
            axes.axvline(paper[bits], label=f"paper, INT{bits}: {paper[bits]:.2f}", **line)
    axes.axvline(1, **FULL_PRECISION_LINE)
    # Sizes go below the name: on one line they leave no room for the bars.
    titles = [case_title(str(case)).removesuffix(")").replace(" (", "\n") for case in table.index]
    axes.set_yticks(np.arange(len(table)), titles, fontsize=SMALL_LETTERS)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("times as fast as FP32")
    drawing.legend(loc="outside lower center", ncols=4 if len(table.columns) > 3 else 3)
    return drawing


def cost_by_edges(rows: pd.DataFrame, axes: Axes | None = None) -> Figure:
    """Milliseconds of a sum over neighbours against the number of edges, and what memory alone would allow.

    Args:
        rows: of `gnnq_lib.benchmarks.kernels.sweep`, one width.
        axes: where to draw; a new figure if not given.

    Example:
        >>> row = {"path": PACKED, "bits": 2, "edges": 1000, "median_ms": 0.1, "bytes": 36000, "limit_gb_per_s": 10.0}
        >>> cost_by_edges(pd.DataFrame([row, {**row, "edges": 2000}])).axes[0].get_xlabel()
        'edges'
    """
    return _cost(rows, "edges", "edges", axes)


def cost_by_width(rows: pd.DataFrame, axes: Axes | None = None) -> Figure:
    """The same against the values per node.

    Args:
        rows: of `gnnq_lib.benchmarks.kernels.sweep`, one number of edges.
        axes: where to draw; a new figure if not given.

    Example:
        >>> row = {"path": PACKED, "bits": 2, "width": 64, "median_ms": 0.1, "bytes": 36000, "limit_gb_per_s": 10.0}
        >>> cost_by_width(pd.DataFrame([row, {**row, "width": 128}])).axes[0].get_xlabel()
        'values per node (D)'
    """
    return _cost(rows, "width", "values per node (D)", axes)


def _cost(rows: pd.DataFrame, along: str, label: str, axes: Axes | None) -> Figure:
    axes = plt.subplots()[1] if axes is None else axes
    kept = rows[(rows.path == PACKED) | (rows.path == "fp32")]
    for bits, part in kept.groupby("bits"):
        best = part.loc[part.groupby(along).median_ms.idxmin()].sort_values(along)
        color, marker = WIDTHS[bits]
        axes.plot(best[along], best.median_ms, marker + "-", color=color, label=width_name(bits))
        limit = best.bytes / best.limit_gb_per_s / 1e6
        axes.plot(best[along], limit, color=color, linestyle=":", linewidth=1)
    axes.set(xscale="log", yscale="log", xlabel=label, ylabel="time (ms)")
    axes.legend(title="dotted: bytes / copy bandwidth")
    return axes.figure


def recall_by_bytes(rows: pd.DataFrame, axes: Axes | None = None) -> Figure:
    """Recall of a similarity search against bytes per row; packed and, where measured, faiss.

    Args:
        rows: of `gnnq bench similarity`, one case and metric, any batch; columns variant, path, bits, bytes, recall.
        axes: where to draw; a new figure if not given.

    Example:
        >>> row = {"variant": "packed", "path": PACKED, "bits": 2, "bytes": 20.0, "recall": 0.8, "rows": 1}
        >>> recall_by_bytes(pd.DataFrame([row])).axes[0].get_ylabel()
        'share of the true 20 found'
    """
    axes = plt.subplots()[1] if axes is None else axes
    measured = rows[rows.recall.notna()].drop_duplicates(["variant", "bits"])
    packed = measured[measured.path == PACKED].sort_values("bits")
    axes.plot(packed.bytes / packed.rows, packed.recall, "-", color=GREY, linewidth=1)
    for _, row in packed.iterrows():
        color, marker = WIDTHS[row.bits]
        axes.plot(row.bytes / row.rows, row.recall, marker, color=color, label=f"packed, {width_name(row.bits)}")
    for marker, (_, row) in zip("P^Dx", measured[measured.path == "peer"].iterrows()):
        axes.plot(row.bytes / row.rows, row.recall, marker, color=SKY, label=row.variant)
    axes.set_xscale("log", base=2)
    ticks = [8, 12, 16, 24, 32, 48, 64, 96]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.set(xlabel="bytes per row", ylabel="share of the true 20 found", ylim=(0, 1.03))
    axes.legend()
    return axes.figure


@figure("kernel_speedups")
def kernel_speedups(results: pd.DataFrame) -> Figure | None:
    """Sums over neighbours: how many times as fast the best packed variant is as the fastest full-precision path, a
    group of bars per graph and number of values D per node, a bar per width; the dashed line is FP32 itself.
    """
    rows = _packed("spmm")
    if rows.empty:
        return None
    if "edges" in rows:
        rows = rows[rows.edges.isna()]
    rows = rows.loc[rows.groupby(["case", "bits"], sort=False).speedup_vs_best_fp32.idxmax()]
    by_width = rows.case.str.extract(r" D=(\d+)$")[0].astype(float)  # widest first within a graph
    graphs = rows.case.str.partition(" D=")[0]
    rows = rows.iloc[np.lexsort((-by_width, pd.factorize(graphs)[0]))]
    drawing = speedup_bars(rows)
    factors = speedup_range(rows, 2)
    set_finding(drawing, f"Sums over neighbours in INT2: {factors} times as fast as the fastest FP32 path")
    return drawing


@figure("kernel_scaling")
def kernel_scaling(results: pd.DataFrame) -> Figure | None:
    """Sums over neighbours: time against edges (left) and against values per node (right), both axes logarithmic, a
    line per width; dotted is the time if every byte came from memory, at the speed of a copy.
    """
    rows = bench_rows()
    if rows.empty or "edges" not in rows:
        return None
    rows = rows[(rows.bench == "spmm") & rows.edges.notna()]
    by_edges, by_width = _sweeps(rows)
    if by_edges.edges.nunique() < 2 or by_width.width.nunique() < 2:
        return None
    drawing, (left, right) = plt.subplots(1, 2, figsize=(WIDTH_INCHES, 1.2 * HEIGHT_INCHES), sharey=True)
    cost_by_edges(by_edges, left)
    cost_by_width(by_width, right)
    left.set_title(f"{by_edges.width.iloc[0]:.0f} values per node")
    right.set_title(f"{by_width.edges.iloc[0]:,.0f} edges")
    widths = sorted(by_width.width.unique())
    right.set_xticks(widths, [f"{width:.0f}" for width in widths])
    right.minorticks_off()
    right.set_ylabel("")
    for axes in (left, right):
        axes.get_legend().remove()
    drawing.legend(*left.get_legend_handles_labels(), title="dotted: if every byte came from memory (copy bandwidth)",
                   loc="outside lower center", ncols=4)  # fmt: skip
    set_finding(drawing, _scaling_finding(by_edges))
    return drawing


def _sweeps(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows of the width that most graphs were measured with, and of the graph that most widths were measured on."""
    width = rows.groupby("width").edges.nunique().idxmax() if len(rows) else None
    edges = rows.groupby("edges").width.nunique().idxmax() if len(rows) else None
    return rows[rows.width == width], rows[rows.edges == edges]


def _scaling_finding(rows: pd.DataFrame) -> str:
    """How many times as fast as full precision INT2 is on the largest graph, and on the smallest."""
    two = rows[(rows.path == PACKED) & (rows.bits == 2)].groupby("edges").median_ms.min()
    times = rows[rows.path == "fp32"].groupby("edges").median_ms.min() / two
    most, least = two.index.max(), two.index.min()
    small = f"{times[least]:.1f} times at {least:,.0f}"
    return f"INT2 is {times[most]:.1f} times as fast as PyTorch's FP32 at {most:,.0f} edges, {small}"


@figure("similarity_recall")
def similarity_recall(results: pd.DataFrame) -> Figure | None:
    """Share of the true 20 nearest rows by cosine that are found, against bytes per row, on generated embeddings:
    packed at 1, 2, 4 and 8 bits, joined by a line, and faiss at three settings.
    """
    rows = bench_rows()
    rows = rows[rows.bench == "similarity"] if len(rows) else rows
    if rows.empty:
        return None
    rows = rows[(rows.case == "generated") & (rows.metric == "cosine")]
    if rows.empty:
        return None
    full = rows[rows.path == "fp32"].iloc[0]
    drawing = recall_by_bytes(rows.assign(rows=full.bytes / 4 / 64))
    two = rows[(rows.path == PACKED) & (rows.bits == 2)].iloc[0]
    set_finding(
        drawing,
        f"Generated rows, cosine: INT2 finds {100 * two.recall:.0f} % of the true 20 in "
        f"{full.bytes / two.bytes:.1f} times fewer bytes",
    )
    return drawing


def speedup_range(rows: pd.DataFrame, bits: int) -> str:
    """Smallest and largest speedup of a width; one number if they are the same.

    Example:
        >>> speedup_range(pd.DataFrame({"bits": [2, 2], "speedup_vs_best_fp32": [3.0, 4.25]}), 2)
        '3.0 to 4.2'
    """
    found = rows[rows.bits == bits].speedup_vs_best_fp32
    low, high = f"{found.min():.1f}", f"{found.max():.1f}"
    return low if low == high else f"{low} to {high}"


def _packed(bench: str) -> pd.DataFrame:
    rows = bench_rows()
    return rows[(rows.bench == bench) & (rows.path == PACKED)] if len(rows) else rows
