"""GNAQ: our design, its switches, and the released form, which smooths its table away."""

from __future__ import annotations

import copy
import math

import pytest
import torch

from gnnq_lib.errors import InputError
from gnnq_lib.recommendation.bipartite import BipartiteGraph
from gnnq_lib.recommendation.gnaq import (
    Gnaq,
    GnaqAsReleased,
    GnaqOptions,
    MixWithNeighbours,
    order_distance,
    power_diagonal,
    refine,
    score_metrics,
)
from gnnq_lib.recommendation.levels import nearest_codes, range_codes, range_levels
from gnnq_lib.recommendation.lightgcn import LightGCN, score_differences
from gnnq_lib.recommendation.training import TrainOptions, evaluate, train

FAST = TrainOptions(epochs=4, batch_size=128, lr=0.01, eval_every=2, select_k=10)


@pytest.fixture(scope="module")
def teacher(split, graph) -> torch.Tensor:
    """A short-trained full-precision table, D = 16."""
    model = LightGCN(graph, dim=16)
    train(model, split, TrainOptions(epochs=15, batch_size=128, lr=0.02, eval_every=5, select_k=10))
    return model.table().detach()


def score_error(model, teacher) -> float:
    """Relative error of the scores of the stored table, in the metric that the refinement reduces."""
    graph = model.graph
    wanted = graph.mean_of_powers(teacher, 3)
    error = graph.mean_of_powers(model.low_bit_table().dequantize(), 3) - wanted
    metrics = score_metrics(wanted, graph.num_users)

    def size(rows):
        parts = rows[: graph.num_users], rows[graph.num_users :]
        return sum(float(((part @ metric) * part).sum()) for part, metric in zip(parts, metrics))

    return (size(error) / size(wanted)) ** 0.5


def test_starts_at_fitted_levels_and_nearest_codes(graph, teacher):
    model = Gnaq(graph, teacher, GnaqOptions(refine_steps=0))
    table = model.low_bit_table()
    assert table.bits == 2 and table.codes.dtype == torch.uint8 and table.levels.shape == (110, 4)
    assert torch.equal(table.codes, nearest_codes(teacher, table.levels))
    assert torch.equal(model.table(), table.dequantize())


def test_refinement_lowers_the_score_error(graph, teacher):
    plain = Gnaq(graph, teacher, GnaqOptions(refine_steps=0))
    lines = []
    refined = Gnaq(graph, teacher, GnaqOptions(refine_steps=60), say=lines.append)
    assert score_error(refined, teacher) < 0.9 * score_error(plain, teacher)
    assert lines and lines[0].startswith("refined: relative error")
    scores = []
    for table in (teacher, *(model.low_bit_table().dequantize() for model in (plain, refined))):
        final = graph.mean_of_powers(table, 3)
        scores.append(final[:60] @ final[60:].T)
        scores[-1] -= scores[-1].mean(dim=1, keepdim=True)
    assert (scores[2] - scores[0]).norm() < 0.95 * (scores[1] - scores[0]).norm()
    # the latent table lies where the codes say
    assert torch.equal(nearest_codes(refined.latent.detach(), refined.levels.detach()), refined.codes.to(torch.uint8))


def test_refinement_never_ends_worse(graph, teacher):
    model = Gnaq(graph, teacher, GnaqOptions(refine_steps=0))
    before = score_error(model, teacher)
    model.options = GnaqOptions(refine_steps=10, refine_share=1.0)  # everything at once overshoots
    errors = refine(model, teacher)
    assert score_error(model, teacher) == pytest.approx(min(errors), rel=1e-4)
    assert min(errors) <= before * (1 + 1e-6)


def test_diagonal_estimate(tiny):
    graph = BipartiteGraph(tiny)
    eye = torch.eye(8)
    exact = graph.mean_of_powers(graph.mean_of_powers(eye, 3), 3).diagonal()[:, None]
    found = power_diagonal(graph, 3, torch.Generator().manual_seed(0), probes=4000)
    assert torch.allclose(found, exact, rtol=0.1)


def test_neighbours_share_the_gradient(tiny):
    graph = BipartiteGraph(tiny)
    x = torch.zeros(8, 2, requires_grad=True)
    weight = torch.randn(8, 2, generator=torch.Generator().manual_seed(0))
    (MixWithNeighbours.apply(x, graph, 0.3) * weight).sum().backward()
    assert torch.allclose(x.grad, 0.7 * weight + 0.3 * graph.normalised(weight), atol=1e-6)


