"""The results store: tidy CSV, one measurement per row, with the full config beside it.

`accuracy.csv` holds the rows, `accuracy.json` the config of every key in it. Every change writes the whole file anew
under a lock and renames it into place, so a killed process, a full disk or two writers at once lose nothing.
"""

from __future__ import annotations

import csv
import io
import json
import logging
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from filelock import FileLock
from pydantic import ValidationError

from gnnq_lib.errors import InputError
from gnnq_lib.experiments.config import ExperimentConfig, config_key
from gnnq_lib.experiments.provenance import provenance
from gnnq_lib.files import atomic_write
from gnnq_lib.paths import project_root, results_dir

logger = logging.getLogger(__name__)

COLUMNS = (
    "experiment",
    "dataset",
    "split",
    "model",
    "method",
    "bits",
    "bits_per_value",
    "seed",
    "metric",
    "value",
    "unit",
    "profile",
    "device",
    "source",
    "versions",
    "commit",
    "seconds",
    "config_key",
)
NUMBERS = ("bits", "bits_per_value", "seed", "value", "seconds")


@dataclass(frozen=True)
class Measurement:
    """One measured number. What is None is taken from the config's field of the same name, if it has one.

    Attributes:
        metric: what was measured, for example "test_accuracy" (unit "%"), "model_bytes" (unit "bytes").
        value: the number.
        unit: its unit; empty for a plain number.
        bits_per_value: average bits per stored value, scales included.
        source: which source served the data.
        dataset, split, model, method, bits: as in the results columns.
    """

    metric: str
    value: float
    unit: str = ""
    bits_per_value: float | None = None
    source: str | None = None
    dataset: str | None = None
    split: str | None = None
    model: str | None = None
    method: str | None = None
    bits: float | None = None


