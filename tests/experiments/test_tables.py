"""Tables in YAML: combinations, seeds, and every mistake named with the file."""

from __future__ import annotations

import sys
import types

import pytest

from gnnq_lib.errors import InputError
from gnnq_lib.experiments import ExperimentConfig, ResultsStore, config_key, load_table, table_names, tables
from gnnq_lib.experiments.tables import run_count
from gnnq_lib.paths import project_root


class Config(ExperimentConfig):
    dataset: str = "cora"
    bits: int = 2
    method: str = "qlr"


@pytest.fixture(autouse=True)
def toy_runner(monkeypatch):
    module = types.ModuleType("toy_runner")
    module.Config, module.run_one = Config, lambda config: []
    monkeypatch.setitem(sys.modules, "toy_runner", module)
    monkeypatch.setattr(tables, "RUNNERS", {"toy": "toy_runner"})


@pytest.fixture
def write(tmp_path):
    def write(text):
        (tmp_path / "table9.yaml").write_text(text)
        return tmp_path / "table9.yaml"

    return write


def test_grid_variants_and_seeds_by_hand(write):
    table = load_table(
        write(
            "title: T\nrunner: toy\nbase: {profile: paper, bits: 8}\ngrid: {dataset: [cora, pubmed]}\n"
            "variants: [{method: qlr}, {method: minmax, bits: 4}]\nseeds: 2\n"
        )
    )
    assert (table.name, table.title) == ("table9", "T")
    assert [(c.dataset, c.method, c.bits, c.seed) for c in table.configs] == [
        ("cora", "qlr", 8, 0),
        ("cora", "qlr", 8, 1),
        ("cora", "minmax", 4, 0),
        ("cora", "minmax", 4, 1),
        ("pubmed", "qlr", 8, 0),
        ("pubmed", "qlr", 8, 1),
        ("pubmed", "minmax", 4, 0),
        ("pubmed", "minmax", 4, 1),
    ]
    assert {(c.experiment, c.profile) for c in table.configs} == {("table9", "paper")}
    assert table.run_one(None) == []


def test_further_groups_have_a_grid_of_their_own_on_the_same_base(write):
    table = load_table(
        write(
            "runner: toy\nbase: {bits: 8}\ngrid: {dataset: [cora, pubmed]}\n"
            "more: [{base: {dataset: cs}, grid: {method: [lsq, qlr]}}, {variants: [{bits: 4}]}]\n"
        )
    )
    assert [(c.dataset, c.method, c.bits) for c in table.configs] == [
        ("cora", "qlr", 8),
        ("pubmed", "qlr", 8),
        ("cs", "lsq", 8),
        ("cs", "qlr", 8),
        ("cora", "qlr", 4),
    ]


def test_the_depth_tables_have_every_model_in_int2(monkeypatch):
    monkeypatch.undo()
    for name in ("cora", "citeseer", "pubmed"):
        configs = load_table(f"paper_depth_{name}_int2").configs
        models = {"smp", "emp", "appnp", "gcn", "gcnii", "dagnn", "pairnorm", "dropedge"}
        assert {(c.model, c.method) for c in configs} == {(m, q) for m in models for q in ("node_pow2", "bt_star")}
        assert (
            len(set(configs)) == len(configs)
            and {c.bits for c in configs} == {2}
            and {c.seed for c in configs} == {0, 1, 2}
        )
        assert {c.num_layers for c in configs if c.model == "dagnn"} >= {2, 8, 32}


def test_seeds_as_a_list_and_from_the_caller(write):
    file = write("runner: toy\nseeds: [3, 7]\n")
    assert [config.seed for config in load_table(file).configs] == [3, 7]
    assert [config.seed for config in load_table(file, seeds=3).configs] == [0, 1, 2]


def test_a_group_may_have_seeds_of_its_own(write):
    file = write("runner: toy\nseeds: 2\nmore: [{base: {bits: 4}, seeds: [5]}, {base: {bits: 8}}]\n")
    told = [(config.bits, config.seed) for config in load_table(file).configs]
    assert told == [(2, 0), (2, 1), (4, 5), (8, 0), (8, 1)] and run_count(file) == 5
    assert [config.seed for config in load_table(file, seeds=1).configs] == [0, 0, 0]


