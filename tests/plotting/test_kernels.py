"""Figures of speed: what is drawn is what the rows say; without rows there is no figure."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from gnnq_lib.naming import PACKED
from gnnq_lib.plotting import kernels
from gnnq_lib.plotting.kernels import cost_by_edges, roofline, speedup_bars


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


def _row(**values):
    common = {"bench": "spmm", "case": "a", "variant": "normalised", "bits": 2, "path": PACKED, "median_ms": 1.0}
    return {**common, "bytes": 1000, "speedup_vs_best_fp32": 4.0, **values}


def test_bars_have_the_rows_lengths_and_the_papers_lines():
    rows = pd.DataFrame([_row(), _row(bits=4, speedup_vs_best_fp32=3.0), _row(case="b", speedup_vs_best_fp32=0.5)])
    axes = speedup_bars(rows, {2: 5.11, 4: 4.70, 8: 1.0}).axes[0]
    assert sorted(bar.get_width() for bar in axes.patches if bar.get_width() > 0) == [0.5, 3.0, 4.0]
    assert {line.get_xdata()[0] for line in axes.lines} == {1, 5.11, 4.70}


def test_roofline_points():
    points = [{"bits": 32, "additions": 4e6, "bytes": 16e6, "median_ms": 2.0}]
    axes = roofline(points, gb_per_s=10, peak=50).axes[0]
    assert [line.get_xydata().tolist() for line in axes.lines if len(line.get_xdata()) == 1] == [[[0.25, 2.0]]]
    limit = axes.lines[0].get_ydata()
    assert limit.max() == 50 and limit[0] == pytest.approx(axes.lines[0].get_xdata()[0] * 10)


def test_cost_takes_the_fastest_variant():
    rows = [_row(edges=e, median_ms=m, limit_gb_per_s=1.0) for e, m in ((10, 2.0), (10, 1.0), (100, 5.0))]
    axes = cost_by_edges(pd.DataFrame(rows)).axes[0]
    assert axes.lines[0].get_ydata().tolist() == [1.0, 5.0]
    assert axes.lines[1].get_ydata().tolist() == [1e-3, 1e-3]  # 1000 bytes at 1 GB/s


def _sweep():
    for bits, path, per_edge in ((32, "fp32", 1e-3), (2, PACKED, 1e-4), (2, "peer", 1e-9)):
        for edges, width in ((1000, 8), (10_000, 8), (100_000, 8), (10_000, 16)):
            ms = per_edge * edges * width / 8
            yield _row(bits=bits, path=path, edges=edges, width=width, median_ms=ms, limit_gb_per_s=1.0)


def test_scaling_shows_edges_and_widths_and_compares_both_ends(monkeypatch):
    monkeypatch.setattr(kernels, "bench_rows", lambda: pd.DataFrame([*_sweep(), _row()]))
    drawing = kernels.kernel_scaling(pd.DataFrame())
    left, right = drawing.axes
    assert left.lines[0].get_xdata().tolist() == [1000, 10_000, 100_000]
    assert left.lines[0].get_ydata().tolist() == pytest.approx([0.1, 1.0, 10.0])
    assert right.lines[0].get_xdata().tolist() == [8, 16]
    assert left.lines[1].get_ydata().tolist() == pytest.approx([1e-3] * 3)  # 1000 bytes at 1 GB/s
    title = drawing.get_suptitle().replace("\n", " ")
    assert title == "INT2 is 10.0 times as fast as PyTorch's FP32 at 100,000 edges, 10.0 times at 1,000"


def test_scaling_needs_two_sizes_of_each(monkeypatch):
    one = next(_sweep())
    monkeypatch.setattr(kernels, "bench_rows", lambda: pd.DataFrame([one]))
    assert kernels.kernel_scaling(pd.DataFrame()) is None


@pytest.mark.parametrize("name", ["kernel_speedups", "kernel_scaling", "similarity_recall"])
def test_figures_need_their_rows(name, monkeypatch):
    monkeypatch.setattr(kernels, "bench_rows", pd.DataFrame)
    assert getattr(kernels, name)(pd.DataFrame()) is None
    monkeypatch.setattr(kernels, "bench_rows", lambda: pd.DataFrame([_row(bench="other")]))
    assert getattr(kernels, name)(pd.DataFrame()) is None


def test_kernel_figure_leaves_out_the_sweep(monkeypatch):
    rows = pd.DataFrame([_row(), _row(variant="new result", speedup_vs_best_fp32=5.0), _row(case="swept", edges=10.0)])
    monkeypatch.setattr(kernels, "bench_rows", lambda: rows)
    axes = kernels.kernel_speedups(pd.DataFrame()).axes[0]
    assert [bar.get_width() for bar in axes.patches] == [5.0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a"]
