"""Baselines for depth: the same numbers as torch_geometric's own paths on dense input, and their special parts."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch_geometric.nn import GCN2Conv, GCNConv, PairNorm, SGConv

from gnnq_lib.errors import InputError
from gnnq_lib.experiments.training import TrainingOptions, evaluate, train
from gnnq_lib.models import FeatureMatrix
from gnnq_lib.models.deep import DEEP_MODELS, Gcn, SparseLinear, deep_recipe, make_deep_model
from gnnq_lib.propagation import GraphOperator

each_model = pytest.mark.parametrize("name", DEEP_MODELS)


def make(name: str, layers: int = 3, dropout: float = 0.0) -> torch.nn.Module:
    torch.manual_seed(0)
    return make_deep_model(name, 8, 3, layers, 6, dropout)


def check(ours: Tensor, theirs: Tensor, parameters: list[Tensor]) -> None:
    """Values and gradients agree."""
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    upstream = torch.randn(ours.shape, generator=torch.Generator().manual_seed(1))
    first = torch.autograd.grad((ours * upstream).sum(), parameters, retain_graph=True)
    second = torch.autograd.grad((theirs * upstream).sum(), parameters)
    for mine, their in zip(first, second):
        torch.testing.assert_close(mine, their, rtol=1e-3, atol=1e-4)


def dense_linear(layer: SparseLinear, x: Tensor) -> Tensor:
    return x @ layer.weight + (0 if layer.bias is None else layer.bias)


def functional(layer: torch.nn.Module, weights: dict[str, Tensor], *inputs: Tensor) -> Tensor:
    """A torch_geometric layer computed with other weights, gradients included."""
    return torch.func.functional_call(layer, weights, inputs)


def test_the_six_are_there():
    assert set(DEEP_MODELS) == {"gcn", "sgc", "gcnii", "dagnn", "pairnorm", "dropedge"}


@pytest.mark.parametrize("name", ["gcn", "pairnorm"])
def test_gcn_is_torch_geometrics(tiny, name):
    model, edges, x = make(name, 2), tiny.dataset.edge_index, tiny.dataset.features.to_dense()
    one, two = model.convs
    norm = PairNorm(scale_individually=True) if name == "pairnorm" else torch.nn.Identity()
    first = {"lin.weight": one.lin.weight.t(), "bias": one.bias}
    hidden = torch.relu(norm(functional(GCNConv(8, 6), first, x, edges)))
    expected = functional(GCNConv(6, 3), dict(two.named_parameters()), hidden, edges)
    check(model(tiny.features, tiny.operator), expected, list(model.parameters()))


def test_sgc_is_torch_geometrics(tiny):
    model = make("sgc", 5)
    weights = {"lin.weight": model.linear.weight.t(), "lin.bias": model.bias}
    expected = functional(SGConv(8, 3, K=5), weights, tiny.dataset.features.to_dense(), tiny.dataset.edge_index)
    check(model(tiny.features, tiny.operator), expected, list(model.parameters()))


def test_gcnii_is_torch_geometrics(tiny):
    model, edges = make("gcnii", 4), tiny.dataset.edge_index
    x = first = torch.relu(dense_linear(model.first, tiny.dataset.features.to_dense()))
    for layer, conv in enumerate(model.convs, start=1):
        x = torch.relu(functional(GCN2Conv(6, 0.1, 0.5, layer), dict(conv.named_parameters()), x, first, edges))
    check(model(tiny.features, tiny.operator), model.last(x), list(model.parameters()))


def test_dagnn_is_its_equation(tiny):
    model, a_hat = make("dagnn", 3), tiny.operator.normalised(torch.eye(60))
    z = model.second(torch.relu(dense_linear(model.first, tiny.dataset.features.to_dense())))
    hops = torch.stack([torch.linalg.matrix_power(a_hat, k) @ z for k in range(4)], dim=1)
    expected = (torch.sigmoid(model.gate(hops)) * hops).sum(dim=1)
    check(model(tiny.features, tiny.operator), expected, list(model.parameters()))


@each_model
@pytest.mark.parametrize("layers", [1, 2, 16])
def test_every_baseline_trains(tiny, name, layers):
    model = make(name, layers, dropout=0.5)
    history = train(model, tiny, TrainingOptions(epochs=2))
    logits = evaluate(model, tiny)
    assert logits.shape == (60, 3) and torch.isfinite(logits).all()
    assert torch.isfinite(torch.tensor(history.loss)).all()


def test_drop_edge_drops_edges_in_training_only(tiny):
    plain, dropping = make("gcn"), make("dropedge")
    dropping.load_state_dict(plain.state_dict())
    expected = evaluate(plain, tiny)
    assert torch.equal(evaluate(dropping, tiny), expected)
    dropping.train()
    steps = [dropping(tiny.features, tiny.operator) for _ in range(2)]
    assert not torch.equal(steps[0], steps[1]) and not torch.equal(steps[0], expected)


def test_all_edges_dropped_is_a_network_without_graph(tiny):
    model = Gcn(8, 3, 2, 6, 0.0, dropped_edges=1.0).train()
    x = dense_linear(model.convs[0].lin, tiny.dataset.features.to_dense()) + model.convs[0].bias
    expected = model.convs[1].lin(torch.relu(x)) + model.convs[1].bias
    torch.testing.assert_close(model(tiny.features, tiny.operator), expected)


def test_input_dropout_reaches_the_sparse_features(tiny):
    layer = SparseLinear(8, 4, 0.5)
    assert not torch.equal(layer(tiny.features), layer(tiny.features))
    assert torch.equal(layer.eval()(tiny.features), layer(tiny.features))


@each_model
def test_isolated_and_single_nodes_are_defined(name):
    alone = GraphOperator(torch.zeros(2, 0, dtype=torch.int64), 1)
    logits = make_deep_model(name, 2, 1, 2, 4, 0.5)(FeatureMatrix(torch.zeros(1, 2)), alone)
    assert logits.shape == (1, 1) and torch.isfinite(logits).all()


def test_second_parameters_take_the_second_weight_decay():
    gcn, gcnii = make("gcn", 3), make("gcnii", 2)
    assert {id(p) for p in gcn.second_parameters()} == {id(p) for conv in gcn.convs[1:] for p in conv.parameters()}
    assert len(list(gcnii.second_parameters())) == 2


@each_model
@pytest.mark.parametrize("dataset", ["cora", "a graph of mine"])
def test_a_recipe_exists_for_every_data_set(name, dataset):
    assert {"hidden", "epochs", "lr", "dropout", "weight_decay", "second_weight_decay", "schedule"} <= set(
        deep_recipe(name, dataset)
    )


def test_unknown_name_and_no_layers_are_refused():
    with pytest.raises(InputError, match=r"'gcn2' is unknown .*gcnii.*accepted"):
        make_deep_model("gcn2", 8, 3, 2, 6, 0.5)
    with pytest.raises(InputError, match="num_layers=0"):
        make_deep_model("gcn", 8, 3, 0, 6, 0.5)
