"""Configs in, measurements out: recipes, teachers, refusals."""

from __future__ import annotations

import gc
import weakref
from typing import get_args

import pytest
import torch

from gnnq_lib.datasets import DATASETS, csbm_graph, random_split, write_example_folder
from gnnq_lib.errors import InputError
from gnnq_lib.experiments import node_classification as nc
from gnnq_lib.experiments.config import config_key, make_config
from gnnq_lib.experiments.node_classification import (
    Config,
    build_model,
    fit,
    load_graph,
    resolve,
    run_one,
    teacher_config,
)
from gnnq_lib.experiments.store import ResultsStore
from gnnq_lib.experiments.tables import load_table
from gnnq_lib.experiments.training import Graph, evaluate
from gnnq_lib.files import sha256_bytes
from gnnq_lib.models import STAGES, Method
from gnnq_lib.models.deep import DEEP_MODELS
from gnnq_lib.paths import project_root
from gnnq_lib.propagation import Appnp, Emp, Smp

FP32 = {"method": "fp32", "bits": 32}


@pytest.fixture(scope="module")
def graph() -> Graph:
    data = csbm_graph(num_nodes=60, num_classes=3, num_features=8, average_degree=4, signal=3.0)
    return Graph(data.with_split(random_split(data.labels, 0, 5, 15, 30), "random", 0))


def config(**values) -> Config:
    small = {"experiment": "test", "num_layers": 2, "hidden": 8, "epochs": 3, "teacher_epochs": 4}
    return make_config(Config, {**small, **values})


@pytest.mark.parametrize(
    "values",
    [
        FP32,
        {**FP32, "start": "continued"},
        {"start": "scratch"},
        {"start": "fp32"},
        {"method": "bt_star", "start": "scratch"},
        {"method": "qlr", "start": "fp32", "bits": 8, "multiplier": True},
        {"method": "qlr", "start": "scratch", "as_released": True, "placement": "edge", "dropout_first": True},
        {"model": "emp", "method": "qlr"},
        {"model": "emp_released", "method": "lsq", "start": "scratch"},
        {"model": "appnp", "method": "minmax"},
        {"model": "mlp"},
        *({"model": name, **FP32} for name in DEEP_MODELS),
        *({"model": name} for name in DEEP_MODELS),
        {"model": "gcn", "method": "bt_star", "start": "scratch"},
    ],
    ids=lambda v: "-".join(str(x) for x in v.values()),
)
def test_every_kind_of_run_trains(graph, values):
    model, history, _ = fit(config(**values), graph)
    logits = evaluate(model, graph)
    assert torch.isfinite(logits).all() and len(history.loss) == 3
    assert graph.accuracy(logits, graph.dataset.test_mask) == history.test_accuracy[history.best_epoch]


def test_continued_full_precision_has_the_low_bit_models_start_and_budget(graph):
    plain, low = config(**FP32), resolve(config(epochs=None))
    on = resolve(config(**FP32, start="continued", epochs=None))
    budget = ("epochs", "lr", "weight_decay", "schedule", "distillation", "dropout")
    assert [getattr(on, name) for name in budget] == [getattr(low, name) for name in budget] and on.distillation > 0
    assert teacher_config(on) == teacher_config(low)
    still = config(**FP32, start="continued", epochs=1, lr=1e-12)  # hardly moves away from where it starts
    teacher = fit(teacher_config(resolve(still)), graph)[0]
    assert torch.allclose(fit(still, graph)[0].weight1, teacher.weight1, atol=1e-6)
    assert not torch.allclose(fit(plain, graph)[0].weight1, teacher.weight1, atol=1e-3)
    with pytest.raises(InputError, match="'continued' is for method 'fp32'"):
        config(start="continued")


@pytest.mark.gpu
@pytest.mark.parametrize(
    "values",
    [
        *({"method": m.value, "multiplier": True} for m in Method if m is not Method.FP32),
        *({"model": name, **low} for name in ("smp", "emp", "emp_released", "appnp", "mlp") for low in ({}, FP32)),
        *({"model": name, **low} for name in DEEP_MODELS for low in ({}, FP32)),
        *({"model": "gcn", "method": method} for method in ("bt_star", "degree_quant", "degree_bucket")),
        {"method": "qlr", "start": "scratch", "as_released": True, "placement": "edge", "dropout_first": True},
        {"method": "bt", "start": "scratch", "shared_ranges": True, "calibration": "training"},
    ],
    ids=lambda v: "-".join(str(x) for x in v.values()),
)
def test_cuda_trains_what_the_cpu_then_computes(graph, values):
    there, here = Graph(graph.dataset, "cuda"), config(**values)
    fresh = (build_model(resolve(here), g).state_dict() for g in (graph, there))
    assert all(torch.equal(one, other.cpu()) for one, other in zip(*(state.values() for state in fresh), strict=True))
    model, history, _ = fit(config(**values, device="cuda"), there)
    logits = evaluate(model, there)
    assert logits.is_cuda and torch.isfinite(torch.tensor(history.loss)).all() and len(history.loss) == 3
    # messages per edge are added in any order there, so that one node of 30 may go another way
    seen = history.test_accuracy[history.best_epoch]
    assert there.accuracy(logits, there.dataset.test_mask) == pytest.approx(seen, abs=4)
    moved = evaluate(model.cpu(), graph)
    if here.low_bit:  # a value between two grid points may go either way
        assert (moved.argmax(1) == logits.cpu().argmax(1)).double().mean() >= 0.8
    else:
        torch.testing.assert_close(moved, logits.cpu(), rtol=1e-4, atol=1e-4)


