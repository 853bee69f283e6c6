"""Declared parameters, and the check that papermill does not make."""

from __future__ import annotations

import pytest
from nbformat.v4 import new_code_cell, new_notebook

from gnnq_lib.errors import InputError
from gnnq_lib.experiments.notebook_parameters import (
    check_parameters,
    declared_parameters,
    parse_assignments,
    read_notebook,
)

DECLARED = {"bits": 2, "lr": 0.1, "dataset": "cora", "fast": True, "depths": [2, 4], "shape": (1, 2)}


def notebook(*sources):
    return new_notebook(cells=[new_code_cell(source, metadata={"tags": ["parameters"]}) for source in sources])


def test_annotated_and_plain_literals_in_order():
    cell = 'bits: int = 2  # help\nlr = -0.5  # rate\nnames: list = ["a"]  # names\n# a comment'
    assert declared_parameters(notebook(cell)) == {"bits": 2, "lr": -0.5, "names": ["a"]}


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ([], "0 cells tagged 'parameters'"),
        (["a = 1", "b = 2"], "2 cells tagged"),
        (["a = 1\nb = a + 1"], r"parameter b is derived \(a \+ 1\)"),
        (["import os"], "holds 'import os'"),
        (["a: int"], "holds 'a: int'"),
        (["%matplotlib inline"], r"is no Python \(invalid syntax, line 1\)"),
    ],
    ids=["none", "two", "derived", "import", "no value", "magic"],
)
def test_bad_cells(cells, message):
    with pytest.raises(InputError, match=message):
        declared_parameters(notebook(*cells))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"bits": "4"}, 4),
        ({"bits": 4}, 4),
        ({"lr": "1"}, 1.0),
        ({"lr": "1e-2"}, 0.01),
        ({"dataset": "5"}, "5"),
        ({"fast": "false"}, False),
        ({"depths": "[8, 16]"}, [8, 16]),
        ({"shape": "[3, 4]"}, (3, 4)),
    ],
    ids=str,
)
def test_values_get_the_type_of_the_default(given, expected):
    (value,) = check_parameters("05", DECLARED, given).values()
    assert value == expected and type(value) is type(expected)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"bitz": 4}, r"05 has no parameter 'bitz' \(did you mean bits\?\); accepted: bits, lr, dataset"),
        ({"bits": "four"}, r"05: parameter bits is 'four'; a value like its default 2 \(int\)"),
        ({"bits": "2.5"}, "parameter bits is 2.5"),
        ({"bits": "true"}, "parameter bits is True"),
        ({"lr": "small"}, "parameter lr is 'small'"),
        ({"fast": "1"}, "parameter fast is 1"),
        ({"depths": "8"}, "parameter depths is 8"),
        ({"dataset": 5}, "parameter dataset is 5"),
        ({"bits": "[1"}, "parameter bits is '.1'"),
    ],
    ids=str,
)
def test_unknown_names_and_wrong_types_are_refused(given, message):
    with pytest.raises(InputError, match=message):
        check_parameters("05", DECLARED, given)


def test_assignments():
    assert parse_assignments(["a=b=c", "d="]) == {"a": "b=c", "d": ""}
    with pytest.raises(InputError, match="'bits' has no value"):
        parse_assignments(["bits"])


def test_files_that_are_no_notebooks(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_notebook(tmp_path / "a.ipynb")
    for text in ("no json", "{}", "[]", '{"nbformat": 5, "nbformat_minor": 0, "metadata": {}, "cells": []}'):
        (tmp_path / "a.ipynb").write_text(text)
        with pytest.raises(InputError, match="is no Jupyter notebook"):
            read_notebook(tmp_path / "a.ipynb")
