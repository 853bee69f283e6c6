"""Energy runs on a small generated graph: what is measured is what the model holds, layer by layer."""

from __future__ import annotations

import pytest
import torch

from gnnq_lib.errors import InputError
from gnnq_lib.experiments import energy
from gnnq_lib.experiments.config import make_config
from gnnq_lib.experiments.energy import MODELS, Config, run_one
from gnnq_lib.experiments.node_classification import load_graph
from gnnq_lib.experiments.tables import load_table
from gnnq_lib.propagation import dirichlet_energy, mean_average_distance

CUDA = pytest.param("cuda", marks=pytest.mark.gpu)
BASE = {"experiment": "test", "dataset": "csbm", "split": "random", "num_layers": 6, "epochs": 3}


def measured(**settings):
    return {m.metric: m.value for m in run_one(make_config(Config, {**BASE, **settings}))}


@pytest.mark.parametrize("device", ["cpu", CUDA])
@pytest.mark.parametrize("model", MODELS)
def test_every_model_is_measured_after_each_reported_layer(model, device):
    found = measured(model=model, device=device)
    expected = [1, 2, 4, 5, 6] if model in ("gcn", "pairnorm") else [0, 1, 2, 4, 6]
    for name, most in (("dirichlet_energy", 2), ("mean_average_distance", 2)):
        layers = [int(metric.split("@")[1]) for metric in found if metric.startswith(name)]
        assert layers == expected
        assert all(0 <= found[f"{name}@{layer}"] <= most for layer in layers)
    assert 0 <= found["test_accuracy"] <= 100


class Frozen(torch.nn.Module):
    """Stands in for a trained model: holds the given embeddings."""

    def __init__(self, embeddings):
        super().__init__()
        self.embeddings = embeddings

    def forward(self, features, operator, trajectory):
        trajectory.embeddings.extend(self.embeddings)


def test_values_are_those_of_the_embeddings(monkeypatch):
    graph = load_graph("csbm", "random")
    history = type("History", (), {"test_accuracy": [50.0], "best_epoch": 0})
    held = [torch.randn(graph.dataset.num_nodes, 4, generator=torch.Generator().manual_seed(i)) for i in range(6)]
    monkeypatch.setattr(energy, "fit", lambda config: (Frozen(held), history, graph))
    found = measured(model="gcn")
    assert found["dirichlet_energy@1"] == dirichlet_energy(held[0], graph.operator, relative=True)
    assert found["mean_average_distance@6"] == mean_average_distance(held[5], graph.operator)
    assert "dirichlet_energy@0" not in found and "dirichlet_energy@3" not in found


def test_a_shift_of_a_row_of_class_scores_does_not_count():
    """INT2 scores are kept up to a shift; without taking it out their energy would not be comparable."""
    full, low = measured(epochs=30), measured(method="node_pow2", bits=8, epochs=30)
    for metric in ("dirichlet_energy@6", "mean_average_distance@6"):
        assert low[metric] == pytest.approx(full[metric], rel=0.25)


def test_propagation_without_end_smooths():
    found = measured(model="appnp", num_layers=16)
    assert found["dirichlet_energy@16"] < found["dirichlet_energy@1"] < found["dirichlet_energy@0"]


def test_same_seed_same_numbers_another_seed_others():
    assert measured(seed=1) == measured(seed=1) != measured(seed=2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "qlr"}, "bits is 32: 32 is accepted for method 'fp32', 2 to 8 for the others"),
        ({"bits": 2}, "bits is 2: 32 is accepted for method 'fp32'"),
        ({"model": "dropedge"}, "model is 'dropedge'"),
        ({"num_layers": 0}, "num_layers is 0"),
    ],
    ids=["bits", "method", "model", "layers"],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(InputError, match=message):
        make_config(Config, {**BASE, **settings})


def test_the_table_has_full_precision_and_int2():
    configs = load_table("paper_energy").configs
    assert len(configs) == 15 and {c.num_layers for c in configs} == {32}
    assert {(c.model, c.bits) for c in configs} == {*((m, 32) for m in ("gcn", "appnp", "emp", "smp")), ("smp", 2)}
