"""The checked graph: what it accepts, what it refuses, and that it cannot change behind the kernels' back."""

from __future__ import annotations

import copy
import io
import pickle

import pytest
import torch

from gnnq_lib.errors import InputError
from gnnq_lib.kernels import CSRGraph, SparseRows, neighbour_sum, spmm
from gnnq_lib.quantizers.packing import PackedCodes


@pytest.mark.parametrize(
    ("row_ptr", "col", "num_cols", "message"),
    [
        ([0, 2], [0, 1], 1, "0 to 0"),
        ([0, 2], [0, -1], 3, "0 to 2"),
        ([0, 2, 1, 3], [0, 0, 0], 3, "decreases"),
        ([0, 2], [0], 3, "end at 1"),
        ([1, 2], [0, 0], 3, "start at 0"),
        ([], [], 3, "empty"),
        ([[0, 1]], [0], 3, "one dimension"),
        ([0.0, 1.0], [0], 3, "torch.int32 or torch.int64"),
        ([0, 1], [0], -1, "num_cols=-1"),
    ],
)
def test_bad_graphs_are_named(row_ptr, col, num_cols, message):
    integer = torch.float32 if row_ptr and isinstance(row_ptr[0], float) else torch.long
    with pytest.raises(InputError, match=message):
        CSRGraph(torch.tensor(row_ptr, dtype=integer), torch.tensor(col, dtype=torch.long), num_cols)


def test_other_types_are_named():
    with pytest.raises(InputError, match="list"):
        CSRGraph([0, 1], torch.tensor([0]))
    with pytest.raises(InputError, match="to_sparse_csr"):
        CSRGraph.from_sparse(torch.eye(2))


def test_holds_private_copies():
    row_ptr, col = torch.tensor([0, 1, 2]), torch.tensor([1, 0], dtype=torch.int32)
    graph = CSRGraph(row_ptr, col)
    col[0] = 77
    row_ptr[1] = 9
    assert graph.col.tolist() == [1, 0]
    assert graph.row_ptr.tolist() == [0, 1, 2]


def test_a_changed_graph_is_refused():
    graph = CSRGraph(torch.tensor([0, 1, 2]), torch.tensor([1, 0]))
    graph.col[0] = 77
    with pytest.raises(InputError, match="changed in place"):
        spmm(graph, PackedCodes.from_codes(torch.zeros(2, 4, dtype=torch.long), 2))


def test_from_sparse_takes_the_pattern():
    matrix = torch.tensor([[0.0, 2.0, 0.0], [1.0, 0.0, 3.0]]).to_sparse_csr()
    graph = CSRGraph.from_sparse(matrix)
    assert graph.shape == (2, 3)
    assert graph.col.tolist() == [1, 0, 2]
    assert graph.edge_rows.tolist() == [0, 1, 1]


def test_rows_by_degree_are_the_same_graph():
    generator = torch.Generator().manual_seed(3)
    degree = torch.randint(0, 9, (3000,), generator=generator)
    row_ptr = torch.cat([torch.zeros(1, dtype=torch.long), degree.cumsum(0)])
    graph = CSRGraph(row_ptr, torch.randint(0, 3000, (int(row_ptr[-1]),), generator=generator))
    new_ptr, col, order = graph.by_degree()
    assert sorted(order.tolist()) == list(range(3000))
    for position in (0, 1, 1023, 1024, 2999):
        row = int(order[position])
        assert torch.equal(col[new_ptr[position] : new_ptr[position + 1]], graph.col[row_ptr[row] : row_ptr[row + 1]])
    assert bool((graph.degree[order[:1024].long()].diff() <= 0).all())


def _saved(thing):
    file = io.BytesIO()
    torch.save(thing, file)
    return torch.load(io.BytesIO(file.getvalue()), weights_only=False)


COPIES = {"deepcopy": copy.deepcopy, "pickle": lambda thing: pickle.loads(pickle.dumps(thing)), "torch.save": _saved}


@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
@pytest.mark.parametrize("used", [False, True], ids=["fresh", "used"])
def test_copies_are_graphs_of_their_own(copied, used):
    graph = CSRGraph(torch.tensor([0, 2, 3]), torch.tensor([0, 2, 1]), num_cols=3)
    x = torch.tensor([[1.0], [2.0], [4.0]])
    if used:
        graph.by_degree(), graph.pattern, graph.edge_rows
    other = copied(graph)
    assert repr(other) == repr(graph) and neighbour_sum(other, x).tolist() == [[5.0], [2.0]]
    assert other.col.untyped_storage().nbytes() >= 4 * (other.num_edges + 32)  # the kernels look ahead
    other.col[0] = 1
    assert neighbour_sum(graph, x).tolist() == [[5.0], [2.0]]
    with pytest.raises(InputError, match="changed in place"):
        neighbour_sum(other, x)


@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
def test_copies_of_sparse_rows(copied):
    few = copied(SparseRows.at(torch.tensor([2, 0]), torch.tensor([[5.0], [1.0]]), num_rows=3))
    graph = CSRGraph(torch.tensor([0, 3]), torch.tensor([0, 1, 2]), num_cols=3)
    assert neighbour_sum(graph, few).tolist() == [[6.0]]
