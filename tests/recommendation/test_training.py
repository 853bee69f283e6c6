"""Training: it learns, stops by validation, resumes to the same bits."""

from __future__ import annotations

import logging
import math
from dataclasses import replace

import pytest
import torch

from gnnq_lib.datasets.interactions import Interactions, RatingSplit, UserItems, split_interactions
from gnnq_lib.errors import InputError
from gnnq_lib.recommendation.baselines import LsqTable, N2uqTable
from gnnq_lib.recommendation.bigear import Bigear
from gnnq_lib.recommendation.bipartite import BipartiteGraph
from gnnq_lib.recommendation.gnaq import Gnaq, GnaqAsReleased, GnaqOptions
from gnnq_lib.recommendation.lightgcn import LightGCN, initial_table
from gnnq_lib.recommendation.sampling import TripletSampler
from gnnq_lib.recommendation.serving import NOBODY, RecommendationServer
from gnnq_lib.recommendation.training import TrainOptions, evaluate, train

FAST = TrainOptions(epochs=6, batch_size=128, lr=0.02, eval_every=2, checkpoint_every=1, select_k=10)


def test_learns_and_keeps_the_best_epoch(split, graph):
    model = LightGCN(graph, dim=8)
    before = evaluate(model, split, ks=[10])
    history = train(model, split, FAST)
    assert history.loss[-1] < history.loss[0] and history.epochs == [0, 2, 4, 6]
    assert evaluate(model, split, ks=[10])["recall@10"] > before["recall@10"] + 0.05
    assert evaluate(model, split, "val", [10])["ndcg@10"] == pytest.approx(history.best_ndcg)
    assert history.best_ndcg == max(history.val_ndcg)


def test_a_spoilt_training_returns_where_it_began(split, graph):
    model = LightGCN(graph, dim=8)
    train(model, split, FAST)
    good = evaluate(model, split, "val")
    history = train(model, split, TrainOptions(epochs=30, lr=5.0, eval_every=1, patience=2, select_k=10))
    assert history.best_epoch == 0 and len(history.loss) == 2  # patience ran out
    assert evaluate(model, split, "val") == good


class _Stop(Exception):
    pass


def _interrupt(epoch, model):
    if epoch == 3:
        raise _Stop


def _gnaq(graph, **options):
    return Gnaq(graph, initial_table(graph, 8, seed=1), GnaqOptions(refine_steps=3, **options))


MODELS = {
    "lightgcn": lambda graph: LightGCN(graph, dim=8),
    "gnaq": _gnaq,
    "gnaq, codes renewed at every 7th step": lambda graph: _gnaq(graph, update_every=7, anchor=1.0, order_weight=1.0),
    "gnaq as released": lambda graph: GnaqAsReleased(graph, initial_table(graph, 8, seed=1), update_every=2),
    "lsq": lambda graph: LsqTable(graph, initial_table(graph, 8, seed=1)),
    "n2uq": lambda graph: N2uqTable(graph, initial_table(graph, 8, seed=1)),
    "bigear": lambda graph: Bigear(graph, initial_table(graph, 8, seed=1)),
}


@pytest.mark.parametrize("name", MODELS)
def test_resumed_equals_uninterrupted(split, graph, tmp_path, name):
    whole, resumed = MODELS[name](graph), MODELS[name](graph)
    whole_last, resumed_last = {}, {}
    history = train(whole, split, FAST, final=lambda model: whole_last.update(_copied(model)))
    with pytest.raises(_Stop):
        train(MODELS[name](graph), split, FAST, tmp_path / "run.pt", probe=_interrupt)
    epochs = []
    found = train(
        resumed,
        split,
        FAST,
        tmp_path / "run.pt",
        probe=lambda epoch, model: epochs.append(epoch),
        final=lambda model: resumed_last.update(_copied(model)),
    )
    assert epochs == [3, 4, 5, 6]  # the third was stopped before its checkpoint
    assert found.loss == history.loss and found.val_ndcg == history.val_ndcg
    for one, other in ((whole.state_dict(), resumed.state_dict()), (whole_last, resumed_last)):
        assert one.keys() == other.keys() and all(torch.equal(one[part], other[part]) for part in one)
    again = train(MODELS[name](graph), split, FAST, tmp_path / "run.pt", probe=_interrupt)
    assert again.loss == history.loss  # a finished training is not trained again


