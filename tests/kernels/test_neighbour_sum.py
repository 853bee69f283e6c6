"""neighbour_sum: by hand, against its PyTorch twin on every instruction set, against float64, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from cases import COMPILED, WIDTHS, forced, maybe, random_graph
from hypothesis import given, settings
from hypothesis import strategies as st

from gnnq_lib.errors import InputError
from gnnq_lib.kernels import CSRGraph, SparseRows, available_isas, neighbour_sum, torch_neighbour_sum

PATHS = pytest.mark.parametrize("isa", available_isas())


def three_nodes() -> tuple[CSRGraph, torch.Tensor]:
    """Node 0 hears 1 and 2, node 1 hears 0 twice, node 2 nobody."""
    return CSRGraph(torch.tensor([0, 2, 4, 4]), torch.tensor([1, 2, 0, 0])), torch.tensor(
        [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
    )


@PATHS
def test_by_hand(isa):
    graph, x = three_nodes()
    scale, factor = torch.tensor([1.0, 10.0, 100.0]), torch.tensor([1.0, 0.5, 7.0])
    with forced(isa):
        assert neighbour_sum(graph, x).tolist() == [[8, 10], [2, 4], [0, 0]]
        assert neighbour_sum(graph, x, source_scale=scale).tolist() == [[530, 640], [2, 4], [0, 0]]
        assert neighbour_sum(graph, x, row_scale=factor, added=x).tolist() == [[9, 12], [4, 6], [5, 6]]
        assert neighbour_sum(graph, x, rows=torch.tensor([1, 0])).tolist() == [[2, 4], [8, 10]]


@PATHS
def test_sparse_rows_by_hand(isa):
    graph, _ = three_nodes()
    few = SparseRows.at(torch.tensor([2, 0]), torch.tensor([[5.0], [1.0]]), num_rows=3)
    with forced(isa):
        assert neighbour_sum(graph, few).tolist() == [[5], [2], [0]]
        added = SparseRows.at(torch.tensor([2, 0]), torch.tensor([[30.0], [10.0]]), num_rows=3)
        assert neighbour_sum(graph, few, added=added).tolist() == [[15], [2], [30]]


@st.composite
def cases(draw):
    """(graph, x, keyword arguments), every argument there or not, dense or sparse."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    num_rows, num_cols, width = draw(st.integers(0, 30)), draw(st.integers(0, 30)), draw(WIDTHS)
    graph = random_graph(generator, num_rows, num_cols, draw(st.sampled_from([0, 1, 5, 60, 1500])), draw(st.booleans()))

    def table(count: int) -> torch.Tensor | SparseRows:
        dense = torch.randn(count, width, generator=generator)
        if draw(st.booleans()):
            return dense
        nodes = torch.randperm(count, generator=generator)[: draw(st.integers(0, count))]
        return SparseRows.at(nodes, dense[nodes], count)

    rows = torch.randint(0, max(num_rows, 1), (draw(st.integers(0, 40)) if num_rows else 0,), generator=generator)
    return graph, table(num_cols), {
        "source_scale": maybe(draw, torch.randn(num_cols, generator=generator)),
        "row_scale": maybe(draw, torch.randn(num_rows, generator=generator)),
        "rows": maybe(draw, rows),
        "added": table(num_rows) if draw(st.booleans()) else None,
    }  # fmt: skip


@pytest.mark.parametrize("isa", COMPILED)
@given(case=cases(), threads=st.sampled_from([1, 2, 3]))
@settings(max_examples=80, deadline=None)
def test_equals_the_twin_bit_for_bit(isa, case, threads):
    graph, x, options = case
    wanted = torch_neighbour_sum(graph, x, **options)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        with forced(isa):
            found = neighbour_sum(graph, x, **options)
            again = neighbour_sum(graph, x, **options, out=torch.full_like(found, torch.nan))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found, wanted)
    assert torch.equal(again, wanted)


@PATHS
def test_against_a_dense_product(isa):
    generator = torch.Generator().manual_seed(0)
    graph = random_graph(generator, 50, 40, 600, hub=True)
    x, scale = torch.randn(40, 70, generator=generator), torch.rand(40, generator=generator)
    dense = torch.zeros(50, 40, dtype=torch.float64)
    dense.index_put_((graph.edge_rows, graph.col.long()), torch.ones(600, dtype=torch.float64), accumulate=True)
    with forced(isa):
        found = neighbour_sum(graph, x, source_scale=scale)
    torch.testing.assert_close(found.double(), dense @ (x * scale[:, None]).double(), rtol=1e-5, atol=1e-4)


