"""Node classification runs: a typed config in, measurements out (paper A)."""

from __future__ import annotations

import time
from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator
from torch import Tensor, nn

from gnnq_lib.datasets import DATASETS, load_dataset, load_folder
from gnnq_lib.experiments.config import ExperimentConfig, make_config
from gnnq_lib.experiments.seeding import seed_everything
from gnnq_lib.experiments.store import Measurement
from gnnq_lib.experiments.training import Graph, History, TrainingOptions, evaluate, start_from, train
from gnnq_lib.models import STAGES, DecoupledClassifier, Method, MethodOptions, ModelOptions
from gnnq_lib.models.decoupled import needs_recompute
from gnnq_lib.models.deep import DEEP_MODELS, deep_recipe, make_deep_model
from gnnq_lib.models.stages import StagedModel
from gnnq_lib.propagation import Appnp, Emp, MessagePlacement, Norm, Scheme, Smp

WITH_RANGES = ("qlr", "bt", "bt_star")
DECOUPLED = ("smp", "emp", "emp_released", "appnp", "mlp")
ModelName = Literal[
    "smp", "emp", "emp_released", "appnp", "mlp", "gcn", "sgc", "gcnii", "dagnn", "pairnorm", "dropedge"
]  # fmt: skip

# Full precision per data set: the released schedule; learning rate, dropout and weight decay by mean validation
# accuracy in a first search, which is not stored. A second, stored one (`gnnq run search_fp32`, `search_fp32_pubmed`)
# prefers others, by up to 0.85 points (Cora); what they give on the test part: `gnnq run accuracy_searched`. Coauthor
# CS: `gnnq run search_fp32_coauthor`, where two settings share the best validation accuracy; this one is the release's.
# On Coauthor Physics the default was best. Other data sets: the default.
FP32_RECIPES: dict[str, dict] = {
    "cora": {"lr": 0.02, "dropout": 0.8, "weight_decay": 1e-3, "second_weight_decay": 0.0},
    "citeseer": {"lr": 0.01, "dropout": 0.5, "weight_decay": 1e-3, "second_weight_decay": 0.0},
    "pubmed": {"lr": 0.02, "dropout": 0.5, "weight_decay": 5e-3, "second_weight_decay": 0.0},
    "cs": {"lr": 0.01, "dropout": 0.8, "weight_decay": 1e-5, "second_weight_decay": 1e-5},
}
# Fine-tuning on PubMed peaks on validation within 25 epochs, and an epoch there takes several times as long as on Cora.
FINE_TUNE_RECIPES: dict[str, dict] = {"pubmed": {"epochs": 40, "distillation": 1.0}}
# A folder of one's own, above 2 bits: `RECIPES` has a step_lr that was chosen for INT2. With more bits it can undo what
# full precision has learnt. Data sets known by name keep the recipe that their stored runs were made with.
FOLDER_STEP_LR = 0.05


