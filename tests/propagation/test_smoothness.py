"""Measures of smoothness: by hand and against dense formulas."""

from __future__ import annotations

import math

import pytest
import torch

from gnnq_lib.propagation import GraphOperator, dirichlet_energy, layer_change, mean_average_distance

PATH = GraphOperator(torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]), 4)  # 0 - 1 - 2 and 3 alone


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_energy_against_the_trace(graph):
    h = normal(graph.num_nodes, 4)
    trace = torch.trace(h.double().t() @ graph.laplacian @ h.double()).item()
    assert dirichlet_energy(h, graph.operator) == pytest.approx(trace, abs=1e-10)
    relative = trace / h.double().square().sum().item()
    assert dirichlet_energy(h, graph.operator, relative=True) == pytest.approx(relative, abs=1e-10)
    assert 0 <= relative <= 2


def test_energy_by_hand():
    h = torch.tensor([[0.0], [3.0], [0.0], [5.0]])  # degrees 2, 3, 2, 1: each edge gives 3^2 / 3
    assert dirichlet_energy(h, PATH) == pytest.approx(6)
    assert dirichlet_energy(h, PATH, relative=True) == pytest.approx(6 / 34)


def test_energy_is_zero_where_neighbours_agree_up_to_their_degree(graph):
    h = graph.operator.sqrt_degree * torch.tensor([[1.0, -2.0]])
    assert dirichlet_energy(h, graph.operator) == pytest.approx(0, abs=1e-10)
    assert dirichlet_energy(torch.zeros(graph.num_nodes, 2), graph.operator, relative=True) == 0


def test_distance_by_hand():
    """Angles 0, 60 and 180 degrees: node 0 is 1/2 away, node 1 1/2 and 3/2, node 2 3/2; node 3 has no neighbour."""
    angle = torch.tensor([0.0, math.pi / 3, math.pi, 1.0]).double()
    h = torch.stack([angle.cos(), angle.sin()], dim=1) * torch.tensor([[1.0], [5.0], [0.1], [1.0]])
    assert mean_average_distance(h, PATH) == pytest.approx((0.5 + 1.0 + 1.5) / 3)


def test_distance_leaves_out_rows_of_zeros_and_ignores_length():
    h = torch.tensor([[0.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [1.0, 1.0]])
    assert mean_average_distance(h, PATH) == pytest.approx(2)  # only 1 - 2 is defined
    assert mean_average_distance(7 * h, PATH) == pytest.approx(2)
    assert mean_average_distance(torch.zeros(4, 2), PATH) == 0


@pytest.mark.parametrize("sign", [1.0, -1.0], ids=["same direction", "opposite"])
def test_distance_stays_within_0_and_2(sign):
    h = torch.tensor([[0.1, 0.7, 0.3]]).repeat(4, 1) * torch.tensor([[1.0], [sign], [1.0], [1.0]])
    distance = mean_average_distance(h, PATH)
    assert distance >= 0 and distance == pytest.approx(1 - sign)


def test_measures_fall_as_a_graph_is_smoothed(random_graph):
    op = random_graph(0, 20).operator
    h = normal(20, 4)
    smooth = op.normalised(op.normalised(op.normalised(h)))
    assert dirichlet_energy(smooth, op, relative=True) < dirichlet_energy(h, op, relative=True) / 2
    assert mean_average_distance(smooth, op) < mean_average_distance(h, op)


def test_change_is_the_energy_of_the_difference(graph):
    before, after = normal(graph.num_nodes, 3), torch.ones(graph.num_nodes, 3)
    gap = (after - before).double()
    expected = torch.trace(gap.t() @ graph.laplacian @ gap).item()
    assert layer_change(before, after, graph.operator) == pytest.approx(expected, abs=1e-5)
    assert layer_change(before, before, graph.operator) == 0


def test_measures_do_not_track_gradients():
    h = normal(4, 2).requires_grad_()
    assert isinstance(dirichlet_energy(h, PATH), float) and isinstance(mean_average_distance(h, PATH), float)
