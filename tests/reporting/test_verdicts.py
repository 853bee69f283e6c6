"""Judging: a rule gets the arguments that it takes; other ones are named, and a rule's own faults are not hidden."""

from __future__ import annotations

import pytest

from gnnq_lib.reporting.claims import Claim
from gnnq_lib.reporting.results import Results
from gnnq_lib.reporting.rules import RULES, RegisteredRule, not_run
from gnnq_lib.reporting.verdicts import judge


def levels(results, claim, dataset, bits="2"):
    return not_run(f"{dataset} with {2 ** int(bits)} levels")


def broken(results, claim):
    return len(argument=1)


@pytest.fixture
def verdict(monkeypatch):
    """Judges a claim by the rule "toy", which is the given function."""

    def of(function, **arguments):
        monkeypatch.setitem(RULES, "toy", RegisteredRule(function, "gnnq run toy_{dataset} --bits {bits}"))
        return judge(Claim("A", "A1", "", None, "", "", "READ", "toy", arguments), Results.of([]))

    return of


def test_the_rule_and_its_command_get_the_arguments(verdict):
    found = verdict(levels, dataset="cora", bits="4")
    assert found.command == "gnnq run toy_cora --bits 4" and found.finding.why == "cora with 16 levels"


def test_arguments_that_are_not_given_have_the_rules_defaults(verdict):
    found = verdict(levels, dataset="cora")
    assert found.command == "gnnq run toy_cora --bits 2" and found.finding.why == "cora with 4 levels"


@pytest.mark.parametrize(
    "arguments",
    [{}, {"bits": "2"}, {"dataset": "cora", "depth": "3"}, {"dataset": "cora", "claim": "A2"}],
    ids=["none", "missing", "unknown", "taken"],
)
def test_arguments_that_the_rule_does_not_take(verdict, refuses, arguments):
    with refuses(f"claim 'A1': rule 'toy' does not take {arguments}; dataset, bits are accepted"):
        verdict(levels, **arguments)


def test_a_fault_inside_a_rule_is_not_taken_for_one_of_its_arguments(monkeypatch):
    monkeypatch.setitem(RULES, "toy", RegisteredRule(broken, "gnnq run toy"))
    with pytest.raises(TypeError, match="argument"):
        judge(Claim("A", "A1", "", None, "", "", "READ", "toy", {}), Results.of([]))