def _copied(model):
    return {name: part.clone() for name, part in model.state_dict().items()}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (lambda graph: LightGCN(graph, dim=8), lambda graph: LightGCN(graph, dim=8, num_layers=1)),
        (_gnaq, lambda graph: _gnaq(graph, gradient="straight_through")),
        (_gnaq, lambda graph: _gnaq(graph, anchor=1.0)),
        (_gnaq, lambda graph: Gnaq(graph, initial_table(graph, 8, seed=2), GnaqOptions(refine_steps=3))),
        (MODELS["gnaq as released"], lambda graph: GnaqAsReleased(graph, initial_table(graph, 8, seed=1))),
        (MODELS["bigear"], lambda graph: Bigear(graph, initial_table(graph, 8, seed=1), distillation=0.5)),
        (MODELS["lsq"], lambda graph: LsqTable(graph, initial_table(graph, 8, seed=2))),
        (MODELS["lsq"], lambda graph: LsqTable(graph, initial_table(graph, 8, seed=1), bits=4)),
        (
            MODELS["gnaq as released"],
            lambda graph: GnaqAsReleased(graph, initial_table(graph, 8, seed=1), update_every=2, seed=1),
        ),
    ],
    ids=[
        "layers",
        "gradient",
        "anchor",
        "teacher",
        "update_every",
        "distillation",
        "teacher of lsq",
        "bits of lsq",
        "seed of the released head",
    ],
)
def test_checkpoint_of_another_model_is_refused(split, graph, tmp_path, one, other):
    options = TrainOptions(epochs=1, batch_size=128, select_k=10)
    train(one(graph), split, options, tmp_path / "run.pt")
    with pytest.raises(InputError, match="belongs to other settings or data"):
        train(other(graph), split, options, tmp_path / "run.pt")


def test_checkpoint_of_other_settings_and_damaged_one(split, graph, tmp_path, caplog):
    path = tmp_path / "run.pt"
    train(LightGCN(graph, dim=8), split, FAST, path)
    with pytest.raises(InputError, match="belongs to other settings or data"):
        train(LightGCN(graph, dim=4), split, FAST, path)
    path.write_bytes(path.read_bytes()[:100])
    with caplog.at_level(logging.WARNING):
        history = train(LightGCN(graph, dim=8), split, FAST, path)
    assert len(history.loss) == 6 and "is damaged" in caplog.text


def test_checkpoint_that_holds_something_else(split, graph, tmp_path, caplog):
    path = tmp_path / "run.pt"
    torch.save([torch.zeros(1)], path)
    with caplog.at_level(logging.WARNING):
        history = train(LightGCN(graph, dim=8), split, FAST, path)
    assert len(history.loss) == 6 and "is damaged (it holds a list)" in caplog.text


def test_longer_training_goes_on_from_a_finished_one(split, graph, tmp_path):
    """The same parameters and losses; the evaluation at the earlier end is one more."""
    short, long = (TrainOptions(epochs=epochs, batch_size=128, select_k=10, patience=0) for epochs in (3, 10))
    last = []
    history = train(LightGCN(graph, dim=4), split, long, final=lambda model: last.append(_copied(model)))
    train(LightGCN(graph, dim=4), split, short, tmp_path / "run.pt")
    found = train(
        LightGCN(graph, dim=4), split, long, tmp_path / "run.pt", final=lambda model: last.append(_copied(model))
    )
    assert found.loss == history.loss and torch.equal(last[0]["embedding"], last[1]["embedding"])
    assert history.epochs == [0, 5, 10] and found.epochs == [0, 3, 5, 10]


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (lambda graph: LightGCN(graph, dim=4, seed=1), {}, "belongs to other settings or data"),
        (
            lambda graph: LightGCN(graph, dim=4, table=initial_table(graph, 4, 1)),
            {},
            "belongs to other settings or data",
        ),
        (lambda graph: LightGCN(graph, dim=4), {"epochs": 3}, "has 6 epochs, 3 are asked for; ask for as many or more"),
    ],
    ids=["seed of the start", "start", "fewer epochs"],
)
def test_checkpoint_that_would_give_another_result_than_in_one_go(split, graph, tmp_path, make, options, message):
    train(LightGCN(graph, dim=4), split, FAST, tmp_path / "run.pt")
    with pytest.raises(InputError, match=message):
        train(make(graph), split, replace(FAST, **options), tmp_path / "run.pt")