@pytest.mark.gpu
def test_measurements_on_cuda():
    here, there = (rows_of(start="scratch", device=device) for device in ("cpu", "cuda"))
    assert list(here) == list(there)
    assert all(here[name].value == there[name].value for name in here if name.startswith(("bits_", "model_")))


def test_the_device_is_where_a_run_is_done_and_no_part_of_its_key(graph, monkeypatch):
    monkeypatch.setattr("gnnq_lib.experiments.config.default_device", lambda: "cuda")
    here, there = resolve(config()), resolve(config(device="cuda"))
    assert config_key(here) == config_key(there) and nc.teacher_config(there).device == "cuda"
    asked = []
    monkeypatch.setattr(nc, "load_graph", lambda *args: asked.append(args) or graph)
    fit(there)
    assert asked == [("cora", "public", 0, "cuda")]


def test_the_seed_decides(graph):
    runs = [fit(config(seed=seed), graph)[1] for seed in (0, 0, 1)]
    assert runs[0] == runs[1] and runs[0].loss != runs[2].loss


def test_a_run_gives_the_same_with_and_without_a_kept_teacher(graph):
    first = fit(config(), graph)[1]
    assert fit(config(), graph)[1] == first
    nc._TEACHERS.clear()
    assert fit(config(), graph)[1] == first


def test_a_teacher_is_kept_for_its_own_graph():
    """With the graph itself: another one may have the address, and so the id, of a graph that is gone."""
    teachers = []
    for seed in range(3):
        data = csbm_graph(num_nodes=60, num_classes=3, num_features=8, average_degree=4, seed=seed)
        graph = Graph(data.with_split(random_split(data.labels, 0, 5, 15, 30), "random", 0))
        teachers.append(nc._teacher(resolve(config(**FP32)), graph))
        assert nc._teacher(resolve(config(**FP32)), graph) is teachers[-1]
        alive = weakref.ref(graph)
        del graph
        gc.collect()
        assert alive() is not None
    assert len({id(teacher) for teacher in teachers}) == 3


def test_a_low_bit_run_starts_from_the_teachers_weights_or_its_own(graph):
    lr = {"lr": 1e-12, "quantizer_lr": 1e-12, "epochs": 1}
    teacher = fit(nc.teacher_config(resolve(config())), graph)[0]
    started, scratch = (fit(config(start=start, **lr), graph)[0] for start in ("fp32", "scratch"))
    torch.testing.assert_close(started.weight1, teacher.weight1, rtol=0, atol=1e-6)
    torch.testing.assert_close(scratch.weight1, build_model(resolve(config()), graph).weight1, rtol=0, atol=1e-6)
    assert not torch.allclose(started.weight1, scratch.weight1)


def test_the_teacher_is_the_full_precision_run_of_the_same_architecture():
    low = resolve(config(model="emp", lambda1=1.5, seed=3, method="qlr"))
    teacher = nc.teacher_config(low)
    assert not teacher.low_bit and teacher.epochs == 4
    assert (teacher.model, teacher.lambda1, teacher.seed, teacher.hidden) == ("emp", 1.5, 3, 8)


def test_the_teacher_follows_every_setting_of_the_propagation():
    settings = {"multiplier": True, "gap_term": True, "non_negative": True, "mu": 4.0, "threshold": 0.3}
    teacher = nc.teacher_config(resolve(config(**settings)))
    assert {name: getattr(teacher, name) for name in settings} == settings


def test_settings_of_teachers_are_pinned():
    """The key of a low-bit run does not hold them: where they change, its stored rows must be dropped and run again."""
    runs = [{"dataset": d, "model": m} for d in (*DATASETS, "path/to/mine") for m in get_args(nc.ModelName)]
    keys = [config_key(nc.teacher_config(resolve(make_config(Config, {"experiment": "t", **run})))) for run in runs]
    assert sha256_bytes(" ".join(keys).encode())[:12] == "8198f349d558"


