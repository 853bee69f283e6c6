"""`gnnq bench kernels`: the packed kernels beside every full-precision path and library peer, in one process.

Rows whose path is "packed (real low-bit)" ran on packed codes; "fp32" rows are full precision, with a weight per edge
or with the weights folded into the nodes as packed rows have them ("unweighted", and "neighbour_sum", our own float
kernel); "peer" rows are the framework's own low-bit operators. `bytes` counts what a call must read and write once:
indices, row pointers, one packed (or float) row per edge, scales, the result. `speedup_vs_best_fp32` divides by the
fastest fp32 row of the same case, `speedup_vs_torch_fp32` by the fastest that is not this library's own,
`speedup_vs_same_bits_peer` by the fastest peer of the same bits. Slower cases stay in the table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from gnnq_lib.benchmarks.timing import interleaved_medians, memory_bandwidth
from gnnq_lib.errors import InputError
from gnnq_lib.experiments.provenance import processor
from gnnq_lib.kernels import CSRGraph, linear, neighbour_sum, spmm
from gnnq_lib.kernels.native import active_isa
from gnnq_lib.naming import PACKED
from gnnq_lib.quantizers.packing import SUPPORTED_BITS, PackedCodes

OURS = "neighbour_sum"
_RUNS_UNDER = 1000  # rows of the smallest graph in a sweep


@dataclass(frozen=True)
class SpmmCase:
    """Neighbour sums on one graph at one width.

    Attributes:
        graph: "generated" (power law), "generated-NODES-EDGES", or a data set's name (needs its files).
        width: D, values per node.
        variants: which forms of the kernel to time; see `_packed_calls`.
    """

    graph: str
    width: int
    variants: tuple[str, ...] = ("normalised", "new result")


@dataclass(frozen=True)
class LinearCase:
    """Packed activations (rows x inner) times packed weights (inner x columns)."""

    rows: int
    inner: int
    columns: int


@dataclass(frozen=True)
class FeatureCase:
    """First layer on sparse bag-of-words features: rows x features with `per_row` ones each, times features x width."""

    rows: int
    features: int
    per_row: int
    width: int = 64


ALL_VARIANTS = ("normalised", "new result", "exponents", "node scale", "edge weight")
DEFAULT_CASES: tuple[SpmmCase | LinearCase | FeatureCase, ...] = (
    SpmmCase("generated", 128, ALL_VARIANTS),
    SpmmCase("generated", 256),
    SpmmCase("generated", 64),
    SpmmCase("generated", 16),
    SpmmCase("pubmed-sized", 64),
    SpmmCase("pubmed-sized", 3),
    SpmmCase("cora-sized", 64),
    SpmmCase("cora-sized", 7),
    LinearCase(19717, 64, 3),
    LinearCase(18333, 64, 15),
    LinearCase(19717, 64, 64),
    LinearCase(2048, 512, 512),
    FeatureCase(2708, 1433, 18),
    FeatureCase(3327, 3703, 32),
    FeatureCase(19717, 500, 50),
    FeatureCase(18333, 6805, 60),
)
_SIZES = {"generated": (169_343, 2_500_000), "pubmed-sized": (19_717, 108_366), "cora-sized": (2_708, 13_264)}


@dataclass(frozen=True)
class Row:
    """One line of the table; all numbers of a case come from the same rounds."""

    bench: str
    case: str
    variant: str
    bits: int
    path: str
    median_ms: float
    bytes: int
    gb_per_s: float
    speedup_vs_best_fp32: float | None = None
    speedup_vs_torch_fp32: float | None = None
    speedup_vs_same_bits_peer: float | None = None


@dataclass
class _Call:
    """Something to time: what it is, and how many bytes it must move."""

    variant: str
    bits: int
    path: str
    run: Callable[[], object]
    bytes: int


@dataclass(frozen=True)
class KernelBench:
    """What `run` measures.

    Attributes:
        cases: see the case classes.
        bits: widths of codes.
        rounds: rounds per case.
        seed: of graphs and codes.
    """

    cases: tuple[SpmmCase | LinearCase | FeatureCase, ...] = DEFAULT_CASES
    bits: tuple[int, ...] = field(default=SUPPORTED_BITS)
    rounds: int = 7
    seed: int = 0


def power_law_graph(num_nodes: int, num_edges: int, exponent: float = 2.5, seed: int = 0) -> CSRGraph:
    """A symmetric random graph whose degrees follow a power law (chances of a node: rank^(-1 / (exponent - 1))).

    Args:
        num_nodes: |V|.
        num_edges: entries of the adjacency matrix, both directions counted; even.
        exponent: of the degree distribution, above 2; citation graphs have 2.5 to 3.
        seed: of the graph.

    Example:
        >>> power_law_graph(100, 600)
        CSRGraph(100 x 100, 600 edges)
    """
    if num_nodes < 1 or num_edges < 0 or num_edges % 2 or not exponent > 2:
        raise InputError(
            f"{num_nodes} nodes, {num_edges} edges and exponent {exponent} given; "
            "accepted are at least 1 node, an even number of edges and an exponent above 2"
        )
    generator = torch.Generator().manual_seed(seed)
    chance = torch.arange(1, num_nodes + 1, dtype=torch.float64).pow(-1 / (exponent - 1))
    chance = chance[torch.randperm(num_nodes, generator=generator)]
    ends = [torch.multinomial(chance, num_edges // 2, replacement=True, generator=generator) for _ in range(2)]
    row, col = torch.cat(ends), torch.cat(ends[::-1])
    order = torch.argsort(row * num_nodes + col)
    row_ptr = torch.cat([torch.zeros(1, dtype=torch.long), torch.bincount(row, minlength=num_nodes).cumsum(0)])
    return CSRGraph(row_ptr, col[order], num_nodes)


def generated_sizes(case: str, form: str) -> list[int]:
    """The numbers in the name of a generated case.

    Args:
        case: such as "generated-200-1000".
        form: what its parts stand for, such as "generated-NODES-EDGES".

    Raises:
        InputError: more or fewer parts, or one that is no whole number from 1.

    Example:
        >>> generated_sizes("generated-200-1000", "generated-NODES-EDGES")
        [200, 1000]
    """
    numbers = case.split("-")[1:]
    if len(numbers) != form.count("-") or not all(part.isdecimal() and int(part) for part in numbers):
        raise InputError(f"case {case!r} given; {form}, whole numbers from 1 each, is accepted")
    return [int(part) for part in numbers]


def _graph(name: str, seed: int) -> CSRGraph:
    if name in _SIZES:
        return power_law_graph(*_SIZES[name], seed=seed)
    if name.startswith("generated-"):
        return power_law_graph(*generated_sizes(name, "generated-NODES-EDGES"), seed=seed)
    return _dataset_graph(name)


def _dataset_graph(name: str) -> CSRGraph:
    """A + I of a data set."""
    from gnnq_lib.datasets import load_dataset

    data = load_dataset(name)
    loops = torch.arange(data.num_nodes).expand(2, -1)
    row, col = torch.cat([data.edge_index, loops], dim=1)
    order = torch.argsort(row * data.num_nodes + col)
    row_ptr = torch.cat([torch.zeros(1, dtype=torch.long), torch.bincount(row, minlength=data.num_nodes).cumsum(0)])
    return CSRGraph(row_ptr, col[order], data.num_nodes)


def run(config: KernelBench | None = None) -> list[dict[str, object]]:
    """Measure every case and return the table, one dictionary per row (the fields of `Row`).

    Example:
        >>> rows = run(KernelBench(cases=(SpmmCase("generated-50-200", 8),), bits=(2,), rounds=1))
        >>> sorted({row["path"] for row in rows})
        ['fp32', 'packed (real low-bit)', 'peer']
    """
    config = config or KernelBench()
    rows: list[Row] = []
    for case in config.cases:
        if isinstance(case, SpmmCase):
            name, calls = f"{case.graph} D={case.width}", _spmm_calls(case, config)
        elif isinstance(case, LinearCase):
            name, calls = f"{case.rows} x {case.inner} x {case.columns}", _linear_calls(case, config)
        else:
            name, calls = f"{case.rows} x {case.features} (sparse) x {case.width}", _feature_calls(case, config)
        rows += _measure(type(case).__name__.removesuffix("Case").lower(), name, calls, config.rounds)
    return [asdict(row) for row in rows]


def _measure(bench: str, case: str, calls: list[_Call], rounds: int) -> list[Row]:
    milliseconds = interleaved_medians({str(number): call.run for number, call in enumerate(calls)}, rounds)
    timed = [(call, milliseconds[str(number)]) for number, call in enumerate(calls)]
    best_fp32 = min((ms for call, ms in timed if call.path == "fp32"), default=None)
    torch_fp32 = min((ms for call, ms in timed if call.path == "fp32" and call.variant != OURS), default=None)
    rows = []
    for call, ms in timed:
        peers = [peer_ms for peer, peer_ms in timed if peer.path == "peer" and peer.bits == call.bits]
        rows.append(
            Row(
                bench, case, call.variant, call.bits, call.path, ms, call.bytes, call.bytes / ms / 1e6,
                best_fp32 / ms if best_fp32 else None,
                torch_fp32 / ms if torch_fp32 else None,
                min(peers) / ms if peers and call.path == PACKED else None,
            )
        )  # fmt: skip
    return rows


def _spmm_calls(case: SpmmCase, config: KernelBench) -> list[_Call]:
    graph = _graph(case.graph, config.seed)
    generator = torch.Generator().manual_seed(config.seed)
    x = torch.randn(graph.num_cols, case.width, generator=generator)
    weight = torch.rand(graph.num_edges, generator=generator)
    calls = _fp32_spmm(graph, x, weight)
    for bits in config.bits:
        calls += _packed_spmm(graph, case, bits, weight, generator)
        calls += _bag_peers(graph, x, bits, weight)
    return calls


def _spmm_bytes(graph: CSRGraph, row_bytes: int, index_bytes: int, per_edge: int, width: int) -> int:
    pointers = (graph.num_rows + 1) * index_bytes
    return pointers + graph.num_edges * (index_bytes + per_edge + row_bytes) + graph.num_rows * width * 4


def _fp32_spmm(graph: CSRGraph, x: Tensor, weight: Tensor) -> list[_Call]:
    width = x.shape[1]
    calls = []
    for index in (torch.int32, torch.int64):
        matrix = torch.sparse_csr_tensor(
            graph.row_ptr.to(index),
            graph.col.to(index),
            weight,
            graph.shape,
            check_invariants=False,  # parallel edges are fine
        )
        size = _spmm_bytes(graph, width * 4, index.itemsize, 4, width)
        calls.append(_Call(f"torch sparse CSR, {index}", 32, "fp32", lambda matrix=matrix: matrix @ x, size))
    offsets = graph.row_ptr[:-1].to(torch.int32)
    size = _spmm_bytes(graph, width * 4, 4, 4, width)
    bag = lambda: F.embedding_bag(graph.col, x, offsets, mode="sum", per_sample_weights=weight)  # noqa: E731
    calls.append(_Call("embedding_bag, weighted", 32, "fp32", bag, size))
    scale, out = torch.linspace(0.1, 1, graph.num_rows), torch.empty(graph.num_rows, width)
    size += 4 * (graph.num_rows - graph.num_edges)
    plain = lambda: F.embedding_bag(graph.col, x, offsets, mode="sum").mul_(scale[:, None])  # noqa: E731
    calls.append(_Call("embedding_bag, unweighted", 32, "fp32", plain, size))
    calls.append(_Call(OURS, 32, "fp32", lambda: neighbour_sum(graph, x, row_scale=scale, out=out), size))
    return calls


def _packed_spmm(graph: CSRGraph, case: SpmmCase, bits: int, weight: Tensor, generator: torch.Generator) -> list[_Call]:
    codes = torch.randint(0, 1 << bits, (graph.num_cols, case.width), generator=generator)
    rows = PackedCodes.from_codes(codes, bits)
    scale = torch.rand(graph.num_rows, generator=generator)
    exponents = torch.randint(0, 4, (graph.num_cols,), generator=generator, dtype=torch.uint8)
    zeros = exponents & ((1 << bits) - 1)
    out = torch.empty(graph.num_rows, case.width)
    size = _spmm_bytes(graph, rows.data.shape[1], 4, 0, case.width) + graph.num_rows * 4
    options = {
        "normalised": ({"row_scale": scale, "zero_point": 1, "out": out}, 0),
        "new result": ({"row_scale": scale, "zero_point": 1}, 0),
        "exponents": ({"row_scale": scale, "zero_point": zeros, "exponents": exponents, "out": out}, 2),
        "node scale": ({"row_scale": scale, "zero_point": 1, "node_scale": scale, "out": out}, 4),
        "edge weight": ({"zero_point": 1, "edge_weight": weight, "out": out}, 4),
    }
    unknown = set(case.variants) - set(options)
    if unknown:
        raise InputError(f"variant {sorted(unknown)[0]!r} given; accepted are {', '.join(options)}")
    variants = {name: options[name] for name in case.variants}
    return [
        _Call(name, bits, PACKED, lambda o=o: spmm(graph, rows, **o), size + extra * graph.num_edges)
        for name, (o, extra) in variants.items()
    ]


def _bag_peers(graph: CSRGraph, x: Tensor, bits: int, weight: Tensor) -> list[_Call]:
    """PyTorch's quantized embedding_bag of the same bits (2, 4 and 8), where this build has it and the width fits."""
    name = {2: "2bit", 4: "4bit", 8: "byte"}.get(bits)
    if name is None or x.shape[1] % max(1, 8 // bits):
        return []
    packed = getattr(torch.ops.quantized, f"embedding_bag_{name}_prepack")(x)
    op = getattr(torch.ops.quantized, f"embedding_bag_{name}_rowwise_offsets")
    offsets = graph.row_ptr[:-1].to(torch.int32)

    def bag() -> Tensor:
        return op(packed, graph.col, offsets, False, 0, False, weight, None, False)

    size = _spmm_bytes(graph, packed.shape[1], 4, 4, x.shape[1])
    return [_Call(f"quantized.embedding_bag_{name}", bits, "peer", bag, size)]


def _linear_calls(case: LinearCase, config: KernelBench) -> list[_Call]:
    generator = torch.Generator().manual_seed(config.seed)
    x, w = (torch.randn(*s, generator=generator) for s in ((case.rows, case.inner), (case.inner, case.columns)))
    bias = torch.zeros(case.columns)
    floats = (case.rows * case.inner + case.inner * case.columns + case.rows * case.columns) * 4
    calls = [_Call("torch.addmm", 32, "fp32", lambda: torch.addmm(bias, x, w), floats)]
    x8, w8 = (torch.randint(-7, 8, t.shape, generator=generator, dtype=torch.int8) for t in (x, w))
    wide = case.rows * case.inner + case.inner * case.columns + case.rows * case.columns * 4
    calls.append(_Call("torch._int_mm, unpacked", 8, "peer", lambda: torch._int_mm(x8, w8), wide))
    for bits in config.bits:
        packed_x, packed_w = (
            PackedCodes.from_codes(torch.randint(0, 1 << bits, t.shape, generator=generator), bits) for t in (x, w)
        )
        size = packed_x.nbytes + packed_w.nbytes + case.rows * case.columns * 4

        def product(a: PackedCodes = packed_x, b: PackedCodes = packed_w) -> Tensor:
            return linear(a, b, scale=0.5, bias=bias)

        calls.append(_Call("linear", bits, PACKED, product, size))
    return calls


def _feature_calls(case: FeatureCase, config: KernelBench) -> list[_Call]:
    generator = torch.Generator().manual_seed(config.seed)
    num_entries = case.rows * case.per_row
    col = torch.randint(0, case.features, (num_entries,), generator=generator)
    graph = CSRGraph(torch.arange(case.rows + 1) * case.per_row, col, case.features)
    w = torch.randn(case.features, case.width, generator=generator)
    calls = _fp32_spmm(graph, w, torch.rand(num_entries, generator=generator))
    dense = torch.zeros(case.rows, case.features).index_put_((graph.edge_rows, col), torch.ones(()))
    size = (dense.numel() + w.numel() + case.rows * case.width) * 4
    calls.append(_Call("dense features", 32, "fp32", lambda: dense @ w, size))
    scale = torch.rand(case.rows, generator=generator)
    few = torch.randint(0, 4, (num_entries,), generator=generator, dtype=torch.uint8)
    for bits in config.bits:
        codes = torch.randint(0, 1 << bits, w.shape, generator=generator)
        rows = PackedCodes.from_codes(codes, bits)
        size = _spmm_bytes(graph, rows.data.shape[1], 4, 0, case.width)
        options = {"1-bit features": {}, "2-bit features": {"edge_codes": few}}
        for name, extra in options.items():
            everything = {"row_scale": scale, "zero_point": 1, **extra}
            one = lambda rows=rows, options=everything: spmm(graph, rows, **options)  # noqa: E731
            calls.append(_Call(name, bits, PACKED, one, size + len(extra) * num_entries))
    return calls


def sweep(
    edges: tuple[int, ...] = (10_000, 100_000, 1_000_000, 10_000_000),
    widths: tuple[int, ...] = (16, 32, 64, 128, 256),
    bits: tuple[int, ...] = (2, 4, 8),
    rounds: int = 5,
    seed: int = 0,
) -> list[dict[str, object]]:
    """Cost against edges (D = 128) and against D (the second-largest graph), full precision beside it.

    Every row also holds `edges`, `width`, `ns_per_edge` and `limit_gb_per_s`, the copy bandwidth of this machine in
    this run, so that a figure can draw the limit.

    Example:
        >>> rows = sweep(edges=(1000, 2000), widths=(8,), bits=(2,), rounds=1)
        >>> sorted({row["edges"] for row in rows})
        [1000, 2000]
    """
    limit = memory_bandwidth()
    cases = [(count, 128) for count in edges] + [(sorted(edges)[-2:][0], width) for width in widths]
    rows: list[dict[str, object]] = []
    for num_edges, width in dict.fromkeys(cases):
        num_nodes = max(_RUNS_UNDER, num_edges // 15)
        case = SpmmCase(f"generated-{num_nodes}-{num_edges}", width, ("normalised",))
        for row in run(KernelBench(cases=(case,), bits=bits, rounds=rounds, seed=seed)):
            extra = {"edges": num_edges, "width": width, "limit_gb_per_s": limit}
            rows.append({**row, **extra, "ns_per_edge": float(row["median_ms"]) * 1e6 / num_edges})
    return rows


def describe_machine() -> dict[str, object]:
    """What the numbers were measured on: processor, kernel path, threads, PyTorch.

    Example:
        >>> describe_machine()["threads"] >= 1
        True
    """
    return {
        "processor": processor(),
        "isa": active_isa(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__.split("+")[0],
    }
