"""The training loop: what it restores, repeats, refuses."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from gnnq_lib.datasets import csbm_graph, random_split
from gnnq_lib.errors import InputError
from gnnq_lib.experiments.seeding import seed_everything
from gnnq_lib.experiments.training import Graph, TrainingOptions, _parameter_groups, evaluate, start_from, train
from gnnq_lib.models import DecoupledClassifier, Method, ModelOptions
from gnnq_lib.propagation import Smp

CUDA = pytest.param("cuda", marks=pytest.mark.gpu)
OPTIONS = ModelOptions(scheme=Smp(use_multiplier=False), num_layers=2, hidden=8, dropout=0.5)


@pytest.fixture(scope="module")
def graph() -> Graph:
    data = csbm_graph(num_nodes=60, num_classes=3, num_features=8, average_degree=4, signal=3.0)
    return Graph(data.with_split(random_split(data.labels, 0, 5, 15, 30), "random", 0))


def make(graph: Graph, method: Method = Method.FP32, seed: int = 0, **options) -> DecoupledClassifier:
    seed_everything(seed)
    return DecoupledClassifier(8, 3, graph.operator, replace(OPTIONS, method=method, **options))


@pytest.mark.parametrize("ranges", ["evaluation", "training"])
@pytest.mark.parametrize("method", Method, ids=[m.value for m in Method])
def test_the_best_validation_epoch_is_restored(graph, method, ranges):
    model = make(graph, method, calibration=ranges)
    # a rate this high makes accuracy jump about, so that the last epoch is rarely the best
    history = train(model, graph, TrainingOptions(epochs=6, lr=0.2))
    logits, data = evaluate(model, graph), graph.dataset
    assert history.val_accuracy[history.best_epoch] == max(history.val_accuracy)
    assert graph.accuracy(logits, data.val_mask) == history.val_accuracy[history.best_epoch]
    assert graph.accuracy(logits, data.test_mask) == history.test_accuracy[history.best_epoch]


@pytest.mark.parametrize("method", [Method.QLR, Method.BT_STAR, Method.NODE_POW2], ids=lambda m: m.value)
def test_the_restored_model_gives_that_epochs_logits_bit_for_bit(graph, method):
    model, seen = make(graph, method), []

    def probe(trained: nn.Module) -> None:
        seen.append(evaluate(trained, graph))

    history = train(model, graph, TrainingOptions(epochs=6, lr=0.1), probe=probe)
    assert torch.equal(evaluate(model, graph), seen[history.best_epoch])


def test_ties_go_to_the_lower_validation_loss(graph):
    class Scripted(nn.Module):
        """Right about every node, more surely so in the second epoch."""

        def __init__(self) -> None:
            super().__init__()
            self.sharpness = nn.Parameter(torch.ones(()))

        def forward(self, features, operator):
            return nn.functional.one_hot(graph.dataset.labels, 3).float() * self.sharpness

    history = train(Scripted(), graph, TrainingOptions(epochs=4, lr=0.1, weight_decay=0.0))
    assert history.val_accuracy == [100.0] * 4 and history.best_epoch == 3


@pytest.mark.parametrize("device", ["cpu", CUDA])
def test_a_graph_holds_the_data_on_its_device_and_leaves_the_data_set_alone(graph, device):
    data = graph.dataset
    before, identities = {k: v.clone() for k, v in tensors(data).items()}, {k: id(v) for k, v in tensors(data).items()}
    made = Graph(data, device)
    assert {k: id(v) for k, v in tensors(data).items()} == identities
    for name, value in tensors(data).items():
        assert value.device.type == "cpu" and torch.equal(value.to_dense(), before[name].to_dense())
        assert torch.equal(tensors(made.dataset)[name].to_dense().cpu(), value.to_dense())
    parts = [*tensors(made.dataset).values(), *tensors(made.features).values(), *tensors(made.operator).values()]
    assert {part.device.type for part in parts} == {made.device.type} == {device}


def tensors(thing: object) -> dict[str, torch.Tensor]:
    return {name: value for name, value in vars(thing).items() if isinstance(value, torch.Tensor)}


def test_loss_falls_and_the_classes_are_learned(graph):
    history = train(make(graph, dropout=0.0), graph, TrainingOptions(epochs=40, lr=0.05))
    assert history.loss[-1] < 0.5 * history.loss[0] and max(history.val_accuracy) > 60


def test_history_has_an_entry_per_epoch(graph):
    history = train(make(graph), graph, TrainingOptions(epochs=3), probe=lambda model: model.training)
    assert len(history.loss) == len(history.val_accuracy) == len(history.test_accuracy) == len(history.probes) == 3


@pytest.mark.parametrize("method", [Method.FP32, Method.NODE_POW2, Method.DEGREE_QUANT], ids=lambda m: m.value)
def test_the_seed_decides(graph, method):
    runs = [train(make(graph, method, seed), graph, TrainingOptions(epochs=3)).loss for seed in (0, 0, 1)]
    assert runs[0] == runs[1] != runs[2]


def test_distillation_pulls_towards_the_teacher(graph):
    data = graph.dataset
    teacher = 8 * nn.functional.one_hot((data.labels + 1) % 3, 3).float()  # wrong about every node
    options = TrainingOptions(epochs=40, lr=0.05, distillation=20.0)
    model = make(graph, dropout=0.0)
    losses = train(model, graph, options, teacher).loss
    plain = train(make(graph, dropout=0.0), graph, replace(options, distillation=0.0)).loss
    assert losses[0] > plain[0]
    agreement = (evaluate(model, graph).argmax(1) == teacher.argmax(1)).double().mean()
    assert agreement < 1  # the restored epoch is the best on validation, which the teacher gets wrong
    assert min(losses) < 0.7 * losses[0]


def test_distillation_without_a_teacher_is_refused(graph):
    with pytest.raises(InputError, match=r"distillation=1.0 was given without a teacher"):
        train(make(graph), graph, TrainingOptions(epochs=1, distillation=1.0))


def test_starting_from_a_teacher_copies_weights_and_leaves_quantizers(graph):
    teacher, model = make(graph, seed=5), make(graph, Method.NODE_POW2, seed=6)
    start_from(model, teacher)
    for name in ("weight1", "bias1", "weight2", "bias2"):
        assert torch.equal(getattr(model, name), getattr(teacher, name))
    assert not bool(model.hidden_quantizer.ready)


def test_starting_from_another_width_copies_what_fits(graph):
    teacher, model = make(graph, seed=5, hidden=4), make(graph, seed=6)
    before = model.weight1.clone()
    start_from(model, teacher)
    assert torch.equal(model.weight1, before) and torch.equal(model.bias2, teacher.bias2)


def test_parameters_get_their_rates_and_decays(graph):
    model = make(graph, Method.QLR)
    options = TrainingOptions(lr=0.1, weight_decay=0.2, second_weight_decay=0.3, quantizer_lr=0.4)
    groups = {(g["lr"], g["weight_decay"]): {id(p) for p in g["params"]} for g in _parameter_groups(model, options)}
    assert groups[0.1, 0.2] == {id(model.weight1), id(model.bias1)}
    assert groups[0.1, 0.3] == {id(model.weight2), id(model.bias2)}
    assert id(model.hidden_quantizer.alpha) in groups[0.4, 0.0]
    assert sum(map(len, groups.values())) == len(list(model.parameters()))


@pytest.mark.parametrize("schedule", ["constant", "step", "cosine"])
def test_schedules_are_accepted(graph, schedule):
    assert len(train(make(graph), graph, TrainingOptions(epochs=2, schedule=schedule)).loss) == 2


def test_an_unknown_schedule_is_refused(graph):
    with pytest.raises(InputError, match="schedule='linear'"):
        train(make(graph), graph, TrainingOptions(epochs=1, schedule="linear"))


@pytest.mark.parametrize(("part", "word"), [(0, "training"), (1, "validation")], ids=["training", "validation"])
def test_splits_without_training_or_validation_nodes_are_refused(graph, part, word):
    data = graph.dataset
    masks = [data.train_mask, data.val_mask, data.test_mask]
    masks[part] = torch.zeros(60, dtype=torch.bool)
    with pytest.raises(InputError, match=f"no {word} node"):
        train(make(graph), Graph(data.with_split(tuple(masks), "given", 0)), TrainingOptions(epochs=1))


def test_accuracy_by_hand(graph):
    logits = nn.functional.one_hot(graph.dataset.labels, 3).float()
    logits[0] = -logits[0]
    mask = torch.zeros(60, dtype=torch.bool)
    assert graph.accuracy(logits, mask) != graph.accuracy(logits, mask)  # no node: not a number
    mask[:4] = True
    assert graph.accuracy(logits, mask) == 75.0
