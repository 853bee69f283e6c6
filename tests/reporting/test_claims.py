"""The claims file: what is in it was read, every rule exists, bad files are refused."""

from __future__ import annotations

import re

import pytest

from gnnq_lib.cli import app
from gnnq_lib.experiments.tables import table_names
from gnnq_lib.reporting.claims import COLUMNS, READ, load_claims
from gnnq_lib.reporting.rules import RULES, find_rule
from gnnq_lib.reporting.verdicts import judge_all

HEAD = ",".join(COLUMNS)
GOOD = "A,A1,faster,5.11,times,abstract,READ,speedup bits=2"


def write(folder, *lines):
    path = folder / "claims.csv"
    path.write_text("\n".join([HEAD, *lines]) + "\n")
    return path


def test_the_abstracts_numbers_are_there():
    numbers = {claim.name: claim.number for claim in load_claims()}
    assert [numbers[name] for name in ("A1", "A2", "B1", "B2", "B3", "B5", "B6")] == [5.11, 4.7, 27.8, 17.6, 8, 2, 4]


def test_every_claim_was_read_and_says_where():
    claims = load_claims()
    assert all(claim.read in READ and claim.source and claim.text for claim in claims)
    assert {claim.read for claim in claims if claim.paper != "A notebook"} == {"READ"}


def test_every_rule_exists_and_is_stated():
    for claim in load_claims():
        assert len(find_rule(claim.rule).statement) > 60, claim.name


def test_every_command_names_a_table_or_a_benchmark():
    tables = set(table_names())
    for verdict in judge_all():
        for command in verdict.command.split(" && "):
            name = re.fullmatch(r"gnnq (run|bench) (\w+)( --case \w+)?( --csv data/results/bench_\w+\.csv)?", command)
            assert name, command
            assert name[1] == "bench" or name[2] in tables, command


def test_report_is_a_command():
    assert "report" in {command.name for command in app.registered_commands}


def test_every_rule_is_used():
    assert {claim.rule for claim in load_claims()} == set(RULES)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([GOOD, GOOD], "'A1' twice"),
        ([GOOD.replace("READ", "RECALLED")], "'RECALLED'"),
        ([GOOD.replace("5.11", "five")], "'five'"),
        ([GOOD.replace("bits=2", "bits")], "name=value"),
        (["C" + GOOD[1:]], "paper 'C'"),
        ([GOOD.replace("speedup bits=2", "")], "the rule ''"),
        ([GOOD.replace("A1", "A1b")], "the id 'A1b'; a capital letter and a number"),
    ],
    ids=["twice", "recalled", "no number", "no argument", "no paper", "no rule", "another id"],
)
def test_bad_claims(tmp_path, refuses, lines, message):
    with refuses(message):
        load_claims(write(tmp_path, *lines))


def test_unknown_rule(refuses):
    with refuses("rule 'spedup' is unknown"):
        find_rule("spedup")
