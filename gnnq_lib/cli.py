"""The command line `gnnq`. Errors are one sentence; exit code 2 for bad input, 1 for what could not be had or failed.

Nothing heavy is imported before a command needs it, so that `gnnq --help` answers at once. Other parts of the library
add commands through a function `register(app)` in a `commands.py` of their own (see `COMMAND_MODULES`).
"""

from __future__ import annotations

import importlib
import json
import logging
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from gnnq_lib.errors import DataUnavailableError, InputError

app = typer.Typer(
    help="Low-bit graph neural networks: run, measure, reproduce.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
data = typer.Typer(help="Data sets: what is available, from where, checksums.", no_args_is_help=True)
bench = typer.Typer(
    help="Benchmarks: low-bit beside full-precision and library peers, in one run.", no_args_is_help=True
)
notebook = typer.Typer(help="Single notebooks: run with other parameters, build, refresh.", no_args_is_help=True)
app.add_typer(data, name="data")
app.add_typer(bench, name="bench")
app.add_typer(notebook, name="notebook")

# Package with a commands.py -> the typer app that its register() gets.
COMMAND_MODULES = {"benchmarks": bench, "deployment": app, "recommendation": app, "reporting": app}

JsonFile = Annotated[Path | None, typer.Option("--json", help="Also write the numbers to this JSON file.")]
Jobs = Annotated[int, typer.Option(help="How many at a time, each in a process of its own.", min=1)]


def _register_commands() -> None:
    for package, target in COMMAND_MODULES.items():
        if (Path(__file__).parent / package / "commands.py").is_file():
            importlib.import_module(f"gnnq_lib.{package}.commands").register(target)


_register_commands()


def write_json(path: Path | None, numbers: Any) -> None:
    """Write a command's numbers with their provenance to `path`; does nothing without a path.

    Args:
        path: the file of `--json`, or None.
        numbers: anything JSON can hold.
    """
    if path is None:
        return
    from gnnq_lib.experiments.provenance import provenance
    from gnnq_lib.files import atomic_write

    atomic_write(path, json.dumps({**provenance(), "results": numbers}, indent=2) + "\n")


def print_table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """Print a table; columns after the first are aligned right where they hold numbers."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 140)
    table = Table(title=title, title_justify="left")
    for index, name in enumerate(columns):
        numeric = any(row[index][:1].isdigit() for row in rows)
        table.add_column(name, justify="right" if numeric and index else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    console.print(table)


@app.command()
def reproduce(
    profile: Annotated[str, typer.Option(help="quick (the notebooks' defaults) or paper.")] = "quick",
    only: Annotated[str, typer.Option(help="Numbers of notebooks, such as 05,10; all if not given.")] = "",
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget earlier runs of these notebooks first.")] = False,
    jobs: Jobs = 2,
    json_file: JsonFile = None,
) -> None:
    """Run the notebooks, draw the figures, print the results. Run again, it continues where it stopped."""
    from gnnq_lib.experiments.notebook_runner import notebook_paths, profile_results, run_notebooks
    from gnnq_lib.experiments.report import results_table
    from gnnq_lib.plotting import draw_figures

    chosen = [name.strip() for name in only.split(",") if name.strip()]
    typer.echo(f"profile {profile}: {len(chosen or notebook_paths())} notebooks, {jobs} at a time")
    run_notebooks(profile, chosen, fresh, jobs, say=typer.echo)
    draw_figures(say=typer.echo)
    table = results_table(*profile_results(profile))
    if table.empty:
        typer.echo("no accuracy was measured by these notebooks")
    else:
        print_table(f"Measured, profile {profile}", list(table.columns), table.to_numpy().tolist())
    write_json(json_file, table.to_dict("records"))


@app.command()
def figures(only: Annotated[str, typer.Option(help="Names of figures, separated by commas.")] = "") -> None:
    """Redraw the figures from the stored results; nothing is trained."""
    from gnnq_lib.plotting import draw_figures

    draw_figures([name.strip() for name in only.split(",") if name.strip()], say=typer.echo)


@app.command()
def readme() -> None:
    """Write the README's tables anew from the stored results."""
    from gnnq_lib.experiments.readme import update
    from gnnq_lib.paths import project_root

    update(project_root() / "README.md")


@app.command("run")
def run_table(
    table: Annotated[str, typer.Argument(help="Name of a table (see `gnnq tables`) or path of a YAML file.")],
    jobs: Jobs = 1,
    seeds: Annotated[int | None, typer.Option(help="Seeds 0 .. N-1 instead of the table's.", min=1)] = None,
    only: Annotated[list[str] | None, typer.Option(help="Only runs with this setting: name=value, repeatable.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto: cuda where there is one.")] = "auto",
    json_file: JsonFile = None,
) -> None:
    """Run the experiments of one published table or figure; what is in data/results is not run again."""
    from gnnq_lib.experiments import ResultsStore, load_table, run_all
    from gnnq_lib.experiments.config import config_key, default_device
    from gnnq_lib.experiments.report import results_table
    from gnnq_lib.experiments.tables import select

    loaded = load_table(table, seeds, default_device() if device == "auto" else device)
    configs = select(loaded.configs, only or [])
    store = ResultsStore(loaded.name)
    typer.echo(f"{loaded.title}: {len(configs)} runs")
    if taken := store.adopt(configs):
        typer.echo(f"{taken} runs taken over from other tables that have the same settings")
    report = run_all(configs, loaded.run_one, store, jobs, say=typer.echo)
    frame = store.frame()
    frame = frame[frame.config_key.isin({config_key(config) for config in configs})]
    summary = results_table(frame, store.configs())
    if not summary.empty:
        print_table(loaded.title, list(summary.columns), summary.to_numpy().tolist())
    typer.echo(f"{report}; rows in {store.path}")
    write_json(json_file, summary.to_dict("records"))
    if report.failed:
        raise typer.Exit(1)


@app.command()
def tables() -> None:
    """List the tables and figures that `gnnq run` knows, with how many of their runs are stored."""
    from gnnq_lib.experiments import ResultsStore, config_key, load_table, table_names

    for name in table_names():
        table, present = load_table(name), ResultsStore(name).keys()
        stored = sum(config_key(config) in present for config in table.configs)
        typer.echo(f"{name}: {table.title} ({stored} of {len(table.configs)} runs stored)")


@app.command()
def prune(
    table: Annotated[str, typer.Argument(help="Name of a table (see `gnnq tables`).")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say how many they are.")] = False,
) -> None:
    """Remove the stored runs of a table whose settings or seeds its YAML does not have (any more)."""
    from gnnq_lib.experiments import ResultsStore, config_key, load_table

    loaded = load_table(table)
    store = ResultsStore(loaded.name)
    foreign = store.keys() - {config_key(config) for config in loaded.configs}
    if not dry_run:
        store.remove(foreign)
    typer.echo(f"{len(foreign)} runs {'would be ' * dry_run}removed from {store.path}")


@app.command()
def info(json_file: JsonFile = None) -> None:
    """Show versions, processor, active kernels, folders and where data come from."""
    import os

    from gnnq_lib import paths
    from gnnq_lib.experiments.provenance import provenance
    from gnnq_lib.kernels import kernel_info

    facts: dict[str, Any] = {**provenance()}
    facts.update({f"kernels: {name}": value for name, value in kernel_info().items()})
    facts["project folder"] = str(paths.project_root())
    facts["results folder"] = str(paths.results_dir())
    facts["cache folder"] = str(paths.cache_dir())
    facts["GNNQ_DATA"] = os.environ.get("GNNQ_DATA", "not set")
    for name, value in facts.items():
        typer.echo(f"{name}: {', '.join(map(str, value)) if isinstance(value, list | tuple) else value}")
    write_json(json_file, facts)


@data.command("list")
def data_list(json_file: JsonFile = None) -> None:
    """List the data sets: sizes, default split, where each would come from now."""
    from gnnq_lib.datasets import DATASETS
    from gnnq_lib.datasets.interactions_registry import INTERACTION_SETS
    from gnnq_lib.datasets.sources import at_hand
    from gnnq_lib.naming import dataset_title

    columns = ["name", "title", "nodes", "edges", "features", "classes", "split", "at hand"]
    rows = []
    for name, spec in DATASETS.items():
        place = at_hand([form for form, _ in spec.forms]) if spec.forms else "embedded"
        sizes = (spec.num_nodes, spec.num_edges, spec.num_features, spec.num_classes)
        rows.append(
            [name, dataset_title(name), *(f"{size:,}" for size in sizes), spec.split, place or "no: gnnq data fetch"]
        )
    print_table("Data sets for node classification", columns, rows)
    columns_2 = ["name", "title", "users", "items", "training", "test", "at hand"]
    rows_2 = []
    for name, spec in INTERACTION_SETS.items():
        place = at_hand([form for form, _ in spec.forms]) if spec.forms else "generated"
        sizes = (spec.num_users, spec.num_items, spec.num_train, spec.num_test)
        rows_2.append([name, dataset_title(name), *(f"{size:,}" for size in sizes), place or "no: gnnq data fetch"])
    print_table("Data sets for recommendation", columns_2, rows_2)
    tables = [dict(zip(columns, row)) for row in rows] + [dict(zip(columns_2, row)) for row in rows_2]
    write_json(json_file, tables)


@data.command("fetch")
def data_fetch(name: Annotated[str, typer.Argument(help="Name of a data set; see `gnnq data list`.")]) -> None:
    """Get a data set into the cache, verified, and say where it came from."""
    from gnnq_lib.datasets import load_dataset
    from gnnq_lib.datasets.interactions_registry import INTERACTION_SETS, load_interactions

    typer.echo((load_interactions if name in INTERACTION_SETS else load_dataset)(name).describe())


@data.command("verify")
def data_verify() -> None:
    """Check every raw file in GNNQ_DATA and the cache against its SHA-256."""
    from gnnq_lib.datasets.sources import verify_files

    states = verify_files()
    for file, genuine in states.items():
        typer.echo(f"{'ok' if genuine else 'ALTERED'}  {file}")
    altered = [file for file, genuine in states.items() if not genuine]
    typer.echo(f"{len(states)} files, {len(altered)} altered")
    if altered:
        raise typer.Exit(1)


@notebook.command("run")
def notebook_run(
    name: Annotated[str, typer.Argument(help="Path or number of a notebook.")],
    parameter: Annotated[list[str] | None, typer.Option("--parameter", "-p", help="name=value, repeatable.")] = None,
) -> None:
    """Run one notebook with other parameters than its defaults; the executed copy goes to runs/custom."""
    from gnnq_lib.experiments.notebook_parameters import parse_assignments
    from gnnq_lib.experiments.notebook_runner import run_notebook

    run_notebook(name, parse_assignments(parameter or []), say=typer.echo)


@notebook.command("refresh")
def notebook_refresh(names: Annotated[list[str], typer.Argument(help="Paths or numbers of notebooks.")]) -> None:
    """Execute notebooks in place and store their outputs, for authors."""
    from gnnq_lib.experiments.notebook_authoring import refresh
    from gnnq_lib.experiments.notebook_runner import find_notebook

    for path in [find_notebook(name) for name in names]:
        typer.echo(f"{path.stem}: refreshed in {refresh(path):.0f} s")


@notebook.command("check")
def notebook_check(names: Annotated[list[str], typer.Argument(help="Paths or numbers of notebooks.")]) -> None:
    """Say what in notebooks departs from the template; exit code 1 if anything does."""
    from gnnq_lib.experiments.notebook_hygiene import faults
    from gnnq_lib.experiments.notebook_runner import find_notebook

    found = [f"{path.name}: {fault}" for path in map(find_notebook, names) for fault in faults(path)]
    for line in found or ["no faults"]:
        typer.echo(line)
    if found:
        raise typer.Exit(1)


@notebook.command("build")
def notebook_build(
    script: Annotated[Path, typer.Argument(help="Python file in percent form (# %% and # %% [markdown]).")],
    out: Annotated[Path, typer.Argument(help="The .ipynb to write.")],
) -> None:
    """Build a notebook from a script in percent form, for authors; outputs come with `refresh`."""
    from gnnq_lib.experiments.notebook_authoring import from_percent, write_notebook

    if not script.is_file():
        raise InputError(f"{script} does not exist; give a Python file in percent form")
    write_notebook(from_percent(script.read_text()), out)
    typer.echo(f"{out} written, without outputs")


@notebook.command("export")
def notebook_export(name: Annotated[str, typer.Argument(help="Path or number of a notebook.")]) -> None:
    """Print a notebook in percent form, to be edited and built again."""
    from gnnq_lib.experiments.notebook_authoring import to_percent
    from gnnq_lib.experiments.notebook_parameters import read_notebook
    from gnnq_lib.experiments.notebook_runner import find_notebook

    typer.echo(to_percent(read_notebook(find_notebook(name))), nl=False)


def main() -> None:
    """Entry point: run a command and turn the library's errors into one line and an exit code."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.getLogger().setLevel(logging.WARNING)
    logging.getLogger("gnnq_lib").setLevel(logging.INFO)
    try:
        app()
    except InputError as error:
        _fail(error, 2)
    except (DataUnavailableError, OSError) as error:
        _fail(error, 1)
    except RuntimeError as error:
        from gnnq_lib.experiments.notebook_runner import NotebookError

        if not isinstance(error, NotebookError):
            raise
        _fail(error, 1)


def _fail(error: Exception, code: int) -> None:
    typer.echo(f"Error: {error}", err=True)
    raise SystemExit(code)
