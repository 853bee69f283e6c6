"""Running notebooks by papermill: resumable, parameters checked, stopped at the first failing cell.

A finished notebook leaves `runs/<profile>/<name>.ipynb`, a record of what it was run with, and its results in
`runs/<profile>/results/<name>/`, which are merged into the results folder. It is skipped as long as its cells, its
parameters and the library are unchanged; if it was killed half-way, its runs are taken from those results.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from tqdm import tqdm

import gnnq_lib
from gnnq_lib.errors import DataUnavailableError, InputError
from gnnq_lib.experiments.kernel_start import retry_kernel_start
from gnnq_lib.experiments.notebook_parameters import check_parameters, declared_parameters, read_notebook
from gnnq_lib.experiments.provenance import usable_cores
from gnnq_lib.experiments.store import COLUMNS, ResultsStore, stores_in
from gnnq_lib.files import atomic_write, sha256_bytes
from gnnq_lib.paths import project_root, results_dir, runs_dir

PROFILES = ("quick", "paper")
KERNEL = "python3"
_PROFILE_FILE = Path(__file__).parent / "profiles.yaml"


class NotebookError(RuntimeError):
    """A cell of a notebook failed; the message names notebook, cell and error."""


@dataclass(frozen=True)
class NotebookRun:
    """One notebook to run: where it is, its parameters, the profile's folder, and the key of all that shapes it."""

    path: Path
    parameters: dict[str, Any]
    folder: Path
    key: str

    @property
    def executed(self) -> Path:
        """Where the executed copy goes."""
        return self.folder / self.path.name

    @property
    def record(self) -> Path:
        """Says with which key the notebook was finished, and in how many seconds."""
        return self.folder / f"{self.path.stem}.json"

    @property
    def results(self) -> Path:
        """The notebook's own results folder."""
        return self.folder / "results" / self.path.stem

    def seconds_of_finished(self) -> float | None:
        """Seconds the notebook took when it was finished with this very key; None if it was not."""
        try:
            record = json.loads(self.record.read_text())
        except (OSError, ValueError):
            return None
        return record["seconds"] if record.get("key") == self.key and self.executed.is_file() else None


def notebook_paths() -> list[Path]:
    """The notebooks in reading order: `notebooks/NN_*.ipynb`."""
    return sorted((project_root() / "notebooks").glob("[0-9][0-9]_*.ipynb"))


def find_notebook(name: str) -> Path:
    """A notebook by path, file name or number.

    Raises:
        InputError: if there is none.
    """
    if Path(name).suffix == ".ipynb" and Path(name).is_file():
        return Path(name)
    found = [path for path in notebook_paths() if name in (path.name, path.stem, path.name[:2])]
    if not found:
        numbers = ", ".join(path.name[:2] for path in notebook_paths()) or "none"
        raise InputError(f"notebook {name!r} does not exist; a path or one of the numbers {numbers} is accepted")
    return found[0]


def plan(path: Path, profile: str, given: Mapping[str, Any]) -> NotebookRun:
    """Check a notebook's parameters and work out its key: cells, parameters and the library's sources.

    Raises:
        InputError: for undeclared parameters or values of a wrong type.
    """
    notebook = read_notebook(path)
    declared = declared_parameters(notebook)
    parameters = check_parameters(path.stem, declared, given)
    if "profile" in declared and "profile" not in parameters and profile in PROFILES:
        parameters["profile"] = profile
    cells = [[cell.cell_type, cell.source, cell.metadata.get("tags", [])] for cell in notebook.cells]
    key = sha256_bytes(json.dumps([cells, parameters, library_hash()], sort_keys=True).encode())[:12]
    return NotebookRun(path, parameters, runs_dir() / profile, key)


def library_hash() -> str:
    """SHA-256 over the library's Python and YAML files, so that a changed library means a new run.

    Example:
        >>> len(library_hash())
        64
    """
    root = Path(gnnq_lib.__file__).parent
    files = sorted(file for file in root.rglob("*") if file.suffix in (".py", ".yaml"))
    return sha256_bytes(b"".join(f"{file.relative_to(root)}\0".encode() + file.read_bytes() + b"\0" for file in files))


