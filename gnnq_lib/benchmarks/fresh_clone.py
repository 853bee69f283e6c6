"""How long installation and the README's two commands take in a fresh clone, and each notebook in it."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from gnnq_lib.errors import InputError
from gnnq_lib.experiments.provenance import processor
from gnnq_lib.paths import project_root

COMMANDS = ("make install", "make reproduce", "make test")


def run(
    folder: Path | str,
    commands: Sequence[str] = COMMANDS,
    source: Path | str | None = None,
    say: Callable[[str], object] = print,
) -> list[dict]:
    """Clone a repository's last commit, run commands in it one after the other, and time them.

    Raw data of this machine are not used: GNNQ's variables are left out of the commands' environment.

    Args:
        folder: where the clone goes; must not exist.
        commands: each is a row; by default installation, `make reproduce` and `make test`.
        source: the repository; this project's by default.
        say: takes a line per command.

    Returns:
        A row per command, and one per notebook of the quick profile that the commands ran, with seconds.

    Raises:
        InputError: the folder exists, cloning or a command failed.
    """
    folder = Path(folder)
    if folder.exists():
        raise InputError(f"{folder} exists; give a folder that does not")
    log = folder.with_name(folder.name + ".log")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GNNQ_")}
    _call(["git", "clone", "--quiet", str(source or project_root()), str(folder)], None, environment, log)
    rows = []
    for command in commands:
        start = time.perf_counter()
        _call(command.split(), folder, environment, log)
        rows.append(_row(command, "command", time.perf_counter() - start))
        say(f"{command}: {rows[-1]['seconds']} s")
    for record in sorted((folder / "runs" / "quick").glob("*.json")):
        rows.append(_row(record.stem, "notebook", json.loads(record.read_text())["seconds"]))
    return rows


def _call(command: Sequence[str], folder: Path | None, environment: dict[str, str], log: Path) -> None:
    with log.open("a") as output:
        done = subprocess.run(
            command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT, check=False
        )
    if done.returncode:
        raise InputError(f"`{' '.join(command)}` ended with {done.returncode}; what it printed is in {log}")


def _row(case: str, path: str, seconds: float) -> dict:
    return {
        "bench": "fresh_clone",
        "case": case,
        "bits": 0,
        "path": path,
        "seconds": round(seconds),
        "processor": processor(),
        "cores": os.cpu_count(),
        "source": "package index",
    }
