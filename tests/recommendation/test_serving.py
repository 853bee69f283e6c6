"""Lists from a packed recommender: the trained model's, without what was seen; the commands as a user sees them."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from gnnq_lib.datasets.interactions import UserItems
from gnnq_lib.datasets.interactions_registry import INTERACTION_SETS
from gnnq_lib.errors import InputError
from gnnq_lib.experiments.recommendation import load_split, train_recommender
from gnnq_lib.files import check_writable
from gnnq_lib.recommendation import pipeline, serving
from gnnq_lib.recommendation.baselines import PostTraining
from gnnq_lib.recommendation.bipartite import BipartiteGraph
from gnnq_lib.recommendation.lightgcn import LightGCN
from gnnq_lib.recommendation.packed import load_recommender, pack_recommender
from gnnq_lib.recommendation.pipeline import (
    ListsDifferError,
    other_lists,
    recommender_config,
    save_trained,
    train_and_pack,
)
from gnnq_lib.recommendation.serving import RecommendationServer, compact_tables, serve, training_split
from tests.test_cli import gnnq

SHORT = {"teacher_epochs": 3, "epochs": 2, "dim": 16, "refine_steps": 5}


@pytest.fixture
def toy():
    """Two users, four items; scores of user 0: 9, 5, 7, 1; of user 1: 9, 6, 8, 2. User 1 has seen items 0 to 2."""
    seen = UserItems([0, 1, 1, 1], [0, 0, 1, 2], 2, 4)
    table = torch.tensor([[1.0, 0.0], [0.0, 1.0], [9.0, 9.0], [5.0, 6.0], [7.0, 8.0], [1.0, 2.0]])
    return RecommendationServer(LightGCN(BipartiteGraph(seen), dim=2, num_layers=0, table=table), [seen], "abcd")


def test_lists_by_hand(toy):
    found = toy.recommend([1, 0], k=3)
    assert found.items.tolist() == [[3, -1, -1], [2, 1, 3]]
    assert found.scores.tolist() == [[2.0, -torch.inf, -torch.inf], [7.0, 5.0, 1.0]]
    assert found.users.tolist() == [1, 0]


def test_places_by_hand(toy):
    assert [toy.place(0, item) for item in range(4)] == [(9.0, None), (5.0, 2), (7.0, 1), (1.0, 3)]
    assert toy.title(2) == "c" and toy.num_unseen(1) == 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda server: server.recommend([2]), "user 2 is unknown; users are numbered 0 to 1"),
        (lambda server: server.recommend([-1]), "user -1 is unknown"),
        (lambda server: server.recommend([0], k=5), "k=5 given; whole numbers from 1 to 4"),
        (lambda server: server.recommend([0], k=0), "k=0 given"),
        (lambda server: server.place(0, 4), "item 4 is unknown; items are numbered 0 to 3"),
        (lambda server: server.place(9, 0), "user 9 is unknown"),
    ],
    ids=["user", "negative user", "k above catalogue", "k of 0", "item", "user of a place"],
)
def test_unknown_users_items_and_k(call, message, toy):
    with pytest.raises(InputError, match=message):
        call(toy)


def test_no_users_no_lists(toy):
    assert toy.recommend([], k=2).items.shape == (0, 2)


def test_no_titles(split, graph):
    assert RecommendationServer(LightGCN(graph, dim=2), [split.train]).title(3) == ""


@pytest.mark.parametrize(
    ("method", "bits", "level_bits"),
    [("gnaq", 1, 32), ("gnaq", 2, 32), ("gnaq", 2, 16), ("gnaq", 3, 32), ("gnaq", 4, 32), ("gnaq_as_released", 2, 32),
     ("gnaq_as_released", 2, 16), ("post_training_node", 2, 32), ("post_training_node", 2, 16), ("lsq", 2, 32),
     ("lsq", 2, 16), ("n2uq", 2, 32), ("n2uq", 2, 16)],
)  # fmt: skip
def test_lists_of_the_file_are_those_of_the_trained_model(method, bits, level_bits, tmp_path):
    config = recommender_config("power-law", method=method, bits=bits, level_bits=level_bits, **SHORT)
    trained = train_recommender(config)
    server = serve(save_trained(trained, tmp_path / "m.safetensors"))
    simulated = RecommendationServer(trained.model, [trained.split.train, trained.split.val])
    users = range(server.num_users)
    mine, theirs = server.recommend(users, 20), simulated.recommend(users, 20)
    assert torch.equal(mine.items, theirs.items) and torch.equal(mine.scores, theirs.scores)
    for user in (0, 17):
        seen = {*trained.split.train.of(user).tolist(), *trained.split.val.of(user).tolist()}
        assert not seen & set(mine.items[user].tolist())


def test_lists_with_half_levels_behind_tanh(tmp_path):
    config = recommender_config("power-law", level_bits=16, tanh=True, **SHORT)
    assert train_and_pack(config, tmp_path / "m.safetensors").other_lists == 0


def test_lists_of_a_real_model(tmp_path, monkeypatch, real_data):
    monkeypatch.setenv("GNNQ_DATA", real_data)
    config = recommender_config("ml-100k", teacher_epochs=8, epochs=2, refine_steps=10)
    report = train_and_pack(config, tmp_path / "m.safetensors")
    assert report.other_lists == 0 and report.recall > 0.1
    assert report.times_smaller == pytest.approx(8, rel=0.03)
    assert serve(tmp_path / "m.safetensors").title(49) == "Star Wars (1977)"


def test_lists_that_differ_leave_the_file_that_is_there(tmp_path, monkeypatch):
    out = tmp_path / "m.safetensors"
    out.write_text("an older model")
    monkeypatch.setattr(pipeline, "other_lists", lambda *given: 7)
    with pytest.raises(ListsDifferError, match="7 of 400 users get other lists from the file"):
        train_and_pack(recommender_config("power-law", method="post_training_node", teacher_epochs=1), out)
    assert out.read_text() == "an older model" and list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize("place", ["folder", "file/m.safetensors"])
def test_a_place_that_cannot_be_written_to_is_said_before_training(place, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    lines = []
    with pytest.raises(InputError, match="is a folder; give the name of the file|cannot be written .*; give a place"):
        train_and_pack(recommender_config("power-law", **SHORT), tmp_path / place, say=lines.append)
    assert not lines and not any((tmp_path / "folder").iterdir())


def test_a_place_that_can_be_written_to_stays_as_it_is(tmp_path):
    file = tmp_path / "new" / "m.safetensors"
    assert check_writable(str(file)) == file and not any(file.parent.iterdir())
    file.write_text("kept")
    assert check_writable(file).read_text() == "kept"


def test_train_recommender_names_a_folder_in_one_sentence(tmp_path):
    run = gnnq("train-recommender", "--data", "power-law", "--out", tmp_path)
    assert (
        run.returncode == 2
        and run.stdout == ""
        and run.stderr == (f"Error: {tmp_path} is a folder; give the name of the file to write\n")
    )


def test_lists_that_differ_are_counted(split, graph):
    tables = [torch.randn(graph.num_nodes, 8, generator=torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    one, same, other = (PostTraining(graph, table, bits=4) for table in tables)
    assert other_lists(one, same, split, 5) == 0
    assert other_lists(one, other, split, 5) > 50


def tables(num_users=40, num_items=300, dim=32, scale=1.0):
    generator = torch.Generator().manual_seed(0)
    return [scale * torch.randn(rows, dim, generator=generator) for rows in (num_users, num_items)]


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_compact_users_are_within_half_a_step(scale):
    users, items = tables(scale=scale)
    compact = compact_tables(users, items)
    step = (users.amax(dim=1) - users.amin(dim=1)) / 15
    error = (compact.user_rows(torch.arange(40)) - users).abs().amax(dim=1)
    assert bool((error < 0.55 * step).all())


def test_compact_lists_leave_out_what_was_seen():
    users, items = tables()
    compact = compact_tables(users, items, user_bits=8, item_bits=8)
    chosen = torch.tensor([3, 0, 7])
    plain, scores = compact.top(chosen, 300)
    hidden = {3: plain[0, :5].tolist(), 0: [], 7: list(range(300))}
    pairs = [(user, item) for user, seen in hidden.items() for item in seen]
    seen = UserItems([user for user, _ in pairs], [item for _, item in pairs], 40, 300)
    found, values = compact.top(chosen, 10, [seen])
    assert found[0].tolist() == plain[0, 5:15].tolist() and found[1].tolist() == plain[1, :10].tolist()
    assert found[2].tolist() == [-1] * 10 and bool((values[2] == -torch.inf).all())
    assert torch.allclose(values[0], scores[0, 5:15])
    exact = (users[chosen] @ items.T).topk(10).indices
    assert sum(len({*a} & {*b}) for a, b in zip(plain[:, :10].tolist(), exact.tolist())) >= 28
    assert compact.top(chosen[:0], 3, [seen])[0].shape == (0, 3)


def test_compact_lists_do_not_depend_on_threads():
    users, items = tables(num_users=150)
    compact = compact_tables(users, items)
    chosen = torch.arange(150)
    seen = [UserItems(range(150), [user % 300 for user in range(150)], 150, 300)]
    alone, before = compact.top(chosen, 7, seen), torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        together = compact.top(chosen, 7, seen)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert torch.equal(alone[0], together[0]) and torch.equal(alone[1], together[1])


def test_compact_lists_do_not_depend_on_the_default_dtype():
    users, items = tables()
    seen, before = [UserItems([0], [5], 40, 300)], torch.get_default_dtype()
    compact = compact_tables(users, items)
    wanted = compact.top(torch.arange(40), 7, seen)
    torch.set_default_dtype(torch.float64)
    try:
        found = compact.top(torch.arange(40), 7, seen)
    finally:
        torch.set_default_dtype(before)
    assert torch.equal(found[0], wanted[0]) and torch.equal(found[1], wanted[1])


def test_compact_tables_refuse():
    users, items = tables()
    with pytest.raises(InputError, match="k=301 given"):
        compact_tables(users, items).top(torch.tensor([0]), 301)
    for user in (40, -1):
        with pytest.raises(InputError, match=f"user {user} is unknown; users are numbered 0 to 39"):
            compact_tables(users, items).top(torch.tensor([0, user, 3]), 5)
    with pytest.raises(InputError, match="user table holds NaN"):
        compact_tables(users * float("nan"), items)
    with pytest.raises(InputError, match="hold NaN"):
        compact_tables(users, items * float("nan"))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model of generated interactions made from the command line, with what was printed."""
    folder = tmp_path_factory.mktemp("recommenders")
    numbers, out = folder / "n.json", folder / "m.safetensors"
    lengths = ("--epochs", 1, "--teacher-epochs", 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GNNQ_CACHE", str(folder / "cache"))
        run = gnnq("train-recommender", "--data", "power-law", "--out", out, *lengths, "--json", numbers)
    assert run.returncode == 0, run.stderr
    return out, run.stdout, json.loads(numbers.read_text())["results"]


def test_train_recommender_prints_quality_and_size(model):
    out, text, numbers = model
    assert numbers["other_lists"] == 0 and numbers["file_bytes"] == out.stat().st_size
    assert f"Recall@20 {numbers['recall']:.4f}" in text and f"{out.stat().st_size:,} bytes" in text
    assert numbers["fp32_bytes"] / numbers["formula_bytes"] == 8.0


def test_recommend_prints_the_list(model, tmp_path):
    out, _, _ = model
    run = gnnq("recommend", out, "--user", 42, "--k", 5, "--item", 7, "--json", tmp_path / "r.json")
    assert run.returncode == 0, run.stderr
    numbers = json.loads((tmp_path / "r.json").read_text())["results"]
    found = serve(out).recommend([42], 5)
    assert [row["item"] for row in numbers["list"]] == found.items[0].tolist()
    assert run.stdout.splitlines()[0].split()[:3] == ["1", "item", str(int(found.items[0, 0]))]
    assert "item 7: score" in run.stdout.splitlines()[-1] and len(run.stdout.splitlines()) == 6


def test_recommend_says_when_a_list_ends(model):
    run = gnnq("recommend", model[0], "--user", 0, "--k", 300)
    unseen = serve(model[0]).num_unseen(0)
    assert run.stdout.splitlines()[-1] == f"user 0 has only {unseen} unseen items" and unseen < 300


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--user", 400], "user 400 is unknown; users are numbered 0 to 399"),
        (["--user", -1], "user -1 is unknown"),
        (["--user", 1, "--item", 300], "item 300 is unknown; items are numbered 0 to 299"),
        (["--user", 1, "--k", 301], "k=301 given; whole numbers from 1 to 300"),
    ],
    ids=["user", "negative", "item", "k"],
)
def test_recommend_refuses_in_one_sentence(options, message, model):
    run = gnnq("recommend", model[0], *options)
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr.startswith(f"Error: {message}") and run.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--data", "ml-10k"], "data set 'ml-10k' is unknown"),
        (["--data", "power-law", "--bits", 5], "bits"),
        (["--data", "power-law", "--dim", 0], "dim"),
        (["--data", "power-law", "--method", "bigear", "--bits", 1], "methods with codes and levels are accepted"),
        (["--data", "power-law", "--method", "no"], "method"),
    ],
    ids=["data", "bits", "dim", "method", "unknown method"],
)
def test_train_recommender_refuses_in_one_sentence(options, message, tmp_path):
    run = gnnq("train-recommender", *options, "--out", tmp_path / "m.safetensors")
    assert run.returncode == 2 and message in run.stderr and run.stderr.count("\n") == 1
    assert not (tmp_path / "m.safetensors").exists()


