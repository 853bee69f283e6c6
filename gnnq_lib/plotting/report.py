"""Figures of the report: speed-ups with the paper's factors, accuracy against bits per value, error and energy over
layers, all models against depth, switches of the release. Each needs only stored results and is left out where they are
missing; recommenders' figures are in `plotting.recommendation`.
"""

from __future__ import annotations

import textwrap

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, NullLocator, StrMethodFormatter

from gnnq_lib.experiments.store import mean_and_spread
from gnnq_lib.naming import DATASET_TITLES, dataset_title
from gnnq_lib.plotting.kernels import speedup_bars, speedup_range
from gnnq_lib.plotting.propagation import doubling_ticks, runs_text
from gnnq_lib.plotting.registry import figure
from gnnq_lib.plotting.style import (
    BLUE,
    FULL_PRECISION_LINE,
    SMALL_LETTERS,
    VERMILION,
    WIDTH_INCHES,
    look,
    set_finding,
)
from gnnq_lib.reporting.claims import load_claims
from gnnq_lib.reporting.paper_accuracy import FORMS, SCHEMES, points_lost
from gnnq_lib.reporting.results import Results, plain
from gnnq_lib.reporting.rules_paper_a import inference_rows


@figure("inference_speedups")
def inference_speedups(results: pd.DataFrame) -> Figure | None:
    """The whole classifier, packed: how many times as fast as the fastest FP32 path, a group of bars per graph, a bar
    per width; the dashed black line is FP32 itself, the coloured ones paper A's two factors, of an unknown setting.
    """
    stored = Results.stored()
    table = pd.concat([inference_rows(stored, bits) for bits in (2, 4, 8)])
    if table.empty:
        return None
    claimed = {int(claim.arguments["bits"]): claim.number for claim in load_claims() if claim.rule == "speedup"}
    drawing = speedup_bars(table, claimed)
    reached = table.speedup_vs_best_fp32 >= table.bits.map(claimed)
    possible = int(table.bits.isin(list(claimed)).sum())
    set_finding(
        drawing,
        f"Whole classifier, INT2: {speedup_range(table, 2)} times as fast as the fastest FP32; the paper's factors are "
        f"reached in {int(reached.sum()) or 'none'} of {possible} cases",
    )
    return drawing


@figure("error_over_layers", tables=("paper_error_growth",))
def error_over_layers(results: pd.DataFrame) -> Figure | None:
    """Relative error of INT2 propagation against layers on Cora, logarithmic, mean over seeds with bars from the
    smallest to the largest: with teleport, as in SMP's base step, and without it (hollow, dotted).
    """
    rows = _per_layer("paper_error_growth", ("relative_error",))
    if rows.empty:
        return None
    drawing, axes = plt.subplots(figsize=(WIDTH_INCHES, 4.2))
    for method in rows.method.unique():
        for teleport, fill, line in ((0.1, "full", "-"), (0.0, "none", ":")):
            part = rows[(rows.method == method) & (rows.teleport == teleport)].groupby("layer").value
            style = look(method).line()
            style["label"] = style["label"] if teleport else "_nolegend_"
            reach = [part.mean() - part.min(), part.max() - part.mean()]
            axes.errorbar(part.mean().index, part.mean(), reach, fillstyle=fill, linestyle=line, capsize=2, **style)
    doubling_ticks(axes, sorted(rows.layer.unique()))
    axes.set(xlabel="layers", ylabel="relative error", yscale="log")
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_yticks([ticks for ticks in (0.25, 0.5, 1, 2, 4) if ticks < 2 * rows.value.max()])
    drawing.legend(*axes.get_legend_handles_labels(), ncols=2, loc="outside lower center",
                   title="hollow, dotted: without teleport; bars: smallest to largest seed")  # fmt: skip
    deepest = rows.layer.max()
    means = rows.groupby(["teleport", "layer", "method"]).value.mean()
    growth = {on: means[on][deepest] / means[on][8] for on in (0.1, 0.0) if on in means and 8 in means[on]}
    parts = [
        f"{words} at most {growth[on].max():.2f} times" for on, words in ((0.1, "with teleport"), (0.0, "without"))
        if on in growth
    ]  # fmt: skip
    seeds = rows.groupby(["teleport", "layer", "method"]).value.size()
    set_finding(
        drawing,
        f"The error at {deepest} layers is {' and '.join(parts)} that at 8 (Cora, INT2, {runs_text(seeds)})",
    )
    return drawing


