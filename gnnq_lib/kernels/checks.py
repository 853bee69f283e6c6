"""Every argument of a kernel is checked here, before C++ or the reference sees it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gnnq_lib.errors import InputError
from gnnq_lib.kernels.csr import CSRGraph
from gnnq_lib.quantizers.packing import PackedCodes

MAX_EXPONENT = 7
_SUM_LIMIT = 2**31


@dataclass(slots=True)
class SpmmCall:
    """Checked arguments of `spmm`; what was not given is None, except `scale`, which is then 1.0."""

    graph: CSRGraph
    rows: PackedCodes
    zero_point: int
    node_zero: Tensor | None
    exponents: Tensor | None
    edge_codes: Tensor | None
    node_scale: Tensor | None
    edge_weight: Tensor | None
    scale: float
    row_scale: Tensor | None
    column_scale: Tensor | None
    bias: Tensor | None
    out: Tensor | None
    float_out: bool
    max_exponent: int
    max_edge_code: int


def check_spmm(
    graph: CSRGraph,
    rows: PackedCodes,
    zero_point: int | Tensor,
    exponents: Tensor | None,
    edge_codes: Tensor | None,
    node_scale: Tensor | None,
    edge_weight: Tensor | None,
    scale: float | None,
    row_scale: Tensor | None,
    column_scale: Tensor | None,
    bias: Tensor | None,
    out: Tensor | None,
) -> SpmmCall:
    """Check the arguments of `spmm` (documented there) and bring them into one record."""
    if not isinstance(graph, CSRGraph) or not isinstance(rows, PackedCodes):
        raise InputError(
            f"spmm got a {type(graph).__name__} and a {type(rows).__name__}; accepted are a CSRGraph and PackedCodes"
        )
    graph.check_unchanged()
    if rows.num_rows != graph.num_cols:
        raise InputError(
            f"{rows.num_rows} packed rows given for a graph with {graph.num_cols} source nodes; "
            "give one row per source node"
        )
    if rows.device != graph.device:
        raise InputError(f"packed rows on {rows.device} and graph on {graph.device} given; put both on one device")
    floating = node_scale is not None or edge_weight is not None
    if floating and (exponents is not None or edge_codes is not None):
        raise InputError(
            "float coefficients and integer exponents or edge codes given together; "
            "fold the integers into node_scale or edge_weight"
        )
    device, sources = rows.device, graph.num_cols
    zero, node_zero = _check_zero(zero_point, rows.bits, sources, device)
    max_exponent = _check_small("exponents", exponents, sources, MAX_EXPONENT, device)
    max_edge_code = (
        _check_small("edge_codes", edge_codes, graph.num_edges, 255, device) if edge_codes is not None else 1
    )
    check_floats("node_scale", node_scale, sources, device)
    check_floats("edge_weight", edge_weight, graph.num_edges, device)
    check_floats("row_scale", row_scale, graph.num_rows, device)
    check_floats("column_scale", column_scale, rows.num_values, device)
    check_floats("bias", bias, rows.num_values, device)
    _check_sums(graph.max_degree, ((1 << rows.bits) - 1 << max_exponent) * max(max_edge_code, 1))
    float_out = floating or not (scale is row_scale is column_scale is bias is None)
    check_out(out, (graph.num_rows, rows.num_values), float_out, device)
    return SpmmCall(
        graph, rows, zero, node_zero, exponents, edge_codes, node_scale, edge_weight, check_scale(scale), row_scale,
        column_scale, bias, out, float_out, max_exponent, max_edge_code,
    )  # fmt: skip


@dataclass(slots=True)
class LinearCall:
    """Checked arguments of `linear`."""

    x: PackedCodes
    weight: PackedCodes
    x_zero: int
    node_zero: Tensor | None
    weight_zero: int
    scale: float
    row_scale: Tensor | None
    column_scale: Tensor | None
    bias: Tensor | None
    out: Tensor | None
    float_out: bool


def check_linear(
    x: PackedCodes,
    weight: PackedCodes,
    x_zero: int | Tensor,
    weight_zero: int,
    scale: float | None,
    row_scale: Tensor | None,
    column_scale: Tensor | None,
    bias: Tensor | None,
    out: Tensor | None,
) -> LinearCall:
    """Check the arguments of `linear` (documented there) and bring them into one record."""
    if not isinstance(x, PackedCodes) or not isinstance(weight, PackedCodes):
        raise InputError(f"linear got a {type(x).__name__} and a {type(weight).__name__}; accepted are two PackedCodes")
    if x.num_values != weight.num_rows:
        raise InputError(
            f"rows of {x.num_values} values given for weights of {weight.num_rows} rows; the two numbers must be equal"
        )
    if x.device != weight.device:
        raise InputError(f"activations on {x.device} and weights on {weight.device} given; put both on one device")
    zero, node_zero = _check_zero(x_zero, x.bits, x.num_rows, x.device)
    weight_zero, _ = _check_zero(weight_zero, weight.bits, 0, x.device)
    check_floats("row_scale", row_scale, x.num_rows, x.device)
    check_floats("column_scale", column_scale, weight.num_values, x.device)
    check_floats("bias", bias, weight.num_values, x.device)
    _check_sums(x.num_values, ((1 << x.bits) - 1) * ((1 << weight.bits) - 1))
    float_out = not (scale is row_scale is column_scale is bias is None)
    check_out(out, (x.num_rows, weight.num_values), float_out, x.device)
    return LinearCall(
        x, weight, zero, node_zero, weight_zero, check_scale(scale), row_scale, column_scale, bias, out, float_out
    )


def _check_zero(zero_point: int | Tensor, bits: int, length: int, device: torch.device) -> tuple[int, Tensor | None]:
    """One constant (returned first) or one per node (returned second), each a code."""
    top = (1 << bits) - 1
    if isinstance(zero_point, Tensor):
        _check_small("zero_point", zero_point, length, top, device)
        return 0, zero_point
    if isinstance(zero_point, bool) or not isinstance(zero_point, int) or not 0 <= zero_point <= top:
        raise InputError(
            f"zero_point={zero_point!r} given; accepted with {bits} bits is an integer 0 to {top}, "
            "or a torch.uint8 tensor with one per node"
        )
    return zero_point, None


def _check_small(name: str, values: Tensor | None, length: int, top: int, device: torch.device) -> int:
    """Check a uint8 vector and return its maximum, 0 where there is none."""
    if values is None:
        return 0
    _check_vector(name, values, torch.uint8, length, device)
    largest = int(values.max()) if length else 0
    if largest > top:
        raise InputError(f"{name} up to {largest} given; accepted is 0 to {top}: clamp them or use more bits")
    return largest


def check_floats(name: str, values: Tensor | None, length: int, device: torch.device) -> None:
    """Raise InputError unless `values` is None or a contiguous float32 vector of this length on this device."""
    if values is not None:
        _check_vector(name, values, torch.float32, length, device)


def _check_vector(name: str, values: Tensor, dtype: torch.dtype, length: int, device: torch.device) -> None:
    if not isinstance(values, Tensor) or values.dtype != dtype:
        given = values.dtype if isinstance(values, Tensor) else type(values).__name__
        raise InputError(f"{name} given as {given}; accepted is a {dtype} tensor: convert it")
    if values.shape != (length,) or not values.is_contiguous():
        raise InputError(
            f"{name} of shape {tuple(values.shape)} and stride {tuple(values.stride())} given; "
            f"accepted is a contiguous vector of {length}"
        )
    if values.device != device:
        raise InputError(f"{name} on {values.device} given; the codes are on {device}: move it there")


def check_scale(scale: float | None) -> float:
    """The scale as a float, 1.0 for None."""
    if scale is None:
        return 1.0
    if isinstance(scale, bool) or not isinstance(scale, (int, float)):
        raise InputError(f"scale={scale!r} given; accepted is one number: a vector goes into row_scale or column_scale")
    return float(scale)


def check_out(out: Tensor | None, shape: tuple[int, int], float_out: bool, device: torch.device) -> None:
    """Raise InputError unless `out` is None or can take the result as it is."""
    if out is None:
        return
    dtype = torch.float32 if float_out else torch.int32
    if not isinstance(out, Tensor) or out.dtype != dtype or out.shape != shape or not out.is_contiguous():
        given = f"{out.dtype} {tuple(out.shape)}" if isinstance(out, Tensor) else type(out).__name__
        raise InputError(f"out given as {given}; accepted is a contiguous {dtype} tensor of shape {shape}")
    if out.device != device:
        raise InputError(f"out on {out.device} given; the codes are on {device}: allocate it there")


def _check_sums(terms: int, largest_term: int) -> None:
    if terms * largest_term >= _SUM_LIMIT:
        raise InputError(
            f"sums of {terms} terms up to {largest_term} given; they could pass 2**31 - 1, the largest sum held: "
            "use fewer bits, smaller exponents or edge codes, or split the row."
        )


def check_tensor(name: str, tensor: Tensor, dtype: torch.dtype, shape: tuple[int, ...], device: torch.device) -> None:
    """Raise InputError unless it is a contiguous tensor of this dtype and shape on this device."""
    if not isinstance(tensor, Tensor) or tensor.dtype != dtype or tuple(tensor.shape) != shape:
        given = f"{tensor.dtype} {tuple(tensor.shape)}" if isinstance(tensor, Tensor) else type(tensor).__name__
        raise InputError(f"{name} given as {given}; accepted is {dtype} {shape}")
    if tensor.device != device:
        raise InputError(f"{name} on {tensor.device} given, the rest is on {device}; put all on one device")
    if not tensor.is_contiguous():
        raise InputError(f"{name} is not contiguous in memory; pass {name}.contiguous()")


def check_range(name: str, index: Tensor, size: int) -> None:
    """Raise InputError unless all of these integers are in 0 to size - 1."""
    if not index.numel():
        return
    low, high = (int(bound) for bound in index.aminmax())
    if low < 0 or high >= size:
        raise InputError(f"{name} {low} to {high} given; 0 to {size - 1} are accepted")
