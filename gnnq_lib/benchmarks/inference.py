"""`gnnq bench inference`: the whole SMP classifier on packed integers beside every full-precision path, in one process.

The classifier has a hidden layer of 64 and K = 10 propagation steps; weights are untrained (speed does not depend on
them) and packed by `deployment.freeze`. A call takes a graph and its features, prepared once, to the class scores of
all nodes. Prepared once and not timed: for packed rows the integer features, the first weight matrix widened to bytes
and the graph sorted by degree; for FP32 rows the sparse or dense feature matrix and the normalised adjacency matrix
with the coefficient of the step multiplied in. "FP32 as released" multiplies dense features, and keeps the coefficients
outside the matrix.

`bytes` counts what a call must read and write once: one index (and value) and one row per stored feature and per edge
and step, and the states. `speedup_vs_best_fp32` divides by the fastest row of full precision of the same case,
`speedup_vs_torch_fp32` by the fastest that PyTorch's operators make, `speedup_vs_fp32_as_released` by the dense one;
all compare medians. On a busy machine, where medians of two threads
that wait for each other say little, `fastest_ms` and `speedup_of_fastest` (against the fastest round of any FP32 row)
say more. Slower cases stay in the table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from statistics import median

import torch
from torch import Tensor
from torch.nn import functional

from gnnq_lib.benchmarks.kernels import OURS, generated_sizes, power_law_graph
from gnnq_lib.benchmarks.timing import interleaved_medians, interleaved_times
from gnnq_lib.deployment import freeze
from gnnq_lib.deployment.pipeline import load_data
from gnnq_lib.errors import InputError
from gnnq_lib.experiments.training import Graph
from gnnq_lib.kernels import CSRGraph, neighbour_sum, propagate, two_layer
from gnnq_lib.models import DecoupledClassifier, Method, ModelOptions
from gnnq_lib.models.features import FeatureKind, FeatureMatrix
from gnnq_lib.naming import PACKED
from gnnq_lib.propagation import GraphOperator, Smp
from gnnq_lib.quantizers.packing import row_bytes

FP32 = "fp32"
AS_RELEASED = "as released: dense features"
GENERATED = "generated"
DEFAULT_CASES = ("cora", "citeseer", "pubmed", "cs", GENERATED, "generated-169343-2500000-16")
_GENERATED_SIZES = {"num_nodes": 169_343, "num_edges": 2_500_000, "num_features": 1000, "words": 30, "num_classes": 40}
_CHOOSING_ROUNDS = 3
_Product = Callable[[Tensor, "Tensor | None"], Tensor]


@dataclass(frozen=True)
class InferenceBench:
    """What `run` measures.

    Attributes:
        cases: names of data sets, "generated" (169,343 nodes and 2.5 million edges of a power law, 30 of 1000 words per
            node, 40 classes), or "generated-NODES-EDGES-CLASSES".
        bits: widths of the packed models.
        rounds: rounds per case.
        num_layers: K.
        multiplier: SMP with its correction, that is, with a second propagation per step.
        compiled: time the fastest full-precision path under torch.compile, too.
        stages: also time the two linear layers and the propagation of the packed model by themselves.
        seed: of weights and generated graphs.
    """

    cases: tuple[str, ...] = DEFAULT_CASES
    bits: tuple[int, ...] = (2, 4, 8)
    rounds: int = 9
    num_layers: int = 10
    multiplier: bool = False
    compiled: bool = True
    stages: bool = False
    seed: int = 0


@dataclass(frozen=True)
class Row:
    """One line of the table; all numbers of a case come from the same rounds. No time: the path does not work here."""

    bench: str
    case: str
    variant: str
    bits: int
    path: str
    median_ms: float | None
    bytes: int
    gb_per_s: float | None
    speedup_vs_best_fp32: float | None = None
    speedup_vs_torch_fp32: float | None = None
    speedup_vs_fp32_as_released: float | None = None
    fastest_ms: float | None = None
    speedup_of_fastest: float | None = None


@dataclass
class _Call:
    """Something to time; `run` is None where it does not work."""

    variant: str
    bits: int
    path: str
    run: Callable[[], object] | None
    bytes: int
    bench: str = "inference"


@dataclass(frozen=True)
class _Words:
    """Features, classes and edges of a generated graph, as far as `Graph` asks for them."""

    name: str
    features: Tensor
    edge_index: Tensor
    num_nodes: int
    num_classes: int


def generated_graph(
    num_nodes: int, num_edges: int, num_features: int, words: int, num_classes: int, seed: int = 0
) -> Graph:
    """A power-law graph whose nodes have bag-of-words features, for timings (labels do not exist).

    Args:
        num_nodes, num_edges: |V|, entries of the adjacency matrix; repeated edges count once, self-loops come on top.
        num_features, words: vocabulary and words drawn per node (a word drawn twice counts once).
        num_classes: C.
        seed: of everything.

    Example:
        >>> generated_graph(100, 600, 20, 5, 3).features.num_nodes
        100
    """
    pattern = power_law_graph(num_nodes, num_edges, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    col = torch.randint(0, num_features, (num_nodes, words), generator=generator)
    row = torch.arange(num_nodes).repeat_interleave(words)
    entries = torch.unique(row * num_features + col.flatten())
    ones = torch.ones(entries.numel())
    places = torch.stack([entries // num_features, entries % num_features])
    features = torch.sparse_coo_tensor(places, ones, (num_nodes, num_features)).to_sparse_csr()
    edges = torch.stack([pattern.edge_rows, pattern.col.long()])
    return Graph(_Words("generated", features, edges, num_nodes, num_classes))


def _load(name: str, seed: int) -> Graph:
    if name == GENERATED:
        return generated_graph(**_GENERATED_SIZES, seed=seed)
    if name.startswith(GENERATED + "-"):
        sizes = generated_sizes(name, f"{GENERATED}-NODES-EDGES-CLASSES")
        named = dict(zip(("num_nodes", "num_edges", "num_classes"), sizes))
        return generated_graph(**{**_GENERATED_SIZES, **named}, seed=seed)
    return load_data(name)


def run(config: InferenceBench | None = None) -> list[dict[str, object]]:
    """Measure every case and return the table, one dictionary per row (the fields of `Row`).

    Raises:
        InputError: a data set that does not exist, sizes that are no numbers, or fewer than one round.

    Example:
        >>> rows = run(InferenceBench(("generated-200-1000-3",), bits=(2,), rounds=1, compiled=False))
        >>> sorted({row["path"] for row in rows})
        ['fp32', 'packed (real low-bit)']
    """
    config = config or InferenceBench()
    if config.rounds < 1:
        raise InputError(f"rounds={config.rounds} given; accepted is at least 1")
    rows: list[Row] = []
    for name in config.cases:
        graph = _load(name, config.seed)
        with torch.inference_mode():
            rows += _measure(_describe(name, graph), _calls(graph, config), config.rounds)
    return [asdict(row) for row in rows]


def _describe(name: str, graph: Graph) -> str:
    edges = graph.operator.num_entries - graph.features.num_nodes
    return f"{name} ({graph.features.num_nodes:,} nodes, {edges:,} edges, {graph.dataset.num_classes} classes)"


def _calls(graph: Graph, config: InferenceBench) -> list[_Call]:
    model = _model(graph, config, Method.FP32, 32)
    calls = _fp32_calls(graph, model, config)
    for bits in config.bits:
        calls += _packed_calls(graph, config, bits)
    return calls


def _model(graph: Graph, config: InferenceBench, method: Method, bits: int) -> DecoupledClassifier:
    torch.manual_seed(config.seed)
    scheme = Smp(use_multiplier=config.multiplier)
    options = ModelOptions(scheme, config.num_layers, method=method, num_bits=bits)
    model = DecoupledClassifier(graph.features.num_features, graph.dataset.num_classes, graph.operator, options).eval()
    if method is not Method.FP32:
        model(graph.features, graph.operator)  # sets the scales
    return model


def _packed_calls(graph: Graph, config: InferenceBench, bits: int) -> list[_Call]:
    classify = freeze(_model(graph, config, Method.NODE_POW2, bits), graph).prepare(graph)
    size = _bytes(graph, config, bits)
    out = torch.empty(classify.shape)
    calls = [_Call("packed", bits, PACKED, lambda: classify(out), size)]
    if config.stages:
        scores = two_layer(classify.features, classify.weights)
        parts = {
            "two linear layers": lambda: two_layer(classify.features, classify.weights),
            "propagation": lambda: propagate(classify.graph, scores, classify.plan),
        }
        calls += [_Call(name, bits, PACKED, part, size, "inference stage") for name, part in parts.items()]
    return calls


def _bytes(graph: Graph, config: InferenceBench, bits: int) -> int:
    """What a call must move once, at `bits` per value (32: floats)."""
    features, classes = graph.features, graph.dataset.num_classes
    hidden, rows = ModelOptions().hidden, features.num_nodes
    width = (lambda n: 4 * n) if bits == 32 else (lambda n: row_bytes(n, bits))
    value = 4 if bits == 32 else (0 if features.kind.value == "binary" else 1)
    first = features.num_stored * (4 + value + width(hidden)) + 4 * rows
    weight = 4 if bits == 32 else 0
    passes = config.num_layers * (2 if config.multiplier else 1)
    edges = graph.operator.num_entries * (4 + weight + width(classes)) + 4 * rows
    states = rows * width(classes)
    return first + rows * width(hidden) + passes * (edges + 2 * states) + rows * classes * 4


class _Fp32:
    """The classifier in full precision, with a choice of operators for its two sparse products."""

    def __init__(self, graph: Graph, model: DecoupledClassifier, config: InferenceBench) -> None:
        features, operator = graph.features, graph.operator
        self.w1, self.b1, self.w2, self.b2 = (
            p.detach() for p in (model.weight1, model.bias1, model.weight2, model.bias2)
        )
        self.num_layers, scheme = config.num_layers, model.options.scheme
        self.keep, self.spread, self.inject = scheme.coefficients
        multiplier = scheme.multiplier_start if config.multiplier else 0.0
        self.gap = 2 * scheme.eta_h * multiplier
        shape = (features.num_nodes, features.num_features)
        self.first = _weighted_products(features.row_ptr, features.col, features.values, shape)
        if features.kind is FeatureKind.BINARY:
            pattern = CSRGraph(features.row_ptr, features.col, features.num_features)
            self.first |= _unweighted_products(pattern, _first_of_rows(features))
        square = (features.num_nodes, features.num_nodes)
        weight = self.spread * operator.edge_weight
        self.steps = _weighted_products(operator.row_ptr, operator.col, weight, square)
        self.folded = _unweighted_products(CSRGraph(operator.row_ptr, operator.col), self.spread * operator.inv_degree)
        self.node_scale = operator.inv_degree.sqrt()

    @property
    def step_names(self) -> list[str]:
        """Operators that a propagation can use."""
        return [*self.steps, *self.folded]

    def logits(self, first: str, step: str) -> Tensor:
        return self.propagate(step, self.scores(first))

    def scores(self, first: str) -> Tensor:
        hidden = self.first[first](self.w1, self.b1.expand(1, -1)).relu_()
        return torch.addmm(self.b2, hidden, self.w2)

    def propagate(self, step: str, x: Tensor) -> Tensor:
        if step not in self.folded:
            return self._propagate(self.steps[step], x)
        # In u = D^-1/2 x a step's matrix is D^-1 A: no weight per edge, as on packed codes.
        return self._propagate(self.folded[step], x * self.node_scale) / self.node_scale

    def _propagate(self, product: _Product, x: Tensor) -> Tensor:
        h, teleport = x, self.inject * x
        for _ in range(self.num_layers):
            y = product(h, teleport)
            if self.keep:
                y = y + self.keep * h
            if self.gap:
                gap = y - h
                y = y + (self.gap / self.spread) * product(gap, None)
            h = y
        return h


def _first_of_rows(features: FeatureMatrix) -> Tensor:
    """The value that all entries of a row of binary features have, float32 (num_nodes, 1); 0 for empty rows."""
    start, end = features.row_ptr[:-1].long(), features.row_ptr[1:].long()
    return torch.where(end > start, features.values[start.clamp(max=len(features.values) - 1)], 0.0)[:, None]


def _weighted_products(row_ptr: Tensor, col: Tensor, values: Tensor, shape: tuple[int, int]) -> dict[str, _Product]:
    """Operators (x, offset or None) -> matrix x + offset, by name."""
    products: dict[str, _Product] = {}
    for index in (torch.int32, torch.int64):
        matrix = torch.sparse_csr_tensor(row_ptr.to(index), col.to(index), values, shape, check_invariants=False)
        products[f"sparse CSR, {str(index).removeprefix('torch.')}"] = lambda x, offset, matrix=matrix: (
            matrix @ x if offset is None else torch.addmm(offset, matrix, x)
        )
    offsets = row_ptr[:-1].to(col.dtype)

    def bag(x: Tensor, offset: Tensor | None) -> Tensor:
        return _plus(functional.embedding_bag(col, x, offsets, mode="sum", per_sample_weights=values), offset)

    products["embedding_bag"] = bag
    return products


def _unweighted_products(graph: CSRGraph, row: Tensor) -> dict[str, _Product]:
    """Operators (x, offset or None) -> row * (pattern x) + offset; row: (num_rows, 1)."""
    offsets, row_scale = graph.row_ptr[:-1].to(torch.int32), row.flatten().contiguous()
    buffers: dict[int, list[Tensor]] = {}

    def bag(x: Tensor, offset: Tensor | None) -> Tensor:
        return _plus(functional.embedding_bag(graph.col, x, offsets, mode="sum").mul_(row), offset)

    def kernel(x: Tensor, offset: Tensor | None) -> Tensor:
        pair = buffers.setdefault(x.shape[1], [torch.empty(graph.num_rows, x.shape[1]) for _ in range(2)])
        pair.reverse()  # the other one is still read, as x
        whole = offset is not None and offset.shape == pair[0].shape
        result = neighbour_sum(graph, x, row_scale=row_scale, added=offset if whole else None, out=pair[0])
        return result if whole else _plus(result, offset)

    return {"embedding_bag, unweighted": bag, OURS: kernel}


def _plus(x: Tensor, offset: Tensor | None) -> Tensor:
    return x if offset is None else x.add_(offset)


def _fp32_calls(graph: Graph, model: DecoupledClassifier, config: InferenceBench) -> list[_Call]:
    fp32, size = _Fp32(graph, model, config), _bytes(graph, config, 32)
    x = fp32.scores(next(iter(fp32.first))).clone()
    first = _fastest({name: lambda name=name: fp32.scores(name) for name in fp32.first})
    step = _fastest({name: lambda name=name: fp32.propagate(name, x) for name in fp32.step_names})
    torch_step = _fastest({name: lambda name=name: fp32.propagate(name, x) for name in fp32.step_names if name != OURS})
    pairs = dict.fromkeys([*((name if name in fp32.first else first, name) for name in fp32.step_names), (first, step)])
    calls = [
        _Call(a if a == b else f"{a}, then {b}", 32, FP32, lambda a=a, b=b: fp32.logits(a, b), size) for a, b in pairs
    ]
    calls.append(_as_released(graph, fp32, size))
    if config.compiled:
        calls.append(_compiled(fp32, "embedding_bag" if first == OURS else first, torch_step, size))
    return calls


def _fastest(calls: dict[str, Callable[[], object]]) -> str:
    times = interleaved_medians(calls, _CHOOSING_ROUNDS)
    return min(times, key=lambda name: times[name])


def _as_released(graph: Graph, fp32: _Fp32, size: int) -> _Call:
    """Dense features; sparse propagation with 64-bit indices, coefficients outside."""
    features = graph.features
    dense = features.csr(features.values).to_dense()
    operator: GraphOperator = graph.operator
    shape = (features.num_nodes, features.num_nodes)
    indices = (operator.row_ptr.long(), operator.col.long())
    matrix = torch.sparse_csr_tensor(*indices, operator.edge_weight, shape, check_invariants=False)

    def logits() -> Tensor:
        x = (dense @ fp32.w1 + fp32.b1).relu() @ fp32.w2 + fp32.b2
        h = x
        for _ in range(fp32.num_layers):
            y = fp32.keep * h + fp32.spread * (matrix @ h) + fp32.inject * x
            h = y + fp32.gap * (matrix @ (y - h)) if fp32.gap else y
        return h

    stored = features.num_stored * (8 + 4 * fp32.w1.shape[1])
    return _Call(AS_RELEASED, 32, FP32, logits, size - stored + 4 * (dense.numel() + fp32.w1.numel()))


def _compiled(fp32: _Fp32, first: str, step: str, size: int) -> _Call:
    """The fastest path under torch.compile; a row without time where this build cannot compile it."""
    from torch._dynamo.exc import TorchDynamoException

    compiled = torch.compile(lambda: fp32.logits(first, step))
    try:
        compiled()
    except TorchDynamoException as error:
        reason = str(error).strip().splitlines()[0]
        return _Call(f"torch.compile: does not work here ({reason})", 32, FP32, None, size)
    return _Call(f"torch.compile: {first}, then {step}", 32, FP32, compiled, size)


def _measure(case: str, calls: list[_Call], rounds: int) -> list[Row]:
    timed = {str(number): call.run for number, call in enumerate(calls) if call.run is not None}
    samples = interleaved_times(timed, rounds)
    times = [samples.get(str(number)) for number in range(len(calls))]
    full = [ms for call, ms in zip(calls, times) if call.path == FP32 and ms is not None]
    best, fastest = min(median(ms) for ms in full), min(min(ms) for ms in full)
    by_torch = min(
        median(ms) for call, ms in zip(calls, times) if call.path == FP32 and ms and OURS not in call.variant
    )
    released = next(median(ms) for call, ms in zip(calls, times) if call.variant == AS_RELEASED)
    rows = []
    for call, ms in zip(calls, times):
        head = (call.bench, case, call.variant, call.bits, call.path)
        if ms is None:
            rows.append(Row(*head, None, call.bytes, None))
        elif call.bench != "inference":
            rows.append(Row(*head, median(ms), call.bytes, None, fastest_ms=min(ms)))
        else:
            ratios = (*(other / median(ms) for other in (best, by_torch, released)), min(ms), fastest / min(ms))
            rows.append(Row(*head, median(ms), call.bytes, call.bytes / median(ms) / 1e6, *ratios))
    return rows
