"""Doing many runs: several processes, resumed from the store, a failing run reported without losing the others."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field

from tqdm import tqdm

from gnnq_lib.errors import InputError
from gnnq_lib.experiments.config import ExperimentConfig, config_key
from gnnq_lib.experiments.provenance import usable_cores
from gnnq_lib.experiments.store import Measurement, ResultsStore

RunOne = Callable[[ExperimentConfig], Sequence[Measurement]]


@dataclass
class RunReport:
    """What `run_all` did: numbers of runs computed and taken from the store, and message per failed key."""

    computed: int = 0
    taken: int = 0
    failed: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        """
        Example:
            >>> str(RunReport(3, 1))
            '3 computed, 1 taken from the store, 0 failed'
        """
        return f"{self.computed} computed, {self.taken} taken from the store, {len(self.failed)} failed"


@dataclass(frozen=True)
class _Outcome:
    measurements: Sequence[Measurement]
    seconds: float
    error: str = ""


def run_all(
    configs: Sequence[ExperimentConfig],
    run_one: RunOne,
    store: ResultsStore,
    jobs: int = 1,
    say: Callable[[str], object] = print,
) -> RunReport:
    """Run every config that the store does not have yet, and store each result as soon as it is there.

    With one job the runs happen in this process; with more, in as many spawned processes, each with its share of the
    cores for torch. Killed half-way, the next call continues.

    Args:
        configs: the runs; duplicates are done once.
        run_one: does one run; with more than one job a function at the top of a module.
        store: where results go and what counts as done.
        jobs: processes, from 1.
        say: takes the lines of progress that are no progress bar.

    Returns:
        What was computed, taken from the store and failed.

    Raises:
        InputError: if `jobs` is below 1.
    """
    if jobs < 1:
        raise InputError(f"jobs is {jobs}; a number from 1 is accepted")
    wanted = {config_key(config): config for config in configs}
    present = store.keys()
    todo = {key: config for key, config in wanted.items() if key not in present}
    report = RunReport(taken=len(wanted) - len(todo))
    if report.taken:
        say(f"{report.taken} of {len(wanted)} runs taken from {store.path.name}, {len(todo)} to do")
    outcomes = _here(todo, run_one) if jobs == 1 or len(todo) <= 1 else _in_processes(todo, run_one, jobs)
    # disable=None: a bar in a terminal only, so that logs and notebooks stay free of it
    for key, outcome in tqdm(outcomes, total=len(todo), unit="run", disable=None):
        if outcome.error:
            report.failed[key] = outcome.error
            say(f"failed: {_title(wanted[key])}: {outcome.error.strip().splitlines()[-1]}")
        else:
            store.append(wanted[key], outcome.measurements, outcome.seconds)
            report.computed += 1
    return report


def _title(config: ExperimentConfig) -> str:
    """The settings that differ from their defaults."""
    return ", ".join(f"{name}={value}" for name, value in config.model_dump(exclude_defaults=True).items())


def _attempt(run_one: RunOne, config: ExperimentConfig) -> _Outcome:
    start = time.perf_counter()
    try:
        measurements = run_one(config)
    except Exception:
        return _Outcome((), 0.0, traceback.format_exc())
    return _Outcome(measurements, time.perf_counter() - start)


def _here(todo: dict[str, ExperimentConfig], run_one: RunOne) -> Iterator[tuple[str, _Outcome]]:
    for key, config in todo.items():
        yield key, _attempt(run_one, config)


def _in_processes(todo: dict[str, ExperimentConfig], run_one: RunOne, jobs: int) -> Iterator[tuple[str, _Outcome]]:
    jobs = min(jobs, len(todo))
    left = dict(todo)
    try:
        for key, outcome in _pool(left, run_one, jobs):
            yield key, outcome
            left.pop(key)
    except BrokenProcessPool:
        # A process died (killed, out of memory) and took the pool with it. Which run it was cannot be told, so the
        # rest goes one process per run: only the run that dies again is lost.
        for key, config in left.items():
            try:
                yield from _pool({key: config}, run_one, 1)
            except BrokenProcessPool:
                yield key, _Outcome((), 0.0, "its process died (killed or out of memory)")


def _pool(todo: dict[str, ExperimentConfig], run_one: RunOne, jobs: int) -> Iterator[tuple[str, _Outcome]]:
    threads = max(1, usable_cores() // jobs)
    context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    with ProcessPoolExecutor(jobs, context, _start_worker, (threads,)) as pool:
        futures = {pool.submit(_attempt, run_one, config): key for key, config in todo.items()}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except KeyboardInterrupt:  # what runs now would not be stored any more
            pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.terminate()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _start_worker(threads: int) -> None:
    """Ctrl-C reaches every process of a terminal; here only the one that waits is to act on it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["OMP_NUM_THREADS"] = str(threads)
    import torch

    torch.set_num_threads(threads)
