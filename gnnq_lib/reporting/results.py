"""All stored results in one place: measurements with their settings, and the benchmark tables."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from gnnq_lib.errors import InputError
from gnnq_lib.experiments.config import ADDED_SETTINGS
from gnnq_lib.experiments.store import COLUMNS, NUMBERS, ResultsStore, all_results, is_store
from gnnq_lib.paths import project_root, results_dir

# Settings that rules read as columns; a column is there even if no stored run has the setting.
SETTINGS = ("start", "num_layers", "split_seed", "multiplier", "as_released", "teleport", "dim", "protocol", "refit")
# What two rows of the same run can differ in, if it stands in two tables.
NOT_SETTINGS = (
    "experiment",
    "config_key",
    "value",
    "bits_per_value",
    "source",
    "device",
    "versions",
    "commit",
    "seconds",
)
# Tables whose runs have the same configuration: INT2 from scratch on a public split. One of them alone holds a choice
# of the seeds, so rules read all.
SCRATCH_TABLES = "methods_cora_scratch|paper_switches|paper_methods_*|paper_public_*"
# The default of every switch; a row without the setting has its default.
PLAIN = {"model": "smp", "as_released": False, "multiplier": False, "shared_ranges": False, "placement": "node",
         "calibration": "evaluation", "dropout_first": False}  # fmt: skip
BENCH_KEYS = ("bench", "case", "variant", "bits", "path")


@dataclass(frozen=True)
class Results:
    """What was measured.

    Attributes:
        rows: one measurement per row, as in the results stores, with every setting of its run as a further column.
        benches: name of a benchmark ("inference") -> its table, one row per case, variant, bits and path.

    Example:
        >>> Results.of([{"experiment": "t", "metric": "m", "value": 1.0}]).select("m", experiment="t*").value.tolist()
        [1.0]
    """

    rows: pd.DataFrame
    benches: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    # Rules ask for the same rows again and again.
    _selected: dict[str, pd.DataFrame] = field(default_factory=dict, init=False, compare=False, repr=False)

    @classmethod
    def stored(cls) -> Results:
        """Everything in the project's `data/results` and the results folder."""
        folders = list(dict.fromkeys([project_root() / "data" / "results", results_dir()]))
        files = [file for folder in folders for file in sorted(folder.glob("*.csv"))]
        configs = {key: c for file in files if is_store(file) for key, c in ResultsStore(file).configs().items()}
        benches = {file.stem.removeprefix("bench_"): _bench(file) for file in files if file.stem.startswith("bench_")}
        return cls(_with_settings(all_results(), configs), benches)

    @classmethod
    def of(cls, rows: list[dict[str, Any]], **benches: list[dict[str, Any]]) -> Results:
        """From rows made by hand; columns that are not given are empty."""
        frame = pd.DataFrame(rows)
        frame = _complete(frame)
        for name in NUMBERS:
            frame[name] = pd.to_numeric(frame[name])
        return cls(frame, {name: pd.DataFrame(table) for name, table in benches.items()})

    def select(self, metric: str, experiment: str = "*", **wanted: Any) -> pd.DataFrame:
        """Rows of one metric, of experiments whose name matches the pattern, with the given settings.

        Args:
            metric: name of the metric.
            experiment: a name or pattern such as "paper_depth_*"; several are separated by "|".
            wanted: column -> value, or list of values; rows without that setting do not match.
        """
        asked = repr((metric, experiment, wanted))
        if asked not in self._selected:
            self._selected[asked] = self._select(metric, experiment, wanted)
        return self._selected[asked].copy()

    def _select(self, metric: str, experiment: str, wanted: Mapping[str, Any]) -> pd.DataFrame:
        patterns = experiment.split("|")
        names = self.rows.experiment.fillna("").map(str)
        matching = [name for name in names.unique() if any(fnmatch.fnmatch(name, pattern) for pattern in patterns)]
        chosen = (self.rows.metric == metric) & names.isin(matching)
        for name, value in wanted.items():
            if name not in self.rows:
                return self.rows.iloc[:0]
            values = value if isinstance(value, list | tuple) else [value]
            chosen &= self.rows[name].isin(values)
        return _each_run_once(self.rows[chosen])

    def bench(self, name: str, **wanted: Any) -> pd.DataFrame:
        """Rows of a benchmark with the given column values; none if it was not run.

        Example:
            >>> Results.of([], inference=[{"case": "cora", "bits": 2}]).bench("inference", bits=4).empty
            True
        """
        table = self.benches.get(name, pd.DataFrame())
        for column, value in wanted.items():
            if column not in table:
                return table.iloc[:0]
            table = table[table[column].isin(value if isinstance(value, list | tuple) else [value])]
        return table


