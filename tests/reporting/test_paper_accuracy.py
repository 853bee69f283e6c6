"""Paper A's accuracy table: which runs a cell holds, and how the table is laid out."""

from __future__ import annotations

import pytest

from gnnq_lib.reporting.paper_accuracy import (
    FORMS,
    full_precision,
    int2_from_scratch,
    paper_accuracy,
    paper_accuracy_table,
)
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


def test_a_run_under_both_names_counts_once():
    found = cells({"model": "smp", "value": 60.0}, {"value": 70.0}, {"seed": 1, "value": 72.0})
    assert found == {("cora", "public", "appnp", "INT2"): (66.0, 2)}


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


def test_int2_from_scratch_takes_appnp_and_random_splits_only_where_there_is_nothing_else():
    smp, random = {"model": "smp", "multiplier": False}, {"split": "random", "experiment": "paper_random_cs_appnp"}
    rows = [
        {**smp, "value": 60.0}, {"value": 61.0}, {"seed": 1, "value": 62.0},  # APPNP's second seed is new
        {**random, "value": 10.0}, {**random, "dataset": "cs", "value": 80.0},  # Cora has a public split
        {"model": "smp", "multiplier": True, "value": 1.0}, {"bits": 4, "value": 1.0}, {"start": "fp32", "value": 1.0},
    ]  # fmt: skip
    results = Results.of([{**RUN, **row} for row in rows])
    assert sorted(int2_from_scratch(results).value) == [60.0, 62.0, 80.0]
    assert int2_from_scratch(results, as_released=True).empty


def test_full_precision_is_on_the_same_splits():
    fp32 = {"method": "fp32", "bits": 32, "start": "fp32"}
    rows = [{"value": 84.0}, {"split": "random", "value": 82.0}, {"split": "random", "dataset": "cs", "value": 92.0}]
    assert sorted(full_precision(Results.of([{**RUN, **fp32, **row} for row in rows])).value) == [84.0, 92.0]
