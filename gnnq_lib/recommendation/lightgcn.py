"""LightGCN: one embedding per user and item, propagated over the graph of interactions, trained with BPR."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gnnq_lib.checks import check_whole
from gnnq_lib.errors import InputError
from gnnq_lib.files import sha256_bytes
from gnnq_lib.kernels.native import large_empty
from gnnq_lib.kernels.score_difference import score_difference, score_difference_backward
from gnnq_lib.recommendation.bipartite import BipartiteGraph

LARGEST_DIM = 4096


class Recommender(nn.Module):
    r"""What LightGCN and every low-bit form of it share: a table X is propagated and ranked by inner products.

        H = (X + A_hat X + ... + A_hat^L X) / (L + 1),   score(u, i) = <H_u, H_i>       (arXiv 2002.02126, eq. 7, 8)

    Subclasses say what X is (`table`), and may change the loss, the parameters' learning rates, or do something after
    every step of the optimizer.

    Args:
        graph: of the training interactions.
        num_layers: L, 0 to 16.

    Raises:
        InputError: num_layers out of range.
    """

    def __init__(self, graph: BipartiteGraph, num_layers: int = 3) -> None:
        super().__init__()
        self.graph, self.num_layers = graph, check_whole("num_layers", num_layers, 0, 16)
        self._start: str | None = None

    def table(self) -> Tensor:
        """X, float32 (|V|, D), users first."""
        raise NotImplementedError

    def forward(self) -> Tensor:
        """H, float32 (|V|, D)."""
        return self.graph.mean_of_powers(self.table(), self.num_layers)

    def score_tables(self) -> tuple[Tensor, Tensor]:
        """(num_users, D) and (num_items, D), whose inner products are the scores."""
        final = self()
        return final[: self.graph.num_users], final[self.graph.num_users :]

    def loss(self, users: Tensor, positives: Tensor, negatives: Tensor, l2: float) -> Tensor:
        """BPR of a batch plus the L2 penalty of the batch's rows of X (arXiv 2002.02126, eq. 15).

            mean softplus(score(u, j) - score(u, i)) + l2 / 2 * (|x_u|^2 + |x_i|^2 + |x_j|^2) / batch

        Args:
            users, positives, negatives: int64 (batch,), items counted from 0.
            l2: weight of the penalty.
        """
        batch = Batch.of(users, positives, negatives, self.graph.num_users)
        final, own = self.graph.rows(self.table(), self.num_layers, batch.nodes)
        return bpr(final, batch) + row_penalty(own, batch, l2)

    def settings(self) -> dict[str, object]:
        """What shapes training besides the data and the parameters' shapes; part of a checkpoint's fingerprint."""
        return {"model": type(self).__name__, "num_layers": self.num_layers, "start": self._start}

    def checked_start(self, table: Tensor, dim: int | None = None) -> Tensor:
        """The table that training starts from, by `check_teacher`; `settings` knows it from then on."""
        table = check_teacher(table, self.graph, dim)
        self._start = sha256_bytes(table.cpu().contiguous().numpy().tobytes())
        return table

    def parameter_groups(self, lr: float) -> list[dict]:
        """Groups for the optimizer; one, with `lr`, unless a subclass says otherwise."""
        return [{"params": list(self.parameters()), "lr": lr}]

    def after_step(self) -> None:
        """Called after every step of the optimizer; does nothing here."""


class Batch(NamedTuple):
    """A batch by its distinct nodes.

    Attributes:
        nodes: int64 (n,), distinct; items come after users.
        places: int64 (3 * batch,): where in `nodes` the users, then the positives, then the negatives are.
        counts: int64 (n,): how often each node is in the batch.

    Example:
        >>> batch = Batch.of(torch.tensor([1, 1]), torch.tensor([0, 2]), torch.tensor([1, 1]), num_users=5)
        >>> batch.nodes.tolist(), batch.places.tolist(), batch.counts.tolist()
        ([1, 5, 6, 7], [0, 0, 1, 3, 2, 2], [2, 1, 2, 1])
    """

    nodes: Tensor
    places: Tensor
    counts: Tensor

    @classmethod
    def of(cls, users: Tensor, positives: Tensor, negatives: Tensor, num_users: int) -> Batch:
        """From users and items, int64 (batch,) each, items counted from 0."""
        ends = torch.cat([users, positives + num_users, negatives + num_users])
        # What unique() does, by marks instead of sorting: a fifth of its time.
        present = ends.new_zeros(int(ends.max()) + 1 if ends.numel() else 0).index_fill_(0, ends, 1)
        places = (present.cumsum(0) - 1)[ends]
        return cls(present.nonzero().flatten(), places, torch.bincount(places))


def bpr(rows: Tensor, batch: Batch, bias: Tensor | None = None) -> Tensor:
    """Mean of softplus(score(u, j) - score(u, i)), score(u, i) = <h_u, h_i> + bias_i.

    Args:
        rows: float32 (n, D): rows of H at batch.nodes.
        batch: who is compared with whom.
        bias: (n,), a number per row of the batch's nodes; None: without.

    Example:
        >>> batch = Batch.of(torch.tensor([0]), torch.tensor([0]), torch.tensor([1]), num_users=1)
        >>> round(bpr(torch.tensor([[1.0], [2.0], [2.0]]), batch).item(), 4)  # no difference: log 2
        0.6931
    """
    return F.softplus(score_differences(rows, batch.places, bias)).mean()


def score_differences(rows: Tensor, places: Tensor, bias: Tensor | None = None) -> Tensor:
    """score(u, j) - score(u, i), (batch,), for the rows at `places`: users, then items i, then items j.

    Args:
        rows: float32 (n, D): rows of H.
        places: int64 (3 * batch,), in 0 to n - 1.
        bias: (n,), a number per row; None: without.

    Raises:
        InputError: rows or places of another dtype or shape, or a place out of range.

    Example:
        >>> score_differences(torch.tensor([[2.0], [1.0], [4.0]]), torch.tensor([0, 1, 2])).tolist()
        [6.0]
    """
    difference = _ScoreDifference.apply(rows.contiguous(), places)
    if bias is None:
        return difference
    _, first, second = places.chunk(3)
    return difference + bias[second] - bias[first]


class _ScoreDifference(torch.autograd.Function):
    """`score_difference` with its gradient."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, places: Tensor) -> Tensor:
        ctx.save_for_backward(rows, places)
        return score_difference(rows, places)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return score_difference_backward(*ctx.saved_tensors, grad.contiguous()), None


