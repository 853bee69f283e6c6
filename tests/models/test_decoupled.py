"""The low-bit classifier: methods build and train, stages switch one by one, bits are counted, sums are exact."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from gnnq_lib.datasets.node_dataset import unsplit
from gnnq_lib.errors import InputError
from gnnq_lib.experiments.training import Graph, TrainingOptions, evaluate, train
from gnnq_lib.models import STAGES, DecoupledClassifier, FeatureMatrix, Method, ModelOptions
from gnnq_lib.models.decoupled import needs_recompute
from gnnq_lib.propagation import Appnp, Emp, GraphOperator, MessagePlacement, Smp, Trajectory
from gnnq_lib.quantizers import calibration

SCHEMES = {"smp": Smp(use_multiplier=False), "smp multiplier": Smp(), "emp": Emp(), "appnp": Appnp()}
SMALL = ModelOptions(scheme=SCHEMES["smp"], num_layers=2, hidden=4)
each_method = pytest.mark.parametrize("method", Method, ids=[m.value for m in Method])


def make(graph: Graph, options: ModelOptions, seed: int = 0) -> DecoupledClassifier:
    torch.manual_seed(seed)
    return DecoupledClassifier(graph.dataset.num_features, graph.dataset.num_classes, graph.operator, options)


def ready(graph: Graph, options: ModelOptions) -> DecoupledClassifier:
    """A fresh model whose ranges have been measured."""
    model = make(graph, options)
    with calibration(model):
        model(graph.features, graph.operator)
    return model.eval()


@each_method
@pytest.mark.parametrize("bits", [2, 4])
def test_every_method_trains_to_finite_logits(tiny, method, bits):
    model = make(tiny, replace(SMALL, method=method, num_bits=bits))
    history = train(model, tiny, TrainingOptions(epochs=2))
    logits = evaluate(model, tiny)
    assert logits.shape == (60, 3) and torch.isfinite(logits).all()
    assert len(history.loss) == 2 and torch.isfinite(torch.tensor(history.loss)).all()


@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=SCHEMES)
@pytest.mark.parametrize("method", [Method.NODE_POW2, Method.QLR, Method.BT_STAR], ids=lambda m: m.value)
def test_every_scheme_trains_in_low_bits(tiny, scheme, method):
    model = make(tiny, replace(SMALL, scheme=scheme, method=method))
    train(model, tiny, TrainingOptions(epochs=2))
    assert torch.isfinite(evaluate(model, tiny)).all()


@each_method
def test_every_weight_gets_a_gradient(tiny, method):
    model = make(tiny, replace(SMALL, method=method, num_bits=4, dropout=0.0))
    model(tiny.features, tiny.operator).square().sum().backward()
    for name in ("weight1", "bias1", "weight2", "bias2"):
        assert getattr(model, name).grad.abs().sum() > 0, name


@pytest.mark.parametrize("method", [Method.NODE_POW2, Method.QLR, Method.DEGREE_QUANT], ids=lambda m: m.value)
@pytest.mark.parametrize("stage", STAGES)
def test_each_stage_can_be_switched_on_alone(tiny, method, stage):
    exact = evaluate(ready(tiny, SMALL), tiny)
    model = ready(tiny, replace(SMALL, method=method, stages=(stage,)))
    bits = model.bits_per_value(tiny.features)
    low = {name for name, b in bits.items() if b < 32}
    # features of either sign: column scales of few rows cost much, but what is low-bit is below 32 here
    in_mean = method is Method.NODE_POW2
    follows = {"updates": {"updates", "embeddings"} | ({"messages"} if in_mean else set())}
    assert low == follows.get(stage, {stage}), bits
    if not (in_mean and stage == "embeddings"):
        assert not torch.equal(evaluate(model, tiny), exact)


def test_no_stage_is_full_precision(tiny):
    expected = evaluate(ready(tiny, SMALL), tiny)
    assert torch.equal(evaluate(ready(tiny, replace(SMALL, method=Method.QLR, stages=())), tiny), expected)
    # mean coordinates differ by rounding of 32-bit floats only
    ours = evaluate(ready(tiny, replace(SMALL, method=Method.NODE_POW2, stages=())), tiny)
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)


def test_full_precision_is_the_dense_computation(tiny):
    model = ready(tiny, SMALL)
    a_hat = tiny.operator.normalised(torch.eye(60))
    x = torch.relu(tiny.dataset.features.to_dense() @ model.weight1 + model.bias1) @ model.weight2 + model.bias2
    h = x
    for _ in range(2):
        h = 0.9 * a_hat @ h + 0.1 * x
    torch.testing.assert_close(evaluate(model, tiny), h.detach(), rtol=1e-4, atol=1e-5)


def test_bits_per_value_by_hand(tiny):
    # 60 nodes, 8 dense features, hidden 4, 3 classes: 1 exponent bit per propagated row of 3, 3 per hidden row of 4
    bits = ready(tiny, replace(SMALL, method=Method.NODE_POW2)).bits_per_value(tiny.features)
    stored = tiny.features.num_stored
    assert bits["inputs"] == pytest.approx(2 + 8 * 32 / stored)
    assert bits["weights"] == pytest.approx(2 + (4 + 3) * 32 / (8 * 4 + 4 * 3))
    assert bits["features"] == pytest.approx(max(2 + (60 * 3 + 32) / (60 * 4), 2 + (60 * 1 + 32) / (60 * 3)))
    for stage in ("messages", "aggregates", "updates", "embeddings"):
        assert bits[stage] == pytest.approx(2 + (60 * 1 + 32) / (60 * 3)), stage


def test_bits_per_value_per_tensor_by_hand(tiny):
    bits = ready(tiny, replace(SMALL, method=Method.QLR)).bits_per_value(tiny.features)
    assert bits["inputs"] == pytest.approx(2 + 40 / tiny.features.num_stored)
    assert bits["weights"] == pytest.approx(2 + 2 * 40 / 44)
    assert bits["updates"] == pytest.approx(2 + 40 / 180)
    assert set(bits) == set(STAGES)


@pytest.mark.parametrize("classes", [3, 5, 6, 7, 15])
def test_node_pow2_propagates_within_2_6_bits(classes):
    # on 2,708 nodes, Cora's number
    ring = torch.arange(2708)
    there, back = torch.stack([ring, ring.roll(1)]), torch.stack([ring.roll(1), ring])
    operator = GraphOperator(torch.cat([there, back], dim=1), 2708)
    model = DecoupledClassifier(4, classes, operator, replace(SMALL, hidden=64, method=Method.NODE_POW2))
    bits = model.bits_per_value(FeatureMatrix(torch.eye(4).repeat(677, 1)))
    for stage in ("features", "messages", "aggregates", "updates", "embeddings"):
        assert bits[stage] <= 2.6, stage


def test_no_layers_predict_without_the_graph(tiny):
    model = ready(tiny, replace(SMALL, num_layers=0, method=Method.NODE_POW2))
    lonely = GraphOperator(torch.zeros(2, 0, dtype=torch.int64), 60)
    assert "messages" not in model.bits_per_value(tiny.features)
    flat = ready(tiny, replace(SMALL, num_layers=0))
    torch.testing.assert_close(flat(tiny.features, lonely), flat.predict(tiny.features))


def test_edge_and_node_placement_agree_in_full_precision_and_differ_in_low_bits(tiny):
    edge = replace(SMALL, placement=MessagePlacement.EDGE)
    exact = evaluate(ready(tiny, SMALL), tiny)
    torch.testing.assert_close(evaluate(ready(tiny, edge), tiny), exact)
    low = [evaluate(ready(tiny, replace(o, method=Method.QLR)), tiny) for o in (SMALL, edge)]
    assert torch.isfinite(low[1]).all() and not torch.equal(*low)


@pytest.mark.parametrize(
    "method",
    [m for m in Method if m not in (Method.FP32, Method.NODE_FREE, Method.DEGREE_BUCKET)],
    ids=lambda m: m.value,
)
def test_order_of_edges_does_not_change_a_bit(tiny, method):
    """Messages are integers with one scale: their sum is exact in whatever order."""
    model = ready(tiny, replace(SMALL, method=method, num_layers=4))
    order = torch.randperm(tiny.dataset.num_edges, generator=torch.Generator().manual_seed(1))
    shuffled = GraphOperator(tiny.dataset.edge_index[:, order], 60)
    assert torch.equal(evaluate(model, tiny), model(tiny.features, shuffled))


@pytest.mark.parametrize("method", [Method.NODE_POW2, Method.QLR, Method.TENSOR], ids=lambda m: m.value)
def test_neighbours_in_another_order_do_not_change_a_bit(tiny, method):
    """Renumbering the nodes reorders every sum over neighbours; the logits of each node stay bit for bit."""
    order = torch.randperm(60, generator=torch.Generator().manual_seed(2))
    rank = order.argsort()
    renumbered = GraphOperator(rank[tiny.dataset.edge_index], 60)
    features = FeatureMatrix(tiny.dataset.features.to_dense()[order])
    options = replace(SMALL, method=method, num_layers=4)
    model = ready(tiny, options)
    torch.manual_seed(0)
    other = DecoupledClassifier(8, 3, renumbered, options)
    other.load_state_dict(model.state_dict())
    # the classes' scores enter the propagation through float sums over 8 features in the same order: equal bits too
    assert torch.equal(other.eval()(features, renumbered), evaluate(model, tiny)[order])


@pytest.mark.parametrize("method", [Method.NODE_POW2, Method.QLR, Method.BT_STAR], ids=lambda m: m.value)
@pytest.mark.parametrize("ranges", ["evaluation", "training"])
def test_recomputing_layers_changes_nothing(tiny, method, ranges):
    results = []
    for recompute in (False, True):
        model = make(tiny, replace(SMALL, method=method, calibration=ranges, recompute=recompute, scheme=Smp()))
        torch.manual_seed(3)
        history = train(model, tiny, TrainingOptions(epochs=3))
        results.append((history.loss, evaluate(model, tiny)))
    assert results[0][0] == results[1][0] and torch.equal(results[0][1], results[1][1])


@pytest.mark.gpu
@pytest.mark.parametrize("method", [Method.FP32, Method.DEGREE_QUANT, Method.NODE_POW2], ids=lambda m: m.value)
def test_recomputed_layers_draw_the_same_on_cuda(tiny, method):
    there, results = Graph(tiny.dataset, "cuda"), []
    for recompute in (False, True):
        model = make(there, replace(SMALL, method=method, recompute=recompute, scheme=Smp())).cuda()
        torch.manual_seed(3)
        results.append(train(model, there, TrainingOptions(epochs=3)).loss)
    assert results[0] == pytest.approx(results[1], rel=1e-3)


def test_layers_are_recomputed_on_large_graphs_only():
    assert not needs_recompute(19_717, 3, 64) and needs_recompute(169_343, 40, 10)


def test_trajectory_is_filled_on_request(tiny):
    trajectory = Trajectory()
    ready(tiny, replace(SMALL, scheme=Smp(), num_layers=3))(tiny.features, tiny.operator, trajectory)
    assert len(trajectory.embeddings) == 4 and len(trajectory.multiplier) == 3


@pytest.mark.parametrize("first", [False, True], ids=["dropout after", "dropout first"])
@pytest.mark.parametrize("method", [Method.QLR, Method.NODE_POW2], ids=lambda m: m.value)
def test_dropout_may_come_before_or_after_the_quantizers(tiny, first, method):
    model = make(tiny, replace(SMALL, method=method, dropout_first=first))
    train(model, tiny, TrainingOptions(epochs=2))
    assert torch.isfinite(evaluate(model, tiny)).all()


@pytest.mark.parametrize("calibrated", ["evaluation", "training"])
def test_ranges_are_those_of_evaluation_or_of_the_last_training_step(tiny, calibrated):
    model = make(tiny, replace(SMALL, method=Method.QLR, calibration=calibrated, dropout=0.8, dropout_first=True))
    with calibration(model):
        model(tiny.features, tiny.operator)
    model.train()
    torch.manual_seed(0)
    model(tiny.features, tiny.operator)
    seen_in_training = model.hidden_quantizer.maximum.clone()
    with calibration(model):
        model(tiny.features, tiny.operator)
    same = torch.equal(model.hidden_quantizer.maximum, seen_in_training)
    assert same  # evaluation: never left what evaluation sees; training: stays at what training saw
    model.hidden_quantizer.maximum.fill_(123.0)
    with calibration(model):
        model(tiny.features, tiny.operator)
    assert (float(model.hidden_quantizer.maximum) == 123.0) == (calibrated == "training")


@each_method
def test_isolated_nodes_and_empty_rows_get_finite_logits(method):
    features = torch.tensor([[1.0, 0], [0, 1], [1, 1], [0, 0]])
    labels = torch.tensor([0, 1, 0, 1]).numpy()
    data = unsplit("islands", features.numpy(), torch.tensor([[0], [1]]).numpy(), labels, "by hand")
    masks = (torch.tensor([True, True, False, False]), torch.tensor([False, False, True, False]))
    graph = Graph(data.with_split((*masks, torch.tensor([False, False, False, True])), "given", 0))
    model = make(graph, replace(SMALL, method=method))
    train(model, graph, TrainingOptions(epochs=2))
    assert torch.isfinite(evaluate(model, graph)).all()


@each_method
@pytest.mark.parametrize("classes", [1, 2])
def test_one_node_and_one_class_are_defined(method, classes):
    alone = GraphOperator(torch.zeros(2, 0, dtype=torch.int64), 1)
    features = FeatureMatrix(torch.ones(1, 2))
    model = DecoupledClassifier(2, classes, alone, replace(SMALL, method=method))
    with calibration(model):
        logits = model(features, alone)
    assert logits.shape == (1, classes) and torch.isfinite(logits).all()
    assert all(b > 0 for b in model.bits_per_value(features).values())


def test_a_negative_number_of_layers_is_refused(tiny):
    with pytest.raises(InputError, match="num_layers=-1"):
        make(tiny, replace(SMALL, num_layers=-1))


def test_shared_ranges_have_one_alpha_per_stage_and_train(tiny):
    options = replace(SMALL, method=Method.QLR, scheme=Smp(), num_layers=3)
    own, shared = (make(tiny, replace(options, shared_ranges=value)) for value in (False, True))
    # own: 3 layers x 3 stages x 2 propagations; shared: one per stage; inputs, weights, hidden, X_in, embeddings stay
    count = [sum(name.endswith("alpha") for name, _ in model.named_parameters()) for model in (own, shared)]
    assert count[0] - count[1] == 3 * 3 * 2 - 3
    train(shared, tiny, TrainingOptions(epochs=3))
    assert torch.isfinite(evaluate(shared, tiny)).all()
    kept = shared.propagation
    assert kept.messages[0].alpha is kept.gap_messages[2].alpha and kept.messages[0].alpha.grad is not None


def test_shared_ranges_need_a_method_with_ranges(tiny, refuses):
    with refuses("NodePowerOfTwo, which has no range factor"):
        make(tiny, replace(SMALL, method=Method.NODE_POW2, shared_ranges=True))
