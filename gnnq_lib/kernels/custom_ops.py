"""`spmm` and `linear` as PyTorch operators, so that torch.compile traces them: `torch.ops.gnnq.spmm`, `.linear`.

An operator takes tensors and numbers only, so the graph comes as row_ptr and col. It is checked (and, once made, kept
for as long as the two tensors live and are not written to).
"""

from __future__ import annotations

import weakref
from typing import Optional

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from gnnq_lib.kernels import ops
from gnnq_lib.kernels.csr import CSRGraph, write_counts
from gnnq_lib.quantizers.packing import PackedCodes

_graphs: WeakIdKeyDictionary = WeakIdKeyDictionary()


def _graph_of(row_ptr: Tensor, col: Tensor, num_cols: int) -> CSRGraph:
    written = write_counts(row_ptr, col)
    if written is None:
        return CSRGraph(row_ptr, col, num_cols)
    key = (*written, num_cols)
    kept = _graphs.get(row_ptr)
    if kept is not None and kept[0]() is col and kept[1] == key:
        return kept[2]
    graph = CSRGraph(row_ptr, col, num_cols)
    _graphs[row_ptr] = (weakref.ref(col), key, graph)
    return graph


@torch.library.custom_op("gnnq::spmm", mutates_args=())
def spmm(
    row_ptr: Tensor,
    col: Tensor,
    num_cols: int,
    packed: Tensor,
    bits: int,
    num_values: int,
    zero_point: int = 0,
    node_zero: Optional[Tensor] = None,  # noqa: UP045
    exponents: Optional[Tensor] = None,  # noqa: UP045
    edge_codes: Optional[Tensor] = None,  # noqa: UP045
    node_scale: Optional[Tensor] = None,  # noqa: UP045
    edge_weight: Optional[Tensor] = None,  # noqa: UP045
    scale: Optional[float] = None,  # noqa: UP045
    row_scale: Optional[Tensor] = None,  # noqa: UP045
    column_scale: Optional[Tensor] = None,  # noqa: UP045
    bias: Optional[Tensor] = None,  # noqa: UP045
) -> Tensor:
    """Operator form of `gnnq_lib.kernels.spmm`; `node_zero` is its per-node zero_point."""
    return ops.spmm(
        _graph_of(row_ptr, col, num_cols),
        PackedCodes(packed, bits, num_values),
        zero_point=zero_point if node_zero is None else node_zero,
        exponents=exponents,
        edge_codes=edge_codes,
        node_scale=node_scale,
        edge_weight=edge_weight,
        scale=scale,
        row_scale=row_scale,
        column_scale=column_scale,
        bias=bias,
    )


@spmm.register_fake
def _(
    row_ptr, col, num_cols, packed, bits, num_values, zero_point=0, node_zero=None, exponents=None, edge_codes=None,
    node_scale=None, edge_weight=None, scale=None, row_scale=None, column_scale=None, bias=None,
):  # fmt: skip
    floats = (node_scale, edge_weight, scale, row_scale, column_scale, bias)
    dtype = torch.int32 if all(given is None for given in floats) else torch.float32
    return packed.new_empty((row_ptr.shape[0] - 1, num_values), dtype=dtype)


@torch.library.custom_op("gnnq::linear", mutates_args=())
def linear(
    packed: Tensor,
    bits: int,
    num_inputs: int,
    weight: Tensor,
    weight_bits: int,
    num_values: int,
    zero_point: int = 0,
    node_zero: Optional[Tensor] = None,  # noqa: UP045
    weight_zero: int = 0,
    scale: Optional[float] = None,  # noqa: UP045
    row_scale: Optional[Tensor] = None,  # noqa: UP045
    column_scale: Optional[Tensor] = None,  # noqa: UP045
    bias: Optional[Tensor] = None,  # noqa: UP045
) -> Tensor:
    """Operator form of `gnnq_lib.kernels.linear`; `node_zero` is its per-node x_zero."""
    return ops.linear(
        PackedCodes(packed, bits, num_inputs),
        PackedCodes(weight, weight_bits, num_values),
        x_zero=zero_point if node_zero is None else node_zero,
        weight_zero=weight_zero,
        scale=scale,
        row_scale=row_scale,
        column_scale=column_scale,
        bias=bias,
    )


@linear.register_fake
def _(
    packed, bits, num_inputs, weight, weight_bits, num_values, zero_point=0, node_zero=None, weight_zero=0, scale=None,
    row_scale=None, column_scale=None, bias=None,
):  # fmt: skip
    dtype = torch.int32 if all(given is None for given in (scale, row_scale, column_scale, bias)) else torch.float32
    return packed.new_empty((packed.shape[0], num_values), dtype=dtype)
