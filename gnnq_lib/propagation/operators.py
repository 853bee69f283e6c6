"""Sparse graph operators, built once per graph: no dense |V| x |V| tensor, no transposes during training.

    A + I      adjacency with self-loops, 0/1                       `GraphOperator.neighbour_sum`
    A_hat      D^-1/2 (A + I) D^-1/2, D the row sums of A + I        `GraphOperator.normalised`
    L          I - A_hat                                             `GraphOperator.laplacian`
    B          normalised incidence, one row per edge, B^T B = L     `GraphOperator.incidence`

A and A_hat are symmetric, so one CSR matrix serves the forward and the backward pass.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from gnnq_lib.errors import InputError


class _Spmm(torch.autograd.Function):
    """M x for sparse M; the gradient is M^T times the incoming one. M^T is handed in (M itself if symmetric)."""

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, transposed: Tensor, x: Tensor) -> Tensor:
        ctx.transposed = transposed
        return matrix @ x

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, None, Tensor]:
        return None, None, ctx.transposed @ grad.contiguous()


class GraphOperator:
    """Operators of one undirected graph.

    Args:
        edge_index: integers, shape (2, |E|); both directions present, self-loops ignored, duplicates merged.
        num_nodes: |V| >= 1.

    Attributes:
        degree: float32 (|V|,), self-loop included, so at least 1 (isolated nodes keep their own value).
        inv_sqrt_degree, inv_degree, sqrt_degree: float32 (|V|, 1).

    Raises:
        InputError: no nodes, not integers, edges out of range, or an edge whose other direction is missing.

    Example:
        >>> path = GraphOperator(torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]), 3)
        >>> path.neighbour_sum(torch.tensor([[1.0], [2.0], [4.0]])).flatten().tolist()
        [3.0, 7.0, 6.0]
    """

    def __init__(self, edge_index: Tensor, num_nodes: int) -> None:
        if num_nodes < 1:
            raise InputError(f"GraphOperator got num_nodes={num_nodes}; a graph has at least 1 node.")
        if edge_index.dim() != 2 or edge_index.shape[0] != 2:
            raise InputError(f"edge_index has shape {tuple(edge_index.shape)}; (2, |E|) is accepted.")
        if edge_index.is_floating_point() or edge_index.is_complex() or edge_index.dtype == torch.bool:
            raise InputError(f"edge_index has dtype {edge_index.dtype}; node numbers must be integers (int64).")
        outside = edge_index[(edge_index < 0) | (edge_index >= num_nodes)]
        if outside.numel():
            raise InputError(f"edge_index holds node {int(outside[0])}; nodes are numbered 0 to {num_nodes - 1}.")
        self.num_nodes = num_nodes
        row, col = _merged_edges(edge_index.long(), num_nodes)
        self._adjacency = _csr(row, col, torch.ones(row.numel(), dtype=torch.float32, device=row.device), num_nodes)
        self.degree = torch.bincount(row, minlength=num_nodes).float()
        self.inv_degree = (1 / self.degree)[:, None]
        self.inv_sqrt_degree = self.degree.rsqrt()[:, None]
        self.sqrt_degree = self.degree.sqrt()[:, None]
        self.row, self.col = row, col

    @property
    def num_entries(self) -> int:
        """Non-zeros of A_hat: both directions and self-loops (the |E| of the SMP constraint)."""
        return self.row.numel()

    @property
    def device(self) -> torch.device:
        """Where the operators live."""
        return self.row.device

    def to(self, device: torch.device | str) -> GraphOperator:
        """The same operators on another device."""
        return (
            self
            if torch.device(device) == self.device
            else GraphOperator(self._edge_index().to(device), self.num_nodes)
        )

    def neighbour_sum(self, x: Tensor) -> Tensor:
        """(A + I) x, shape (|V|, F); exact for integer-valued float32 below 2^24."""
        return _Spmm.apply(self._adjacency, self._adjacency, x)

    def normalised(self, x: Tensor) -> Tensor:
        """A_hat x, shape (|V|, F)."""
        return _Spmm.apply(self._normalised_adjacency, self._normalised_adjacency, x)

    def laplacian(self, x: Tensor) -> Tensor:
        """L x = x - A_hat x, shape (|V|, F)."""
        return x - self.normalised(x)

    @cached_property
    def edge_weight(self) -> Tensor:
        """Entries of A_hat in row order, float32 (num_entries,)."""
        scale = self.inv_sqrt_degree[:, 0]
        return scale[self.row] * scale[self.col]

    @cached_property
    def _normalised_adjacency(self) -> Tensor:
        return _csr(self.row, self.col, self.edge_weight, self.num_nodes)

    @cached_property
    def row_ptr(self) -> Tensor:
        """CSR row pointers of A + I, int32 (|V| + 1,)."""
        return self._adjacency.crow_indices()

    @cached_property
    def incidence(self) -> tuple[Tensor, Tensor]:
        """B (|E|/2, |V|) and B^T, sparse CSR: +d_i^-1/2 at i and -d_j^-1/2 at j for every undirected edge i < j.

        Example:
            >>> pair = GraphOperator(torch.tensor([[0, 1], [1, 0]]), 2)
            >>> b, bt = pair.incidence; (bt @ b.to_dense() - pair.laplacian(torch.eye(2))).abs().max().item() < 1e-6
            True
        """
        above = self.row < self.col
        start, end = self.row[above], self.col[above]
        edge = torch.arange(start.numel(), device=self.device)
        indices = torch.stack([edge.repeat(2), torch.cat([start, end])])
        scale = self.inv_sqrt_degree[:, 0]
        values = torch.cat([scale[start], -scale[end]])
        matrix = torch.sparse_coo_tensor(indices, values, (start.numel(), self.num_nodes)).coalesce()
        return matrix.to_sparse_csr(), matrix.t().coalesce().to_sparse_csr()

    def edge_difference(self, x: Tensor) -> Tensor:
        """B x: d_i^-1/2 x_i - d_j^-1/2 x_j for every undirected edge i < j, (|V|, F) -> (|E|/2, F)."""
        matrix, transposed = self.incidence
        return _Spmm.apply(matrix, transposed, x)

    def edge_divergence(self, z: Tensor) -> Tensor:
        """B^T z: one value per undirected edge, gathered at its two ends, (|E|/2, F) -> (|V|, F)."""
        matrix, transposed = self.incidence
        return _Spmm.apply(transposed, matrix, z)

    def edge_sum(self, messages: Tensor) -> Tensor:
        """Add up one message per entry of A_hat at its row: (num_entries, F) -> (|V|, F)."""
        return messages.new_zeros(self.num_nodes, messages.shape[1]).index_add(0, self.row, messages)

    def without_edges(self, drop_rate: float, generator: torch.Generator | None = None) -> GraphOperator:
        """A copy that keeps each undirected edge with probability 1 - drop_rate (DropEdge)."""
        if not 0 <= drop_rate <= 1:
            raise InputError(f"drop_rate={drop_rate} was given; a probability from 0 to 1 is accepted.")
        above = self.row < self.col
        kept = torch.rand(int(above.sum()), generator=generator) >= drop_rate
        start, end = self.row[above][kept.to(self.device)], self.col[above][kept.to(self.device)]
        return GraphOperator(torch.stack([torch.cat([start, end]), torch.cat([end, start])]), self.num_nodes)

    def _edge_index(self) -> Tensor:
        edges = torch.stack([self.row, self.col])
        return edges[:, self.row != self.col]


def _merged_edges(edge_index: Tensor, num_nodes: int) -> tuple[Tensor, Tensor]:
    """Entries of A + I sorted by row: no duplicates, each self-loop once; refuses one-way edges."""
    row, col = edge_index[:, edge_index[0] != edge_index[1]]
    keys = torch.unique(row * num_nodes + col)
    if not torch.equal(keys, torch.unique(col * num_nodes + row)):
        raise InputError(
            "edge_index has edges in one direction only; give both (i, j) and (j, i), as to_undirected does."
        )
    loops = torch.arange(num_nodes, device=edge_index.device) * (num_nodes + 1)
    keys = torch.cat([keys, loops]).sort().values
    return keys // num_nodes, keys % num_nodes


def _csr(row: Tensor, col: Tensor, values: Tensor, num_nodes: int) -> Tensor:
    counts = torch.bincount(row, minlength=num_nodes)
    row_ptr = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    # 32-bit indices: half the index traffic of 64-bit ones.
    index = torch.int32 if row.numel() < 2**31 else torch.int64
    return torch.sparse_csr_tensor(row_ptr.to(index), col.to(index), values, (num_nodes, num_nodes))
