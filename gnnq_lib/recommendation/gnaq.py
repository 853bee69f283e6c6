"""GNAQ: a few levels per node instead of an embedding (paper B), as released and in a form that does not collapse.

The paper's equations could not be obtained. What `GnaqAsReleased` does is what the released code does (GNAQ fact sheet,
section 3). `Gnaq` is our design from three phrases of the abstract:

1. "intervals initialised from the feature distribution of each node": every node has 2^b levels of its own, fitted to
   its D values.
2. "refined through message passing in the GNN layers": before training, codes and levels are re-decided so that the
   scores of the *propagated* low-bit table P X, P = (I + A_hat + ... + A_hat^L) / (L + 1), come close to the teacher's.
   An error that the neighbours' errors cancel, or that no score shows, costs nothing (`refine`).
3. "graph relation-aware gradient estimation instead of a straight-through estimator": the levels have an exact
   gradient; the latent table has that of X, mixed with its average over the neighbours, A_hat dL/dX.

Two more of ours, which the abstract does not name, are off unless asked for: `anchor` pulls the batch's rows of P X to
the teacher's, `order_weight` distils the teacher's order of pairs of items (`order_distance`). The release's tanh is a
switch too.

Which of these help is measured, not assumed (`gnnq run rec_ablations`); anchor, tanh, rate and whether the start is
rotated first (`gnnq_lib.recommendation.rotation`) are chosen per data set on validation (`gnnq run
rec_search_low_bit`, `rec_search_rotation`; `SEARCHED` in `gnnq_lib.experiments.recommendation`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gnnq_lib.checks import check_choice, check_number, check_whole
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
    sums_per_code,
)
from gnnq_lib.recommendation.lightgcn import Batch, Recommender, bpr, row_penalty, score_differences

Gradient = Literal["graph", "straight_through", "levels"]


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
        refine_share: share of the values that are re-decided in a step, above 0, to 1.
        gradient: "graph"; "straight_through": without the neighbours' part; "levels": codes stay, only levels learn.
        neighbour_share: of the neighbours' part in "graph", 0 to 1.
        level_rate: the levels' learning rate, as a multiple of the latent table's.
        update_every: steps between renewals of the codes.
        anchor: weight of |H - H_teacher|^2 (relative) on the batch's nodes; 0: not used.
        order_weight: weight of the teacher's order of pairs of items, see `order_distance`; 0: not used.
        tanh: X = tanh(levels), as released.
        linear_head: a learned number per item is added to its scores, as released (here from 0).

    Raises:
        InputError: a value out of range or of another type.
    """

    bits: int = 2
    node_aware: bool = True
    placement: Placement = "lloyd"
    refine_steps: int = 200
    refine_share: float = 0.03
    gradient: Gradient = "graph"
    neighbour_share: float = 0.5
    level_rate: float = 1.0
    update_every: int = 1
    anchor: float = 0.0
    order_weight: float = 0.0
    tanh: bool = False
    linear_head: bool = False

    def __post_init__(self) -> None:
        check_table_bits(self.bits)
        check_choice("placement", self.placement, Placement)
        check_choice("gradient", self.gradient, Gradient)
        check_whole("refine_steps", self.refine_steps)
        check_whole("update_every", self.update_every, 1)
        check_number("refine_share", self.refine_share, highest=1, above_zero=True)
        check_number("neighbour_share", self.neighbour_share, highest=1)
        for name in ("level_rate", "anchor", "order_weight"):
            check_number(name, getattr(self, name))


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
        start = self.checked_start(start)
        self.options = options
        levels = fitted_levels(start, options.bits, options.placement, per_node=options.node_aware)
        self.latent = nn.Parameter(start.clone(), requires_grad=options.gradient != "levels")
        self.levels = nn.Parameter(levels.expand(graph.num_nodes, -1).clone())
        self.bias = nn.Parameter(start.new_zeros(graph.num_items)) if options.linear_head else None
        self.register_buffer(
            "codes", nearest_codes(start, self.levels.detach()).long()
        )  # int64: gathered in every step
        target = graph.mean_of_powers(start, num_layers) if options.anchor or options.order_weight else None
        self.register_buffer("target", target, persistent=False)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))  # stays on the CPU: read in every step
        if options.refine_steps:
            refine(self, start, say)

    def table(self) -> Tensor:
        """X: the levels at the codes."""
        levels = torch.tanh(self.levels) if self.options.tanh else self.levels
        latent = self.latent
        if self.options.gradient == "graph" and self.options.neighbour_share and self.training:
            latent = MixWithNeighbours.apply(latent, self.graph, self.options.neighbour_share)
        return LevelLookup.apply(latent, levels, self.codes)

    def low_bit_table(self) -> LevelTable:
        """Codes and levels as they are used."""
        levels = self.levels.detach()
        return LevelTable(self.codes.to(torch.uint8), torch.tanh(levels) if self.options.tanh else levels.clone())

    def item_bias(self) -> Tensor | None:
        """The linear head's number per item, if there is a head."""
        return self.bias

    def settings(self) -> dict[str, object]:
        """See `Recommender.settings`."""
        return super().settings() | asdict(self.options)

    def loss(self, users: Tensor, positives: Tensor, negatives: Tensor, l2: float) -> Tensor:
        """BPR with the L2 penalty on X, plus the distances from the teacher that the options ask for."""
        batch = Batch.of(users, positives, negatives, self.graph.num_users)
        rows, own = self.graph.rows(self.table(), self.num_layers, batch.nodes)
        bias = batch_bias(self.bias, batch, self.graph)
        target = None if self.target is None else F.embedding(batch.nodes, self.target)
        loss = row_penalty(own, batch, l2)
        if self.options.order_weight:
            pairs = compared_pairs(batch.places)
            differences = score_differences(rows, pairs, bias)  # its first half is what BPR looks at
            loss = loss + F.softplus(differences[: users.numel()]).mean()
            loss = loss + self.options.order_weight * order_distance(differences, target, pairs)
        else:
            loss = loss + bpr(rows, batch, bias)
        if self.options.anchor:
            loss = loss + self.options.anchor * (rows - target).square().sum() / target.square().sum()
        return loss

    def parameter_groups(self, lr: float) -> list[dict]:
        """The latent table and the head at `lr`, the levels at level_rate times that."""
        groups = [{"params": [self.levels], "lr": lr * self.options.level_rate}]
        others = [part for part in (self.latent, self.bias) if part is not None and part.requires_grad]
        return groups + ([{"params": others, "lr": lr}] if others else [])

    @torch.no_grad()
    def after_step(self) -> None:
        """Every `update_every` steps, put each node's levels in order and renew the codes."""
        self.steps += 1
        if self.options.gradient != "levels" and self.steps % self.options.update_every == 0:
            self.levels.copy_(self.levels.sort(dim=1).values)
            self.codes.copy_(nearest_codes(self.latent, self.levels))


