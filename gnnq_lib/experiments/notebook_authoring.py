"""Writing notebooks: from and to plain Python in percent form, and executed in place with tidy stored outputs.

The notebook is the file that is kept. To edit one as text: `to_percent`, change it, `from_percent`. The form is

    # %% [markdown]
    # # 05 Title
    # %% tags=["parameters"]
    bits: int = 2  # bits of every stage
"""

from __future__ import annotations

import json
import os
import re
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from gnnq_lib.errors import InputError
from gnnq_lib.experiments.kernel_start import retry_kernel_start
from gnnq_lib.experiments.notebook_parameters import read_notebook
from gnnq_lib.experiments.notebook_runner import KERNEL, NotebookError, kernel_environment
from gnnq_lib.experiments.provenance import usable_cores
from gnnq_lib.files import atomic_write
from gnnq_lib.paths import results_dir

_MARK = re.compile(r"^# %%(?P<markdown> \[markdown\])?(?: tags=(?P<tags>\[.*\]))?\s*$")
_METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": KERNEL},
    "language_info": {"name": "python"},
}


def from_percent(text: str) -> NotebookNode:
    """Build a notebook (without outputs) from percent form.

    Args:
        text: cells marked by `# %%` or `# %% [markdown]`, with optional `tags=["..."]`; markdown lines begin `# `.

    Raises:
        InputError: if text stands before the first mark or a mark is malformed; names the line.

    Example:
        >>> [cell.cell_type for cell in from_percent("# %% [markdown]\\n# # Title\\n# %%\\n1 + 1\\n").cells]
        ['markdown', 'code']
    """
    cells: list[tuple[re.Match, list[str]]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        mark = _MARK.match(line)
        if mark:
            cells.append((mark, []))
        elif line.startswith("# %%"):
            raise InputError(
                f'line {number} is {line!r}; # %% or # %% [markdown], then tags=["..."] if any, is accepted'
            )
        elif cells:
            cells[-1][1].append(line)
        elif line.strip():
            raise InputError(f"line {number} stands before the first cell; begin with a line # %% or # %% [markdown]")
    notebook = new_notebook(metadata=json.loads(json.dumps(_METADATA)))
    for index, (mark, lines) in enumerate(cells):
        metadata = {"tags": _tags(mark["tags"])} if mark["tags"] else {}
        if mark["markdown"]:
            source = "\n".join(re.sub("^# ?", "", line) for line in lines).strip("\n")
            cell = new_markdown_cell(source, metadata=metadata)
        else:
            cell = new_code_cell("\n".join(lines).strip("\n"), metadata=metadata)
        cell["id"] = f"cell-{index:02d}"  # the same on every build, so that a diff shows only what changed
        notebook.cells.append(cell)
    return notebook


def _tags(text: str) -> list[str]:
    try:
        return json.loads(text)
    except ValueError:
        raise InputError(f'tags={text} given; names in double quotes, tags=["..."], are accepted') from None


def to_percent(notebook: NotebookNode) -> str:
    """A notebook's cells in percent form, without outputs; `from_percent` gives the same cells again.

    Example:
        >>> to_percent(from_percent("# %%\\n1 + 1\\n"))
        '# %%\\n1 + 1\\n'
    """
    parts = []
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        mark = (
            "# %%"
            + (" [markdown]" if cell.cell_type == "markdown" else "")
            + (f" tags={json.dumps(tags)}" if tags else "")
        )
        lines = cell.source.split("\n")
        if cell.cell_type == "markdown":
            lines = [f"# {line}".rstrip() for line in lines]
        parts.append("\n".join([mark, *lines]) + "\n")
    return "\n".join(parts)


def write_notebook(notebook: NotebookNode, path: Path) -> Path:
    """Write a notebook in one step, in the form Jupyter writes it.

    Raises:
        InputError: if it is no valid notebook.
    """
    try:
        nbformat.validate(notebook)
    except nbformat.ValidationError as error:
        raise InputError(f"{path.name} would be no valid notebook: {str(error).splitlines()[0]}") from None
    return atomic_write(path, nbformat.writes(notebook) + "\n")


def refresh(path: Path) -> float:
    """Execute a notebook in place: counts and outputs stored, timing left out; nothing is written if a cell fails.

    Args:
        path: the notebook.

    Returns:
        Seconds it took.

    Raises:
        NotebookError: if a cell fails or writes to stderr (a warning, a progress bar): readers should see neither.
    """
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    notebook = read_notebook(path)
    start = time.perf_counter()
    with (
        tempfile.TemporaryDirectory() as folder,
        _environment(kernel_environment(Path(folder), usable_cores(), results_dir())),
    ):
        client = NotebookClient(
            notebook,
            kernel_name=KERNEL,
            timeout=None,
            record_timing=False,
            resources={"metadata": {"path": str(path.parent)}},
        )
        try:
            retry_kernel_start(client.execute)
        except CellExecutionError as error:
            raise NotebookError(f"{path.stem}: a cell failed with {error.ename}: {error.evalue}") from None
    tidy(notebook)
    for cell in notebook.cells:
        noisy = [output for output in cell.get("outputs", []) if output.get("name") == "stderr"]
        if noisy:
            count = cell.execution_count
            raise NotebookError(f"{path.stem}: cell {count} writes to stderr: {noisy[0].text.strip().splitlines()[-1]}")
    write_notebook(notebook, path)
    return time.perf_counter() - start


def tidy(notebook: NotebookNode) -> None:
    """Leave in a notebook what a reader needs: tags, counts, outputs; no timing, no widget state, no versions."""
    notebook.metadata = nbformat.from_dict(_METADATA)
    for cell in notebook.cells:
        tags = cell.metadata.get("tags")
        cell.metadata = nbformat.from_dict({"tags": tags} if tags else {})
        if "outputs" in cell:
            cell.outputs = _joined(cell.outputs)


def _joined(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Neighbouring pieces of the same stream as one; how they were cut depends on timing."""
    joined: list[NotebookNode] = []
    for output in outputs:
        last = joined[-1] if joined else None
        if last is not None and output.output_type == last.output_type == "stream" and output.name == last.name:
            last.text += output.text
        else:
            joined.append(output)
    return joined


@contextmanager
def _environment(values: dict[str, str]):
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
