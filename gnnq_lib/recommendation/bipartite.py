"""The user-item graph as LightGCN uses it: A_hat, and the mean of its powers, forward and backward."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gnnq_lib.datasets.interactions import UserItems


class BipartiteGraph:
    r"""The training interactions as a graph of users and items; users come first.

    A_hat = D^-1/2 A D^-1/2 without self-loops; rows of isolated nodes are 0 (LightGCN, arXiv 2002.02126, eq. 3 and 8).
    A_hat is symmetric, so the backward pass of every product is the same product.

    Args:
        pairs: training interactions.
        device: where the graph lives.

    Attributes:
        num_users, num_items, num_nodes: sizes; node num_users + i is item i.
        row_ptr, col: CSR of A without weights, int32, rows sorted; `row_ptr` (|V| + 1,), `col` (|E|,).
        degree: float32 (|V|, 1).
        scale: D^-1/2, float32 (|V|, 1), 0 for isolated nodes.

    Example:
        >>> graph = BipartiteGraph(UserItems([0, 1, 1], [0, 0, 1], 2, 2))
        >>> graph.normalised(torch.eye(4))[0].tolist()  # user 0 and item 0: 1 / sqrt(1 * 2)
        [0.0, 0.0, 0.7071067690849304, 0.0]
    """

    def __init__(self, pairs: UserItems, device: torch.device | str = "cpu") -> None:
        self.num_users, self.num_items = pairs.num_users, pairs.num_items
        users, items = (torch.as_tensor(part) for part in (pairs.users, pairs.items))
        row = torch.cat([users, items + self.num_users])
        col = torch.cat([items + self.num_users, users])
        order = torch.argsort(row * self.num_nodes + col)
        counts = torch.bincount(row, minlength=self.num_nodes)
        self.row_ptr = torch.cat([counts.new_zeros(1), counts.cumsum(0)]).int().to(device)
        self.col = col[order].int().to(device)
        self.degree = counts.float()[:, None].to(device)
        self.scale = torch.where(self.degree > 0, self.degree.clamp(min=1).rsqrt(), 0.0)
        self._inverse_degree = self.scale.square()

    @property
    def num_nodes(self) -> int:
        """|V|, users and items."""
        return self.num_users + self.num_items

    @property
    def num_entries(self) -> int:
        """Non-zeros of A_hat, twice the interactions."""
        return self.col.numel()

    @property
    def device(self) -> torch.device:
        """Where the graph lives."""
        return self.col.device

    def neighbour_sum(self, x: Tensor) -> Tensor:
        """A x, shape (|V|, D), without a gradient: the sparse product everything here is made of.

        Unweighted bags take about 0.4 times as long as a product with a weighted CSR matrix (Gowalla, D = 64, 2 cores,
        `gnnq bench training --case lightgcn`); the weights of A_hat go into the rows before and after.
        """
        return F.embedding_bag(self.col, x, self.row_ptr, mode="sum", include_last_offset=True)

    def normalised(self, x: Tensor) -> Tensor:
        """A_hat x, shape (|V|, D)."""
        return _Symmetric.apply(x, lambda y: self.neighbour_sum(y * self.scale).mul_(self.scale))

    def mean_of_powers(self, x: Tensor, num_layers: int) -> Tensor:
        """(x + A_hat x + ... + A_hat^L x) / (L + 1), shape (|V|, D)."""
        return _Symmetric.apply(x, lambda y: self._mean_of_powers(y, num_layers))

    def rows(self, x: Tensor, num_layers: int, nodes: Tensor) -> tuple[Tensor, Tensor]:
        """Rows of `mean_of_powers(x, num_layers)` and of x at distinct `nodes`, (len(nodes), D) each.

        The same numbers up to rounding, with fewer passes over all nodes: a batch reads and changes few rows, so
        everything that can be done on these alone is.
        """
        return _Rows.apply(x, self, num_layers, nodes)

    def powers(self, x: Tensor, num_layers: int) -> list[Tensor]:
        """[x, A_hat x, ..., A_hat^L x]."""
        layers = [x]
        for _ in range(num_layers):
            layers.append(self.normalised(layers[-1]))
        return layers

    def _mean_of_powers(self, x: Tensor, num_layers: int) -> Tensor:
        # Horner's rule, L products and no layer kept, in the scaled space u = D^-1/2 x where A_hat is D^-1 A:
        # v <- u + D^-1 A v. Isolated nodes have u = 0 there, so x itself is put in at the end.
        # In-place products and sums: with a broadcast factor they are faster than addcmul.
        if num_layers == 0:
            return x.clone()
        scaled = x * self.scale
        total = scaled
        for _ in range(num_layers - 1):
            total = self.neighbour_sum(total).mul_(self._inverse_degree).add_(scaled)
        share = 1 / (num_layers + 1)
        return self.neighbour_sum(total).mul_(self.scale * share).add_(x, alpha=share)


class _Symmetric(torch.autograd.Function):
    """A linear map by a symmetric matrix: the gradient goes through the same map."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, apply: Any) -> Tensor:
        ctx.apply_map = apply
        return apply(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return ctx.apply_map(grad.contiguous()), None


class _Rows(torch.autograd.Function):
    """Rows of H and X at distinct nodes.

    Forward keeps, of every layer, the batch's rows only. Backward is Horner's rule for the transposed map, which is the
    same map; what it adds in every step, the gradient, is zero outside the batch's rows.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, graph: BipartiteGraph, num_layers: int, nodes: Tensor) -> tuple[Tensor, Tensor]:
        ctx.graph, ctx.num_layers = graph, num_layers
        ctx.save_for_backward(nodes)
        own = F.embedding(nodes, x)
        if num_layers == 0:
            return own, own.clone()
        layer, inner = x * graph.scale, torch.zeros_like(own)
        for _ in range(num_layers - 1):
            layer = graph.neighbour_sum(layer).mul_(graph._inverse_degree)
            inner += F.embedding(nodes, layer)
        outer = F.embedding(nodes, graph.neighbour_sum(layer))
        total = own + inner * graph.degree[nodes].sqrt() + outer * graph.scale[nodes]
        return total.div_(num_layers + 1), own

    @staticmethod
    def backward(ctx: Any, grad_final: Tensor, grad_own: Tensor) -> tuple[Tensor, None, None, None]:
        (nodes,) = ctx.saved_tensors
        graph, layers = ctx.graph, ctx.num_layers
        share = 1 / (layers + 1)
        total = torch.zeros(graph.num_nodes, grad_final.shape[1], device=grad_final.device)
        if layers:
            scaled = grad_final * graph.scale[nodes]
            _add_rows(total, nodes, scaled)
            for _ in range(layers - 1):
                total = graph.neighbour_sum(total).mul_(graph._inverse_degree)
                _add_rows(total, nodes, scaled)
            total = graph.neighbour_sum(total).mul_(graph.scale * share)
        _add_rows(total, nodes, grad_final * share + grad_own)
        return total, None, None, None


def _add_rows(total: Tensor, nodes: Tensor, rows: Tensor) -> None:
    """total[nodes] += rows for distinct nodes, in place; on a CPU faster than index_add_."""
    total.index_copy_(0, nodes, F.embedding(nodes, total) + rows)