@torch.no_grad()
def refine(model: Gnaq, teacher: Tensor, say: Callable[[str], object] | None = None) -> list[float]:
    """Re-decide codes and levels by what reaches a value through the graph, so that scores come close to the teacher's.

    With R = P (X - E), what is reduced is the error that R makes in the teacher's scores: sum over users of
    |R_u H_items^T|^2, score differences between items only, plus the same over items against all users. One step looks
    at its gradient G: what a value, and all it is averaged with, are too high. A random share of the values takes the
    level nearest to x - G / curvature, where its own part of the error would vanish if the others stayed; a share,
    because neighbours that all correct the same error overshoot; after a step that did, the share is halved. Every
    tenth step the levels move against their own gradient instead. Interactions are not looked at besides the graph.
    With tanh, x is tanh of a level while the levels compared are those before it: an approximation, near for the small
    values that tables have (the other form did not lower the error in a trial on generated data).

    Args:
        model: changed in place: codes, levels, and the latent table (moved into the intervals of its codes).
        teacher: E.
        say: takes a line with the error before and after.

    Returns:
        The relative error of the scores at every step; the codes and levels with the smallest are kept.
    """
    options, graph, layers = model.options, model.graph, model.num_layers
    generator = torch.Generator(graph.device).manual_seed(0)
    propagated = graph.mean_of_powers(teacher, layers)
    users, items = score_metrics(propagated, graph.num_users)
    norm = (propagated * _weighted(propagated, graph.num_users, users, items)).sum().clamp(min=1e-30)
    curvature = torch.cat([users.diagonal().expand(graph.num_users, -1), items.diagonal().expand(graph.num_items, -1)])
    curvature = (curvature * power_diagonal(graph, layers, generator)).clamp(min=1e-12)
    levels, codes, share = model.levels.detach().clone(), model.codes.clone(), options.refine_share
    errors: list[float] = []
    for step in range(options.refine_steps + 1):
        table = look_up(codes, torch.tanh(levels) if options.tanh else levels)
        error = graph.mean_of_powers(table - teacher, layers)
        weighted = _weighted(error, graph.num_users, users, items)
        errors.append(float(((error * weighted).sum() / norm).clamp(min=0).sqrt()))
        if errors[-1] > min(errors):  # too much at once: back to the best, and a smaller share
            levels, codes, share = model.levels.detach().clone(), model.codes.clone(), share / 2
        else:
            model.codes.copy_(codes)
            model.levels.copy_(levels)
            better_levels, better_codes = _proposals(model, table, graph.mean_of_powers(weighted, layers), curvature)
            share = min(1.2 * share, options.refine_share)
        if step % 10 == 9:
            levels = torch.lerp(levels, better_levels, min(1.0, share / options.refine_share)).sort(dim=1).values
        else:
            chosen = torch.rand(codes.shape, generator=generator, device=codes.device) < share
            codes = torch.where(chosen, better_codes, codes)
    _put_latent(model)
    if say:
        say(f"refined: relative error of the teacher's scores {errors[0]:.3f} -> {min(errors):.3f}")
    return errors


