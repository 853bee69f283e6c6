"""The rules' own bounds: stated in the rules, moved one at a time, and back."""

from __future__ import annotations

import re

import pytest

from gnnq_lib.reporting.bounds import BOUNDS, bound, bounds_read, moved
from gnnq_lib.reporting.results import Results
from gnnq_lib.reporting.rules import RULES
from gnnq_lib.reporting.verdicts import judge, of_abstracts, sensitivity
from tests.reporting.test_rules import CLAIMS, methods

# How a rule's statement says a bound, its number in place of {}.
WORDS = {"significance": "{} %", "least_runs": r"\b{} (seeds|pairs)", "most_bits": "at most {} bits",
         "gap_to_full": "within {} points", "error_growth": "at most {} times", "depth_loss": "at most {} points below",
         "plain_loss": "more than {} ", "correlation": "above {} ", "size_tolerance": "{} % tolerance",
         "kept": "at least -{} %", "kept_in_part": "in part with -{} %"}  # fmt: skip


def changes(rows, name):
    """Of A4 with one bound moved: number in its place -> verdicts that change."""
    table = sensitivity(Results.of(rows), [CLAIMS["A4"]])
    return table[table.bound == BOUNDS[name].what].set_index("in its place")["verdicts that change"].to_dict()


def test_a_moved_bound_is_moved_only_there_and_nests(refuses):
    with moved(kept=0.5):
        with moved(significance=0.01):
            assert (bound("kept"), bound("significance")) == (0.5, 0.01)
        assert bound("significance") == BOUNDS["significance"].value
    assert bound("kept") == BOUNDS["kept"].value
    with pytest.raises(ZeroDivisionError), moved(kept=0.5):
        _ = 1 / 0
    assert bound("kept") == BOUNDS["kept"].value
    with refuses(r"bound 'signficance' is unknown \(did you mean significance\?\)"), moved(signficance=0.01):
        pass


def test_what_is_read_is_collected():
    with bounds_read() as names:
        bound("kept"), bound("kept"), bound("correlation")
    bound("significance")
    assert names == {"kept", "correlation"}


@pytest.mark.parametrize("name", BOUNDS)
def test_stricter_and_looser_are_on_either_side(name):
    low, high = sorted((BOUNDS[name].stricter, BOUNDS[name].looser))
    assert low < BOUNDS[name].value < high


def test_every_rule_states_the_bounds_that_it_reads():
    results, read = Results.stored(), {}
    for claim in of_abstracts():
        with bounds_read() as read[claim.name]:
            judge(claim, results)
    assert set().union(*read.values()) == set(BOUNDS)
    for claim in of_abstracts():
        for name in read[claim.name]:
            said = WORDS[name].format(re.escape(BOUNDS[name].text().split()[0]))
            assert re.search(said, RULES[claim.rule].statement), (claim.name, said)


def test_a_verdict_changes_where_the_gap_lies_between_two_bounds():
    """A4 asks for at most 10 points below FP32, which has 84 here: 7 points pass, but not 5; 15 would pass 20."""
    assert changes(methods(77.0, 20.0), "gap_to_full") == {
        "5": "A4 holds → does not hold",
        "20": "none",
    }
    assert changes(methods(69.0, 20.0), "gap_to_full") == {
        "5": "none",
        "20": "A4 does not hold → holds",
    }


def test_a_claim_without_results_depends_on_no_bound():
    table = sensitivity(Results.of([]), [CLAIMS["A4"]])
    assert table.empty and "verdicts that change" in table


def test_a_rule_reads_a_bound_whatever_its_other_conditions_are():
    """So that the table names every claim that asks for it."""
    table = sensitivity(Results.of(methods(60.0, 20.0)), [CLAIMS["A4"]])
    assert set(table.bound) == {BOUNDS[name].what for name in ("significance", "least_runs", "gap_to_full")}


def test_the_verdicts_themselves_are_left_alone():
    results = Results.of(methods(77.0, 20.0))
    before = judge(CLAIMS["A4"], results).finding.status
    sensitivity(results, [CLAIMS["A4"]])
    assert judge(CLAIMS["A4"], results).finding.status is before
