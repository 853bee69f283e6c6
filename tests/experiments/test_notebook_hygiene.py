"""Each check of the template fires on a notebook that breaks it, and none on one that follows it."""

from __future__ import annotations

import nbformat
import pytest
from nbformat.v4 import new_output

from gnnq_lib.experiments.notebook_authoring import write_notebook
from gnnq_lib.experiments.notebook_hygiene import MAX_OUTPUT_BYTES, faults
from tests.toy_notebooks import TOY, write_toy


@pytest.fixture
def good(tmp_path):
    """The toy with outputs written by hand, as running it would leave them."""
    return fill(write_toy(tmp_path))


def fill(path):
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for count, cell in enumerate(code, start=1):
        cell.execution_count = count
    code[1].outputs = [new_output("execute_result", {"text/plain": "4"}, execution_count=2)]
    return write_notebook(notebook, path)


def test_a_good_notebook_has_no_faults(good):
    assert faults(good) == []
    solutions = good.parent / "solutions" / good.name
    assert faults(fill_one(solutions)) == []


def fill_one(path):
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[1].execution_count = 1
    return write_notebook(notebook, path)


TEXT_FAULTS = {
    "title": (("# # 01 A toy", "# # 02 A toy"), "begins with '# 01"),
    "badges": (("Run time: 1 s", "Fast"), "does not say 'Run time'"),
    "heading missing": (("# ## Summary", "# Summary:"), "no heading 'Summary'"),
    "headings out of order": (("# ## Summary", "# ## Before you start"), "no heading 'Summary'"),
    "too few points": (("# - three\n", ""), "must list 3 to 5 points"),
    "no parameters": ((' tags=["parameters"]', ""), "0 cells tagged 'parameters'"),
    "derived parameter": (("bits: int = 2 ", "bits: int = 1 + 1 "), "parameter bits is derived"),
    "parameter without help": (("  # name of the run", ""), "parameter line"),
    "nothing checked": ((' tags=["nbval-check-output"]', ""), "no cell is tagged nbval-check-output"),
    "measured and checked": (('["nbval-check-output"]', '["nbval-check-output", "measured"]'), "tagged both"),
    "absolute path": (("levels = 2**bits", "levels = '/home/me/data'"), "absolute path in its source: '/home/m"),
    "no exercise": (("# ### Exercise 1\n", ""), "no '### Exercise 1'"),
    "unsolved exercise": (("# ### Exercise 1\n", "# ### Exercise 1\n# ### Exercise 2\n"), "exercise 2 has no solution"),
    "code before parameters": (
        ('# %% tags=["parameters"]', '# %%\nx = 1\n# %% tags=["parameters"]'),
        "first code cell",
    ),
}


@pytest.mark.parametrize(("change", "message"), TEXT_FAULTS.values(), ids=TEXT_FAULTS)
def test_faults_of_the_text(tmp_path, change, message):
    assert change[0] in TOY
    path = fill(write_toy(tmp_path, TOY.replace(*change)))
    assert any(message in fault for fault in faults(path)), faults(path)


def test_headings_in_another_order(tmp_path):
    text = TOY.replace("# ## Summary\n# Done.\n#\n", "").replace("# ## Exercises", "# ## Summary\n# ## Exercises")
    assert "headings out of order" in " ".join(faults(fill(write_toy(tmp_path, text))))


def no_count(cell):
    cell.execution_count = None


def set_output(**values):
    def change(cell):
        cell.outputs = [new_output(**values)]

    return change


OUTPUT_FAULTS = {
    "not run": (no_count, "execution counts are [1, None, 3]"),
    "check without output": (lambda cell: cell.update(outputs=[]), "it checks nothing"),
    "stderr": (set_output(output_type="stream", name="stderr", text="Warning"), "stored stderr"),
    "error": (set_output(output_type="error", ename="E", evalue="", traceback=[]), "a stored error"),
    "svg": (set_output(output_type="display_data", data={"image/svg+xml": "<svg/>"}), "image/svg+xml; PNG"),
    "too large": (set_output(output_type="stream", name="stdout", text="x" * (MAX_OUTPUT_BYTES + 1)), "300 KB"),
    "path": (
        set_output(output_type="stream", name="stdout", text="saved\n/home/x.csv"),
        "path in its output: '/home/x",
    ),
    "timing": (lambda cell: cell.metadata.update(execution={}), "metadata besides tags: execution"),
}


@pytest.mark.parametrize(("change", "message"), OUTPUT_FAULTS.values(), ids=OUTPUT_FAULTS)
def test_faults_of_the_outputs(good, change, message):
    notebook = nbformat.read(good, as_version=4)
    change([cell for cell in notebook.cells if cell.cell_type == "code"][1])
    write_notebook(notebook, good)
    assert any(message in fault for fault in faults(good)), faults(good)


def test_missing_solutions(good):
    (good.parent / "solutions" / good.name).unlink()
    assert faults(good) == ["no solutions: solutions/01_toy.ipynb is missing"]


@pytest.mark.parametrize("source", ["url = 'http://localhost/work/x'", "'./tmp/x'", "a /tmp_b"], ids=str)
def test_relative_paths_and_addresses_are_no_absolute_paths(tmp_path, source):
    path = fill(write_toy(tmp_path, TOY.replace("levels = 2**bits", f"levels = 4  # {source}")))
    assert faults(path) == []
