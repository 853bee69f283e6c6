"""`gnnq bench serving` on small tables: every row is there, sizes and lists are what they claim."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import fields

import pandas as pd
import pytest
import torch

from gnnq_lib.benchmarks.serving import FP32, Row, ServingBench, run
from gnnq_lib.errors import InputError
from gnnq_lib.experiments.recommendation import train_recommender
from gnnq_lib.naming import PACKED
from gnnq_lib.paths import project_root
from gnnq_lib.recommendation.pipeline import recommender_config, save_trained
from tests.test_cli import gnnq

SMALL = {"num_users": 300, "num_items": 2000, "batch": 64, "rounds": 1}


@pytest.fixture(scope="module")
def rows():
    return run(ServingBench(dims=(64,), **SMALL))


def test_rows_and_their_numbers(rows):
    timed = [row for row in rows if row["users_per_s"] is not None]
    assert [row["path"] for row in timed[:3]] == [FP32, FP32, PACKED]
    assert timed[0]["recall_at_k"] == 1 and timed[0]["times_smaller"] == 1
    assert timed[1]["recall_at_k"] > 0.999
    assert timed[2]["times_smaller"] > 6 and 0.3 < timed[2]["recall_at_k"] < 1
    assert "random" in timed[0]["case"]


def test_speedups_are_against_the_fastest_row_in_full_precision(rows):
    timed = [row for row in rows if row["users_per_s"] is not None]
    fastest = max(row["users_per_s"] for row in timed if row["bits"] == "32")
    for row in timed:
        assert row["speedup_vs_best_fp32"] == pytest.approx(row["users_per_s"] / fastest, abs=0.006)
    assert max(row["speedup_vs_best_fp32"] for row in timed if row["bits"] == "32") == 1


def test_the_stored_table_has_these_columns():
    stored = pd.read_csv(project_root() / "data" / "results" / "bench_serving.csv")
    timed = stored[stored.users_per_s.notna()]
    fastest = timed.users_per_s.where(timed.bits == 32).groupby(timed.case).transform("max")
    assert (timed.speedup_vs_best_fp32 - timed.users_per_s / fastest).abs().max() < 0.006
    names = [part.name for part in fields(Row)]
    assert list(stored.columns[: len(names)]) == names


def test_bytes_of_packed_tables(rows):
    # Users: 4 bits and two 16-bit numbers; items: 2 bits and two 16-bit numbers; mean, rotation and three units.
    assert rows[2]["bytes"] == 300 * (32 + 4) + 2000 * (16 + 4) + 4 * (64 + 64 * 64 + 3)


def test_a_missing_peer_is_said(rows):
    if importlib.util.find_spec("faiss") is None:
        assert rows[-1]["note"].startswith("not installed") and rows[-1]["users_per_s"] is None
    else:
        assert {row["variant"] for row in rows} >= {"faiss flat", "faiss SQ8", "faiss SQ4"}


def test_tables_of_a_trained_model(tmp_path):
    config = recommender_config("power-law", teacher_epochs=2, epochs=1, refine_steps=2)
    file = save_trained(train_recommender(config), tmp_path / "m.safetensors")
    found = run(ServingBench(dims=(), models=(file,), batch=50, rounds=1))
    assert found[0]["case"] == "power-law, 400 users x 300 items, trained, D=64"


@pytest.mark.parametrize("change", [{"batch": 0}, {"num_items": 19}, {"num_users": 0}], ids=str)
def test_sizes_out_of_range(change):
    with pytest.raises(InputError, match="are accepted"):
        run(ServingBench(dims=(8,), **{**SMALL, **change}))


def test_widths_out_of_range():
    with pytest.raises(InputError, match="dim=0 given; a whole number from 1 to 4096 is accepted"):
        run(ServingBench(dims=(8, 0), **SMALL))


def test_command(tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gnnq_lib.benchmarks.serving.ServingBench.__init__", _small(ServingBench.__init__))
        run = gnnq("bench", "serving", "--dims", "16", "--rounds", 1, "--json", tmp_path / "s.json")
    assert run.returncode == 0, run.stderr
    rows = json.loads((tmp_path / "s.json").read_text())["results"]
    assert len(rows) >= 4
    # The whole command takes longer than any one of its calls, and says the same in every row.
    (seconds,) = {row["command_seconds"] for row in rows}
    assert seconds > max(row["batch_ms"] for row in rows if row["batch_ms"]) / 1e3
    wrong = gnnq("bench", "serving", "--dims", "64,x")
    assert wrong.returncode == 2 and "dims='64,x' given" in wrong.stderr


def _small(init):
    return lambda self, **given: init(self, **{**given, **SMALL})


def test_threads_are_those_in_use(rows):
    assert rows[0]["threads"] == torch.get_num_threads()
