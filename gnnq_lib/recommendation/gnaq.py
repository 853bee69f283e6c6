"""GNAQ: a few levels per node instead of an embedding (paper B), as released and in a form that does not collapse.

The paper's equations could not be obtained. What `GnaqAsReleased` does is what the released code does (GNAQ fact sheet,
section 3). `Gnaq` is our design from three phrases of the abstract:

1. "intervals initialised from the feature distribution of each node": every node has 2^b levels of its own, fitted to
   its D values.
2. "refined through message passing in the GNN layers": the codes are those of a latent table. Latent table and levels
   are first moved so that the *propagated* low-bit table comes close to the propagated teacher: they minimise
   |P (X - E)|^2, P = (I + A_hat + ... + A_hat^L) / (L + 1). An error that the neighbours' errors cancel costs nothing.
3. "graph relation-aware gradient estimation instead of a straight-through estimator": the levels have an exact
   gradient; the latent table has that of X, mixed with its average over the neighbours, A_hat dL/dX.

Which of these help is measured, not assumed: `gnnq run rec_ablations`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gnnq_lib.errors import InputError
from gnnq_lib.recommendation.bipartite import BipartiteGraph
from gnnq_lib.recommendation.levels import (
    LevelLookup,
    LevelTable,
    Placement,
    check_table_bits,
    fitted_levels,
    look_up,
    nearest_codes,
    range_codes,
    range_levels,
)
from gnnq_lib.recommendation.lightgcn import Recommender, bpr, check_teacher, row_penalty

GRADIENTS = ("graph", "straight_through", "levels")


class LowBitRecommender(Recommender):
    """A recommender whose X is a table of codes and levels."""

    def low_bit_table(self) -> LevelTable:
        """X as codes and levels: what is stored."""
        raise NotImplementedError

    def item_bias(self) -> Tensor | None:
        """A number per item added to its scores, float32 (num_items,), or None."""
        return None

    def score_tables(self) -> tuple[Tensor, Tensor]:
        """Tables whose inner products are the scores; an item bias is one more column."""
        users, items = super().score_tables()
        bias = self.item_bias()
        if bias is None:
            return users, items
        return torch.cat([users, users.new_ones(len(users), 1)], dim=1), torch.cat([items, bias[:, None]], dim=1)


@dataclass(frozen=True)
class GnaqOptions:
    """The design's switches; each can be turned off by itself (ablations of the fourth issue, section 2).

    Attributes:
        bits: 1 to 4.
        node_aware: first levels from each node's own values; else the same first levels for all nodes.
        placement: first levels by Lloyd's rule, or "midpoints" or "released" places in the range.
        refine_steps: steps of the refinement through message passing; 0: none.
        refine_rate: learning rate of the refinement, in units of the teacher's standard deviation.
        gradient: "graph"; "straight_through": without the neighbours' part; "levels": codes stay, only levels learn.
        neighbour_share: of the neighbours' part in "graph", 0 to 1.
        level_rate: the levels' learning rate, as a multiple of the latent table's.
        update_every: steps between renewals of the codes.
        anchor: weight of |H - H_teacher|^2 (relative) on the batch's nodes; 0: not used.
        tanh: X = tanh(levels), as released.
        linear_head: a learned number per item is added to its scores, as released (here from 0).

    Raises:
        InputError: a value out of range.
    """

    bits: int = 2
    node_aware: bool = True
    placement: Placement = "lloyd"
    refine_steps: int = 100
    refine_rate: float = 0.05
    gradient: Literal["graph", "straight_through", "levels"] = "graph"
    neighbour_share: float = 0.5
    level_rate: float = 1.0
    update_every: int = 1
    anchor: float = 0.0
    tanh: bool = False
    linear_head: bool = False

    def __post_init__(self) -> None:
        check_table_bits(self.bits)
        if self.gradient not in GRADIENTS:
            raise InputError(f"gradient {self.gradient!r} given; {', '.join(GRADIENTS)} are accepted")
        if not 0 <= self.neighbour_share <= 1:
            raise InputError(f"neighbour_share={self.neighbour_share} given; a number from 0 to 1 is accepted")
        if self.refine_steps < 0 or self.update_every < 1 or min(self.level_rate, self.refine_rate, self.anchor) < 0:
            raise InputError(
                f"refine_steps={self.refine_steps}, update_every={self.update_every}, level_rate={self.level_rate}, "
                f"refine_rate={self.refine_rate}, anchor={self.anchor} given; accepted are numbers from 0, "
                "and update_every from 1"
            )


class Gnaq(LowBitRecommender):
    """The default form of GNAQ: per-node levels, codes of a latent table, refined and trained through the graph.

    The latent table exists in training only; codes and levels are what is stored.

    Args:
        graph: of the training interactions.
        start: the teacher's X, float (|V|, D), or any first table for training from scratch.
        options: the switches.
        num_layers: L.
        say: takes a line about the refinement.

    Raises:
        InputError: a start of another shape or with NaN.

    Example:
        >>> from gnnq_lib.datasets.interactions import UserItems
        >>> graph = BipartiteGraph(UserItems([0, 1], [0, 1], 2, 2))
        >>> Gnaq(graph, torch.randn(4, 8)).low_bit_table().codes.shape
        torch.Size([4, 8])
    """

    def __init__(
        self,
        graph: BipartiteGraph,
        start: Tensor,
        options: GnaqOptions = GnaqOptions(),
        num_layers: int = 3,
        say: Callable[[str], object] | None = None,
    ) -> None:
        super().__init__(graph, num_layers)
        start = check_teacher(start, graph)
        self.options = options
        levels = fitted_levels(start, options.bits, options.placement, per_node=options.node_aware)
        self.latent = nn.Parameter(start.clone(), requires_grad=options.gradient != "levels")
        self.levels = nn.Parameter(levels.expand(graph.num_nodes, -1).clone())
        self.bias = nn.Parameter(start.new_zeros(graph.num_items)) if options.linear_head else None
        self.register_buffer("codes", nearest_codes(start, self.levels.detach()))
        target = graph.mean_of_powers(start, num_layers) if options.anchor else None
        self.register_buffer("target", target, persistent=False)
        self._steps = 0
        if options.refine_steps:
            refine(self, start, say)

    def table(self) -> Tensor:
        """X: the levels at the codes."""
        levels = torch.tanh(self.levels) if self.options.tanh else self.levels
        latent = self.latent
        if self.options.gradient == "graph" and self.options.neighbour_share and self.training:
            latent = MixWithNeighbours.apply(latent, self.graph, self.options.neighbour_share)
        return LevelLookup.apply(latent, levels, self.codes, 1.0)

    def low_bit_table(self) -> LevelTable:
        """Codes and levels as they are used."""
        levels = self.levels.detach()
        return LevelTable(self.codes.clone(), torch.tanh(levels) if self.options.tanh else levels.clone())

    def item_bias(self) -> Tensor | None:
        """The linear head's number per item, if there is a head."""
        return self.bias

    def loss(self, users: Tensor, positives: Tensor, negatives: Tensor, l2: float) -> Tensor:
        """BPR with the L2 penalty on X; with an anchor, also the distance from the teacher's H on the batch's nodes."""
        table = self.table()
        nodes = self.batch_nodes(users, positives, negatives)
        rows = F.embedding(nodes, self.graph.mean_of_powers(table, self.num_layers))
        loss = bpr(with_bias(rows, positives, negatives, self.bias)) + row_penalty(table, nodes, l2)
        if self.target is not None:
            target = F.embedding(nodes, self.target)
            loss = loss + self.options.anchor * (rows - target).square().sum() / target.square().sum()
        return loss

    def parameter_groups(self, lr: float) -> list[dict]:
        """The latent table and the head at `lr`, the levels at level_rate times that."""
        groups = [{"params": [self.levels], "lr": lr * self.options.level_rate}]
        others = [part for part in (self.latent, self.bias) if part is not None and part.requires_grad]
        return groups + ([{"params": others, "lr": lr}] if others else [])

    @torch.no_grad()
    def after_step(self) -> None:
        """Keep each node's levels in order and, every `update_every` steps, renew the codes."""
        if bool((self.levels[:, 1:] < self.levels[:, :-1]).any()):
            self.levels.copy_(self.levels.sort(dim=1).values)
        self._steps += 1
        if self.options.gradient != "levels" and self._steps % self.options.update_every == 0:
            self.codes.copy_(nearest_codes(self.latent, self.levels))


