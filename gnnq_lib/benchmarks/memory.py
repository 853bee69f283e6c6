"""Peak memory of one training epoch on a large generated graph, measured in a process of its own.

The default graph has as many nodes as ogbn-arxiv and somewhat more edges; 128 values per node are propagated. A dense
|V| x |V| matrix, which the released SMP code keeps, would take 114 GB there (fact sheet A).
"""

from __future__ import annotations

import multiprocessing
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from gnnq_lib.datasets import NodeDataset, random_split
from gnnq_lib.datasets.node_dataset import unsplit
from gnnq_lib.errors import InputError
from gnnq_lib.experiments.config import make_config
from gnnq_lib.experiments.node_classification import Config, build_model, resolve
from gnnq_lib.experiments.training import Graph, TrainingOptions, train


@dataclass(frozen=True)
class MemoryCase:
    """What is trained.

    Attributes:
        method, bits: see `models.methods`.
        num_nodes, num_edges: |V| and edges, both directions counted.
        width: number of classes (the width of what is propagated) and of features, which are dense and of either sign.
        num_layers: K.
        multiplier: SMP with its multiplier, that is, with a second propagation per layer.
    """

    method: str = "node_pow2"
    bits: int = 2
    num_nodes: int = 169_343
    num_edges: int = 2_500_000
    width: int = 128
    num_layers: int = 10
    multiplier: bool = False


@dataclass(frozen=True)
class MemoryResult:
    """What was measured.

    Attributes:
        case: what was trained.
        edges: edges of the generated graph, both directions counted.
        peak_bytes: most resident memory of the process: interpreter, data, model, one training epoch with evaluation.
        seconds: of that epoch, the first calibration and evaluation included.
        recompute: whether layers were recomputed in the backward pass.
    """

    case: MemoryCase
    edges: int
    peak_bytes: int
    seconds: float
    recompute: bool


def run(case: MemoryCase = MemoryCase()) -> MemoryResult:
    """Train one epoch in a fresh process and report its peak memory.

    Args:
        case: what to train; the defaults take a few gigabytes and some minutes.

    Raises:
        InputError: fewer edges than nodes need, or what the config refuses.

    Example:
        >>> run(MemoryCase(num_nodes=500, num_edges=4000, width=4, num_layers=2)).peak_bytes > 10**7
        True
    """
    if case.num_nodes < 2 * case.width or case.width < 2:
        raise InputError(
            f"width={case.width} with num_nodes={case.num_nodes} was given; "
            "from 2 classes and at least 2 nodes per class are accepted."
        )
    _config(case)  # bad settings are refused here, not in the other process
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_measure, case).result()


def peak_rss_bytes() -> int:
    """Most memory this process has had resident, in bytes.

    On Linux from the process' own record: `getrusage` there starts from the parent's peak, since a spawned process is a
    fork for a moment.

    Example:
        >>> peak_rss_bytes() > 10**6
        True
    """
    status = Path("/proc/self/status")
    if status.is_file():
        lines = [line for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
        if lines:
            return int(lines[0].split()[1]) * 1024
    import resource

    # macOS counts bytes, other systems kilobytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def generated_graph(case: MemoryCase, seed: int = 0) -> NodeDataset:
    """Uniformly drawn edges, normal features and random labels: only sizes matter here.

    Example:
        >>> generated_graph(MemoryCase(num_nodes=100, num_edges=400, width=4)).num_features
        4
    """
    rng = np.random.default_rng(seed)
    edges = rng.integers(case.num_nodes, size=(2, case.num_edges // 2))
    labels = rng.permutation(np.arange(case.num_nodes) % case.width)
    features = rng.standard_normal((case.num_nodes, case.width), dtype=np.float32)
    graph = unsplit("generated", features, edges, labels, "generated")
    return graph.with_split(random_split(graph.labels, seed), "random", seed)


def _config(case: MemoryCase) -> Config:
    settings = {
        "experiment": "memory",
        "method": case.method,
        "bits": case.bits,
        "num_layers": case.num_layers,
        "multiplier": case.multiplier,
        "start": "scratch",
    }
    return resolve(make_config(Config, settings))


def _measure(case: MemoryCase) -> MemoryResult:
    graph = Graph(generated_graph(case))
    model = build_model(_config(case), graph)
    torch.manual_seed(0)
    start = time.perf_counter()
    train(model, graph, TrainingOptions(epochs=1))
    seconds = time.perf_counter() - start
    return MemoryResult(case, graph.dataset.num_edges, peak_rss_bytes(), seconds, model.options.recompute)
