"""`gnnq bench similarity`: top-20 search on packed embeddings beside full precision and, where installed, faiss.

Embeddings are the 64 values of a trained FP32 model's hidden layer after K propagation steps (paper A quantizes these;
fact sheet A, section 3), or a generated set of clusters. Some rows are taken out as queries; the others are searched.

`bytes` is all that is kept to search, `recall` the share of the true 20 that were found, `score_lost` how much smaller
the true similarity of what was found is than that of the true 20, on average, as a share: where many rows are nearly as
close, recall is low although what was found is as good. `gb_per_s` counts reading `bytes` once per batch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from gnnq_lib.benchmarks.kernels import generated_sizes
from gnnq_lib.benchmarks.timing import interleaved_medians
from gnnq_lib.deployment.similarity import METRICS, best_of_rows, pack_embeddings, recall
from gnnq_lib.errors import InputError
from gnnq_lib.experiments.config import make_config
from gnnq_lib.experiments.node_classification import Config, fit
from gnnq_lib.experiments.training import Graph
from gnnq_lib.models import DecoupledClassifier
from gnnq_lib.naming import PACKED
from gnnq_lib.propagation import full_precision_quantizers

GENERATED = "generated"
_GENERATED_ROWS, _GENERATED_WIDTH, _CLUSTER_ROWS = 169_343, 64, 170
_FLOAT_ROWS = 16_384  # of the full-precision search at a time; so its scores stay in cache, too
# faiss: factory string, bits per value without tables
FAISS = {"Flat": 32, "SQ4": 4, "PQ16x8": 2, "PQ32x4fs": 2}


@dataclass(frozen=True)
class SimilarityBench:
    """What `run` measures.

    Attributes:
        cases: names of data sets, or "generated" (169,343 rows of 64 values in clusters), or "generated-ROWS".
        bits: widths of packed embeddings.
        metrics: of `METRICS`.
        batches: queries per call.
        num_queries: rows taken out, for recall; at least the largest batch.
        k: neighbours.
        epochs: of the training behind the embeddings.
        rounds: rounds per case.
        seed: of model, clusters, queries.
    """

    cases: tuple[str, ...] = ("pubmed", "cs", GENERATED)
    bits: tuple[int, ...] = (1, 2, 4, 8)
    metrics: tuple[str, ...] = METRICS
    batches: tuple[int, ...] = (1, 256)
    num_queries: int = 512
    k: int = 20
    epochs: int = 60
    rounds: int = 5
    seed: int = 0


@dataclass(frozen=True)
class Row:
    """One line of the table; all times of a case and batch come from the same rounds. No time: not installed."""

    bench: str
    case: str
    variant: str
    bits: int
    path: str
    median_ms: float | None
    bytes: int
    gb_per_s: float | None
    metric: str
    batch: int
    threads: int
    queries_per_s: float | None
    recall: float | None
    score_lost: float | None
    speedup_vs_best_fp32: float | None = None


@dataclass
class _Search:
    """A way to search: queries -> row numbers (Q, k); None where it is not installed."""

    variant: str
    bits: int
    path: str
    find: Callable[[Tensor], Tensor] | None
    bytes: int


def node_embeddings(model: DecoupledClassifier, graph: Graph) -> Tensor:
    """The hidden layer of a classifier, propagated over its graph in full precision: float32 (|V|, hidden).

    Example:
        >>> tiny = {"experiment": "demo", "dataset": "digits", "split": "random", "method": "fp32", "bits": 32}
        >>> model, _, graph = fit(make_config(Config, {**tiny, "epochs": 1}))
        >>> node_embeddings(model, graph).shape
        torch.Size([1797, 64])
    """
    if not isinstance(model, DecoupledClassifier):
        raise InputError(f"a {type(model).__name__} was given; a DecoupledClassifier is accepted.")
    with torch.no_grad():
        hidden = torch.relu(graph.features.product(model.weight1) + model.bias1)
        return model.options.scheme(hidden, graph.operator, full_precision_quantizers(model.options.num_layers, True))


def clusters(num_rows: int = _GENERATED_ROWS, width: int = _GENERATED_WIDTH, seed: int = 0) -> Tensor:
    """Generated embeddings: clusters of 170 rows, noise of 0.6 times the spread of their centres, then a ReLU.

    Example:
        >>> clusters(1000, 8).shape
        torch.Size([1000, 8])
    """
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(max(1, num_rows // _CLUSTER_ROWS), width, generator=generator)
    chosen = torch.randint(0, centres.shape[0], (num_rows,), generator=generator)
    return (centres[chosen] + 0.6 * torch.randn(num_rows, width, generator=generator)).relu_()


def run(config: SimilarityBench | None = None) -> list[dict[str, object]]:
    """Measure every case and return the table, one dictionary per row (the fields of `Row`).

    Raises:
        InputError: an unknown data set, rows that are no number, too few of them, or fewer queries than a batch.

    Example:
        >>> small = SimilarityBench(("generated-900",), bits=(2,), batches=(1,), num_queries=20, rounds=1)
        >>> sorted({row["path"] for row in run(small)})
        ['fp32', 'packed (real low-bit)', 'peer']
    """
    config = config or SimilarityBench()
    if config.num_queries < max(config.batches):
        raise InputError(f"{config.num_queries} queries were given for batches of {max(config.batches)}; give as many.")
    rows: list[Row] = []
    for case in config.cases:
        embeddings = _embeddings(case, config)
        if config.num_queries + config.k > embeddings.shape[0]:
            raise InputError(f"{case} has {embeddings.shape[0]} rows; {config.num_queries} queries leave too few.")
        for metric in config.metrics:
            rows += _measure(case, embeddings, metric, config)
    return [asdict(row) for row in rows]


def _embeddings(case: str, config: SimilarityBench) -> Tensor:
    if case == GENERATED:
        return clusters(seed=config.seed)
    if case.startswith(GENERATED + "-"):
        return clusters(*generated_sizes(case, f"{GENERATED}-ROWS"), seed=config.seed)
    split = "public" if case in ("cora", "citeseer", "pubmed") else "random"
    values = {"experiment": "similarity", "dataset": case, "split": split, "method": "fp32", "bits": 32}
    model, _, graph = fit(make_config(Config, {**values, "epochs": config.epochs, "seed": config.seed}))
    return node_embeddings(model, graph)


def _measure(case: str, embeddings: Tensor, metric: str, config: SimilarityBench) -> list[Row]:
    chosen = torch.randperm(embeddings.shape[0], generator=torch.Generator().manual_seed(config.seed))
    embeddings = functional.normalize(embeddings, dim=1) if metric == "cosine" else embeddings
    queries, stored = embeddings[chosen[: config.num_queries]], embeddings[chosen[config.num_queries :]].contiguous()
    similarity = queries @ stored.T
    exact = similarity.topk(config.k, dim=1)
    searches = _searches(stored, metric, config)
    quality = {}
    for search in searches:
        if search.find is not None:
            found = search.find(queries)
            lost = 1 - similarity.gather(1, found).mean(dim=1) / exact.values.mean(dim=1)
            quality[search.variant, search.bits] = (recall(found, exact.indices), float(lost.mean()))
    rows, threads = [], torch.get_num_threads()
    for batch in config.batches:
        ready = {str(n): s.find for n, s in enumerate(searches) if s.find is not None}
        calls = {n: partial(find, queries[:batch].contiguous()) for n, find in ready.items()}
        times = interleaved_medians(calls, config.rounds)
        full = min(times[n] for n in times if searches[int(n)].path == "fp32")
        for number, search in enumerate(searches):
            ms = times.get(str(number))
            head = ("similarity", case, search.variant, search.bits, search.path, ms, search.bytes)
            if ms is None:
                rows.append(Row(*head, None, metric, batch, threads, None, None, None))
                continue
            rate, per_second = search.bytes / ms / 1e6, batch / ms * 1e3
            found = quality[search.variant, search.bits]
            rows.append(Row(*head, rate, metric, batch, threads, per_second, *found, full / ms))
    return rows


def _searches(stored: Tensor, metric: str, config: SimilarityBench) -> list[_Search]:
    exact = _full_precision(stored, config.k)
    searches = [_Search("torch, matrix product and top-k", 32, "fp32", exact, stored.nbytes)]
    for bits in config.bits:
        packed = pack_embeddings(stored, bits, metric)
        find = lambda queries, packed=packed: packed.search(queries, config.k).rows  # noqa: E731
        searches.append(_Search("packed", bits, PACKED, find, packed.nbytes))
    return searches + _faiss_searches(stored, config.k)


def _full_precision(stored: Tensor, k: int) -> Callable[[Tensor], Tensor]:
    """The fastest full-precision search we know with torch: some rows at a time, the best of blocks first."""

    def find(queries: Tensor) -> Tensor:
        found = []
        for start in range(0, stored.shape[0], _FLOAT_ROWS):
            scores = queries @ stored[start : start + _FLOAT_ROWS].T
            best = best_of_rows(scores, min(k, scores.shape[1]))
            found.append((best.scores, best.rows + start))
        scores, rows = (torch.cat(part, dim=1) for part in zip(*found, strict=True))
        return rows.gather(1, scores.topk(k, dim=1).indices)

    return find


def _faiss_searches(stored: Tensor, k: int) -> list[_Search]:
    """faiss-cpu's exact, scalar and product quantizers; rows without times where it is not installed."""
    try:
        import faiss
    except ImportError:
        return [_Search(f"faiss {name} (not installed)", bits, "peer", None, 0) for name, bits in FAISS.items()]
    faiss.omp_set_num_threads(torch.get_num_threads())
    searches = []
    for name, bits in FAISS.items():
        index = faiss.index_factory(stored.shape[1], name, faiss.METRIC_INNER_PRODUCT)
        index.train(stored.numpy())
        index.add(stored.numpy())
        find = lambda queries, index=index: torch.from_numpy(index.search(queries.numpy(), k)[1])  # noqa: E731
        size = len(faiss.serialize_index(index))
        searches.append(_Search(f"faiss {name}", bits, "fp32" if bits == 32 else "peer", find, size))
    return searches
