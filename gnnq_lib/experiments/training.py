"""Training a node classifier: one loop for every model, full precision or low bit, from scratch or from a teacher."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from gnnq_lib.datasets import NodeDataset
from gnnq_lib.errors import InputError
from gnnq_lib.models import FeatureMatrix
from gnnq_lib.propagation import GraphOperator
from gnnq_lib.quantizers import Quantizer, calibration


@dataclass(frozen=True)
class TrainingOptions:
    """How to train.

    Attributes:
        epochs: full-graph gradient steps.
        lr, weight_decay: Adam's, for weights and biases; what a model names in `second_parameters()` (the decoupled
            classifier: its second matrix and bias) takes `second_weight_decay`.
        quantizer_lr, quantizer_weight_decay: for range factors and logarithms of scales.
        step_lr: for step sizes, relative to their size.
        schedule: "constant", "step" (times 0.7 every 50 epochs, as released) or "cosine" (to 0).
        distillation: weight of the divergence from the teacher's class probabilities, on all nodes; 0 for none.

    Example:
        >>> TrainingOptions(epochs=5).schedule
        'constant'
    """

    epochs: int = 200
    lr: float = 0.01
    weight_decay: float = 5e-4
    second_weight_decay: float = 5e-4
    quantizer_lr: float = 1e-2
    quantizer_weight_decay: float = 0.0
    step_lr: float = 0.5
    schedule: str = "constant"
    distillation: float = 0.0


@dataclass
class History:
    """What happened, epoch by epoch, and where the best validation accuracy was.

    Attributes:
        loss: training loss.
        val_accuracy, test_accuracy: in percent, evaluation mode.
        best_epoch: epoch of the best validation accuracy; ties go to the lower validation loss.
        probes: whatever `probe` returned, epoch by epoch.
    """

    loss: list[float] = field(default_factory=list)
    val_accuracy: list[float] = field(default_factory=list)
    test_accuracy: list[float] = field(default_factory=list)
    best_epoch: int = -1
    probes: list = field(default_factory=list)


class Graph:
    """A data set made ready for training: sparse features and operators, built once.

    Args:
        dataset: left as it is.
        device: where everything is to be.

    Attributes:
        dataset: the data set with its tensors on that device.
        features, operator: what models are called with.

    Example:
        >>> from gnnq_lib.datasets import load_dataset
        >>> Graph(load_dataset("digits", split="random")).features.num_features
        64
    """

    def __init__(self, dataset: NodeDataset, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        tensors = {name: value.to(device) for name, value in vars(dataset).items() if isinstance(value, Tensor)}
        self.dataset = replace(dataset, **tensors)
        self.features = FeatureMatrix(self.dataset.features)
        self.operator = GraphOperator(self.dataset.edge_index, dataset.num_nodes)

    def accuracy(self, logits: Tensor, mask: Tensor) -> float:
        """Share of the masked nodes whose largest score is the label's, in percent."""
        if not bool(mask.any()):
            return float("nan")
        return 100 * float((logits.argmax(dim=1) == self.dataset.labels)[mask].double().mean())


