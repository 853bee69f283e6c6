"""K quantised propagation steps in one call: packed inference of SMP (paper A; the method: `gnnq_lib.propagation`).

With h the state (values v * s), A_bar the mean over a node's row of the graph, Q the quantizers of row_quantizer.py:

    a = Q_a(A_bar h)                        aggregate
    y = ch * h + ca * a + cx * x            update; x is the quantised input
    with a gap coefficient cl != 0:         SMP's correction
        g = Q_g(y - h);   y = y + cl * Q_p(A_bar g)
    h = Q_u(y)

Sums over neighbours are sums of whole numbers; everything else is float32, operation by operation in the order of
`torch_propagate`, so that the compiled kernel, the twin and the simulated model agree bit for bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from gnnq_lib.errors import InputError
from gnnq_lib.kernels import native
from gnnq_lib.kernels.checks import check_floats
from gnnq_lib.kernels.csr import CSRGraph, padded_indices
from gnnq_lib.kernels.row_quantizer import RowQuantizer

LARGEST_ROW = 256  # columns the compiled kernel takes
_ROWS_AT_ONCE = 16
_HUB_VECTORS = 32  # that dealing out a slice's edges to all lanes must save; adding up the lanes takes as long


@dataclass(frozen=True)
class PropagationPlan:
    """The numbers of K steps: quantizers and weights.

    Args:
        bits, num_exponents, gamma, stride: shared by all quantizers (RowQuantizer).
        input_scale: scale of Q_x.
        aggregate_scales, update_scales: K scales each.
        state_weight, aggregate_weight, input_weight: ch, ca, cx; with ch = 0 the term is left out.
        gap_coefficients: K numbers cl (0: no correction in that step), or empty: none at all.
        gap_scales, gap_aggregate_scales: K scales each, wherever a gap coefficient is not 0.

    Raises:
        InputError: lists of different lengths, or a value that RowQuantizer does not accept.

    Example:
        >>> PropagationPlan(2, 0.1, [0.2], [0.1], aggregate_weight=0.9, input_weight=0.1).num_steps
        1
    """

    bits: int
    input_scale: float
    aggregate_scales: Sequence[float]
    update_scales: Sequence[float]
    num_exponents: int = 1
    gamma: float = 1.0
    stride: int = 1
    state_weight: float = 0.0
    aggregate_weight: float = 1.0
    input_weight: float = 0.0
    gap_coefficients: Sequence[float] = ()
    gap_scales: Sequence[float] = ()
    gap_aggregate_scales: Sequence[float] = ()
    _native: dict = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        steps = len(self.aggregate_scales)
        lengths = {"update_scales": self.update_scales}
        if self.has_gaps:
            lengths |= {
                "gap_coefficients": self.gap_coefficients,
                "gap_scales": self.gap_scales,
                "gap_aggregate_scales": self.gap_aggregate_scales,
            }
        for name, values in lengths.items():
            if len(values) != steps:
                raise InputError(f"{len(values)} {name} given for {steps} steps; give one per step")
        arrays = {name: native.row_quantizer_array(self.quantizers(name)) for name in self._stages()}
        arrays["gap_coefficient"] = native.float_array(self.gap_coefficients if self.has_gaps else [0.0] * steps)
        self._native.update(arrays)

    @property
    def num_steps(self) -> int:
        """K."""
        return len(self.aggregate_scales)

    @property
    def max_shift(self) -> int:
        """Largest shift of a row's codes."""
        return (self.num_exponents - 1) * self.stride

    @property
    def has_gaps(self) -> bool:
        """Whether any step has SMP's correction."""
        return any(coefficient != 0 for coefficient in self.gap_coefficients)

    def _stages(self) -> tuple[str, ...]:
        return ("input", "aggregate", "update", *(("gap", "gap_aggregate") if self.has_gaps else ()))

    def quantizers(self, stage: str) -> list[RowQuantizer]:
        """The quantizers of one stage: "input" (one), "aggregate", "update", "gap", "gap_aggregate" (K each)."""
        scales = [self.input_scale] if stage == "input" else getattr(self, f"{stage}_scales")
        return [RowQuantizer(float(scale), self.bits, self.num_exponents, self.gamma, self.stride) for scale in scales]


