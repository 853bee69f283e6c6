"""How long a training step of LightGCN takes: beside its own sparse products, PyG's LightGCN, and the low-bit methods.

One step is: draw a batch with its negatives, propagate forward, BPR, propagate backward, Adam. What it is measured by
are 2 L whole sparse products, with our kernel and with PyTorch's fastest one (unweighted bags of rows); the step itself
skips the rows of two of them that no batch asks for. Everything is timed in turns in one process, each turn after a
call of the same that is not timed: a training repeats its step.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import get_args

import torch
from torch import Tensor

from gnnq_lib.benchmarks.kernels import describe_machine
from gnnq_lib.benchmarks.timing import interleaved_medians
from gnnq_lib.datasets.interactions import UserItems
from gnnq_lib.datasets.interactions_registry import load_interactions
from gnnq_lib.errors import InputError
from gnnq_lib.kernels import torch_neighbour_sum
from gnnq_lib.recommendation.baselines import LsqTable, N2uqTable
from gnnq_lib.recommendation.bigear import Bigear
from gnnq_lib.recommendation.bipartite import BipartiteGraph
from gnnq_lib.recommendation.gnaq import Gnaq, GnaqAsReleased, GnaqOptions
from gnnq_lib.recommendation.lightgcn import LightGCN, Recommender, initial_table
from gnnq_lib.recommendation.sampling import Sampling, TripletSampler

LOW_BIT = ("gnaq", "gnaq_as_released", "lsq", "n2uq", "bigear")


@dataclass(frozen=True)
class LightgcnBench:
    """What is timed.

    Attributes:
        dataset: see `load_interactions`; its whole training part is used.
        batch_size, dim, num_layers: of a step.
        sampling: how a step's batch is drawn; drawing alone is timed both ways.
        rounds: turns of each side.
        peers: PyG's LightGCN too.
        methods: low-bit methods whose steps are timed too, out of LOW_BIT.

    Raises:
        InputError: rounds below 1 or an unknown method.

    Example:
        >>> LightgcnBench().dataset
        'gowalla'
    """

    dataset: str = "gowalla"
    batch_size: int = 8192
    dim: int = 64
    num_layers: int = 3
    sampling: Sampling = "users"
    rounds: int = 7
    peers: bool = True
    methods: tuple[str, ...] = LOW_BIT

    def __post_init__(self) -> None:
        unknown = [name for name in self.methods if name not in LOW_BIT]
        if self.rounds < 1 or unknown:
            raise InputError(
                f"rounds={self.rounds}, methods={self.methods} given; at least 1 round and methods out of "
                f"{', '.join(LOW_BIT)} are accepted"
            )


def run(bench: LightgcnBench = LightgcnBench()) -> list[dict]:
    """Time a step of everything; rows with the columns of the other benchmarks, times in ms.

    `times_products` is a step's time over that of its sparse products alone, `share_of_step` a part's time over the
    full-precision step's, `steps_per_second_vs_pyg` how many times PyG's steps ours are (its faster form).

    Example:
        >>> rows = run(LightgcnBench("power-law", batch_size=512, dim=8, rounds=1, methods=("lsq",)))
        >>> [row["variant"] for row in rows][:3]
        ['sparse products alone', "sparse products alone, PyTorch's bags", 'sampling, by interactions']
    """
    pairs = load_interactions(bench.dataset).train
    graph = BipartiteGraph(pairs)
    samplers = {way: TripletSampler(pairs, bench.batch_size, seed=0, sampling=way) for way in get_args(Sampling)}
    sampler = samplers[bench.sampling]
    batches = itertools.cycle(list(itertools.islice(sampler.epoch(0), 8)))
    drawn = {way: _batches(each) for way, each in samplers.items()}
    table = initial_table(graph, bench.dim, seed=0)

    calls: dict[str, Callable[[], object]] = {
        "sparse products alone": partial(_repeat, 2 * bench.num_layers, graph.neighbour_sum, table),
        "sparse products alone, PyTorch's bags": partial(
            _repeat, 2 * bench.num_layers, torch_neighbour_sum, graph.adjacency, table
        ),
        **{f"sampling, by {way}": partial(next, drawn[way]) for way in drawn},
        "LightGCN step": _step(LightGCN(graph, bench.dim, bench.num_layers), sampler),
    }
    for method in bench.methods:
        calls[f"{method} step"] = _step(_model(method, graph, table, bench.num_layers), sampler)
    if bench.peers:
        calls["PyG LightGCN step, edge index"] = _pyg_step(pairs, bench, batches, sparse=False)
        calls["PyG LightGCN step, sparse CSR"] = _pyg_step(pairs, bench, batches, sparse=True)
    medians = interleaved_medians(calls, bench.rounds, warm=True)
    machine = describe_machine()
    return [{**_row(bench, name, medians), **machine} for name in calls]


def _repeat(times: int, call: Callable, *given: object) -> None:
    """Call so often, dropping each result before the next, as training does: keeping six costs more than a sum."""
    for _ in range(times):
        call(*given)


def _row(bench: LightgcnBench, name: str, medians: dict[str, float]) -> dict:
    row = {
        "bench": "training",
        "case": f"lightgcn {bench.dataset} D={bench.dim} L={bench.num_layers} batch {bench.batch_size}",
        "variant": name,
        "path": "simulated (float32)" if name.split()[0] in LOW_BIT else "float32",
        "median_ms": round(medians[name], 2),
    }
    if name.endswith("step") or "PyG" in name:
        row["times_products"] = round(medians[name] / medians["sparse products alone"], 2)
    else:
        row["share_of_step"] = round(medians[name] / medians["LightGCN step"], 3)
    peers = [time for peer, time in medians.items() if peer.startswith("PyG")]
    if peers and name == "LightGCN step":
        row["steps_per_second_vs_pyg"] = round(min(peers) / medians[name], 2)
    return row


def _model(method: str, graph: BipartiteGraph, table: Tensor, num_layers: int) -> Recommender:
    if method == "gnaq":
        return Gnaq(graph, table, GnaqOptions(refine_steps=0), num_layers)
    if method == "bigear":
        return Bigear(graph, table, num_layers)
    return {"gnaq_as_released": GnaqAsReleased, "lsq": LsqTable, "n2uq": N2uqTable}[method](graph, table, 2, num_layers)


def _step(model: Recommender, sampler: TripletSampler) -> Callable[[], None]:
    """A whole step as training does it, drawing of the batch included."""
    optimizer = torch.optim.Adam(model.parameter_groups(1e-3), fused=True)
    batches = _batches(sampler)
    model.train()

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        model.loss(*next(batches), 1e-4).backward()
        optimizer.step()
        model.after_step()

    return step


def _batches(sampler: TripletSampler) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Batches of one epoch after the other, drawn when asked for."""
    return itertools.chain.from_iterable(sampler.epoch(number) for number in itertools.count())


def _pyg_step(pairs: UserItems, bench: LightgcnBench, batches: object, sparse: bool) -> Callable[[], None]:
    """PyG's LightGCN with its own loss on the same batches; sampling is not part of its time."""
    from torch_geometric.nn.models import LightGCN as PygLightGCN
    from torch_geometric.utils import to_torch_csr_tensor

    users, items = torch.as_tensor(pairs.users), torch.as_tensor(pairs.items) + pairs.num_users
    edges = torch.stack([torch.cat([users, items]), torch.cat([items, users])])
    size = pairs.num_users + pairs.num_items
    graph = to_torch_csr_tensor(edges, size=(size, size)) if sparse else edges
    model = PygLightGCN(size, bench.dim, bench.num_layers)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)

    def step() -> None:
        users, positives, negatives = next(batches)
        ends = torch.cat([positives, negatives]) + pairs.num_users
        optimizer.zero_grad(set_to_none=True)
        ranks = model(graph, torch.stack([users.repeat(2), ends]))
        nodes = torch.cat([users, ends])
        model.recommendation_loss(*ranks.chunk(2), node_id=nodes, lambda_reg=1e-4).backward()
        optimizer.step()

    return step