def train(
    model: nn.Module,
    graph: Graph,
    options: TrainingOptions,
    teacher: Tensor | None = None,
    probe: Callable[[nn.Module], object] | None = None,
    progress: bool = False,
) -> History:
    """Train in place and leave the model with the weights of its best validation epoch.

    Args:
        model: called as model(features, operator) -> logits (|V|, C).
        graph: data with masks.
        options: see `TrainingOptions`.
        teacher: logits (|V|, C) to distil from, needed if `options.distillation` is not 0.
        probe: called with the model after every epoch; results are kept in the history.
        progress: show a bar.

    Raises:
        InputError: distillation without a teacher, an unknown schedule, no training or no validation node.
    """
    data = graph.dataset
    if options.distillation and teacher is None:
        raise InputError(
            f"distillation={options.distillation} was given without a teacher; give its logits as `teacher`."
        )
    if not bool(data.train_mask.any()):
        raise InputError(f"{data.name} has no training node; choose a split with at least one per class.")
    if not bool(data.val_mask.any()):
        raise InputError(f"{data.name} has no validation node to choose an epoch by; choose a split with some.")
    with calibration(model):
        model(graph.features, graph.operator)  # sets up ranges and steps before the optimizer collects parameters
    optimizer = torch.optim.Adam(_parameter_groups(model, options), lr=options.lr)
    scheduler = _scheduler(optimizer, options)
    history, best = History(), None
    for epoch in tqdm(range(options.epochs), disable=None if progress else True):
        history.loss.append(_step(model, graph, options, optimizer, teacher))
        scheduler.step()
        # Under `calibration`, evaluation also measures the ranges it uses: both fit the weights of this epoch.
        with calibration(model):
            logits = model(graph.features, graph.operator)
        history.val_accuracy.append(graph.accuracy(logits, data.val_mask))
        history.test_accuracy.append(graph.accuracy(logits, data.test_mask))
        loss = float(functional.cross_entropy(logits[data.val_mask], data.labels[data.val_mask]))
        rank = (history.val_accuracy[-1], -loss)
        if best is None or rank > best[0]:
            best = rank, {name: value.clone() for name, value in model.state_dict().items()}
            history.best_epoch = epoch
        if probe is not None:
            history.probes.append(probe(model))
    if best is not None:
        model.load_state_dict(best[1])
    model.eval()
    return history


def evaluate(model: nn.Module, graph: Graph) -> Tensor:
    """Logits in evaluation mode, without gradient."""
    model.eval()
    with torch.no_grad():
        return model(graph.features, graph.operator)


def start_from(model: nn.Module, teacher: nn.Module) -> None:
    """Copy weights and biases of a full-precision model; quantizers set themselves up on the first forward."""
    own = dict(model.named_parameters())
    with torch.no_grad():
        for name, value in teacher.named_parameters():
            if name in own and own[name].shape == value.shape:
                own[name].copy_(value)


def _step(
    model: nn.Module, graph: Graph, options: TrainingOptions, optimizer: torch.optim.Optimizer, teacher: Tensor | None
) -> float:
    data = graph.dataset
    model.train()
    optimizer.zero_grad()
    logits = model(graph.features, graph.operator)
    loss = functional.cross_entropy(logits[data.train_mask], data.labels[data.train_mask])
    if options.distillation:
        divergence = functional.kl_div(
            logits.log_softmax(1), teacher.log_softmax(1), log_target=True, reduction="batchmean"
        )
        loss = loss + options.distillation * divergence
    loss.backward()
    optimizer.step()
    return float(loss.detach())


def _parameter_groups(model: nn.Module, options: TrainingOptions) -> list[dict]:
    quantizers = [m for m in model.modules() if isinstance(m, Quantizer)]
    of_quantizers = {id(p) for q in quantizers for p in q.parameters()}
    steps = [getattr(q, name) for q in quantizers for name in q.step_names]
    of_steps = {id(p) for p in steps}
    second = {id(p) for p in model.second_parameters()} if hasattr(model, "second_parameters") else set()
    groups: dict[str, list] = {"quantizer": [], "second": [], "other": []}
    for parameter in model.parameters():
        kind = "quantizer" if id(parameter) in of_quantizers else "second" if id(parameter) in second else "other"
        if id(parameter) not in of_steps:
            groups[kind].append(parameter)
    settings = {
        "quantizer": (options.quantizer_lr, options.quantizer_weight_decay),
        "second": (options.lr, options.second_weight_decay),
        "other": (options.lr, options.weight_decay),
    }
    relative = [
        {"params": [p], "lr": options.step_lr * float(p.detach().abs().mean()), "weight_decay": 0.0} for p in steps
    ]
    return relative + [
        {"params": groups[kind], "lr": lr, "weight_decay": decay}
        for kind, (lr, decay) in settings.items()
        if groups[kind]
    ]


def _scheduler(optimizer: torch.optim.Optimizer, options: TrainingOptions) -> torch.optim.lr_scheduler.LRScheduler:
    if options.schedule == "constant":
        return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 1.0)
    if options.schedule == "cosine":
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, options.epochs))
    if options.schedule == "step":
        return torch.optim.lr_scheduler.StepLR(optimizer, 50, 0.7)
    raise InputError(f"schedule={options.schedule!r} was given; 'constant', 'step' and 'cosine' are accepted.")