def run_notebooks(
    profile: str = "quick",
    only: Sequence[str] = (),
    fresh: bool = False,
    jobs: int = 1,
    say: Callable[[str], object] = print,
) -> None:
    """Run the notebooks of a profile, in reading order; what is finished is skipped and said.

    Args:
        profile: "quick" (the notebooks' defaults) or "paper" (parameters from `profiles.yaml`).
        only: numbers of the notebooks to run; all if empty.
        fresh: forget earlier runs and results of these notebooks first.
        jobs: notebooks at a time, each with its share of the cores.
        say: takes one line per notebook.

    Raises:
        InputError: for an unknown profile, number or parameter.
        NotebookError: at the first failing cell; what else was finished by then is kept.
    """
    if profile not in PROFILES:
        raise InputError(f"profile is {profile!r}; {' or '.join(PROFILES)} is accepted")
    if jobs < 1:
        raise InputError(f"jobs is {jobs}; a number from 1 is accepted")
    paths = [find_notebook(name) for name in only] if only else notebook_paths()
    overrides = _overrides(profile)
    runs = [plan(path, profile, _with_data_at_hand(path, overrides.get(path.name[:2], {}), say)) for path in paths]
    if fresh:
        for run in runs:
            forget(run)
    todo = []
    for run in runs:
        seconds = run.seconds_of_finished()
        if seconds is None:
            todo.append(run)
        else:
            merge_results(run)
            say(f"{run.path.stem}: taken from {_from_root(run.executed)} (finished earlier in {seconds:.0f} s)")
    for run, seconds in tqdm(_execute_all(todo, jobs), total=len(todo), unit="notebook", disable=None):
        say(f"{run.path.stem}: done in {seconds:.0f} s")


EMBEDDED, EMBEDDED_INTERACTIONS = "digits", "power-law"


def _with_data_at_hand(path: Path, given: Mapping[str, Any], say: Callable[[str], object]) -> dict[str, Any]:
    """The given parameters, with an embedded data set in place of one that cannot be had on this machine."""
    from gnnq_lib.datasets import DATASETS, load_dataset
    from gnnq_lib.datasets.interactions_registry import INTERACTION_SETS, load_interactions

    name = given.get("dataset", declared_parameters(read_notebook(path)).get("dataset"))
    if name in DATASETS:
        load, embedded = load_dataset, EMBEDDED
    elif name in INTERACTION_SETS:
        load, embedded = load_interactions, EMBEDDED_INTERACTIONS
    else:
        return dict(given)
    try:
        load(name)
    except DataUnavailableError as error:
        say(f"{path.stem}: runs on the embedded data set {embedded}, because {error}")
        return {**given, "dataset": embedded}
    return dict(given)


def run_notebook(name: str, given: Mapping[str, Any], say: Callable[[str], object] = print) -> Path:
    """Run one notebook with other parameters than its defaults, always anew, into `runs/custom`.

    Args:
        name: path, file name or number.
        given: name -> value, or text as from a command line.
        say: takes one line.

    Returns:
        The executed copy.

    Raises:
        InputError, NotebookError: as for `run_notebooks`.
    """
    run = plan(find_notebook(name), "custom", given)
    forget(run)
    ((_, seconds),) = _execute_all([run], 1, merge=False)
    settings = ", ".join(f"{key}={value}" for key, value in run.parameters.items()) or "its defaults"
    say(f"{run.path.stem}: done in {seconds:.0f} s with {settings}; see {_from_root(run.executed)}")
    return run.executed


def forget(run: NotebookRun) -> None:
    """Remove what earlier runs of a notebook left in its profile's folder."""
    run.record.unlink(missing_ok=True)
    run.executed.unlink(missing_ok=True)
    shutil.rmtree(run.results, ignore_errors=True)


def merge_results(run: NotebookRun) -> None:
    """Copy a notebook's rows into the results folder, replacing those of the same configs."""
    for store in stores_in(run.results):
        ResultsStore(results_dir() / store.path.name).merge(store)