def _proposals(model: Gnaq, table: Tensor, gradient: Tensor, curvature: Tensor) -> tuple[Tensor, Tensor]:
    """Levels one step against their gradient, and for every value the code it would take if the others stayed."""
    levels, codes = model.levels.detach(), model.codes
    counts = sums_per_code(torch.ones_like(table), codes, levels.shape[1]).clamp(min=1)
    moved = levels - 0.3 * sums_per_code(gradient, codes, levels.shape[1]) / counts
    return moved, nearest_codes(table - gradient / curvature, levels).long()


def score_metrics(final: Tensor, num_users: int) -> tuple[Tensor, Tensor]:
    """How an error in a user's and in an item's row of H shows in the scores: two (D, D) matrices of trace D.

    Users' errors are weighed by the items' covariance (a shift of all scores of a user changes no ranking), items'
    errors by the users' second moments.

    Example:
        >>> [m.tolist() for m in score_metrics(torch.tensor([[2.0, 0.0], [1.0, 0.0], [1.0, 1.0]]), num_users=1)]
        [[[0.0, 0.0], [0.0, 2.0]], [[2.0, 0.0], [0.0, 0.0]]]
    """
    users, items = final[:num_users], final[num_users:]
    centred = items - items.mean(dim=0)
    metrics = []
    for matrix in (centred.T @ centred, users.T @ users):
        trace = matrix.trace()
        # Without any spread every direction counts the same.
        metrics.append(matrix * (len(matrix) / trace) if trace > 1e-20 else torch.eye(len(matrix)).to(matrix))
    return metrics[0], metrics[1]


def _weighted(rows: Tensor, num_users: int, users: Tensor, items: Tensor) -> Tensor:
    """Rows of users and items times their metrics."""
    return torch.cat([rows[:num_users] @ users, rows[num_users:] @ items])


def _put_latent(model: Gnaq) -> None:
    """Move the latent values that are nearest to another level into the interval of their code, to its border."""
    middle = (model.levels[:, 1:] + model.levels[:, :-1]) / 2
    edges = torch.cat(
        [middle.new_full((len(middle), 1), -torch.inf), middle, middle.new_full((len(middle), 1), torch.inf)], 1
    )
    codes = model.codes.long()
    low, high = edges.gather(1, codes), edges.gather(1, codes + 1)
    margin = 0.05 * (model.levels[:, -1:] - model.levels[:, :1]) / (model.levels.shape[1] - 1)
    margin = torch.minimum(margin, (high - low) / 2)  # an interval may be narrower than two margins
    model.latent.copy_(torch.minimum(torch.maximum(model.latent, low + margin), high - margin))


