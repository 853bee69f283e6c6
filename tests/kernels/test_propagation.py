"""The K-step kernel: one step by hand, against its twin on every instruction set, and what it refuses."""

from __future__ import annotations

import threading

import pytest
import torch
from cases import BITS, COMPILED, forced, random_graph
from hypothesis import given, settings
from hypothesis import strategies as st

from gnnq_lib.errors import InputError
from gnnq_lib.kernels import (
    CSRGraph,
    PropagationGraph,
    PropagationPlan,
    available_isas,
    propagate,
    torch_propagate,
)


def with_factors(graph: CSRGraph) -> PropagationGraph:
    """Mean over the row, GCN's degree factors outside."""
    degree = graph.degree.clamp(min=1).float()
    return PropagationGraph(graph, 1 / degree, degree.rsqrt(), degree.sqrt())


def same_bits(first: torch.Tensor, second: torch.Tensor) -> bool:
    """Equal float32 values, signs of zeros included, which `torch.equal` does not look at."""
    return torch.equal(first.view(torch.int32), second.view(torch.int32))


def path_of_two() -> PropagationGraph:
    """Two connected nodes with self-loops, no degree factors outside."""
    graph = CSRGraph(torch.tensor([0, 2, 4]), torch.tensor([0, 1, 0, 1]))
    return PropagationGraph(graph, torch.full((2,), 0.5), torch.ones(2), torch.ones(2))


@pytest.mark.parametrize("isa", available_isas())
def test_one_step_by_hand(isa):
    # Q_x: rows (0, -2, -3) and (-1, 0, -1), exact with 2 bits and step 1. Mean: (-0.5, -1, -2).
    # Q_a (step 0.5): anchored at -0.5: 0, -0.5, -1.5. y = 0.5 a + 0.5 x: (0, -1.25, -2.25) and (-0.5, -0.25, -1.25).
    # Q_u (step 0.5), t = y_max - y: 0, 2.5 -> 2 (half to even), 4.5 -> 3 (clipped); and 0.5 -> 0, 0, 2.
    plan = PropagationPlan(2, 1.0, [0.5], [0.5], aggregate_weight=0.5, input_weight=0.5)
    x = torch.tensor([[3.0, 1.0, 0.0], [1.0, 2.0, 1.0]])
    with forced(isa):
        result = propagate(path_of_two(), x, plan)
    assert result.tolist() == [[0, -1, -1.5], [0, 0, -1]]


