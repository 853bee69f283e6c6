"""Recommendation runs: configs, recipes, shared teachers, rows in the store, the tables."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gnnq_lib.datasets.interactions import split_interactions
from gnnq_lib.datasets.interactions_generated import power_law_interactions
from gnnq_lib.datasets.interactions_registry import INTERACTION_SETS
from gnnq_lib.errors import InputError
from gnnq_lib.experiments import ResultsStore, load_table, table_names
from gnnq_lib.experiments.config import config_key, make_config, without_old_values
from gnnq_lib.experiments.recommendation import (
    METHODS,
    Config,
    build_model,
    kept_file,
    load_split,
    measurements,
    model_bytes,
    resolve,
    run_one,
    teacher_config,
    train_recommender,
)
from gnnq_lib.files import sha256_bytes
from gnnq_lib.paths import cache_dir, project_root
from gnnq_lib.recommendation.rotation import fitted_rotation

TINY = {"experiment": "test", "dataset": "power-law", "dim": 8, "teacher_epochs": 3, "epochs": 2, "eval_every": 1,
        "refine_steps": 5}  # fmt: skip


def config(**values) -> Config:
    return make_config(Config, {**TINY, **values})


def _folder(path: Path) -> str:
    """A data set of one's own: 19 users, 20 items."""
    (path / "train.txt").write_text("".join(f"{u} {u} {u + 1} {(u + 5) % 20}\n" for u in range(19)))
    (path / "test.txt").write_text("".join(f"{u} {(u + 9) % 20}\n" for u in range(19)))
    return str(path)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_gives_a_full_set_of_rows(method):
    bits = {"fp32": 32, "bigear": 1}.get(method, 2)
    rows = {row.metric: row for row in run_one(config(method=method, bits=bits))}
    assert {"recall@10", "ndcg@10", "recall@20", "ndcg@20", "val_ndcg@20", "model_bytes", "train_seconds"} <= set(rows)
    assert 0 < rows["recall@20"].value <= 1 and rows["recall@20"].source == "generated"
    assert rows["recall@20"].split == "lightgcn 0"
    nodes = 700
    sizes = {"fp32": 32 * 8, "bigear": 4 * (8 + 32), "gnaq_as_released": 2 * 8 + 128 + 32 * 300 / nodes}
    per_tensor = method in ("lsq", "n2uq", "post_training_tensor")
    wanted = sizes.get(method, 2 * 8 + (128 / nodes if per_tensor else 128)) * nodes / 8
    assert rows["model_bytes"].value == pytest.approx(wanted)
    assert rows["model_bytes"].bits_per_value == pytest.approx(8 * wanted / nodes / 8)


@pytest.mark.gpu
@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_on_cuda_as_on_the_cpu(method):
    values = {"method": method, "bits": {"fp32": 32, "bigear": 1}.get(method, 2), "refine_steps": 0}
    here, there = config(**values), config(**values, device="cuda")
    assert config_key(here) == config_key(there)
    trained = train_recommender(there)
    assert trained.model.table().is_cuda
    found, expected = ({row.metric: row.value for row in run_one(c)} for c in (there, here))
    assert found["recall@20"] == pytest.approx(expected["recall@20"], abs=0.03)  # other negatives are drawn there
    assert found["model_bytes"] == expected["model_bytes"]


def test_the_teacher_is_trained_once_and_kept():
    first = train_recommender(config())
    files = sorted(cache_dir().rglob("*.safetensors"))
    assert len(files) == 1 and not list(cache_dir().rglob("*.pt"))
    stamp = files[0].stat().st_mtime_ns
    again = train_recommender(config(experiment="other", method="lsq"))
    assert files[0].stat().st_mtime_ns == stamp and again.teacher_seconds == first.teacher_seconds > 0


def test_a_teacher_of_another_split_is_trained_anew(monkeypatch):
    """The source of both is called "generated": only the interactions tell them apart."""
    from gnnq_lib.experiments import recommendation

    first = train_recommender(config())
    other = split_interactions(power_law_interactions(seed=1))
    monkeypatch.setattr(recommendation, "load_split", lambda *given: other)
    again = train_recommender(config())
    assert other.data.source == first.split.data.source and again.teacher_seconds != first.teacher_seconds
    monkeypatch.setenv("GNNQ_CACHE", str(cache_dir() / "empty"))
    alone = train_recommender(config())
    assert torch.equal(again.model.table(), alone.model.table())