def test_resolving_fills_in_and_leaves_what_was_given():
    plain = resolve(make_config(Config, {"experiment": "t"}))
    assert None not in {plain.hidden, plain.dropout, plain.epochs, plain.lr, plain.weight_decay, plain.schedule}
    given = resolve(config(dropout=0.3, lr=0.5))
    assert (given.dropout, given.lr, given.hidden, given.epochs) == (0.3, 0.5, 8, 3)
    assert resolve(given) == given


def test_step_lr_of_a_folder_depends_on_the_bits_and_that_of_a_named_data_set_does_not():
    def step_lr(dataset: str, **values) -> float:
        return resolve(config(dataset=dataset, split="random", **values)).step_lr

    widths = (2, 3, 4, 8)
    assert [step_lr("path/to/mine", bits=bits) for bits in widths] == [0.5, 0.05, 0.05, 0.05]
    for name in DATASETS:  # their stored runs were made with one for all widths, and it is part of the key
        assert [step_lr(name, bits=bits) for bits in widths] == [nc.RECIPES["fine_tune"]["step_lr"]] * 4
    assert step_lr("path/to/mine", bits=8, step_lr=0.3) == 0.3
    assert step_lr("path/to/mine", **FP32) == step_lr("cora", **FP32) == 0.0
    assert step_lr("path/to/mine", bits=8, start="scratch") == step_lr("cora", bits=8, start="scratch")


def test_deep_baselines_take_their_recipe():
    def values(dataset: str):
        c = resolve(make_config(Config, {"experiment": "t", "model": "gcnii", "dataset": dataset, **FP32}))
        return c.dropout, c.hidden, c.second_weight_decay

    assert values("cora") == (0.6, 64, 0.01) and values("citeseer") == (0.7, 256, 0.01)


def test_scheme_of_a_config():
    assert nc.scheme_of(config(multiplier=True, mu=4.0)) == Smp(mu=4.0, use_multiplier=True)
    assert nc.scheme_of(config(model="emp_released")) == Emp(as_released=True)
    assert nc.scheme_of(config(model="appnp")) == Appnp()


@pytest.mark.parametrize("bits", [0, 1, 9, 16, -2], ids=str)
def test_bits_out_of_range_are_refused(bits):
    with pytest.raises(InputError, match=f"setting bits is {bits}: 2 to 8, or 32"):
        config(bits=bits)


def test_bits_that_a_method_lacks_are_refused(graph):
    with pytest.raises(InputError, match="bitwise truncation got num_bits=3"):
        fit(config(method="bt", bits=3, start="scratch"), graph)


@pytest.mark.parametrize("values", [{"placement": "edge"}, {"dropout_first": True}], ids=lambda v: next(iter(v)))
def test_switches_that_low_bit_baselines_lack_are_refused(values):
    with pytest.raises(InputError, match="model 'gcn' quantizes messages per node and before dropout; only smp, emp"):
        config(model="gcn", **values)
    assert config(model="gcn", **FP32, **values).model == "gcn"


@pytest.mark.parametrize("name", DEEP_MODELS)
def test_low_bit_baselines_take_the_architecture_of_theirs_and_the_schedule_of_low_bits(name):
    def settings(**values):
        return resolve(make_config(Config, {"experiment": "t", "model": name, **values}))

    full, tuned, scratch = settings(**FP32), settings(), settings(method="bt_star", start="scratch")
    assert tuned.dropout == scratch.dropout == full.dropout and tuned.hidden == scratch.hidden == full.hidden
    assert (tuned.epochs, tuned.lr, tuned.distillation) == (100, 2e-3, 3.0)
    assert (scratch.epochs, scratch.lr, scratch.distillation) == (full.epochs, full.lr, 0.0)
    assert tuned.quantizer_lr == 1e-2 and scratch.quantizer_lr == 1e-3
    assert not config(model=name, method="fp32").low_bit


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"bit": 2}, r"setting 'bit' is unknown \(did you mean bits"),
        ({"model": "gat"}, "setting model is 'gat'"),
        ({"method": "int2"}, "setting method is 'int2'"),
        ({"epochs": 0}, "setting epochs is 0"),
        ({"dropout": 1.0}, "setting dropout is 1.0"),
        ({"num_layers": -1}, "setting num_layers is -1"),
        ({"lr": 0}, "setting lr is 0"),
        ({"start": "int8"}, "setting start is 'int8'"),
    ],
    ids=lambda v: next(iter(v)) if isinstance(v, dict) else "",
)
def test_wrong_settings_are_named(values, message):
    with pytest.raises(InputError, match=message):
        config(**values)


def test_an_unknown_stage_is_named():
    with pytest.raises(InputError, match="message"):
        fit(config(stages=("message",), start="scratch", dataset="csbm", split="random"))