def row_penalty(rows: Tensor, batch: Batch, l2: float) -> Tensor:
    """l2 / 2 times the squared norm of the batch's rows of X, per triplet; 0 without looking at them where l2 is 0.

    Args:
        rows: (n, D): rows of X at batch.nodes.
        batch: how often each counts.
        l2: weight.

    Example:
        >>> batch = Batch.of(torch.tensor([0]), torch.tensor([0]), torch.tensor([0]), num_users=1)
        >>> row_penalty(torch.tensor([[2.0], [1.0]]), batch, l2=0.5).item()
        1.5
    """
    if not l2:
        return rows.new_zeros(())
    return 1.5 * l2 / batch.places.numel() * _SquaredNorm.apply(rows, batch.counts)


class _SquaredNorm(torch.autograd.Function):
    """Sum of |row|^2 times its count; autograd's own gradient of it passes over all rows three times."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, counts: Tensor) -> Tensor:
        ctx.save_for_backward(rows, counts)
        return (torch.linalg.vecdot(rows, rows) * counts).sum()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        rows, counts = ctx.saved_tensors
        return rows * (2 * grad * counts)[:, None], None


class LightGCN(Recommender):
    """LightGCN in full precision: X is the parameter.

    Args:
        graph: of the training interactions.
        dim: D, 1 to 4096.
        num_layers: L.
        seed: of the initial table, N(0, 0.1).
        table: start from this table instead; copied.

    Raises:
        InputError: dim out of range; a table of another shape or with NaN.

    Example:
        >>> from gnnq_lib.datasets.interactions import UserItems
        >>> LightGCN(BipartiteGraph(UserItems([0], [0], 1, 2)), dim=4)().shape
        torch.Size([3, 4])
    """

    def __init__(
        self, graph: BipartiteGraph, dim: int = 64, num_layers: int = 3, seed: int = 0, table: Tensor | None = None
    ) -> None:
        super().__init__(graph, num_layers)
        if table is None:
            table, self._start = initial_table(graph, dim, seed), f"random, seed {seed}"
        else:
            table = self.checked_start(table, dim)
        self.embedding = nn.Parameter(large_empty(*table.shape, table.device).copy_(table))

    def table(self) -> Tensor:
        """X, the parameter."""
        return self.embedding


def initial_table(graph: BipartiteGraph, dim: int, seed: int) -> Tensor:
    """N(0, 0.1), float32 (|V|, dim); drawn on the CPU, so that all devices start alike.

    Raises:
        InputError: dim out of range.
    """
    check_dim(dim)
    generator = torch.Generator("cpu").manual_seed(seed)
    shape = (graph.num_nodes, dim)
    return (0.1 * torch.randn(shape, generator=generator, dtype=torch.float32, device="cpu")).to(graph.device)


def check_dim(dim: int) -> int:
    """Return `dim` if it is a whole number from 1 to 4096, else raise InputError.

    Example:
        >>> check_dim(64)
        64
    """
    return check_whole("dim", dim, 1, LARGEST_DIM)


def check_teacher(table: Tensor, graph: BipartiteGraph, dim: int | None = None) -> Tensor:
    """Return the table, float32 on the graph's device, if it fits the graph and is finite, else raise InputError.

    Args:
        table: (|V|, D), users first.
        graph: of the training interactions.
        dim: D, if it is fixed.
    """
    if not isinstance(table, Tensor) or not table.is_floating_point() or table.dim() != 2:
        given = f"{table.dtype} of shape {tuple(table.shape)}" if isinstance(table, Tensor) else type(table).__name__
        raise InputError(f"a teacher table given as {given}; a float tensor (users + items, D) is accepted")
    if table.shape[0] != graph.num_nodes or (dim is not None and table.shape[1] != dim):
        wanted = f"({graph.num_nodes}, {'D' if dim is None else dim})"
        raise InputError(f"a teacher table of shape {tuple(table.shape)} given; {wanted} is needed: users, then items")
    check_dim(table.shape[1])
    if not torch.isfinite(table).all():
        raise InputError("the teacher table holds NaN or infinite values; train the teacher with a smaller rate")
    return table.detach().to(graph.device, torch.float32)