def test_checkpoint_of_a_smaller_graph(split, graph, tmp_path):
    fewer = split.train.select(split.train.items != 0)
    train(LightGCN(BipartiteGraph(fewer), dim=4), split, FAST, tmp_path / "run.pt")
    assert len(train(LightGCN(BipartiteGraph(fewer), dim=4), split, FAST, tmp_path / "run.pt").loss) == 6
    with pytest.raises(InputError, match="belongs to other settings or data"):
        train(LightGCN(graph, dim=4), split, FAST, tmp_path / "run.pt")


def test_graph_that_gives_away_what_is_to_be_found(split):
    for pairs, part in ((split.train.plus(split.val), "validation"), (split.train.plus(split.test), "test")):
        with pytest.raises(InputError, match=f"graph has interactions of the split's {part} part"):
            train(LightGCN(BipartiteGraph(pairs), dim=4), split, FAST)
    one = split.test.select(torch.arange(len(split.test)).numpy() == len(split.test) - 1)
    with pytest.raises(InputError, match="graph has interactions of the split's test part"):
        train(LightGCN(BipartiteGraph(split.train.plus(one)), dim=4), split, FAST)


@pytest.mark.parametrize("sizes", [(61, 50), (60, 51)])
def test_graph_of_other_sizes(split, sizes):
    pairs = UserItems(split.train.users, split.train.items, *sizes)
    with pytest.raises(
        InputError, match=f"a graph of {sizes[0]} users and {sizes[1]} items given for a split of 60 and"
    ):
        train(LightGCN(BipartiteGraph(pairs), dim=4), split, FAST)


@pytest.mark.parametrize("part", ["validation", "valid", "train", None])
def test_parts_that_there_are_not(split, graph, part):
    with pytest.raises(InputError, match="part=.* given; 'val' and 'test' are accepted"):
        evaluate(LightGCN(graph, dim=4), split, part, [10])


def test_without_validation_all_epochs_are_run(split, graph):
    full = split.with_validation_in_training()
    history = train(LightGCN(graph, dim=4), full, TrainOptions(epochs=3, patience=1))
    assert len(history.loss) == 3 and history.val_ndcg == []


def test_cosine_schedule_and_clipping_change_the_result(split, graph):
    tables = []
    for options in ({}, {"schedule": "cosine"}, {"clip": 1e-4}):
        model = LightGCN(graph, dim=4)
        train(model, split, TrainOptions(epochs=4, lr=0.02, patience=0, eval_every=4, **options))
        tables.append(model.embedding.detach())
    assert not torch.equal(tables[0], tables[1]) and not torch.equal(tables[0], tables[2])


def test_cosine_schedule_falls_to_a_hundredth(split, graph, monkeypatch):
    """As (1 + cos) / 2 from the rate in the first epoch; the last of four is an epoch before its end."""
    rates, adam = [], torch.optim.Adam
    monkeypatch.setattr(torch.optim, "Adam", lambda *given, **more: rates.append(adam(*given, **more)) or rates[-1])
    found = []
    options = TrainOptions(epochs=4, lr=0.02, patience=0, eval_every=4, schedule="cosine")
    train(LightGCN(graph, dim=4), split, options, probe=lambda *_: found.append(rates[0].param_groups[0]["lr"]))
    half = math.sqrt(0.5)
    shares = [1, 0.01 + 0.99 * (1 + half) / 2, 0.01 + 0.99 / 2, 0.01 + 0.99 * (1 - half) / 2]
    assert found == pytest.approx([0.02 * share for share in shares])


def test_loss_that_is_not_finite(split, graph):
    with pytest.raises(InputError, match="the loss became"):
        train(LightGCN(graph, dim=4), split, TrainOptions(epochs=20, lr=1e30, patience=0))


@pytest.mark.parametrize(
    "values",
    [
        {"epochs": -1},
        {"batch_size": 0},
        {"lr": float("nan")},
        {"lr": "a"},
        {"l2": -1.0},
        {"eval_every": 0},
        {"patience": 1.5},
        {"schedule": "linear"},
        {"sampling": "items"},
        {"seed": 2**40},
    ],
)
def test_options_out_of_range(values):
    with pytest.raises(InputError, match=next(iter(values))):
        TrainOptions(**values)


