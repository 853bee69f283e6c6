"""Error growth runs on a small generated graph: the bound holds, teleport keeps the error down, bits shrink it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from gnnq_lib.experiments import error_growth
from gnnq_lib.experiments.config import make_config
from gnnq_lib.experiments.error_growth import Config, run_one
from gnnq_lib.experiments.tables import load_table
from gnnq_lib.propagation import Trajectory, full_precision_quantizers
from gnnq_lib.propagation.error_bound import rounding_errors

CUDA = pytest.param("cuda", marks=pytest.mark.gpu)
BASE = {"experiment": "test", "dataset": "csbm", "split": "random", "num_layers": 16, "epochs": 5}


def measured(**settings):
    return {m.metric: m.value for m in run_one(make_config(Config, {**BASE, **settings}))}


@pytest.mark.parametrize("device", ["cpu", CUDA])
@pytest.mark.parametrize("method", ["qlr", "bt_star", "node_pow2"])
def test_the_error_stays_below_its_bound(method, device):
    found = measured(method=method, device=device)
    assert 0 < found["largest_error_over_bound"] <= 1 + 1e-6
    for layer in (1, 2, 4, 8, 16):
        assert found[f"relative_error@{layer}"] <= found[f"relative_bound@{layer}"] + 1e-6
    assert "relative_error@32" not in found


def test_more_bits_err_less():
    assert measured(bits=8)["relative_error@16"] < 0.2 * measured(bits=2)["relative_error@16"]


def test_without_teleport_the_error_grows_more():
    with_it, without = measured(teleport=0.1), measured(teleport=0.0)
    growth = [found["relative_error@16"] / found["relative_error@1"] for found in (with_it, without)]
    assert growth[1] > growth[0]


def test_same_seed_same_numbers():
    assert measured(seed=1) == measured(seed=1)


@pytest.mark.parametrize("power", [1, -1])
def test_correlation_of_degree_and_error_is_that_of_the_first_layer(monkeypatch, power):
    """An error after one layer that rises, or falls, with the degree; what all classes share does not count."""

    def by_degree(scheme, scores, operator, quantizers, route):
        exact = Trajectory()
        scheme(scores, operator, full_precision_quantizers(1), trajectory=exact)
        errors = rounding_errors(scheme, scores, operator, quantizers, route)
        shared = torch.rand(len(scores), 1, generator=torch.Generator().manual_seed(0))
        apart = torch.zeros_like(scores)
        apart[:, 0] = operator.degree.float() ** power
        first = exact.embeddings[1] + 1e-3 * apart + shared
        return replace(errors, embeddings=(errors.embeddings[0], first, *errors.embeddings[2:]))

    monkeypatch.setattr(error_growth, "rounding_errors", by_degree)
    assert measured(num_layers=2)["degree_correlation"] == pytest.approx(power, abs=0.01)  # degrees have ties


def test_full_precision_has_no_error_to_measure(refuses):
    with pytest.raises(ValueError, match="method is 'fp32'"):
        make_config(Config, {**BASE, "method": "fp32"})


def test_the_table_loads():
    assert len(load_table("paper_error_growth").configs) == 24
