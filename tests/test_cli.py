"""The command line as a user meets it: exit codes, one-sentence errors, JSON, no traceback."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import SimpleNamespace

import pytest

from gnnq_lib.cli import main
from tests.toy_notebooks import write_toy

TABLE = """
title: A toy table
runner: node_classification
base: {dataset: csbm, split: random, epochs: 2, hidden: 4}
grid: {bits: [32]}
seeds: 1
"""


def gnnq(*arguments):
    """Run the command line in this process, as its entry point would; an unexpected exception is passed on."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", ["gnnq", *map(str, arguments)])
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = stop.code
    return SimpleNamespace(returncode=code or 0, stdout=out.getvalue(), stderr=err.getvalue())


def test_help_is_quick_and_imports_no_torch():
    code = "import sys, gnnq_lib.cli; print('torch' in sys.modules, 'pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False False\n"
    assert "reproduce" in gnnq("--help").stdout


def test_the_installed_command_exits_with_its_code():
    command = Path(sys.executable).with_name("gnnq")
    if not command.exists():
        pytest.skip("the package is not installed in this environment")
    run = subprocess.run([command, "run", "nothing"], capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr.startswith("Error: table 'nothing' is unknown") and run.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["data", "fetch", "coar"], 2, "data set 'coar' is unknown (did you mean cora?)"),
        (["data", "fetch", "cora"], 1, "could not be had from any source"),
        (["run", "nothing"], 2, "table 'nothing' is unknown"),
        (["figures", "--only", "nothing"], 2, "figure 'nothing' is unknown"),
        (["reproduce", "--profile", "slow"], 2, "profile is 'slow'"),
        (["notebook", "run", "99"], 2, "notebook '99' does not exist"),
        (["notebook", "run", "99", "-p", "bits"], 2, "parameter 'bits' has no value"),
        (["notebook", "build", "nothing.py", "out.ipynb"], 2, "nothing.py does not exist"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_errors_are_one_sentence_with_their_exit_code(arguments, code, message):
    run = gnnq(*arguments)
    assert run.returncode == code
    assert run.stderr.startswith("Error: ") and message in run.stderr
    assert run.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "arguments", [["bogus"], ["reproduce", "--bogus"], ["run"], ["run", "x", "--jobs", "0"]], ids=str
)
def test_usage_errors_exit_with_2(arguments):
    run = gnnq(*arguments)
    assert run.returncode == 2 and "Traceback" not in run.stderr


def test_data_list_and_its_json(tmp_path):
    run = gnnq("data", "list", "--json", tmp_path / "list.json")
    assert run.returncode == 0 and "Coauthor Physics" in run.stdout
    content = json.loads((tmp_path / "list.json").read_text())
    assert content["results"][0]["name"] == "cora"
    assert "torch" in content["versions"]


def test_data_verify_names_altered_files(tmp_path, monkeypatch):
    folder = tmp_path / "planetoid" / "Cora" / "raw"
    folder.mkdir(parents=True)
    (folder / "ind.cora.x").write_bytes(b"altered")
    monkeypatch.setenv("GNNQ_DATA", str(tmp_path))
    run = gnnq("data", "verify")
    assert run.returncode == 1
    assert f"ALTERED  {folder / 'ind.cora.x'}" in run.stdout
    assert "1 files, 1 altered" in run.stdout


def test_fetch_of_an_embedded_set_says_where_it_came_from():
    assert "from scikit-learn" in gnnq("data", "fetch", "digits").stdout


def test_info_names_kernels_and_versions():
    run = gnnq("info")
    assert run.returncode == 0 and "isa_active" in run.stdout and "torch 2" in run.stdout


def test_run_a_table_twice(tmp_path):
    (tmp_path / "toy.yaml").write_text(TABLE)
    arguments = ["run", tmp_path / "toy.yaml", "--only", "bits=32", "--json", tmp_path / "toy.json"]
    first = gnnq(*arguments)
    assert first.returncode == 0, first.stderr
    assert "1 computed, 0 taken" in first.stdout and "test_accuracy" in first.stdout
    assert "0 computed, 1 taken from the store" in gnnq(*arguments).stdout
    assert "0 runs removed" in gnnq("prune", tmp_path / "toy.yaml").stdout
    (tmp_path / "toy.yaml").write_text(TABLE.replace("32", "8"))
    assert "1 runs would be removed" in gnnq("prune", tmp_path / "toy.yaml", "--dry-run").stdout
    assert "1 runs removed" in gnnq("prune", tmp_path / "toy.yaml").stdout
    assert "0 runs removed" in gnnq("prune", tmp_path / "toy.yaml").stdout
    assert json.loads((tmp_path / "toy.json").read_text())["results"][0]["bits"] == "32"


def test_run_with_a_setting_no_run_has(tmp_path):
    (tmp_path / "toy.yaml").write_text(TABLE)
    assert "no run of the table has bits=3" in gnnq("run", tmp_path / "toy.yaml", "--only", "bits=3").stderr
    assert "setting 'bitz' is unknown" in gnnq("run", tmp_path / "toy.yaml", "--only", "bitz=3").stderr


def test_reproduce_prints_the_results_table(tmp_path, monkeypatch):
    monkeypatch.setenv("GNNQ_ROOT", str(tmp_path))
    write_toy(tmp_path)
    run = gnnq("reproduce", "--json", tmp_path / "out.json")
    assert run.returncode == 0, run.stderr
    assert "80.5 ± 0.7 (2)" in run.stdout
    assert json.loads((tmp_path / "out.json").read_text())["results"][0]["mean ± std (n)"] == "80.5 ± 0.7 (2)"


def test_failing_notebook_exits_with_1_and_no_traceback(tmp_path, monkeypatch):
    monkeypatch.setenv("GNNQ_ROOT", str(tmp_path))
    write_toy(tmp_path, '# %% tags=["parameters"]\nbits: int = 2  # bits\n# %%\n1 / 0\n')
    run = gnnq("notebook", "run", "01")
    assert run.returncode == 1
    assert "Error: 01_toy: cell 2 failed with ZeroDivisionError" in run.stderr
    assert "Traceback" not in run.stderr


def test_build_check_export(tmp_path):
    script = tmp_path / "a.py"
    script.write_text("# %% [markdown]\n# # 01 A\n\n# %%\n1 + 1\n")
    assert gnnq("notebook", "build", script, tmp_path / "01_a.ipynb").returncode == 0
    assert gnnq("notebook", "export", tmp_path / "01_a.ipynb").stdout == script.read_text()
    check = gnnq("notebook", "check", tmp_path / "01_a.ipynb")
    assert check.returncode == 1 and "01_a.ipynb: no heading 'Summary'" in check.stdout


def test_disk_full_is_one_sentence(tmp_path):
    """/dev/full refuses every write, as a full disk does."""
    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no /dev/full")
    run = gnnq("data", "list", "--json", "/dev/full/list.json")
    assert run.returncode == 1
    assert run.stderr.startswith("Error: ") and "Traceback" not in run.stderr