@pytest.mark.parametrize(
    "switches",
    [
        {},
        {"bits": 1},
        {"bits": 3},
        {"bits": 4},
        {"node_aware": False},
        {"placement": "midpoints"},
        {"placement": "released"},
        {"gradient": "straight_through"},
        {"gradient": "levels"},
        {"tanh": True},
        {"linear_head": True},
        {"update_every": 5},
        {"anchor": 1.0},
        {"order_weight": 5.0},
    ],
    ids=lambda switches: "-".join(f"{k}={v}" for k, v in switches.items()) or "default",
)
def test_every_switch_trains(split, graph, teacher, switches):
    model = Gnaq(graph, teacher, GnaqOptions(refine_steps=5, **switches))
    before = {name: part.clone() for name, part in model.state_dict().items()}
    last = {}
    history = train(model, split, FAST, final=lambda model: last.update(copy.deepcopy(model.state_dict())))
    moved = [name for name, part in model.named_parameters() if not torch.equal(last[name], before[name])]
    assert moved == [name for name, part in model.named_parameters() if part.requires_grad]
    assert evaluate(model, split, "val", [10])["ndcg@10"] == history.best_ndcg == max(history.val_ndcg)
    state = model.state_dict()
    assert (model.item_bias() is not None) == bool(switches.get("linear_head"))
    if switches.get("gradient") == "levels":
        assert torch.equal(state["codes"], before["codes"])
    table = model.low_bit_table()
    with torch.no_grad():
        assert torch.allclose(model.table(), table.dequantize())
    assert int(table.codes.max()) < 2**table.bits


def test_order_distance_by_hand():
    pairs = torch.tensor([0, 0, 1, 2, 2, 3])  # user, user; items 1, 2; items 2, 3
    target = torch.tensor([[1.0], [0.0], [1.0], [3.0]])
    same = score_differences(target, pairs)
    assert same.tolist() == [1.0, 2.0]
    assert order_distance(same, target, pairs) < order_distance(-same, target, pairs)
    assert order_distance(torch.zeros(2), target, pairs).item() == pytest.approx(0.6931, abs=1e-4)  # undecided: log 2


def test_loss_is_made_of_its_parts(graph, teacher):
    batch = [torch.tensor([0, 1, 1]), torch.tensor([1, 2, 2]), torch.tensor([3, 4, 5])]
    values = {}
    for order, anchor in ((0.0, 0.0), (2.0, 0.0), (0.0, 3.0)):
        model = Gnaq(graph, teacher, GnaqOptions(refine_steps=0, order_weight=order, anchor=anchor))
        values[order, anchor] = model.loss(*batch, 0.0).item()
    users, items = model.score_tables()
    u, i, j = users[batch[0]], items[batch[1]], items[batch[2]]
    plain = torch.nn.functional.softplus((u * (j - i)).sum(1)).mean().item()
    assert values[0.0, 0.0] == pytest.approx(plain)
    student, target = (users, items), graph.mean_of_powers(teacher, 3).split([graph.num_users, graph.num_items])
    pairs = [(0, 1, 3), (1, 2, 4), (1, 2, 5), (0, 3, 5), (1, 4, 3), (1, 5, 4)]  # (user, item, item); twice per triplet
    order = 0.0
    for user, one, other in pairs:
        mine, theirs = (torch.sigmoid(u[user] @ (v[other] - v[one])).item() for u, v in (student, target))
        order -= (theirs * math.log(mine) + (1 - theirs) * math.log(1 - mine)) / len(pairs)
    assert values[2.0, 0.0] == pytest.approx(plain + 2 * order, rel=1e-5)
    mine, theirs = (torch.cat([u[[0, 1]], v[[1, 2, 3, 4, 5]]]) for u, v in (student, target))
    anchor = ((mine - theirs).square().sum() / theirs.square().sum()).item()
    assert values[0.0, 3.0] == pytest.approx(plain + 3 * anchor, rel=1e-5)


def test_codes_are_renewed_as_often_as_said(split, graph, teacher):
    model = Gnaq(graph, teacher, GnaqOptions(refine_steps=0, update_every=3))
    with torch.no_grad():
        model.latent.neg_()
    old = model.codes.clone()
    model.after_step()
    model.after_step()
    assert torch.equal(model.codes, old)
    model.after_step()
    assert not torch.equal(model.codes, old)