class Config(ExperimentConfig):
    """Everything that decides a run; the defaults train INT2 SMP on Cora from an FP32 teacher.

    Attributes:
        dataset, split, split_seed: see `load_dataset`; a folder path is accepted as data set (see `load_folder`).
        model: propagation scheme or deep baseline.
        method, bits: see `models.methods`; bits is 32 for fp32.
        start: "fp32" starts from a full-precision model and distils from it; "scratch" trains from random weights, as
            the paper does; "continued", for fp32 only, trains a full-precision model on with the budget and the
            distillation that low-bit models from full precision have.
        num_layers, hidden, dropout: architecture.
        epochs, lr, weight_decay, second_weight_decay, quantizer_lr, step_lr, schedule, distillation: see
            `TrainingOptions`;
            None takes the recipe's value for this data set and start.
        stages, placement, calibration, dropout_first, as_released, exponent_bits, ratio, shared_ranges: see
            `ModelOptions`; ranges are shared by the methods with a range factor (qlr, bt, bt_star) only.
        multiplier, threshold, gap_term, non_negative, detach_change: see `Smp`.
        lambda1, lambda2, norm: see `Emp`.

    Example:
        >>> make_config(Config, {"experiment": "demo", "dataset": "cora", "bits": 2}).method
        'node_pow2'
    """

    dataset: str = "cora"
    split: Literal["public", "random", "given"] = "public"
    split_seed: int = Field(default=0, ge=0, lt=2**32)
    model: ModelName = "smp"
    method: Literal[tuple(m.value for m in Method)] = "node_pow2"  # type: ignore[valid-type]
    bits: int = Field(default=2, validate_default=True)
    start: Literal["fp32", "scratch", "continued"] = "fp32"
    num_layers: int = Field(default=10, ge=0, le=256)
    hidden: int | None = Field(default=None, ge=1)
    dropout: float | None = Field(default=None, ge=0, lt=1)
    epochs: int | None = Field(default=None, ge=1)
    teacher_epochs: int | None = Field(default=None, ge=1)
    lr: float | None = Field(default=None, gt=0)
    weight_decay: float | None = Field(default=None, ge=0)
    second_weight_decay: float | None = Field(default=None, ge=0)
    quantizer_lr: float | None = Field(default=None, ge=0)
    step_lr: float | None = Field(default=None, ge=0)
    schedule: Literal["constant", "step", "cosine"] | None = None
    distillation: float | None = Field(default=None, ge=0)
    stages: tuple[str, ...] = STAGES
    placement: Literal["node", "edge"] = "node"
    calibration: Literal["evaluation", "training"] = "evaluation"
    dropout_first: bool = False
    as_released: bool = False
    exponent_bits: int | None = Field(default=None, ge=0, le=3)
    ratio: float | None = Field(default=None, gt=0, le=1)
    shared_ranges: bool = False
    multiplier: bool = False
    threshold: float = 0.1
    gap_term: bool = False
    non_negative: bool = False
    detach_change: bool = False
    mu: float = 9.0
    lambda1: float = 3.0
    lambda2: float = 3.0
    norm: Literal["l21", "l1"] = "l21"

    @field_validator("bits")
    @classmethod
    def _bits(cls, bits: int, info: ValidationInfo) -> int:
        if bits != 32 and not 2 <= bits <= 8:
            raise ValueError("2 to 8, or 32 for full precision, are accepted")
        return bits

    @field_validator("start")
    @classmethod
    def _start(cls, start: str, info: ValidationInfo) -> str:
        if start == "continued" and info.data.get("method") != "fp32" and info.data.get("bits") != 32:
            raise ValueError("'continued' is for method 'fp32'; low-bit models take 'fp32' or 'scratch'")
        return start

    @field_validator("placement", "dropout_first")
    @classmethod
    def _as_in_deep_models(cls, value: str | bool, info: ValidationInfo) -> str | bool:
        low_bit = info.data.get("method") != "fp32" and info.data.get("bits") != 32
        if low_bit and info.data.get("model") in DEEP_MODELS and value in ("edge", True):
            raise ValueError(
                f"model {info.data['model']!r} quantizes messages per node and before dropout; "
                f"only {', '.join(DECOUPLED)} have this switch"
            )
        return value

    @field_validator("shared_ranges")
    @classmethod
    def _shared_ranges(cls, shared: bool, info: ValidationInfo) -> bool:
        if shared and (info.data.get("method") not in WITH_RANGES or info.data.get("bits") == 32):
            raise ValueError(f"only {', '.join(WITH_RANGES)} have range factors to share")
        if shared and info.data.get("model") in DEEP_MODELS:
            raise ValueError(f"only {', '.join(DECOUPLED)} have a propagation whose layers could share them")
        return shared

    @property
    def low_bit(self) -> bool:
        """True unless everything is full precision."""
        return self.method != "fp32" and self.bits != 32

    @property
    def has_teacher(self) -> bool:
        """True if training goes on from a full-precision model, which is the teacher too."""
        return self.start == "continued" or (self.low_bit and self.start == "fp32")


RECIPES = {
    "fp32": {"dropout": 0.8, "epochs": 200, "lr": 0.02, "weight_decay": 5e-4, "second_weight_decay": 5e-4,
             "schedule": "step", "quantizer_lr": 0.0, "step_lr": 0.0, "ratio": 0.6, "distillation": 0.0},
    "fine_tune": {"dropout": 0.8, "epochs": 100, "lr": 2e-3, "weight_decay": 1e-5, "second_weight_decay": 1e-5,
                  "schedule": "cosine", "quantizer_lr": 1e-2, "step_lr": 0.5, "ratio": 0.6, "distillation": 3.0},
    "scratch": {"dropout": 0.5, "epochs": 200, "lr": 0.01, "weight_decay": 1e-5, "second_weight_decay": 1e-5,
                "schedule": "step", "quantizer_lr": 1e-3, "step_lr": 0.05, "ratio": 0.6, "distillation": 0.0},
}  # fmt: skip