def test_a_kept_teacher_that_does_not_tell_its_split_is_trained_anew():
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    run = config(method="fp32", bits=32, start="random", epochs=2)
    wanted = train_recommender(run).model.table()
    (file,) = cache_dir().rglob("*.safetensors")
    with safe_open(file, "pt") as content:
        facts = content.metadata()
    del facts["split"]
    save_file({"table": 0 * load_file(file)["table"]}, file, facts)
    assert torch.equal(train_recommender(run).model.table(), wanted)


def test_another_data_folder_is_read_anew(monkeypatch, tmp_path):
    from gnnq_lib.experiments import recommendation

    folders = []
    data = power_law_interactions()
    monkeypatch.setattr(recommendation, "load_interactions", lambda name, seed: folders.append(name) or data)
    recommendation._load_split.cache_clear()
    for folder in ("a", "a", "b"):
        monkeypatch.setenv("GNNQ_DATA", str(tmp_path / folder))
        load_split("power-law")
    recommendation._load_split.cache_clear()
    assert len(folders) == 2


def test_same_settings_same_numbers():
    values = [{row.metric: row.value for row in run_one(config()) if "seconds" not in row.metric} for _ in range(2)]
    assert values[0] == values[1]


def test_a_kept_teacher_gives_the_same_as_a_fresh_one():
    fresh = train_recommender(config(method="fp32", bits=32, start="random", epochs=3))
    kept = train_recommender(config(method="fp32", bits=32, start="random", epochs=3))
    assert torch.equal(fresh.model.embedding, kept.model.embedding) and fresh.history.loss == kept.history.loss


@pytest.mark.parametrize("method", ["fp32", "fp32 of a folder", "gnaq", "lsq"])
def test_interrupted_training_resumes(monkeypatch, method, tmp_path):
    from gnnq_lib.experiments import recommendation

    teacher = method.startswith("fp32")
    values = {"method": "fp32", "bits": 32, "start": "random"} if teacher else {"method": method}
    if method.endswith("folder"):
        values |= {"dataset": _folder(tmp_path), "patience": 0}
    run = config(**values, epochs=11)
    whole = {row.metric: row.value for row in run_one(run)}
    if teacher:
        for file in cache_dir().rglob("*.safetensors"):
            file.unlink()
    train = recommendation.train

    def stop(epoch, model):
        if epoch == 10:  # a checkpoint is written every ten epochs, after the probe of the tenth
            monkeypatch.setattr(recommendation, "train", train)
        if epoch == 11:
            raise KeyboardInterrupt

    monkeypatch.setattr(recommendation, "train", lambda *given, **more: train(*given, **more, probe=stop))
    with pytest.raises(KeyboardInterrupt):
        train_recommender(run)
    assert list(cache_dir().rglob("*.pt"))
    lines = []
    again = {row.metric: row.value for row in measurements(train_recommender(run, say=lines.append))}
    assert [line.split(":")[0] for line in lines if line.startswith("epoch")] == ["epoch 11"]  # 1 to 10 were kept
    assert {k: v for k, v in again.items() if "seconds" not in k} == {
        k: v for k, v in whole.items() if "seconds" not in k
    }
    assert not list(cache_dir().rglob("*.pt"))


def test_refit_trains_on_everything():
    plain = train_recommender(config(method="fp32", bits=32, start="random", epochs=3))
    refit = train_recommender(config(method="fp32", bits=32, start="random", epochs=3, refit=True))
    assert refit.model.graph.num_entries > plain.model.graph.num_entries
    assert len(refit.history.loss) == plain.history.best_epoch
    rows = run_one(config(method="fp32", bits=32, start="random", epochs=3, refit=True))
    assert not any(row.metric.startswith("val_") for row in rows)
    with pytest.raises(InputError, match="refit is for method='fp32'"):
        train_recommender(config(refit=True))


