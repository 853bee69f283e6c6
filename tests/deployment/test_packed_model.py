"""Packed against simulated, bit for bit: widths, feature kinds, depths, multipliers, other graphs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gnnq_lib.datasets import load_dataset
from gnnq_lib.datasets.node_dataset import unsplit
from gnnq_lib.deployment import PackedModel, expected_bytes, fp32_bytes, freeze, load_packed, save_packed
from gnnq_lib.experiments.training import Graph, TrainingOptions, evaluate, train
from gnnq_lib.kernels import available_isas
from gnnq_lib.models import DecoupledClassifier, Method, ModelOptions
from gnnq_lib.propagation import Appnp, Emp, MessagePlacement, Smp, Trajectory
from tests.deployment.conftest import ISOLATED

# Large multipliers, so that the correction changes codes; a step that lets them change from layer to layer.
CORRECTED = Smp(multiplier_start=0.4, eta_lambda=1e-3)
SCHEMES = [Appnp(0.2), Smp(mu=4.0, use_multiplier=False), CORRECTED]


def same(packed: PackedModel, graph, simulated: torch.Tensor) -> bool:
    return torch.equal(packed.logits(graph), simulated)


WIDTHS = [(kind, bits) for kind in ("digits", "csbm", "words", "three classes") for bits in (1, 2, 4, 8)]
WIDTHS.remove(("csbm", 1))  # features of either sign need 2 bits


@pytest.mark.parametrize(("kind", "bits"), WIDTHS)
def test_logits_are_those_of_the_simulated_model(bits, kind, graphs, make_model):
    graph, model = graphs[kind], make_model(kind, bits)
    simulated = evaluate(model, graph)
    assert simulated.unique(dim=0).shape[0] > 3, "a constant answer would be easy to match"
    assert same(freeze(model, graph), graph, simulated)


@pytest.mark.parametrize("layers", [0, 1, 10])
def test_every_depth(layers, graphs, make_model):
    model = make_model("words", layers=layers)
    assert same(freeze(model, graphs["words"]), graphs["words"], evaluate(model, graphs["words"]))


@pytest.mark.parametrize("scheme", SCHEMES, ids=["appnp", "keeps its state", "corrected"])
@pytest.mark.parametrize("kind", ["digits", "words", "three classes"])
def test_every_scheme(scheme, kind, graphs, make_model):
    graph, model = graphs[kind], make_model(kind, scheme=scheme)
    assert same(freeze(model, graph), graph, evaluate(model, graph))


def test_three_classes_have_exponents_two_octaves_apart(graphs, make_model):
    header = freeze(make_model("three classes"), graphs["three classes"]).header
    assert (header.exponent_bits, header.stride) == (1, 2)


def test_the_multiplier_is_at_work(graphs, make_model):
    model = make_model("words", scheme=CORRECTED)
    packed = freeze(model, graphs["words"])
    multipliers = packed.tensors["multipliers"]
    assert multipliers[0] == torch.tensor(0.4) and multipliers.unique().numel() == 3
    without = make_model("words")
    assert not same(packed, graphs["words"], evaluate(without, graphs["words"]))


def test_after_training(graphs, make_model):
    graph = graphs["words"]
    model = make_model("words", run=False)
    train(model, graph, TrainingOptions(epochs=5))
    assert same(freeze(model, graph), graph, evaluate(model, graph))


@pytest.mark.parametrize("bits", [2, 8])
def test_after_saving_and_loading(bits, graphs, make_model, tmp_path):
    graph, model = graphs["digits"], make_model("digits", bits, scheme=CORRECTED)
    packed = freeze(model, graph, {"seed": 3, "lr": 0.5})
    loaded = load_packed(save_packed(packed, tmp_path / "model.safetensors"))
    assert loaded.header == packed.header and loaded.header.config == {"seed": 3, "lr": 0.5}
    assert all(torch.equal(loaded.tensors[name], tensor) for name, tensor in packed.tensors.items())
    assert same(loaded, graph, evaluate(model, graph))


def test_isolated_nodes_and_nodes_without_words(graphs, make_model):
    graph, model = graphs["words"], make_model("words")
    assert graph.operator.degree[:ISOLATED].tolist() == [1.0] * ISOLATED
    assert graph.features.row_ptr[-1] == graph.features.row_ptr[-2]
    packed, simulated = freeze(model, graph).logits(graph), evaluate(model, graph)
    assert torch.equal(packed[:ISOLATED], simulated[:ISOLATED]) and torch.equal(packed[-1], simulated[-1])


@pytest.mark.parametrize("scheme", [Smp(use_multiplier=False), CORRECTED], ids=["plain", "corrected"])
def test_another_graph_with_words(scheme, graphs, make_model):
    graph, other, model = graphs["words"], graphs["other words"], make_model("words", scheme=scheme)
    assert same(freeze(model, graph), other, evaluate(model, other))


def test_multipliers_are_stored_for_the_trained_graph_and_recomputed_for_another(graphs, make_model):
    graph, other, model = graphs["words"], graphs["other words"], make_model("words", scheme=CORRECTED)
    packed = freeze(model, graph)
    moved = PackedModel(packed.header, {**packed.tensors, "multipliers": packed.tensors["multipliers"] + 1})
    assert torch.equal(moved.logits(other), packed.logits(other))
    assert not torch.equal(moved.logits(graph), packed.logits(graph))
    trajectory = Trajectory()
    model.eval()(other.features, other.operator, trajectory)
    stored = packed.tensors["multipliers"]
    assert trajectory.multiplier[0] != stored[1], "the two graphs should have different multipliers"


@pytest.mark.parametrize("isa", ["reference", "plain"])
def test_other_paths_give_the_same(isa, graphs, make_model, monkeypatch):
    if isa not in available_isas():
        pytest.skip(f"no {isa} path here")
    graph, model = graphs["digits"], make_model("digits", scheme=CORRECTED)
    simulated = evaluate(model, graph)
    monkeypatch.setenv("GNNQ_KERNEL_ISA", isa)
    assert same(freeze(model, graph), graph, simulated)


def test_another_graph_keeps_the_column_scales_of_the_trained_one(graphs, make_model):
    graph, model = graphs["digits"], make_model("digits")
    packed = freeze(model, graph)
    data = graph.dataset
    half = type(graph)(type(data)(**{**vars(data), "features": (data.features.to_dense() * 0.5).to_sparse_csr()}))
    scale = packed.tensors["column_scale"]
    model._low_bit_inputs = (half.features, half.features.low_bit(2, scale))
    assert not torch.equal(half.features.low_bit(2, scale).codes, half.features.low_bit(2).codes)
    assert same(packed, half, evaluate(model, half))


@settings(max_examples=40, deadline=None)
@given(
    num_nodes=st.integers(2, 9),
    density=st.floats(0, 1),
    kind=st.sampled_from(["binary", "graded", "signed"]),
    bits=st.sampled_from([2, 4, 8]),
    scheme=st.sampled_from(SCHEMES),
    seed=st.integers(0, 1000),
)
def test_any_small_graph(num_nodes, density, kind, bits, scheme, seed):
    """With and without edges, words or classes that differ; down to two nodes."""
    rng = np.random.default_rng(seed)
    features = rng.integers(0, 2, (num_nodes, 5)).astype(np.float32)
    features *= {"binary": 1.0, "graded": rng.random((num_nodes, 5)), "signed": rng.normal(size=(num_nodes, 5))}[kind]
    edges = np.argwhere(rng.random((num_nodes, num_nodes)) < density).T
    graph = Graph(unsplit("small", features, edges, np.arange(num_nodes) % 2, "generated"))
    torch.manual_seed(seed)
    options = ModelOptions(scheme, 2, 6, method=Method.NODE_POW2, num_bits=bits)
    model = DecoupledClassifier(5, 2, graph.operator, options)
    simulated = evaluate(model, graph)
    assert same(freeze(model, graph), graph, simulated)


def test_prepared_once_called_often(graphs, make_model):
    graph, model = graphs["csbm"], make_model("csbm")
    prepared = freeze(model, graph).prepare(graph)
    assert torch.equal(prepared(), prepared())
    assert torch.equal(prepared(), evaluate(model, graph))


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("kind", ["digits", "words"])
def test_size_is_the_formulas(bits, kind, graphs, make_model, tmp_path):
    packed = freeze(make_model(kind, bits), graphs[kind])
    path = save_packed(packed, tmp_path / "model.safetensors")
    assert path.stat().st_size == pytest.approx(expected_bytes(packed.header), rel=0.03)


def test_fp32_size_counts_weights_and_biases(graphs, make_model):
    model = make_model("words")
    own = (model.weight1, model.weight2, model.bias1, model.bias2)
    assert fp32_bytes(freeze(model, graphs["words"]).header) == 4 * sum(p.numel() for p in own)


@pytest.mark.parametrize("name", ["cora", "citeseer", "pubmed"])
def test_real_graphs(name, real_data, tmp_path):
    """Untrained weights; trained ones, and CS too: `gnnq run packed_models`."""
    graph = Graph(load_dataset(name, root=real_data))
    torch.manual_seed(0)
    options = ModelOptions(Smp(use_multiplier=False), method=Method.NODE_POW2, num_bits=2)
    model = DecoupledClassifier(graph.features.num_features, graph.dataset.num_classes, graph.operator, options)
    simulated = evaluate(model, graph)
    packed = freeze(model, graph)
    assert same(packed, graph, simulated)
    size = save_packed(packed, tmp_path / "model.safetensors").stat().st_size
    assert size == pytest.approx(expected_bytes(packed.header), rel=0.03)
    assert fp32_bytes(packed.header) / size > (12 if graph.features.num_features >= 1433 else 10)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"bits": 3}, "with 3 bits .* 1, 2, 4 or 8 bits"),
        ({"run": False}, "never ran"),
        ({"placement": MessagePlacement.EDGE, "run": False}, "per edge"),
        ({"stages": ("inputs", "weights"), "run": False}, "whose features are not quantized"),
        ({"scheme": Emp()}, "with Emp"),
        ({"scheme": Smp(gap_term=True)}, "gap_term=True"),
    ],
    ids=["width", "never ran", "per edge", "stages", "scheme", "gap term"],
)
def test_freeze_refuses(options, reason, graphs, make_model, refuses):
    model = make_model("words", **options)
    with refuses(reason):
        freeze(model, graphs["words"])


def test_freeze_refuses_other_methods_graphs_and_objects(graphs, make_model, refuses):
    with refuses("method qlr"):
        model = make_model("words", run=False)
        object.__setattr__(model.options, "method", Method.QLR)
        freeze(model, graphs["words"])
    with refuses("64 features was given for a model of 24"):
        freeze(make_model("words"), graphs["digits"])
    with refuses("a Linear was given"):
        freeze(torch.nn.Linear(2, 2), graphs["words"])


def test_refuses_a_graph_of_other_features(graphs, make_model, refuses):
    packed = freeze(make_model("words"), graphs["words"])
    with refuses("64 graded features given; this model takes 24 binary ones"):
        packed.logits(graphs["digits"])
