"""APPNP, SMP and EMP against dense transcriptions of the fact sheet (A, 3.6 and 3.7), written here line by line."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch_geometric.nn import APPNP

from gnnq_lib.propagation import (
    Appnp,
    Coordinates,
    Emp,
    GraphOperator,
    MessagePlacement,
    Norm,
    PropagationQuantizers,
    Route,
    Scheme,
    Smp,
    Trajectory,
    dirichlet_energy,
    full_precision_quantizers,
    layer_change,
)
from gnnq_lib.quantizers import (
    DegreeQuant,
    LearnedRange,
    LearnedStep,
    MinMax,
    NodePowerOfTwo,
    SkewedBitwiseTruncation,
)

K = 6
MEAN = Route(Coordinates.MEAN)
# Step sizes far above the released ones, so that multiplier and slack matter in a few layers on a small graph.
LIVELY = Smp(mu=4.0, eta_h=0.15, eta_s=0.1, eta_lambda=2e-3, threshold=0.05, multiplier_start=0.3, slack_start=0.5)
SWITCHES = {
    "as released": LIVELY,
    "gap_term": replace(LIVELY, gap_term=True),
    "non_negative": replace(LIVELY, threshold=0.0, eta_lambda=0.05, non_negative=True),
    "negative multiplier": replace(LIVELY, threshold=0.0, eta_lambda=0.05),
    "detached": replace(LIVELY, detach_change=True),
    "no multiplier": replace(LIVELY, use_multiplier=False),
}


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def full(num_layers: int = K) -> PropagationQuantizers:
    return full_precision_quantizers(num_layers, with_gap=True)


def close(actual: Tensor, expected: Tensor, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(actual.double(), expected.double(), rtol=tolerance, atol=tolerance)


def dense_smp(p: Smp, x_in: Tensor, graph, num_layers: int) -> tuple[Tensor, list[tuple[float, float, float]]]:
    """Fact sheet 3.6, dense and in float64, without quantizers; also (lambda, s, T) after every layer."""
    a_hat, b = graph.normalised, graph.incidence
    entries = int((graph.adjacency != 0).sum())
    lam = torch.tensor(p.multiplier_start if p.use_multiplier else 0.0).double()
    s = torch.tensor(p.slack_start).double()
    h, history = x_in, []
    for _ in range(num_layers):
        big_s = (1 - (1 + p.mu) * p.eta_h) * h + p.mu * p.eta_h * (a_hat @ h) + p.eta_h * x_in
        g = big_s - h
        correction = a_hat @ g
        if p.gap_term:
            correction = correction - g
        h = big_s + 2 * p.eta_h * lam * correction
        if not p.use_multiplier:
            continue
        t = torch.trace((b @ g).t() @ (b @ g))
        if p.detach_change:
            t = t.detach()
        s = s + 2 * p.eta_s * lam * s
        lam = lam + p.eta_lambda * (p.threshold * entries - s**2 - t)
        if p.non_negative:
            lam = torch.clamp(lam, min=0)
        history.append((lam.item(), s.item(), t.item()))
    return h, history


@pytest.mark.parametrize("switch", SWITCHES)
def test_smp_against_a_dense_transcription(switch, random_graph):
    scheme, graph = SWITCHES[switch], random_graph(1, 20)
    x, trajectory = normal(20, 4), Trajectory()
    out = scheme(x, graph.operator, full(), trajectory=trajectory)
    expected, history = dense_smp(scheme, x.double(), graph, K)
    close(out, expected)
    measured = zip(trajectory.multiplier, trajectory.slack, trajectory.change)
    assert np.array(list(measured)) == pytest.approx(np.array(history), rel=1e-4, abs=1e-6)
    if switch == "negative multiplier":
        assert min(trajectory.multiplier) < 0
    if switch == "non_negative":
        assert min(trajectory.multiplier) == 0


@pytest.mark.parametrize("switch", SWITCHES)
def test_smp_gradient_against_the_transcription(switch, random_graph):
    scheme, graph, weight = SWITCHES[switch], random_graph(1, 20), normal(20, 4, seed=1)
    x, y = normal(20, 4).requires_grad_(), normal(20, 4).double().requires_grad_()
    (scheme(x, graph.operator, full()) * weight).sum().backward()
    (dense_smp(scheme, y, graph, K)[0] * weight).sum().backward()
    close(x.grad, y.grad, 1e-4)


def test_each_switch_changes_what_it_should(random_graph):
    """The comparison above could not tell switches apart that do nothing."""
    op, x = random_graph(1, 20).operator, normal(20, 4)
    out = {name: scheme(x, op, full()) for name, scheme in SWITCHES.items()}
    for name in ("gap_term", "no multiplier"):
        assert (out[name] - out["as released"]).abs().max() > 1e-2
    assert torch.equal(out["detached"], out["as released"])
    assert (out["non_negative"] - out["negative multiplier"]).abs().max() > 1e-4
    gradients = []
    for name in ("detached", "as released"):
        leaf = normal(20, 4).requires_grad_()
        SWITCHES[name](leaf, op, full()).square().sum().backward()
        gradients.append(leaf.grad)
    assert (gradients[0] - gradients[1]).abs().max() > 1e-4


def test_released_step_sizes_leave_the_slack_inert(random_graph):
    trajectory = Trajectory()
    Smp()(normal(20, 4), random_graph(1, 20).operator, full(10), trajectory=trajectory)
    assert trajectory.slack == pytest.approx([1e-3] * 10, rel=1e-6)
    assert Smp().coefficients == (0.0, 0.9, 0.1)
    assert Smp(mu=4.0).coefficients == pytest.approx((0.5, 0.4, 0.1))


@pytest.mark.parametrize("num_layers", [1, 10])
def test_smp_without_multiplier_is_appnp_of_torch_geometric(num_layers, graph):
    x = normal(graph.num_nodes, 3)
    expected = APPNP(num_layers, alpha=0.1)(x, graph.edge_index)
    quantizers = full_precision_quantizers(num_layers)
    for scheme in (Smp(mu=9, eta_h=0.1, use_multiplier=False), Appnp(0.1)):
        for route in (Route(), MEAN, Route(placement=MessagePlacement.EDGE)):
            close(scheme(x, graph.operator, quantizers, route), expected)


def test_no_layers_return_the_input(graph):
    x = normal(graph.num_nodes, 3)
    for scheme in (Appnp(), Smp(), Emp()):
        assert torch.equal(scheme(x, graph.operator, full(0)), x)


def test_teleport_1_stays_and_0_never_looks_back(graph):
    x = normal(graph.num_nodes, 3)
    close(Appnp(1.0)(x, graph.operator, full(3)), x)
    close(Appnp(0.0)(x, graph.operator, full(2)), graph.normalised @ graph.normalised @ x.double())


@pytest.mark.parametrize("scheme", [LIVELY, Appnp(), Emp()], ids=lambda s: type(s).__name__)
def test_edge_placement_equals_node_placement_at_full_precision(scheme, graph):
    x = normal(graph.num_nodes, 3)
    edge = scheme(x, graph.operator, full(), Route(placement=MessagePlacement.EDGE))
    close(edge, scheme(x, graph.operator, full()))


@pytest.mark.parametrize("switch", SWITCHES)
def test_smp_in_mean_coordinates_with_centred_rows_is_the_same(switch, random_graph):
    """With row means of zero nothing is lost by keeping rows up to a shift, multiplier included."""
    op, kept = random_graph(1, 20).operator, [Trajectory(), Trajectory()]
    x = normal(20, 4)
    x = x - x.mean(dim=1, keepdim=True)
    scheme = SWITCHES[switch]
    out = [scheme(x, op, full(), route, t) for route, t in zip((Route(), MEAN), kept)]
    close(out[1], out[0])
    assert kept[1].multiplier == pytest.approx(kept[0].multiplier, rel=1e-4, abs=1e-6)
    assert kept[1].change == pytest.approx(kept[0].change, rel=1e-4, abs=1e-6)


def test_in_mean_coordinates_a_shift_of_the_rows_does_not_move_the_multiplier(random_graph):
    op, x, kept = random_graph(1, 20).operator, normal(20, 4), [Trajectory(), Trajectory()]
    shift = normal(20, 1, seed=3)
    out = [LIVELY(v, op, full(), MEAN, t) for v, t in zip((x, x + shift), kept)]
    assert kept[1].multiplier == pytest.approx(kept[0].multiplier, rel=1e-4)
    difference = out[1] - out[0]
    close(difference, difference.mean(dim=1, keepdim=True).expand(20, 4))


def test_mean_coordinates_agree_without_multiplier_whatever_the_rows(graph):
    x, scheme = normal(graph.num_nodes, 3), SWITCHES["no multiplier"]
    close(scheme(x, graph.operator, full(), MEAN), scheme(x, graph.operator, full()))


def test_trajectory_keeps_every_embedding(random_graph):
    op, x, trajectory = random_graph(1, 20).operator, normal(20, 4), Trajectory()
    out = LIVELY(x.requires_grad_(), op, full(), trajectory=trajectory)
    assert len(trajectory.embeddings) == K + 1 and len(trajectory.multiplier) == K
    assert torch.equal(trajectory.embeddings[0], x) and torch.equal(trajectory.embeddings[-1], out)
    assert not trajectory.embeddings[-1].requires_grad
    plain = Trajectory()
    SWITCHES["no multiplier"](x, op, full(), trajectory=plain)
    change = [layer_change(a, b, op) for a, b in zip(plain.embeddings, plain.embeddings[1:])]
    assert sorted(change, reverse=True) == change, "without a multiplier the layer-wise change falls"
    assert plain.multiplier == []


# --- EMP


def dense_emp(p: Emp, x_in: Tensor, graph, num_layers: int) -> Tensor:
    """Fact sheet 3.7, dense and in float64."""
    gamma = 1 / (1 + p.lambda2)
    beta = 1 / (2 * gamma)
    b = graph.incidence
    f, z = x_in, torch.zeros(b.shape[0], x_in.shape[1], dtype=x_in.dtype)
    for _ in range(num_layers):
        y = gamma * x_in + (1 - gamma) * (graph.normalised @ f)
        f_bar = y - gamma * (b.t() @ z)
        z_bar = z + beta * (b @ f_bar)
        if p.norm is Norm.L1:
            z = z_bar.clamp(-p.lambda1, p.lambda1)
        else:
            length = z_bar.norm(dim=1, keepdim=True)
            z = torch.where(length > p.lambda1, z_bar / length * p.lambda1, z_bar)
        f = y - gamma * (b.t() @ z)
    return f


@pytest.mark.parametrize("norm", list(Norm), ids=lambda n: n.value)
@pytest.mark.parametrize("lambda1", [0.0, 0.05, 3.0], ids=lambda v: f"lambda1={v}")
@pytest.mark.parametrize("lambda2", [0.0, 4.0], ids=lambda v: f"lambda2={v}")
def test_emp_against_a_dense_transcription(norm, lambda1, lambda2, graph):
    scheme = Emp(lambda1, lambda2, norm)
    x, y = normal(graph.num_nodes, 3).requires_grad_(), normal(graph.num_nodes, 3).double().requires_grad_()
    out, expected = scheme(x, graph.operator, full()), dense_emp(scheme, y, graph, K)
    close(out, expected)
    if lambda1 == 0.05:  # where some entries are projected, most are not on a bound
        out.square().sum().backward()
        expected.square().sum().backward()
        close(x.grad, y.grad, 1e-3)


@pytest.mark.parametrize("norm", list(Norm), ids=lambda n: n.value)
def test_emp_minimises_its_objective(norm, random_graph):
    """1/2 |F - X|^2 + lambda2/2 tr(F^T L F) + lambda1 |B F| (ElasticGNN, eq. 9): no small change of F lowers it."""
    graph, x, scheme = random_graph(2, 15), normal(15, 3), Emp(0.3, 1.0, norm)

    def objective(f: Tensor) -> float:
        difference = graph.incidence @ f
        edges = difference.abs().sum() if norm is Norm.L1 else difference.norm(dim=1).sum()
        fit = (f - x.double()).square().sum() / 2
        return float(fit + scheme.lambda2 / 2 * difference.square().sum() + scheme.lambda1 * edges)

    f = scheme(x, graph.operator, full(400)).double()
    best = objective(f)
    assert best < objective(x.double())
    for seed in range(20):
        for size in (1e-2, 1e-1):
            assert objective(f + size * normal(15, 3, seed=seed).double()) > best


def test_emp_without_its_l1_part_is_appnp(graph):
    x = normal(graph.num_nodes, 3)
    close(Emp(0.0, 9.0)(x, graph.operator, full()), Appnp(0.1)(x, graph.operator, full()))


def test_released_emp_is_another_operator(graph):
    """0.1 X_in + 0.9 (A + I) D^-1 x at lambda2 = 9; lambda1 does nothing."""
    x = normal(graph.num_nodes, 3)
    h, spread = x.double(), graph.adjacency / graph.adjacency.sum(dim=0, keepdim=True)
    for _ in range(K):
        h = 0.1 * x.double() + 0.9 * (spread @ h)
    for lambda1 in (0.0, 9.0):
        close(Emp(lambda1, 9.0, as_released=True)(x, graph.operator, full()), h)


# --- quantizers in the loop


def integers_and_scale(x: np.ndarray) -> tuple[np.ndarray, np.float32]:
    """Per-tensor min-max quantization to 8 bits in float32."""
    n = np.float32(255)
    low, high = min(x.min(), np.float32(0)), max(x.max(), np.float32(0))
    s = np.float32((high - low) / n)
    z = np.clip(-np.rint(low / s), 0, n)
    return np.clip(np.rint(x / s) + z, 0, n).astype(np.float32) - z, s


def quantized(x: np.ndarray) -> np.ndarray:
    """x^ of `integers_and_scale`."""
    values, s = integers_and_scale(x)
    return values * s


@pytest.mark.parametrize("placement", list(MessagePlacement), ids=lambda p: p.value)
@pytest.mark.parametrize("scheme", [LIVELY, Appnp()], ids=["smp", "appnp"])
def test_quantizers_stand_where_the_fact_sheet_puts_them(scheme, placement, random_graph):
    """Messages (per node or per edge), aggregate and update, and the same again for the gap (3.1)."""
    graph, x = random_graph(1, 20), normal(20, 4)
    a, dis = graph.adjacency.float().numpy(), graph.operator.inv_sqrt_degree.numpy()
    a_hat = a * dis * dis.T
    pairs = [(i, j) for i in range(20) for j in range(20) if a[i, j]]

    def quantized_a_hat(h: np.ndarray) -> np.ndarray:
        if placement is MessagePlacement.NODE:
            values, scale = integers_and_scale(h * dis)
            total = (a @ values) * scale * dis
        else:
            messages = quantized(np.stack([a_hat[i, j] * h[j] for i, j in pairs]))
            total = np.zeros_like(h)
            for (i, _), message in zip(pairs, messages):
                total[i] += message
        return quantized(total)

    keep, spread, inject = scheme.coefficients
    x_in = quantized(x.numpy())
    h = x_in
    lam = getattr(scheme, "multiplier_start", 0.0)
    s = getattr(scheme, "slack_start", 0.0)
    for _ in range(3):
        step = keep * h + spread * quantized_a_hat(h) + inject * x_in
        if isinstance(scheme, Smp):
            g = step - h
            step = step + 2 * scheme.eta_h * lam * quantized(quantized_a_hat(g))
            s = s + 2 * scheme.eta_s * lam * s
            t = np.trace(g.T @ (g - a_hat @ g))
            lam = lam + scheme.eta_lambda * (scheme.threshold * len(pairs) - s**2 - t)
        h = quantized(step.astype(np.float32))
    quantizers = PropagationQuantizers(lambda stage: MinMax(8), 3, with_gap=True)
    out = scheme(x, graph.operator, quantizers, Route(placement=placement))
    close(out, torch.from_numpy(h), 1e-4)


def power_of_two_numpy(q: NodePowerOfTwo, x: np.ndarray) -> tuple[np.ndarray, np.float32]:
    """The row quantizer in float32, operation by operation: integers v and the scale s, x^ = v s."""
    f32 = np.float32
    s, n = q.scale.detach().numpy(), f32(q.levels)
    t = x.max(axis=1, keepdims=True) - x
    thresholds = [((s * f32(2.0 ** (q.stride * j))) * n) / f32(q.ratio) for j in range(q.num_exponents - 1)]
    reach = t.max(axis=1, keepdims=True)
    shift = q.stride * sum((threshold < reach).astype(int) for threshold in thresholds)
    u = (t * (f32(1) / s)) * np.exp2(-shift.astype(f32))
    return -(np.rint(np.minimum(u, n)).astype(np.int64) << shift), s


def integer_propagation(q: PropagationQuantizers, x: Tensor, graph, coefficients, cl) -> np.ndarray:
    """What packed inference computes: integers summed exactly, float32 in a fixed order, no fused operations."""
    f32, op = np.float32, graph.operator
    inv_degree, a = op.inv_degree.numpy(), graph.adjacency.long().numpy()
    ch, ca, cx = (f32(c) for c in coefficients)
    vx, sx = power_of_two_numpy(q.features, (x * op.inv_sqrt_degree).numpy())
    v, s = vx, sx
    for k in range(len(q.updates)):
        aggregated = ((a @ v).astype(f32) * s) * inv_degree
        va, sa = power_of_two_numpy(q.aggregates[k], aggregated)
        y = ca * (va.astype(f32) * sa)
        h = v.astype(f32) * s
        if ch:
            y = ch * h + y
        y = y + cx * (vx.astype(f32) * sx)
        if cl is not None:
            vg, sg = power_of_two_numpy(q.gap_messages[k], y - h)
            vp, sp = power_of_two_numpy(q.gap_aggregates[k], ((a @ vg).astype(f32) * sg) * inv_degree)
            y = y + cl[k] * (vp.astype(f32) * sp)
        v, s = power_of_two_numpy(q.updates[k], y)
    return (v.astype(f32) * s) * op.sqrt_degree.numpy()


@pytest.mark.parametrize("stride", [1, 3], ids=["stride=1", "stride=3"])
@pytest.mark.parametrize("bits", [2, 4, 8], ids=lambda b: f"bits={b}")
@pytest.mark.parametrize("switch", ["no multiplier", "as released"])
def test_simulated_propagation_equals_integer_propagation_to_the_bit(switch, bits, stride, random_graph):
    graph, scheme, x = random_graph(1, 40), SWITCHES[switch], normal(40, 5)
    options = {"exponent_bits": 1, "stride": stride} if stride > 1 else {}
    quantizers = PropagationQuantizers(lambda stage: NodePowerOfTwo(bits, **options), 4, with_gap=True)
    trajectory = Trajectory()
    with torch.no_grad():
        out = scheme(x, graph.operator, quantizers, MEAN, trajectory)
    cl = None
    if scheme.use_multiplier:
        before = [scheme.multiplier_start, *trajectory.multiplier[:-1]]
        cl = [np.float32(2 * scheme.eta_h) * np.float32(multiplier) for multiplier in before]
    expected = integer_propagation(quantizers, x, graph, scheme.coefficients, cl)
    assert torch.equal(out, torch.from_numpy(expected))


METHODS = {
    "node_pow2": lambda stage: NodePowerOfTwo(2),
    "qlr": lambda stage: LearnedRange(2),
    "bt_star": lambda stage: SkewedBitwiseTruncation(2),
    "minmax": lambda stage: MinMax(4),
    "lsq": lambda stage: LearnedStep(4),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "scheme", [Smp(use_multiplier=False), Appnp(), Emp(as_released=True)], ids=lambda s: repr(s)[:5]
)
def test_low_bit_propagation_does_not_depend_on_the_order_of_nodes(method, scheme, random_graph):
    graph, x = random_graph(4, 40), normal(40, 5)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(1))
    permuted = GraphOperator(order.argsort()[graph.edge_index], 40)
    route = Route() if isinstance(scheme, Emp) or method != "node_pow2" else MEAN
    quantizers = PropagationQuantizers(METHODS[method], 4)
    with torch.no_grad():
        plain = scheme(x, graph.operator, quantizers, route)  # the first call sets scales; the second reuses them
        assert torch.equal(scheme(x[order], permuted, quantizers, route), plain[order])


@pytest.mark.parametrize("switch", ["as released", "no multiplier"])
@pytest.mark.parametrize(
    "make",
    [
        lambda stage: LearnedRange(2, calibration="training"),
        lambda stage: DegreeQuant(4, torch.arange(20), low=0.2, change=0.5),
        lambda stage: MinMax(2),
        lambda stage: NodePowerOfTwo(2),
        lambda stage: LearnedStep(4),
    ],
    ids=["qlr", "degree_quant", "minmax", "node_pow2", "lsq"],
)
def test_recomputed_layers_give_the_same_gradients(make, switch, random_graph):
    scheme, op, results = SWITCHES[switch], random_graph(1, 20).operator, []
    for recompute in (False, True):
        torch.manual_seed(0)
        quantizers = PropagationQuantizers(make, 4, with_gap=True)
        trajectory = Trajectory()
        for step in range(2):  # the second step starts from what the first one measured
            x = normal(20, 4, seed=step).requires_grad_()
            out = scheme(x, op, quantizers, Route(recompute=recompute), trajectory)
            (out * normal(20, 4, seed=9)).sum().backward()
        gradients = [p.grad for p in quantizers.parameters()]
        results.append((out, x.grad, gradients, dict(quantizers.named_buffers()), trajectory))
    plain, recomputed = results
    assert torch.equal(plain[0], recomputed[0]) and torch.equal(plain[1], recomputed[1])
    assert len(plain[2]) == len(recomputed[2])
    for expected, actual in zip(plain[2], recomputed[2]):
        assert (expected is None and actual is None) or torch.equal(actual, expected)
    assert all(torch.equal(value, recomputed[3][name]) for name, value in plain[3].items())
    assert plain[4].multiplier == recomputed[4].multiplier


def test_gradients_reach_every_learned_scale_and_the_input(random_graph):
    quantizers = PropagationQuantizers(lambda stage: LearnedRange(4), 3, with_gap=True)
    x = normal(20, 4).requires_grad_()
    (LIVELY(x, random_graph(1, 20).operator, quantizers) * normal(20, 4, seed=1)).sum().backward()
    assert x.grad.abs().max() > 0
    for name, parameter in quantizers.named_parameters():
        if name.startswith(
            "gap_updates"
        ):  # re-quantizes what lies on its grid already: no rounding error to learn from
            continue
        assert parameter.grad is not None and parameter.grad != 0, name


def test_low_bit_error_falls_with_the_number_of_bits(random_graph):
    op, x = random_graph(1, 20).operator, normal(20, 4)
    exact = Appnp()(x, op, full(4))
    errors = []
    for bits in (2, 4, 8):
        quantizers = PropagationQuantizers(lambda stage, bits=bits: MinMax(bits), 4)
        errors.append((Appnp()(x, op, quantizers) - exact).norm() / exact.norm())
    assert errors[0] > 2 * errors[1] > 8 * errors[2]


def test_smoothing_lowers_the_energy(random_graph):
    op, x = random_graph(1, 20).operator, normal(20, 4)
    for scheme in (Smp(), Appnp(), Emp()):
        assert dirichlet_energy(scheme(x, op, full()), op) < dirichlet_energy(x, op) / 2


# --- bad input


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Appnp(1.5), "teleport=1.5 was given; a share from 0 to 1"),
        (lambda: Appnp(float("nan")), "teleport=nan"),
        (lambda: Smp(mu=-1.0), "mu=-1.0, eta_h=0.1 were given"),
        (lambda: Smp(eta_h=0.0), "eta_h=0.0 were given"),
        (lambda: Emp(lambda1=-1.0), "lambda1=-1.0, lambda2=3.0 were given"),
        (lambda: Emp(lambda2=-1.0), "lambda2=-1.0 were given"),
    ],
    ids=["teleport", "teleport nan", "mu", "eta_h", "lambda1", "lambda2"],
)
def test_bad_options(make, message, refuses):
    with refuses(message):
        make()


@pytest.mark.parametrize(
    ("scheme", "shape", "quantizers", "route", "message"),
    [
        (Appnp(), (3, 2), full(1), Route(), "x_in has shape \\(3, 2\\); .* \\|V\\| = 20"),
        (Appnp(), (20,), full(1), Route(), "x_in has shape \\(20,\\)"),
        (Emp(), (20, 2), full(1), MEAN, "EMP was asked for in mean coordinates; .* Coordinates.SYMMETRIC"),
        (Smp(), (20, 2), full_precision_quantizers(1), Route(), "with_gap=True or set use_multiplier=False"),
    ],
    ids=["other nodes", "one dimension", "emp mean", "no gap stages"],
)
def test_bad_calls(scheme, shape, quantizers, route, message, random_graph, refuses):
    with refuses(message):
        scheme(torch.ones(shape), random_graph(1, 20).operator, quantizers, route)


def test_the_base_class_is_abstract(random_graph):
    with pytest.raises(NotImplementedError):
        Scheme()(torch.ones(20, 1), random_graph(1, 20).operator, full(1))