def test_a_folder_of_ones_own_needs_no_folder_afterwards(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "train.txt").write_text("".join(f"{u} {u % 7} {(u + 1) % 7} {(u + 3) % 7}\n" for u in range(20)))
    (folder / "test.txt").write_text("".join(f"{u} {(u + 2) % 7}\n" for u in range(20)))
    out = tmp_path / "m.safetensors"
    run = gnnq("train-recommender", "--data", folder, "--out", out, "--epochs", 1, "--teacher-epochs", 1, "--dim", 4)
    assert run.returncode == 0, run.stderr
    for file in folder.iterdir():
        file.unlink()
    assert gnnq("recommend", out, "--user", 3, "--k", 2).stdout.count("item") == 2


def test_a_folder_of_ones_own_is_saved_with_its_interactions(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "train.txt").write_text("".join(f"{u} {u % 7} {(u + 1) % 7} {(u + 3) % 7}\n" for u in range(20)))
    (folder / "test.txt").write_text("".join(f"{u} {(u + 2) % 7}\n" for u in range(20)))
    trained = train_recommender(recommender_config(str(folder), teacher_epochs=1, epochs=1, dim=4))
    server = serve(save_trained(trained, tmp_path / "m.safetensors"))
    assert server.recommend([3], 2).items.shape == (1, 2) and server.titles is None


