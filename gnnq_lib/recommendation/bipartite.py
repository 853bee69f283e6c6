"""The user-item graph as LightGCN uses it: A_hat, and the mean of its powers, forward and backward."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gnnq_lib.datasets.interactions import UserItems
from gnnq_lib.errors import InputError
from gnnq_lib.kernels.csr import CSRGraph
from gnnq_lib.kernels.native import large_empty
from gnnq_lib.kernels.neighbour_sum import SparseRows, neighbour_sum, places, values_for

_SPARE = 3  # tables kept for the next call


class BipartiteGraph:
    r"""The training interactions as a graph of users and items; users come first.

    A_hat = D^-1/2 A D^-1/2 without self-loops; rows of isolated nodes are 0 (LightGCN, arXiv 2002.02126, eq. 3 and 8).
    A_hat is symmetric, so the backward pass of every product is the same product.

    Args:
        pairs: training interactions.
        device: where the graph lives.
        products: "fused" for our kernel (`FusedProducts`), "matrix" for PyTorch's (`MatrixProducts`); None: the faster
            one there, "matrix" on CUDA.

    Attributes:
        num_users, num_items, num_nodes: sizes; node num_users + i is item i.
        products: "fused" or "matrix", what is used.
        adjacency: A without weights, neighbours in rising order.
        degree: float32 (|V|,).
        scale: D^-1/2, float32 (|V|,), 0 for isolated nodes.

    Raises:
        InputError: products of another name.

    Example:
        >>> graph = BipartiteGraph(UserItems([0, 1, 1], [0, 0, 1], 2, 2))
        >>> graph.normalised(torch.eye(4))[0].tolist()  # user 0 and item 0: 1 / sqrt(1 * 2)
        [0.0, 0.0, 0.7071067690849304, 0.0]
    """

    def __init__(self, pairs: UserItems, device: torch.device | str = "cpu", products: str | None = None) -> None:
        self.num_users, self.num_items = pairs.num_users, pairs.num_items
        users, items = (torch.as_tensor(part) for part in (pairs.users, pairs.items))
        row = torch.cat([users, items + self.num_users])
        col = torch.cat([items + self.num_users, users])
        order = torch.argsort(row * self.num_nodes + col)
        counts = torch.bincount(row, minlength=self.num_nodes)
        row_ptr = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        self.adjacency = CSRGraph(row_ptr.to(device), col[order].to(device))
        self.degree = counts.float().to(device)
        self.scale = torch.where(self.degree > 0, self.degree.clamp(min=1).rsqrt(), 0.0)
        # On CUDA a step waits for the calls, not for the sums: one product with A_hat itself is the fewest calls.
        self.products = products or ("matrix" if self.degree.is_cuda else "fused")
        self._products = self._made_products()

    def __getstate__(self) -> dict[str, Any]:
        """What a copy or a pickle is made of: not the products, as PyTorch copies no sparse matrix."""
        return {name: part for name, part in vars(self).items() if name != "_products"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._products = self._made_products()

    @property
    def num_nodes(self) -> int:
        """|V|, users and items."""
        return self.num_users + self.num_items

    @property
    def num_entries(self) -> int:
        """Non-zeros of A_hat, twice the interactions."""
        return self.adjacency.num_edges

    @property
    def device(self) -> torch.device:
        """Where the graph lives."""
        return self.adjacency.device

    def is_of(self, pairs: UserItems) -> bool:
        """Whether it is the graph of these interactions, edge by edge.

        Example:
            >>> graph = BipartiteGraph(UserItems([0, 1], [0, 1], 2, 2))
            >>> graph.is_of(UserItems([1, 0], [1, 0], 2, 2)), graph.is_of(UserItems([0, 1], [1, 0], 2, 2))
            (True, False)
        """
        if (self.num_users, self.num_items) != (pairs.num_users, pairs.num_items):
            return False
        row_ptr, items = self._lists()
        return np.array_equal(row_ptr, pairs.row_ptr) and np.array_equal(items, pairs.items)

    def has_any(self, pairs: UserItems) -> bool:
        """Whether an interaction of `pairs`, of as many users and items, is an edge.

        Example:
            >>> graph = BipartiteGraph(UserItems([0, 1], [0, 1], 2, 2))
            >>> graph.has_any(UserItems([0, 1], [1, 1], 2, 2)), graph.has_any(UserItems([0, 1], [1, 0], 2, 2))
            (True, False)
        """
        row_ptr, items = self._lists()
        keys = np.repeat(np.arange(self.num_users), np.diff(row_ptr)) * self.num_items + items
        return bool(np.isin(pairs.keys, keys, assume_unique=True).any())

    def _lists(self) -> tuple[np.ndarray, np.ndarray]:
        """Row pointers and items of the users: every interaction once, in the order that `UserItems` has."""
        row_ptr, items = self.adjacency.row_ptr[: self.num_users + 1], self.adjacency.col[: self.num_entries // 2]
        return row_ptr.cpu().numpy(), items.cpu().numpy() - self.num_users

    def neighbour_sum(self, x: Tensor) -> Tensor:
        """A x, shape (|V|, D), without a gradient: the sparse product everything here is made of."""
        return neighbour_sum(self.adjacency, x.contiguous())

    def normalised(self, x: Tensor) -> Tensor:
        """A_hat x, shape (|V|, D)."""
        return _Symmetric.apply(x, self._products.normalised)

    def mean_of_powers(self, x: Tensor, num_layers: int) -> Tensor:
        """(x + A_hat x + ... + A_hat^L x) / (L + 1), shape (|V|, D)."""
        return _Symmetric.apply(x, lambda y: self._products.mean_of_powers(y, num_layers))

    def rows(self, x: Tensor, num_layers: int, nodes: Tensor) -> tuple[Tensor, Tensor]:
        """Rows of `mean_of_powers(x, num_layers)` and of x at distinct `nodes`, (len(nodes), D) each.

        The same numbers up to rounding, with fewer passes over all nodes: a batch reads and changes few rows, so
        everything that can be done on these alone is.

        Raises:
            InputError: a node that is there twice; its gradient would be that of one of them.
        """
        # Rising, as `Batch` has them: told without sorting.
        if not bool((nodes[1:] > nodes[:-1]).all()) and nodes.unique().numel() < nodes.numel():
            raise InputError(f"{nodes.numel()} nodes given, some of them twice; distinct nodes are accepted")
        return _Rows.apply(x, self._products, num_layers, nodes)

    def powers(self, x: Tensor, num_layers: int) -> list[Tensor]:
        """[x, A_hat x, ..., A_hat^L x]."""
        layers = [x]
        for _ in range(num_layers):
            layers.append(self.normalised(layers[-1]))
        return layers

    def _made_products(self) -> Products:
        kinds = {"fused": FusedProducts, "matrix": MatrixProducts}
        if self.products not in kinds:
            raise InputError(f"products={self.products!r} given; {' and '.join(kinds)} are accepted")
        return kinds[self.products](self.adjacency, self.degree, self.scale)


class Products(Protocol):
    """The products with A_hat that a graph needs, none of them with a gradient of its own."""

    def normalised(self, x: Tensor) -> Tensor:
        """A_hat x."""

    def mean_of_powers(self, x: Tensor, num_layers: int) -> Tensor:
        """(x + A_hat x + ... + A_hat^L x) / (L + 1)."""

    def rows(self, x: Tensor, num_layers: int, nodes: Tensor) -> tuple[Tensor, Tensor]:
        """Rows of `mean_of_powers` and of x at distinct nodes."""

    def rows_backward(self, grad: Tensor, grad_own: Tensor, num_layers: int, nodes: Tensor) -> Tensor:
        """The gradient of x from those of both parts of `rows`: (|V|, D)."""


class MatrixProducts:
    """With A_hat as PyTorch's sparse matrix: few calls, every row every time.

    Args:
        adjacency, degree, scale: of a `BipartiteGraph`.
    """

    def __init__(self, adjacency: CSRGraph, degree: Tensor, scale: Tensor) -> None:
        weights = scale[adjacency.edge_rows] * scale[adjacency.col]
        pattern = adjacency.pattern
        self.matrix = torch.sparse_csr_tensor(pattern.crow_indices(), pattern.col_indices(), weights, pattern.shape)

    def normalised(self, x: Tensor) -> Tensor:
        """See `Products`."""
        return self.matrix @ x

    def mean_of_powers(self, x: Tensor, num_layers: int) -> Tensor:
        """See `Products`."""
        return self._sum_of_powers(x, num_layers) / (num_layers + 1)

    def rows(self, x: Tensor, num_layers: int, nodes: Tensor) -> tuple[Tensor, Tensor]:
        """See `Products`."""
        return F.embedding(nodes, self.mean_of_powers(x, num_layers)), F.embedding(nodes, x)

    def rows_backward(self, grad: Tensor, grad_own: Tensor, num_layers: int, nodes: Tensor) -> Tensor:
        """See `Products`."""
        start = grad.new_zeros(len(self.matrix), grad.shape[1]).index_copy_(0, nodes, grad / (num_layers + 1))
        return self._sum_of_powers(start, num_layers).index_add_(0, nodes, grad_own)

    def _sum_of_powers(self, x: Tensor, num_layers: int) -> Tensor:
        """x + A_hat (x + A_hat (x + ...)), a product per layer (Horner's rule)."""
        total = x
        for _ in range(num_layers):
            total = torch.addmm(x, self.matrix, total)
        return total


class FusedProducts:
    """With our kernel of neighbours' sums, which scales and adds while a row is at hand and leaves out rows.

    Args:
        adjacency, degree, scale: of a `BipartiteGraph`.
    """

    def __init__(self, adjacency: CSRGraph, degree: Tensor, scale: Tensor) -> None:
        self.adjacency, self.degree, self.scale = adjacency, degree, scale
        self._inverse_degree = scale.square()
        self._spare: list[Tensor] = []

    def normalised(self, x: Tensor) -> Tensor:
        """See `Products`."""
        return neighbour_sum(self.adjacency, x, source_scale=self.scale, row_scale=self.scale)

    def mean_of_powers(self, x: Tensor, num_layers: int) -> Tensor:
        """See `Products`.

        Horner's rule, L products and no layer kept, in the scaled space u = D^-1/2 x where A_hat is D^-1 A:
        v <- u + D^-1 A v. Isolated nodes have u = 0 there, so x itself is put in at the end.
        """
        if num_layers == 0:
            return x.clone()
        share = 1 / (num_layers + 1)
        with self._buffers(3, x.shape[1]) as (scaled, *turns):
            total = torch.mul(x, self.scale[:, None], out=scaled)
            for step in range(num_layers - 1):
                total = neighbour_sum(
                    self.adjacency, total, row_scale=self._inverse_degree, added=scaled, out=turns[step % 2]
                )
            return neighbour_sum(self.adjacency, total, row_scale=self.scale * share).add_(x, alpha=share)

    def rows(self, x: Tensor, num_layers: int, nodes: Tensor) -> tuple[Tensor, Tensor]:
        """See `Products`; of every layer the nodes' rows only are kept, and of the last one no others computed."""
        own = F.embedding(nodes, x)
        if num_layers == 0:
            return own.clone(), own
        layer, scales, inner = x, {"source_scale": self.scale, "row_scale": self._inverse_degree}, None
        with self._buffers(2, x.shape[1]) as turns:
            for step in range(num_layers - 1):
                if step:  # of the layer before the last one, the last product adds the nodes' rows
                    kept = F.embedding(nodes, layer)
                    inner = kept if inner is None else inner.add_(kept)
                layer = neighbour_sum(self.adjacency, layer, **scales, out=turns[step % 2])
                scales["source_scale"] = None  # layers are kept as D^-1/2 A_hat^k X, which the next product takes
            added = None if num_layers == 1 else layer
            total = neighbour_sum(self.adjacency, layer, **scales, rows=nodes, added=added)
        if inner is not None:
            total.add_(inner)
        return total.mul_(self.degree[nodes].sqrt()[:, None]).add_(own).div_(num_layers + 1), own

    def rows_backward(self, grad: Tensor, grad_own: Tensor, num_layers: int, nodes: Tensor) -> Tensor:
        """See `Products`; Horner's rule, where what it starts from and adds in every step is zero but at the nodes."""
        share = 1 / (num_layers + 1)
        own, scaled = values_for(grad), values_for(grad)
        torch.add(grad_own, grad, alpha=share, out=own[:-1])
        torch.mul(grad, self.scale[nodes, None], out=scaled[:-1])
        place = places(nodes, self.adjacency.num_rows)
        own, scaled = SparseRows(own, place), SparseRows(scaled, place)
        if num_layers == 0:
            return own.dense()
        total = scaled
        with self._buffers(2, grad.shape[1]) as turns:
            for step in range(num_layers - 1):
                scales = {"row_scale": self._inverse_degree}
                total = neighbour_sum(self.adjacency, total, **scales, added=scaled, out=turns[step % 2])
            return neighbour_sum(self.adjacency, total, row_scale=self.scale * share, added=own)

    @contextmanager
    def _buffers(self, count: int, width: int) -> Iterator[list[Tensor]]:
        """Tables (|V|, width) for what a call forgets at its end; kept for the next one, see `neighbour_sum`'s out."""
        taken = []
        for _ in range(count):
            try:
                buffer = self._spare.pop()  # atomic: two threads never get the same one
            except IndexError:
                buffer = None
            if buffer is None or buffer.shape[1] != width:
                with torch.inference_mode(False):  # what is made under it can't be written to outside
                    buffer = large_empty(len(self.scale), width, self.scale.device)
            taken.append(buffer)
        yield taken
        self._spare.extend(taken[: max(0, _SPARE - len(self._spare))])


class _Symmetric(torch.autograd.Function):
    """A linear map by a symmetric matrix: the gradient goes through the same map."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, apply: Any) -> Tensor:
        ctx.apply_map = apply
        return apply(x.contiguous())

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return ctx.apply_map(grad.contiguous()), None


class _Rows(torch.autograd.Function):
    """Rows of H and X at distinct nodes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, products: Products, num_layers: int, nodes: Tensor) -> tuple[Tensor, Tensor]:
        ctx.products, ctx.num_layers = products, num_layers
        ctx.save_for_backward(nodes)
        return products.rows(x.contiguous(), num_layers, nodes)

    @staticmethod
    def backward(ctx: Any, grad_final: Tensor, grad_own: Tensor) -> tuple[Tensor, None, None, None]:
        (nodes,) = ctx.saved_tensors
        return ctx.products.rows_backward(grad_final, grad_own, ctx.num_layers, nodes), None, None, None
