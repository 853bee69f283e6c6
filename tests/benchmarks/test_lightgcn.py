"""The LightGCN training benchmark: rows, ratios, and a PyG peer that does the same work."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch_geometric.nn.models import LightGCN as PygLightGCN

from gnnq_lib.benchmarks.lightgcn import LOW_BIT, LightgcnBench, _pyg_step, run
from gnnq_lib.datasets.interactions_generated import power_law_interactions
from gnnq_lib.errors import InputError
from gnnq_lib.recommendation.bipartite import BipartiteGraph


def test_rows_and_ratios():
    rows = {row["variant"]: row for row in run(LightgcnBench("power-law", batch_size=256, dim=8, rounds=1))}
    assert [f"{method} step" in rows for method in LOW_BIT] == [True] * len(LOW_BIT)
    step, floor = rows["LightGCN step"], rows["sparse products alone"]
    rounded = 0.005  # milliseconds are printed with two digits, and on a fast machine the products take few of them
    least = (step["median_ms"] - rounded) / (floor["median_ms"] + rounded)
    most = (step["median_ms"] + rounded) / (floor["median_ms"] - rounded)
    assert least - rounded <= step["times_products"] <= most + rounded
    assert step["steps_per_second_vs_pyg"] > 0 and all(
        rows[f"sampling, by {way}"]["share_of_step"] > 0 for way in ("interactions", "users")
    )


def test_faults():
    with pytest.raises(InputError, match="methods out of"):
        LightgcnBench(methods=("other",))
    with pytest.raises(InputError, match="rounds=0"):
        LightgcnBench(rounds=0)


def test_pyg_gets_the_same_graph_in_both_forms(monkeypatch):
    pairs = power_law_interactions(num_users=20, num_items=30).train
    batch = tuple(torch.tensor(part) for part in ([0, 1], [2, 3], [4, 5]))
    seen = []
    forward = PygLightGCN.get_embedding

    def spy(model, graph, *rest):
        seen.append((model.embedding.weight.detach().clone(), forward(model, graph, *rest)))
        return seen[-1][1]

    monkeypatch.setattr(PygLightGCN, "get_embedding", spy)
    for sparse in (False, True):
        _pyg_step(pairs, LightgcnBench(dim=4), itertools.repeat(batch), sparse)()
    assert len(seen) == 2
    for table, found in seen:
        assert torch.allclose(found, BipartiteGraph(pairs).mean_of_powers(table, 3), atol=1e-6)
