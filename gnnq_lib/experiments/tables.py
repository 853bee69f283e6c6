"""One YAML file per published table or figure: base settings, a grid or a list of variants, and seeds.

title: Accuracy of INT2 against full precision
runner: node_classification
base: {profile: paper, epochs: 200}
grid:                       # every combination
  dataset: [cora, citeseer]
  bits: [2, 4]
variants:                   # instead of or on top of the grid: each mapping is one variant
  - {method: qlr}
  - {method: minmax}
more:                       # further runs, with a base, grid, variants and seeds of their own on top of the base above
  - grid: {method: [lsq], bits: [2]}
    seeds: 3
seeds: 10                   # 0 .. 9, or a list
"""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from gnnq_lib.errors import InputError
from gnnq_lib.experiments.config import ExperimentConfig, make_config
from gnnq_lib.naming import nearest

TABLES = Path(__file__).parent / "yaml"

# Runner name -> module with `Config` (a subclass of ExperimentConfig), `run_one(config) -> list[Measurement]` and,
# where defaults depend on other settings, `resolve(config)`, called first so that the key covers them.
# Tables that are read as one: a result file holds 1 MB at most.
RECOMMENDER_TABLES = ("rec_methods", "rec_ml_100k_methods", "rec_gowalla_methods", "rec_large_methods")
ABLATION_TABLES = ("rec_ablations", "rec_ml_100k_ablations")
RUNNERS = {
    "node_classification": "gnnq_lib.experiments.node_classification",
    "error_growth": "gnnq_lib.experiments.error_growth",
    "energy": "gnnq_lib.experiments.energy",
    "recommendation": "gnnq_lib.experiments.recommendation",
    "packed_models": "gnnq_lib.deployment.table",
}
RUNNERS_ON_CUDA = ("node_classification", "error_growth", "energy", "recommendation")
_KEYS = ("title", "runner", "base", "grid", "variants", "more", "seeds")
_GROUP_KEYS = ("base", "grid", "variants", "seeds")


@dataclass(frozen=True)
class Table:
    """A published table or figure: its name (the file's), title, runs, and the function that does one of them."""

    name: str
    title: str
    configs: tuple[ExperimentConfig, ...]
    run_one: Callable[[Any], list]


def table_names() -> list[str]:
    """Names of the tables that come with the library."""
    return sorted(file.stem for file in TABLES.glob("*.yaml"))


def load_table(name: str | Path, seeds: int | None = None, device: str = "cpu") -> Table:
    """Read a table's YAML and make all its configs.

    Args:
        name: one of `table_names()` or the path of a YAML file.
        seeds: use seeds 0 .. seeds-1 instead of the file's.
        device: "cpu" or "cuda"; what cannot use the latter (see `RUNNERS_ON_CUDA`) stays on the CPU.

    Raises:
        InputError: for an unknown table, key, runner or setting, or a file of one's own with the name of a table that
            comes with the library; names the file.
    """
    file = _file(name)
    if file.stem in table_names() and file.resolve() != (TABLES / file.name).resolve():
        raise InputError(
            f"{file} has the name of a table that comes with the library, whose results it would change; "
            "give the file another name"
        )
    content = _read(file)
    module = _runner(file, content["runner"])
    resolve = getattr(module, "resolve", lambda config: config)
    shared = {"experiment": file.stem, "device": device if content["runner"] in RUNNERS_ON_CUDA else "cpu"}
    try:
        configs = [resolve(make_config(module.Config, {**shared, **run})) for run in _runs(content, seeds)]
    except InputError as error:
        raise InputError(f"{file.name}: {error}") from None
    return Table(file.stem, content.get("title", file.stem), tuple(configs), module.run_one)


def run_count(name: str | Path) -> int:
    """How many runs a table has, told from its YAML alone: what would do them is not imported.

    Args:
        name: as for `load_table`.

    Example:
        >>> run_count("depth") == len(load_table("depth").configs)
        True
    """
    return len(_runs(_read(_file(name))))


def expand(base: dict, grid: dict[str, Sequence], variants: Sequence[dict]) -> list[dict]:
    """Every combination of the grid with every variant, on top of the base settings.

    Raises:
        InputError: if a grid entry is no list.

    Example:
        >>> expand({"a": 1}, {"b": [2, 3]}, [{}])
        [{'a': 1, 'b': 2}, {'a': 1, 'b': 3}]
    """
    for name, values in grid.items():
        if not isinstance(values, list) or not values:
            raise InputError(f"grid entry {name!r} is {values!r}; a list of values is accepted")
    combinations = (dict(zip(grid, values)) for values in itertools.product(*grid.values()))
    return [{**base, **combination, **variant} for combination in combinations for variant in variants]