class PropagationGraph:
    """A graph with its degree factors, renumbered by falling degree once, as the K-step kernel walks it.

    Args:
        graph: square; row i holds the neighbours of node i, itself included where the model has self-loops.
        inverse_degree: float32 (N,), factor of the sum over a row (1 / degree for a mean).
        row_in: float32 (N,), the input is multiplied by it first (degree^-1/2 for GCN's normalisation).
        row_out: float32 (N,), the result is multiplied by it (degree^1/2).

    Raises:
        InputError: not square, or a factor of wrong dtype, length or device.

    Example:
        >>> graph = CSRGraph(torch.tensor([0, 2, 4]), torch.tensor([0, 1, 0, 1]))
        >>> PropagationGraph(graph, torch.full((2,), 0.5), torch.ones(2), torch.ones(2))
        PropagationGraph(2 nodes, 4 edges)
    """

    def __init__(self, graph: CSRGraph, inverse_degree: Tensor, row_in: Tensor, row_out: Tensor) -> None:
        if not isinstance(graph, CSRGraph) or graph.num_rows != graph.num_cols:
            given = f"a graph of shape {graph.shape}" if isinstance(graph, CSRGraph) else type(graph).__name__
            raise InputError(f"{given} given; propagation needs a square CSRGraph")
        graph.check_unchanged()
        for name, values in (("inverse_degree", inverse_degree), ("row_in", row_in), ("row_out", row_out)):
            check_floats(name, values, graph.num_rows, graph.device)
        self.graph = graph
        self.inverse_degree, self.row_in, self.row_out = inverse_degree.clone(), row_in.clone(), row_out.clone()
        self._renumber()

    def _renumber(self) -> None:
        """Position p holds node order[p]; empty positions fill up to a multiple of 16."""
        graph = self.graph
        order = torch.argsort(graph.degree, descending=True, stable=True)
        position = torch.empty_like(order)
        position[order] = torch.arange(graph.num_rows, device=graph.device)
        degree = graph.degree[order]
        row_ptr = torch.cat([degree.new_zeros(1), degree.cumsum(0)])
        edges = torch.repeat_interleave(graph.row_ptr[order] - row_ptr[:-1], degree)
        edges = edges + torch.arange(graph.num_edges, device=graph.device)
        spare = -graph.num_rows % _ROWS_AT_ONCE
        self.num_positions = graph.num_rows + spare
        self.row_ptr = torch.cat([row_ptr, row_ptr[-1:].expand(spare)])
        self.col = padded_indices(position[graph.col[edges].long()])
        self.order, self.position = order.to(torch.int32), position.to(torch.int32)
        self.position_factor = torch.cat([self.inverse_degree[order], self.inverse_degree.new_zeros(spare)])
        self._lay_in_lanes()

    def _lay_in_lanes(self) -> None:
        """The edges again, as vectors of 16 (csrc/gnnq_kernels.h): run r is vectors run_ptr[r] ... run_ptr[r + 1] - 1.

        Positions of 16 lanes side by side (a slice) all take the longest one's time. Where that wastes much, among the
        hubs, the edges of each position are dealt out to all lanes instead.
        """
        degree = (self.row_ptr[1:] - self.row_ptr[:-1]).view(self.num_positions // _ROWS_AT_ONCE, _ROWS_AT_ONCE)
        across = (degree + _ROWS_AT_ONCE - 1) // _ROWS_AT_ONCE
        longest = degree.amax(1)
        self.num_hub_slices = hubs = int((longest > across.sum(1) + _HUB_VECTORS).int().cumprod(0).sum())
        vectors = torch.cat([across[:hubs].flatten(), longest[hubs:]])
        self.run_ptr = torch.cat([vectors.new_zeros(1), vectors.cumsum(0)])
        row = torch.repeat_interleave(torch.arange(self.num_positions, device=degree.device), degree.flatten())
        number = torch.arange(row.numel(), device=row.device) - self.row_ptr[row]
        hub_rows = hubs * _ROWS_AT_ONCE
        in_hub = self.run_ptr[row.clamp(max=max(hub_rows - 1, 0))] * _ROWS_AT_ONCE + number
        run = (row // _ROWS_AT_ONCE + hub_rows - hubs).clamp(min=0, max=vectors.numel() - 1)
        in_slice = (self.run_ptr[run] + number) * _ROWS_AT_ONCE + row % _ROWS_AT_ONCE
        empty = row.new_full((int(self.run_ptr[-1]) * _ROWS_AT_ONCE,), self.num_positions, dtype=torch.int32)
        self.lane_col = empty.scatter_(0, torch.where(row < hub_rows, in_hub, in_slice), self.col)

    @property
    def num_nodes(self) -> int:
        """N."""
        return self.graph.num_rows

    def __repr__(self) -> str:
        return f"PropagationGraph({self.num_nodes} nodes, {self.graph.num_edges} edges)"


def check_plan(graph: PropagationGraph, plan: PropagationPlan) -> None:
    """Raise InputError unless the two are what `propagate` takes and sums stay below 2**31."""
    if not isinstance(graph, PropagationGraph) or not isinstance(plan, PropagationPlan):
        raise InputError(
            f"propagate got a {type(graph).__name__} and a {type(plan).__name__}; "
            "accepted are a PropagationGraph and a PropagationPlan"
        )
    largest = ((1 << plan.bits) - 1) << plan.max_shift
    if graph.graph.max_degree * largest >= 2**31:
        raise InputError(
            f"sums of {graph.graph.max_degree} rows up to {largest} given; they could pass 2**31 - 1: "
            "use fewer bits or exponents"
        )


def _check(graph: PropagationGraph, x: Tensor, plan: PropagationPlan) -> None:
    check_plan(graph, plan)
    if not isinstance(x, Tensor) or x.dtype != torch.float32 or x.dim() != 2 or not x.is_contiguous():
        given = f"{x.dtype} {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
        raise InputError(f"x given as {given}; accepted is a contiguous torch.float32 matrix (nodes, values)")
    if x.shape[0] != graph.num_nodes or x.shape[1] < 1:
        raise InputError(f"x of shape {tuple(x.shape)} given for {graph.num_nodes} nodes; give one row per node")
    if x.device != graph.graph.device:
        raise InputError(f"x on {x.device} and graph on {graph.graph.device} given; put both on one device")


def propagate(graph: PropagationGraph, x: Tensor, plan: PropagationPlan) -> Tensor:
    """K quantised propagation steps, on the compiled kernel where there is one.

    Args:
        graph: PropagationGraph of N nodes.
        x: float32 (N, C), finite: the logits to propagate, before row_in.
        plan: the K steps.

    Returns:
        float32 (N, C), multiplied by row_out.

    Raises:
        InputError: wrong types, shapes or devices, or NaN in x.

    Example:
        >>> graph = CSRGraph(torch.tensor([0, 2, 4]), torch.tensor([0, 1, 0, 1]))
        >>> graph = PropagationGraph(graph, torch.full((2,), 0.5), torch.ones(2), torch.ones(2))
        >>> plan = PropagationPlan(2, 1.0, [1.0], [1.0])
        >>> propagate(graph, torch.tensor([[0.0, 2.0], [0.0, 2.0]]), plan).tolist()
        [[-2.0, 0.0], [-2.0, 0.0]]
    """
    _check(graph, x, plan)
    isa = native.path_for(x.device)
    if isa == native.REFERENCE or x.shape[1] > LARGEST_ROW:
        return _torch_propagate(graph, x, plan)
    out = torch.empty_like(x)
    native.call("propagate", isa, propagate_args(graph, plan, x.shape[1], x, out))
    return out


def propagate_args(
    graph: PropagationGraph, plan: PropagationPlan, num_values: int, x: Tensor | None, out: Tensor | None
) -> native.PropagateArgs:
    """Checked arguments as the compiled kernel takes them; they hold addresses of the tensors, not the tensors."""
    arrays = plan._native
    return native.PropagateArgs(
        row_ptr=graph.row_ptr.data_ptr(),
        col=graph.col.data_ptr(),
        run_ptr=graph.run_ptr.data_ptr(),
        lane_col=graph.lane_col.data_ptr(),
        order=graph.order.data_ptr(),
        position=graph.position.data_ptr(),
        inverse_degree=graph.position_factor.data_ptr(),
        x=None if x is None else x.data_ptr(),
        row_in=graph.row_in.data_ptr(),
        row_out=graph.row_out.data_ptr(),
        input=native.address(arrays["input"]),
        aggregate=native.address(arrays["aggregate"]),
        update=native.address(arrays["update"]),
        gap=native.address(arrays.get("gap")),
        gap_aggregate=native.address(arrays.get("gap_aggregate")),
        gap_coefficient=native.address(arrays["gap_coefficient"]),
        out=None if out is None else out.data_ptr(),
        num_nodes=graph.num_nodes,
        num_positions=graph.num_positions,
        num_values=num_values,
        num_steps=plan.num_steps,
        max_degree=graph.graph.max_degree,
        num_hub_slices=graph.num_hub_slices,
        bits=plan.bits,
        max_exponent=plan.max_shift,
        num_threads=torch.get_num_threads(),
        state_weight=plan.state_weight,
        aggregate_weight=plan.aggregate_weight,
        input_weight=plan.input_weight,
    )


def torch_propagate(graph: PropagationGraph, x: Tensor, plan: PropagationPlan) -> Tensor:
    """Readable twin of `propagate`: same arguments, same result.

    Example:
        >>> graph = CSRGraph(torch.tensor([0, 1]), torch.tensor([0]))
        >>> graph = PropagationGraph(graph, torch.ones(1), torch.ones(1), torch.ones(1))
        >>> torch_propagate(graph, torch.tensor([[3.0, 1.0]]), PropagationPlan(2, 1.0, [], [])).tolist()
        [[0.0, -2.0]]
    """
    _check(graph, x, plan)
    return _torch_propagate(graph, x, plan)


def _torch_propagate(graph: PropagationGraph, x: Tensor, plan: PropagationPlan) -> Tensor:
    if not bool(torch.isfinite(x).all()):
        raise InputError(native.NOT_FINITE_MESSAGE)
    stages = {name: plan.quantizers(name) for name in plan._stages()}
    ch, ca, cx = (float32(w, x) for w in (plan.state_weight, plan.aggregate_weight, plan.input_weight))
    quantizer = stages["input"][0]
    v = quantizer.whole_numbers(graph.row_in[:, None] * x)
    x_value = v * quantizer.scale32.to(x.device)
    for k in range(plan.num_steps):
        h = v * quantizer.scale32.to(x.device)
        a = _quantized_mean(graph, v, quantizer, stages["aggregate"][k])
        y = ca * a + cx * x_value if plan.state_weight == 0 else (ch * h + ca * a) + cx * x_value
        if plan.has_gaps and plan.gap_coefficients[k] != 0:
            gap = stages["gap"][k]
            correction = _quantized_mean(graph, gap.whole_numbers(y - h), gap, stages["gap_aggregate"][k])
            y = y + float32(plan.gap_coefficients[k], x) * correction
        quantizer = stages["update"][k]
        v = quantizer.whole_numbers(y)
    return (v * quantizer.scale32.to(x.device)) * graph.row_out[:, None]


def _quantized_mean(graph: PropagationGraph, v: Tensor, source: RowQuantizer, target: RowQuantizer) -> Tensor:
    """Value of target(inverse_degree * (sum of the neighbours' whole numbers) * scale)."""
    neighbours = v.to(torch.int32)[graph.graph.col.long()]
    sums = torch.zeros_like(v, dtype=torch.int32).index_add_(0, graph.graph.edge_rows, neighbours)
    mean = (sums.to(torch.float32) * source.scale32.to(v.device)) * graph.inverse_degree[:, None]
    return target.whole_numbers(mean) * target.scale32.to(v.device)


def float32(number: float, like: Tensor) -> Tensor:
    """A number as a float32 tensor without dimensions, on the device of `like`."""
    return torch.tensor(number, dtype=torch.float32, device=like.device)