def power_diagonal(graph: BipartiteGraph, num_layers: int, generator: torch.Generator, probes: int = 64) -> Tensor:
    """diag(P P) of P = (I + A_hat + ... + A_hat^L) / (L + 1), estimated with random signs; float32 (|V|, 1).

    Never below its bound without neighbours, 1 / (L + 1)^2.
    """
    signs = torch.randint(0, 2, (graph.num_nodes, probes), generator=generator, device=graph.device).float() * 2 - 1
    estimate = graph.mean_of_powers(signs, num_layers).square().mean(dim=1, keepdim=True)
    return estimate.clamp(min=(num_layers + 1) ** -2)


def compared_pairs(places: Tensor) -> Tensor:
    """Pairs of items whose order is distilled: a user's positive and negative, and the negative and the next user's.

    The second half is about items that the user has not seen.

    Args:
        places: int64 (3 * batch,): users, positives, negatives.

    Returns:
        int64 (6 * batch,): users twice, first items, second items.

    Example:
        >>> compared_pairs(torch.tensor([0, 1, 2, 3, 4, 5])).tolist()
        [0, 1, 0, 1, 2, 3, 4, 5, 4, 5, 5, 4]
    """
    users, positives, negatives = places.chunk(3)
    return torch.cat([users, users, positives, negatives, negatives, negatives.roll(1)])


def order_distance(differences: Tensor, target: Tensor, pairs: Tensor) -> Tensor:
    """Cross entropy of the student's order of pairs against the teacher's, sigmoid(teacher's score difference).

    Args:
        differences: (pairs,), the student's score differences.
        target: (n, D), rows of the teacher's H.
        pairs: int64 (3 * pairs,): users, first items, second items, as places in `target`.
    """
    with torch.no_grad():
        wanted = torch.sigmoid(score_differences(target, pairs))
    return F.binary_cross_entropy_with_logits(differences, wanted)


def batch_bias(bias: Tensor | None, batch: Batch, graph: BipartiteGraph) -> Tensor | None:
    """The linear head's number for every node of a batch, 0 for users; None without a head."""
    if bias is None:
        return None
    return torch.cat([bias.new_zeros(graph.num_users), bias])[batch.nodes]


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
        return ctx.graph.normalised(grad).lerp_(grad, 1 - ctx.share), None, None


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
        start = self.checked_start(start)
        self.bits, self.tanh, self.seed = bits, tanh, seed
        self.update_every = check_whole("update_every", update_every)
        self.levels = nn.Parameter(range_levels(start, bits, "released"))
        self.register_buffer("codes", range_codes(start, bits).long())
        head = torch.randn(graph.num_items, generator=torch.Generator().manual_seed(seed)).to(graph.device)
        self.bias = nn.Parameter(head) if linear_head else None
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))  # stays on the CPU: read in every step
        self._final: Tensor | None = None

    def table(self) -> Tensor:
        """X: tanh of the levels at the codes."""
        levels = torch.tanh(self.levels) if self.tanh else self.levels
        if not torch.is_grad_enabled():
            return look_up(self.codes, levels)
        return LevelLookup.apply(self.levels.new_zeros(()), levels, self.codes)

    def low_bit_table(self) -> LevelTable:
        """Codes and levels as they are used."""
        levels = self.levels.detach()
        return LevelTable(self.codes.to(torch.uint8), torch.tanh(levels) if self.tanh else levels.clone())

    def item_bias(self) -> Tensor | None:
        """The linear head's number per item, if there is a head."""
        return self.bias

    def settings(self) -> dict[str, object]:
        """See `Recommender.settings`."""
        own = {name: getattr(self, name) for name in ("bits", "tanh", "update_every", "seed")}
        return super().settings() | own

    def loss(self, users: Tensor, positives: Tensor, negatives: Tensor, l2: float) -> Tensor:
        """BPR with the linear head; keeps H for the codes."""
        batch = Batch.of(users, positives, negatives, self.graph.num_users)
        table = self.table()
        final = self.graph.mean_of_powers(table, self.num_layers)  # of all nodes: their codes follow from it
        self._final = final.detach()
        rows, own = F.embedding(batch.nodes, final), F.embedding(batch.nodes, table)
        return bpr(rows, batch, batch_bias(self.bias, batch, self.graph)) + row_penalty(own, batch, l2)

    @torch.no_grad()
    def after_step(self) -> None:
        """Take the codes from the H of the forward pass just used."""
        self.steps += 1
        if self.update_every and self.steps % self.update_every == 0:
            self.codes.copy_(range_codes(self._final, self.bits))
