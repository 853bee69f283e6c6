"""`gnnq bench serving`: users per second for lists of 20 over all items, and what the tables take in memory.

All rows of a case take turns in one process on the same tables (`interleaved_medians`). "packed" rows rank packed codes
(`CompactTables`); "fp32" rows are the matrix product, with `torch.topk` or with the faster choice of the packed rows'
own (`best_of_rows`); "peer" rows are faiss-cpu, if it is installed. Bytes are those of both tables; faiss has no user
table, so its rows count users in FP32. Lists are compared with those of the FP32 matrix product.
`speedup_vs_best_fp32` is against the fastest row of the same case whose tables are FP32, faiss' flat index included.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from gnnq_lib.benchmarks.kernels import describe_machine
from gnnq_lib.benchmarks.timing import interleaved_medians
from gnnq_lib.deployment.similarity import best_of_rows, recall
from gnnq_lib.errors import InputError
from gnnq_lib.naming import PACKED
from gnnq_lib.recommendation.lightgcn import check_dim
from gnnq_lib.recommendation.packed import load_recommender
from gnnq_lib.recommendation.serving import CompactTables, compact_tables, training_split

FP32, PEER = "fp32", "peer"
GOWALLA = (29_858, 40_981)
_COMPARED = 2048  # users whose lists are compared


@dataclass(frozen=True)
class ServingBench:
    """What `run` measures.

    Attributes:
        dims: D, one case each, with random tables; may be empty.
        num_users, num_items: sizes of random tables; Gowalla's by default.
        models: files of packed recommenders, whose propagated tables are a further case each.
        packed_bits: bits of users and items of each packed row.
        batch: users per call.
        k: length of the lists.
        rounds: see `interleaved_medians`.
        seed: of the tables.
    """

    dims: tuple[int, ...] = (64, 128, 256)
    num_users: int = GOWALLA[0]
    num_items: int = GOWALLA[1]
    models: tuple[Path, ...] = ()
    packed_bits: tuple[tuple[int, int], ...] = ((4, 2),)
    batch: int = 256
    k: int = 20
    rounds: int = 7
    seed: int = 0


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    bench: str
    case: str
    variant: str
    bits: str
    path: str
    users_per_s: float | None = None
    batch_ms: float | None = None
    batch: int | None = None
    bytes: int | None = None
    times_smaller: float | None = None
    speedup_vs_best_fp32: float | None = None
    recall_at_k: float | None = None
    note: str = ""


@dataclass
class _Call:
    """Something to time: rows of users to lists of items."""

    variant: str
    bits: str
    path: str
    lists: Callable[[Tensor], Tensor]
    bytes: int
    note: str = ""


def run(bench: ServingBench = ServingBench()) -> list[dict]:
    """Measure; one dictionary per row.

    Args:
        bench: what to measure.

    Raises:
        InputError: no users, fewer items than k, a batch below 1, D out of range, a file that is no packed recommender.

    Example:
        >>> small = ServingBench(dims=(8,), num_users=40, num_items=200, batch=20, rounds=1)
        >>> run(small)[0]["variant"]
        'matrix product, topk'
    """
    if bench.batch < 1 or bench.k < 1 or bench.num_users < 1 or bench.num_items < bench.k:
        raise InputError(
            f"num_users={bench.num_users}, num_items={bench.num_items}, k={bench.k}, batch={bench.batch} given; "
            "at least 1 each and no fewer items than k are accepted"
        )
    for dim in bench.dims:
        check_dim(dim)
    rows = []
    for case, users, items in _cases(bench):
        rows += _measure(bench, case, users, items)
    machine = describe_machine()
    return [{**asdict(row), **machine} for row in rows]


def _cases(bench: ServingBench):
    """(name, user table, item table) of every case."""
    generator = torch.Generator().manual_seed(bench.seed)
    for dim in bench.dims:
        users = torch.randn(bench.num_users, dim, generator=generator)
        items = torch.randn(bench.num_items, dim, generator=generator)
        yield f"{bench.num_users:,} users x {bench.num_items:,} items, random normal values, D={dim}", users, items
    for file in bench.models:
        packed = load_recommender(file)
        with torch.no_grad():
            users, items = packed.model(training_split(packed).train).score_tables()
        name = f"{packed.header.dataset}, {len(users):,} users x {len(items):,} items, trained, D={packed.header.dim}"
        yield name, users.contiguous(), items.contiguous()


def _measure(bench: ServingBench, case: str, users: Tensor, items: Tensor) -> list[Row]:
    k = bench.k
    generator = torch.Generator().manual_seed(bench.seed)
    shuffled = torch.randperm(len(users), generator=generator)
    batch, compared = shuffled[: bench.batch], shuffled[:_COMPARED]
    full = 4 * (users.numel() + items.numel())
    calls = [
        _Call("matrix product, topk", "32", FP32, lambda u: (users[u] @ items.T).topk(k, dim=1).indices, full),
        _Call("matrix product, best of blocks", "32", FP32, lambda u: best_of_rows(users[u] @ items.T, k).rows, full),
        *(_packed(compact_tables(users, items, *bits), bits, k) for bits in bench.packed_bits),
        *_faiss(users, items, k),
    ]
    times = interleaved_medians({call.variant: lambda call=call: call.lists(batch) for call in calls}, bench.rounds)
    fastest = min(times[call.variant] for call in calls if call.bits == "32")
    exact = torch.cat([calls[0].lists(part) for part in compared.split(bench.batch)])
    rows = []
    for call in calls:
        found = torch.cat([call.lists(part) for part in compared.split(bench.batch)])
        milliseconds = times[call.variant]
        rows.append(
            Row(
                "serving",
                case,
                call.variant,
                call.bits,
                call.path,
                round(1e3 * len(batch) / milliseconds),
                round(milliseconds, 2),
                len(batch),
                call.bytes,
                round(full / call.bytes, 2),
                round(fastest / milliseconds, 2),
                round(recall(found, exact), 4),
                call.note,
            )
        )
    if importlib.util.find_spec("faiss") is None:
        rows.append(Row("serving", case, "faiss-cpu", "", PEER, note="not installed: pip install faiss-cpu"))
    return rows


def _packed(tables: CompactTables, bits: tuple[int, int], k: int) -> _Call:
    name = f"packed, users {bits[0]} bits, items {bits[1]} bits"
    return _Call(name, str(bits[1]), PACKED, lambda u: tables.top(u, k)[0], tables.nbytes)


def _faiss(users: Tensor, items: Tensor, k: int) -> list[_Call]:
    """Flat and scalar-quantized indexes of faiss-cpu; none if it is not installed."""
    if importlib.util.find_spec("faiss") is None:
        return []
    import faiss

    faiss.omp_set_num_threads(torch.get_num_threads())
    dim, rows = items.shape[1], items.numpy()
    quantizer, inner = faiss.ScalarQuantizer, faiss.METRIC_INNER_PRODUCT
    indexes = {
        ("faiss flat", "32"): faiss.IndexFlatIP(dim),
        ("faiss SQ8", "8"): faiss.IndexScalarQuantizer(dim, quantizer.QT_8bit, inner),
        ("faiss SQ4", "4"): faiss.IndexScalarQuantizer(dim, quantizer.QT_4bit, inner),
    }
    calls = []
    for (variant, bits), index in indexes.items():
        index.train(rows)
        index.add(rows)
        size = 4 * users.numel() + index.sa_code_size() * len(rows)
        note = "" if bits == "32" else f"items alone {4 * dim / index.sa_code_size():.1f} times smaller; users in FP32"

        def lists(u: Tensor, index=index) -> Tensor:
            return torch.from_numpy(index.search(users[u].numpy(), k)[1])

        calls.append(_Call(variant, bits, PEER, lists, size, note))
    return calls
