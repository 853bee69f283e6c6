"""The results store: tidy rows, crash safety, parallel writers, summaries."""

from __future__ import annotations

import json
import multiprocessing
import os

import numpy as np
import pandas as pd
import pytest

from gnnq_lib.errors import InputError
from gnnq_lib.experiments import (
    ExperimentConfig,
    Measurement,
    ResultsStore,
    all_results,
    config_key,
    make_config,
    summarise,
)
from gnnq_lib.experiments.store import COLUMNS
from gnnq_lib.paths import results_dir


class Toy(ExperimentConfig):
    dataset: str = "cora"
    bits: int = 2
    model: str = "smp"


def toy(**values) -> Toy:
    return make_config(Toy, {"experiment": "t", **values})


@pytest.fixture
def store(tmp_path):
    return ResultsStore(tmp_path / "t.csv")


def test_a_row_holds_config_measurement_and_provenance(store):
    store.append(toy(seed=3), [Measurement("test_accuracy", 83.4, "%", bits_per_value=2.57, source="cache")], 1.5)
    header, line = store.path.read_text().splitlines()
    assert header == ",".join(COLUMNS)
    row = store.frame().iloc[0]
    assert (row.experiment, row.dataset, row.model, row.profile) == ("t", "cora", "smp", "quick")
    assert (row.bits, row.bits_per_value, row.seed, row.value, row.unit, row.seconds) == (2, 2.57, 3, 83.4, "%", 1.5)
    assert row.source == "cache"
    assert "torch 2" in row.versions and row.commit and "cores" in row.device
    assert row.config_key == config_key(toy(seed=3))
    assert line.count("\n") == 0


def test_removed_runs_are_gone_with_their_configs_and_nothing_else_is(store):
    for seed in range(3):
        store.append(toy(seed=seed), [Measurement("a", seed), Measurement("b", 1.0)], 1.0)
    before = store.path.read_text().splitlines()
    store.remove({config_key(toy(seed=0)), config_key(toy(seed=1)), "of no run"})
    assert store.path.read_text().splitlines() == [before[0], *before[-2:]]
    assert set(store.configs()) == store.keys() == {config_key(toy(seed=2))}
    store.remove([])
    assert store.keys() == {config_key(toy(seed=2))}


def test_a_run_of_another_table_is_taken_over_with_its_provenance(store, tmp_path):
    class Other(ExperimentConfig):
        color: str

    there = ResultsStore(tmp_path / "search.csv")
    there.append(toy(experiment="search", bits=4), [Measurement("a", 1.0), Measurement("b", 2.0)], 7.0)
    there.append(toy(experiment="search", bits=8), [Measurement("a", 3.0)], 7.0)
    ResultsStore(tmp_path / "other.csv").append(make_config(Other, {"experiment": "o", "color": "red"}),
                                                [Measurement("a", 9.0)], 1.0)  # fmt: skip
    store.append(toy(bits=3), [Measurement("a", 5.0)], 1.0)
    assert store.adopt([toy(bits=4), toy(bits=3), toy(bits=2)]) == 1
    rows = store.frame()[store.frame().bits == 4]
    assert rows.value.tolist() == [1.0, 2.0] and set(rows.experiment) == {"t"} and set(rows.seconds) == {7.0}
    assert set(rows.config_key) == {config_key(toy(bits=4))}
    assert store.configs()[config_key(toy(bits=4))]["experiment"] == "t"
    assert store.adopt([toy(bits=4)]) == 0 and len(store.keys()) == 2 and len(there.keys()) == 2


def test_measurement_overrides_the_config(store):
    store.append(toy(), [Measurement("a", 1.0, dataset="pubmed", bits=4)], 1)
    assert (store.frame().dataset[0], store.frame().bits[0]) == ("pubmed", 4)


def test_config_is_kept_in_full_beside_the_rows(store):
    store.append(toy(bits=4), [Measurement("a", 1.0)], 1)
    store.append(toy(bits=8), [Measurement("a", 2.0)], 1)
    configs = json.loads(store.config_path.read_text())
    assert configs[config_key(toy(bits=4))] == toy(bits=4).model_dump()
    assert set(configs) == store.keys()


def test_the_same_config_again_replaces_its_rows(store):
    store.append(toy(), [Measurement("a", 1.0), Measurement("b", 2.0)], 1)
    store.append(toy(seed=1), [Measurement("a", 5.0)], 1)
    store.append(toy(), [Measurement("a", 3.0)], 1)
    assert sorted(store.frame().value) == [3.0, 5.0]


def test_special_values_survive_the_round_trip(store):
    store.append(toy(), [Measurement("a", float("nan"), unit='a "quoted", b\nnext line'), Measurement("b", 1e-17)], 1)
    frame = store.frame()
    assert np.isnan(frame.value[0]) and frame.value[1] == 1e-17
    assert frame.unit[0] == 'a "quoted", b next line'


def test_an_empty_run_is_refused(store):
    with pytest.raises(InputError, match="no measurement"):
        store.append(toy(), [], 1)
    assert not store.path.exists()