@pytest.mark.parametrize("root", [True, False], ids=["a folder without the set", "no folder"])
def test_a_file_with_interactions_does_without_its_data_set(root, split, graph, tmp_path):
    data = replace(split.data, name="ml-100k")
    packed = pack_recommender(PostTraining(graph, tables(110, 1)[0]), replace(split, data=data), with_interactions=True)
    found = training_split(packed, tmp_path if root else None)
    assert (found.train.keys == split.train.keys).all() and found.data.titles is None


def test_titles_come_from_the_folder_given(split, graph, tmp_path, monkeypatch):
    data = replace(split.data, name="ml-100k", titles=tuple(map(str, range(50))))
    monkeypatch.setattr(serving, "load_interactions", lambda name, root: data if root == tmp_path else None)
    for path in INTERACTION_SETS["ml-100k"].forms[0][0].files:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    packed = pack_recommender(PostTraining(graph, tables(110, 1)[0]), replace(split, data=data), with_interactions=True)
    assert training_split(packed, tmp_path).data.titles == data.titles


@pytest.mark.gpu
def test_models_on_cuda_are_served(tmp_path):
    config = recommender_config("power-law", device="cuda", **SHORT)
    assert train_and_pack(config, tmp_path / "m.safetensors").other_lists == 0
    trained = train_recommender(config)
    seen = [trained.split.train, trained.split.val]
    found = RecommendationServer(trained.model, seen).recommend([0, 5], 7)
    assert found.items.shape == (2, 7) and not found.items.is_cuda
    compact = compact_tables(*(table.detach() for table in trained.model.score_tables()))
    assert compact.top(torch.tensor([0, 5]), 7, seen)[0].shape == (2, 7)


def test_other_interactions_are_noticed(model, monkeypatch):
    packed = load_recommender(model[0])
    assert len(training_split(packed).train) == packed.header.num_train
    changed = packed.header.model_copy(update={"interactions": "0" * 16})
    monkeypatch.setattr(type(packed), "__post_init__", lambda self: None)
    with pytest.raises(InputError, match="is not what this model was trained on"):
        training_split(type(packed)(changed, packed.tensors))


def test_load_split_and_the_file_agree(model):
    assert (load_split("power-law").train.keys == training_split(load_recommender(model[0])).train.keys).all()
