"""Selecting stored rows: kept for the next question, and whole whatever a caller did with them."""

from __future__ import annotations

from gnnq_lib.reporting.results import Results

ROWS = [{"experiment": name, "metric": "m", "bits": bits, "value": 1.0} for name in ("a", "b") for bits in (2, 4)]


def test_what_a_caller_changes_is_changed_for_it_alone():
    results = Results.of(ROWS)
    mine = results.select("m", "a")
    mine["note"] = "mine"
    mine.loc[:, "value"] = 7.0
    again = results.select("m", "a")
    assert again.value.tolist() == [1.0, 1.0] and "note" not in again


def test_other_questions_get_other_rows():
    results = Results.of(ROWS)
    assert [len(results.select("m", "a", bits=bits)) for bits in (2, [2, 4], 2, 3)] == [1, 2, 1, 0]
    assert results.select("m", "b").experiment.tolist() == ["b", "b"]