@pytest.mark.parametrize("method", ["gnaq", "post_training_node", "lsq"])
def test_a_rotated_start_is_that_of_the_method(method):
    values = {"method": method, "rotation": True, "epochs": 0}
    trained = train_recommender(config(**values))
    teacher = train_recommender(teacher_config(resolve(config(**values)))).model
    start = teacher.table().detach()
    turned = start @ fitted_rotation(start, 2, per_node=method != "lsq")
    wanted = build_model(resolve(config(**{**values, "rotation": False})), teacher.graph, turned)
    assert torch.equal(trained.model.low_bit_table().codes, wanted.low_bit_table().codes)
    assert not torch.equal(
        trained.model.table(), train_recommender(config(**{**values, "rotation": False})).model.table()
    )


def test_a_rotation_is_for_low_bits():
    without = resolve(config(rotation=False))
    assert config_key(resolve(config())) == config_key(without)  # as it was before the setting came
    assert "rotation" not in without_old_values(without.model_dump())
    with pytest.raises(InputError, match="rotation is for low-bit methods"):
        train_recommender(config(method="fp32", bits=32, rotation=True))


def test_store_gets_the_rows(tmp_path):
    store = ResultsStore(tmp_path / "toy.csv")
    trained = train_recommender(config(), store)
    frame = store.frame()
    assert (
        store.done(config_key(trained.config)) and set(frame.method) == {"gnaq"} and set(frame.dataset) == {"power-law"}
    )


def test_random_start_needs_no_teacher():
    trained = train_recommender(config(start="random"))
    assert trained.teacher_seconds == 0 and not list(cache_dir().rglob("*.safetensors"))


@pytest.mark.parametrize("tanh", [False, True])
def test_half_levels(tanh):
    model = train_recommender(config(level_bits=16, tanh=tanh)).model
    levels = model.low_bit_table().levels
    assert torch.equal(levels, levels.half().float())  # what is stored is rounded, behind the tanh
    assert torch.equal(model.table(), model.low_bit_table().dequantize())
    assert model_bytes(model, config(level_bits=16)) == (2 * 8 + 64) * 700 / 8
    whole = train_recommender(config(tanh=tanh)).model.low_bit_table()
    assert torch.equal(whole.with_half_levels().levels, levels) and not torch.equal(whole.levels, levels)


@pytest.mark.parametrize(("method", "bits"), [("fp32", 32), ("bigear", 1)])
def test_half_levels_without_levels(method, bits):
    with pytest.raises(InputError, match=f"level_bits=16 is for methods with levels, which {method} has not"):
        train_recommender(config(method=method, bits=bits, level_bits=16))


def test_state_after_the_last_epoch_is_measured_too():
    """Training as released does harm on validation here: the kept model is the one before it."""
    run = config(method="gnaq_as_released", linear_head=False, epochs=6, teacher_epochs=30)
    found = {row.metric: row.value for row in run_one(run)}
    assert found["best_epoch"] == 0 and 0 < found["last_ndcg@20"] != found["ndcg@20"]
    found = {row.metric: row.value for row in run_one(config(method="lsq", epochs=1))}
    assert found["best_epoch"] == 1 and found["last_ndcg@20"] == found["ndcg@20"]
    untrained = {row.metric for row in run_one(config(method="post_training_node"))}
    assert not any(name.startswith("last_") for name in untrained)


def test_gnaq_protocol_from_split_to_metrics():
    found = {row.metric: row for row in run_one(config(protocol="gnaq"))}
    assert found["recall@20"].split == "gnaq 0" and 0 < found["recall@20"].value <= 1
    split = load_split("power-law", "gnaq")
    assert torch.equal(torch.tensor(split.train.keys), torch.tensor(split.data.train.keys))  # nothing taken from it
    other = {row.metric: row.value for row in run_one(config())}
    assert other["recall@20"] != found["recall@20"].value


def test_fewer_items_than_the_shortest_list(tmp_path):
    (tmp_path / "train.txt").write_text("".join(f"{u} {u % 7} {(u + 1) % 7} {(u + 3) % 7}\n" for u in range(20)))
    (tmp_path / "test.txt").write_text("".join(f"{u} {(u + 2) % 7}\n" for u in range(20)))
    found = {row.metric for row in run_one(config(dataset=str(tmp_path)))}
    assert "train_seconds" in found and not any("@" in name for name in found)


