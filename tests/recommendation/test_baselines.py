"""Baselines on the same backbone: post-training, LSQ, N2UQ, BiGeaR."""

from __future__ import annotations

import math

import pytest
import torch

from gnnq_lib.errors import InputError
from gnnq_lib.recommendation.baselines import LsqTable, N2uqTable, PostTraining
from gnnq_lib.recommendation.bigear import Bigear, SmoothSign, binarised, teacher_ranking
from gnnq_lib.recommendation.lightgcn import initial_table
from gnnq_lib.recommendation.training import TrainOptions, train

FAST = TrainOptions(epochs=4, batch_size=128, lr=0.01, eval_every=2, select_k=10)


@pytest.fixture(scope="module")
def start(graph) -> torch.Tensor:
    return initial_table(graph, 16, seed=1)


@pytest.mark.parametrize("bits", [1, 2, 3, 4])
@pytest.mark.parametrize("make", [PostTraining, LsqTable, N2uqTable])
def test_stored_table_is_the_one_in_use(graph, start, make, bits):
    if make is LsqTable and bits == 1:
        with pytest.raises(InputError, match="1"):
            make(graph, start, bits)
        return
    model = make(graph, start, bits)
    table = model.low_bit_table()
    assert table.bits == bits and int(table.codes.max()) < 2**bits
    assert torch.allclose(model.table(), table.dequantize(), atol=1e-6)


def test_per_node_is_nearer_than_per_tensor(graph, start):
    scaled = start * torch.linspace(0.1, 3, len(start))[:, None]
    errors = [(PostTraining(graph, scaled, per_node=p).table() - scaled).norm() for p in (True, False)]
    assert errors[0] < 0.8 * errors[1]
    assert PostTraining(graph, scaled, per_node=False).low_bit_table().levels.shape == (1, 4)


@pytest.mark.parametrize("make", [LsqTable, N2uqTable, Bigear])
def test_they_learn(split, graph, start, make):
    model = make(graph, start)
    before = {name: part.clone() for name, part in model.named_parameters()}
    history = train(model, split, FAST)
    assert history.loss[-1] < history.loss[0] and history.best_ndcg > history.val_ndcg[0]
    assert all(not torch.equal(part, before[name]) for name, part in model.named_parameters())


def test_n2uq_by_hand(graph, start):
    model = N2uqTable(graph, start, bits=2)
    with torch.no_grad():
        model.first.fill_(0.0)
        model.lengths.copy_(torch.tensor([1.0, 2.0, 1.0]))  # segments end at 0, 1, 3, 4; halves at 0.5, 2, 3.5
        model.scale.fill_(10.0)
        model.latent[0, :6] = torch.tensor([-9.0, 0.4, 0.6, 1.9, 2.1, 9.0])
    row = model.table()[0, :6]
    assert row.tolist() == [-15.0, -15.0, -5.0, -5.0, 5.0, 15.0]
    row[:6].sum().backward()
    assert model.latent.grad[0, :6].tolist() == [0.0, 10.0, 10.0, 5.0, 5.0, 0.0]  # scale / length inside, else 0
    assert model.scale.grad.item() == pytest.approx(-1.5 * 2 - 0.5 * 2 + 0.5 + 1.5)
    # d q / d a_1: -x / a_1^2 inside segment 1, -1 / a of their segment beyond it
    assert model.lengths.grad[0].item() == pytest.approx(10 * (-(0.4 + 0.6) - 2 / 2))


def test_binarised_and_its_gradient():
    x = torch.tensor([[0.5, -1.5, 0.0]], requires_grad=True)
    found = binarised(x)
    assert found.tolist() == [[pytest.approx(2 / 3), pytest.approx(-2 / 3), pytest.approx(2 / 3)]]
    y = torch.tensor([1.0], requires_grad=True)
    SmoothSign.apply(y).backward()
    assert y.grad.item() == pytest.approx(2 / math.sqrt(math.pi) / math.e)


def test_bigear_layers_and_size(graph, start):
    model = Bigear(graph, start, num_layers=2, distillation=0.0)
    layers = model.layers()
    assert len(layers) == 3 and model().shape == (110, 48)
    second = graph.normalised(start)
    wanted = 2 / 3 * second.abs().mean(dim=1, keepdim=True) * torch.where(second >= 0, 1.0, -1.0)
    assert torch.allclose(layers[1], wanted)
    assert model.num_bytes() == 3 * (16 + 32) * 110 / 8  # (L + 1)(D + 32) bits per node


def test_teacher_ranking(graph, start):
    ranked = teacher_ranking(graph, start, 1, top=5)
    scores = start[:60] @ start[60:].T
    assert ranked.shape == (2, 60, 5) and torch.equal(ranked[0].long(), scores.topk(5, dim=1).indices)


def test_distillation_raises_the_scores_of_the_teachers_items(graph, start):
    users = torch.arange(60)
    wanted = teacher_ranking(graph, start, 1, top=5).long() + 60

    def scores(model):
        with torch.no_grad():
            layers = model.layers()
        return sum(torch.einsum("ud,ukd->uk", x[:60], x[items]) for x, items in zip(layers, wanted)).mean().item()

    found = {}
    for distillation in (0.0, 1.0):
        model = Bigear(graph, start, num_layers=1, distillation=distillation, top=5)
        before = scores(model)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
        for _ in range(5):
            optimizer.zero_grad()
            model.loss(users, users % 50, (users + 1) % 50, 0.0).backward()
            optimizer.step()
        found[distillation] = scores(model)
    assert found[1.0] > 1.2 * before and found[1.0] > 1.2 * found[0.0]


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"distillation": -1.0}, "distillation=-1.0 given; a number from 0 is accepted"),
        ({"distillation": float("nan")}, "distillation=nan"),
        ({"distillation": 0.0, "top": 0}, "top=0 given; a whole number from 1 is accepted"),
        ({"users_per_step": 0}, "users_per_step=0 given; a whole number from 1 is accepted"),
    ],
)
def test_bigear_refuses(graph, start, values, fault):
    with pytest.raises(InputError, match=fault):
        Bigear(graph, start, **values)
