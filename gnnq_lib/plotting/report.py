"""Figures of the report: speed-ups beside the paper's factors, error over layers, all models against depth,
recommenders' accuracy against bytes, parts of GNAQ. Each needs only stored results and is left out where they are
missing.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from gnnq_lib.plotting.propagation import doubling_ticks
from gnnq_lib.plotting.registry import figure
from gnnq_lib.plotting.style import BLUE, FULL_PRECISION_LINE, GREY, LOOKS, VERMILION, look, set_finding
from gnnq_lib.reporting.claims import load_claims
from gnnq_lib.reporting.results import Results
from gnnq_lib.reporting.rules import title
from gnnq_lib.reporting.rules_paper_a import inference_rows
from gnnq_lib.reporting.rules_paper_b import main_rows

# GNAQ's settings as people would say them: setting, value -> words.
PARTS = {
    ("node_aware", "False"): "same first levels for all nodes",
    ("placement", "midpoints"): "first levels at midpoints",
    ("placement", "released"): "first levels as released",
    ("refine_steps", "0"): "no refinement",
    ("gradient", "straight_through"): "straight-through gradient",
    ("gradient", "levels"): "levels learn, codes stay",
    ("tanh", "True"): "tanh of the levels",
    ("linear_head", "True"): "linear head",
    ("update_every", "10"): "codes renewed every 10 steps",
    ("anchor", "0"): "no anchor to the teacher",
    ("level_bits", "16"): "levels in 16 bits",
}


@figure("speedup_beside_the_paper")
def speedup_beside_the_paper(results: pd.DataFrame) -> Figure | None:
    """Packed inference of the whole classifier: times faster than the fastest FP32 path, per data set, INT2 and INT4;
    the paper's factors, of an unknown setting, as lines.
    """
    stored = Results.stored()
    table = pd.concat([inference_rows(stored, bits) for bits in (2, 4)])
    if table.empty:
        return None
    factors = table.groupby(["name", "bits"], sort=False).speedup_vs_best_fp32.max().unstack()
    claimed = {claim.arguments["bits"]: claim.number for claim in load_claims() if claim.rule == "speedup"}
    drawing, axes = plt.subplots()
    for shift, (bits, color) in zip((-0.2, 0.2), ((2, VERMILION), (4, BLUE))):
        if bits not in factors:
            continue
        places = [place + shift for place in range(len(factors))]
        axes.barh(places, factors[bits], 0.38, color=color, label=f"INT{bits}", hatch="" if bits == 2 else "//")
        axes.axvline(claimed[str(bits)], color=color, linestyle="--" if bits == 2 else ":", linewidth=1.2)
    axes.axvline(1, color="black", linewidth=1)
    axes.set_yticks(range(len(factors)), [title(name) for name in factors.index])
    axes.invert_yaxis()
    axes.set_xlabel("times faster than the fastest FP32 path")
    axes.legend(fontsize=8, title="lines: the paper's factors", title_fontsize=8)
    reached = sum(int((factors[bits] >= claimed[str(bits)]).sum()) for bits in (2, 4) if bits in factors)
    set_finding(drawing, f"The paper's factor is reached in {reached} of {factors.count().sum()} cases")
    return drawing


@figure("error_over_layers")
def error_over_layers(results: pd.DataFrame) -> Figure | None:
    """Relative error of INT2 propagation against layers on Cora, mean over seeds: with teleport, as in SMP's base step,
    it levels off; without it (hollow marks) it goes on growing.
    """
    rows = _error_rows()
    if rows.empty:
        return None
    drawing, axes = plt.subplots()
    for method in rows.method.unique():
        for teleport, fill, line in ((0.1, "full", "-"), (0.0, "none", ":")):
            part = rows[(rows.method == method) & (rows.teleport == teleport)].groupby("layer").value.mean()
            style = look(method).line()
            style["label"] = style["label"] if teleport else "_nolegend_"
            axes.plot(part.index, part.values, fillstyle=fill, linestyle=line, **style)
    doubling_ticks(axes, sorted(rows.layer.unique()))
    axes.set(xlabel="layers", ylabel="relative error of H")
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=8, title="hollow, dotted: without teleport", title_fontsize=8)
    deepest = rows.layer.max()
    means = rows[rows.teleport > 0].groupby(["layer", "method"]).value.mean()
    growth = (means[deepest] / means[8]).max()
    set_finding(
        drawing, f"With teleport the error at {deepest} layers is at most {growth:.2f} times that at 8 (Cora, INT2)"
    )
    return drawing


def _error_rows() -> pd.DataFrame:
    rows = Results.stored().rows
    rows = rows[(rows.experiment == "paper_error_growth") & rows.metric.str.startswith("relative_error@")]
    return rows.assign(layer=[int(metric.split("@")[1]) for metric in rows.metric])


@figure("depth_of_all_models")
def depth_of_all_models(results: pd.DataFrame) -> Figure | None:
    """Test accuracy on Cora against the number of layers, FP32, all models, mean over seeds."""
    rows = Results.stored().select("test_accuracy", "paper_depth_cora_baselines", dataset="cora", method="fp32")
    if rows.empty:
        return None
    means = rows.groupby(["model", "num_layers"]).value.mean().unstack()
    drawing, axes = plt.subplots(figsize=(5.4, 4.2))
    for model, line in means.iterrows():
        axes.plot(means.columns, line, **look(model).line())
    doubling_ticks(axes, list(means.columns))
    axes.set(xlabel="layers", ylabel="test accuracy (%)")
    axes.legend(fontsize=8, ncols=3, loc="lower left")
    best = means[means.columns.max()].idxmax()
    set_finding(
        drawing, f"At {means.columns.max():.0f} layers {look(best).label} is best: {means.loc[best].iloc[-1]:.1f} %"
    )
    return drawing


@figure("recommenders_by_bytes")
def recommenders_by_bytes(results: pd.DataFrame) -> Figure | None:
    """NDCG@10 of every stored table against its bytes, per data set, D = 64, mean over seeds; FP32 as a dashed line."""
    stored = Results.stored()
    ranking, sizes = main_rows(stored, "ndcg@10"), main_rows(stored, "model_bytes")
    if ranking.empty or "gnaq" not in set(ranking.method):
        return None
    keys = ["dataset", "method", "bits"]
    table = pd.concat({"ndcg": ranking.groupby(keys).value.mean(), "bytes": sizes.groupby(keys).value.mean()}, axis=1)
    datasets = list(dict.fromkeys(table.index.get_level_values("dataset")))
    drawing, panels = plt.subplots(1, len(datasets), figsize=(2.0 + 2.6 * len(datasets), 3.9), squeeze=False)
    colours = dict(zip(dict.fromkeys(table.index.get_level_values("method")), _marks()))
    for panel, dataset in zip(panels[0], datasets):
        part = table.loc[dataset]
        for (method, bits), line in part.iterrows():
            color, marker = ("black", "*") if method == "fp32" else colours[method]
            panel.plot(line.bytes / 1024, line.ndcg, marker, color=color, label=f"{title(method)}, {bits:.0f} bit")
        panel.axhline(part.loc["fp32"].ndcg.max() if "fp32" in part.index else float("nan"), **FULL_PRECISION_LINE)
        panel.set(xscale="log", xlabel="KiB of the table", title=title(dataset))
    panels[0][0].set_ylabel("NDCG@10")
    handles, labels = panels[0][-1].get_legend_handles_labels()
    drawing.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8)
    gnaq = table.xs(("gnaq", 2), level=("method", "bits")).ndcg
    full = table.xs("fp32", level="method").ndcg.groupby(level="dataset").max()
    change = 100 * (gnaq / full - 1)
    set_finding(drawing, f"GNAQ at 2 bits: NDCG@10 {change.min():+.1f} to {change.max():+.1f} % against FP32")
    return drawing


def _marks() -> list[tuple[str, str]]:
    looks = [LOOKS[name] for name in ("smp", "appnp", "emp", "gcn", "gcnii", "dagnn", "pairnorm", "dropedge", "sgc")]
    return [(one.color, one.marker) for one in looks]


@figure("parts_of_gnaq")
def parts_of_gnaq(results: pd.DataFrame) -> Figure | None:
    """Change of NDCG@10 when one part of GNAQ is changed, against the default, mean over seeds, per data set."""
    rows = Results.stored().select("ndcg@10", "rec_ablations", method="gnaq", bits=2)
    if rows.empty:
        return None
    rows = rows.assign(part=[_part(row) for _, row in rows.iterrows()])
    means = rows.groupby(["part", "dataset"], sort=False).value.mean().unstack()
    if "default" not in means.index or len(means) < 2:
        return None
    change = 100 * (means / means.loc["default"] - 1).drop(index="default")
    drawing, axes = plt.subplots(figsize=(5.4, 4.2))
    height = 0.8 / len(change.columns)
    for i, (dataset, color) in enumerate(zip(change.columns, (BLUE, VERMILION, GREY))):
        places = [place + (i - (len(change.columns) - 1) / 2) * height for place in range(len(change))]
        axes.barh(places, change[dataset], height, color=color, label=title(dataset), hatch=("", "//", "..")[i % 3])
    axes.set_yticks(range(len(change)), change.index)
    axes.invert_yaxis()
    axes.axvline(0, color="black", linewidth=1)
    axes.set_xlabel("change of NDCG@10 (%)")
    axes.legend(fontsize=8)
    worst = change.mean(axis=1).idxmin()
    set_finding(drawing, f"Changing one part of GNAQ: “{worst}” costs most, {change.mean(axis=1).min():+.1f} % NDCG@10")
    return drawing


def _part(row: pd.Series) -> str:
    """The one setting that departs from the default, in words."""
    for (name, value), words in PARTS.items():
        given = row.get(name)
        text = str(int(given)) if isinstance(given, float) and given.is_integer() else str(given)
        if text == value:
            return words
    return "default"
