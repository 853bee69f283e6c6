"""The graph as the kernels read it: compressed sparse rows, checked once, then never changed."""

from __future__ import annotations

import torch
from torch import Tensor

from gnnq_lib.errors import InputError

_INDEX_DTYPES = (torch.int32, torch.int64)
_INT32_MAX = 2**31 - 1
_GROUP_ROWS = 1024


def write_counts(*tensors: Tensor) -> tuple[int, ...] | None:
    """How often each was written to, to tell later whether somebody wrote; None where one was made under
    `torch.inference_mode`, since such tensors do not count.

    Example:
        >>> table = torch.zeros(2)
        >>> before = write_counts(table)
        >>> write_counts(table.add_(1)) == before
        False
    """
    if any(tensor.is_inference() for tensor in tensors):
        return None
    return tuple(tensor._version for tensor in tensors)


class CSRGraph:
    """A sparse 0/1 pattern in CSR form: row i's neighbours are col[row_ptr[i] : row_ptr[i + 1]].

    Everything the C++ side relies on is checked here, once: it holds private copies, so nobody can change them later.
    The pattern of a sparse feature matrix is such a graph too: its "neighbours" are rows of the weight matrix.

    Args:
        row_ptr: (num_rows + 1,), int32 or int64, starts at 0, never decreases, ends at the number of edges.
        col: (|E|,), int32 or int64, each in [0, num_cols).
        num_cols: number of columns (source nodes); default: as many as rows.

    Attributes:
        row_ptr: int64 (num_rows + 1,). col: int32 (|E|,). degree: int64 (num_rows,). max_degree: int.
        device: of all of them.

    Raises:
        InputError: wrong dtype, shape, device; decreasing row pointers; a column out of range.

    Example:
        >>> graph = CSRGraph(torch.tensor([0, 2, 3]), torch.tensor([0, 1, 1]))
        >>> graph, graph.degree.tolist()
        (CSRGraph(2 x 2, 3 edges), [2, 1])
    """

    def __init__(self, row_ptr: Tensor, col: Tensor, num_cols: int | None = None) -> None:
        for name, index in (("row_ptr", row_ptr), ("col", col)):
            _check_index(name, index)
        if row_ptr.numel() == 0:
            raise InputError("row_ptr is empty; accepted is one entry per row and one more, starting with 0")
        if row_ptr.device != col.device:
            raise InputError(f"row_ptr on {row_ptr.device} and col on {col.device} given; put both on one device")
        self.num_rows = row_ptr.numel() - 1
        self.num_cols = self.num_rows if num_cols is None else int(num_cols)
        if not 0 <= self.num_cols <= _INT32_MAX:
            raise InputError(f"num_cols={self.num_cols} given; accepted is 0 to {_INT32_MAX}")
        self._check_pointers(row_ptr, col.numel())
        self._check_columns(col)
        self.row_ptr = row_ptr.to(torch.int64, copy=True).contiguous()
        self.col = padded_indices(col)
        self.num_edges = col.numel()
        self.device = self.col.device
        self.degree = self.row_ptr[1:] - self.row_ptr[:-1]
        self.max_degree = int(self.degree.max()) if self.num_rows else 0
        self._written = write_counts(self.row_ptr, self.col)
        self._by_degree: tuple[Tensor, Tensor, Tensor, Tensor] | None = None
        self._edge_rows: Tensor | None = None
        self._pattern: Tensor | None = None

    def __getstate__(self) -> tuple[Tensor, Tensor, int]:
        """What a copy or a pickle is made of; all else, `_written` above all, belongs to the tensors of this graph."""
        return self.row_ptr, self.col, self.num_cols

    def __setstate__(self, state: tuple[Tensor, Tensor, int]) -> None:
        self.__init__(*state)

    @staticmethod
    def _check_pointers(row_ptr: Tensor, num_edges: int) -> None:
        if int(row_ptr[0]) != 0 or int(row_ptr[-1]) != num_edges:
            raise InputError(
                f"row_ptr from {int(row_ptr[0])} to {int(row_ptr[-1])} given with {num_edges} columns; "
                f"it must start at 0 and end at {num_edges}"
            )
        if bool((row_ptr[1:] < row_ptr[:-1]).any()):
            raise InputError(
                "row_ptr decreases somewhere; accepted are pointers that never decrease: sort edges by row"
            )

    def _check_columns(self, col: Tensor) -> None:
        if not col.numel():
            return
        low, high = (int(bound) for bound in torch.aminmax(col))
        if low < 0 or high >= self.num_cols:
            raise InputError(
                f"columns from {low} to {high} given; accepted are 0 to {self.num_cols - 1}: "
                "check the edges or num_cols"
            )

    @classmethod
    def from_sparse(cls, matrix: Tensor) -> CSRGraph:
        """Pattern of a torch sparse CSR matrix; its values are left out.

        Example:
            >>> CSRGraph.from_sparse(torch.eye(3).to_sparse_csr())
            CSRGraph(3 x 3, 3 edges)
        """
        if not isinstance(matrix, Tensor) or matrix.layout != torch.sparse_csr or matrix.dim() != 2:
            given = matrix.layout if isinstance(matrix, Tensor) else type(matrix).__name__
            raise InputError(f"a {given} given; accepted is a 2-dimensional sparse CSR tensor: call .to_sparse_csr()")
        return cls(matrix.crow_indices(), matrix.col_indices(), matrix.shape[1])

    def check_unchanged(self) -> None:
        """Raise InputError when somebody wrote into the index tensors after they were checked."""
        if self._written != write_counts(self.row_ptr, self.col):
            raise InputError(
                "the graph's row_ptr or col was changed in place; make a new CSRGraph from the new indices"
            )

    def by_degree(self) -> tuple[Tensor, Tensor, Tensor]:
        """The same graph, rows by falling degree in groups of 1024: (row_ptr, col, order); order[p] is the row at p.

        The kernels walk it: where rows of equal length follow each other, the processor predicts the end of each row's
        loop. Groups keep the results that are written close together. Made on first use, kept.

        Example:
            >>> CSRGraph(torch.tensor([0, 1, 3]), torch.tensor([1, 0, 1])).by_degree()[2].tolist()
            [1, 0]
        """
        return (self._by_degree or self.by_degree_with_edges())[:3]

    def by_degree_with_edges(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """`by_degree` and, for every edge in the new order, its number in the old one."""
        if self._by_degree is None:
            group = torch.arange(self.num_rows, device=self.device) // _GROUP_ROWS
            order = torch.argsort(group * (self.max_degree + 1) + self.max_degree - self.degree, stable=True)
            degree = self.degree[order]
            row_ptr = torch.cat([degree.new_zeros(1), degree.cumsum(0)])
            edges = torch.repeat_interleave(self.row_ptr[order] - row_ptr[:-1], degree)
            edges = edges + torch.arange(self.num_edges, device=self.device)
            self._by_degree = row_ptr, padded_indices(self.col[edges]), order.to(torch.int32), edges
        return self._by_degree

    @property
    def edge_rows(self) -> Tensor:
        """int64 (|E|,): the row of each edge. Made on first use."""
        if self._edge_rows is None:
            rows = torch.arange(self.num_rows, device=self.device)
            self._edge_rows = torch.repeat_interleave(rows, self.degree)
        return self._edge_rows

    @property
    def pattern(self) -> Tensor:
        """float32 sparse CSR (num_rows, num_cols), every stored value 1. Made on first use.

        Example:
            >>> CSRGraph(torch.tensor([0, 2]), torch.tensor([0, 2]), num_cols=3).pattern.to_dense().tolist()
            [[1.0, 0.0, 1.0]]
        """
        if self._pattern is None:
            ones = torch.ones(self.num_edges, dtype=torch.float32, device=self.device)
            self._pattern = torch.sparse_csr_tensor(self.row_ptr.to(torch.int32), self.col, ones, self.shape)
        return self._pattern

    @property
    def shape(self) -> tuple[int, int]:
        """(num_rows, num_cols)."""
        return self.num_rows, self.num_cols

    def __repr__(self) -> str:
        return f"CSRGraph({self.num_rows} x {self.num_cols}, {self.num_edges} edges)"


def padded_indices(col: Tensor) -> Tensor:
    """A private int32 copy with 32 zeros behind its end: the kernels look at the rows of edges to come."""
    return torch.cat([col.to(torch.int32), col.new_zeros(32, dtype=torch.int32)])[: col.numel()]


def _check_index(name: str, index: Tensor) -> None:
    if not isinstance(index, Tensor) or index.dtype not in _INDEX_DTYPES:
        given = index.dtype if isinstance(index, Tensor) else type(index).__name__
        raise InputError(f"{name} given as {given}; accepted is a torch.int32 or torch.int64 tensor: convert it")
    if index.dim() != 1:
        raise InputError(f"{name} of shape {tuple(index.shape)} given; accepted is one dimension")
