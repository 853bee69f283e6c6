"""Recommendation runs: a typed config in, a trained recommender and its measurements out (paper B)."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from functools import lru_cache
from pathlib import Path
from typing import Literal

import torch
from filelock import FileLock
from pydantic import Field, ValidationInfo, field_validator
from torch import Tensor

from gnnq_lib.datasets.interactions import Protocol, RatingSplit, split_interactions
from gnnq_lib.datasets.interactions_registry import INTERACTION_SETS, load_interactions
from gnnq_lib.errors import InputError
from gnnq_lib.experiments.config import ExperimentConfig, make_config, without_old_values
from gnnq_lib.experiments.store import Measurement, ResultsStore
from gnnq_lib.files import atomic_write, sha256_bytes
from gnnq_lib.paths import cache_dir
from gnnq_lib.recommendation.baselines import LsqTable, N2uqTable, PostTraining
from gnnq_lib.recommendation.bigear import Bigear
from gnnq_lib.recommendation.bipartite import BipartiteGraph
from gnnq_lib.recommendation.gnaq import Gnaq, GnaqAsReleased, GnaqOptions, LowBitRecommender
from gnnq_lib.recommendation.levels import PLACEMENTS
from gnnq_lib.recommendation.lightgcn import LightGCN, Recommender, initial_table
from gnnq_lib.recommendation.packed import StoredTable, fingerprint
from gnnq_lib.recommendation.rotation import fitted_rotation
from gnnq_lib.recommendation.sampling import Sampling
from gnnq_lib.recommendation.training import TrainHistory, TrainOptions, evaluate, train

METHODS = (
    "fp32", "gnaq", "gnaq_as_released", "post_training_tensor", "post_training_node", "lsq", "n2uq", "bigear"
)  # fmt: skip
UNTRAINED = ("post_training_tensor", "post_training_node")
ONE_GRID = ("post_training_tensor", "lsq", "n2uq")  # the same levels for all nodes
KS = (10, 20)

# Full precision: larger batches and rates than the LightGCN paper's 2048 and 1e-3. By validation NDCG@20 where searched
# (`gnnq run rec_search_fp32`, `rec_search_large`); l2 elsewhere that of the paper. A low-bit run's key does not hold
# its teacher's recipe: where that changes, remove the data set's low-bit runs from the stores.
FP32_RECIPE = {"epochs": 400, "batch_size": 8192, "lr": 1e-2, "l2": 1e-4, "schedule": "constant", "eval_every": 10,
               "patience": 6, "sampling": "interactions"}  # fmt: skip
_LARGE_SETS = ("gowalla", "yelp2018", "amazon-book-kgat")
_LARGE = {"batch_size": 32768, "schedule": "cosine", "epochs": 500, "eval_every": 20, "patience": 0,
          "sampling": "users"}  # fmt: skip  # drawn as in LightGCN's published code
FP32_RECIPES: dict[str, dict] = {
    "lastfm": {"l2": 1e-3, "schedule": "cosine", "epochs": 500, "eval_every": 50, "patience": 0},
    "ml-100k": {"l2": 1e-3},
    "ml-1m": {"l2": 1e-3, "eval_every": 5},
    **dict.fromkeys(_LARGE_SETS, _LARGE),
    "power-law": {"batch_size": 512, "epochs": 40},
}
# Every low-bit method has the same budget on top of the teacher's, about 1500 to 3500 steps; batch size, l2 and
# sampling are the teacher's. "fp32" with start="teacher" has it too.
LOW_BIT_RECIPE = {"epochs": 40, "lr": 1e-2, "schedule": "cosine", "eval_every": 5, "patience": 0}
METHOD_RECIPES: dict[str, dict] = {"gnaq": {"lr": 5e-3}}
SWITCHES = {"anchor": GnaqOptions.anchor, "distillation": 1.0, "rotation": False}  # as designed and as published
# (method, data set, bits), where another of the method's trials did better on validation NDCG@20 than the above:
# `gnnq run rec_search_low_bit`, `rec_search_rotation`. What is chosen for 2 bits is taken for 3 and 4, too.
SEARCHED: dict[tuple[str, str, int], dict] = {
    ("gnaq", "ml-1m", 2): {"rotation": True},
    ("gnaq", "ml-1m", 1): {"rotation": True},
    ("gnaq", "lastfm", 2): {"rotation": True},
    ("gnaq", "lastfm", 1): {"tanh": True, "rotation": True},
    ("gnaq", "yelp2018", 2): {"lr": 1e-3, "rotation": True},
    ("gnaq", "yelp2018", 1): {"lr": 1e-3, "rotation": True},
    ("gnaq", "amazon-book-kgat", 2): {"lr": 1e-3},
    ("gnaq", "amazon-book-kgat", 1): {"rotation": True},
    ("gnaq", "gowalla", 1): {"rotation": True},
    ("lsq", "lastfm", 2): {"lr": 1e-3},
    ("lsq", "ml-1m", 2): {"lr": 2.5e-3},
    ("lsq", "gowalla", 2): {"lr": 2.5e-3},
    ("lsq", "ml-100k", 2): {"lr": 5e-3},
    ("lsq", "yelp2018", 2): {"lr": 5e-3, "rotation": True},
    ("lsq", "amazon-book-kgat", 2): {"lr": 5e-3},
    ("n2uq", "lastfm", 2): {"lr": 2.5e-3, "rotation": True},
    ("n2uq", "ml-1m", 2): {"lr": 2.5e-3, "rotation": True},
    ("n2uq", "gowalla", 2): {"lr": 2.5e-3, "rotation": True},
    ("n2uq", "ml-100k", 2): {"lr": 2.5e-3, "rotation": True},
    ("n2uq", "yelp2018", 2): {"lr": 5e-3},
    ("n2uq", "amazon-book-kgat", 2): {"lr": 2.5e-3},
    ("bigear", "lastfm", 1): {"distillation": 0.1},
    ("bigear", "ml-1m", 1): {"distillation": 0.1},
    ("bigear", "ml-100k", 1): {"distillation": 0.1, "rotation": True},
    ("bigear", "amazon-book-kgat", 1): {"rotation": True},
}
LOW_BIT_RECIPES: dict[str, dict] = {
    "lastfm": {"epochs": 300, "eval_every": 20},
    "ml-1m": {"epochs": 20},
    **{name: {"epochs": 30, "eval_every": 15} for name in _LARGE_SETS},
    "ml-100k": {"epochs": 150, "eval_every": 10},
    "power-law": {"epochs": 20},
}


class Config(ExperimentConfig):
    """Everything that decides a run; the defaults train 2-bit GNAQ on LastFM from a full-precision teacher.

    Attributes:
        dataset: see `load_interactions`; a folder path is accepted.
        protocol, split_seed, share: see `split_interactions`.
        method: full precision, GNAQ (default and as released), or a baseline; see `recommendation`.
        bits: 1 to 4; 2 to 4 for lsq, 32 for fp32, 1 for bigear.
        dim, num_layers: D and L.
        start: "teacher": from the full-precision table trained on the same split; "random": N(0, 0.1). fp32 with
            "teacher" trains the teacher on with the low-bit methods' budget.
        epochs, batch_size, lr, l2, schedule, eval_every, patience, sampling: see `TrainOptions`; None: the recipe's.
        teacher_epochs: at most so many for the teacher; None: the recipe's.
        refit: fp32 only: train once more on training and validation part together, for the best number of epochs.
        node_aware, placement, refine_steps, refine_share, gradient, neighbour_share, level_rate, anchor,
            order_weight: see `GnaqOptions`; placement also for post-training. anchor None takes the recipe's value.
            Without a teacher (start="random") there is nothing to refine towards: refine_steps, anchor and
            order_weight count as 0.
        update_every, tanh, linear_head: GNAQ, both forms. None for tanh and linear_head: the recipe's or no; as
            released: yes.
        level_bits: 32, or 16: levels, as they are stored, rounded to 16 bits after training; GNAQ, LSQ, N2UQ and
            post-training.
        distillation: bigear's; None takes the recipe's value.
        rotation: turn the start by `fitted_rotation` before it is made low-bit; not for fp32. None: the recipe's value.

    Example:
        >>> make_config(Config, {"experiment": "demo", "bits": 2}).method
        'gnaq'
    """

    dataset: str = "lastfm"
    protocol: Protocol = "lightgcn"
    split_seed: int = Field(default=0, ge=0, lt=2**32)
    share: float = Field(default=0.1, gt=0, lt=1)
    model: Literal["lightgcn"] = "lightgcn"
    method: Literal[METHODS] = "gnaq"  # type: ignore[valid-type]
    bits: int = Field(default=2, validate_default=True)
    dim: int = Field(default=64, ge=1, le=4096)
    num_layers: int = Field(default=3, ge=0, le=16)
    start: Literal["teacher", "random"] = "teacher"
    epochs: int | None = Field(default=None, ge=0)
    batch_size: int | None = Field(default=None, ge=1)
    lr: float | None = Field(default=None, gt=0)
    l2: float | None = Field(default=None, ge=0)
    schedule: Literal["constant", "cosine"] | None = None
    eval_every: int | None = Field(default=None, ge=1)
    patience: int | None = Field(default=None, ge=0)
    sampling: Sampling | None = None
    teacher_epochs: int | None = Field(default=None, ge=1)
    refit: bool = False
    node_aware: bool = True
    placement: Literal[PLACEMENTS] = "lloyd"  # type: ignore[valid-type]
    refine_steps: int = Field(default=GnaqOptions.refine_steps, ge=0)
    refine_share: float = Field(default=GnaqOptions.refine_share, gt=0, le=1)
    gradient: Literal["graph", "straight_through", "levels"] = GnaqOptions.gradient
    neighbour_share: float = Field(default=GnaqOptions.neighbour_share, ge=0, le=1)
    level_rate: float = Field(default=GnaqOptions.level_rate, ge=0)
    anchor: float | None = Field(default=None, ge=0)
    order_weight: float = Field(default=GnaqOptions.order_weight, ge=0)
    update_every: int = Field(default=1, ge=0)
    tanh: bool | None = None
    linear_head: bool | None = None
    level_bits: Literal[16, 32] = 32
    distillation: float | None = Field(default=None, ge=0)
    rotation: bool | None = None

    @field_validator("bits")
    @classmethod
    def _bits(cls, bits: int, info: ValidationInfo) -> int:
        method = info.data.get("method")
        accepted = {"fp32": (32,), "bigear": (1,), "lsq": (2, 3, 4)}.get(method, (1, 2, 3, 4))
        if bits not in accepted:
            raise ValueError(f"{' or '.join(map(str, accepted))} is accepted for method {method!r}")
        return bits


@dataclass
class TrainedRecommender:
    """A run's outcome.

    Attributes:
        config: resolved.
        model: with the best validation epoch's parameters; a `StoredTable` where levels are rounded to 16 bits.
        split: the data it was trained and chosen on.
        history: of its training; of the teacher's for post-training.
        seconds: of its own training, evaluations included; the teacher's not.
        teacher_seconds: of the teacher's training, whenever that was.
        last: test metrics of the state after the last epoch, low-bit methods that are trained only. Where training
            only did harm, the model is the one before it, and this says what became of it.
    """

    config: Config
    model: Recommender
    split: RatingSplit
    history: TrainHistory
    seconds: float
    teacher_seconds: float = 0.0
    last: dict[str, float] = field(default_factory=dict)


def resolve(config: Config) -> Config:
    """Fill every None from the recipe for the data set and method."""
    recipe = {**SWITCHES, **FP32_RECIPE, **FP32_RECIPES.get(config.dataset, {})}
    if not is_teacher(config):
        if config.start == "teacher":
            recipe["teacher_epochs"] = recipe["epochs"]
        recipe.update({**LOW_BIT_RECIPE, **LOW_BIT_RECIPES.get(config.dataset, {})})
        recipe.update(METHOD_RECIPES.get(config.method, {}))
        if config.start == "random":
            recipe.update({"epochs": FP32_RECIPE["epochs"], **FP32_RECIPES.get(config.dataset, {})})
    released = config.method == "gnaq_as_released"
    recipe.update(tanh=released, linear_head=released)
    recipe.update(SEARCHED.get((config.method, config.dataset, min(config.bits, 2)), {}))
    missing = {name: value for name, value in recipe.items() if getattr(config, name) is None}
    return config.model_copy(update=missing)


def is_teacher(config: Config) -> bool:
    """Whether a config describes full precision trained from a random start."""
    return config.method == "fp32" and config.start == "random"


def teacher_config(config: Config) -> Config:
    """The full-precision run that a run starts from."""
    keep = ("profile", "seed", "dataset", "protocol", "split_seed", "share", "dim", "num_layers", "sampling", "device")
    values = {name: getattr(config, name) for name in keep}
    values.update(experiment="teacher", method="fp32", bits=32, start="random", epochs=config.teacher_epochs)
    return resolve(make_config(Config, values))


def load_split(dataset: str, protocol: Protocol = "lightgcn", split_seed: int = 0, share: float = 0.1) -> RatingSplit:
    """The split of a config, kept in memory for the next run of this process unless it comes from a folder.

    Example:
        >>> load_split("power-law").train.num_users
        400
    """
    if dataset in INTERACTION_SETS:
        # Another data folder may hold another form of a data set: it is part of what the split is kept under.
        return _load_split(dataset, protocol, split_seed, share, os.environ.get("GNNQ_DATA"))
    return _load_split.__wrapped__(dataset, protocol, split_seed, share)  # a folder's content can change


@lru_cache(maxsize=2)
def _load_split(
    dataset: str, protocol: Protocol, split_seed: int, share: float, folder: str | None = None
) -> RatingSplit:
    return split_interactions(load_interactions(dataset, seed=split_seed), protocol, split_seed, share)


def train_recommender(
    config: Config, store: ResultsStore | None = None, say: Callable[[str], object] | None = None
) -> TrainedRecommender:
    """Train one recommender as its config says; with a store, write its measurements there.

    Full-precision runs from a random start are kept in the cache folder (`recommendation/`, by their settings, without
    the experiment's name), since many runs start from the same teacher. All training writes checkpoints there and
    resumes.

    Args:
        config: resolved or not.
        store: takes one row per measurement.
        say: takes lines of progress.

    Raises:
        InputError: settings that do not go together; faults of the data.
        DataUnavailableError: data that could not be had.

    Example:
        >>> tiny = make_config(Config, {"experiment": "demo", "dataset": "power-law", "teacher_epochs": 2, "epochs": 1})
        >>> train_recommender(tiny).model.low_bit_table().bits
        2
    """
    config = resolve(config)
    began = time.perf_counter()
    split = load_split(config.dataset, config.protocol, config.split_seed, config.share)
    if config.refit and not is_teacher(config):
        raise InputError("refit is for method='fp32' with start='random'; leave it out or change these")
    if config.rotation and config.method == "fp32":
        raise InputError("rotation is for low-bit methods: it changes no score of fp32; leave it out")
    if config.level_bits == 16 and config.method in ("fp32", "bigear"):
        raise InputError(f"level_bits=16 is for methods with levels, which {config.method} has not; leave it out")
    if not len(split.test):
        raise InputError(f"{config.dataset} has no test interaction to score with; give at least one")
    if config.method == "gnaq":
        _gnaq_options(config)  # what it refuses is refused before a teacher is trained
    trained = _full_precision(config, split, say) if is_teacher(config) else _low_bit(config, split, say)
    if store is not None:
        store.append(config, measurements(trained), time.perf_counter() - began)
    return trained


def run_one(config: Config) -> list[Measurement]:
    """Train, evaluate on the test part, and return the measurements."""
    return measurements(train_recommender(config))


def measurements(trained: TrainedRecommender) -> list[Measurement]:
    """Test and validation metrics, times and size of a trained recommender."""
    config, split = trained.config, trained.split
    values = trained.model.graph.num_nodes * config.dim
    size = model_bytes(trained.model, config)
    common = {
        "bits_per_value": 8 * size / values,
        "source": split.data.source,
        "split": f"{config.protocol} {config.split_seed}",
    }
    scored = split.with_validation_in_training() if config.refit else split
    ks = [k for k in KS if k <= split.data.num_items]
    rows = [
        Measurement(name, value, "", **common) for name, value in evaluate(trained.model, scored, "test", ks).items()
    ]
    if not config.refit:
        found = evaluate(trained.model, split, "val", ks)
        rows += [Measurement(f"val_{name}", value, "", **common) for name, value in found.items()]
    rows += [Measurement(f"last_{name}", value, "", **common) for name, value in trained.last.items()]
    history = trained.history
    return [
        *rows,
        Measurement("best_epoch", history.best_epoch, "epoch", **common),
        Measurement("epochs", len(history.loss), "epoch", **common),
        Measurement("seconds_per_epoch", history.seconds_per_epoch, "s", **common),
        Measurement("train_seconds", trained.seconds, "s", **common),
        Measurement("teacher_seconds", trained.teacher_seconds, "s", **common),
        Measurement("model_bytes", size, "bytes", **common),
    ]


def model_bytes(model: Recommender, config: Config) -> float:
    """Bytes of what is stored: codes and levels, or the FP32 table; an item bias counts at 32 bits."""
    if isinstance(model, Bigear):
        return model.num_bytes(config.level_bits)
    if isinstance(model, LowBitRecommender):
        bias = model.item_bias()
        return model.low_bit_table().num_bytes(config.level_bits) + (0 if bias is None else 4 * bias.numel())
    return 4 * sum(part.numel() for part in model.parameters())


def build_model(
    config: Config, graph: BipartiteGraph, start: Tensor, say: Callable[[str], object] | None = None
) -> Recommender:
    """The untrained model of a resolved config.

    Args:
        config: resolved.
        graph: of the training part.
        start: teacher's table, or a random one.
        say: takes lines of progress.
    """
    layers = config.num_layers
    if config.method == "fp32":
        return LightGCN(graph, config.dim, layers, table=start)
    if config.rotation:
        start = start @ fitted_rotation(start, config.bits, per_node=config.method not in ONE_GRID)
    if config.method == "gnaq":
        return Gnaq(graph, start, _gnaq_options(config), layers, say)
    if config.method == "gnaq_as_released":
        switches = (config.tanh, config.linear_head, config.update_every, config.seed)
        return GnaqAsReleased(graph, start, config.bits, layers, *switches)
    if config.method in UNTRAINED:
        return PostTraining(graph, start, config.bits, config.method.endswith("node"), config.placement, layers)
    if config.method == "bigear":
        return Bigear(graph, start, layers, config.distillation)
    return {"lsq": LsqTable, "n2uq": N2uqTable}[config.method](graph, start, config.bits, layers)


def _gnaq_options(config: Config) -> GnaqOptions:
    values = {part.name: getattr(config, part.name) for part in fields(GnaqOptions)}
    if config.start == "random":
        values.update(refine_steps=0, anchor=0.0, order_weight=0.0)
    return GnaqOptions(**values)


def _low_bit(config: Config, split: RatingSplit, say: Callable[[str], object] | None) -> TrainedRecommender:
    graph = BipartiteGraph(split.train, config.device)
    teacher = None
    if config.start == "teacher":
        teacher = _full_precision(teacher_config(config), split, say)
        start = teacher.model.table().detach()
    else:
        start = initial_table(graph, config.dim, config.seed)
    began = time.perf_counter()
    model = build_model(config, graph, start, say)
    history, last = TrainHistory(), {}
    seconds = time.perf_counter() - began
    if config.method not in UNTRAINED:
        history, last = _train_low_bit(config, split, model, say)
        seconds += history.train_seconds + history.eval_seconds
    if config.level_bits == 16:
        model = StoredTable(graph, model.low_bit_table().with_half_levels(), model.item_bias(), model.num_layers)
    return TrainedRecommender(config, model, split, history, seconds, teacher.seconds if teacher else 0.0, last)


def _train_low_bit(
    config: Config, split: RatingSplit, model: Recommender, say: Callable[[str], object] | None
) -> tuple[TrainHistory, dict[str, float]]:
    """The history, and test metrics of the state after the last epoch."""
    last: dict[str, float] = {}
    ks = [k for k in KS if k <= split.data.num_items]

    def score(model: Recommender) -> None:
        last.update(evaluate(model, split, "test", ks))

    return _train_resumably(checkpoint_file(config, split), model, split, _options(config), say, score), last


def _train_resumably(
    checkpoint: Path,
    model: Recommender,
    split: RatingSplit,
    options: TrainOptions,
    say: Callable[[str], object] | None,
    final: Callable[[Recommender], object] | None = None,
) -> TrainHistory:
    """Train from the checkpoint or anew; the checkpoint is there until it is done."""
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(checkpoint.with_suffix(".lock")):
        history = train(model, split, options, checkpoint, say, final=final)
        checkpoint.unlink()
    return history


def checkpoint_file(config: Config, split: RatingSplit) -> Path:
    """Where a training keeps its state until it is done: named by its settings and the interactions."""
    settings = _teacher_settings(config) if is_teacher(config) else config.model_dump_json(exclude={"experiment"})
    facts = settings + fingerprint(split.train, split.val)
    return cache_dir() / "recommendation" / f"training-{sha256_bytes(facts.encode())[:12]}.pt"


def _full_precision(
    config: Config, split: RatingSplit, say: Callable[[str], object] | None = None
) -> TrainedRecommender:
    """Train or load a full-precision table."""
    used = split.with_validation_in_training() if config.refit else split
    graph = BipartiteGraph(used.train, config.device)
    model = LightGCN(graph, config.dim, config.num_layers, config.seed)
    if config.dataset not in INTERACTION_SETS:  # a folder's content can change under its name: nothing is kept
        return TrainedRecommender(config, model, split, *_train_full_precision(config, split, model, say))
    file = kept_file(config)
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(file.with_suffix(".lock")):  # parallel runs with the same teacher train it once
        loaded = _load_kept(file, model, split)
        if loaded is None:
            loaded = _train_full_precision(config, split, model, say)
            _keep(file, model, *loaded, split)
    return TrainedRecommender(config, model, split, *loaded)


def kept_file(config: Config) -> Path:
    """Where the table of a full-precision run is kept: named by the settings that shape it, and by no others."""
    digest = sha256_bytes(_teacher_settings(config).encode())[:12]
    return cache_dir() / "recommendation" / f"{config.dataset}-{digest}.safetensors"


def _teacher_settings(config: Config) -> str:
    names = ("dataset", "protocol", "split_seed", "share", "dim", "num_layers", "seed", "epochs", "batch_size", "lr",
             "l2", "schedule", "eval_every", "patience", "refit", "device", "sampling")  # fmt: skip
    return json.dumps(without_old_values({name: getattr(config, name) for name in names}))


def _train_full_precision(
    config: Config, split: RatingSplit, model: LightGCN, say: Callable[[str], object] | None
) -> tuple[TrainHistory, float]:
    options, checkpoint = _options(config), checkpoint_file(config, split)
    if not config.refit:
        history = _train_resumably(checkpoint, model, split, options, say)
        return history, history.train_seconds + history.eval_seconds
    chosen = _full_precision(config.model_copy(update={"refit": False}), split, say)
    values = {**asdict(options), "epochs": chosen.history.best_epoch}
    history = _train_resumably(checkpoint, model, split.with_validation_in_training(), TrainOptions(**values), say)
    history.best_epoch = chosen.history.best_epoch
    return history, chosen.seconds + history.train_seconds


def _options(config: Config) -> TrainOptions:
    names = ("epochs", "batch_size", "lr", "l2", "schedule", "eval_every", "patience", "seed", "sampling")
    clip = 3.0 if config.method == "gnaq_as_released" else 0.0
    return TrainOptions(**{name: getattr(config, name) for name in names}, clip=clip)


def _keep(file: Path, model: LightGCN, history: TrainHistory, seconds: float, split: RatingSplit) -> None:
    from safetensors.torch import save

    facts = {"history": json.dumps(asdict(history)), "seconds": str(seconds), "source": split.data.source}
    facts["split"] = fingerprint(split.train, split.val)
    atomic_write(file, save({"table": model.table().detach().cpu().contiguous()}, metadata=facts))


def _load_kept(file: Path, model: LightGCN, split: RatingSplit) -> tuple[TrainHistory, float] | None:
    """The history and seconds of a kept table, put into the model; None if there is none of this split."""
    from safetensors import SafetensorError, safe_open

    if not file.is_file():
        return None
    try:
        with safe_open(file, "pt") as content:
            facts, table = content.metadata(), content.get_tensor("table")
    except SafetensorError:
        file.unlink()
        return None
    # MovieLens-100K has another split in the package index, whose test items may have trained this table.
    if facts.get("split") != fingerprint(split.train, split.val):
        return None
    with torch.no_grad():
        model.embedding.copy_(table)
    return TrainHistory(**json.loads(facts["history"])), float(facts["seconds"])
