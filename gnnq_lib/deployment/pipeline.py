"""What `gnnq quantize` and `gnnq evaluate` do: train, pack, check against the simulated model, measure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from gnnq_lib.datasets import DATASETS
from gnnq_lib.deployment.file_format import expected_bytes, fp32_bytes, load_packed, save_packed
from gnnq_lib.deployment.freezing import freeze
from gnnq_lib.deployment.packed_model import PackedModel, fingerprint
from gnnq_lib.errors import InputError
from gnnq_lib.experiments.config import make_config
from gnnq_lib.experiments.node_classification import Config, fit, load_graph
from gnnq_lib.experiments.training import Graph, evaluate
from gnnq_lib.files import check_writable
from gnnq_lib.naming import nearest

TOLERANCE = 1e-5  # of packed logits against simulated ones; they are expected to be equal
TRAINED_BITS = (2, 4, 8)


class PackingError(RuntimeError):
    """A packed model that does not give the simulated model's answers; nothing was written."""


@dataclass(frozen=True)
class PackingReport:
    """What packing a trained model gave.

    Attributes:
        dataset, bits, num_nodes: of the run.
        accuracy_simulated, accuracy_packed: on test nodes, in percent.
        largest_difference: between a packed and a simulated logit, over all nodes and classes.
        other_classes: nodes whose predicted class differs.
        file_bytes, expected_bytes, fp32_bytes: on disk, by formula, and weights and biases at 4 bytes each.
        bits_per_weight: of the file, everything in it included, per weight and bias.
        bits_per_value: the largest of all stages, scales included.
    """

    dataset: str
    bits: int
    num_nodes: int
    accuracy_simulated: float
    accuracy_packed: float
    largest_difference: float
    other_classes: int
    file_bytes: int
    expected_bytes: int
    fp32_bytes: int
    bits_per_weight: float
    bits_per_value: float

    @property
    def times_smaller(self) -> float:
        """FP32 bytes divided by the bytes of the file."""
        return self.fp32_bytes / self.file_bytes


@dataclass(frozen=True)
class Evaluation:
    """What a packed model does on a graph.

    Attributes:
        dataset, bits, num_nodes: of the data and the model.
        test_accuracy, val_accuracy: in percent, NaN without such nodes.
        trained_graph: whether this is the graph that the model was trained on (SMP's multipliers are stored for it
            and measured anew for another).
    """

    dataset: str
    bits: int
    num_nodes: int
    test_accuracy: float
    val_accuracy: float
    trained_graph: bool


def training_config(
    data: str,
    bits: int,
    split: str | None = None,
    split_seed: int = 0,
    seed: int = 0,
    epochs: int | None = None,
    **settings: int | None,
) -> Config:
    """The repository's recipe for a model that can be packed.

    Args:
        data: name of a data set, or a folder with a graph of your own.
        bits: 2, 4 or 8.
        split: "public", "random" or "given"; None takes the data set's own.
        split_seed: of a random split.
        seed: of weights and dropout.
        epochs: of both trainings, full precision and low bit; None takes the recipe's.
        settings: others of `Config`, such as num_layers and hidden; None takes the default.

    Raises:
        InputError: a setting that does not exist or is out of range, a width that is not trained or cannot be packed,
            data or a split that do not exist.

    Example:
        >>> training_config("digits", 2).split
        'random'
    """
    if bits not in TRAINED_BITS:
        raise InputError(f"bits={bits} was given; 2, 4 or 8 are accepted for a packed model.")
    found = load_data(data, split, split_seed).dataset.split
    values = {"experiment": "quantize", "dataset": data, "split": found, "split_seed": split_seed, "bits": bits}
    values |= {name: value for name, value in settings.items() if value is not None}
    return make_config(Config, {**values, "seed": seed, "epochs": epochs, "teacher_epochs": epochs})


def load_data(data: str, split: str | None = None, split_seed: int = 0) -> Graph:
    """A data set by name, or a folder; see `training_config`.

    Raises:
        InputError: neither the one nor the other.
    """
    if data not in DATASETS and not Path(data).is_dir():
        raise InputError(
            f"data {data!r} is neither a data set{nearest(data, DATASETS)} nor a folder; {', '.join(DATASETS)} "
            "or a folder with edges, features and labels is accepted."
        )
    return load_graph(data, split, split_seed)


