"""The README's tables are those of data/results; its commands and links exist."""

from __future__ import annotations

import re

import pandas as pd
import pytest

from gnnq_lib.errors import InputError
from gnnq_lib.experiments import readme
from gnnq_lib.experiments.tables import table_names
from gnnq_lib.paths import project_root

TEXT = (project_root() / "README.md").read_text(encoding="utf-8")


def test_every_table_is_what_the_results_say(monkeypatch):
    monkeypatch.setenv("GNNQ_RESULTS", str(project_root() / "data" / "results"))
    assert len(re.findall("<!-- table:", TEXT)) == len(readme.TABLES)
    assert readme.with_tables(TEXT) == TEXT, "run `gnnq readme` and commit README.md"


def test_every_table_named_in_a_command_exists():
    named = re.findall(r"gnnq run (\w+)", TEXT)
    assert named and set(named) <= set(table_names())


def test_every_linked_file_exists():
    for target in re.findall(r"\]\(([^)#]+)\)", TEXT):
        assert (project_root() / target).exists(), target


def test_accuracy_table_by_hand():
    rows = pd.DataFrame(
        {"dataset": "cora", "bits": [32, 32, 2], "bits_per_value": [32, 32, 2.29], "value": [84.0, 85.0, 83.5]}
    )
    assert readme.accuracy_table(rows).splitlines() == [
        "|  | Cora | bits, Cora |",
        "| --- | --- | --- |",
        "| FP32 | 84.5 ± 0.7 (2) | 32.00 |",
        "| INT2 | 83.5 ± 0.0 (1) | 2.29 |",
    ]


def test_an_unknown_table_is_named():
    with pytest.raises(InputError, match="'speed'"):
        readme.with_tables("<!-- table: speed -->\n<!-- end of table -->")


def test_calibration_table_by_hand():
    keys = {"a": (False, "training", True), "b": (True, "evaluation", False)}
    configs = {k: {"as_released": r, "calibration": c, "dropout_first": d} for k, (r, c, d) in keys.items()}
    rows = pd.DataFrame({"config_key": ["a", "b"], "method": ["qlr", "bt_star"], "value": [70.0, 75.0]})
    assert readme.calibration_table(rows, configs).splitlines()[2:] == [
        "| evaluation, quantizer first | – | – | – | 75.0 ± 0.0 (1) |",
        "| training, dropout first | 70.0 ± 0.0 (1) | – | – | – |",
    ]
