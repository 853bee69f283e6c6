"""Baselines for depth: torch_geometric's numbers on dense input, their special parts, and their low-bit forms."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch_geometric.nn import GCN2Conv, GCNConv, PairNorm, SGConv

from gnnq_lib.errors import InputError
from gnnq_lib.experiments.training import TrainingOptions, evaluate, start_from, train
from gnnq_lib.models import STAGES, FeatureMatrix, Method, MethodOptions
from gnnq_lib.models.deep import DEEP_MODELS, Gcn, SparseLinear, deep_recipe, make_deep_model
from gnnq_lib.models.methods import Values
from gnnq_lib.models.stages import Spread, quantize, stages_of
from gnnq_lib.propagation import GraphOperator, Trajectory
from gnnq_lib.quantizers import calibration

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


QUANTIZED = [Method.NODE_POW2, Method.BT_STAR, Method.QLR, Method.DEGREE_QUANT, Method.NODE_FREE]


def low_bit(graph, name: str, method: Method = Method.NODE_POW2, layers: int = 3, dropout: float = 0.0, **more):
    torch.manual_seed(0)
    rules = MethodOptions(method, more.pop("bits", 2), more.pop("stages", STAGES), graph.operator.degree, 3, **more)
    return make_deep_model(name, 8, 3, layers, 6, dropout, rules)


def ready(graph, *args, **more):
    """A low-bit model whose ranges have been measured."""
    model = low_bit(graph, *args, **more)
    with calibration(model):
        model(graph.features, graph.operator)
    return model.eval()


@each_model
@pytest.mark.parametrize("method", QUANTIZED, ids=lambda m: m.value)
@pytest.mark.parametrize("layers", [1, 3])
def test_every_baseline_trains_in_low_bits(tiny, name, method, layers):
    model = low_bit(tiny, name, method, layers, dropout=0.5)
    history = train(model, tiny, TrainingOptions(epochs=2))
    assert torch.isfinite(evaluate(model, tiny)).all() and torch.isfinite(torch.tensor(history.loss)).all()
    assert max(model.bits_per_value(tiny.features).values()) < 32


@each_model
def test_at_eight_bits_a_baseline_is_close_to_full_precision(tiny, name):
    """Per tensor: per-node powers of two keep class scores up to a shift of the row only."""
    exact, low = evaluate(make(name), tiny), evaluate(ready(tiny, name, Method.MINMAX, bits=8), tiny)
    coarse = evaluate(ready(tiny, name, Method.MINMAX, bits=2), tiny)
    error = [float((logits - exact).norm() / exact.norm()) for logits in (low, coarse)]
    assert 0 < error[0] < 0.15 < error[1]


@each_model
def test_per_node_powers_of_two_at_eight_bits_keep_the_differences_of_scores(tiny, name):
    models = make(name), ready(tiny, name, bits=8, ratio=1.0), ready(tiny, name, bits=2, ratio=1.0)
    exact, low, coarse = (logits - logits.mean(dim=1, keepdim=True) for logits in (evaluate(m, tiny) for m in models))
    error = [float((logits - exact).norm() / exact.norm()) for logits in (low, coarse)]
    assert 0 < error[0] < min(0.25, 0.6 * error[1])  # rows of hidden values are clipped at 0.8 of their range


@each_model
def test_a_teachers_weights_fit_the_low_bit_form(tiny, name):
    teacher, model = make(name), low_bit(tiny, name, Method.BT_STAR)
    with torch.no_grad():
        for parameter in teacher.parameters():
            parameter.add_(1.0)
    start_from(model, teacher)
    values = dict(model.named_parameters())
    assert all(torch.equal(values[key], value) for key, value in teacher.named_parameters())


@each_model
def test_stages_left_out_are_full_precision_to_the_bit(tiny, name):
    assert torch.equal(evaluate(low_bit(tiny, name, stages=()), tiny), evaluate(make(name), tiny))


@each_model
@pytest.mark.parametrize("stage", STAGES)
def test_each_stage_is_there_and_quantizes_what_it_says(tiny, name, stage):
    model = ready(tiny, name, Method.QLR, stages=(stage,))
    bits = model.bits_per_value(tiny.features)
    assert {s for s, b in bits.items() if b < 32} == ({stage} & set(bits))
    assert set(STAGES) - set(bits) == (set() if name == "gcnii" else {"updates"})
    changed = not torch.equal(evaluate(model, tiny), evaluate(make(name), tiny))
    assert changed == (stage in bits)


def test_every_layer_has_quantizers_of_its_own(tiny):
    model = low_bit(tiny, "gcnii", layers=4)
    assert [len(stages_of(model, name)) for name in STAGES] == [1, 6, 5, 4, 4, 4, 1]
    quantizers = [stage.quantizer for stage in stages_of(model) if stage.quantizer is not None]
    assert len({id(q) for q in quantizers}) == len(quantizers)


def test_bits_and_bytes_by_hand(tiny):
    # 8 features, hidden 6, 3 classes; column steps of 32 bits, 3 exponent bits per hidden row, 1 per row of scores
    model, nodes = low_bit(tiny, "gcn", layers=2), 60
    bits = model.bits_per_value(tiny.features)
    assert bits["inputs"] == pytest.approx(2 + 8 * 32 / tiny.features.num_stored)
    assert bits["weights"] == pytest.approx(2 + (6 + 3) * 32 / (8 * 6 + 6 * 3))
    assert bits["features"] == pytest.approx(2 + 3 / 6 + 32 / (nodes * 6))
    assert bits["messages"] == bits["aggregates"] == pytest.approx(2 + 3 / 6 + 32 / (nodes * 6))
    assert bits["embeddings"] == pytest.approx(2 + 1 / 3 + 32 / (nodes * 3))
    assert model.parameter_bytes() == pytest.approx((8 * 6 + 6 * 3) * 2 / 8 + (6 + 3) * 4 + (6 + 3) * 4)
    assert make("gcn", 2).parameter_bytes() == 4 * (8 * 6 + 6 * 3 + 6 + 3)


def test_a_low_bit_gcn_sends_what_comes_from_a_relu(tiny):
    """X W is of either sign; only the first layer, whose X is sparse, sends it."""
    model = low_bit(tiny, "gcn", layers=3)
    anchors = [stage.quantizer.anchor for stage in stages_of(model, "messages")]
    assert anchors == ["middle", "zero", "zero"] == [s.quantizer.anchor for s in stages_of(model, "aggregates")]
    assert [stage.width for stage in stages_of(model, "messages")] == [6, 6, 6]
    single = low_bit(tiny, "gcn", layers=1)
    assert [stage.quantizer.anchor for stage in stages_of(single, "messages")] == ["top"]


def test_the_two_orders_of_a_gcn_layer_agree(tiny):
    """Messages of 8 bits and one scale: what is left is their rounding."""
    exact = evaluate(make("gcn"), tiny)
    low = evaluate(ready(tiny, "gcn", Method.MINMAX, bits=8, stages=("messages",)), tiny)
    assert 0 < float((low - exact).norm() / exact.norm()) < 0.01


def test_scales_are_no_second_parameters(tiny):
    for name in ("gcn", "gcnii"):
        full, low = make(name), low_bit(tiny, name)
        assert len(list(low.second_parameters())) == len(list(full.second_parameters()))


def test_messages_are_dropped_out_after_their_quantizer():
    """Before it, a training step would quantize values scaled by 1 / (1 - rate) on ranges of evaluation."""
    alone = GraphOperator(torch.zeros(2, 0, dtype=torch.int64), 50)
    spread = Spread(4, Values.NON_NEGATIVE)
    quantize(spread, MethodOptions(Method.NODE_POW2, 2, ("messages",), alone.degree, 4))
    x = torch.rand(50, 4, generator=torch.Generator().manual_seed(0))
    seen = set(spread.eval()(x, alone, 0.5).unique().tolist())
    dropped = set(spread.train()(x, alone, 0.5).unique().tolist())
    assert dropped <= {0.0, *(2 * value for value in seen)} and len(dropped) > 1


@each_model
def test_a_trajectory_holds_every_layer(tiny, name):
    model, kept = make(name, layers=3).eval(), Trajectory()
    logits = model(tiny.features, tiny.operator, kept)
    # GCNs end in the logits; the others also hold what enters the first layer
    assert len(kept.embeddings) == (3 if isinstance(model, Gcn) else 4)
    assert not any(h.requires_grad for h in kept.embeddings)
    if isinstance(model, Gcn):
        assert torch.equal(kept.embeddings[-1], logits)