def test_a_folder_is_a_data_set(tmp_path):
    folder = str(write_example_folder(tmp_path / "mine"))
    assert load_graph(folder, "random").dataset.num_nodes == 60
    with pytest.raises(InputError, match="for a graph of your own, 'given' or 'random'"):
        load_graph(folder, "public")
    with pytest.raises(InputError, match="'nowhere' is unknown"):
        load_graph("nowhere")


def test_a_folder_that_changes_is_read_again(tmp_path):
    folder = write_example_folder(tmp_path / "mine")
    before = load_graph(str(folder), "random").dataset.labels
    lines = (folder / "labels.csv").read_text().splitlines()
    (folder / "labels.csv").write_text("\n".join([lines[0], *reversed(lines[1:])]) + "\n")
    after = load_graph(str(folder), "random").dataset.labels
    assert torch.equal(after, before.flip(0)) and not torch.equal(after, before)


def rows_of(**values) -> dict[str, object]:
    return {m.metric: m for m in run_one(config(dataset="csbm", split="random", epochs=2, **values))}


def test_measurements_of_a_low_bit_run():
    rows = rows_of(start="scratch")
    assert {"test_accuracy", "val_accuracy", "best_epoch", "train_seconds", "model_bytes", "bits_updates"} <= set(rows)
    stage_bits = [m.value for name, m in rows.items() if name.startswith("bits_")]
    assert rows["test_accuracy"].bits_per_value == max(stage_bits) < 32
    assert rows["test_accuracy"].method == "node_pow2" and 0 <= rows["test_accuracy"].value <= 100
    # 64 x 8 and 8 x 4 codes of 2 bits, 12 column steps and 12 biases of 32 bits
    assert rows["model_bytes"].value == pytest.approx((64 * 8 + 8 * 4) * 2 / 8 + 12 * 4 + 12 * 4)


@pytest.mark.parametrize("values", [FP32, {"method": "node_pow2", "bits": 32}], ids=["fp32", "32 bits"])
def test_full_precision_is_called_that(values):
    rows = rows_of(**values)
    assert rows["test_accuracy"].method == "fp32" and rows["test_accuracy"].bits_per_value == 32
    assert rows["model_bytes"].value == 4 * (64 * 8 + 8 + 8 * 4 + 4)


def test_measurements_of_a_low_bit_deep_baseline():
    rows = rows_of(model="gcn", start="scratch")
    bits = {name: m.value for name, m in rows.items() if name.startswith("bits_")}
    assert set(bits) == {f"bits_{stage}" for stage in STAGES if stage != "updates"}
    assert rows["test_accuracy"].bits_per_value == max(bits.values()) < 32
    assert rows["test_accuracy"].method == "node_pow2"
    assert rows["model_bytes"].value == pytest.approx((64 * 8 + 8 * 4) * 2 / 8 + 12 * 4 + 12 * 4)


def test_measurements_of_a_deep_baseline():
    rows = rows_of(model="gcn", **FP32)
    assert rows["test_accuracy"].bits_per_value == 32
    assert rows["model_bytes"].value == 4 * (64 * 8 + 8 + 8 * 4 + 4)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"method": "node_pow2"}, "setting shared_ranges is True: only qlr, bt, bt_star have range factors to share"),
        ({"method": "qlr", "bits": 32}, "only qlr, bt, bt_star have range factors"),
        ({"method": "fp32", "bits": 32, "model": "gcn"}, "only qlr, bt, bt_star have range factors"),
    ],
    ids=["ours", "32 bits", "full precision"],
)
def test_shared_ranges_are_refused_where_there_are_none(values, message):
    with pytest.raises(InputError, match=message):
        config(shared_ranges=True, **values)


def test_shared_ranges_change_a_run_and_its_key(graph):
    own, shared = (config(method="qlr", start="scratch", multiplier=True, shared_ranges=s) for s in (False, True))
    assert config_key(own) != config_key(shared)
    assert fit(own, graph)[1].loss != fit(shared, graph)[1].loss


def test_stored_runs_keep_their_key():
    """A setting that came later may not make anyone compute stored results anew."""
    stored = ResultsStore(project_root() / "data" / "results" / "methods_cora_scratch.csv").configs()
    assert any("shared_ranges" not in values for values in stored.values())
    assert all(config_key(make_config(Config, values)) == key for key, values in stored.items())


def test_the_recipes_still_make_the_stored_runs_of_ours_at_4_and_8_bits():
    """A default that changes may not make stored tables compute their runs anew."""
    stored = ResultsStore(project_root() / "data" / "results" / "accuracy_public.csv").keys()
    wanted = [c for c in load_table("accuracy_public").configs if c.low_bit and c.bits in (4, 8)]
    assert wanted and all(config_key(c) in stored for c in wanted)
