"""Sparse operators against dense definitions, their gradients, and refusals."""

from __future__ import annotations

import pytest
import torch

from gnnq_lib.propagation import GraphOperator

PAIR = torch.tensor([[0, 1], [1, 0]])


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_operators_against_dense_formulas(graph):
    x, op = normal(graph.num_nodes, 3), graph.operator
    for sparse, dense in [
        (op.neighbour_sum(x), graph.adjacency),
        (op.normalised(x), graph.normalised),
        (op.laplacian(x), graph.laplacian),
        (op.edge_difference(x), graph.incidence),
    ]:
        torch.testing.assert_close(sparse, (dense @ x.double()).float(), rtol=1e-5, atol=1e-6)
    z = normal(graph.incidence.shape[0], 2)
    torch.testing.assert_close(op.edge_divergence(z), (graph.incidence.t() @ z.double()).float(), rtol=1e-5, atol=1e-6)


def test_incidence_gives_the_laplacian(graph):
    op, identity = graph.operator, torch.eye(graph.num_nodes)
    torch.testing.assert_close(op.edge_divergence(op.edge_difference(identity)), op.laplacian(identity))
    forward, backward = op.incidence
    assert torch.equal(forward.to_dense().t(), backward.to_dense())


def test_degrees_count_the_self_loop(graph):
    op, degree = graph.operator, graph.adjacency.sum(dim=1).float()
    assert torch.equal(op.degree, degree)
    torch.testing.assert_close(op.inv_degree[:, 0], 1 / degree)
    torch.testing.assert_close(op.inv_sqrt_degree[:, 0], degree**-0.5)
    torch.testing.assert_close(op.sqrt_degree[:, 0], degree**0.5)
    assert op.num_entries == int(graph.adjacency.sum())


def test_messages_per_edge_add_up_to_the_same(graph):
    x, op = normal(graph.num_nodes, 3), graph.operator
    messages = op.edge_weight[:, None] * x[op.col]
    torch.testing.assert_close(op.edge_sum(messages), op.normalised(x))
    assert torch.equal(op.row_ptr.long().diff(), op.degree.long())


@pytest.mark.parametrize("name", ["neighbour_sum", "normalised", "laplacian", "edge_difference", "edge_divergence"])
def test_gradients_against_dense_ones(name, graph):
    matrices = {
        "neighbour_sum": graph.adjacency,
        "normalised": graph.normalised,
        "laplacian": graph.laplacian,
        "edge_difference": graph.incidence,
        "edge_divergence": graph.incidence.t(),
    }
    dense = matrices[name].float()
    x = normal(dense.shape[1], 2).requires_grad_()
    weight = normal(2, dense.shape[0]).t()  # not contiguous
    getattr(graph.operator, name)(x).backward(weight)
    torch.testing.assert_close(x.grad, dense.t() @ weight, rtol=1e-5, atol=1e-6)


def test_sums_of_integers_are_exact_in_any_order(random_graph):
    graph = random_graph(3, 60)
    x = torch.randint(-255 << 7, 255 << 7, (60, 4), generator=torch.Generator().manual_seed(0))
    expected = graph.adjacency.long() @ x
    assert torch.equal(graph.operator.neighbour_sum(x.float()).long(), expected)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(1))
    permuted = GraphOperator(order.argsort()[graph.edge_index], 60)
    assert torch.equal(permuted.neighbour_sum(x[order].float()).long(), expected[order])


def test_self_loops_are_ignored_and_duplicates_merged():
    messy = torch.tensor([[0, 0, 1, 1, 0, 2], [1, 1, 0, 1, 0, 2]])
    op = GraphOperator(messy, 3)
    assert op.degree.tolist() == [2.0, 2.0, 1.0]
    assert (op.row.tolist(), op.col.tolist()) == ([0, 0, 1, 1, 2], [0, 1, 0, 1, 2])


