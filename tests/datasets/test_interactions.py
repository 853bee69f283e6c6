"""Interactions: the format, its faults, splits, sources."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from gnnq_lib.datasets.interactions import (
    UserItems,
    interactions_from_pairs,
    leave_out_per_user,
    parse_interactions,
    part_dispersion,
    split_interactions,
)
from gnnq_lib.datasets.interactions_generated import power_law_interactions
from gnnq_lib.datasets.interactions_registry import INTERACTION_SETS, load_interactions
from gnnq_lib.errors import DataUnavailableError, InputError


@pytest.mark.parametrize(
    ("text", "users", "items"),
    [
        ("0 1 2\n1 0\n", [0, 0, 1], [1, 2, 0]),
        ("\n0 1\n\n  \n3\t2 2\n", [0, 3, 3], [1, 2, 2]),
        ("0\n1 5", [1], [5]),
        ("0 1\r\n0 2\r\n", [0, 0], [1, 2]),
        ("", [], []),
    ],
    ids=["plain", "empty lines and tabs", "user without items", "windows line ends", "empty file"],
)
def test_parsing(text, users, items):
    found = parse_interactions(text)
    assert [part.tolist() for part in found] == [users, items]
    assert [part.tolist() for part in parse_interactions(text.encode())] == [users, items]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("0 1\n1 -2\n", r"toy, line 2, holds '-2'; whole numbers from 0 to"),
        ("0 1.5", r"line 1, holds '1.5'"),
        ("0 1\n\nuser item", r"line 3, holds 'user'"),
        ("0 99999999999999999999999", r"line 1, holds '9999"),
        ("0 2147483647", r"line 1, holds '2147483647'"),
        ("0 ٣", "line 1, holds"),
        ("0,1,2", r"line 1, holds '0,1,2'"),
    ],
    ids=["negative", "fraction", "word", "too large for a machine", "too large", "other digits", "commas"],
)
def test_faults_are_named_by_line(text, fault):
    with pytest.raises(InputError, match=fault):
        parse_interactions(text, "toy")


def test_bytes_that_are_no_text():
    with pytest.raises(InputError, match="line 1, holds"):
        parse_interactions(b"\xff\xfe0 1", "toy")


def test_user_items_sorts_merges_and_counts():
    pairs = UserItems([2, 0, 2, 2], [3, 1, 0, 3], num_users=3, num_items=4)
    assert pairs.users.tolist() == [0, 2, 2] and pairs.items.tolist() == [1, 0, 3]
    assert pairs.counts.tolist() == [1, 0, 2] and pairs.item_counts.tolist() == [1, 1, 0, 1]
    assert len(pairs.minus(UserItems([2], [3], 3, 4))) == 2
    assert len(pairs.plus(UserItems([1, 2], [1, 3], 3, 4))) == 4


@pytest.mark.parametrize(
    ("users", "items", "fault"),
    [
        ([0, 3], [0, 0], "user id 3 given; ids from 0 to 2"),
        ([0], [-1], "item id -1 given"),
        ([0.5], [0], "user ids of type float64"),
        ([0], [0, 1], "1 users and 2 items"),
    ],
)
def test_user_items_refuses(users, items, fault):
    with pytest.raises(InputError, match=fault):
        UserItems(users, items, 3, 4)


def test_unknown_user(tiny_pairs):
    with pytest.raises(InputError, match="user 9 is unknown; users are numbered 0 to 2"):
        tiny_pairs.of(9)


@pytest.fixture
def tiny_pairs() -> UserItems:
    return UserItems([0, 1], [0, 1], 3, 2)


def test_duplicates_and_leaks_have_a_defined_result(caplog):
    with caplog.at_level(logging.WARNING):
        data = interactions_from_pairs("toy", ([0, 0, 1], [0, 0, 1]), ([0, 1, 1], [0, 2, 2]), "memory")
    assert len(data.train) == 2 and data.test.of(1).tolist() == [2] and data.test.of(0).tolist() == []
    assert "1 duplicate training" in caplog.text and "1 test interactions left out" in caplog.text


def test_users_without_training_and_items_only_in_test_are_kept():
    data = interactions_from_pairs("toy", ([1], [0]), ([0, 1], [1, 2]), "memory")
    assert (data.num_users, data.num_items) == (2, 3)
    assert data.train.counts.tolist() == [0, 1] and data.test.counts.tolist() == [1, 1]


def test_no_training_interaction_and_wrong_titles():
    with pytest.raises(InputError, match="toy has no training interaction"):
        interactions_from_pairs("toy", ([], []), ([0], [0]), "memory")
    with pytest.raises(InputError, match="toy has 2 items and 1 titles"):
        interactions_from_pairs("toy", ([0], [1]), ([], []), "memory", titles=["A"])


@pytest.mark.parametrize("protocol", ["lightgcn", "gnaq"])
def test_parts_are_disjoint_and_complete(protocol):
    data = power_law_interactions(num_users=80, num_items=60)
    split = split_interactions(data, protocol)
    parts = [split.train, split.val, split.test]
    assert sum(map(len, parts)) == len(data.train) + len(data.test)
    assert len(np.unique(np.concatenate([part.keys for part in parts]))) == sum(map(len, parts))
    again, other = split_interactions(data, protocol), split_interactions(data, protocol, seed=1)
    assert np.array_equal(split.val.keys, again.val.keys) and not np.array_equal(split.val.keys, other.val.keys)
    if protocol == "lightgcn":
        assert np.array_equal(split.test.keys, data.test.keys)
    else:
        assert np.array_equal(split.train.keys, data.train.keys)


def test_validation_sizes():
    train = UserItems([0] * 25 + [1] * 2 + [2], [*range(25), 0, 1, 0], 4, 30)
    test = UserItems([0] * 7 + [1], [*range(23, 30), 5], 4, 30).minus(train)
    data = interactions_from_pairs("toy", (train.users, train.items), (test.users, test.items), "memory", num_users=4)
    assert split_interactions(data).val.counts.tolist() == [2, 1, 0, 0]
    assert split_interactions(data, "gnaq").val.counts.tolist() == [2, 1, 0, 0]  # ceil(5 / 3), max(1, ceil(1 / 3))


def test_training_with_validation():
    split = split_interactions(power_law_interactions(num_users=30, num_items=40))
    full = split.with_validation_in_training()
    assert np.array_equal(full.train.keys, split.data.train.keys) and len(full.val) == 0


@pytest.mark.parametrize(("arguments", "fault"), [
    ({"protocol": "other"}, "protocol is 'other'"),
    ({"share": 1.0}, "share is 1.0"),
    ({"seed": -1}, "split_seed=-1 given"),
])  # fmt: skip
def test_split_refuses(arguments, fault):
    with pytest.raises(InputError, match=fault):
        split_interactions(power_law_interactions(num_users=5, num_items=20), **arguments)


def test_leave_out_keeps_one():
    pairs = UserItems([0, 0, 1], [0, 1, 0], 2, 2)
    assert leave_out_per_user(pairs, 5, seed=0).sum() == 1


def test_generated_set_has_a_long_tail_and_is_repeatable():
    data = power_law_interactions(num_users=300, num_items=200)
    popularity = np.sort(data.train.item_counts)[::-1]
    assert popularity[:20].sum() > 3 * popularity[100:120].sum()
    assert np.array_equal(data.train.keys, power_law_interactions(num_users=300, num_items=200).train.keys)
    with pytest.raises(InputError, match="num_items=1"):
        power_law_interactions(num_items=1)


def test_own_folder(tmp_path):
    (tmp_path / "train.txt").write_text("0 0 1\n1 1\n")
    with pytest.raises(InputError, match=r"test.txt is missing"):
        load_interactions(str(tmp_path))
    (tmp_path / "test.txt").write_text("1 2\n")
    (tmp_path / "titles.txt").write_text("A\nB\nC\n")
    data = load_interactions(str(tmp_path))
    assert data.titles == ("A", "B", "C") and data.num_items == 3
    (tmp_path / "test.txt").write_text("1 x\n")
    with pytest.raises(InputError, match=r"test.txt, line 1, holds 'x'"):
        load_interactions(str(tmp_path))


def test_unknown_name_and_missing_data():
    with pytest.raises(InputError, match=r"'lastfn' is unknown \(did you mean lastfm\?\)"):
        load_interactions("lastfn")
    with pytest.raises(DataUnavailableError, match="gowalla/train.txt"):
        load_interactions("gowalla")


@pytest.mark.parametrize("name", ["lastfm", "ml-100k"])
def test_real_sets_have_the_listed_sizes(name, real_data):
    data = load_interactions(name, root=real_data)  # sizes are checked by the loader
    assert data.num_users == INTERACTION_SETS[name].num_users
    assert (data.titles[0] == "Toy Story (1995)") if name == "ml-100k" else data.titles is None


@pytest.mark.parametrize(("name", "ratio"), [("gowalla", 2.7), ("yelp2018", 5.3)])
def test_published_test_parts_are_not_drawn_at_random(name, ratio, real_data):
    """What notebook 09 and the README say; a validation part of ours is drawn at random."""
    data = load_interactions(name, root=real_data)
    assert part_dispersion(data.test, data.train) == pytest.approx(ratio, abs=0.05)
    split = split_interactions(data)
    assert part_dispersion(split.val, split.train) == pytest.approx(1, abs=0.2)


def test_altered_file_is_refused(tmp_path):
    folder = tmp_path / "recsys" / "lastfm"
    folder.mkdir(parents=True)
    (folder / "train.txt").write_text("0 1\n")
    (folder / "test.txt").write_text("0 2\n")
    with pytest.raises(InputError, match="truncated or altered"):
        load_interactions("lastfm", root=tmp_path)


@pytest.mark.network
def test_ml_100k_from_the_package_index():
    data = load_interactions("ml-100k", seed=3)
    assert data.source == "recbole 1.2.1" and data.split.startswith("random with seed 3")
    assert data.test.counts.max() == 10 and data.titles[0] == "Toy Story (1995)"


def test_commands_know_the_sets():
    from typer.testing import CliRunner

    from gnnq_lib.cli import app

    listed = CliRunner().invoke(app, ["data", "list"])
    assert listed.exit_code == 0 and "Amazon-Book (KGAT)" in listed.stdout
    assert "from generated" in CliRunner().invoke(app, ["data", "fetch", "power-law"]).stdout


@pytest.mark.parametrize(("user", "item", "kind"), [(1_500_000_000, 1, "user"), (1, 1_500_000_000, "item")])
def test_ids_of_a_database_are_refused(user, item, kind):
    with pytest.raises(InputError, match=f"has {kind} 1500000000 and 2 interactions; number {kind}s from 0"):
        interactions_from_pairs("mine", ([0, user], [0, item]), ([], []), "memory")


def test_an_endless_number_is_named():
    with pytest.raises(InputError, match="line 1, holds"):
        parse_interactions("0 " + "7" * 5000)
