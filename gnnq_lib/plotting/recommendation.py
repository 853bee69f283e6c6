"""Figures of recommendation: popularity, training, levels of nodes, collapse, accuracy against bytes, ablations."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter
from scipy import stats

from gnnq_lib.experiments.config import ADDED_SETTINGS, NOT_IN_KEY, make_config
from gnnq_lib.experiments.store import ResultsStore
from gnnq_lib.experiments.tables import ABLATION_TABLES
from gnnq_lib.naming import dataset_title, listed
from gnnq_lib.paths import project_root, results_dir
from gnnq_lib.plotting.registry import figure
from gnnq_lib.plotting.style import (
    BLUE,
    FULL_PRECISION_LINE,
    GREY,
    SMALL_LETTERS,
    VERMILION,
    WIDTH_INCHES,
    look,
    set_finding,
)


def popularity_curve(counts: Sequence[int], finding: str) -> Figure:
    """Users per item against the item's rank, both on logarithmic axes; items without users are left out.

    Args:
        counts: users of each item.
        finding: title.

    Example:
        >>> len(popularity_curve([5, 1, 3, 0], "x").axes[0].lines[0].get_xdata())
        3
    """
    drawing, axes = plt.subplots()
    ordered = np.sort(np.asarray(counts))[::-1]
    ordered = ordered[ordered > 0]
    axes.loglog(np.arange(1, len(ordered) + 1), ordered, color=BLUE)
    axes.set_xlabel("rank of the item by popularity")
    axes.set_ylabel("training users")
    set_finding(drawing, finding)
    return drawing


def validation_curves(
    curves: Mapping[str, tuple[Sequence[int], Sequence[float]]],
    finding: str,
    levels: Mapping[str, float] | None = None,
    metric: str = "validation NDCG@20",
) -> Figure:
    """A metric over epochs, one line per model; constant levels as dashed lines.

    Args:
        curves: label or name of a look -> (epochs, values).
        finding: title.
        levels: label -> value.
        metric: label of the vertical axis.

    Example:
        >>> len(validation_curves({"lightgcn": ([0, 1], [0.1, 0.2])}, "x", {"popularity": 0.05}).axes[0].lines)
        2
    """
    drawing, axes = plt.subplots()
    for index, (name, (epochs, values)) in enumerate(curves.items()):
        axes.plot(epochs, values, **_line(name, index))
    for (label, value), dashes in zip((levels or {}).items(), itertools.cycle(["--", ":", "-."])):
        axes.axhline(value, color=GREY, linestyle=dashes, linewidth=1.2, label=label)
    axes.set_xlabel("epoch")
    axes.set_ylabel(metric)
    axes.legend()
    set_finding(drawing, finding)
    return drawing


def node_levels(nodes: Mapping[str, tuple[Sequence[float], Sequence[float]]], finding: str) -> Figure:
    """The values of a few nodes as histograms, with their levels and the thresholds between them.

    Args:
        nodes: title of a panel -> (values, levels).
        finding: title.

    Example:
        >>> len(node_levels({"item 3": ([0.0, 1.0, 0.2], [0.1, 0.9])}, "x").axes)
        1
    """
    drawing, panels = plt.subplots(len(nodes), 1, figsize=(WIDTH_INCHES, 1.1 + 1.3 * len(nodes)), sharex=True)
    for axes, (title, (values, levels)) in zip(np.atleast_1d(panels), nodes.items(), strict=True):
        levels = np.sort(np.asarray(levels))
        axes.hist(np.asarray(values), bins=24, color=BLUE, alpha=0.35)
        for index, level in enumerate(levels):
            axes.axvline(level, color=VERMILION, linewidth=2, label="levels" if index == 0 else None)
        for index, threshold in enumerate((levels[1:] + levels[:-1]) / 2):
            axes.axvline(threshold, color=GREY, linestyle=":", label="thresholds" if index == 0 else None)
        axes.set_title(title, fontsize=10, loc="left")
        axes.set_ylabel("values")
    np.atleast_1d(panels)[0].legend()
    np.atleast_1d(panels)[-1].set_xlabel("entry of the node's embedding")
    set_finding(drawing, finding)
    return drawing


def curves_side_by_side(table: pd.DataFrame, panels: Mapping[str, str], finding: str, x: str = "epoch") -> Figure:
    """One panel per column of a table, a line per method.

    Args:
        table: columns "method" (label or name of a look), x, and those of `panels`.
        panels: column -> label of the vertical axis.
        finding: title.
        x: column of the horizontal axis.

    Example:
        >>> table = pd.DataFrame({"method": ["gnaq"] * 2, "epoch": [0, 1], "roughness": [0.5, 0.4]})
        >>> len(curves_side_by_side(table, {"roughness": "roughness"}, "x").axes)
        1
    """
    drawing, axes = plt.subplots(1, len(panels), figsize=(max(WIDTH_INCHES, 3.4 * len(panels)), 3.2), squeeze=False)
    for panel, (column, label) in zip(axes[0], panels.items(), strict=True):
        for index, (name, rows) in enumerate(table.groupby("method", sort=False)):
            panel.plot(rows[x], rows[column], **_line(str(name), index))
        panel.set_xlabel(x)
        panel.set_ylabel(label)
    axes[0][-1].legend()
    set_finding(drawing, finding)
    return drawing


def quality_by_bytes(table: pd.DataFrame, finding: str, metric: str = "NDCG@10", lowest: float | None = None) -> Figure:
    """A ranking metric against bytes (logarithmic), a marker per method, filled at 2 bits and more; FP32 dashed.

    Markers of equal bytes stand side by side.

    Args:
        table: columns method, bits, bytes, mean, std if there are several seeds, and dataset if there shall be a panel
            for each.
        finding: title.
        metric: label of the vertical axis.
        lowest: what is lower stands at this height, with its value beside it, so that the others can be told apart.

    Example:
        >>> rows = {"method": ["fp32", "gnaq"], "bits": [32, 2], "bytes": [8e6, 1e6], "mean": [0.2, 0.19]}
        >>> quality_by_bytes(pd.DataFrame(rows), "x").axes[0].get_xscale()
        'log'
    """
    panels = dict(iter(table.groupby("dataset", sort=False))) if "dataset" in table else {"": table}
    drawing, axes = plt.subplots(1, len(panels), figsize=(WIDTH_INCHES, 4.6), sharey=True, squeeze=False)
    for panel, (dataset, rows) in zip(axes[0], panels.items()):
        for row, nudge in zip(rows.itertuples(), _side_by_side(rows.bytes)):
            place, std = (row.bytes * nudge, row.mean), getattr(row, "std", None)
            if lowest is not None and row.mean < lowest:
                place, std = (place[0], lowest), None
                panel.annotate(f"\u2193 {row.mean:.0f}", place, textcoords="offset points", xytext=(6, -3))
            panel.errorbar(*place, None if std is None or np.isnan(std) else std, capsize=3,
                           linestyle="none", markersize=7, **_look_at(row.method, row.bits))  # fmt: skip
        for level in rows[rows.bits == 32]["mean"]:
            panel.axhline(level, **FULL_PRECISION_LINE)
        _axis_of_bytes(panel, marks=(1.0, 2.0, 5.0) if len(panels) == 1 else (1.0, 3.0))
        panel.set_title(dataset and dataset_title(dataset), loc="left")
    axes[0][0].set_ylabel(metric)
    drawing.legend(*axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=2,
                   title="marks of equal bytes stand side by side")  # fmt: skip
    set_finding(drawing, finding)
    return drawing


def stored_methods(table: str) -> pd.DataFrame:
    """Test metrics of a stored recommendation table: a line per data set, method, bits, D, head and setting.

    Seeds are averaged; of seconds the least is taken, since other work on the machine only adds. `last_recall@10` and
    the like, where they were measured, are those after the last epoch; the others are those of the epoch that
    validation chose.

    Args:
        table: name of a results store such as "rec_quick".

    Returns:
        Columns dataset, method, bits, dim, linear_head (True or False), setting (what else tells lines of one method
        apart on one data set), bytes, seconds_per_epoch, train_seconds, mean and standard deviation of recall@10,
        ndcg@10, recall@20, ndcg@20 (`recall@10`, `recall@10_std`), n (seeds), best_epoch (text, one number per seed),
        untrained (whether training kept the state before its first epoch in every run; False where nothing is
        trained) and device ("cpu", "cuda" or both). Empty if the table was not measured.
    """
    rows, configs = _stored(table)
    if rows.empty:
        return pd.DataFrame()
    rows = rows[rows.config_key.isin(set(configs))]
    settings = _differing({key: configs[key] for key in rows.config_key.unique()})
    rows = rows.assign(
        dim=[configs[key].get("dim") for key in rows.config_key],
        linear_head=[_has_head(configs[key]) for key in rows.config_key],
        setting=rows.config_key.map(settings),
        trained_on=[configs[key].get("device") for key in rows.config_key],
    )
    keys = ["dataset", "method", "bits", "dim", "linear_head", "setting"]
    groups = rows.groupby([*keys, "metric"], sort=False).value
    values, spread = groups.mean().unstack(sort=False), groups.std().unstack(sort=False)
    seconds = [name for name in ("seconds_per_epoch", "train_seconds") if name in values]
    values[seconds] = groups.min().unstack(sort=False)[seconds]
    metrics = [name for name in values if "@" in name and not name.startswith("val_")]
    size = [name for name in ("model_bytes",) if name in values]
    result = values[[*metrics, *size, *seconds]].rename(columns={"model_bytes": "bytes"})
    for name in metrics:
        result[f"{name}_std"] = spread[name]
    result.columns.name = None
    result["n"] = rows.groupby(keys, sort=False).config_key.nunique()
    of_runs = rows.pivot_table(index=[*keys, "seed"], columns="metric", values="value", sort=False)
    of_runs = of_runs.reindex(columns=["best_epoch", "epochs"]).groupby(level=keys, sort=False)
    result["best_epoch"] = of_runs.best_epoch.agg(lambda v: ", ".join(f"{e:.0f}" for e in v.dropna()))
    result["untrained"] = (of_runs.best_epoch.max() == 0) & ~(of_runs.epochs.max() == 0)
    result["device"] = rows.groupby(keys, sort=False).trained_on.agg(lambda v: ", ".join(sorted(set(v.dropna()))))
    return result.reset_index()


def _side_by_side(sizes: pd.Series, step: float = 1.1) -> list[float]:
    """A factor for every size, so that equal ones (to 1 %) do not lie on each other on a logarithmic axis.

    Example:
        >>> _side_by_side(pd.Series([100, 300, 100]), step=4.0)
        [0.5, 1.0, 2.0]
    """
    group = (100 * np.log(sizes)).round()
    place, count = group.groupby(group).cumcount(), group.groupby(group).transform("size")
    return [float(factor) for factor in step ** (place - (count - 1) / 2)]


@figure("recommendation_by_bytes", tables=("rec_methods",))
def recommendation_by_bytes(results: pd.DataFrame) -> Figure | None:
    """NDCG@10 of every low-bit method, in per cent of FP32's, against the bytes of its stored table (logarithmic), on
    LastFM and MovieLens-1M from the table `rec_methods`, mean and standard deviation over seeds; hollow at 1 bit, FP32
    as a star and a dashed line, markers of equal bytes side by side.
    """
    table = next((found for name in ("rec_methods", "rec_quick") if len(found := stored_methods(name))), None)
    if table is None or not (table.bits == 32).any():
        return None
    table = table[~((table.method == "gnaq_as_released") & ~table.linear_head)]
    two = table[table.dataset.isin(("lastfm", "ml-1m"))]
    here = two if len(two) else table[table.dataset == table.dataset.iloc[0]]
    full = here.dataset.map(here[here.bits == 32].groupby("dataset")["ndcg@10"].max())
    here = here.assign(mean=100 * here["ndcg@10"] / full, std=100 * here["ndcg@10_std"] / full)
    best = here.loc[here[here.bits == 2].groupby("dataset", sort=False)["mean"].idxmax()]
    names = " or ".join(dict.fromkeys(look(method).label for method in best.method))
    each = [f"{row.mean:.1f} % of FP32's NDCG@10 on {dataset_title(row.dataset)}" for row in best.itertuples()]
    each = listed([each[0], *(text.replace(" of FP32's NDCG@10", "") for text in each[1:])])
    finding = f"{names} is highest at 2 bits: {each} (n = {best.n.min():.0f})"
    return quality_by_bytes(here, finding, "NDCG@10 (% of FP32)", lowest=75.0)


@figure("recommendation_by_width", tables=("rec_dims",))
def recommendation_by_width(results: pd.DataFrame) -> Figure | None:
    """NDCG@10 of FP32 and of GNAQ at 2 and 1 bits against the bytes of the stored table (logarithmic), a mark for each
    of embeddings of 64, 128 and 256 numbers, on MovieLens-1M from the table `rec_dims` (one seed).
    """
    table = stored_widths("ml-1m")
    if table.empty or table.dim.nunique() < 2 or not {2, 32} <= set(table.bits):
        return None
    drawing, axes = plt.subplots(figsize=(WIDTH_INCHES, 4.0))
    for (method, bits), line in table.groupby(["method", "bits"], sort=False):
        axes.plot(line.bytes, line.ndcg, **{**_look_at(method, bits), "linestyle": "none"})  # of one run each: no trend
        for row in line.itertuples():  # beside the marks: left, but right of the last one, where there is room
            last = row.dim == line.dim.max()
            where = {"textcoords": "offset points", "xytext": (8 if last else -8, 0), "va": "center"}
            where["ha"] = "left" if last else "right"
            behind = {"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none"}
            axes.annotate(f"D = {row.dim:.0f}", (row.bytes, row.ndcg), fontsize=SMALL_LETTERS, bbox=behind, **where)
    axes.margins(0.17, 0.1)
    _axis_of_bytes(axes)
    axes.set_ylabel("NDCG@10")
    axes.legend()
    by_width = table.pivot_table(index="dim", columns="bits", values=["ndcg", "bytes"]).dropna()
    change = 100 * (by_width["ndcg"][2] / by_width["ndcg"][32] - 1)
    smaller = by_width["bytes"][32] / by_width["bytes"][2]
    set_finding(
        drawing,
        f"GNAQ at 2 bits differs from FP32 of the same D by {change.min():+.1f} to {change.max():+.1f} % NDCG@10 on "
        f"{dataset_title('ml-1m')}, in {smaller.min():.0f} to {smaller.max():.0f} times fewer bytes (n = 1)",
    )
    return drawing


def stored_widths(dataset: str) -> pd.DataFrame:
    """FP32 and GNAQ of one data set by size of embedding, seed 0: columns method, bits, dim, bytes, ndcg (at 10).

    Args:
        dataset: one of those in the table `rec_dims`.
    """
    rows, configs = _stored("rec_dims")
    if rows.empty:
        return rows
    rows = rows.assign(dim=[configs[key]["dim"] for key in rows.config_key])
    rows = rows[(rows.dataset == dataset) & (rows.seed == 0) & rows.method.isin(["fp32", "gnaq"])]
    if rows.empty:
        return rows
    keys = ["method", "bits", "dim"]
    values = rows.pivot_table(index=keys, columns="metric", values="value").reset_index()
    values = values.rename(columns={"model_bytes": "bytes", "ndcg@10": "ndcg"})[[*keys, "bytes", "ndcg"]]
    return values.sort_values(["bits", "dim"], ascending=[False, True], ignore_index=True)


def _look_at(method: str, bits: float) -> dict:
    """The look of a method, hollow at 1 bit, its label with the bits."""
    style = {**look(method).line(), "fillstyle": "none" if bits == 1 else "full"}
    if bits < 32:
        style["label"] += f", {bits:.0f} bit" + ("s" if bits > 1 else "")
    return style


def _axis_of_bytes(axes: Axes, marks: tuple[float, ...] = (1.0, 2.0, 5.0)) -> None:
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=marks))
    axes.xaxis.set_major_formatter(EngFormatter("B"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("bytes of the stored table")


# Setting of GNAQ -> value -> words, for what `ABLATION_TABLES` change; others are named by setting and value.
_PARTS = {
    "node_aware": {False: "one set of first levels"},
    "placement": {"midpoints": "first levels at midpoints", "released": "first levels as released"},
    "refine_steps": {0: "no refinement"},
    "gradient": {"straight_through": "straight-through gradient", "levels": "gradient through levels only"},
    "tanh": {True: "levels through tanh", False: "no tanh"},
    "linear_head": {True: "linear head", False: "no linear head"},
    "update_every": {0: "codes never renewed", 10: "codes renewed at every 10th step"},
    "order_weight": {0.0: "without the teacher's order", 5.0: "with the teacher's order"},
    "anchor": {1.0: "anchored at the teacher"},
    "level_bits": {16: "levels in 16 bits"},
    "rotation": {True: "start rotated"},
}
_AS_RELEASED = {"tanh": True, "linear_head": True, "update_every": 1}  # the release's own settings
_NOT_PARTS = ("dataset", "seed", "method", "split_seed", *NOT_IN_KEY)


def ablation_changes(metric: str = "ndcg@10") -> pd.DataFrame:
    """What each changed part of 2-bit GNAQ does to a metric, in percent of the plain form, same data set and seed.

    The plain form is the GNAQ run whose every setting is the usual one of its data set. Forms as released are named by
    what differs from the release.

    Args:
        metric: what is compared.

    Returns:
        Columns dataset, part, seed, change and untrained (whether training only lowered validation, so that the table
        before training was kept), in the order of the stores; empty if no plain form was measured.
    """
    parts = [part for part in map(_stored, ABLATION_TABLES) if len(part[0])]
    if not parts:
        return pd.DataFrame()
    rows, configs = pd.concat([part for part, _ in parts]), {key: c for _, part in parts for key, c in part.items()}
    best_epoch = rows[rows.metric == "best_epoch"].groupby("config_key").value.first()
    of_gnaq = rows.method.isin(["gnaq", "gnaq_as_released"]) & (rows.bits == 2) & (rows.metric == metric)
    rows = rows[of_gnaq & rows.config_key.isin(set(configs))]
    usual: dict[str, dict] = {}
    for dataset, here in rows[rows.method == "gnaq"].groupby("dataset", sort=False):  # budgets differ between data sets
        settings = [configs[key] for key in here.config_key]
        usual[dataset] = {name: _most_common([config[name] for config in settings]) for name in settings[0]}
    rows = rows[rows.dataset.isin(list(usual))]
    rows = rows.assign(part=[_part_name(configs[key], usual[configs[key]["dataset"]]) for key in rows.config_key])
    default = rows[rows.part == ""][["dataset", "seed", "value"]].rename(columns={"value": "default"})
    changed = rows[rows.part != ""].merge(default, on=["dataset", "seed"])
    changed = changed.assign(
        change=100 * (changed.value / changed.default - 1), untrained=changed.config_key.map(best_epoch) == 0
    )
    return changed[["dataset", "part", "seed", "change", "untrained"]]


def stored_ablations(metric: str = "ndcg@10") -> pd.DataFrame:
    """`ablation_changes` over seeds.

    Args:
        metric: see there.

    Returns:
        Columns dataset, part, mean, std (NaN for one seed), n, needed (the smallest mean that a paired t-test at the
        5 % level tells from zero at this std and n; NaN for one seed) and untrained (whether it was so in every run),
        parts in the order of the store; empty if there are no changes.
    """
    changed = ablation_changes(metric)
    if changed.empty:
        return pd.DataFrame()
    groups = changed.groupby(["dataset", "part"], sort=False)
    found = groups.change.agg(["mean", "std", "size"]).assign(untrained=groups.untrained.all())
    found = found.rename(columns={"size": "n"}).reset_index()
    return found.assign(needed=stats.t.ppf(0.975, found.n - 1) * found["std"] / found.n**0.5)


@figure("recommendation_ablations", tables=ABLATION_TABLES)
def recommendation_ablations(results: pd.DataFrame) -> Figure | None:
    """What each part of GNAQ changes in NDCG@10, one at a time, in percent of the plain form, a panel per data set of
    the tables `rec_ablations` and `rec_ml_100k_ablations`; bars to the left are losses, lines one standard deviation
    over seeds. Where there are several seeds, the title names a loss only if a paired t-test at the 5 % level tells it
    from zero. Hatched: training only lowered validation, the bar shows the rounded table before it.
    """
    table = stored_ablations()
    if table.empty:
        return None
    datasets, parts = list(dict.fromkeys(table.dataset)), list(dict.fromkeys(table.part))
    names = [textwrap.fill(part, 28) for part in parts]
    size = (WIDTH_INCHES, 1.6 + 0.17 * sum(1 + name.count("\n") for name in names) + 0.12 * len(parts))
    drawing, panels = plt.subplots(1, len(datasets), figsize=size, sharex=True, sharey=True, squeeze=False)
    for axes, dataset in zip(panels[0], datasets):
        here = table[table.dataset == dataset].set_index("part").reindex(parts)
        colors = [BLUE if value >= 0 else VERMILION for value in here["mean"]]
        bars = axes.barh(range(len(parts)), here["mean"], xerr=here["std"], color=colors, ecolor="black", capsize=2)
        for bar, untrained in zip(bars, here["untrained"].fillna(False)):
            bar.set_hatch("////" if untrained else "")
        axes.axvline(0, color="black", linewidth=1)
        axes.set_title(f"{dataset_title(dataset)}\n(n = {here.n.max():.0f})", loc="left")
    panels[0][0].set_yticks(range(len(parts)), names, fontsize=SMALL_LETTERS)
    panels[0][0].invert_yaxis()
    hatched = "\nhatched: training only did harm; the table before it" if table.untrained.any() else ""
    drawing.supxlabel("change of NDCG@10 against the plain form (%)" + hatched, fontsize=10)
    set_finding(drawing, _finding_of_parts(table))
    return drawing


def _finding_of_parts(table: pd.DataFrame) -> str:
    """What `stored_ablations` show: the changes that cost on every data set, else the dearest on the first one."""
    changes = table[~table.untrained & ~table.part.str.startswith("as released")]
    changes = changes.assign(costs=(changes["mean"] < 0) & (changes["mean"].abs() > changes.needed))
    several = table[table.n > 1].dataset.nunique()
    counts = changes[changes.costs].groupby("part", sort=False).size()
    everywhere = [f"'{part}'" for part in counts[counts == several].index] if several > 1 else []
    if everywhere:
        return f"{listed(everywhere)} cost{'s' * (len(everywhere) == 1)} GNAQ NDCG@10 on all {several} data sets"
    dataset = table.dataset.iloc[0]
    where, n = dataset_title(dataset), f"(n = {table[table.dataset == dataset].n.max():.0f})"
    first = changes[changes.dataset == dataset].set_index("part")
    of_one_seed = first.needed.isna()  # no spread to compare with
    told = first[(first["mean"] < 0) & (first.costs | of_one_seed)]["mean"]
    if first.empty:
        return f"GNAQ as released beside its plain form on {where}"
    if told.empty:
        return f"On {where}, no single change's cost in NDCG@10 can be told from zero {n}"
    return f"On {where}, '{told.idxmin()}' costs GNAQ most: {-told.min():.1f} % of NDCG@10 {n}"


def _part_name(config: Mapping[str, object], usual: Mapping[str, object]) -> str:
    """In words, what a run changes; empty for the default."""
    released = config["method"] == "gnaq_as_released"
    base = {**usual, **_AS_RELEASED} if released else usual
    # None stands for the method's own value in settings that were not resolved.
    changed = [n for n, v in config.items() if n not in _NOT_PARTS and n in base and v != base[n] and v is not None]
    if released:  # it never reads GNAQ's other settings
        changed = [name for name in changed if name in _AS_RELEASED]
    words = [_PARTS.get(name, {}).get(config[name], f"{name} {config[name]}") for name in changed]
    return ", ".join((["as released"] if released else []) + words)


def _most_common(values: Sequence[object]) -> object:
    """The most common value, the first of several."""
    texts = [repr(value) for value in values]
    return values[texts.index(max(dict.fromkeys(texts), key=texts.count))]


def _stored(table: str) -> tuple[pd.DataFrame, dict[str, dict]]:
    """Rows of a table and its settings by key, of the project's results and newer ones of the results folder."""
    folders = dict.fromkeys([project_root() / "data" / "results", results_dir()])
    stores = [ResultsStore(folder / f"{table}.csv") for folder in folders if (folder / f"{table}.csv").is_file()]
    if not stores:
        return pd.DataFrame(), {}
    rows = pd.concat([store.frame() for store in stores]).drop_duplicates(["config_key", "metric"], keep="last")
    # A setting that came after a run was stored is not among that run's.
    return rows, {key: {**ADDED_SETTINGS, **config} for store in stores for key, config in store.configs().items()}