def select(configs: Sequence[ExperimentConfig], assignments: Sequence[str]) -> list[ExperimentConfig]:
    """The configs that have the given settings.

    Args:
        configs: of one table.
        assignments: "name=value" texts; values of the same name are alternatives, different names all must hold.

    Raises:
        InputError: for a name no config has, or if nothing is left.

    Example:
        >>> select([make_config(ExperimentConfig, {"experiment": "t", "seed": s}) for s in (0, 1)], ["seed=1"])[0].seed
        1
    """
    wanted: dict[str, set[str]] = {}
    for name, value in (text.partition("=")[::2] for text in assignments):
        wanted.setdefault(name, set()).add(value.lower())  # true and false as in the YAML, too
    names = list(type(configs[0]).model_fields) if configs else []
    for name in wanted:
        if name not in names:
            raise InputError(f"setting {name!r} is unknown{nearest(name, names)}; {', '.join(names)} are accepted")
    chosen = [c for c in configs if all(str(getattr(c, name)).lower() in values for name, values in wanted.items())]
    if not chosen:
        raise InputError(f"no run of the table has {' '.join(assignments)}; see the table's YAML for what it has")
    return chosen


def _file(name: str | Path) -> Path:
    file = Path(name) if str(name).endswith((".yaml", ".yml")) else TABLES / f"{name}.yaml"
    if not file.is_file():
        known = table_names()
        raise InputError(
            f"table {str(name)!r} is unknown{nearest(str(name), known)}; "
            f"{', '.join(known) or 'no built-in table'} or the path of a YAML file is accepted"
        )
    return file


def _runs(content: dict, seeds: int | None = None) -> list[dict]:
    """The settings of every run, its seed among them; `seeds` replaces those of the file."""
    usual = content.get("seeds", 1)
    return [
        {**variant, "seed": seed}
        for group in _groups(content)
        for variant in expand(group.get("base") or {}, group.get("grid") or {}, group.get("variants") or [{}])
        for seed in _seeds(group.get("seeds", usual) if seeds is None else seeds)
    ]


def _groups(content: dict) -> list[dict]:
    """The table itself and each entry of `more`, with the table's base under its own."""
    base, more = content.get("base") or {}, content.get("more") or []
    if not _are_mappings(more):
        raise InputError(f"more is {more!r}; a list of mappings with {', '.join(_GROUP_KEYS)} is accepted")
    for group in (content, *more):
        _check_group(group)
    unknown = [key for group in more for key in group if key not in _GROUP_KEYS]
    if unknown:
        raise InputError(f"{unknown[0]!r} in more is unknown; {', '.join(_GROUP_KEYS)} are accepted")
    return [content, *({**group, "base": {**base, **(group.get("base") or {})}} for group in more)]


def _check_group(group: dict) -> None:
    for key in ("base", "grid"):
        if not isinstance(group.get(key) or {}, dict):
            raise InputError(f"{key} is {group[key]!r}; a mapping is accepted")
    if not _are_mappings(group.get("variants") or []):
        raise InputError(f"variants is {group['variants']!r}; a list of mappings is accepted")


def _are_mappings(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(part, dict) for part in value)


def _seeds(seeds: int | Sequence[int]) -> list[int]:
    if isinstance(seeds, int) and not isinstance(seeds, bool) and seeds >= 1:
        return list(range(seeds))
    if isinstance(seeds, list) and seeds:
        return seeds
    raise InputError(f"seeds is {seeds!r}; a number from 1 or a list of seeds is accepted")


def _read(file: Path) -> dict:
    try:
        content = yaml.safe_load(file.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{file.name} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict) or "runner" not in content:
        raise InputError(f"{file.name} is no table; a mapping with {', '.join(_KEYS)} is accepted (runner is required)")
    unknown = [key for key in content if key not in _KEYS]
    if unknown:
        raise InputError(
            f"{file.name}: {unknown[0]!r} is unknown{nearest(str(unknown[0]), _KEYS)}; {', '.join(_KEYS)} are accepted"
        )
    return content


def _runner(file: Path, name: object):
    if not isinstance(name, str) or name not in RUNNERS:
        raise InputError(f"{file.name}: runner {name!r} is unknown; {', '.join(RUNNERS)} are accepted")
    return importlib.import_module(RUNNERS[name])