def profile_results(profile: str) -> tuple[pd.DataFrame, dict[str, dict]]:
    """What the notebooks of a profile have measured, from their own results folders: rows, and key -> config."""
    stores = stores_in(runs_dir() / profile / "results")
    frames = [store.frame() for store in stores] or [pd.DataFrame(columns=list(COLUMNS))]
    return pd.concat(frames, ignore_index=True), {k: v for store in stores for k, v in store.configs().items()}


def _from_root(path: Path) -> Path:
    return path.relative_to(project_root()) if path.is_relative_to(project_root()) else path


def _overrides(profile: str) -> dict[str, dict]:
    return (yaml.safe_load(_PROFILE_FILE.read_text()) or {}).get(profile) or {}


def _execute_all(runs: Sequence[NotebookRun], jobs: int, merge: bool = True):
    """Yield (run, seconds) as notebooks finish; a process per notebook, as kernels and event loops don't mix."""
    if not runs:
        return
    threads = max(1, usable_cores() // min(jobs, len(runs)))
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(jobs, len(runs)), context) as pool:
        futures = {pool.submit(_execute, run, threads): run for run in runs}
        try:
            for future in as_completed(futures):
                run = futures[future]
                seconds = future.result()
                if merge:
                    merge_results(run)
                yield run, seconds
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def kernel_environment(folder: Path, threads: int, results: Path) -> dict[str, str]:
    """Environment for a kernel: the kernel `python3` is this interpreter, figures are inline, cores are shared.

    Args:
        folder: where the kernel's description is written.
        threads: cores for the kernel.
        results: its results folder.
    """
    from ipykernel.kernelspec import get_kernel_dict

    atomic_write(folder / "jupyter" / "kernels" / KERNEL / "kernel.json", json.dumps(get_kernel_dict()))
    earlier = os.environ.get("JUPYTER_PATH")
    # A kernel starts in the notebook's folder, so relative paths of the caller's would point elsewhere.
    given = {name: os.environ[name] for name in ("GNNQ_DATA", "GNNQ_CACHE", "GNNQ_ROOT") if os.environ.get(name)}
    return {
        **{name: str(Path(value).absolute()) for name, value in given.items()},
        "JUPYTER_PATH": os.pathsep.join([str(folder.absolute() / "jupyter"), *([earlier] if earlier else [])]),
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "OMP_NUM_THREADS": str(threads),
        "GNNQ_RESULTS": str(results.absolute()),
        "PYTHONUNBUFFERED": "1",
    }


def _execute(run: NotebookRun, threads: int) -> float:
    """In a process that does nothing else: run a notebook, record that it is finished, return the seconds it took."""
    import papermill

    begun = run.results / ".key"
    if not begun.is_file() or begun.read_text() != run.key:  # results of other cells, settings or code don't count
        shutil.rmtree(run.results, ignore_errors=True)
        atomic_write(begun, run.key)
    run.record.unlink(missing_ok=True)
    os.environ.update(kernel_environment(run.folder, threads, run.results))
    with open(run.folder / f"{run.path.stem}.log", "wb") as log:
        os.dup2(log.fileno(), sys.stderr.fileno())  # what the kernel process itself says while starting and ending
    start = time.perf_counter()
    try:
        retry_kernel_start(lambda: _run_cells(run))
    except papermill.PapermillExecutionError as error:
        message = f"{run.path.stem}: cell {error.exec_count} failed with {error.ename}: {error.evalue}"
        raise NotebookError(f"{message} (executed so far: {_from_root(run.executed)})") from None
    seconds = time.perf_counter() - start
    atomic_write(run.record, json.dumps({"key": run.key, "seconds": round(seconds, 1), "parameters": run.parameters}))
    return seconds


def _run_cells(run: NotebookRun) -> None:
    """All cells of a notebook in a kernel of its own."""
    import papermill

    papermill.execute_notebook(
        str(run.path),
        str(run.executed),
        parameters=run.parameters,
        kernel_name=KERNEL,
        cwd=str(run.path.parent),
        progress_bar=False,
    )