def test_levels_stay_ordered(graph, teacher):
    model = Gnaq(graph, teacher, GnaqOptions(refine_steps=0))
    with torch.no_grad():
        model.levels[0] = torch.tensor([3.0, 1.0, 2.0, 0.0])
    model.after_step()
    assert model.levels[0].tolist() == [0.0, 1.0, 2.0, 3.0]


def test_linear_head_ranks(graph, teacher):
    model = Gnaq(graph, teacher, GnaqOptions(refine_steps=0, linear_head=True))
    with torch.no_grad():
        model.bias[7] = 1e6
    users, items = model.score_tables()
    assert (users @ items.T).argmax(dim=1).tolist() == [7] * 60


def test_released_form_starts_as_the_fact_sheet_says(graph, teacher):
    model = GnaqAsReleased(graph, teacher, linear_head=False)
    table = model.low_bit_table()
    assert torch.equal(table.codes, range_codes(teacher, 2))
    assert torch.allclose(table.levels, torch.tanh(range_levels(teacher, 2, "released")))


def test_released_form_takes_codes_from_the_propagated_table(graph, teacher):
    model = GnaqAsReleased(graph, teacher, linear_head=False)
    batch = [torch.tensor([0, 1]), torch.tensor([1, 2]), torch.tensor([3, 4])]
    model.loss(*batch, 0.0)
    final = model().detach()
    model.after_step()
    assert torch.equal(model.low_bit_table().codes, range_codes(final, 2))


def test_released_form_smooths_the_table_and_ours_does_not(split, graph, teacher):
    def smoothness(model):
        """Share of X that one product with A_hat leaves: 1 for what only depends on the degree."""
        table = model.low_bit_table().dequantize()
        return float(graph.normalised(table).norm() / table.norm())

    options = TrainOptions(epochs=20, batch_size=128, lr=1e-3, eval_every=20, patience=0, select_k=10)
    found = {}
    for name, model in {
        "released": GnaqAsReleased(graph, teacher, linear_head=False),
        "ours": Gnaq(graph, teacher, GnaqOptions(refine_steps=20)),
    }.items():
        before = smoothness(model)
        train(model, split.with_validation_in_training(), options)
        found[name] = before, smoothness(model)
    assert found["released"][1] > found["released"][0] + 0.1
    assert abs(found["ours"][1] - found["ours"][0]) < 0.1


def test_released_codes_can_be_kept(split, graph, teacher):
    model = GnaqAsReleased(graph, teacher, update_every=0, seed=1)
    codes = model.codes.clone()
    train(model, split, FAST)
    assert torch.equal(model.codes, codes)


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"bits": 5}, "tables of 1, 2, 3 or 4 bits"),
        ({"gradient": "other"}, "gradient='other' given; 'graph', 'straight_through' and 'levels' are accepted"),
        ({"placement": "other"}, "placement='other' given; 'lloyd', 'midpoints' and 'released' are accepted"),
        ({"neighbour_share": 1.5}, "neighbour_share=1.5 given; a number from 0 to 1 is accepted"),
        ({"refine_share": 0}, "refine_share=0 given; a number above 0, to 1, is accepted"),
        ({"refine_share": 2.0}, "refine_share=2.0"),
        ({"refine_steps": 2.5}, "refine_steps=2.5 given; a whole number from 0 is accepted"),
        ({"update_every": 0}, "update_every=0 given; a whole number from 1 is accepted"),
        ({"update_every": 1.5}, "update_every=1.5"),
        ({"update_every": True}, "update_every=True"),
        ({"level_rate": "a"}, "level_rate='a' given; a number from 0 is accepted"),
        ({"anchor": -1.0}, "anchor=-1.0"),
        ({"order_weight": float("nan")}, "order_weight=nan"),
    ],
)
def test_options_out_of_range(values, fault):
    with pytest.raises(InputError, match=fault):
        GnaqOptions(**values)


def test_teachers_that_do_not_fit(graph, teacher):
    with pytest.raises(InputError, match=r"shape \(109, 16\) given"):
        Gnaq(graph, teacher[1:])
    with pytest.raises(InputError, match="holds NaN"):
        GnaqAsReleased(graph, teacher * torch.nan)
    with pytest.raises(InputError, match="update_every=-1"):
        GnaqAsReleased(graph, teacher, update_every=-1)
    with pytest.raises(InputError, match="update_every=1.5"):
        GnaqAsReleased(graph, teacher, update_every=1.5)