def test_no_stored_run_is_foreign_to_its_table(monkeypatch):
    """`gnnq prune TABLE` removes what a change of the table or of a recipe left behind."""
    monkeypatch.undo()
    for name in table_names():
        stored = ResultsStore(project_root() / "data" / "results" / f"{name}.csv").keys()
        assert stored <= {config_key(config) for config in load_table(name).configs}, name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("runner: [", "table9.yaml is not valid YAML"),
        ("- a\n", "table9.yaml is no table"),
        ("base: {}\n", "runner is required"),
        ("runner: toy\ngird: {}\n", "table9.yaml: 'gird' is unknown .did you mean grid"),
        ("runner: toi\n", "runner 'toi' is unknown; toy are accepted"),
        ("runner: toy\nbase: {bitz: 2}\n", "table9.yaml: setting 'bitz' is unknown .did you mean bits"),
        ("runner: toy\ngrid: {bits: 2}\n", "grid entry 'bits' is 2; a list"),
        ("runner: toy\ngrid: {bits: []}\n", "grid entry 'bits' is ..; a list"),
        ("runner: [toy]\n", "runner .'toy'. is unknown; toy are accepted"),
        ("runner: toy\nbase: [1]\n", "table9.yaml: base is .1.; a mapping is accepted"),
        ("runner: toy\ngrid: [1]\n", "table9.yaml: grid is .1.; a mapping is accepted"),
        ("runner: toy\nvariants: {bits: 2}\n", "table9.yaml: variants is {'bits': 2}; a list of mappings is accepted"),
        ("runner: toy\nvariants: [2]\n", "table9.yaml: variants is .2.; a list of mappings"),
        ("runner: toy\nmore: [{base: 3}]\n", "table9.yaml: base is 3; a mapping"),
        ("runner: toy\nmore: {bits: 2}\n", "table9.yaml: more is {'bits': 2}; a list of mappings"),
        ("runner: toy\nmore: [{bits: 2}]\n", "table9.yaml: 'bits' in more is unknown; base, grid, variants"),
        ("runner: toy\nseeds: 0\n", "seeds is 0"),
        ("runner: toy\nseeds: [-1]\n", "setting seed is -1"),
    ],
    ids=[
        "yaml",
        "list",
        "no runner",
        "key",
        "runner",
        "setting",
        "grid scalar",
        "grid empty",
        "runner list",
        "base list",
        "grid list",
        "variants mapping",
        "variants numbers",
        "base of more",
        "more mapping",
        "more key",
        "seeds",
        "negative seed",
    ],
)
def test_mistakes_are_named(write, text, message):
    with pytest.raises(InputError, match=message) as error:
        load_table(write(text))
    assert "\n" not in str(error.value)


def test_unknown_table():
    with pytest.raises(InputError, match="table 'nothing' is unknown"):
        load_table("nothing")


def test_a_file_with_the_name_of_a_built_in_table_is_refused(write):
    """Its runs would go into that table's results, and `gnnq prune` would remove what stands there."""
    own = write("runner: toy\nbase: {dataset: cora}\n").rename(write("runner: toy\n").with_name("depth.yaml"))
    with pytest.raises(InputError, match="depth.yaml has the name of a table that comes with the library"):
        load_table(own)


def test_built_in_tables_load(monkeypatch):
    monkeypatch.undo()
    for name in table_names():
        assert load_table(name).configs


def test_settings_are_chosen_as_the_yaml_writes_them():
    class Switched(ExperimentConfig):
        refit: bool = False

    configs = [Switched(experiment="t", refit=refit) for refit in (False, True)]
    assert tables.select(configs, ["refit=false"]) == tables.select(configs, ["refit=False"]) == configs[:1]
    assert tables.select(configs, ["refit=True", "refit=false"]) == configs
