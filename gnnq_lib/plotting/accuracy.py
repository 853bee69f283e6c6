"""Figures of accuracy, from rows with the metric `test_accuracy`."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from gnnq_lib.experiments.store import summarise
from gnnq_lib.naming import dataset_title, listed
from gnnq_lib.plotting.registry import figure
from gnnq_lib.plotting.style import FULL_PRECISION_LINE, bit_ticks, look, set_finding


@figure("accuracy_by_bits", tables=("accuracy_public",))
def accuracy_by_bits(results: pd.DataFrame) -> Figure | None:
    """Test accuracy of SMP against the bits of a code, a line per quantizer, a panel per data set (public splits), mean
    and standard deviation over seeds; full precision as a dashed line.

    Rows of the table `accuracy_public` only, so that ablations and sweeps with other settings do not mix in.
    """
    rows = results[results.experiment == "accuracy_public"]
    table = summarise(rows, ["dataset", "method", "bits"]) if len(rows) else rows
    if table.empty or not (table.bits < 32).any():
        return None
    datasets = list(dict.fromkeys(table.dataset))
    drawing, axes = plt.subplots(1, len(datasets), sharey=True, squeeze=False)
    for panel, dataset in zip(axes[0], datasets):
        here = table[table.dataset == dataset]
        for level in here[here.bits >= 32]["mean"]:
            panel.axhline(level, **FULL_PRECISION_LINE)
        low = here[here.bits < 32].sort_values("bits")
        for method, line in low.groupby("method", sort=True):
            panel.errorbar(line.bits, line["mean"], line["std"].fillna(0), capsize=3, **look(method).line())
        bit_ticks(panel, sorted(low.bits.unique()))
        panel.set_title(dataset_title(dataset))
    axes[0][0].set_ylabel("test accuracy (%)")
    handles = {label: line for panel in axes[0] for line, label in zip(*panel.get_legend_handles_labels())}
    drawing.legend(handles.values(), handles.keys(), title="bars: standard deviation over seeds; dashed: FP32",
                   loc="outside lower center", ncols=3)  # fmt: skip
    set_finding(drawing, _finding(table))
    return drawing


def _finding(table: pd.DataFrame) -> str:
    """The title: what the fewest bits cost on every data set; more bits where they cost over a point more."""
    losses, worse, counts = [], [], []
    for dataset, here in table.groupby("dataset", sort=False):
        full, low = here[here.bits >= 32], here[here.bits < 32]
        if len(full) and len(low):
            best = low.loc[low.groupby("bits")["mean"].idxmax()].set_index("bits")
            loss = full["mean"].max() - best["mean"]
            fewest, worst = loss.index.min(), loss.idxmax()
            losses.append(f"{loss[fewest]:.1f} on {dataset_title(dataset)}")
            counts.append(int(best.n[fewest]))
            if loss[worst] > loss[fewest] + 1:
                worse.append(f"with {worst:.0f}-bit codes {loss[worst]:.1f} on {dataset_title(dataset)}")
    if not losses:
        return "Accuracy against bits"
    low = table.bits[table.bits < 32].min()
    text = "; ".join([f"With {low:.0f}-bit codes the points of accuracy lost are {listed(losses)}", *worse])
    few, many = min(counts), max(counts)
    return f"{text} (n = {few})" if few == many else f"{text} (n = {few} to {many})"
