"""The low-bit kernels as Python calls them: check, choose the path (compiled or reference), run.

`spmm` and `linear` are plain functions with little overhead. The same computations are registered as PyTorch operators
`torch.ops.gnnq.spmm` and `torch.ops.gnnq.linear` (with fake implementations), so that `torch.compile` can trace them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gnnq_lib.kernels import native, reference
from gnnq_lib.kernels.checks import LinearCall, SpmmCall, check_linear, check_spmm
from gnnq_lib.kernels.csr import CSRGraph
from gnnq_lib.quantizers.packing import PackedCodes


def spmm(
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
    """Sum the packed rows of each node's neighbours, exactly, in integers.

    Decision 2 of the design: GCN's weight d_i^-1/2 d_j^-1/2 is folded into the nodes, so edges need no weight and

        out[i] = scale * row_scale[i] * sum over j in N(i) of (q_j - z_j) * 2^e_j

    With `edge_codes` c_ij each term is multiplied by c_ij (sparse features of a few bits: the graph is the pattern of
    X, the rows are those of W). With `node_scale` s_j and/or `edge_weight` w_ij the sum is a float sum, in the order
    of the edges: sum = sum + (w_ij * s_j) * (q_j - z_j), each operation rounded to float32.

    Args:
        graph: rows (targets) and their neighbours (sources), |E| edges.
        rows: packed codes q, one row per source node, D values, 1/2/4/8 bits.
        zero_point: z, one integer for all or uint8 (num_cols,), 0 ... 2**bits - 1.
        exponents: e, uint8 (num_cols,), 0 ... 7.
        edge_codes: c, uint8 (|E|,).
        node_scale: s, float32 (num_cols,); not together with exponents or edge_codes.
        edge_weight: w, float32 (|E|,); not together with exponents or edge_codes.
        scale: one number; row_scale: float32 (num_rows,); column_scale: float32 (D,); bias: float32 (D,).
            If any is given (or node_scale or edge_weight), the result is float32:
            ((scale * row_scale[i]) * sum) * column_scale + bias, each operation rounded to float32.
        out: tensor to write the result to.

    Returns:
        (num_rows, D): int32 sums, or float32 as above. Rows without neighbours give 0 (float: 0, plus bias).

    Raises:
        InputError: an argument of wrong type, dtype, shape or device, a code out of range, sums that could pass
            2**31 - 1.

    Example:
        >>> graph = CSRGraph(torch.tensor([0, 2, 3]), torch.tensor([0, 1, 1]))
        >>> spmm(graph, PackedCodes.from_codes(torch.tensor([[1, 2], [3, 0]]), bits=2), zero_point=1).tolist()
        [[2, 0], [2, -1]]
    """
    call = check_spmm(
        graph,
        rows,
        zero_point,
        exponents,
        edge_codes,
        node_scale,
        edge_weight,
        scale,
        row_scale,
        column_scale,
        bias,
        out,
    )
    isa = native.path_for(rows.device)
    return reference.spmm_checked(call) if isa == native.REFERENCE else _native_spmm(call, isa)


def linear(
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
    """Packed activations times packed weights, exactly, in integers: out = (x - x_zero) @ (weight - weight_zero).

    Args:
        x: packed activations, (N, F), 1/2/4/8 bits.
        weight: packed weights, (F, C): one packed row per input, as `spmm` reads them for sparse features.
        x_zero: one integer for all or uint8 (N,), 0 ... 2**bits - 1.
        weight_zero: one integer.
        scale, row_scale (N,), column_scale (C,), bias (C,), out: as for `spmm`.

    Returns:
        (N, C): int32 sums, or float32 if scale, row_scale, column_scale or bias is given.

    Raises:
        InputError: as for `spmm`.

    Example:
        >>> x = PackedCodes.from_codes(torch.tensor([[1, 3]]), bits=2)
        >>> linear(x, PackedCodes.from_codes(torch.tensor([[2], [1]]), bits=2), scale=0.5).tolist()
        [[2.5]]
    """
    call = check_linear(x, weight, x_zero, weight_zero, scale, row_scale, column_scale, bias, out)
    isa = native.path_for(x.device)
    return reference.linear_checked(call) if isa == native.REFERENCE else _native_linear(call, isa)


def _pointer(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


def _result(call: SpmmCall | LinearCall, shape: tuple[int, int], device: torch.device) -> Tensor:
    if call.out is not None:
        return call.out
    return torch.empty(shape, dtype=torch.float32 if call.float_out else torch.int32, device=device)


def _native_spmm(call: SpmmCall, isa: str) -> Tensor:
    out = _result(call, (call.graph.num_rows, call.rows.num_values), call.rows.device)
    native.call("spmm", isa, spmm_args(call, out))
    return out


def spmm_args(call: SpmmCall, out: Tensor) -> bytes:
    """gnnq_spmm_args (csrc/gnnq_kernels.h), field by field."""
    graph, rows = call.graph, call.rows
    edges_in_order = call.edge_codes is not None or call.edge_weight is not None
    row_ptr, col, order = (graph.row_ptr, graph.col, None) if edges_in_order else graph.by_degree()
    return native.SPMM_ARGS.pack(
        row_ptr.data_ptr(),
        col.data_ptr(),
        _pointer(order),
        rows.data.data_ptr(),
        _pointer(call.exponents),
        _pointer(call.node_zero),
        _pointer(call.edge_codes),
        _pointer(call.node_scale),
        _pointer(call.edge_weight),
        _pointer(call.row_scale),
        _pointer(call.column_scale),
        _pointer(call.bias),
        out.data_ptr(),
        graph.num_rows,
        graph.num_cols,
        graph.num_edges,
        rows.num_values,
        rows.bits,
        call.zero_point,
        call.max_exponent,
        call.max_edge_code,
        call.float_out,
        torch.get_num_threads(),
        call.scale,
        call.out is None,
    )


def _native_linear(call: LinearCall, isa: str) -> Tensor:
    out = _result(call, (call.x.num_rows, call.weight.num_values), call.x.device)
    native.call("linear", isa, linear_args(call, out))
    return out


def linear_args(call: LinearCall, out: Tensor) -> bytes:
    """gnnq_linear_args (csrc/gnnq_kernels.h), field by field."""
    return native.LINEAR_ARGS.pack(
        call.x.data.data_ptr(),
        call.weight.data.data_ptr(),
        _pointer(call.node_zero),
        _pointer(call.row_scale),
        _pointer(call.column_scale),
        _pointer(call.bias),
        out.data_ptr(),
        call.x.num_rows,
        call.x.num_values,
        call.weight.num_values,
        call.x.bits,
        call.weight.bits,
        call.x_zero,
        call.weight_zero,
        call.float_out,
        torch.get_num_threads(),
        call.scale,
        call.out is None,
    )