class ResultsStore:
    """A CSV of measurements, keyed by config.

    Args:
        path: the CSV; a bare name ("accuracy") means that file in the results folder.

    Example:
        >>> import tempfile
        >>> from gnnq_lib.experiments.config import make_config
        >>> store = ResultsStore(Path(tempfile.mkdtemp()) / "toy.csv")
        >>> config = make_config(ExperimentConfig, {"experiment": "toy"})
        >>> store.append(config, [Measurement("test_accuracy", 83.4, "%")], seconds=1.5)
        >>> store.done(config_key(config)), float(store.frame().value[0])
        (True, 83.4)
    """

    def __init__(self, path: Path | str) -> None:
        path = Path(path)
        self.path = path if path.suffix else results_dir() / f"{path.name}.csv"
        if self.path.suffix != ".csv":
            raise InputError(f"the results file {self.path.name} ends in {self.path.suffix}; .csv is accepted")

    @property
    def config_path(self) -> Path:
        """The JSON of configs beside the CSV."""
        return self.path.with_suffix(".json")

    def append(self, config: ExperimentConfig, measurements: Sequence[Measurement], seconds: float) -> None:
        """Store one run's measurements; what an earlier run of the same config left is replaced.

        Raises:
            InputError: if there are no measurements.
            OSError: if the files cannot be written; the old ones are then intact.
        """
        if not measurements:
            raise InputError("the run gave no measurement; give at least one per config")
        shared = {**provenance(), "seconds": f"{seconds:.3f}", "config_key": config_key(config)}
        rows = [{**_row(config, measurement), **shared} for measurement in measurements]
        self._replace(rows, {shared["config_key"]: config.model_dump(mode="json")})

    def merge(self, other: ResultsStore) -> int:
        """Take over all runs of another store, replacing those of the same config; returns how many rows came."""
        rows = other._rows()
        if rows:
            self._replace(rows, other.configs())
        return len(rows)

    def adopt(self, configs: Iterable[ExperimentConfig]) -> int:
        """Take over runs that other stores of this folder have: the same settings under another experiment's name.

        Their rows keep where, when and from what they were computed.

        Args:
            configs: what is wanted here; what is here already is left alone.

        Returns:
            How many runs were taken over.
        """
        present = self.keys()
        wanted = {_nameless(config): config for config in configs if config_key(config) not in present}
        taken = 0
        for other in stores_in(self.path.parent):
            stored = other.configs() if wanted and other.path != self.path else {}
            names = {key: _same_run(settings, wanted) for key, settings in stored.items()}
            found = {key: wanted.pop(name) for key, name in names.items() if name in wanted}
            if found:
                new_names = {key: {"experiment": c.experiment, "config_key": config_key(c)} for key, c in found.items()}
                rows = [{**row, **new_names[row["config_key"]]} for row in other._rows() if row["config_key"] in found]
                settings = {config_key(c): {**stored[key], "experiment": c.experiment} for key, c in found.items()}
                self._replace(rows, settings)
                taken += len(found)
        return taken

    def remove(self, keys: Collection[str]) -> None:
        """Remove the runs with these keys, and their configs."""
        if keys:
            self._replace([], {}, without=keys)

    def done(self, key: str) -> bool:
        """Whether the store has the run with this `config_key`."""
        return key in self.keys()

    def keys(self) -> set[str]:
        """The keys of all runs."""
        return {row["config_key"] for row in self._rows()}

    def configs(self) -> dict[str, dict]:
        """Key -> full config."""
        return self._read_configs()[0]

    def _read_configs(self) -> tuple[dict[str, dict], bool]:
        """What the file of settings holds, and whether it is damaged: then what can be read of it, line by line."""
        if not self.config_path.is_file():
            return {}, False
        text = self.config_path.read_text(encoding="utf-8", errors="replace")
        whole = _mapping(text)
        if whole is not None:
            return whole, False
        logger.warning("%s is damaged; settings in it are lost where lines cannot be read", self.config_path)
        lines = [_mapping("{" + line.strip().removesuffix(",") + "}") for line in text.splitlines()]
        return {key: settings for line in lines for key, settings in (line or {}).items()}, True

    def frame(self) -> pd.DataFrame:
        """All rows as a table; the columns of numbers are float (seed, bits: where whole, shown as such)."""
        return _frame(self._rows())

    def _lock(self) -> FileLock:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(self.path.parent / f".{self.path.name}.lock")

    def _rows(self) -> list[dict[str, str]]:
        if not self.path.is_file():
            return []
        rows, broken = _parse(self.path)
        if broken:
            with self._lock():
                rows, broken = _parse(self.path)
                if broken:
                    self._set_aside(rows, broken)
        return rows

    def _set_aside(self, rows: Iterable[dict], broken: list[str]) -> None:
        aside = self.path.with_suffix(".broken.txt")
        earlier = aside.read_text() if aside.is_file() else ""
        atomic_write(aside, earlier + "\n".join(broken) + "\n")
        atomic_write(self.path, _to_csv(rows))
        logger.warning("%s: %d broken line(s) set aside in %s; the rest is kept", self.path, len(broken), aside.name)

    def _replace(self, rows: list[dict], configs: dict[str, dict], without: Collection[str] = ()) -> None:
        """Write `rows` and their configs in place of what has the same keys, and of the keys in `without`."""
        new_keys = {row["config_key"] for row in rows}
        gone = new_keys.union(without)
        self._rows()  # sets broken lines aside first, with its own lock
        with self._lock():
            kept = [
                row for row in (_parse(self.path)[0] if self.path.is_file() else []) if row["config_key"] not in gone
            ]
            all_rows = kept + rows
            stored, damaged = self._read_configs()
            if damaged:
                atomic_write(self.config_path.with_suffix(".broken.json"), self.config_path.read_bytes())
            known = {**stored, **{key: configs[key] for key in new_keys if key in configs}}
            used = {row["config_key"] for row in all_rows}
            lines = [
                f"{json.dumps(key)}: {json.dumps(known[key], sort_keys=True)}" for key in sorted(known) if key in used
            ]
            atomic_write(self.config_path, "{\n" + ",\n".join(lines) + "\n}\n")  # first: no row without its config
            atomic_write(self.path, _to_csv(all_rows))


def all_results() -> pd.DataFrame:
    """Every row of every store: those of the project's `data/results`, replaced by newer ones of the results folder.

    The two are the same folder unless `GNNQ_RESULTS` says otherwise (`gnnq reproduce` sets it while notebooks run).
    """
    rows: list[dict[str, str]] = []
    for folder in dict.fromkeys([project_root() / "data" / "results", results_dir()]):
        found = [row for file in sorted(folder.glob("*.csv")) if is_store(file) for row in ResultsStore(file)._rows()]
        keys = {row["config_key"] for row in found}
        rows = [row for row in rows if row["config_key"] not in keys] + found
    return _frame(rows)


def stores_in(folder: Path) -> list[ResultsStore]:
    """Every store in a folder and its subfolders."""
    return [ResultsStore(file) for file in sorted(folder.rglob("*.csv")) if is_store(file)]