@st.composite
def propagation_cases(draw):
    """(graph, x, plan)."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    num_nodes, steps = draw(st.integers(1, 50)), draw(st.integers(0, 4))
    graph = random_graph(generator, num_nodes, num_nodes, draw(st.sampled_from([0, 3, 100, 3000])), draw(st.booleans()))
    width = draw(st.one_of(st.integers(1, 57), st.sampled_from([64, 100, 257])))
    x = torch.randn(num_nodes, width, generator=generator) * draw(st.sampled_from([0.0, 0.01, 1.0, 30.0]))

    def scales():
        return draw(st.lists(st.floats(0.01, 0.5), min_size=steps, max_size=steps))

    stride = draw(st.sampled_from([1, 2, 4]))
    plan = PropagationPlan(
        draw(BITS), draw(st.floats(0.01, 1.0)), scales(), scales(),
        num_exponents=draw(st.integers(1, 7 // stride + 1)), stride=stride,
        gamma=draw(st.sampled_from([1.0, 0.75, 1.3])),
        state_weight=draw(st.sampled_from([0.0, 0.3])), aggregate_weight=0.9, input_weight=0.1,
        gap_coefficients=draw(st.lists(st.sampled_from([0.0, 0.05, -0.2]), min_size=steps, max_size=steps)),
        gap_scales=scales(), gap_aggregate_scales=scales(),
    )  # fmt: skip
    return with_factors(graph), x, plan


@pytest.mark.parametrize("isa", COMPILED)
@settings(max_examples=100, deadline=None)
@given(case=propagation_cases())
def test_equals_the_twin_bit_for_bit(isa, case):
    graph, x, plan = case
    with forced(isa):
        result = propagate(graph, x, plan)
    assert same_bits(result, torch_propagate(graph, x, plan))


@pytest.mark.parametrize("isa", COMPILED)
@pytest.mark.parametrize(("bits", "exponents"), [(2, 4), (4, 4), (8, 4), (8, 8)], ids=lambda v: str(v))
def test_sums_beyond_16_bits(isa, bits, exponents):
    # A node with 6000 neighbours, all with the largest code and shift in one column: 2 bits give 6000 * 24 = 144,000.
    leaves = 6000
    row_ptr = torch.cat([torch.tensor([0, leaves]), leaves + torch.arange(1, leaves + 1)])
    col = torch.cat([torch.arange(1, leaves + 1), torch.zeros(leaves, dtype=torch.long)])
    graph = with_factors(CSRGraph(row_ptr, col))
    x = torch.tensor([[1000.0, -1000.0, 0.5]]).repeat(leaves + 1, 1)
    plan = PropagationPlan(bits, 0.1, [0.1] * 2, [0.1] * 2, exponents, aggregate_weight=0.9, input_weight=0.1)
    with forced(isa):
        assert same_bits(propagate(graph, x, plan), torch_propagate(graph, x, plan))


@pytest.mark.parametrize("isa", COMPILED)
@pytest.mark.parametrize("width", [*range(1, 18), 40])
def test_every_number_of_classes(isa, width):
    generator = torch.Generator().manual_seed(width)
    graph = with_factors(random_graph(generator, 100, 100, 700, hub=True))
    x = torch.randn(100, width, generator=generator)
    for ch, gaps in ((0.0, []), (0.3, []), (0.0, [0.05, 0.0])):
        plan = PropagationPlan(
            2, 0.2, [0.1] * 2, [0.1] * 2, 4, state_weight=ch, aggregate_weight=0.9, input_weight=0.1,
            gap_coefficients=gaps, gap_scales=[0.1] * len(gaps), gap_aggregate_scales=[0.1] * len(gaps),
        )  # fmt: skip
        with forced(isa):
            assert same_bits(propagate(graph, x, plan), torch_propagate(graph, x, plan))


def test_many_bits_come_near_full_precision():
    generator = torch.Generator().manual_seed(0)
    graph = with_factors(random_graph(generator, 40, 40, 400))
    x = torch.randn(40, 5, generator=generator)
    plan = PropagationPlan(8, 0.02, [0.01] * 3, [0.01] * 3, 3, aggregate_weight=0.9, input_weight=0.1)
    dense = torch.zeros(40, 40).index_put_(
        (graph.graph.edge_rows, graph.graph.col.long()), torch.ones(400), accumulate=True
    )
    start = graph.row_in[:, None] * x
    state = start
    for _ in range(3):
        state = 0.9 * graph.inverse_degree[:, None] * (dense @ state) + 0.1 * start
    result = propagate(graph, x, plan) / graph.row_out[:, None]
    shift = state.amax(1, keepdim=True)  # rows are anchored at their largest entry
    assert torch.allclose(result, state - shift, atol=0.06)


@pytest.mark.parametrize("isa", COMPILED)
def test_thread_count_does_not_matter(isa):
    generator = torch.Generator().manual_seed(0)
    graph = with_factors(random_graph(generator, 4000, 4000, 40_000, hub=True))
    x, before = torch.randn(4000, 7, generator=generator), torch.get_num_threads()
    plan = PropagationPlan(2, 0.1, [0.1] * 4, [0.1] * 4, 4, aggregate_weight=0.9, input_weight=0.1)
    results = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            with forced(isa):
                results.append(propagate(graph, x, plan))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(result, results[0]) for result in results)


def test_two_threads_at_once():
    generator = torch.Generator().manual_seed(0)
    plan = PropagationPlan(2, 0.1, [0.1] * 4, [0.1] * 4, 4, aggregate_weight=0.9, input_weight=0.1)
    cases = [
        (with_factors(random_graph(generator, n, n, 20_000)), torch.randn(n, 6, generator=generator))
        for n in (900, 2000)
    ]
    expected, wrong = [torch_propagate(graph, x, plan) for graph, x in cases], []

    def work(number):
        wrong.extend(turn for turn in range(20) if not torch.equal(propagate(*cases[number], plan), expected[number]))

    threads = [threading.Thread(target=work, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(3, 2), "one row per node"),
        (torch.zeros(2, 2, dtype=torch.float64), "torch.float32"),
        (torch.zeros(2), "matrix"),
        (torch.zeros(2, 4)[:, ::2], "contiguous"),
        (torch.tensor([[0.0, float("nan")], [0.0, 0.0]]), "NaN or infinity"),
        ([[1.0]], "list"),
    ],
)
def test_bad_input_is_named(x, message):
    with pytest.raises(InputError, match=message):
        propagate(path_of_two(), x, PropagationPlan(2, 1.0, [0.5], [0.5]))


def test_plans_and_graphs_are_checked():
    with pytest.raises(InputError, match="one per step"):
        PropagationPlan(2, 1.0, [0.5], [0.5, 0.5])
    with pytest.raises(InputError, match="1 gap_scales given for 2 steps"):
        PropagationPlan(
            2, 1.0, [1.0] * 2, [1.0] * 2, gap_coefficients=[1, 0], gap_scales=[1], gap_aggregate_scales=[1, 1]
        )
    with pytest.raises(InputError, match="scale=0.0"):
        PropagationPlan(2, 1.0, [0.0], [1.0])
    wide = CSRGraph(torch.tensor([0, 1]), torch.tensor([1]), num_cols=2)
    with pytest.raises(InputError, match="square"):
        PropagationGraph(wide, torch.ones(1), torch.ones(1), torch.ones(1))
    with pytest.raises(InputError, match="row_in"):
        PropagationGraph(path_of_two().graph, torch.ones(2), torch.ones(3), torch.ones(2))
    with pytest.raises(InputError, match="PropagationGraph"):
        propagate(wide, torch.zeros(1, 2), PropagationPlan(2, 1.0, [], []))


@pytest.mark.parametrize("isa", COMPILED)
@pytest.mark.parametrize("bits", [2, 4])
@pytest.mark.parametrize("width", [1, 3, 6, 7, 8, 15, 16, 17, 30, 31, 40, 46])
def test_packed_states_of_every_width(isa, bits, width):
    # Up to three shifts, no state term: on AVX-512, codes stay packed between the steps. Isolated nodes and a hub.
    generator = torch.Generator().manual_seed(width)
    graph = with_factors(random_graph(generator, 70, 70, 4000, hub=True))
    assert graph.num_hub_slices == 1
    x = torch.randn(70, width, generator=generator)
    plan = PropagationPlan(
        bits, 0.3, [0.2, 0.1], [0.1, 0.2], num_exponents=4, gamma=0.6, aggregate_weight=0.9, input_weight=0.1
    )
    with forced(isa):
        assert same_bits(propagate(graph, x, plan), torch_propagate(graph, x, plan))


@pytest.mark.parametrize("hub", [False, True])
@pytest.mark.parametrize("nodes", [1, 15, 16, 17, 100])
def test_lanes_hold_every_edge_once(nodes, hub):
    graph = with_factors(random_graph(torch.Generator().manual_seed(nodes), nodes, nodes, 40 * nodes, hub))
    lanes, found = graph.lane_col.view(-1, 16), []
    for position in range(graph.num_positions):
        slice_number = position // 16
        if slice_number < graph.num_hub_slices:
            neighbours = lanes[graph.run_ptr[position] : graph.run_ptr[position + 1]].flatten()
        else:
            run = slice_number + 15 * graph.num_hub_slices
            neighbours = lanes[graph.run_ptr[run] : graph.run_ptr[run + 1], position % 16]
        found += [(position, int(col)) for col in neighbours if col < graph.num_positions]
    degree = graph.row_ptr.diff()
    rows = torch.arange(graph.num_positions).repeat_interleave(degree)
    assert sorted(found) == sorted(zip(rows.tolist(), graph.col.tolist()))