@pytest.mark.parametrize("cut", [1, 30, 150])
def test_cut_off_file_keeps_complete_rows_and_sets_the_rest_aside(store, cut, caplog):
    for seed in range(3):
        store.append(toy(seed=seed), [Measurement("a", seed)], 1)
    store.path.write_bytes(store.path.read_bytes()[:-cut])
    assert store.frame().value.tolist() == [0, 1]
    assert "1 broken line(s) set aside" in caplog.text
    assert (store.path.parent / "t.broken.txt").read_text().startswith("t,cora")
    assert not store.done(config_key(toy(seed=2)))
    store.append(toy(seed=2), [Measurement("a", 2)], 1)
    assert store.frame().value.tolist() == [0, 1, 2]


def test_broken_line_in_the_middle_is_set_aside(store):
    for seed in range(3):
        store.append(toy(seed=seed), [Measurement("a", seed)], 1)
    lines = store.path.read_text().splitlines()
    lines[2] = lines[2][:40]
    store.path.write_text("\n".join(lines) + "\n")
    store.append(toy(seed=5), [Measurement("a", 5)], 1)
    assert store.frame().value.tolist() == [0, 2, 5]


def test_cut_inside_the_header_starts_afresh(store):
    store.append(toy(), [Measurement("a", 1)], 1)
    store.path.write_text("experiment,data")
    assert store.frame().empty
    store.append(toy(), [Measurement("a", 1)], 1)
    assert len(store.frame()) == 1


def test_foreign_csv_is_refused_and_kept(store):
    store.path.write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="is no results file"):
        store.append(toy(), [Measurement("a", 1)], 1)
    assert store.path.read_text() == "a,b\n1,2\n"


def test_damaged_config_file_loses_no_rows(store):
    store.append(toy(), [Measurement("a", 1)], 1)
    store.config_path.write_text("{")
    store.append(toy(seed=1), [Measurement("a", 2)], 1)
    assert len(store.frame()) == 2


@pytest.mark.parametrize("text", ["[]", "null", '{"a": 1}'], ids=["list", "null", "no settings"])
def test_settings_that_are_no_settings_are_set_aside(store, text):
    store.config_path.write_text(text)
    store.append(toy(), [Measurement("a", 1)], 1)
    assert len(store.configs()) == len(store.frame()) == 1
    assert store.config_path.with_suffix(".broken.json").read_text() == text


def test_a_config_file_cut_short_keeps_its_whole_lines(store):
    for seed in range(3):
        store.append(toy(seed=seed), [Measurement("a", 1)], 1)
    whole = store.config_path.read_text()
    store.config_path.write_text(whole[:-20])
    assert len(store.configs()) == 2
    store.append(toy(seed=3), [Measurement("a", 2)], 1)
    assert {config["seed"] for config in store.configs().values()} >= {3} and len(store.configs()) == 3
    assert store.config_path.with_suffix(".broken.json").read_text() == whole[:-20]


def test_disk_full_keeps_the_old_files(store, monkeypatch):
    store.append(toy(), [Measurement("a", 1)], 1)
    before = store.path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        store.append(toy(seed=1), [Measurement("a", 2)], 1)
    assert store.path.read_bytes() == before
    assert len(ResultsStore(store.path).frame()) == 1


def _write_ten(path, first):
    for seed in range(first, first + 10):
        ResultsStore(path).append(toy(seed=seed), [Measurement("a", seed)], 1)


def test_parallel_writers_lose_nothing(store):
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write_ten, args=(store.path, first)) for first in (0, 10, 20)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert sorted(store.frame().value) == list(range(30))


def test_merge_replaces_the_same_configs(store, tmp_path):
    other = ResultsStore(tmp_path / "other.csv")
    store.append(toy(), [Measurement("a", 1)], 1)
    store.append(toy(seed=1), [Measurement("a", 2)], 1)
    other.append(toy(), [Measurement("a", 10)], 1)
    assert store.merge(other) == 1
    assert sorted(store.frame().value) == [2, 10]
    assert set(store.configs()) == store.keys()


def test_bare_name_means_the_results_folder():
    assert ResultsStore("accuracy").path == results_dir() / "accuracy.csv"
    with pytest.raises(InputError, match=r"\.csv is accepted"):
        ResultsStore("accuracy.txt")


def test_all_results_prefers_the_results_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("GNNQ_ROOT", str(tmp_path))
    published = tmp_path / "data" / "results"
    ResultsStore(published / "t.csv").append(toy(), [Measurement("a", 1)], 1)
    ResultsStore(published / "t.csv").append(toy(seed=1), [Measurement("a", 2)], 1)
    (published / "speed.csv").write_text("bench,case\nx,y\n")  # another kind of table
    ResultsStore("t").append(toy(), [Measurement("a", 10)], 1)
    assert sorted(all_results().value) == [2, 10]


def test_summarise_by_hand():
    frame = pd.DataFrame(
        {
            "model": ["b", "b", "a", "b"],
            "metric": ["acc", "acc", "acc", "other"],
            "value": [80.0, 84.0, 70.0, 0.0],
            "bits_per_value": [2.0, 3.0, 1.0, 9.0],
            "seconds": 1.0,
        }
    )
    table = summarise(frame, ["model"], "acc")
    assert table.model.tolist() == ["b", "a"]
    assert table.text.tolist() == ["82.0 ± 2.8 (2)", "70.0 (1)"]
    assert table.bits_per_value.tolist() == [2.5, 1.0]
    with pytest.raises(InputError, match="column 'modle' is unknown"):
        summarise(frame, ["modle"], "acc")
