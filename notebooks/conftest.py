"""For `pytest --nbval`: a notebook whose data cannot be had on this machine is skipped, with the reason."""

from __future__ import annotations

import functools

import nbformat
import pytest

from gnnq_lib.datasets import DATASETS, load_dataset
from gnnq_lib.datasets.interactions_registry import INTERACTION_SETS, load_interactions
from gnnq_lib.errors import DataUnavailableError


@functools.cache
def _reason_to_skip(path) -> str | None:
    code = "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code")
    sets = [(DATASETS, load_dataset), (INTERACTION_SETS, load_interactions)]
    for name, spec, load in [(name, spec, load) for known, load in sets for name, spec in known.items()]:
        if spec.forms and (f'"{name}"' in code or f"'{name}'" in code):
            try:
                load(name)
            except DataUnavailableError as error:
                return str(error)
    return None


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.suffix == ".ipynb" and (reason := _reason_to_skip(item.path)):
            item.add_marker(pytest.mark.skip(reason=reason))