@pytest.mark.gpu
def test_cuda_trains_and_agrees(split):
    here, there = BipartiteGraph(split.train), BipartiteGraph(split.train, "cuda")
    a, b = LightGCN(here, dim=8), LightGCN(there, dim=8)
    assert torch.allclose(a(), b().cpu(), atol=1e-6)
    batch = [torch.tensor([0, 1, 2]), torch.tensor([3, 4, 5]), torch.tensor([6, 7, 8])]
    for model in (a, b):
        model.loss(*(part.to(model.graph.device) for part in batch), l2=0.1).backward()
    assert torch.allclose(a.embedding.grad, b.embedding.grad.cpu(), atol=1e-7)
    assert len(train(b, split, FAST).loss) == 6


def test_a_user_with_every_item():
    """User 0 has no negative and nothing left to be recommended; training and serving go on without her."""
    pairs = UserItems([0, 0, 0, 1, 2], [0, 1, 2, 0, 1], 3, 3)
    data = Interactions("full", pairs, UserItems([1, 2], [1, 0], 3, 3), "memory")
    everything = RatingSplit(data, pairs, UserItems([], [], 3, 3), data.test, "lightgcn")
    sampler = TripletSampler(pairs, 8, seed=0)
    users, _, negatives = next(sampler.epoch(0))
    assert sorted(users.tolist()) == [1, 2] and not set(zip(users.tolist(), negatives.tolist())) & {(1, 0), (2, 1)}
    model = LightGCN(BipartiteGraph(pairs), dim=4)
    assert len(train(model, everything, TrainOptions(epochs=2, batch_size=2)).loss) == 2
    with torch.no_grad():
        model.embedding.copy_(torch.tensor([[1.0, 0, 0, 0]] * 3 + [[3.0, 0, 0, 0], [1.0, 0, 0, 0], [2.0, 0, 0, 0]]))
        model.num_layers = 0  # item 0 scores best, then 2, then 1; user 1 has seen 0, user 2 has seen 1
    found = evaluate(model, everything, ks=[1, 2])
    assert found["recall@1"] == 0.5 and found["ndcg@2"] == pytest.approx((1 / math.log2(3) + 1) / 2)
    lists = RecommendationServer(model, [pairs]).recommend([0, 1], k=3)
    assert lists.items[0].tolist() == [NOBODY] * 3 and torch.isinf(lists.scores[0]).all()
    assert set(lists.items[1, :2].tolist()) == {1, 2} and lists.items[1, 2] == NOBODY


def test_odd_users_and_items_have_a_defined_result():
    """User 0 has nearly every item, user 3 no training item; item 5 is in the test part only."""
    train_pairs = UserItems([0, 0, 0, 0, 0, 1, 1, 2], [0, 1, 2, 3, 4, 0, 1, 2], 4, 6)
    test_pairs = UserItems([1, 2, 3, 3], [2, 0, 1, 5], 4, 6)
    data = Interactions("odd", train_pairs, test_pairs, "memory")
    odd = split_interactions(data, share=0.4)
    model = LightGCN(BipartiteGraph(odd.train), dim=4)
    history = train(model, odd, TrainOptions(epochs=3, batch_size=4, eval_every=1, select_k=20))
    assert len(history.loss) == 3
    with torch.no_grad():
        model.embedding.zero_()[:, 0] = torch.tensor([1.0, 1, 1, 1, 6, 5, 4, 3, 2, 1])
        model.num_layers = 0  # items in the order of their numbers, seen ones last
    found = evaluate(model, odd, ks=[1, 2, 6])
    # User 1 has seen 0 and 1 and finds item 2 first, user 2 finds item 0 first; user 3 finds 1 second and 5 last.
    assert found["recall@1"] == pytest.approx(2 / 3) and found["recall@2"] == pytest.approx((1 + 1 + 0.5) / 3)
    gains, ideal = 1 / math.log2(3) + 1 / math.log2(7), 1 + 1 / math.log2(3)
    assert found["ndcg@6"] == pytest.approx((1 + 1 + gains / ideal) / 3)
    with pytest.raises(InputError, match=r"k=7 given; whole numbers from 1 to 6"):
        evaluate(model, odd, ks=[7])
