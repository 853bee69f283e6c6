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
from gnnq_lib.plotting.style import BLUE, VERMILION, look, set_finding
from gnnq_lib.reporting.claims import load_claims
from gnnq_lib.reporting.results import Results
from gnnq_lib.reporting.rules import title
from gnnq_lib.reporting.rules_paper_a import inference_rows


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
    axes.set_yticks(range(len(factors)), [_graph_title(name) for name in factors.index])
    axes.invert_yaxis()
    axes.set_xlabel("times faster than the fastest FP32 path")
    axes.legend(fontsize=8, title="lines: the paper's factors", title_fontsize=8)
    reached = sum(int((factors[bits] >= claimed[str(bits)]).sum()) for bits in (2, 4) if bits in factors)
    set_finding(drawing, f"The paper's factor is reached in {reached} of {factors.count().sum()} cases")
    return drawing


def _graph_title(name: str) -> str:
    """A data set's name; a generated graph of chosen sizes by its number of classes, as in generated-1000-9000-16."""
    parts = name.split("-")
    if parts[0] == "generated" and len(parts) == 4:
        return f"generated, {parts[-1]} classes"
    return title(name).removeprefix("the ")


@figure("error_over_layers")
def error_over_layers(results: pd.DataFrame) -> Figure | None:
    """Relative error of INT2 propagation against layers on Cora, mean over seeds: with teleport, as in SMP's base step,
    it levels off; without it (hollow marks) it rises further.
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
    rows = rows[(rows.experiment == "paper_error_growth") & rows.metric.astype(str).str.startswith("relative_error@")]
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