def refine(model: Gnaq, teacher: Tensor, say: Callable[[str], object] | None = None) -> list[float]:
    """Move levels and latent table so that the propagated low-bit table comes close to the propagated teacher.

    Minimises |P (X - E)|^2 / |P E|^2 by Adam, without looking at a single interaction besides the graph itself. The
    step with the smallest error is kept, so the propagated error never ends above where it started.

    Args:
        model: changed in place.
        teacher: E.
        say: takes a line with the error before and after.

    Returns:
        The relative error at every step.
    """
    options, graph = model.options, model.graph
    scale = float(teacher.std(correction=0).clamp(min=1e-12))
    norm = graph.mean_of_powers(teacher, model.num_layers).square().sum().clamp(min=1e-30)
    optimizer = torch.optim.Adam(model.parameter_groups(options.refine_rate * scale), fused=True)
    errors: list[float] = []
    best = None
    for step in range(options.refine_steps + 1):
        error = graph.mean_of_powers(model.table() - teacher, model.num_layers).square().sum() / norm
        errors.append(float(error.detach()))
        if best is None or errors[-1] < min(errors[:-1]):
            best = {name: part.detach().clone() for name, part in model.state_dict().items()}
        if step == options.refine_steps:
            break
        optimizer.zero_grad(set_to_none=True)
        error.backward()
        optimizer.step()
        model.after_step()
    model.load_state_dict(best)
    model.zero_grad(set_to_none=True)
    model._steps = 0
    if say:
        say(f"refined: relative error of the propagated table {errors[0] ** 0.5:.3f} -> {min(errors) ** 0.5:.3f}")
    return errors


