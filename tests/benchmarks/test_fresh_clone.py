"""Timing of a fresh clone: a row per command and notebook, without this machine's settings; failures are named."""

from __future__ import annotations

import subprocess

import pytest

from gnnq_lib.benchmarks.fresh_clone import run
from gnnq_lib.errors import InputError

MAKEFILE = """
reproduce:
\tmkdir -p runs/quick && echo '{"seconds": 12.4}' > runs/quick/01_first.json
\techo "data: $(GNNQ_DATA)." > seen.txt
broken:
\tfalse
"""


@pytest.fixture
def repository(tmp_path):
    folder = tmp_path / "repository"
    folder.mkdir()
    (folder / "Makefile").write_text(MAKEFILE)
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    for command in (["init", "--quiet"], ["add", "."], [*identity, "commit", "--quiet", "-m", "first"]):
        subprocess.run(["git", *command], cwd=folder, check=True)
    return folder


def test_commands_and_notebooks_are_timed(repository, tmp_path, monkeypatch):
    monkeypatch.setenv("GNNQ_DATA", "of this machine")
    (repository / "Makefile").write_text("not committed")
    lines = []
    rows = run(tmp_path / "clone", ["make reproduce"], repository, lines.append)
    assert [(row["case"], row["path"]) for row in rows] == [("make reproduce", "command"), ("01_first", "notebook")]
    assert rows[1]["seconds"] == 12 and len(lines) == 1
    assert (tmp_path / "clone" / "seen.txt").read_text() == "data: .\n"


def test_failures_are_named(repository, tmp_path):
    with pytest.raises(InputError, match="`make broken` ended with 2; what it printed is in"):
        run(tmp_path / "clone", ["make broken"], repository)
    with pytest.raises(InputError, match="exists; give a folder that does not"):
        run(tmp_path / "clone", [], repository)
    with pytest.raises(InputError, match="git clone"):
        run(tmp_path / "other", [], tmp_path / "nowhere")