def _per_layer(experiment: str, measures: tuple[str, ...]) -> pd.DataFrame:
    """Rows of metrics such as relative_error@8, with the columns `measure` and `layer`."""
    rows = Results.stored().rows
    rows = rows[(rows.experiment == experiment) & rows.metric.astype(str).str.split("@").str[0].isin(measures)]
    parts = [metric.split("@") for metric in rows.metric]
    return rows.assign(measure=[name for name, _ in parts], layer=[int(layer) for _, layer in parts])


@figure("energy_over_layers", tables=("paper_energy",))
def energy_over_layers(results: pd.DataFrame) -> Figure | None:
    """Relative Dirichlet energy (left) and mean average distance of neighbours (right) after every layer of models
    trained on Cora, logarithmic, mean over seeds with a band from the smallest to the largest: GCN, APPNP, EMP and SMP
    in FP32, SMP in INT2 (hollow, dashed). SMP, APPNP and EMP start at their class scores before propagation and level
    off, INT2 higher than FP32; a GCN's line ends at its last hidden layer, above its lowest point.
    """
    rows = _per_layer("paper_energy", ("dirichlet_energy", "mean_average_distance"))
    if rows.empty:
        return None
    # What a GCN holds last are class scores, of which there are no earlier ones to compare with.
    rows = rows[~((rows.model == "gcn") & (rows.layer == rows.num_layers))]
    table = rows.groupby(["measure", "model", "method", "layer"], sort=False).value.agg(["mean", "min", "max", "size"])
    drawing, panels = plt.subplots(1, 2, figsize=(WIDTH_INCHES, 3.9))
    labels = {"dirichlet_energy": "Dirichlet energy / |H|²", "mean_average_distance": "mean average distance"}
    for axes, (measure, label) in zip(panels, labels.items()):
        for (model, method), line in table.loc[measure].groupby(["model", "method"], sort=False):
            style, line = look(model).line(), line.droplevel(["model", "method"]).sort_index()
            if method != "fp32":
                style |= {"label": f"{style['label']}, INT2", "fillstyle": "none", "linestyle": "--"}
            axes.plot(line.index, line["mean"], **style)
            axes.fill_between(line.index, line["min"], line["max"], color=style["color"], alpha=0.15, linewidth=0)
        axes.set(xlabel="layers", ylabel=label, yscale="log")
        doubling_ticks(axes, _powers_of_two(rows.layer))
    handles = panels[0].get_legend_handles_labels()
    drawing.legend(*handles, ncols=len(handles[1]), loc="outside lower center", title="bands: smallest to largest seed")
    set_finding(drawing, _energy_finding(table.loc["dirichlet_energy"]))
    return drawing


def _powers_of_two(depths: pd.Series) -> list[int]:
    """The depths to label on an axis to base 2: those that are powers of two, and 0."""
    return [depth for depth in sorted(depths.astype(int).unique()) if depth & (depth - 1) == 0]


def _energy_finding(energy: pd.DataFrame) -> str:
    """How far SMP's energy moves once it has levelled off, and a GCN's against it: at its lowest and at its end."""
    models = energy.xs("fp32", level="method") if "fp32" in energy.index.get_level_values("method") else energy.iloc[:0]
    lines = {name: part.droplevel("model") for name, part in models.groupby(level="model")}
    if "smp" not in lines or 8 not in lines["smp"].index:
        return "Energy over layers on Cora"
    smp = lines["smp"]["mean"]
    deepest = smp.index.max()
    change = 100 * abs(smp[deepest] / smp[8] - 1)
    text = f"From 8 to {deepest} layers SMP's energy changes by {change:.0f} %"
    seeds = runs_text(energy["size"])
    if "gcn" not in lines:
        return f"{text} (Cora, {seeds})"
    gcn = lines["gcn"]
    share = (gcn["mean"] / smp).dropna()
    lowest, last = share.idxmin(), gcn.index.max()
    end = 100 * gcn.loc[last, ["mean", "min", "max"]] / smp[deepest]
    return (
        f"{text}; a GCN's is {100 * share.min():.0f} % of SMP's after {lowest} layers and {end['mean']:.0f} % "
        f"({end['min']:.0f} to {end['max']:.0f}) after {last}, its last hidden one (Cora, {seeds})"
    )


PER_VALUE = "accuracy_public|paper_public_*|paper_methods_*|methods_cora*|paper_switches"


