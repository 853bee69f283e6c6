"""Running notebooks: resumed, results merged, parameters checked, stopped at the first failing cell."""

from __future__ import annotations

import json

import nbformat
import pytest

from gnnq_lib.errors import InputError
from gnnq_lib.experiments import ResultsStore
from gnnq_lib.experiments import notebook_runner as runner
from gnnq_lib.experiments.notebook_runner import NotebookError, profile_results, run_notebook, run_notebooks
from tests.toy_notebooks import TOY, write_toy


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.setenv("GNNQ_ROOT", str(tmp_path))
    write_toy(tmp_path)
    return tmp_path


def run(**options):
    lines = []
    run_notebooks(say=lines.append, **options)
    return lines


def test_runs_merges_and_is_taken_the_second_time(project):
    source = (project / "notebooks" / "01_toy.ipynb").read_bytes()
    assert run()[0].startswith("01_toy: done in")
    executed = nbformat.read(project / "runs" / "quick" / "01_toy.ipynb", as_version=4)
    assert "2 computed, 0 taken" in str(executed.cells)
    assert ResultsStore("toy").frame().value.tolist() == [80, 81]
    rows, configs = profile_results("quick")
    assert len(rows) == len(configs) == 2
    assert (project / "notebooks" / "01_toy.ipynb").read_bytes() == source

    assert "01_toy: taken from runs/quick/01_toy.ipynb" in run()[0]

    # Killed half-way: no record, but the results of its runs are there.
    (project / "runs" / "quick" / "01_toy.json").unlink()
    assert "done in" in run()[0]
    executed = nbformat.read(project / "runs" / "quick" / "01_toy.ipynb", as_version=4)
    assert "0 computed, 2 taken" in str(executed.cells)

    # fresh: everything again.
    assert "done in" in run(fresh=True, only=["01"])[0]
    executed = nbformat.read(project / "runs" / "quick" / "01_toy.ipynb", as_version=4)
    assert "2 computed, 0 taken" in str(executed.cells)


def test_other_cells_parameters_or_library_are_a_new_run(project, monkeypatch):
    path = project / "notebooks" / "01_toy.ipynb"
    before = runner.plan(path, "quick", {}).key
    assert runner.plan(path, "quick", {}).key == before
    assert runner.plan(path, "quick", {"bits": 3}).key != before
    write_toy(project, TOY.replace("levels = 2**bits", "levels = 2 ** bits"))
    changed = runner.plan(path, "quick", {}).key
    assert changed != before
    monkeypatch.setattr(runner, "library_hash", lambda: "another")
    assert runner.plan(path, "quick", {}).key not in (before, changed)


def test_results_of_another_version_of_the_notebook_do_not_count(project):
    stale = project / "runs" / "quick" / "results" / "01_toy"
    stale.mkdir(parents=True)
    (stale / ".key").write_text("old")
    (stale / "junk.csv").write_text("experiment,value,config_key\n")
    run()
    assert not (stale / "junk.csv").exists()


def test_first_failing_cell_stops_with_its_message(project):
    write_toy(project, TOY.replace("levels = 2**bits", "raise ValueError('no such level')"))
    with pytest.raises(NotebookError, match=r"01_toy: cell 2 failed with ValueError: no such level .*runs/quick"):
        run()
    assert not (project / "runs" / "quick" / "01_toy.json").exists()
    assert (project / "runs" / "quick" / "01_toy.ipynb").exists()


def test_one_notebook_with_other_parameters(project):
    lines = []
    executed = run_notebook("01", {"bits": "4"}, say=lines.append)
    assert "with bits=4; see runs/custom/01_toy.ipynb" in lines[0]
    assert "16" in str(nbformat.read(executed, as_version=4).cells)
    assert not ResultsStore("toy").path.exists()  # a trial leaves the stored results alone


def test_paper_profile_takes_its_parameters(project, tmp_path, monkeypatch):
    (tmp_path / "profiles.yaml").write_text("paper: {'01': {bits: 3}}\n")
    monkeypatch.setattr(runner, "_PROFILE_FILE", tmp_path / "profiles.yaml")
    run(profile="paper")
    assert json.loads((project / "runs" / "paper" / "01_toy.json").read_text())["parameters"] == {"bits": 3}


def test_profile_file_of_the_library_names_declared_parameters_only():
    for number, given in runner._overrides("paper").items():
        runner.plan(runner.find_notebook(number), "paper", given)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"profile": "slow"}, "profile is 'slow'; quick or paper"),
        ({"only": ["07"]}, "notebook '07' does not exist; a path or one of the numbers 01"),
        ({"jobs": 0}, "jobs is 0"),
    ],
    ids=["profile", "number", "jobs"],
)
def test_bad_options(project, options, message):
    with pytest.raises(InputError, match=message):
        run(**options)


def test_unknown_parameter_stops_before_anything_runs(project):
    with pytest.raises(InputError, match="01_toy has no parameter 'bitz'"):
        run_notebook("01", {"bitz": 4})
    assert not (project / "runs").exists()


def test_data_that_cannot_be_had_is_replaced_by_the_embedded_set(project):
    path = write_toy(project, TOY.replace('name: str = "toy"', 'dataset: str = "cora"  # data\nname: str = "toy"'))
    lines = []
    assert runner._with_data_at_hand(path, {}, lines.append) == {"dataset": "digits"}
    assert "01_toy: runs on the embedded data set digits, because" in lines[0]
    assert runner._with_data_at_hand(path, {"dataset": "csbm"}, lines.append) == {"dataset": "csbm"}
    assert runner._with_data_at_hand(path, {"dataset": "ml-100k"}, lines.append) == {"dataset": "power-law"}
    assert "embedded data set power-law" in lines[-1]