def plain(rows: pd.DataFrame, **instead: Any) -> pd.DataFrame:
    """Rows of SMP with every switch of `PLAIN` at its default.

    Args:
        rows: from `Results.select`.
        instead: switches at another value.

    Example:
        >>> rows = Results.of([{"metric": "m", "value": 1.0, "as_released": on} for on in (True, False)]).rows
        >>> len(plain(rows)), plain(rows, as_released=True).as_released.tolist()
        (1, [True])
    """
    for name, value in {**PLAIN, **instead}.items():
        if name in rows:
            rows = rows[(rows[name] == value) | (rows[name].isna() & (value == PLAIN[name]))]
    return rows


def _each_run_once(rows: pd.DataFrame) -> pd.DataFrame:
    """Every run once where it stands under several experiments' names (see `ResultsStore.adopt`): in the one with the
    most of these rows.
    """
    sizes = rows.experiment.value_counts().sort_index().sort_values(ascending=False, kind="stable")
    if len(sizes) < 2:
        return rows
    settings = [name for name in rows if name not in NOT_SETTINGS and rows[name].nunique(dropna=False) > 1]
    if not settings:
        return rows[rows.experiment == sizes.index[0]]
    text = rows[settings].map(str).agg("|".join, axis=1)
    rank = rows.experiment.map({name: place for place, name in enumerate(sizes.index)})
    return rows[rank == rank.groupby(text).transform("min")]


def _with_settings(rows: pd.DataFrame, configs: Mapping[str, Mapping]) -> pd.DataFrame:
    """Rows with the settings of their run; lists as text, so that they can be compared."""
    extra = {
        key: {
            name: " ".join(map(str, value)) if isinstance(value, list) else value
            for name, value in config.items()
            if name not in COLUMNS
        }
        for key, config in configs.items()
    }
    settings = pd.DataFrame.from_dict(extra, orient="index")
    return _complete(rows.join(settings, on="config_key") if len(settings) else rows)


def _complete(rows: pd.DataFrame) -> pd.DataFrame:
    """All columns of a store and of `SETTINGS`; what is missing is empty, or what runs older than the setting did."""
    names = dict.fromkeys([*COLUMNS, *SETTINGS, *ADDED_SETTINGS, *rows.columns])
    rows = rows.reindex(columns=list(names))
    for name, value in ADDED_SETTINGS.items():
        rows[name] = rows[name].astype(object).where(rows[name].notna(), value)
    return rows


def _bench(file: Path) -> pd.DataFrame:
    """A benchmark's table: as it stands, or one line per run and case where it is kept as a results store."""
    if not is_store(file):
        try:
            table = pd.read_csv(file)
        except (ValueError, UnicodeDecodeError) as error:  # an empty file, too, is a ValueError
            raise InputError(f"{file} cannot be read as a table: {str(error).strip().splitlines()[0]}") from None
        if "case" not in table:
            raise InputError(f"{file} has the columns {', '.join(table.columns)}; a benchmark's has case, bits, path.")
        return table
    store = ResultsStore(file)
    rows = store.frame().rename(columns={"dataset": "case", "model": "variant", "method": "path"})
    rows = rows.assign(bench=file.stem.removeprefix("bench_"))
    by = [*BENCH_KEYS, "seconds", "config_key"]
    return (
        rows.pivot_table(index=by, columns="metric", values="value", dropna=False, observed=True)
        .dropna(how="all")
        .reset_index()
    )
