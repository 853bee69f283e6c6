"""Names of data sets in print: one list, with every registered set."""

from __future__ import annotations

from gnnq_lib.datasets.interactions_registry import INTERACTION_SETS
from gnnq_lib.datasets.registry import DATASETS
from gnnq_lib.naming import DATASET_TITLES, case_title, dataset_title


def test_every_registered_set_has_a_title():
    assert not {*DATASETS, *INTERACTION_SETS} - set(DATASET_TITLES)


def test_generated_graphs_are_named_by_their_sizes():
    assert dataset_title("generated-1000-10000") == "generated graph, 1,000 nodes"
    assert case_title("generated-1000-10000 D=128") == "generated graph, 1,000 nodes, D = 128"


def test_cases_keep_what_follows_the_name():
    assert case_title("ml-100k, 943 users x 1,682 items, trained, D=64") == (
        "MovieLens-100K, 943 users x 1,682 items, trained, D = 64"
    )
    assert case_title("cora K=10") == "Cora, K = 10"
    assert case_title("2708 x 1433 (sparse) x 64") == "2708 x 1433 (sparse) x 64"
    assert case_title("make install") == "make install"