def resolve(config: Config) -> Config:
    """Fill every None from the recipe for the data set, model, method and start; of a folder also for the bits.

    Example:
        >>> run = {"experiment": "demo", "dataset": "path/to/a_folder", "split": "random"}
        >>> [resolve(make_config(Config, {**run, "bits": bits})).step_lr for bits in (2, 4, 8)]
        [0.5, 0.05, 0.05]
    """
    recipe = {"hidden": 64, **RECIPES[_recipe_name(config)]}
    if config.model in DEEP_MODELS:
        own = deep_recipe(config.model, config.dataset)
        # Of a model that starts from a teacher only the architecture is its own.
        recipe.update({name: own[name] for name in ("hidden", "dropout")} if config.has_teacher else own)
    elif config.has_teacher:
        recipe.update(FINE_TUNE_RECIPES.get(config.dataset, {}))
    elif not config.low_bit:
        recipe.update(FP32_RECIPES.get(config.dataset, {}))
    if config.dataset not in DATASETS and config.bits > 2 and _recipe_name(config) == "fine_tune":
        recipe["step_lr"] = FOLDER_STEP_LR
    missing = {name: value for name, value in recipe.items() if getattr(config, name) is None}
    return config.model_copy(update=missing)


def scheme_of(config: Config) -> Scheme:
    """The propagation scheme that a config names."""
    if config.model == "smp":
        return Smp(
            mu=config.mu,
            threshold=config.threshold,
            use_multiplier=config.multiplier,
            gap_term=config.gap_term,
            non_negative=config.non_negative,
            detach_change=config.detach_change,
        )
    if config.model in ("emp", "emp_released"):
        return Emp(config.lambda1, config.lambda2, Norm(config.norm), as_released=config.model == "emp_released")
    return Appnp()


def build_model(config: Config, graph: Graph) -> nn.Module:
    """A fresh model for a resolved config, on the graph's device; seeds the weights, the same on every device."""
    seed_everything(config.seed)
    return _new_model(config, graph).to(graph.device)


def _new_model(config: Config, graph: Graph) -> nn.Module:
    data = graph.dataset
    if config.model in DEEP_MODELS:
        sizes = data.num_features, data.num_classes, config.num_layers, config.hidden
        rules = _rules(config, graph) if config.low_bit else None
        return make_deep_model(config.model, *sizes, config.dropout, rules)
    num_layers = 0 if config.model == "mlp" else config.num_layers
    options = ModelOptions(
        scheme=scheme_of(config),
        num_layers=num_layers,
        hidden=config.hidden,
        dropout=config.dropout,
        method=Method(config.method) if config.low_bit else Method.FP32,
        num_bits=config.bits if config.low_bit else 8,
        stages=config.stages,
        placement=MessagePlacement(config.placement),
        dropout_first=config.dropout_first,
        as_released=config.as_released,
        calibration=config.calibration,
        exponent_bits=config.exponent_bits,
        ratio=config.ratio,
        shared_ranges=config.shared_ranges,
        recompute=needs_recompute(data.num_nodes, data.num_classes, num_layers),
    )
    return DecoupledClassifier(data.num_features, data.num_classes, graph.operator, options)


def load_graph(dataset: str, split: str = "public", split_seed: int = 0, device: str = "cpu") -> Graph:
    """The graph of a config, kept in memory for the next run of this process unless it comes from a folder.

    Example:
        >>> load_graph("digits", "random").dataset.num_classes
        10
    """
    if dataset in DATASETS:
        return _load_graph(dataset, split, split_seed, device)
    return _load_graph.__wrapped__(dataset, split, split_seed, device)  # a folder's content can change


@lru_cache(maxsize=2)
def _load_graph(dataset: str, split: str, split_seed: int, device: str) -> Graph:
    if dataset not in DATASETS and Path(dataset).is_dir():
        return Graph(load_folder(dataset, split, split_seed), device)
    return Graph(load_dataset(dataset, split=split, seed=split_seed), device)