def quantize(config: Config, out: Path | str) -> tuple[PackedModel, PackingReport]:
    """Train, pack, compare with the simulated model on every node, and write the file.

    Args:
        config: see `training_config`.
        out: the file to write.

    Raises:
        InputError: a folder that does not exist, or a model that cannot be packed.
        PackingError: packed and simulated answers differ; nothing is written then.
    """
    out = Path(out)
    if not out.parent.is_dir() or out.is_dir():
        raise InputError(f"out={str(out)!r} was given; a file name in a folder that exists is accepted.")
    check_writable(out)  # before training, not after it
    model, _, graph = fit(config)
    simulated = evaluate(model, graph)
    packed = freeze(model, graph, _settings(config, graph.dataset.name))
    logits = packed.logits(graph)
    difference, others = compare(logits, simulated)
    if difference > TOLERANCE or others:
        raise PackingError(
            f"the packed model's logits differ from the simulated ones by up to {difference:.1e}, "
            f"and {others} of {len(logits)} nodes get another class; nothing was written."
        )
    size = save_packed(packed, out).stat().st_size
    fp32 = fp32_bytes(packed.header)
    test = graph.dataset.test_mask
    report = PackingReport(
        dataset=graph.dataset.name,
        bits=packed.header.bits,
        num_nodes=graph.dataset.num_nodes,
        accuracy_simulated=graph.accuracy(simulated, test),
        accuracy_packed=graph.accuracy(logits, test),
        largest_difference=difference,
        other_classes=others,
        file_bytes=size,
        expected_bytes=expected_bytes(packed.header),
        fp32_bytes=fp32,
        bits_per_weight=32 * size / fp32,
        bits_per_value=max(model.bits_per_value(graph.features).values()),
    )
    return packed, report


def compare(packed: Tensor, simulated: Tensor) -> tuple[float, int]:
    """Largest difference of two sets of logits, and number of rows whose largest entry is elsewhere.

    Example:
        >>> import torch; compare(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 0.5]]))
        (1.5, 1)
    """
    others = int((packed.argmax(dim=1) != simulated.argmax(dim=1)).sum())
    return float((packed - simulated).abs().max()), others


def evaluate_file(
    path: Path | str, data: str | None = None, split: str | None = None, split_seed: int | None = None
) -> Evaluation:
    """Load a packed model and run it on integer kernels.

    Args:
        path: the file.
        data: see `training_config`; None takes the data set the model was trained on.
        split, split_seed: None takes those of the training, if the data are the same.

    Raises:
        InputError: a file or data that do not fit, each for its reason.
    """
    model = load_packed(path)
    header = model.header
    data = header.dataset if data is None else data
    known: Mapping = header.config if header.dataset in (data, Path(data).resolve().name) else {}
    seed = int(known.get("split_seed", 0)) if split_seed is None else split_seed
    graph = load_data(data, split or known.get("split"), seed)
    if graph.dataset.num_classes != header.num_classes:
        raise InputError(
            f"{data} has {graph.dataset.num_classes} classes and {path} predicts {header.num_classes}; "
            f"give data with the classes of {header.dataset}."
        )
    names = list(graph.dataset.class_names)
    if names and header.class_names and names != header.class_names:
        raise InputError(
            f"{data} has the classes {', '.join(names)} and {path} predicts {', '.join(header.class_names)}; "
            "give data with the same ones, named the same."
        )
    logits = model.logits(graph)
    return Evaluation(
        dataset=graph.dataset.name,
        bits=header.bits,
        num_nodes=graph.dataset.num_nodes,
        test_accuracy=graph.accuracy(logits, graph.dataset.test_mask),
        val_accuracy=graph.accuracy(logits, graph.dataset.val_mask),
        trained_graph=fingerprint(graph) == header.trained_graph,
    )


def _settings(config: Config, name: str) -> dict:
    """What differs from the defaults: enough to repeat the run. Of a folder only its name: files travel."""
    return {**config.model_dump(mode="json", exclude_defaults=True), "dataset": name}
