"""The parameters a notebook declares: its cell tagged `parameters`, read without running anything."""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat
import yaml

from gnnq_lib.errors import InputError
from gnnq_lib.naming import nearest


def declared_parameters(notebook: nbformat.NotebookNode) -> dict[str, Any]:
    """Name -> default of every parameter, in the order of the cell tagged `parameters`.

    Args:
        notebook: a notebook read by nbformat.

    Raises:
        InputError: if there is no such cell or more than one, or a line is no plain `name: type = literal  # help`.

    Example:
        >>> cell = nbformat.v4.new_code_cell("bits: int = 2  # 2 to 8", metadata={"tags": ["parameters"]})
        >>> declared_parameters(nbformat.v4.new_notebook(cells=[cell]))
        {'bits': 2}
    """
    cells = [cell for cell in notebook.cells if "parameters" in (cell.metadata.get("tags") or [])]
    if len(cells) != 1:
        raise InputError(f"the notebook has {len(cells)} cells tagged 'parameters'; exactly one is accepted")
    defaults = {}
    try:
        statements = ast.parse(cells[0].source).body
    except SyntaxError as error:
        raise InputError(f"the parameters cell is no Python ({error.msg}, line {error.lineno})") from None
    for statement in statements:
        target = statement.targets[0] if isinstance(statement, ast.Assign) else getattr(statement, "target", None)
        if not isinstance(target, ast.Name) or statement.value is None:
            raise InputError(
                f"the parameters cell holds {ast.unparse(statement)!r}; plain 'name = literal' lines are accepted"
            )
        try:
            defaults[target.id] = ast.literal_eval(statement.value)
        except ValueError:
            raise InputError(
                f"parameter {target.id} is derived ({ast.unparse(statement.value)}); a literal is accepted"
            ) from None
    return defaults


def parse_assignments(assignments: list[str]) -> dict[str, str]:
    """`["bits=4", ...]` from a command line as name -> text.

    Raises:
        InputError: if a part has no equals sign.

    Example:
        >>> parse_assignments(["bits=4", "dataset=citeseer"])
        {'bits': '4', 'dataset': 'citeseer'}
    """
    for text in assignments:
        if "=" not in text:
            raise InputError(f"parameter {text!r} has no value; name=value is accepted")
    return dict(text.split("=", 1) for text in assignments)


def check_parameters(name: str, declared: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Given values with the types of the declared defaults; papermill itself would let anything pass.

    Args:
        name: the notebook's name, for messages.
        declared: name -> default, from `declared_parameters`.
        given: name -> value; text (from a command line) is read as YAML where the default is no text.

    Raises:
        InputError: for an undeclared name or a value of another type.

    Example:
        >>> check_parameters("05", {"bits": 2, "dataset": "cora"}, {"bits": "4"})
        {'bits': 4}
    """
    values = {}
    for key, value in given.items():
        if key not in declared:
            accepted = ", ".join(declared) or "none"
            raise InputError(f"{name} has no parameter {key!r}{nearest(key, declared)}; accepted: {accepted}")
        values[key] = _as_type_of(f"{name}: parameter {key}", declared[key], value)
    return values


def _as_type_of(label: str, default: Any, value: Any) -> Any:
    if isinstance(value, str) and not isinstance(default, str):
        with contextlib.suppress(yaml.YAMLError):  # what is no YAML stays text and is refused below
            value = yaml.safe_load(value)
    kind = type(default)
    if kind is float and type(value) in (int, str):
        with contextlib.suppress(ValueError):
            return float(value)  # YAML takes 1e-3 for text
    if kind is tuple and type(value) is list:
        return tuple(value)
    if type(value) is not kind:
        raise InputError(f"{label} is {value!r}; a value like its default {default!r} ({kind.__name__}) is accepted")
    return value


def read_notebook(path: Path) -> nbformat.NotebookNode:
    """Read a notebook in format 4.

    Raises:
        InputError: if the file is missing or no notebook.
    """
    if not path.is_file():
        raise InputError(f"notebook {path} does not exist; give the path of a .ipynb file or its number, such as 05")
    try:
        return nbformat.read(path, as_version=4)
    except (
        nbformat.reader.NotJSONError,
        nbformat.ValidationError,
        UnicodeDecodeError,
        KeyError,
        AttributeError,
        TypeError,
        ValueError,
    ):
        raise InputError(f"{path} is no Jupyter notebook; give the path of a .ipynb file") from None
