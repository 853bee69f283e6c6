"""Paper A's accuracy table: which runs a cell holds, and how the table is laid out."""

from __future__ import annotations

import pytest

from gnnq_lib.reporting.paper_accuracy import FORMS, paper_accuracy, paper_accuracy_table
from gnnq_lib.reporting.results import Results

RUN = {
    "experiment": "paper_public_cora", "metric": "test_accuracy", "dataset": "cora", "split": "public",
    "split_seed": 0, "model": "appnp", "method": "qlr", "bits": 2, "start": "scratch", "seed": 0, "value": 70.0,
}  # fmt: skip


def cells(*runs: dict) -> dict:
    table = paper_accuracy(Results.of([{**RUN, **run} for run in runs]))
    return {(c.dataset, c.split, c.scheme, c.form): (c.mean, c.n) for c in table.itertuples()}


@pytest.mark.parametrize("form", FORMS)
def test_each_form_has_the_runs_of_its_method_bits_and_start_only(form):
    method, bits, start = FORMS[form]
    run = {"method": method, "bits": bits, "start": start or "fp32"}
    others = [
        {"bits": 3},
        {"method": "lsq"},
        {"start": "fp32", "method": "bt"},
        {"start": "scratch", "method": "node_pow2"},
    ]
    found = cells({**run, "value": 80.0}, *({**run, **other, "value": 1.0} for other in others))
    assert found[("cora", "public", "appnp", form)] == (80.0, 1)
    assert len(found) == 1


def test_smp_has_its_multiplier_and_counts_as_appnp_without_it():
    found = cells({"model": "smp", "multiplier": True, "value": 71.0}, {"model": "smp", "multiplier": False})
    assert found == {("cora", "public", "smp", "INT2"): (71.0, 1), ("cora", "public", "appnp", "INT2"): (70.0, 1)}


def test_a_run_under_both_names_counts_once_and_appnp_s_own_goes_first():
    found = cells({"model": "smp", "value": 60.0}, {"value": 70.0}, {"model": "smp", "seed": 1, "value": 72.0})
    assert found == {("cora", "public", "appnp", "INT2"): (71.0, 2)}


def test_random_splits_are_runs_of_their_own_and_switches_of_the_release_are_left_out():
    random = {"experiment": "paper_random_cora", "split": "random"}
    found = cells({}, {**random, "split_seed": 0, "value": 50.0}, {**random, "split_seed": 1, "value": 60.0},
                  {**random, "split_seed": 2, "as_released": True},
                  {"experiment": "paper_switches", "seed": 7})  # fmt: skip
    assert found[("cora", "random", "appnp", "INT2")] == (55.0, 2)
    assert found[("cora", "public", "appnp", "INT2")] == (70.0, 1)


def test_table_has_public_splits_first_and_a_dash_for_what_was_not_run():
    runs = [{"dataset": "pubmed", "split": "random"}, {"dataset": "pubmed"}, {"model": "emp"}, {}]
    table = paper_accuracy_table(Results.of([{**RUN, **run} for run in runs]))
    assert table[""].tolist() == [
        "Cora, public, EMP", "Cora, public, APPNP", "PubMed, public, APPNP", "PubMed, random, APPNP"
    ]  # fmt: skip
    assert table["INT2"].tolist() == ["70.0 (1)"] * 4
    assert set(table["INT4"]) == {"–"}