def test_refusals():
    graph, x = three_nodes()
    for arguments, message in [
        ((graph, x.double()), "x given as torch.float64"),
        ((graph, x[:2]), r"x given as torch.float32 \(2, 2\)"),
        ((graph, x[:, 0]), "x given as a tensor of 1 dimensions"),
        ((graph, x.T.contiguous().T), "not contiguous"),
        (("graph", x), "a str given as the graph"),
    ]:
        with pytest.raises(InputError, match=message):
            neighbour_sum(*arguments)
    for options, message in [
        ({"rows": torch.tensor([3])}, "rows 3 to 3 given; 0 to 2"),
        ({"rows": torch.tensor([-1])}, "rows -1 to -1 given"),
        ({"rows": [0]}, "rows given as list"),
        ({"row_scale": torch.ones(3, 1)}, "row_scale given as"),
        ({"source_scale": torch.ones(2)}, "source_scale given as"),
        ({"added": x[:, :1]}, "added given as"),
        ({"out": torch.zeros(2, 2)}, "out given as"),
        ({"out": x}, "out shares memory with x, which is still read"),
    ]:
        with pytest.raises(InputError, match=message):
            neighbour_sum(graph, x, **options)
    with pytest.raises(InputError, match="2 nodes given, some of them twice; distinct nodes are accepted"):
        SparseRows.at(torch.tensor([1, 1]), torch.ones(2, 1), num_rows=3)
    with pytest.raises(InputError, match="nodes 0 to 5 given; 0 to 2"):
        SparseRows.at(torch.tensor([0, 5]), torch.ones(2, 1), num_rows=3)
    with pytest.raises(InputError, match="places 0 to 9 given; 0 to 1"):
        SparseRows(torch.ones(2, 1), torch.tensor([0, 9], dtype=torch.int32))


@pytest.mark.gpu
def test_cuda_gives_the_same_up_to_rounding():
    generator = torch.Generator().manual_seed(0)
    graph = random_graph(generator, 50, 50, 300)
    x, scale = torch.randn(50, 7, generator=generator), torch.rand(50, generator=generator)
    few = SparseRows.at(torch.tensor([3, 9]), torch.randn(2, 7, generator=generator), num_rows=50)
    there = CSRGraph(graph.row_ptr.cuda(), graph.col.cuda())
    few_there = SparseRows(few.values.cuda(), few.place.cuda())
    rows = torch.tensor([4, 1])
    found = neighbour_sum(there, x.cuda(), source_scale=scale.cuda(), row_scale=scale.cuda(), rows=rows.cuda())
    torch.testing.assert_close(found.cpu(), neighbour_sum(graph, x, source_scale=scale, row_scale=scale, rows=rows))
    found = neighbour_sum(there, few_there, added=few_there)
    torch.testing.assert_close(found.cpu(), neighbour_sum(graph, few, added=few))


@PATHS
def test_out_that_overlaps_what_is_read_is_refused(isa):
    graph, _ = three_nodes()
    memory = torch.zeros(9, 1)
    x, few = memory[:3], SparseRows(memory[:3], torch.zeros(3, dtype=torch.int32))
    scale = memory[2:5, 0]
    with forced(isa):
        for out, options in [
            (memory[1:4], {}),
            (memory[2:5], {"added": torch.zeros(3, 1)}),
            (memory[4:7], {"added": memory[6:9]}),
            (memory[4:7], {"row_scale": scale}),
            (memory[4:7], {"source_scale": scale}),
        ]:
            with pytest.raises(InputError, match="out shares memory with"):
                neighbour_sum(graph, x, out=out, **options)
        with pytest.raises(InputError, match="out shares memory with x"):
            neighbour_sum(graph, few, out=memory[1:4])
        assert neighbour_sum(graph, x, out=memory[3:6], added=memory[6:9]).tolist() == [[0], [0], [0]]  # side by side


def test_places_that_are_changed_afterwards_are_refused():
    graph, _ = three_nodes()
    few = SparseRows.at(torch.tensor([2, 0]), torch.tensor([[5.0], [1.0]]), num_rows=3)
    neighbour_sum(graph, few)
    few.place[0] = 2**30
    with pytest.raises(InputError, match="places of SparseRows were changed in place"):
        neighbour_sum(graph, few)
    with torch.inference_mode():  # where nothing counts changes
        few = SparseRows.at(torch.tensor([2, 0]), torch.tensor([[5.0], [1.0]]), num_rows=3)
        assert neighbour_sum(graph, few).tolist() == [[5], [2], [0]]


@PATHS
def test_no_gradient_is_recorded(isa):
    graph, x = three_nodes()
    x = x.clone().requires_grad_()
    with forced(isa):
        assert not neighbour_sum(graph, x, row_scale=torch.ones(3)).requires_grad
        assert not torch_neighbour_sum(graph, x).requires_grad