def fit(config: Config, graph: Graph | None = None, **train_arguments: object) -> tuple[nn.Module, History, Graph]:
    """Train one model as its config says; the returned model carries the best validation epoch's weights.

    Args:
        config: resolved or not.
        graph: data to use in place of the config's, on the graph's device.
        train_arguments: `probe`, `progress`, passed on to `train`.

    Example:
        >>> tiny = make_config(Config, {"experiment": "demo", "dataset": "digits", "split": "random",
        ...                             "method": "fp32", "bits": 32, "epochs": 2})
        >>> len(fit(tiny)[1].loss)
        2
    """
    config = resolve(config)
    graph = graph or load_graph(config.dataset, config.split, config.split_seed, config.device)
    teacher, teacher_logits = None, None
    if config.has_teacher:
        teacher = _teacher(teacher_config(config), graph)
        teacher_logits = evaluate(teacher, graph)
    model = build_model(config, graph)
    if teacher is not None:
        start_from(model, teacher)
    history = train(model, graph, _training_options(config, teacher_logits), teacher_logits, **train_arguments)
    return model, history, graph


def teacher_config(config: Config) -> Config:
    """The full-precision run that a low-bit run starts from."""
    keep = ("experiment", "profile", "seed", "device", "dataset", "split", "split_seed", "model", "num_layers",
            "hidden", "multiplier", "threshold", "gap_term", "non_negative", "detach_change", "mu", "lambda1",
            "lambda2", "norm")  # fmt: skip
    values = {name: getattr(config, name) for name in keep}
    return resolve(make_config(Config, {**values, "method": "fp32", "bits": 32, "epochs": config.teacher_epochs}))


_TEACHERS: dict[str, tuple[Graph, nn.Module]] = {}


def _teacher(config: Config, graph: Graph) -> nn.Module:
    """The teacher; the last one is kept, since the same seed often serves several methods in a row."""
    key = config.model_copy(update={"experiment": "teacher"}).model_dump_json()
    if key not in _TEACHERS or _TEACHERS[key][0] is not graph:
        _TEACHERS.clear()
        _TEACHERS[key] = graph, fit(config, graph)[0]
    return _TEACHERS[key][1]


def run_one(config: Config) -> list[Measurement]:
    """Train, evaluate, and return accuracy, bits per value and size as measurements."""
    start = time.perf_counter()
    config = resolve(config)
    model, history, graph = fit(config)
    seconds = time.perf_counter() - start
    stage_bits = model.bits_per_value(graph.features) if config.low_bit else {}
    largest = max(stage_bits.values(), default=32.0)
    common = {
        "bits_per_value": largest,
        "source": graph.dataset.source,
        "method": config.method if config.low_bit else "fp32",
    }
    rows = [
        Measurement("test_accuracy", history.test_accuracy[history.best_epoch], "%", **common),
        Measurement("val_accuracy", history.val_accuracy[history.best_epoch], "%", **common),
        Measurement("best_epoch", history.best_epoch, "epoch", **common),
        Measurement("train_seconds", seconds, "s", **common),
        Measurement("model_bytes", parameter_bytes(model), "bytes", **common),
    ]
    return rows + [Measurement(f"bits_{stage}", bits, "bits per value", **common) for stage, bits in stage_bits.items()]


def parameter_bytes(model: nn.Module) -> float:
    """Bytes of weights and biases at their bits, scales included."""
    if isinstance(model, StagedModel):
        return model.parameter_bytes()
    weights = (model.weight1, model.weight2)
    bits = sum(
        q.bits_per_value(tuple(w.shape)) * w.numel() for q, w in zip(model.weight_quantizers, weights, strict=True)
    )
    return bits / 8 + 4 * (model.bias1.numel() + model.bias2.numel())


def _rules(config: Config, graph: Graph) -> MethodOptions:
    """The quantizers of a low-bit deep baseline."""
    return MethodOptions(
        Method(config.method),
        config.bits,
        config.stages,
        graph.operator.degree,
        graph.dataset.num_classes,
        config.as_released,
        config.calibration,
        config.exponent_bits,
        config.ratio,
    )


def _recipe_name(config: Config) -> str:
    if config.has_teacher:
        return "fine_tune"
    return "scratch" if config.low_bit else "fp32"


def _training_options(config: Config, teacher: Tensor | None) -> TrainingOptions:
    return TrainingOptions(
        epochs=config.epochs,
        lr=config.lr,
        weight_decay=config.weight_decay,
        second_weight_decay=config.second_weight_decay,
        quantizer_lr=config.quantizer_lr,
        step_lr=config.step_lr,
        schedule=config.schedule,
        distillation=0.0 if teacher is None else config.distillation,
    )
