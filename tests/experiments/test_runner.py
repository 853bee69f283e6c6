"""Many runs: resumed, in processes, failures and dying processes reported without losing the rest."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import time

import pytest

from gnnq_lib.errors import InputError
from gnnq_lib.experiments import ResultsStore, make_config, run_all

# The runs live in a module of their own, so that spawned processes can import them.
MODULE = """
import os
import pathlib
import time
import torch
from gnnq_lib.experiments import ExperimentConfig, Measurement

class Config(ExperimentConfig):
    what: str = "succeed"

def run_one(config):
    if config.what == "fail":
        raise ValueError(f"seed {config.seed} does not work")
    if config.what == "die":
        os._exit(9)
    (pathlib.Path(__file__).parent / f"begun_{config.seed}").touch()
    if config.what == "wait":
        time.sleep(600)
    return [Measurement("square", config.seed**2), Measurement("threads", torch.get_num_threads())]
"""


@pytest.fixture
def toy(tmp_path, monkeypatch):
    (tmp_path / "toy_runs.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    return importlib.import_module("toy_runs")


@pytest.fixture
def store(tmp_path):
    return ResultsStore(tmp_path / "toy.csv")


def configs(toy, **whats):
    return [
        make_config(toy.Config, {"experiment": "toy", "seed": seed, "what": whats.get(f"s{seed}", "succeed")})
        for seed in range(4)
    ]


def squares(store):
    frame = store.frame()
    return sorted(frame[frame.metric == "square"].value)


def test_one_job_runs_here_and_resumes(toy, store):
    lines = []
    report = run_all(configs(toy)[:3], toy.run_one, store, say=lines.append)
    assert (report.computed, report.taken, report.failed) == (3, 0, {})
    report = run_all(configs(toy), toy.run_one, store, say=lines.append)
    assert (report.computed, report.taken) == (1, 3)
    assert lines == ["3 of 4 runs taken from toy.csv, 1 to do"]
    assert squares(store) == [0, 1, 4, 9]


@pytest.mark.parametrize("jobs", [1, 2])
def test_all_done_is_no_work(toy, store, jobs):
    run_all(configs(toy), toy.run_one, store)
    report = run_all(configs(toy), toy.run_one, store, jobs=jobs, say=lambda _: None)
    assert (report.computed, report.taken) == (0, 4)


def test_duplicates_run_once(toy, store):
    assert run_all(configs(toy)[:1] * 3, toy.run_one, store).computed == 1


def test_a_failing_run_is_reported_and_loses_nothing(toy, store):
    lines = []
    report = run_all(configs(toy, s1="fail"), toy.run_one, store, say=lines.append)
    assert squares(store) == [0, 4, 9]
    assert lines == ["failed: experiment=toy, seed=1, what=fail: ValueError: seed 1 does not work"]
    assert "Traceback" in next(iter(report.failed.values()))


def test_processes_with_their_share_of_the_cores(toy, store, monkeypatch):
    monkeypatch.setattr("gnnq_lib.experiments.runner.usable_cores", lambda: 2)
    lines = []
    report = run_all(configs(toy, s2="fail"), toy.run_one, store, jobs=2, say=lines.append)
    assert (report.computed, len(report.failed)) == (3, 1)
    assert squares(store) == [0, 1, 9]
    frame = store.frame()
    assert set(frame[frame.metric == "threads"].value) == {1}
    assert str(report) == "3 computed, 0 taken from the store, 1 failed"


def test_a_dying_process_loses_only_its_own_run(toy, store):
    lines = []
    report = run_all(configs(toy, s0="die"), toy.run_one, store, jobs=2, say=lines.append)
    assert squares(store) == [1, 4, 9]
    assert list(report.failed.values()) == ["its process died (killed or out of memory)"]


INTERRUPTED = """
import pathlib, sys
sys.path.insert(0, sys.argv[1])
if __name__ == "__main__":
    import toy_runs
    from gnnq_lib.experiments import ResultsStore, make_config, run_all
    runs = [{"experiment": "toy", "seed": seed, "what": "succeed" if seed == 0 else "wait"} for seed in range(9)]
    store = ResultsStore(pathlib.Path(sys.argv[1]) / "toy.csv")
    run_all([make_config(toy_runs.Config, run) for run in runs], toy_runs.run_one, store, jobs=2)
"""


def test_ctrl_c_keeps_what_is_done_and_starts_nothing_more(toy, store, tmp_path):
    script = tmp_path / "interrupted.py"
    script.write_text(INTERRUPTED)
    process = subprocess.Popen([sys.executable, script, tmp_path], start_new_session=True, stderr=subprocess.DEVNULL)
    begun = lambda: len(list(tmp_path.glob("begun_*")))  # noqa: E731
    deadline = time.monotonic() + 120
    while (begun() < 3 or not store.path.is_file()) and time.monotonic() < deadline:
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to every process
    assert process.wait(timeout=60) != 0
    assert squares(store) == [0]
    assert begun() == 3, "after Ctrl-C no further run begins"


@pytest.mark.parametrize("jobs", [0, -1])
def test_bad_jobs(toy, store, jobs):
    with pytest.raises(InputError, match=f"jobs is {jobs}"):
        run_all([], toy.run_one, store, jobs=jobs)
