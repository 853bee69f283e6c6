"""Figures of the stored tables: quantizers side by side, depth, single stages, where ranges are measured."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from gnnq_lib.experiments.store import ResultsStore
from gnnq_lib.paths import project_root, results_dir
from gnnq_lib.plotting.propagation import doubling_ticks, lines_against_depth
from gnnq_lib.plotting.registry import figure
from gnnq_lib.plotting.style import FULL_PRECISION_LINE, look, set_finding


@figure("methods_on_cora")
def methods_on_cora(results: pd.DataFrame) -> Figure | None:
    """Accuracy of every INT2 quantizer against its bits per value, started from FP32 weights; FP32 as a dashed line."""
    rows = _test_accuracy(results, "methods_cora")
    full = _test_accuracy(results, "accuracy_public")
    full = full[(full.dataset == "cora") & (full.bits == 32)]
    if rows.empty or full.empty:
        return None
    drawing, axes = plt.subplots()
    table = rows.groupby("method").agg(
        mean=("value", "mean"), std=("value", "std"), n=("value", "size"), bits=("bits_per_value", "max")
    )
    for method, line in table.sort_values("mean", ascending=False).iterrows():
        axes.errorbar(line.bits, line["mean"], line["std"], capsize=3, **{**look(method).line(), "linestyle": "none"})
    axes.axhline(full.value.mean(), **FULL_PRECISION_LINE)
    axes.set_xscale("log", base=2)
    axes.set_xticks([2, 3, 4, 6, 8], ["2", "3", "4", "6", "8"])
    axes.set(xlabel="bits per value, scales included (largest stage)", ylabel="test accuracy (%)")
    axes.legend(fontsize=8, title=f"bars: std over {table.n.max():.0f} seeds; dashed: FP32", title_fontsize=8)
    best = table["mean"].idxmax()
    gap = full.value.mean() - table["mean"].max()
    title = f"Cora, INT2: {look(best).label} comes within {gap:.1f} points of FP32 at {table.bits[best]:.2f} bits"
    set_finding(drawing, title)
    return drawing


@figure("accuracy_by_depth")
def accuracy_by_depth(results: pd.DataFrame) -> Figure | None:
    """Accuracy of SMP against the number of layers, full precision and INT2, mean over seeds."""
    rows = _test_accuracy(results, "depth")
    if rows.empty:
        return None
    configs = _configs("depth")
    rows = rows.assign(layers=rows.config_key.map(lambda key: configs[key]["num_layers"]))
    means = rows.groupby(["method", "layers"]).value.mean().unstack()
    drawing, axes = plt.subplots()
    depths = list(means.columns)
    lines_against_depth(axes, {name: (depths, list(line)) for name, line in means.iterrows()}, "test accuracy (%)")
    doubling_ticks(axes, depths)
    axes.set_ylim(bottom=min(75, means.min().min() - 1))
    drop = (means.max(axis=1) - means[depths[-1]]).max()
    set_finding(drawing, f"SMP at {depths[-1]} layers is at most {drop:.1f} points below its best depth (Cora)")
    return drawing


@figure("loss_by_stage")
def loss_by_stage(results: pd.DataFrame) -> Figure | None:
    """Points lost when one stage alone is quantized to 2 bits, per method."""
    rows = _test_accuracy(results, "stages")
    full = _test_accuracy(results, "accuracy_public")
    full = full[(full.dataset == "cora") & (full.bits == 32)]
    if rows.empty or full.empty:
        return None
    configs = _configs("stages")
    rows = rows.assign(stage=rows.config_key.map(lambda key: _stage_name(configs[key]["stages"])))
    loss = full.value.mean() - rows.groupby(["stage", "method"], sort=False).value.mean().unstack()
    drawing, axes = plt.subplots()
    height = 0.8 / len(loss.columns)
    for i, method in enumerate(loss.columns):
        places = [place + (i - (len(loss.columns) - 1) / 2) * height for place in range(len(loss))]
        axes.barh(places, loss[method], height, color=look(method).color, label=look(method).label)
    axes.set_yticks(range(len(loss)), loss.index)
    axes.invert_yaxis()
    axes.axvline(0, color="black", linewidth=1)
    axes.set_xlabel("points of accuracy lost against FP32 (Cora)")
    axes.legend(fontsize=8)
    single = loss.drop(index="all", errors="ignore")
    method, stage = single.max().idxmax(), single.max(axis=1).idxmax()
    set_finding(
        drawing, f"INT2 at one stage: {stage} of {look(method).label} cost most, {single.max().max():.1f} points"
    )
    return drawing


@figure("range_calibration")
def range_calibration(results: pd.DataFrame) -> Figure | None:
    """INT2 from scratch: ranges measured under evaluation or in training, dropout before or after the quantizer."""
    rows = _test_accuracy(results, "calibration")
    if rows.empty:
        return None
    configs = _configs("calibration")
    rows = rows.assign(
        setting=rows.config_key.map(lambda key: _calibration_name(configs[key])),
        gradient=rows.config_key.map(lambda key: "released" if configs[key]["as_released"] else "correct"),
    )
    methods = list(rows.method.unique())
    drawing, panels = plt.subplots(1, len(methods), sharex=True, sharey=True, figsize=(6.4, 3.2))
    for axes, method in zip(panels, methods):
        table = rows[rows.method == method].groupby(["setting", "gradient"], sort=False).value.agg(["mean", "std"])
        for shift, (gradient, marker, color) in zip((-0.12, 0.12), (("correct", "o", "C0"), ("released", "s", "C1"))):
            part = table.xs(gradient, level="gradient")
            axes.errorbar(part["mean"], [i + shift for i in range(len(part))], xerr=part["std"], fmt=marker, capsize=3,
                          color=color, label=f"{gradient} gradient")  # fmt: skip
        axes.set_yticks(range(len(part)), part.index)
        axes.set_title(look(method).label, fontsize=10)
    panels[0].invert_yaxis()
    panels[-1].legend(fontsize=8)
    drawing.supxlabel("test accuracy (%), Cora, INT2 from scratch; bars: std over seeds", fontsize=9)
    groups = rows.groupby(["method", "gradient", "setting"]).value.agg(["mean", "std"])
    spread = groups["mean"].groupby(level=["method", "gradient"]).agg(lambda means: means.max() - means.min())
    noise = groups["std"].groupby(level=["method", "gradient"]).max()
    clear = int((spread > 2 * noise).sum())
    set_finding(
        drawing,
        f"Where ranges are measured shifts accuracy beyond twice the seeds' spread in {clear} of {len(spread)} cases",
    )
    return drawing


def _test_accuracy(results: pd.DataFrame, experiment: str) -> pd.DataFrame:
    return results[(results.experiment == experiment) & (results.metric == "test_accuracy")]


def _configs(table: str) -> dict[str, dict]:
    """Settings by key, from the same two folders as `all_results`."""
    folders = (project_root() / "data" / "results", results_dir())
    return {key: c for folder in folders for key, c in ResultsStore(folder / f"{table}.csv").configs().items()}


def _stage_name(stages: list[str]) -> str:
    return stages[0] if len(stages) == 1 else "all"


def _calibration_name(config: dict) -> str:
    return f"{config['calibration']} ranges,\n" + ("dropout first" if config["dropout_first"] else "quantizer first")
