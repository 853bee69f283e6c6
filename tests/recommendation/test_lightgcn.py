"""LightGCN: propagation against dense algebra and PyG, gradients, loss, bad input."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch_geometric.nn.models import LightGCN as PygLightGCN

from gnnq_lib.datasets.interactions import UserItems
from gnnq_lib.errors import InputError
from gnnq_lib.recommendation.bipartite import BipartiteGraph
from gnnq_lib.recommendation.lightgcn import Batch, LightGCN, bpr, check_teacher, initial_table, row_penalty

PRODUCTS = pytest.mark.parametrize("products", ["fused", "matrix"])


def dense(pairs: UserItems) -> torch.Tensor:
    """A_hat as a dense float64 matrix."""
    size = pairs.num_users + pairs.num_items
    matrix = torch.zeros(size, size, dtype=torch.float64)
    matrix[torch.tensor(pairs.users), torch.tensor(pairs.items) + pairs.num_users] = 1
    matrix = matrix + matrix.T
    scale = matrix.sum(dim=1).clamp(min=1).rsqrt()
    return scale[:, None] * matrix * scale


@PRODUCTS
def test_a_hat_by_hand(tiny, products):
    hat = BipartiteGraph(tiny, products=products).normalised(torch.eye(8))
    assert torch.allclose(hat.double(), dense(tiny), atol=1e-7)
    assert hat[0, 4].item() == pytest.approx(1 / 2**0.5) and hat[0, 5].item() == pytest.approx(1 / 6**0.5)
    assert not hat[3].any() and not hat[7].any()


@PRODUCTS
@pytest.mark.parametrize("num_layers", [0, 1, 3])
def test_mean_of_powers(tiny, num_layers, products):
    graph = BipartiteGraph(tiny, products=products)
    x = torch.randn(8, 5, generator=torch.Generator().manual_seed(0))
    hat, wanted = dense(tiny), x.double()
    for layer in range(1, num_layers + 1):
        wanted = wanted + torch.linalg.matrix_power(hat, layer) @ x.double()
    found = graph.mean_of_powers(x, num_layers)
    assert torch.allclose(found.double(), wanted / (num_layers + 1), atol=1e-6)
    layers = graph.powers(x, num_layers)
    assert len(layers) == num_layers + 1 and torch.allclose(sum(layers) / len(layers), found, atol=1e-6)


@PRODUCTS
def test_gradients_are_the_transposed_products(tiny, products):
    graph = BipartiteGraph(tiny, products=products)
    x = torch.randn(8, 2, requires_grad=True)
    weight = torch.randn(8, 2)
    (graph.mean_of_powers(x, 2) * weight).sum().backward()
    hat = dense(tiny).float()
    assert torch.allclose(x.grad, (weight + hat @ weight + hat @ hat @ weight) / 3, atol=1e-6)


@pytest.mark.parametrize("num_layers", [1, 3])
def test_embeddings_equal_torch_geometric(split, graph, num_layers):
    ours = LightGCN(graph, dim=16, num_layers=num_layers, seed=3)
    peer = PygLightGCN(graph.num_nodes, embedding_dim=16, num_layers=num_layers)
    with torch.no_grad():
        peer.embedding.weight.copy_(ours.embedding)
    users, items = torch.tensor(split.train.users), torch.tensor(split.train.items) + graph.num_users
    edges = torch.stack([torch.cat([users, items]), torch.cat([items, users])])
    assert torch.allclose(ours(), peer.get_embedding(edges), atol=1e-6)


def batch_of(*parts: list[int], num_users: int) -> Batch:
    return Batch.of(*[torch.tensor(part) for part in parts], num_users)


def test_bpr_and_penalty_by_hand():
    batch = batch_of([0], [0], [1], num_users=1)
    rows = torch.tensor([[1.0, 0.0], [2.0, 5.0], [0.5, 1.0]])
    softplus = torch.nn.functional.softplus
    assert bpr(rows, batch).item() == pytest.approx(softplus(torch.tensor(-1.5)).item())
    bias = torch.tensor([9.0, 0.0, 0.5])
    assert bpr(rows, batch, bias).item() == pytest.approx(softplus(torch.tensor(-1.0)).item())
    table = torch.tensor([[1.0], [2.0], [3.0]])
    assert row_penalty(table, batch, 0.1).item() == pytest.approx(0.05 * (1 + 4 + 9))
    assert row_penalty(table, batch, 0.0).item() == 0


def test_gradients_of_bpr_and_penalty():
    batch = batch_of([0, 1, 1], [0, 1, 0], [2, 2, 1], num_users=2)
    rows, bias = torch.randn(5, 3, requires_grad=True), torch.randn(5, requires_grad=True)
    (bpr(rows, batch, bias) + row_penalty(rows, batch, 0.7)).backward()

    exact, exact_bias = (part.detach().double().requires_grad_() for part in (rows, bias))
    u, i, j = batch.places.chunk(3)
    change = (exact[u] * (exact[j] - exact[i])).sum(1) + exact_bias[j] - exact_bias[i]
    loss = torch.nn.functional.softplus(change).mean() + 0.7 / 2 * exact[batch.places].square().sum() / 3
    loss.backward()
    torch.testing.assert_close(rows.grad.double(), exact.grad, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(bias.grad.double(), exact_bias.grad, rtol=1e-5, atol=1e-6)


def test_loss_is_made_of_both(graph):
    model = LightGCN(graph, dim=4)
    users, positives, negatives = (torch.tensor(part) for part in ([0, 1, 1], [2, 3, 2], [4, 5, 4]))
    final = model()
    u, i, j = final[users], final[positives + 60], final[negatives + 60]
    nodes = torch.cat([users, positives + 60, negatives + 60])
    wanted = torch.nn.functional.softplus((u * (j - i)).sum(1)).mean()
    wanted = wanted + 0.01 / 2 * model.embedding[nodes].square().sum() / 3
    assert model.loss(users, positives, negatives, 0.01).item() == pytest.approx(wanted.item())


def test_scores_are_inner_products(graph):
    users, items = LightGCN(graph, dim=4).score_tables()
    assert users.shape == (60, 4) and items.shape == (50, 4)


@pytest.mark.parametrize("value", [0, -1, 5000, 2.5, True])
def test_dim_out_of_range(graph, value):
    with pytest.raises(InputError, match="dim="):
        LightGCN(graph, dim=value)


@pytest.mark.parametrize("value", [-1, 17, 1.0, True])
def test_num_layers_out_of_range(graph, value):
    with pytest.raises(InputError, match="num_layers="):
        LightGCN(graph, num_layers=value)


def test_teachers_that_do_not_fit(graph):
    good = initial_table(graph, 8, seed=0)
    assert torch.equal(LightGCN(graph, 8, table=good).embedding, good)
    faults = {
        "holds NaN": torch.where(good > 0.3, torch.nan, good),
        r"shape \(110, 8\) given; \(110, 4\)": good,
        r"shape \(109, 8\) given": good[1:],
        "given as torch.int64": good.long(),
        "given as list": good.tolist(),
    }
    for fault, table in faults.items():
        with pytest.raises(InputError, match=fault):
            check_teacher(table, graph, 4 if "110, 4" in fault else None)


@PRODUCTS
@pytest.mark.parametrize("num_layers", [0, 1, 2, 3])
def test_rows_equal_the_plain_way(tiny, num_layers, products):
    graph = BipartiteGraph(tiny, products=products)
    x = torch.randn(8, 5, generator=torch.Generator().manual_seed(1), requires_grad=True)
    nodes = torch.tensor([0, 3, 5, 7])  # 3 and 7 are isolated
    weight = torch.randn(2, 4, 5, generator=torch.Generator().manual_seed(2))
    final, own = graph.rows(x, num_layers, nodes)
    ((final * weight[0]).sum() + (own * weight[1]).sum()).backward()
    found, x.grad = x.grad, None
    plain = graph.mean_of_powers(x, num_layers)[nodes]
    assert torch.allclose(final, plain, atol=1e-6) and torch.equal(own, x[nodes])
    ((plain * weight[0]).sum() + (x[nodes] * weight[1]).sum()).backward()
    assert torch.allclose(found, x.grad, atol=1e-6)


def test_products_of_another_name(tiny):
    with pytest.raises(InputError, match="products='dense' given; fused and matrix are accepted"):
        BipartiteGraph(tiny, products="dense")


@PRODUCTS
def test_results_outlive_the_next_calls(tiny, products):
    """Tables that a graph keeps for its next call are none that it has given away; widths may change."""
    graph = BipartiteGraph(tiny, products=products)
    tables = [torch.randn(8, width, generator=torch.Generator().manual_seed(width)) for width in (5, 5, 2, 5, 3)]
    found = [graph.mean_of_powers(x, 3) for x in tables]
    rows = [graph.rows(x, 3, torch.tensor([0, 5]))[0] for x in tables]
    for x, whole, some in zip(tables, found, rows):
        wanted = BipartiteGraph(tiny, products=products).mean_of_powers(x, 3)
        assert torch.equal(whole, wanted) and torch.allclose(some, wanted[[0, 5]], atol=1e-6)


@PRODUCTS
def test_repeated_nodes_are_refused(tiny, products):
    """The gradient would be that of one of them."""
    graph, x = BipartiteGraph(tiny, products=products), torch.ones(8, 2)
    assert graph.rows(x, 1, torch.tensor([5, 0]))[1].shape == (2, 2)
    with pytest.raises(InputError, match="3 nodes given, some of them twice; distinct nodes are accepted"):
        graph.rows(x, 1, torch.tensor([5, 0, 5]))


@PRODUCTS
@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))], ids=["copy", "pickle"]
)
def test_copies_of_a_model(tiny, products, copied):
    model = LightGCN(BipartiteGraph(tiny, products=products), dim=4)
    wanted, batch = model().detach(), [torch.tensor(part) for part in ([0, 1], [0, 1], [2, 3])]
    other = copied(model)
    assert torch.equal(other(), wanted) and other.graph.products == products and other.graph.is_of(tiny)
    for one in (model, other):
        one.loss(*batch, 0.1).backward()
    assert torch.equal(model.embedding.grad, other.embedding.grad)
    with torch.no_grad():
        other.embedding.zero_()
    assert torch.equal(model(), wanted)


def test_a_moving_average_of_a_model(graph):
    model = LightGCN(graph, dim=4)
    assert torch.equal(torch.optim.swa_utils.AveragedModel(model)(), model())


@PRODUCTS
@pytest.mark.parametrize("first", [True, False], ids=["inference first", "training first"])
def test_inference_mode_before_and_after_training(tiny, products, first):
    """Memory that a graph keeps for its next call is of use in both modes."""
    model = LightGCN(BipartiteGraph(tiny, products=products), dim=4)
    wanted = LightGCN(BipartiteGraph(tiny, products=products), dim=4)().detach()  # of a graph of its own
    for inference in (first, not first, first):
        with torch.inference_mode(inference):
            assert torch.equal(model(), wanted)
            if not inference:
                model.loss(torch.tensor([0]), torch.tensor([0]), torch.tensor([2]), 0.1).backward()


@pytest.mark.parametrize("default", [torch.device("meta"), torch.float64], ids=["meta", "float64"])
def test_first_table_does_not_depend_on_defaults(graph, default):
    wanted, before = initial_table(graph, 4, seed=1), torch.get_default_dtype()
    try:
        if isinstance(default, torch.dtype):
            torch.set_default_dtype(default)
            found = initial_table(graph, 4, seed=1)
        else:
            with default:
                found = initial_table(graph, 4, seed=1)
    finally:
        torch.set_default_dtype(before)
    assert found.dtype == torch.float32 and torch.equal(found, wanted)