@figure(
    "accuracy_by_bits_per_value",
    tables=(
        "accuracy_public",
        "methods_cora",
        "methods_cora_scratch",
        "paper_methods_cora",
        "paper_methods_citeseer",
        "paper_public_cora",
        "paper_switches",
    ),
)
def accuracy_by_bits_per_value(results: pd.DataFrame) -> Figure | None:
    """Test accuracy of SMP against bits per value (largest stage, scales included) with every quantizer that is stored
    at several widths, a panel per data set (public splits), mean and standard deviation over seeds; filled marks start
    from FP32 weights, hollow ones from scratch; FP32 as a dashed line. All at 2 bits: `methods_on_cora`.
    """
    stored = Results.stored()
    rows = plain(stored.select("test_accuracy", PER_VALUE, split="public"))
    rows = rows.drop_duplicates(["dataset", "method", "bits", "start", "seed"])
    full, low = rows[rows.bits == 32], rows[rows.bits < 32]
    datasets = [name for name in ("cora", "citeseer", "pubmed") if name in set(low.dataset) & set(full.dataset)]
    if not datasets:
        return None
    drawing, panels = plt.subplots(1, len(datasets), figsize=(WIDTH_INCHES, 4.8), sharey=True, squeeze=False)
    table = low.groupby(["dataset", "method", "start", "bits"]).agg(
        mean=("value", "mean"), std=("value", "std"), at=("bits_per_value", "max"), n=("value", "size")
    )
    shown = {}
    for axes, dataset in zip(panels[0], datasets):
        for (method, start), line in table.loc[dataset].groupby(["method", "start"]):
            if len(line) < 2:
                continue
            hollow = {"fillstyle": "none", "linestyle": ":"} if start == "scratch" else {"fillstyle": "full"}
            drawn = axes.errorbar(line["at"], line["mean"], line["std"], capsize=2, **{**look(method).line(), **hollow})
            if start != "scratch" or look(method).label not in shown:
                shown[look(method).label] = drawn
        axes.axhline(full[full.dataset == dataset].value.mean(), **FULL_PRECISION_LINE)
        axes.set_xscale("log", base=2)
        axes.set_xticks([2, 4, 8], ["2", "4", "8"])
        axes.set_title(dataset_title(dataset))
    panels[0][0].set_ylabel("test accuracy (%)")
    panels[0][len(datasets) // 2].set_xlabel("bits per value of the largest stage, scales included")
    drawing.legend(shown.values(), shown.keys(), ncols=3, loc="outside lower center",
                   title="hollow: from scratch; bars: standard deviation over seeds; dashed: FP32")  # fmt: skip
    set_finding(drawing, _per_value_finding(table, full, datasets))
    return drawing


def _per_value_finding(table: pd.DataFrame, full: pd.DataFrame, datasets: list[str]) -> str:
    """At the fewest bits: the best quantizer under 3 bits per value on the first data set, and what it loses."""
    here = table.loc[datasets[0]].reset_index()
    few = here[here["at"] <= 3]
    if few.empty:
        return "Accuracy against bits per value"
    best = few.loc[few["mean"].idxmax()]
    loss = full[full.dataset == datasets[0]].value.mean() - best["mean"]
    start = "scratch" if best.start == "scratch" else "FP32 weights"
    return (
        f"Under 3 bits per value '{look(best.method).label}' from {start} loses least on {dataset_title(datasets[0])}: "
        f"{loss:.1f} points at {best['at']:.2f} bits (n = {best['n']:.0f})"
    )


@figure("depth_of_all_models", tables=("depth", "paper_depth_cora_baselines", "paper_depth_cora_int2"))
def depth_of_all_models(results: pd.DataFrame) -> Figure | None:
    """Test accuracy on Cora against the number of layers, all models, mean and standard deviation over seeds (one run
    where there is no bar): FP32 and, in a second column if stored, INT2 (a power of two per node, from FP32 weights).
    The vertical axis is broken: above, the range in which most models are; below, the rest, at a smaller scale.
    """
    stored = Results.stored()
    rows = stored.select("test_accuracy", "depth|paper_depth_cora_baselines", dataset="cora", method="fp32")
    if rows[rows.num_layers == rows.num_layers.max()].model.nunique() < 2:
        return None  # half-way through the table: one model cannot be compared
    low = stored.select("test_accuracy", "depth|paper_depth_cora_int2", dataset="cora", method="node_pow2", bits=2)
    parts = {"FP32": rows, "INT2": low} if len(low) else {"FP32": rows}
    drawing, panels = plt.subplots(
        2, len(parts), figsize=(WIDTH_INCHES, 5.2), sharex="col", sharey="row", squeeze=False, height_ratios=(2.2, 1)
    )
    for (above, below), (name, part) in zip(panels.T, parts.items()):
        table = part.groupby(["model", "num_layers"]).value.agg(["mean", "std"])
        for model, line in table.groupby("model"):
            line = line.droplevel("model")  # models may have different depths
            for axes in (above, below):
                axes.errorbar(line.index, line["mean"], line["std"], capsize=2, **look(model).line())
        doubling_ticks(below, _powers_of_two(part.num_layers))
        above.tick_params(bottom=False, labelbottom=False)
        below.set(xlabel="layers")
        above.set_title(name if len(parts) > 1 else "", loc="left")
    values = pd.concat(parts.values()).value
    panels[0][0].set_ylim(BROKEN_AT, max(values.max(), BROKEN_AT) + 1)
    panels[1][0].set_ylim(min(values.min(), BROKEN_AT - 5) - 3, BROKEN_AT)
    drawing.supylabel("test accuracy (%)", fontsize=11)
    shown = {label: line for axes in panels[0] for line, label in zip(*axes.get_legend_handles_labels())}
    drawing.legend(shown.values(), shown.keys(), ncols=4, loc="outside lower center")
    set_finding(drawing, _at_the_deepest(parts))
    return drawing


BROKEN_AT = 70.0  # per cent, where the axis of `depth_of_all_models` changes its scale


def _at_the_deepest(parts: dict[str, pd.DataFrame]) -> str:
    """What SMP has at the deepest in each precision (the best model, where SMP is not stored), and the worst model in
    full precision.
    """
    deepest = max(rows.num_layers.max() for rows in parts.values())
    tables = {
        name: rows[rows.num_layers == deepest].groupby("model").value.agg(["mean", "size"]).sort_values("mean")
        for name, rows in parts.items()
    }
    best = tables["FP32"].index[-1]
    model = "smp" if all("smp" in table.index for table in tables.values()) else best
    kept = {name: table["mean"][model] for name, table in tables.items() if model in table.index}
    means = " and ".join(f"{mean:.1f} % in {name}" for name, mean in kept.items())
    worst = tables["FP32"].iloc[0]
    counts = runs_text(pd.concat([table["size"] for table in tables.values()]))
    lowest = f"{look(worst.name).label} has {worst['mean']:.1f} % in FP32"
    return f"At {deepest:.0f} layers {look(model).label} has {means}; {lowest} (Cora, {counts})"


LOSS_TICKS = (0, 2, 10, 50)


@figure("points_lost_by_form", tables=("paper_public_cora", "paper_public_citeseer", "paper_random_cora"))
def points_lost_by_form(results: pd.DataFrame) -> Figure | None:
    """Points of test accuracy that each low-bit form of paper A's table loses against FP32 of the same scheme, a panel
    per data set and split, a mark per scheme: mean, bars are the low-bit runs' standard deviation. The axis is linear
    to 2 points and logarithmic beyond; gains are left of 0.
    """
    table = points_lost(Results.stored())
    if table.empty:
        return None
    places = list(table.groupby(["split", "dataset"]).groups)
    places.sort(key=lambda place: (place[0], list(DATASET_TITLES).index(place[1])))
    columns = min(3, len(places))
    lines = -(-len(places) // columns)
    drawing, panels = plt.subplots(
        lines, columns, figsize=(WIDTH_INCHES, 1.3 + 1.9 * lines), sharex=True, sharey=True, squeeze=False
    )
    forms = [form for form in FORMS if form in set(table.form)]
    for axes, (split, dataset) in zip(panels.flat, places):
        for shift, scheme in zip((-0.22, 0.0, 0.22), SCHEMES):
            part = table[(table.dataset == dataset) & (table.split == split) & (table.scheme == scheme)]
            heights = [forms.index(form) + shift for form in part.form]
            axes.errorbar(part.lost, heights, xerr=part["std"], linestyle="none", markersize=4, capsize=1.5,
                          **look(scheme).line())  # fmt: skip
        axes.axvline(0, **FULL_PRECISION_LINE)
        axes.set_title(f"{dataset_title(dataset)},\n{split}", loc="left", fontsize=SMALL_LETTERS)
        axes.set_xscale("symlog", linthresh=LOSS_TICKS[1])
        axes.set_xticks(LOSS_TICKS, [str(tick) for tick in LOSS_TICKS], fontsize=SMALL_LETTERS - 1)
        axes.tick_params(labelbottom=True)
        axes.xaxis.set_minor_locator(NullLocator())
    panels[0][0].invert_yaxis()
    for axes in panels[:, 0]:
        axes.set_yticks(range(len(forms)), forms, fontsize=SMALL_LETTERS)
    for number, axes in enumerate(panels.flat):
        axes.set_visible(number < len(places))
    panels[(len(places) - 1) // columns][0].set_xlabel("points of test accuracy lost against FP32", loc="left")
    drawing.legend(*panels[0][0].get_legend_handles_labels(), ncols=len(SCHEMES), loc="outside lower center",
                   title="bars: standard deviation of the low-bit runs; axis linear to 2 points, then logarithmic",
                   title_fontsize=SMALL_LETTERS)  # fmt: skip
    set_finding(drawing, _lost_finding(table))
    return drawing


def _lost_finding(table: pd.DataFrame) -> str:
    """Smallest to largest loss at INT2: ours, and the paper's forms together."""
    ours = table[table.form == "INT2, ours"].lost
    theirs = table[table.form.isin(["INT2", "INT2-BT", "INT2-BT*"])].lost
    if ours.empty or theirs.empty:
        return "Points lost by every low-bit form"
    least = f"{ours.min():.1f} lost" if ours.min() >= 0 else f"{-ours.min():.1f} gained"
    return (
        f"INT2 from FP32 weights (ours): from {least} to {ours.max():.1f} points lost; from scratch (QLR, BT, BT*), "
        f"{theirs.min():.1f} to {theirs.max():.1f} lost ({runs_text(table.n)} a mark)"
    )


# Setting -> value -> words; a run of `paper_switches` is named by what differs from the defaults.
_SWITCHES = {
    "multiplier": {True: "multiplier"},
    "gap_term": {True: "with its dropped term"},
    "placement": {"edge": "messages per edge"},
    "shared_ranges": {True: "shared range factors"},
    "as_released": {True: "released gradient"},
    "calibration": {"training": "ranges of training"},
    "dropout_first": {True: "dropout first"},
}


@figure("switches_on_cora", tables=("paper_switches",))
def switches_on_cora(results: pd.DataFrame) -> Figure | None:
    """Test accuracy with each switch between the release and the default turned on, Cora from scratch: full precision
    above, INT2 below; a small mark per seed, a large one for their mean. `multiplier`: SMP's correction step; `dropped
    term`: the part of it that the release leaves out.
    """
    rows = Results.stored().select("test_accuracy", "paper_switches", dataset="cora")
    if rows.empty:
        return None
    rows = rows.assign(name=[_switch_name(row) for _, row in rows.iterrows()])
    table = (
        rows.groupby(["bits", "name"], sort=False)
        .value.agg(["mean", "std", "size"])
        .sort_index(level="bits", ascending=False, sort_remaining=False)
    )
    names = [textwrap.fill(name, 34) for _, name in table.index]
    drawing, axes = plt.subplots(figsize=(WIDTH_INCHES, 1.6 + 0.32 * len(names)))
    for place, ((bits, name), line) in enumerate(table.iterrows()):
        color, marker = (BLUE, "o") if bits == 32 else (VERMILION, "s")
        seeds = rows[(rows.bits == bits) & (rows.name == name)].value
        axes.plot(seeds, [place] * len(seeds), "|", color=color, markersize=8, alpha=0.7)
        axes.plot(line["mean"], place, marker, color=color, markersize=6)
    axes.set_yticks(range(len(table)), names, fontsize=SMALL_LETTERS)
    axes.invert_yaxis()
    axes.set_xlabel("test accuracy (%)")
    drawing.supxlabel("circles: mean in FP32; squares: in INT2; strokes: seeds", fontsize=SMALL_LETTERS)
    set_finding(drawing, _switches_finding(table[table.index.get_level_values("bits") == 2].droplevel("bits")))
    return drawing


def _switches_finding(low: pd.DataFrame) -> str:
    """The best mean at INT2, and the setting whose seeds differ most."""
    if len(low) < 2:
        return "Switches of the release on Cora"
    text = lambda name: f"{mean_and_spread(*low.loc[name, ['mean', 'std']], int(low['size'][name]), 1)} % ({name})"  # noqa: E731
    best, widest = low["mean"].idxmax(), low["std"].idxmax() if low["std"].notna().any() else None
    more = f"; seeds differ most at {text(widest)}" if widest else ""
    return f"Cora, INT2 from scratch: best of these switches {text(best)}{more}"


def _switch_name(row: pd.Series) -> str:
    """The model or quantizer of a run, and the switches that are on."""
    switches = [words[row[name]] for name, words in _SWITCHES.items() if name in row and row[name] in words]
    first = look(row.model if row.bits == 32 else row.method).label
    return ", ".join([first, *switches])
