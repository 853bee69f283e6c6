"""Sums of neighbours' float rows: the sparse product of full-precision training, with what stands around it.

A training step of LightGCN is six of these products. Around each of them a plain step scales all rows before, scales
all rows after and adds something: passes over the whole table that cost as much as the sums. Here they happen while a
row is at hand. And a batch has few rows: the last product forward is needed at these only, the first one backward reads
only these (`SparseRows`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from gnnq_lib.errors import InputError
from gnnq_lib.kernels import native
from gnnq_lib.kernels.checks import check_range, check_tensor
from gnnq_lib.kernels.csr import CSRGraph, write_counts


@dataclass(frozen=True)
class SparseRows:
    """A table of which few rows are not zero.

    Attributes:
        values: float32 (n + 1, D): these rows, then one of zeros.
        place: int32 (num_rows,): where in `values` each row is.

    Raises:
        InputError: a place that is not in `values`.

    Example:
        >>> SparseRows.at(torch.tensor([2, 0]), torch.tensor([[1.0], [3.0]]), num_rows=3).dense().tolist()
        [[3.0], [0.0], [1.0]]
    """

    values: Tensor
    place: Tensor
    _written: tuple[int, ...] | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_range("places", self.place, len(self.values))
        object.__setattr__(self, "_written", write_counts(self.place))

    def __reduce__(self) -> tuple[type[SparseRows], tuple[Tensor, Tensor]]:
        """A copy is made, and checked, anew: its tensors count from another number on."""
        return SparseRows, (self.values, self.place)

    def check_unchanged(self) -> None:
        """Raise InputError when somebody wrote into `place` after it was checked."""
        if self._written != write_counts(self.place):
            raise InputError("the places of SparseRows were changed in place; make new SparseRows from the new places")

    @classmethod
    def at(cls, nodes: Tensor, rows: Tensor, num_rows: int) -> SparseRows:
        """From distinct nodes, int64 (n,), and their rows, float32 (n, D).

        Raises:
            InputError: a node out of range, or twice.
        """
        values = values_for(rows)
        values[:-1] = rows
        return cls(values, places(nodes, num_rows))

    def dense(self) -> Tensor:
        """The whole table, float32 (num_rows, D)."""
        return F.embedding(self.place, self.values)


def values_for(rows: Tensor) -> Tensor:
    """Memory for `SparseRows.values`, float32 (n + 1, D), to write rows like these, (n, D), into: the last one is 0.

    Example:
        >>> values_for(torch.ones(2, 3)).shape
        torch.Size([3, 3])
    """
    values = rows.new_empty(len(rows) + 1, rows.shape[1])
    values[-1] = 0
    return values


def places(nodes: Tensor, num_rows: int) -> Tensor:
    """Where each of `num_rows` rows stands in `nodes`, int32 (num_rows,); len(nodes) for those that do not.

    Raises:
        InputError: a node out of range, or twice.

    Example:
        >>> places(torch.tensor([2, 0]), num_rows=3).tolist()
        [1, 2, 0]
    """
    count = nodes.numel()
    check_range("nodes", nodes, num_rows)
    place = torch.full((num_rows,), count, dtype=torch.int32, device=nodes.device)
    place[nodes] = torch.arange(count, dtype=torch.int32, device=nodes.device)
    if int((place < count).sum()) < count:
        raise InputError(
            f"{count} nodes given, some of them twice; distinct nodes are accepted: add up their rows first"
        )
    return place


def neighbour_sum(
    graph: CSRGraph,
    x: Tensor | SparseRows,
    *,
    source_scale: Tensor | None = None,
    row_scale: Tensor | None = None,
    rows: Tensor | None = None,
    added: Tensor | SparseRows | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """Sum the rows of each node's neighbours, scaled before and after, plus a row of its own.

        out[i] = row_scale[i] * sum over j in N(i) of source_scale[j] * x[j]  +  added[i]

    in the order of the edges, each operation rounded to float32. No gradient is recorded.

    Args:
        graph: rows i and their neighbours j.
        x: float32 (num_cols, D).
        source_scale: float32 (num_cols,), or None.
        row_scale: float32 (num_rows,), or None.
        rows: int64 (n,): only these rows i, in this order; None: all.
        added: float32 (num_rows, D), or None.
        out: tensor to write the result to, in memory of its own. Large results are then not allocated anew, whose
            pages cost almost as much time as the sums.

    Returns:
        float32 (num_rows, D), or (n, D) with `rows`.

    Raises:
        InputError: an argument of wrong type, dtype, shape or device, a row out of range, an out that shares memory
            with what is read.

    Example:
        >>> graph = CSRGraph(torch.tensor([0, 2, 3]), torch.tensor([0, 1, 1]))
        >>> neighbour_sum(graph, torch.tensor([[1.0], [2.0]]), row_scale=torch.tensor([10.0, 1.0])).tolist()
        [[30.0], [2.0]]
    """
    width = _check(graph, x, source_scale, row_scale, rows, added)
    if out is not None:
        shape = (graph.num_rows if rows is None else rows.numel(), width)
        check_tensor("out", out, torch.float32, shape, graph.device)
        _check_own_memory(out, {"x": x, "added": added, "source_scale": source_scale, "row_scale": row_scale})
    isa = native.path_for(graph.device)
    if isa != native.REFERENCE:
        return _native_neighbour_sum(graph, x, source_scale, row_scale, rows, added, out, isa)
    result = _torch_neighbour_sum(graph, x, source_scale, row_scale, rows, added)
    return result if out is None else out.copy_(result)


def torch_neighbour_sum(
    graph: CSRGraph,
    x: Tensor | SparseRows,
    *,
    source_scale: Tensor | None = None,
    row_scale: Tensor | None = None,
    rows: Tensor | None = None,
    added: Tensor | SparseRows | None = None,
) -> Tensor:
    """Readable twin of `neighbour_sum`: same arguments, same result.

    Example:
        >>> torch_neighbour_sum(CSRGraph(torch.tensor([0, 1]), torch.tensor([0])), torch.tensor([[2.0]])).tolist()
        [[2.0]]
    """
    _check(graph, x, source_scale, row_scale, rows, added)
    return _torch_neighbour_sum(graph, x, source_scale, row_scale, rows, added)


@torch.no_grad()
def _torch_neighbour_sum(
    graph: CSRGraph,
    x: Tensor | SparseRows,
    source_scale: Tensor | None,
    row_scale: Tensor | None,
    rows: Tensor | None,
    added: Tensor | SparseRows | None,
) -> Tensor:
    x, added = (part.dense() if isinstance(part, SparseRows) else part for part in (x, added))
    if source_scale is not None:
        x = x * source_scale[:, None]
    out = _sum_of_rows(graph, x)
    if row_scale is not None:
        out = out * row_scale[:, None]
    if added is not None:
        out = out + added
    return out if rows is None else F.embedding(rows, out)


def _sum_of_rows(graph: CSRGraph, x: Tensor) -> Tensor:
    """A x by the fastest way of PyTorch: on a CPU bags, 2.5 times as fast as its CSR product; on CUDA that product."""
    if x.is_cuda:
        return graph.pattern @ x
    return F.embedding_bag(graph.col, x, graph.row_ptr.to(torch.int32), mode="sum", include_last_offset=True)


def _native_neighbour_sum(
    graph: CSRGraph,
    x: Tensor | SparseRows,
    source_scale: Tensor | None,
    row_scale: Tensor | None,
    rows: Tensor | None,
    added: Tensor | SparseRows | None,
    out: Tensor | None,
    isa: str,
) -> Tensor:
    x, x_place = (x.values, x.place) if isinstance(x, SparseRows) else (x, None)
    added, added_place = (added.values, added.place) if isinstance(added, SparseRows) else (added, None)
    rows = None if rows is None else rows.to(torch.int32)
    num_rows = graph.num_rows if rows is None else rows.numel()
    fresh = out is None
    if fresh:
        out = x.new_empty(num_rows, x.shape[1])
    tensors = (graph.row_ptr, graph.col, rows, x, x_place, source_scale, row_scale, added, added_place, out)
    pointers = [0 if tensor is None else tensor.data_ptr() for tensor in tensors]
    sizes = (num_rows, graph.num_edges, x.shape[1], torch.get_num_threads(), fresh)
    native.call("neighbour_sum", isa, native.NEIGHBOUR_SUM_ARGS.pack(*pointers, *sizes))
    return out


def _check(
    graph: CSRGraph,
    x: Tensor | SparseRows,
    source_scale: Tensor | None,
    row_scale: Tensor | None,
    rows: Tensor | None,
    added: Tensor | SparseRows | None,
) -> int:
    """D, if the arguments are as they should be."""
    if not isinstance(graph, CSRGraph):
        raise InputError(f"a {type(graph).__name__} given as the graph; a CSRGraph is accepted")
    graph.check_unchanged()
    width = _check_table("x", x, graph.num_cols, None, graph)
    if added is not None:
        _check_table("added", added, graph.num_rows, width, graph)
    for name, scale, size in (("source_scale", source_scale, graph.num_cols), ("row_scale", row_scale, graph.num_rows)):
        if scale is not None:
            check_tensor(name, scale, torch.float32, (size,), graph.device)
    if rows is not None:
        check_tensor("rows", rows, torch.int64, (rows.numel() if isinstance(rows, Tensor) else 0,), graph.device)
        check_range("rows", rows, graph.num_rows)
    return width


def _check_table(name: str, table: Tensor | SparseRows, num_rows: int, width: int | None, graph: CSRGraph) -> int:
    """D of a table that is as it should be."""
    if isinstance(table, SparseRows):
        table.check_unchanged()
        check_tensor(f"{name}.place", table.place, torch.int32, (num_rows,), graph.device)
        table, num_rows = table.values, table.values.shape[0]
    if not isinstance(table, Tensor) or table.dim() != 2:
        given = f"a tensor of {table.dim()} dimensions" if isinstance(table, Tensor) else type(table).__name__
        raise InputError(f"{name} given as {given}; accepted is float32 ({num_rows}, D)")
    check_tensor(name, table, torch.float32, (num_rows, table.shape[1] if width is None else width), graph.device)
    return table.shape[1]


def _check_own_memory(out: Tensor, sources: dict[str, Tensor | SparseRows | None]) -> None:
    """Raise InputError where `out` shares bytes with what is still read while it is written; all are contiguous."""
    start, end = out.data_ptr(), out.data_ptr() + out.nbytes
    for name, source in sources.items():
        table = source.values if isinstance(source, SparseRows) else source
        if table is not None and start < table.data_ptr() + table.nbytes and table.data_ptr() < end:
            raise InputError(f"out shares memory with {name}, which is still read; give a tensor of its own")
