"""Training: it learns, stops by validation, resumes to the same bits."""

from __future__ import annotations

import logging

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
    assert evaluate(model, everything, ks=[3])["recall@3"] == 1.0
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
    found = evaluate(model, odd, ks=[2, 6])
    assert found["recall@6"] == 1.0  # whoever has a test item finds it in the whole catalogue
    with pytest.raises(InputError, match=r"k=7 given; whole numbers from 1 to 6"):
        evaluate(model, odd, ks=[7])
