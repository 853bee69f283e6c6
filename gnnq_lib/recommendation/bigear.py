"""BiGeaR: one bit per value and layer, with the ranking of a full-precision teacher distilled layer by layer."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gnnq_lib.checks import check_number, check_whole
from gnnq_lib.recommendation.bipartite import BipartiteGraph
from gnnq_lib.recommendation.lightgcn import Batch, Recommender, bpr, row_penalty
from gnnq_lib.recommendation.ranking import check_k, top_items


class Bigear(Recommender):
    r"""BiGeaR (arXiv 2206.02115; baselines fact sheet, section 2) on LightGCN's layers.

        V^l = A_hat^l V^0,   Q^l = mean|V^l| * sign(V^l) per node,   score(u, i) = sum_l w_l^2 <Q^l_u, Q^l_i>

    with w_l = (l + 1) / (L + 1), l = 0 ... L: layers are concatenated. What is stored is a sign per value and a number
    per node for every layer: (L + 1)(D + 32) bits per node, and nothing is propagated when serving. Sign passes back
    the gradient of a smooth step, 2 / sqrt(pi) * exp(-x^2). Distillation adds, per layer, -log sigmoid of the student's
    scores for the teacher's `top` best items of that layer, with weight exp(-rank / 10).

    Args:
        graph: of the training interactions.
        start: the teacher's X, float (|V|, D).
        num_layers: L (paper's settings: 2).
        distillation: weight of the distillation; 0: none, and no teacher ranking is made.
        top: items per user and layer to distil (paper's settings: 100; at most the catalogue).
        users_per_step: users of a batch that are distilled, the first ones; bounds the cost of a step.

    Raises:
        InputError: distillation below 0, top or users_per_step below 1, a start that does not fit.

    Example:
        >>> from gnnq_lib.datasets.interactions import UserItems
        >>> model = Bigear(BipartiteGraph(UserItems([0], [0], 1, 1)), torch.tensor([[1.0, -3.0], [2.0, 2.0]]), 0)
        >>> model().tolist()
        [[2.0, -2.0], [2.0, 2.0]]
    """

    def __init__(
        self,
        graph: BipartiteGraph,
        start: Tensor,
        num_layers: int = 2,
        distillation: float = 1.0,
        top: int = 100,
        users_per_step: int = 256,
    ) -> None:
        super().__init__(graph, num_layers)
        start = self.checked_start(start)
        self.distillation = check_number("distillation", distillation)
        self.top, self.users_per_step = check_whole("top", top, 1), check_whole("users_per_step", users_per_step, 1)
        self.latent = nn.Parameter(start.clone())
        self.weights = [(layer + 1) / (num_layers + 1) for layer in range(num_layers + 1)]
        wanted = teacher_ranking(graph, start, num_layers, min(top, graph.num_items)) if distillation else None
        self.register_buffer("wanted", wanted, persistent=False)

    def table(self) -> Tensor:
        """V^0, the latent table."""
        return self.latent

    def settings(self) -> dict[str, object]:
        """See `Recommender.settings`."""
        own = {name: getattr(self, name) for name in ("distillation", "top", "users_per_step")}
        return super().settings() | own

    def layers(self) -> list[Tensor]:
        """w_l Q^l for l = 0 ... L, (|V|, D) each."""
        layers = self.graph.powers(self.latent, self.num_layers)
        return [weight * binarised(layer) for weight, layer in zip(self.weights, layers, strict=True)]

    def forward(self) -> Tensor:
        """The concatenated layers, (|V|, (L + 1) D)."""
        return torch.cat(self.layers(), dim=1)

    def loss(self, users: Tensor, positives: Tensor, negatives: Tensor, l2: float) -> Tensor:
        """BPR on the binarised scores, the L2 penalty on V^0, and the distillation."""
        layers = self.layers()
        batch = Batch.of(users, positives, negatives, self.graph.num_users)
        rows = torch.cat([F.embedding(batch.nodes, layer) for layer in layers], dim=1)
        loss = bpr(rows, batch) + row_penalty(F.embedding(batch.nodes, self.latent), batch, l2)
        return loss + self.distillation * self._distance(layers, users) if self.distillation else loss

    def num_bytes(self, level_bits: int = 32) -> float:
        """Bytes stored: (L + 1)(D + level_bits) bits per node."""
        return len(self.weights) * self.latent.shape[0] * (self.latent.shape[1] + level_bits) / 8

    def _distance(self, layers: list[Tensor], users: Tensor) -> Tensor:
        users = users[: self.users_per_step]
        decay = torch.exp(-torch.arange(self.wanted.shape[2], device=users.device) / 10)
        total = users.new_zeros((), dtype=torch.float32)
        for layer, wanted in zip(layers, self.wanted, strict=True):
            items = F.embedding(wanted[users].long() + self.graph.num_users, layer)
            scores = torch.einsum("ud,ukd->uk", F.embedding(users, layer), items)
            total = total + (F.softplus(-scores) * decay).sum(dim=1).mean() / decay.sum()
        return total


@torch.no_grad()
def teacher_ranking(graph: BipartiteGraph, table: Tensor, num_layers: int, top: int) -> Tensor:
    """The `top` best items of every user by the inner products of each layer: int32 (L + 1, num_users, top)."""
    check_k(top, graph.num_items)
    users = torch.arange(graph.num_users, device=table.device)
    layers = graph.powers(table, num_layers)
    ranked = [top_items(x[: graph.num_users], x[graph.num_users :], [], users, top).int() for x in layers]
    return torch.stack(ranked)


def binarised(x: Tensor) -> Tensor:
    """mean|x| * sign(x) per row, with sign's smooth gradient; zeros count as positive.

    Example:
        >>> binarised(torch.tensor([[1.0, -3.0, 2.0]])).tolist()
        [[2.0, -2.0, 2.0]]
    """
    return x.abs().mean(dim=1, keepdim=True) * SmoothSign.apply(x)


class SmoothSign(torch.autograd.Function):
    """Sign (0 counts as positive) with the gradient 2 / sqrt(pi) * exp(-x^2).

    Example:
        >>> x = torch.zeros(1, requires_grad=True)
        >>> SmoothSign.apply(x).backward(); round(x.grad.item(), 4)
        1.1284
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return torch.where(x >= 0, 1.0, -1.0)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return grad * torch.exp(-x.square()) * (2 / math.sqrt(math.pi))
