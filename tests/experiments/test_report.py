"""The closing table: one line per model, bits and settings; sizes beside; nothing mixed."""

from __future__ import annotations

from gnnq_lib.experiments import ExperimentConfig, Measurement, ResultsStore, make_config
from gnnq_lib.experiments.report import results_table


class Toy(ExperimentConfig):
    dataset: str = "cora"
    method: str = "qlr"
    bits: int = 2
    depth: int = 2


def test_runs_with_other_settings_are_not_averaged_together(tmp_path):
    store = ResultsStore(tmp_path / "t.csv")
    for depth in (2, 64):
        for seed in range(2):
            config = make_config(Toy, {"experiment": "t", "depth": depth, "seed": seed})
            rows = [
                Measurement("test_accuracy", depth + seed, "%", bits_per_value=2.5),
                Measurement("model_bytes", 2048),
                Measurement("loss", 1),
            ]
            store.append(config, rows, 3)
    table = results_table(store.frame(), store.configs())
    assert table["settings"].tolist() == ["depth=2", "depth=64"]
    assert table["mean ± std (n)"].tolist() == ["2.5 ± 0.7 (2)", "64.5 ± 0.7 (2)"]
    assert table["size"].tolist() == ["2.0 KiB"] * 2
    assert table["bits"].tolist() == ["2"] * 2


def test_no_headline_metric_no_lines(tmp_path):
    store = ResultsStore(tmp_path / "t.csv")
    store.append(make_config(Toy, {"experiment": "t"}), [Measurement("loss", 1)], 1)
    assert results_table(store.frame(), store.configs()).empty
    assert results_table(ResultsStore(tmp_path / "none.csv").frame(), {}).empty


def test_settings_that_only_tell_methods_apart_are_left_out(tmp_path):
    store = ResultsStore(tmp_path / "t.csv")
    for method, depth in (("qlr", 2), ("bt", 4)):
        config = make_config(Toy, {"experiment": "t", "method": method, "depth": depth})
        store.append(config, [Measurement("test_accuracy", 1.0, method=method)], 3)
    table = results_table(store.frame(), store.configs())
    assert table["settings"].tolist() == ["", ""]
    assert table["method"].tolist() == ["qlr", "bt"]
