"""Training a recommender: mini-batch BPR with Adam, early stopping on validation, checkpoints that resume exactly."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from gnnq_lib.checks import check_choice, check_number, check_whole
from gnnq_lib.datasets.interactions import RatingSplit
from gnnq_lib.errors import InputError
from gnnq_lib.files import atomic_write
from gnnq_lib.recommendation.bipartite import BipartiteGraph
from gnnq_lib.recommendation.lightgcn import Recommender
from gnnq_lib.recommendation.ranking import evaluate_ranking
from gnnq_lib.recommendation.sampling import LARGEST_SEED, Sampling, TripletSampler

logger = logging.getLogger(__name__)

CHECKPOINT_FORMAT = 2
Schedule = Literal["constant", "cosine"]
Part = Literal["val", "test"]


@dataclass(frozen=True)
class TrainOptions:
    """How long and how fast.

    Attributes:
        epochs: at most; an epoch is as many triplets as there are training interactions.
        batch_size: triplets per step.
        lr: Adam's learning rate; quantizers may have rates of their own (`Recommender.parameter_groups`).
        l2: weight of the penalty on the batch's rows.
        schedule: "constant", or "cosine" down to a hundredth over `epochs`.
        eval_every: epochs between evaluations on the validation part.
        patience: evaluations without gain before training stops; 0: never stop early.
        select_k: the epoch with the best validation NDCG at this k is kept (or the catalogue's size, if smaller).
        clip: gradients are clipped to [-clip, clip] by value; 0: not at all.
        seed: of batches and negatives, 0 to 2**39 - 1.
        sampling: "interactions" or "users"; see `TripletSampler`.
        checkpoint_every: epochs between checkpoints, where a file is given.

    Raises:
        InputError: a value out of range.

    Example:
        >>> TrainOptions(epochs=5).batch_size
        2048
    """

    epochs: int = 1000
    batch_size: int = 2048
    lr: float = 1e-3
    l2: float = 1e-4
    schedule: Schedule = "constant"
    eval_every: int = 5
    patience: int = 10
    select_k: int = 20
    clip: float = 0.0
    seed: int = 0
    sampling: Sampling = "interactions"
    checkpoint_every: int = 10

    def __post_init__(self) -> None:
        lowest = {"epochs": 0, "batch_size": 1, "eval_every": 1, "patience": 0, "select_k": 1,
                  "checkpoint_every": 1}  # fmt: skip
        for name, bound in lowest.items():
            check_whole(name, getattr(self, name), bound)
        check_whole("seed", self.seed, 0, LARGEST_SEED)
        for name in ("lr", "l2", "clip"):
            check_number(name, getattr(self, name))
        check_choice("schedule", self.schedule, Schedule)
        check_choice("sampling", self.sampling, Sampling)


@dataclass
class TrainHistory:
    """What happened: a loss per epoch; per evaluation its epoch and validation NDCG; the best of them; seconds."""

    loss: list[float] = field(default_factory=list)
    epochs: list[int] = field(default_factory=list)
    val_ndcg: list[float] = field(default_factory=list)
    best_epoch: int = 0
    best_ndcg: float = -1.0
    train_seconds: float = 0.0
    eval_seconds: float = 0.0

    @property
    def seconds_per_epoch(self) -> float:
        """Mean training time of an epoch, evaluations left out."""
        return self.train_seconds / max(1, len(self.loss))


def train(
    model: Recommender,
    split: RatingSplit,
    options: TrainOptions = TrainOptions(),
    checkpoint: Path | str | None = None,
    say: Callable[[str], object] | None = None,
    probe: Callable[[int, Recommender], object] | None = None,
    final: Callable[[Recommender], object] | None = None,
) -> TrainHistory:
    """Train; afterwards the model has the parameters of the epoch with the best validation NDCG.

    The state before training counts as epoch 0, so a model started from a teacher is never made worse on validation.
    Without a validation part all epochs are run and the last one is kept.

    Args:
        model: any recommender; trained in place, on its graph's device. The graph has no interaction of split.val or
            split.test, which it would give away.
        split: trains on split.train, stops by split.val; split.test is never looked at.
        options: how long and how fast.
        checkpoint: a file; where it exists, training goes on from it, with the same result as in one go. A finished
            training at a constant rate can be made longer; its history then has the evaluation at its earlier end, too.
            Another patience counts from there on only: epochs that it would not have run stay.
        say: takes a line per evaluation.
        probe: called after every epoch with its number (from 1) and the model; must not change it.
        final: called with the model as the last epoch left it, before the best epoch's parameters come back.

    Raises:
        InputError: a graph of other sizes, or with interactions of split.val or split.test; a checkpoint of other
            settings or with more epochs than options.epochs; a loss that is not finite.

    Example:
        >>> from gnnq_lib.datasets.interactions import split_interactions
        >>> from gnnq_lib.datasets.interactions_generated import power_law_interactions
        >>> from gnnq_lib.recommendation.bipartite import BipartiteGraph
        >>> from gnnq_lib.recommendation.lightgcn import LightGCN
        >>> split = split_interactions(power_law_interactions())
        >>> history = train(LightGCN(BipartiteGraph(split.train), dim=8), split, TrainOptions(epochs=2, eval_every=1))
        >>> len(history.loss)
        2
    """
    _check_graph(model.graph, split)
    sampler = TripletSampler(split.train, options.batch_size, options.seed, model.graph.device, options.sampling)
    run = _Run(model, split, options, Path(checkpoint) if checkpoint else None)
    run.resume()
    if not run.history.epochs and len(split.val):
        run.evaluate(0, say)
    while run.epoch < options.epochs and not run.stopped():
        start = time.perf_counter()
        run.history.loss.append(_train_epoch(model, sampler, run, options))
        run.history.train_seconds += time.perf_counter() - start
        run.epoch += 1
        if len(split.val) and (run.epoch % options.eval_every == 0 or run.epoch == options.epochs):
            run.evaluate(run.epoch, say)
        if probe:
            probe(run.epoch, model)
        run.save_sometimes()
    run.save()
    if final:
        final(model)
    if run.best_state is not None:
        model.load_state_dict(run.best_state)
    return run.history


def _check_graph(graph: BipartiteGraph, split: RatingSplit) -> None:
    """Raise InputError for a graph that is not of the split's users and items, or knows what is to be found."""
    sizes, wanted = (graph.num_users, graph.num_items), (split.train.num_users, split.train.num_items)
    if sizes != wanted:
        raise InputError(
            f"a graph of {sizes[0]} users and {sizes[1]} items given for a split of {wanted[0]} and {wanted[1]}; "
            "the graph of split.train is accepted"
        )
    for name, part in (("validation", split.val), ("test", split.test)):
        if graph.has_any(part):
            raise InputError(
                f"the model's graph has interactions of the split's {name} part, which it would give away; "
                "the graph of split.train is accepted"
            )


def _train_epoch(model: Recommender, sampler: TripletSampler, run: _Run, options: TrainOptions) -> float:
    model.train()
    run.set_rate()
    losses = []
    for users, positives, negatives in sampler.epoch(run.epoch):
        run.optimizer.zero_grad(set_to_none=True)
        loss = model.loss(users, positives, negatives, options.l2)
        loss.backward()
        if options.clip:
            torch.nn.utils.clip_grad_value_(model.parameters(), options.clip)
        run.optimizer.step()
        model.after_step()
        losses.append(loss.detach())
    mean = float(torch.stack(losses).mean())
    if not math.isfinite(mean):
        raise InputError(f"the loss became {mean} in epoch {run.epoch + 1}; train with a smaller learning rate")
    return mean


class _Run:
    """The state of a training that a checkpoint holds."""

    def __init__(self, model: Recommender, split: RatingSplit, options: TrainOptions, path: Path | None) -> None:
        self.model, self.split, self.options, self.path = model, split, options, path
        self.groups = model.parameter_groups(options.lr)
        self.rates = [group["lr"] for group in self.groups]
        self.optimizer = torch.optim.Adam(self.groups, lr=options.lr, fused=True)
        self.epoch, self.history = 0, TrainHistory()
        self.best_state: dict[str, Tensor] | None = None

    def stopped(self) -> bool:
        """Whether patience has run out."""
        since_best = sum(epoch > self.history.best_epoch for epoch in self.history.epochs)
        return bool(self.options.patience) and since_best >= self.options.patience

    def set_rate(self) -> None:
        """The learning rates of this epoch."""
        factor = 1.0
        if self.options.schedule == "cosine":
            factor = 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * self.epoch / max(1, self.options.epochs)))
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor

    def evaluate(self, epoch: int, say: Callable[[str], object] | None) -> None:
        """Validation NDCG; keeps the parameters if it is the best so far."""
        start = time.perf_counter()
        k = min(self.options.select_k, self.split.val.num_items)
        value = evaluate(self.model, self.split, "val", [k])[f"ndcg@{k}"]
        self.history.epochs.append(epoch)
        self.history.val_ndcg.append(value)
        if value > self.history.best_ndcg:
            self.history.best_ndcg, self.history.best_epoch = value, epoch
            self.best_state = {name: part.clone() for name, part in self.model.state_dict().items()}
        self.history.eval_seconds += time.perf_counter() - start
        if say:
            loss = f"{self.history.loss[-1]:.4f}" if self.history.loss else "-"
            say(f"epoch {epoch}: loss {loss}, validation NDCG@{k} {value:.4f}, best {self.history.best_ndcg:.4f}")

    def save_sometimes(self) -> None:
        """Write a checkpoint every `checkpoint_every` epochs."""
        if self.epoch % self.options.checkpoint_every == 0:
            self.save()

    def save(self) -> None:
        """Write the checkpoint, if there is a file for it."""
        if self.path is None:
            return
        state = {
            "fingerprint": self._fingerprint(),
            "epoch": self.epoch,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "best": self.best_state,
            "history": asdict(self.history),
        }
        buffer = io.BytesIO()
        torch.save(state, buffer)
        atomic_write(self.path, buffer.getvalue())

    def resume(self) -> None:
        """Take over the checkpoint, if there is one; a damaged one is reported and training starts anew."""
        if self.path is None or not self.path.is_file():
            return
        try:
            state = torch.load(self.path, map_location=self.model.graph.device, weights_only=True)
            fault = "" if isinstance(state, dict) else f"it holds a {type(state).__name__}"
        except Exception as error:
            fault = type(error).__name__
        if fault:
            logger.warning("the checkpoint %s is damaged (%s); training starts anew", self.path, fault)
            return
        if state.get("fingerprint") != self._fingerprint():
            raise InputError(
                f"the checkpoint {self.path} belongs to other settings or data; delete it or give another file"
            )
        if state["epoch"] > self.options.epochs:
            raise InputError(
                f"the checkpoint {self.path} has {state['epoch']} epochs, {self.options.epochs} are asked for; "
                "ask for as many or more, or give another file"
            )
        self.epoch, self.history = state["epoch"], TrainHistory(**state["history"])
        self.best_state = state["best"]
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        logger.info("training goes on after epoch %d from %s", self.epoch, self.path)

    def _fingerprint(self) -> str:
        """Of everything that must be equal for a checkpoint to fit; longer training (constant rate) is allowed."""
        options = asdict(self.options)
        free = ["checkpoint_every", "patience"] + (["epochs"] if self.options.schedule == "constant" else [])
        kept = {name: value for name, value in options.items() if name not in free}
        shapes = {name: list(part.shape) for name, part in self.model.state_dict().items()}
        facts = [CHECKPOINT_FORMAT, self.model.settings(), kept, shapes]
        digest = hashlib.sha256(json.dumps(facts).encode())
        for part in (self.split.train, self.split.val):
            digest.update(part.keys.tobytes())
        if not self.model.graph.is_of(self.split.train):  # most are
            digest.update(self.model.graph.adjacency.row_ptr.cpu().numpy().tobytes())
            digest.update(self.model.graph.adjacency.col.cpu().numpy().tobytes())
        return digest.hexdigest()


@torch.no_grad()
def evaluate(
    model: Recommender,
    split: RatingSplit,
    part: Part = "test",
    ks: Sequence[int] = (10, 20),
) -> dict[str, float]:
    """Ranking metrics of a model on a part of its split; see `evaluate_ranking`.

    Training items are masked; validation items too when testing. Test items stay candidates when validating: a model
    cannot know them.

    Args:
        model: any recommender.
        split: the data.
        part: "val" or "test".
        ks: lengths of the lists.

    Raises:
        InputError: another part; what `evaluate_ranking` refuses.
    """
    check_choice("part", part, Part)
    model.eval()
    user_table, item_table = model.score_tables()
    target, masked = (split.val, [split.train]) if part == "val" else (split.test, [split.train, split.val])
    return evaluate_ranking(user_table, item_table, target, masked, ks)
