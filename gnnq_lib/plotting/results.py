"""Figures of the stored tables: quantizers side by side, depth, single stages, where ranges are measured."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from gnnq_lib.experiments.store import ResultsStore
from gnnq_lib.paths import project_root, results_dir
from gnnq_lib.plotting.propagation import doubling_ticks, lines_against_depth, runs_text
from gnnq_lib.plotting.registry import figure
from gnnq_lib.plotting.style import FULL_PRECISION_LINE, SMALL_LETTERS, WIDTH_INCHES, look, set_finding
from gnnq_lib.reporting.paper_accuracy import int2_from_scratch
from gnnq_lib.reporting.results import Results
from gnnq_lib.reporting.statistics import holm, mean_test, significant

FAILED_SPREAD = 10.0  # points of standard deviation beyond which some seeds of a setting failed


@figure(
    "methods_on_cora",
    tables=("methods_cora", "methods_cora_scratch", "paper_switches", "paper_methods_cora", "paper_public_cora"),
)
def methods_on_cora(results: pd.DataFrame) -> Figure | None:
    """Accuracy of every INT2 quantizer on Cora, best first, a row each, with its bits per value at the right end
    (largest stage, scales included): filled marks start from FP32 weights, hollow ones from scratch (all seeds of all
    tables), mean and standard deviation over seeds; FP32 as a dashed line.
    """
    rows = _test_accuracy(results, "methods_cora")
    full = _test_accuracy(results, "accuracy_public")
    full = full[(full.dataset == "cora") & (full.bits == 32)]
    if rows.empty or full.empty:
        return None
    table = rows.groupby("method").value.agg(["mean", "std", "size"]).sort_values("mean", ascending=False)
    bits = rows.groupby("method").bits_per_value.max()
    hollow = int2_from_scratch(Results.stored())
    scratch = hollow[hollow.dataset == "cora"].groupby("method").value.agg(["mean", "std", "size"])
    scratch = scratch.reindex(table.index).dropna(subset="mean")
    drawing, axes = plt.subplots(figsize=(WIDTH_INCHES, 1.6 + 0.32 * len(table)))
    for fill, below, part in (("none", 0.17, scratch), ("full", -0.17, table)):
        for method, line in part.iterrows():
            style = {**look(method).line(), "label": None, "linestyle": "none", "fillstyle": fill, "markersize": 6}
            axes.errorbar(line["mean"], table.index.get_loc(method) + below, xerr=line["std"], capsize=2, **style)
    axes.axvline(full.value.mean(), **FULL_PRECISION_LINE)
    axes.set_yticks(range(len(table)), [look(method).label for method in table.index], fontsize=10)
    axes.invert_yaxis()
    right = {"transform": axes.get_yaxis_transform(), "va": "center", "fontsize": 10}
    axes.text(1.03, -0.9, "bits", **right)
    for place, method in enumerate(table.index):
        axes.text(1.03, place, f"{bits[method]:.2f}", **right)
    axes.set_xlabel("test accuracy (%)")
    seeds = [f"{kind} ({runs_text(part['size'])})" for kind, part in (
        ("filled: from FP32 weights", table), ("hollow: from scratch", scratch)) if len(part)]  # fmt: skip
    drawing.supxlabel(f"{'; '.join(seeds)}\nbars: standard deviation; dashed: FP32", fontsize=SMALL_LETTERS)
    best = table["mean"].idxmax()
    gap = full.value.mean() - table["mean"].max()
    set_finding(
        drawing,
        f"Cora, INT2 from FP32 weights: '{look(best).label}' is {gap:.1f} points below FP32 at {bits[best]:.2f} bits "
        f"per value ({runs_text(table['size'][[best]])})",
    )
    return drawing


@figure("accuracy_by_depth", tables=("depth",))
def accuracy_by_depth(results: pd.DataFrame) -> Figure | None:
    """Test accuracy of SMP on Cora against the number of layers, 2 to 64, full precision and INT2, mean and standard
    deviation over seeds.
    """
    rows = _test_accuracy(results, "depth")
    if rows.empty:
        return None
    configs = _configs("depth")
    rows = rows.assign(layers=rows.config_key.map(lambda key: configs[key]["num_layers"]))
    groups = rows.groupby(["method", "layers"]).value
    means, spreads = groups.mean().unstack(), groups.std().unstack()
    drawing, axes = plt.subplots()
    depths = list(means.columns)
    lines = {name: (depths, list(line)) for name, line in means.iterrows()}
    labels = {name: f"INT2, {look(name).label}" for name in lines if name != "fp32"}
    lines_against_depth(axes, lines, "test accuracy (%)", labels=labels,
                        spreads={name: list(line) for name, line in spreads.iterrows()})  # fmt: skip
    doubling_ticks(axes, depths)
    drop = means.max(axis=1) - means[depths[-1]]
    worst = drop.idxmax()
    set_finding(
        drawing,
        f"SMP at {depths[-1]} layers is at most {drop.max():.1f} points below its best depth (Cora, "
        f"{runs_text(groups.size())}); there the seeds' standard deviation is {spreads[depths[-1]][worst]:.1f}",
    )
    return drawing


@figure("loss_by_stage", tables=("stages",))
def loss_by_stage(results: pd.DataFrame) -> Figure | None:
    """Points of accuracy on Cora that are lost when one stage alone is quantized to 2 bits, and when all are, a bar per
    quantizer, mean and standard deviation over the seeds that both have; bars to the left are gains.
    """
    rows = _test_accuracy(results, "stages")
    full = _test_accuracy(results, "accuracy_public")
    full = full[(full.dataset == "cora") & (full.bits == 32)]
    if rows.empty or full.empty:
        return None
    configs = _configs("stages")
    rows = rows.assign(stage=rows.config_key.map(lambda key: _stage_name(configs[key]["stages"])))
    rows = rows.assign(lost=rows.seed.map(full.groupby("seed").value.mean()) - rows.value).dropna(subset="lost")
    groups = rows.groupby(["stage", "method"], sort=False).lost
    loss, spread = groups.mean().unstack(), groups.std().unstack()
    drawing, axes = plt.subplots()
    height = 0.8 / len(loss.columns)
    for i, method in enumerate(loss.columns):
        places = [place + (i - (len(loss.columns) - 1) / 2) * height for place in range(len(loss))]
        axes.barh(places, loss[method], height, xerr=spread[method], capsize=2, color=look(method).color,
                  label=look(method).label, error_kw={"elinewidth": 1})  # fmt: skip
    axes.set_yticks(range(len(loss)), loss.index)
    axes.invert_yaxis()
    axes.axvline(0, color="black", linewidth=1)
    axes.set_xlabel("points of accuracy lost against FP32 (Cora)")
    axes.legend()
    single = loss.drop(index="all", errors="ignore")
    method, stage = single.max().idxmax(), single.max(axis=1).idxmax()
    tests, gains = [mean_test(part) for _, part in groups], int((loss < 0).sum().sum())
    clear = sum(t.difference < 0 and significant(p) for t, p in zip(tests, holm([t.p_value for t in tests])))
    set_finding(
        drawing,
        f"INT2 at one stage: {stage} of {look(method).label} cost most, {loss.loc[stage, method]:.1f} \u00b1 "
        f"{spread.loc[stage, method]:.1f} points ({runs_text(groups.size())}); {gains} of {loss.size} "
        f"bars are gains, {clear or 'none'} of them clear (t-tests, Holm, 5 %)",
    )
    return drawing


@figure("range_calibration", tables=("calibration",))
def range_calibration(results: pd.DataFrame) -> Figure | None:
    """Test accuracy on Cora, INT2 from scratch, a panel per quantizer: ranges measured under evaluation or in training,
    dropout before or after the quantizer, with the correct gradient of the range factor and that of the release.
    """
    rows = _test_accuracy(results, "calibration")
    if rows.empty:
        return None
    configs = _configs("calibration")
    rows = rows.assign(
        setting=rows.config_key.map(lambda key: _calibration_name(configs[key])),
        gradient=rows.config_key.map(lambda key: "released" if configs[key]["as_released"] else "correct"),
    )
    methods = list(rows.method.unique())
    drawing, panels = plt.subplots(1, len(methods), sharex=True, sharey=True, figsize=(WIDTH_INCHES, 3.8))
    for axes, method in zip(panels, methods):
        table = rows[rows.method == method].groupby(["setting", "gradient"], sort=False).value.agg(["mean", "std"])
        for shift, (gradient, marker, color) in zip((-0.12, 0.12), (("correct", "o", "C0"), ("released", "s", "C1"))):
            part = table.xs(gradient, level="gradient")
            axes.errorbar(part["mean"], [i + shift for i in range(len(part))], xerr=part["std"], fmt=marker, capsize=3,
                          color=color, label=f"{gradient} gradient")  # fmt: skip
        axes.set_yticks(range(len(part)), part.index, fontsize=SMALL_LETTERS)
        axes.set_title(look(method).label)
        axes.set_xlabel("test accuracy (%)")
    panels[0].invert_yaxis()
    drawing.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2,
                   title="bars: standard deviation over seeds")  # fmt: skip
    set_finding(drawing, f"Cora, INT2 from scratch, where ranges are measured: {_calibration_finding(rows)}")
    return drawing


def _calibration_finding(rows: pd.DataFrame) -> str:
    """Whether where ranges are measured matters, a case per method and gradient; a setting some of whose seeds failed
    is not compared, since beside its spread no difference would show.
    """
    by = ["method", "gradient", "setting"]
    groups = rows.groupby(by).value.agg(["mean", "std", "size"])
    failed = groups[groups["std"] > FAILED_SPREAD]
    kept = groups.drop(failed.index)
    cases = kept.groupby(level=["method", "gradient"])
    spread, noise = cases["mean"].agg(lambda means: means.max() - means.min()), cases["std"].max()
    clear = int((spread > 2 * noise).sum())
    found = f"it has an effect in {clear} of {len(spread)} cases" if clear else "no effect found"
    text = f"{found} (differences above twice the seeds' standard deviation; {runs_text(groups['size'])})"
    return text + (
        f"; {len(failed)} setting{'s' * (len(failed) > 1)} with a failed seed left out" if len(failed) else ""
    )


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