def _mapping(text: str) -> dict[str, dict] | None:
    """A JSON text that is settings by key, or None."""
    try:
        found = json.loads(text)
    except ValueError:
        return None
    fits = isinstance(found, dict) and all(isinstance(settings, dict) for settings in found.values())
    return found if fits else None


def is_store(file: Path) -> bool:
    """Whether a CSV file is a results store, by its header."""
    with file.open(encoding="utf-8", errors="replace") as lines:
        return lines.readline().strip().split(",")[-1] == COLUMNS[-1]


def summarise(frame: pd.DataFrame, by: Sequence[str], metric: str = "test_accuracy") -> pd.DataFrame:
    """Mean, standard deviation (of the sample) and number of seeds of one metric per group.

    Args:
        frame: rows of a store.
        by: columns to group by.
        metric: rows of which metric.

    Returns:
        One row per group in order of appearance: `by`, `mean`, `std` (NaN for one run), `n`, `bits_per_value` and
        `seconds` (means), `text` such as "83.4 ± 0.1 (10)".

    Raises:
        InputError: if a column is unknown.

    Example:
        >>> rows = pd.DataFrame({"model": ["a", "a"], "metric": "m", "value": [1.0, 2.0]})
        >>> summarise(rows.assign(bits_per_value=2, seconds=1), ["model"], "m").text.tolist()
        ['1.5 ± 0.7 (2)']
    """
    unknown = [name for name in by if name not in frame]
    if unknown:
        raise InputError(f"column {unknown[0]!r} is unknown; {', '.join(frame.columns)} are accepted")
    groups = frame[frame.metric == metric].groupby(list(by), sort=False, dropna=False)
    table = groups.agg(
        mean=("value", "mean"),
        std=("value", "std"),
        n=("value", "size"),
        bits_per_value=("bits_per_value", "mean"),
        seconds=("seconds", "mean"),
    ).reset_index()
    table["text"] = [mean_and_spread(*values) for values in zip(table["mean"], table["std"], table["n"])]
    return table


def mean_and_spread(mean: float, std: float, n: int, digits: int | None = None) -> str:
    """`83.4 ± 0.1 (10)`; values below 1, such as a recall, with four digits if not told; no spread for one run.

    Example:
        >>> mean_and_spread(0.18231, 0.0004, 3)
        '0.1823 ± 0.0004 (3)'
    """
    digits = digits if digits is not None else 1 if abs(mean) >= 1 else 4
    spread = f" ± {std:.{digits}f}" if n > 1 else ""
    return f"{mean:.{digits}f}{spread} ({n})"


def _nameless(config: ExperimentConfig) -> str:
    """The key of a run without its experiment's name."""
    return config_key(config.model_copy(update={"experiment": ""}))


def _same_run(settings: dict, wanted: dict[str, ExperimentConfig]) -> str | None:
    """The nameless key of stored settings, read as the kind of config that is wanted; None if they are of another."""
    kind = type(next(iter(wanted.values())))
    try:
        return _nameless(kind(**{**settings, "device": "cpu"}))
    except ValidationError:
        return None


def _row(config: ExperimentConfig, measurement: Measurement) -> dict[str, str]:
    row = {}
    for name in COLUMNS:
        value = getattr(measurement, name, None)
        if value is None:
            value = getattr(config, name, None)
        row[name] = "" if value is None else " ".join(str(value).split())  # one row is one line
    return row


def _parse(path: Path) -> tuple[list[dict[str, str]], list[str]]:
    """Rows of a store and its broken lines: a line without its end, with missing columns or without a number."""
    text = path.read_text(errors="replace")
    lines = text.splitlines(keepends=True)
    if not lines:
        return [], []
    header = next(csv.reader([lines[0]]))
    if not lines[0].endswith("\n"):
        return [], lines
    if not {"value", "config_key"} <= set(header):
        raise InputError(f"{path} is no results file: its first line is not the header {','.join(COLUMNS)!r}.")
    rows, broken = [], []
    for line in lines[1:]:
        cells = next(csv.reader([line]), [])
        row = dict(zip(header, cells))
        if line.endswith("\n") and len(cells) == len(header) and _is_number(row["value"]):
            rows.append({name: row.get(name, "") for name in COLUMNS})
        else:
            broken.append(line.rstrip("\n"))
    return rows, broken


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _to_csv(rows: Iterable[dict]) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def _frame(rows: list[dict[str, str]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    for name in NUMBERS:
        frame[name] = pd.to_numeric(frame[name], errors="coerce")
    return frame
