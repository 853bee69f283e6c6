"""Training: it learns, stops by validation, resumes to the same bits."""

from __future__ import annotations

import logging

import pytest
import torch

from gnnq_lib.datasets.interactions import Interactions, UserItems, split_interactions
from gnnq_lib.errors import InputError
from gnnq_lib.recommendation.bipartite import BipartiteGraph
from gnnq_lib.recommendation.lightgcn import LightGCN
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


def test_resumed_equals_uninterrupted(split, graph, tmp_path):
    whole, broken = LightGCN(graph, dim=8), LightGCN(graph, dim=8)
    history = train(whole, split, FAST)
    with pytest.raises(_Stop):
        train(broken, split, FAST, tmp_path / "run.pt", probe=_interrupt)
    resumed = LightGCN(graph, dim=8, seed=9)
    found = train(resumed, split, FAST, tmp_path / "run.pt")
    assert torch.equal(resumed.embedding, whole.embedding)
    assert found.loss == history.loss and found.val_ndcg == history.val_ndcg
    again = train(LightGCN(graph, dim=8, seed=9), split, FAST, tmp_path / "run.pt")
    assert again.loss == history.loss  # a finished training is not trained again


def test_checkpoint_of_other_settings_and_damaged_one(split, graph, tmp_path, caplog):
    path = tmp_path / "run.pt"
    train(LightGCN(graph, dim=8), split, FAST, path)
    with pytest.raises(InputError, match="belongs to other settings or data"):
        train(LightGCN(graph, dim=4), split, FAST, path)
    path.write_bytes(path.read_bytes()[:100])
    with caplog.at_level(logging.WARNING):
        history = train(LightGCN(graph, dim=8), split, FAST, path)
    assert len(history.loss) == 6 and "is damaged" in caplog.text


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
    [{"epochs": -1}, {"batch_size": 0}, {"lr": float("nan")}, {"l2": -1.0}, {"eval_every": 0}, {"patience": 1.5}],
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
