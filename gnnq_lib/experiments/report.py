"""The table that `gnnq reproduce` and `gnnq run` end with."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from gnnq_lib.experiments.config import NOT_IN_KEY
from gnnq_lib.experiments.store import summarise

HEADLINE_METRICS = ("test_accuracy", "recall@20", "recall@10", "ndcg@20", "ndcg@10")
GROUPS = ["experiment", "dataset", "model", "method", "bits"]
SHOWN = {*GROUPS, "seed", "profile", "split", *NOT_IN_KEY}


def varying_settings(configs: Mapping[str, dict]) -> dict[str, str]:
    """What tells the runs of one line of the table (see `GROUPS`) apart, besides the seed, as text per config key.

    Args:
        configs: key -> full config, of any number of experiments.

    Example:
        >>> varying_settings({"k1": {"experiment": "t", "depth": 2, "seed": 0}, "k2": {"experiment": "t", "depth": 4}})
        {'k1': 'depth=2', 'k2': 'depth=4'}
    """
    values: dict[tuple, dict[str, set[str]]] = {}
    for config in configs.values():
        of_line = values.setdefault(_line(config), {})
        for name, value in config.items():
            of_line.setdefault(name, set()).add(str(value))
    return {
        key: ", ".join(
            f"{name}={_short(value)}"
            for name, value in config.items()
            if name not in SHOWN and len(values[_line(config)][name]) > 1
        )
        for key, config in configs.items()
    }


def results_table(frame: pd.DataFrame, configs: Mapping[str, dict]) -> pd.DataFrame:
    """One line per model and number of bits: the headline metric over seeds, bits per value, size and seconds.

    Args:
        frame: rows of results stores. The size is the metric "model_bytes" of the same group, where it was measured.
        configs: key -> full config of these rows; runs with different settings get lines of their own.

    Returns:
        A table of text, ready to print; empty if no headline metric was measured.

    Example:
        >>> rows = pd.DataFrame({name: ["x"] for name in GROUPS}).assign(metric="test_accuracy", value=83.4, bits=2)
        >>> results_table(rows.assign(bits_per_value=2.57, seconds=8.0, config_key="k"), {}).iloc[0].tolist()
        ['x', 'x', 'x', 'x', '2', '', 'test_accuracy', '83.4 (1)', '2.57', '', '8.0']
    """
    by = [*GROUPS, "settings"]
    settings = varying_settings(configs)
    frame = frame.assign(settings=[settings.get(key, "") for key in frame.config_key])
    parts = [summarise(frame, by, metric).assign(metric=metric) for metric in HEADLINE_METRICS]
    table = pd.concat([part for part in parts if len(part)] or parts[:1])
    sizes = summarise(frame, by, "model_bytes")[[*by, "mean"]].rename(columns={"mean": "size"})
    table = table.merge(sizes, how="left", on=by)
    return pd.DataFrame(
        {
            **{name: table[name].fillna("").astype(str) for name in GROUPS[:-1]},
            "bits": [_number(value, "g") for value in table["bits"]],
            "settings": table["settings"],
            "metric": table["metric"],
            "mean ± std (n)": table["text"],
            "bits per value": [_number(value, ".2f") for value in table["bits_per_value"]],
            "size": [_number(value / 1024, ",.1f", " KiB") for value in table["size"]],
            "seconds": [_number(value, ".1f") for value in table["seconds"]],
        }
    )


def _line(config: dict) -> tuple:
    return tuple(config.get(name) for name in GROUPS)


def _short(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _number(value: float, form: str, unit: str = "") -> str:
    return "" if pd.isna(value) else f"{value:{form}}{unit}"