def _line(name: str, index: int) -> dict:
    """The look of a known name; else the next colour of the cycle and the name as label."""
    try:
        style = look(name).line()
    except ValueError:
        return {"label": name, "color": f"C{index}"}
    return {**style, "markersize": 4}


def _has_head(config: Mapping[str, object]) -> bool:
    """Whether a run has the linear head; where nothing was said, only GNAQ as released has."""
    head = config.get("linear_head")
    return config["method"] == "gnaq_as_released" if head is None else bool(head)


_OWN_COLUMNS = ("dataset", "seed", "dim", "linear_head", *NOT_IN_KEY)  # never in the words of `_differing`


def _differing(configs: Mapping[str, dict]) -> dict[str, str]:
    """In words, what tells configs of the same data set, method and bits apart, besides `_OWN_COLUMNS`."""
    # As text from the start: pandas would take None for a missing value and leave it out of comparisons.
    texts = {key: {name: str(value) for name, value in config.items()} for key, config in configs.items()}
    frame = pd.DataFrame.from_dict(texts, orient="index")
    found = {}
    for _, group in frame.groupby(["dataset", "method", "bits"], sort=False):
        varying = [name for name in group if name not in _OWN_COLUMNS and group[name].nunique() > 1]
        usual = {name: _usual(group[name], configs[group.index[0]]) for name in varying}
        for key, row in group.iterrows():
            found[key] = ", ".join(f"{name}={row[name]}" for name in varying if row[name] != usual[name])
    return found


def _usual(values: pd.Series, config: Mapping[str, object]) -> str:
    """The most common value of a setting; of several, what a run has where nothing is said, else the first stored."""
    counts = values.value_counts(sort=False)
    common = list(counts.index[counts == counts.max()])
    if len(common) == 1:
        return common[0]
    from gnnq_lib.experiments.recommendation import Config, resolve  # loads the training code, seldom needed here

    plain = make_config(
        Config, {"experiment": "plain", **{name: config[name] for name in ("dataset", "method", "bits")}}
    )
    defaults = [str(getattr(kind, str(values.name), None)) for kind in (plain, resolve(plain))]
    return next((value for value in defaults if value in common), common[0])
