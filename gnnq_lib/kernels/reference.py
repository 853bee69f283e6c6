"""The low-bit kernels in plain PyTorch: what csrc/ computes, written to be read, with the same arguments and results.

They also serve CUDA tensors. Integer results equal those of the compiled kernels bit for bit; so do float results on
a CPU, because every step below is one float32 operation in the same order. (On CUDA the order of float sums varies.)
"""

from __future__ import annotations

import torch
from torch import Tensor

from gnnq_lib.kernels.checks import LinearCall, SpmmCall, check_linear, check_spmm
from gnnq_lib.kernels.csr import CSRGraph
from gnnq_lib.quantizers.packing import PackedCodes

_VALUES_AT_ONCE = 1 << 24  # bounds the memory of the (edges, D) table of terms


def torch_spmm(
    graph: CSRGraph,
    rows: PackedCodes,
    *,
    zero_point: int | Tensor = 0,
    exponents: Tensor | None = None,
    edge_codes: Tensor | None = None,
    node_scale: Tensor | None = None,
    edge_weight: Tensor | None = None,
    scale: float | None = None,
    row_scale: Tensor | None = None,
    column_scale: Tensor | None = None,
    bias: Tensor | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """Readable twin of `gnnq_lib.kernels.spmm`; see there for the arguments.

    Example:
        >>> graph = CSRGraph(torch.tensor([0, 2, 3]), torch.tensor([0, 1, 1]))
        >>> torch_spmm(graph, PackedCodes.from_codes(torch.tensor([[1, 2], [3, 0]]), bits=2)).tolist()
        [[4, 2], [3, 0]]
    """
    return spmm_checked(
        check_spmm(
            graph, rows, zero_point, exponents, edge_codes, node_scale, edge_weight, scale, row_scale, column_scale,
            bias, out,
        )
    )  # fmt: skip


def spmm_checked(call: SpmmCall) -> Tensor:
    """`torch_spmm` on arguments that have been checked."""
    graph = call.graph
    zero = call.zero_point if call.node_zero is None else call.node_zero[:, None].to(torch.int32)
    values = call.rows.codes().to(torch.int32) - zero  # (num_sources, D)
    if call.exponents is not None:
        values = values * (1 << call.exponents.to(torch.int32))[:, None]
    floating = call.node_scale is not None or call.edge_weight is not None
    sums = values.new_zeros(graph.num_rows, values.shape[1], dtype=torch.float32 if floating else torch.int32)
    step = max(1, _VALUES_AT_ONCE // values.shape[1])
    for first in range(0, graph.num_edges, step):
        edges = slice(first, first + step)
        source = graph.col[edges].long()
        terms = values[source]  # (edges, D)
        if floating:
            terms = edge_coefficients(call, edges, source)[:, None] * terms.float()
        elif call.edge_codes is not None:
            terms = terms * call.edge_codes[edges, None].to(torch.int32)
        sums.index_add_(0, graph.edge_rows[edges], terms)  # on a CPU: one edge after the other
    return finish(sums, call)


def edge_coefficients(call: SpmmCall, edges: slice, source: Tensor) -> Tensor:
    """edge_weight * node_scale of the edge's source node, where given, else 1."""
    scale = call.rows.data.new_ones(source.shape[0], dtype=torch.float32)
    if call.node_scale is not None:
        scale = call.node_scale[source]
    return scale if call.edge_weight is None else call.edge_weight[edges] * scale


def finish(sums: Tensor, call: SpmmCall | LinearCall) -> Tensor:
    """Integer sums as they are, or (scale * row_scale[i]) * sum, then * column_scale, then + bias, each in float32."""
    result = sums
    if call.float_out:
        factor = torch.tensor(call.scale, dtype=torch.float32, device=sums.device)
        if call.row_scale is not None:
            factor = (factor * call.row_scale)[:, None]
        result = factor * sums.to(torch.float32)
        if call.column_scale is not None:
            result = result * call.column_scale
        if call.bias is not None:
            result = result + call.bias
    return result if call.out is None else call.out.copy_(result)


def torch_linear(
    x: PackedCodes,
    weight: PackedCodes,
    *,
    x_zero: int | Tensor = 0,
    weight_zero: int = 0,
    scale: float | None = None,
    row_scale: Tensor | None = None,
    column_scale: Tensor | None = None,
    bias: Tensor | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """Readable twin of `gnnq_lib.kernels.linear`; see there for the arguments.

    Example:
        >>> x = PackedCodes.from_codes(torch.tensor([[1, 3]]), bits=2)
        >>> weight = PackedCodes.from_codes(torch.tensor([[2, 0, 1], [1, 1, 3]]), bits=2)
        >>> torch_linear(x, weight, weight_zero=1).tolist()
        [[1, -1, 6]]
    """
    return linear_checked(check_linear(x, weight, x_zero, weight_zero, scale, row_scale, column_scale, bias, out))


def linear_checked(call: LinearCall) -> Tensor:
    """`torch_linear` on arguments that have been checked."""
    zero = call.x_zero if call.node_zero is None else call.node_zero[:, None].to(torch.int32)
    x = call.x.codes().to(torch.int32) - zero
    weight = call.weight.codes().to(torch.int32) - call.weight_zero
    # Products of integers as float64 sums: exact (below 2**53), and a matrix product on every device.
    sums = (x.double() @ weight.double()).to(torch.int32)
    return finish(sums, call)