def test_32_bit_node_numbers_are_widened():
    """50,000^2 does not fit 32 bits."""
    edges = torch.tensor([[0, 49_999], [49_999, 0]], dtype=torch.int32)
    assert GraphOperator(edges, 50_000).degree[[0, 1, 49_999]].tolist() == [2.0, 1.0, 2.0]


def test_isolated_nodes_keep_their_value(graph):
    x = normal(graph.num_nodes, 2)
    alone = graph.operator.degree == 1
    assert torch.equal(graph.operator.normalised(x)[alone], x[alone])


def test_dropped_edges_go_in_both_directions(random_graph):
    op = random_graph(1, 20).operator
    some = op.without_edges(0.5, torch.Generator().manual_seed(0))
    edges = set(zip(some.row.tolist(), some.col.tolist()))
    assert edges == {(j, i) for i, j in edges} <= set(zip(op.row.tolist(), op.col.tolist()))
    assert 20 < len(edges) < op.num_entries
    again = op.without_edges(0.5, torch.Generator().manual_seed(0))
    assert torch.equal(again.row, some.row) and torch.equal(again.col, some.col)
    assert op.without_edges(0.0).num_entries == op.num_entries
    assert op.without_edges(1.0).num_entries == 20


def test_to_the_same_device_is_the_operator_itself(graph):
    assert graph.operator.to("cpu") is graph.operator


@pytest.mark.gpu
def test_another_device_gives_the_same_sums(random_graph):
    graph = random_graph(1, 20)
    x, here, moved = normal(20, 3), graph.operator, graph.operator.to("cuda")
    assert moved.device.type == "cuda" and torch.equal(moved.row.cpu(), here.row)
    torch.testing.assert_close(moved.normalised(x.cuda()).cpu(), here.normalised(x))
    assert torch.equal(moved.neighbour_sum(x.round().cuda()).cpu(), here.neighbour_sum(x.round()))
    edges = here.edge_difference(x)
    torch.testing.assert_close(moved.edge_difference(x.cuda()).cpu(), edges)
    torch.testing.assert_close(moved.edge_divergence(edges.cuda()).cpu(), here.edge_divergence(edges))
    some, same = (op.without_edges(0.5, torch.Generator().manual_seed(0)) for op in (here, moved))
    assert same.device.type == "cuda" and torch.equal(same.row.cpu(), some.row)


@pytest.mark.parametrize(
    ("edges", "num_nodes", "message"),
    [
        (torch.tensor([[0], [1]]), 2, "one direction only; give both \\(i, j\\) and \\(j, i\\)"),
        (torch.tensor([[0, 1, 1], [1, 0, 2]]), 3, "one direction only"),
        (torch.tensor([[0, 7], [7, 0]]), 5, "holds node 7; nodes are numbered 0 to 4"),
        (torch.tensor([[0, -1], [-1, 0]]), 5, "holds node -1; nodes are numbered 0 to 4"),
        (torch.tensor([0, 1]), 2, "shape \\(2,\\); \\(2, \\|E\\|\\)"),
        (torch.tensor([[0, 1], [1, 0], [0, 0]]), 2, "shape \\(3, 2\\)"),
        (PAIR.float(), 2, "dtype torch.float32; node numbers must be integers"),
        (PAIR.bool(), 2, "dtype torch.bool"),
        (torch.zeros(2, 0, dtype=torch.long), 0, "num_nodes=0; a graph has at least 1 node"),
    ],
    ids=["one way", "one of two", "too large", "negative", "1-d", "3 rows", "floats", "booleans", "no nodes"],
)
def test_bad_graphs(edges, num_nodes, message, refuses):
    with refuses(message):
        GraphOperator(edges, num_nodes)


@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan")], ids=repr)
def test_bad_drop_rate(rate, refuses):
    with refuses("drop_rate=.* from 0 to 1"):
        GraphOperator(PAIR, 2).without_edges(rate)
