"""Paper A's stored runs: its accuracy table (forms, schemes, data sets), and what its claims compare."""

from __future__ import annotations

from typing import Any

import pandas as pd

from gnnq_lib.experiments.store import mean_and_spread
from gnnq_lib.naming import DATASET_TITLES, dataset_title
from gnnq_lib.reporting.results import SCRATCH_TABLES, Results, plain

PAPER_TABLES = "paper_public_*|paper_random_*"
SCHEMES = {"smp": "SMP", "emp": "EMP", "appnp": "APPNP"}  # SMP with its multiplier
ONE_RUN = ["dataset", "split", "split_seed", "method", "bits", "start", "seed"]
# Column -> method, bits and start; what starts from scratch is the paper's, what starts from FP32 weights is ours.
FORMS = {
    "FP32": ("fp32", 32, None),
    "INT8": ("qlr", 8, "scratch"),
    "INT4": ("qlr", 4, "scratch"),
    "INT2": ("qlr", 2, "scratch"),
    "INT2-BT": ("bt", 2, "scratch"),
    "INT2-BT*": ("bt_star", 2, "scratch"),
    "INT8, ours": ("node_pow2", 8, "fp32"),
    "INT4, ours": ("node_pow2", 4, "fp32"),
    "INT2, ours": ("node_pow2", 2, "fp32"),
}


def paper_accuracy(results: Results) -> pd.DataFrame:
    """Test accuracy of every cell of the table that has been run.

    Args:
        results: everything stored.

    Returns:
        One row per `dataset`, `split`, `scheme` and `form`: mean and std in per cent, n seeds (public split) or
        random splits; std is NaN where n is 1.

    Example:
        >>> run = {"experiment": "paper_public_cora", "metric": "test_accuracy", "dataset": "cora", "split": "public",
        ...        "model": "emp", "method": "qlr", "bits": 4, "start": "scratch"}
        >>> rows = [{**run, "seed": seed, "value": 70.0 + seed} for seed in (0, 2)]
        >>> paper_accuracy(Results.of(rows))[["form", "mean", "n"]].values.tolist()
        [['INT4', 71.0, 2]]
    """
    cells = scheme_runs(results).groupby(["dataset", "split", "scheme", "form"]).value
    return cells.agg(["mean", "std", "size"]).rename(columns={"size": "n"}).reset_index()


def scheme_runs(results: Results) -> pd.DataFrame:
    """The runs behind `paper_accuracy`: rows of test accuracy with the columns `scheme` and `form`."""
    rows = results.select("test_accuracy", PAPER_TABLES, model=["smp", "emp", "appnp"])
    parts = [_of_scheme(rows, scheme) for scheme in SCHEMES]
    rows = pd.concat(parts).assign(form="")
    for form, (method, bits, start) in FORMS.items():
        fits = (rows.method == method) & (rows.bits == bits) & ((rows.start == start) if start else True)
        rows.loc[fits, "form"] = form
    return rows[rows.form != ""]


def int2_from_scratch(results: Results, metric: str = "test_accuracy", **instead: Any) -> pd.DataFrame:
    """Accuracies of INT2 SMP without its multiplier, trained from scratch, all switches at their defaults but
    those given (see `plain`): public splits, or random ones of data sets that have no public one.
    """
    tables = f"{SCRATCH_TABLES}|{PAPER_TABLES}"
    return _main_split(_smp_or_appnp(results.select(metric, tables, bits=2, start="scratch"), **instead))


def full_precision(results: Results) -> pd.DataFrame:
    """Test accuracies of FP32 SMP without its multiplier, on the splits of `int2_from_scratch`."""
    tables = f"accuracy_public|{PAPER_TABLES}"
    return _main_split(_smp_or_appnp(results.select("test_accuracy", tables, method="fp32")))


def _main_split(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of public splits, and those of random splits where a data set has no public one."""
    public = rows.split == "public"
    return rows[public | ~rows.dataset.isin(set(rows.dataset[public]))]


def points_lost(results: Results) -> pd.DataFrame:
    """Low-bit cells of `paper_accuracy` that have an FP32 cell, with `lost`: FP32's mean minus theirs, in points."""
    cells = paper_accuracy(results)
    full = cells[cells.form == "FP32"].set_index(["dataset", "split", "scheme"])["mean"].rename("full")
    low = cells[cells.form != "FP32"].join(full, on=["dataset", "split", "scheme"], how="inner")
    return low.assign(lost=low.full - low["mean"])


def _of_scheme(rows: pd.DataFrame, scheme: str) -> pd.DataFrame:
    """Runs of a scheme; SMP without its multiplier counts as APPNP."""
    found = _smp_or_appnp(rows) if scheme == "appnp" else plain(rows, model=scheme, multiplier=scheme == "smp")
    return found.assign(scheme=scheme)


def _smp_or_appnp(rows: pd.DataFrame, **instead: Any) -> pd.DataFrame:
    """SMP without its multiplier and APPNP, which are the same: every run once, also where both names have it."""
    parts = [plain(rows, **{"model": model, **instead}) for model in ("smp", "appnp")]
    return pd.concat(parts).drop_duplicates(ONE_RUN)


def paper_accuracy_table(results: Results | None = None) -> pd.DataFrame:
    """The cells as a table of text: data set, split and scheme down, forms across; mean ± std (n), a dash if not run.

    Args:
        results: everything stored, if not given.
    """
    cells = paper_accuracy(Results.stored() if results is None else results)
    text = [mean_and_spread(cell.mean, cell.std, cell.n, 1) for cell in cells.itertuples(index=False, name="Cell")]
    table = cells.assign(text=text).pivot(index=["dataset", "split", "scheme"], columns="form", values="text")
    places = [
        (dataset, split, scheme) for split in ("public", "random") for dataset in DATASET_TITLES for scheme in SCHEMES
    ]
    present = [place for place in places if place in table.index]
    table = table.reindex(index=present, columns=list(FORMS), fill_value="–").fillna("–")
    labels = [f"{dataset_title(dataset)}, {split}, {SCHEMES[scheme]}" for dataset, split, scheme in table.index]
    return table.set_axis(pd.Index(labels, name=""), axis=0).rename_axis(columns=None).reset_index()