def test_a_folder_that_changes_is_read_again(tmp_path):
    (tmp_path / "train.txt").write_text("0 0 1\n1 1 2\n")
    (tmp_path / "test.txt").write_text("0 2\n")
    assert len(load_split(str(tmp_path)).data.train) == 4
    (tmp_path / "train.txt").write_text("0 0 1\n1 1\n")
    assert len(load_split(str(tmp_path)).data.train) == 3


def test_nothing_to_score_with_is_said_before_training(tmp_path):
    (tmp_path / "train.txt").write_text("0 0 1\n1 1 2\n")
    (tmp_path / "test.txt").write_text("")
    lines = []
    with pytest.raises(InputError, match="has no test interaction to score with; give at least one"):
        train_recommender(config(dataset=str(tmp_path)), say=lines.append)
    assert not lines


def test_options_that_the_method_refuses_are_said_before_a_teacher_is_trained():
    lines = []
    with pytest.raises(InputError, match="update_every=0 given; a whole number from 1 is accepted"):
        train_recommender(config(method="gnaq", update_every=0), say=lines.append)
    assert not lines


def test_recipes_fill_what_is_open():
    low, full = resolve(config(epochs=None)), resolve(config(method="fp32", bits=32, start="random", epochs=None))
    assert low.epochs and low.lr and low.tanh is False and full.epochs > low.epochs
    assert resolve(config(method="gnaq_as_released")).linear_head is True
    assert teacher_config(config()).epochs == 3 and teacher_config(config()).bits == 32


def test_a_teacher_draws_its_triplets_as_its_student_does():
    for sampling in ("users", "interactions"):
        low = resolve(config(dataset="gowalla", sampling=sampling))
        assert teacher_config(low).sampling == low.sampling == sampling
    assert resolve(config()).sampling == "interactions" and resolve(config(dataset="yelp2018")).sampling == "users"
    kept = {kept_file(teacher_config(resolve(config(sampling=sampling)))) for sampling in ("users", "interactions")}
    assert len(kept) == 2


def test_stored_runs_read_back_have_their_key():
    """Else another table with the same settings would compute them anew; a later setting is filled in where stored."""
    for name in (name for name in table_names() if name.startswith("rec_")):
        stored = ResultsStore(project_root() / "data" / "results" / f"{name}.csv").configs()
        read = {key: make_config(Config, {**values, "device": "cpu"}) for key, values in stored.items()}
        assert [key for key, config in read.items() if config_key(config) != key] == [], name


def test_settings_of_teachers_are_pinned():
    """The key of a low-bit run holds few of them: where they change, its stored rows must be dropped and run again."""
    names = (*INTERACTION_SETS, "path/to/mine")
    keys = [config_key(teacher_config(make_config(Config, {"experiment": "t", "dataset": name}))) for name in names]
    assert sha256_bytes(" ".join(keys).encode())[:12] == "e32d16ac0788"


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"bits": 5}, "setting bits is 5: 1 or 2 or 3 or 4 is accepted"),
        ({"method": "fp32", "bits": 2}, "32 is accepted for method 'fp32'"),
        ({"method": "lsq", "bits": 1}, "2 or 3 or 4 is accepted"),
        ({"method": "bigear", "bits": 2}, "1 is accepted"),
        ({"dim": 0}, "setting dim is 0"),
        ({"methd": "gnaq"}, "'methd' is unknown"),
        ({"gradient": "none"}, "setting gradient"),
    ],
)
def test_faults(values, fault):
    with pytest.raises(InputError, match=fault):
        config(**values)


def test_unknown_data_set():
    with pytest.raises(InputError, match="'lastfn' is unknown"):
        load_split("lastfn")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_no_cuda_device():
    with pytest.raises(InputError, match="there is no CUDA device here"):
        config(device="cuda")


def test_own_folder_is_trained_and_not_kept(tmp_path):
    rows = {row.metric for row in run_one(config(dataset=_folder(tmp_path)))}
    assert "recall@10" in rows and not list(cache_dir().rglob("*.safetensors"))


@pytest.mark.parametrize(
    "name",
    [
        "rec_fp32",
        "rec_methods",
        "rec_ml_100k_methods",
        "rec_ablations",
        "rec_ml_100k_ablations",
        "rec_bits",
        "rec_gowalla",
    ],
)
def test_tables_load(name):
    assert load_table(name).configs
