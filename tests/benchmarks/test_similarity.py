"""The similarity benchmark: full precision finds everything, packed rows are smaller, faiss may be missing."""

from __future__ import annotations

import sys

import pytest
import torch

from gnnq_lib.benchmarks.similarity import FAISS, SimilarityBench, node_embeddings, run
from gnnq_lib.errors import InputError
from gnnq_lib.experiments import make_config
from gnnq_lib.experiments.node_classification import Config, build_model, load_graph, resolve
from gnnq_lib.naming import PACKED

SMALL = {"bits": (2, 8), "batches": (1, 20), "num_queries": 20, "rounds": 1}


@pytest.fixture(scope="module")
def rows():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "faiss", None)  # as if it were not installed
        return run(SimilarityBench(("generated-2000",), **SMALL))


def test_full_precision_finds_all(rows):
    full = [row for row in rows if row["path"] == "fp32"]
    assert full and all(row["recall"] == 1 and row["score_lost"] == 0 for row in full)


def test_packed_rows_are_smaller_and_find_most(rows):
    packed = [row for row in rows if row["path"] == PACKED]
    assert {(row["bits"], row["metric"], row["batch"]) for row in packed} == {
        (bits, metric, batch) for bits in (2, 8) for metric in ("inner product", "cosine") for batch in (1, 20)
    }
    floats = 4 * 64 * 1980
    assert all(row["bytes"] < floats / (7 if row["bits"] == 2 else 2) for row in packed)
    assert all(row["recall"] > (0.97 if row["bits"] == 8 else 0.6) for row in packed)
    assert all(row["queries_per_s"] == pytest.approx(1e3 * row["batch"] / row["median_ms"]) for row in packed)


def test_without_faiss_its_rows_say_so(rows):
    peers = {row["variant"] for row in rows if row["path"] == "peer"}
    assert peers == {f"faiss {name} (not installed)" for name in FAISS}
    assert all(row["median_ms"] is None and row["recall"] is None for row in rows if row["path"] == "peer")


def test_embeddings_are_the_propagated_hidden_layer():
    graph = load_graph("digits", "random")
    settings = {"experiment": "t", "dataset": "digits", "split": "random", "method": "fp32", "bits": 32}
    model = build_model(resolve(make_config(Config, {**settings, "num_layers": 2})), graph).eval()
    with torch.no_grad():
        h = x = torch.relu(graph.features.product(model.weight1) + model.bias1)
        for _ in range(2):
            h = 0.9 * graph.operator.normalised(h) + 0.1 * x
    torch.testing.assert_close(node_embeddings(model, graph), h)


@pytest.mark.parametrize("case", ["generated-x", "generated-10-20", "generated--5"])
def test_bad_sizes_in_a_case_are_named(case):
    with pytest.raises(InputError, match=f"case '{case}' given; generated-ROWS, whole numbers from 1 each, is"):
        run(SimilarityBench((case,)))


def test_bad_input(refuses):
    with refuses("20 queries were given for batches of 256"):
        run(SimilarityBench(("generated-100",), num_queries=20))
    with refuses("generated-100 has 100 rows"):
        run(SimilarityBench(("generated-100",)))
