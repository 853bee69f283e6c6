"""The PyTorch operators: same results as the functions, traceable, and as strict about their input."""

from __future__ import annotations

import pytest
import torch
from cases import random_codes, random_graph

from gnnq_lib.errors import InputError
from gnnq_lib.kernels import linear, spmm


def small_case():
    generator = torch.Generator().manual_seed(0)
    return random_graph(generator, 6, 5, 20), random_codes(generator, 5, 9, 2)


def test_spmm_operator_equals_function():
    graph, rows = small_case()
    zeros = torch.tensor([0, 1, 2, 3, 0], dtype=torch.uint8)
    arguments = (graph.row_ptr, graph.col, 5, rows.data, 2, 9)
    assert torch.equal(torch.ops.gnnq.spmm(*arguments, 1), spmm(graph, rows, zero_point=1))
    assert torch.equal(torch.ops.gnnq.spmm(*arguments, 0, zeros), spmm(graph, rows, zero_point=zeros))
    assert torch.equal(torch.ops.gnnq.spmm(*arguments, scale=0.5), spmm(graph, rows, scale=0.5))


def test_linear_operator_equals_function():
    generator = torch.Generator().manual_seed(0)
    x, weight = random_codes(generator, 5, 9, 2), random_codes(generator, 9, 4, 4)
    result = torch.ops.gnnq.linear(x.data, 2, 9, weight.data, 4, 4, weight_zero=8)
    assert torch.equal(result, linear(x, weight, weight_zero=8))


def test_fake_implementations_agree():
    graph, rows = small_case()
    arguments = (graph.row_ptr, graph.col, 5, rows.data, 2, 9)
    checks = ("test_schema", "test_faketensor")
    torch.library.opcheck(torch.ops.gnnq.spmm.default, arguments, test_utils=checks)
    torch.library.opcheck(torch.ops.gnnq.spmm.default, arguments, {"scale": 0.5}, test_utils=checks)
    weight = random_codes(torch.Generator(), 9, 4, 4)
    torch.library.opcheck(torch.ops.gnnq.linear.default, (rows.data, 2, 9, weight.data, 4, 4), test_utils=checks)


def test_compiles_into_one_graph():
    graph, rows = small_case()

    def doubled(packed):
        return 2 * torch.ops.gnnq.spmm(graph.row_ptr, graph.col, 5, packed, 2, 9, scale=0.5)

    compiled = torch.compile(doubled, backend="eager", fullgraph=True)
    assert torch.equal(compiled(rows.data), doubled(rows.data))


def test_changed_indices_are_checked_again():
    graph, rows = small_case()
    row_ptr, col = graph.row_ptr.clone(), graph.col.clone()
    before = torch.ops.gnnq.spmm(row_ptr, col, 5, rows.data, 2, 9)
    assert torch.equal(before, spmm(graph, rows))
    col[0] = 99
    with pytest.raises(InputError, match="0 to 4"):
        torch.ops.gnnq.spmm(row_ptr, col, 5, rows.data, 2, 9)


def test_inference_tensors_are_checked_every_time():
    _, rows = small_case()
    with torch.inference_mode():
        row_ptr, col = torch.tensor([0, 2, 2]), torch.tensor([1, 0])
        assert torch.ops.gnnq.spmm(row_ptr, col, 5, rows.data, 2, 9).shape == (2, 9)
        col[0] = 99
        with pytest.raises(InputError, match="0 to 4"):
            torch.ops.gnnq.spmm(row_ptr, col, 5, rows.data, 2, 9)
