"""What every notebook must be: the template's parts in order, repeatable outputs, nothing of the author's machine.

`gnnq notebook check` prints the faults; a test runs the same checks over all notebooks.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

from nbformat import NotebookNode

from gnnq_lib.errors import InputError
from gnnq_lib.experiments.notebook_parameters import declared_parameters, read_notebook

CHECKED = "nbval-check-output"
MEASURED = "measured"  # timings and other numbers that differ from run to run
MAX_OUTPUT_BYTES = 300_000
SOLUTIONS = "solutions"

# Headings every notebook has, in this order; "Check your understanding" may come as often as wanted.
HEADINGS = (
    "What you will learn",
    "Before you start",
    "Check your understanding",
    "Exercises",
    "Summary",
    "Where the release differs",
)
_ABSOLUTE = re.compile(r"(?<![\w./:])(?:/(?:work|root|home|tmp|Users|mnt|opt|var)/\w|[A-Z]:\\\w)")
_IMAGES = ("image/svg+xml", "image/jpeg", "application/pdf")


def faults(path: Path) -> list[str]:
    """Everything that is wrong with a notebook, in words; an empty list if nothing is.

    Args:
        path: `notebooks/NN_name.ipynb`, or `notebooks/solutions/NN_name.ipynb`, of which less is asked.
    """
    notebook = read_notebook(path)
    found = list(_output_faults(notebook))
    if path.parent.name != SOLUTIONS:
        found += [*_title_faults(path, notebook), *_heading_faults(notebook), *_parameter_faults(notebook)]
        found += [*_checked_faults(notebook), *_solution_faults(path, notebook)]
    return found


def _code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]


def _tags(cell: NotebookNode) -> list[str]:
    return cell.metadata.get("tags", [])


def _label(cell: NotebookNode) -> str:
    return f"cell {cell.get('execution_count') or cell.get('id')}"


def _text(notebook: NotebookNode) -> str:
    return "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def _output_faults(notebook: NotebookNode) -> Iterator[str]:
    cells = _code_cells(notebook)
    counts = [cell.execution_count for cell in cells]
    if counts != list(range(1, len(cells) + 1)):
        yield f"execution counts are {counts}; run it from top to bottom in a fresh kernel (gnnq notebook refresh)"
    if notebook.metadata.get("kernelspec", {}).get("name") != "python3":
        yield "the kernel is not python3"
    for cell in notebook.cells:
        if _ABSOLUTE.search(cell.source):
            yield f"{_label(cell)}: an absolute path in its source: {_ABSOLUTE.search(cell.source).group()!r}"
        if set(cell.metadata) - {"tags"}:
            yield f"{_label(cell)}: metadata besides tags: {', '.join(sorted(set(cell.metadata) - {'tags'}))}"
        for output in cell.get("outputs", []):
            yield from _one_output(_label(cell), output, "raises-exception" in _tags(cell))


def _one_output(label: str, output: NotebookNode, may_raise: bool) -> Iterator[str]:
    data = output.get("data", {})
    if output.get("name") == "stderr":
        yield f"{label}: stored stderr (a warning or progress bar): {output.text.strip()[:80]!r}"
    if output.output_type == "error" and not may_raise:
        yield f"{label}: a stored error"
    if len(json.dumps(output)) > MAX_OUTPUT_BYTES:
        yield f"{label}: an output of {len(json.dumps(output)) // 1000} KB; at most {MAX_OUTPUT_BYTES // 1000} KB"
    for kind in _IMAGES:
        if kind in data:
            yield f"{label}: an image of type {kind}; PNG is accepted"
    words = json.dumps([output.get("text"), output.get("traceback"), data.get("text/plain"), data.get("text/html")])
    if found := _ABSOLUTE.search(words.replace("\\n", "\n")):
        yield f"{label}: an absolute path in its output: {found.group()!r}"


def _title_faults(path: Path, notebook: NotebookNode) -> Iterator[str]:
    first = notebook.cells[0] if notebook.cells else None
    if first is None or first.cell_type != "markdown" or not re.match(rf"# {path.name[:2]}\b", first.source):
        yield f"the first cell must be markdown that begins with '# {path.name[:2]} ...'"
        return
    for word in ("Paper", "Run time", "CPU", "Data"):
        if word not in first.source:
            yield f"the first cell does not say {word!r} (paper section, run time, CPU or GPU, data)"


def _heading_faults(notebook: NotebookNode) -> Iterator[str]:
    lines = _text(notebook).splitlines()
    headings = [line.lstrip("#").strip().lower() for line in lines if re.match(r"#{2,4} ", line)]
    places = []
    for wanted in HEADINGS:
        matches = [place for place, heading in enumerate(headings) if heading.startswith(wanted.lower())]
        if matches:
            places.append(matches[0])
        else:
            yield f"no heading '{wanted}'"
    if places != sorted(places):
        yield f"headings out of order; the order is {', '.join(HEADINGS)}"
    points = re.search(r"^## What you will learn\n(.*?)(?=^#|\Z)", _text(notebook), re.MULTILINE | re.DOTALL)
    if points and not 3 <= len(re.findall(r"^\s*(?:[-*]|\d+\.) ", points[1], re.MULTILINE)) <= 5:
        yield "'What you will learn' must list 3 to 5 points"


def _parameter_faults(notebook: NotebookNode) -> Iterator[str]:
    try:
        declared_parameters(notebook)
    except InputError as error:
        yield str(error)
        return
    (cell,) = (cell for cell in notebook.cells if "parameters" in _tags(cell))
    for line in (line for line in cell.source.splitlines() if line.strip() and not line.startswith("#")):
        try:
            one_statement = len(ast.parse(line).body) == 1
        except SyntaxError:
            one_statement = False
        if not one_statement or "  # " not in line:
            yield f"parameter line {line!r}: one 'name: type = literal  # help' per line is accepted"
    if cell is not _code_cells(notebook)[0]:
        yield "the parameters cell must be the first code cell"


def _checked_faults(notebook: NotebookNode) -> Iterator[str]:
    cells = [cell for cell in _code_cells(notebook) if CHECKED in _tags(cell)]
    if not cells:
        yield f"no cell is tagged {CHECKED}: nothing is compared when the notebook is tested"
    for cell in cells:
        if not (cell.execution_count and cell.outputs):
            yield f"{_label(cell)}: tagged {CHECKED} without a count and an output: it checks nothing"
        if MEASURED in _tags(cell):
            yield f"{_label(cell)}: tagged both {MEASURED} and {CHECKED}; measured numbers differ from run to run"


def _solution_faults(path: Path, notebook: NotebookNode) -> Iterator[str]:
    sibling = path.parent / SOLUTIONS / path.name
    exercises = set(re.findall(r"^#+ Exercise (\d+)", _text(notebook), re.MULTILINE))
    if not exercises:
        yield "no '### Exercise 1' under Exercises"
    if not sibling.is_file():
        yield f"no solutions: {SOLUTIONS}/{path.name} is missing"
        return
    solved = set(re.findall(r"^#+ Exercise (\d+)", _text(read_notebook(sibling)), re.MULTILINE))
    for number in sorted(exercises - solved):
        yield f"exercise {number} has no solution in {SOLUTIONS}/{path.name}"