def with_bias(rows: Tensor, positives: Tensor, negatives: Tensor, bias: Tensor | None) -> Tensor:
    """Rows of a batch with the items' bias as one more column (1 for users); the rows themselves without a bias."""
    if bias is None:
        return rows
    column = torch.cat([bias.new_ones(positives.numel()), bias[positives], bias[negatives]])
    return torch.cat([rows, column[:, None]], dim=1)


class MixWithNeighbours(torch.autograd.Function):
    """Identity whose gradient is (1 - share) g + share A_hat g: neighbours' gradients move a node's latent values too.

    Example:
        >>> from gnnq_lib.datasets.interactions import UserItems
        >>> x = torch.zeros(2, 1, requires_grad=True)
        >>> graph = BipartiteGraph(UserItems([0], [0], 1, 1))
        >>> (MixWithNeighbours.apply(x, graph, 0.25) * torch.tensor([[4.0], [0.0]])).sum().backward()
        >>> x.grad.tolist()
        [[3.0], [1.0]]
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, graph: BipartiteGraph, share: float) -> Tensor:
        ctx.graph, ctx.share = graph, share
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return torch.lerp(grad, ctx.graph.normalised(grad), ctx.share), None, None


class GnaqAsReleased(LowBitRecommender):
    """What the released code does (GNAQ fact sheet, section 3), its in-place fault (5.1) put right.

    X = tanh(levels at the codes); only levels (and the linear head) learn. After every `update_every`-th step each code
    becomes the quarter of its node's range [min H, max H] that the *propagated* value H lies in. That iteration smooths
    the table at every step: H is an average over neighbours.

    Args:
        graph: of the training interactions.
        start: the teacher's X, float (|V|, D).
        bits: 1 to 4 (released: 2; other widths by the same formulas).
        num_layers: L.
        tanh, linear_head: released: both. The head starts at N(0, 1), as released; its user part and constant, which
            cancel in BPR and rankings, are left out.
        update_every: steps between re-assignments; 0: codes stay as they began.
        seed: of the linear head.

    Example:
        >>> from gnnq_lib.datasets.interactions import UserItems
        >>> graph = BipartiteGraph(UserItems([0, 1], [0, 1], 2, 2))
        >>> GnaqAsReleased(graph, torch.randn(4, 8)).low_bit_table().bits
        2
    """

    def __init__(
        self,
        graph: BipartiteGraph,
        start: Tensor,
        bits: int = 2,
        num_layers: int = 3,
        tanh: bool = True,
        linear_head: bool = True,
        update_every: int = 1,
        seed: int = 0,
    ) -> None:
        super().__init__(graph, num_layers)
        start = check_teacher(start, graph)
        if update_every < 0:
            raise InputError(f"update_every={update_every} given; a whole number from 0 is accepted")
        self.bits, self.tanh, self.update_every = bits, tanh, update_every
        self.levels = nn.Parameter(range_levels(start, bits, "released"))
        self.register_buffer("codes", range_codes(start, bits))
        head = torch.randn(graph.num_items, generator=torch.Generator().manual_seed(seed)).to(graph.device)
        self.bias = nn.Parameter(head) if linear_head else None
        self._steps, self._final = 0, None

    def table(self) -> Tensor:
        """X: tanh of the levels at the codes."""
        levels = torch.tanh(self.levels) if self.tanh else self.levels
        if not torch.is_grad_enabled():
            return look_up(self.codes, levels)
        return LevelLookup.apply(self.levels.new_zeros(()), levels, self.codes, 0.0)

    def low_bit_table(self) -> LevelTable:
        """Codes and levels as they are used."""
        levels = self.levels.detach()
        return LevelTable(self.codes.clone(), torch.tanh(levels) if self.tanh else levels.clone())

    def item_bias(self) -> Tensor | None:
        """The linear head's number per item, if there is a head."""
        return self.bias

    def loss(self, users: Tensor, positives: Tensor, negatives: Tensor, l2: float) -> Tensor:
        """BPR with the linear head; keeps H for the codes."""
        table = self.table()
        nodes = self.batch_nodes(users, positives, negatives)
        final = self.graph.mean_of_powers(table, self.num_layers)
        self._final = final.detach()
        rows = with_bias(F.embedding(nodes, final), positives, negatives, self.bias)
        return bpr(rows) + row_penalty(table, nodes, l2)

    @torch.no_grad()
    def after_step(self) -> None:
        """Take the codes from the H of the forward pass just used."""
        self._steps += 1
        if self.update_every and self._steps % self.update_every == 0:
            self.codes.copy_(range_codes(self._final, self.bits))
