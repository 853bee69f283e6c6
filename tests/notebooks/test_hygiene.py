"""Every notebook follows the template; see gnnq_lib/experiments/notebook_hygiene.py for the checks."""

from __future__ import annotations

import pytest

from gnnq_lib.experiments.notebook_hygiene import faults
from gnnq_lib.experiments.notebook_runner import notebook_paths
from gnnq_lib.paths import project_root

NOTEBOOKS = [*notebook_paths(), *sorted((project_root() / "notebooks" / "solutions").glob("*.ipynb"))]


def test_there_are_notebooks():
    assert NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_notebook_follows_the_template(path):
    found = faults(path)
    assert not found, "\n".join(found)
