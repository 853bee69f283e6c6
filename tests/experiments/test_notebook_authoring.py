"""Notebooks from text and back, and executed in place."""

from __future__ import annotations

import nbformat
import pytest

from gnnq_lib.errors import InputError
from gnnq_lib.experiments.notebook_authoring import from_percent, refresh, tidy, to_percent
from gnnq_lib.experiments.notebook_runner import NotebookError
from tests.toy_notebooks import TOY, write_toy


def test_percent_by_hand():
    notebook = from_percent('# %% [markdown]\n# # Title\n#\n# Text\n\n# %% tags=["a", "b"]\nx = 1\n\ny = 2\n\n')
    markdown, code = notebook.cells
    assert (markdown.cell_type, markdown.source) == ("markdown", "# Title\n\nText")
    assert (code.source, code.metadata.tags) == ("x = 1\n\ny = 2", ["a", "b"])
    assert notebook.metadata.kernelspec.name == "python3"
    nbformat.validate(notebook)


def test_round_trip_keeps_cells_tags_and_ids():
    notebook = from_percent(TOY)
    assert from_percent(to_percent(notebook)) == notebook


@pytest.mark.parametrize(
    ("text", "message"),
    [("x = 1\n# %%\n", "line 1 stands before"), ("# %%\n# %% [raw]\n", "line 2 is '# %% .raw.'")],
    ids=["before the first cell", "unknown mark"],
)
def test_malformed_percent(text, message):
    with pytest.raises(InputError, match=message):
        from_percent(text)


def test_refresh_stores_counts_and_outputs(tmp_path):
    path = write_toy(tmp_path)
    refresh(path)
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == [1, 2, 3]
    assert cells[1].outputs[0].data["text/plain"] == "4"
    assert cells[0].metadata == {"tags": ["parameters"]}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1 / 0", "a cell failed with ZeroDivisionError"),
        ("import warnings; warnings.warn('careful')", "cell 2 writes to stderr: .*careful|cell 2 writes to stderr"),
    ],
    ids=["error", "warning"],
)
def test_refresh_writes_nothing_if_a_cell_fails_or_warns(tmp_path, line, message):
    path = write_toy(tmp_path, TOY.replace("levels = 2**bits", line + "\nlevels = 4"))
    before = path.read_bytes()
    with pytest.raises(NotebookError, match=message):
        refresh(path)
    assert path.read_bytes() == before


def test_tidy_joins_streams_and_drops_timing():
    cell = nbformat.v4.new_code_cell("", metadata={"tags": ["a"], "execution": {"iopub.execute_input": "now"}})
    cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=text) for text in ("a", "b")]
    notebook = nbformat.v4.new_notebook(cells=[cell], metadata={"widgets": {}})
    tidy(notebook)
    assert notebook.cells[0].metadata == {"tags": ["a"]}
    assert [output.text for output in notebook.cells[0].outputs] == ["ab"]
    assert set(notebook.metadata) == {"kernelspec", "language_info"}


def test_tags_in_single_quotes_are_refused():
    with pytest.raises(InputError, match="names in double quotes"):
        from_percent("# %% tags=['parameters']\na = 1\n")
