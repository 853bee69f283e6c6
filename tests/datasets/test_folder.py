"""Graphs of one's own: both formats, the example, and every way to get a file wrong."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from gnnq_lib.datasets import load_folder, write_example_folder
from gnnq_lib.errors import InputError
from gnnq_lib.models.features import FeatureKind, FeatureMatrix


@pytest.fixture
def example(tmp_path):
    return write_example_folder(tmp_path / "mine")


def test_both_forms_hold_the_same_graph(tmp_path, example):
    tables, npz = load_folder(example), load_folder(write_example_folder(tmp_path / "npz", form="npz"))
    assert torch.equal(tables.edge_index, npz.edge_index)
    assert torch.allclose(tables.features.to_dense(), npz.features.to_dense(), atol=1e-4)
    assert torch.equal(tables.train_mask, npz.train_mask)
    assert tables.split == npz.split == "given"
    assert tables.name == "mine"


def test_words_become_classes_in_sorted_order(example):
    words = (example / "labels.csv").read_text().split()[1:]
    assert load_folder(example).labels.tolist() == [sorted(set(words)).index(word) for word in words]


def test_random_split_instead_of_the_given_one(example):
    graph = load_folder(example, split="random", seed=4)
    assert (graph.split, graph.seed) == ("random", 4)
    (example / "split.csv").unlink()
    assert torch.equal(load_folder(example, seed=4).train_mask, graph.train_mask)


def test_numeric_labels_stay_numbers_and_empty_is_unlabelled(example):
    (example / "split.csv").unlink()
    labels = ["10" if i % 11 == 10 else str(i % 11) for i in range(59)]
    (example / "labels.csv").write_text("label\n" + "\n".join(labels) + "\n\n")
    graph = load_folder(example)
    assert graph.labels[:11].tolist() == list(range(11))
    assert graph.labels[59] == -1


def test_sparse_features_in_npz(tmp_path):
    matrix = sp.random(8, 5, density=0.3, format="csr", random_state=0)
    parts = {f"features_{name}": getattr(matrix, name) for name in ("data", "indices", "indptr", "shape")}
    np.savez(tmp_path / "graph.npz", edge_index=np.array([[0], [1]]), labels=np.arange(8) % 2, **parts)
    assert torch.allclose(load_folder(tmp_path).features.to_dense(), torch.tensor(matrix.toarray()).float())


def write(name, text):
    return lambda folder: (folder / name).write_text(text)


def save(**arrays):
    def break_it(folder):
        full = {"edge_index": np.array([[0], [1]]), "labels": np.array([0, 1, 0, 1]), "features": np.eye(4)}
        np.savez(folder / "graph.npz", **{k: v for k, v in {**full, **arrays}.items() if v is not None})

    return break_it


def save_csr(data=(1.0,), indices=(0,), indptr=(0, 1, 1, 1, 1), shape=(4, 4)):
    parts = {"data": data, "indices": indices, "indptr": indptr, "shape": shape}
    return save(features=None, **{f"features_{name}": np.asarray(part) for name, part in parts.items()})


def cut(folder):
    save()(folder)
    file = folder / "graph.npz"
    file.write_bytes(file.read_bytes()[:-40])


def damage(folder):
    save()(folder)
    file = folder / "graph.npz"
    data = bytearray(file.read_bytes())
    place = data.index(b"NUMPY") + 140  # among the numbers of the first array
    data[place] ^= 1
    file.write_bytes(bytes(data))


def one_array(folder):
    with (folder / "graph.npz").open("wb") as file:
        np.save(file, np.eye(4))


BAD = {
    "edges missing": (lambda folder: (folder / "edges.csv").unlink(), r"edges\.csv is missing"),
    "edges header": (write("edges.csv", "a,b\n0,1\n"), "has the columns a, b; its header must name source, target"),
    "edges words": (write("edges.csv", "source,target\nx,1\n"), "source holds something that is not a whole number"),
    "edges fraction": (
        write("edges.csv", "source,target\n0,1.5\n"),
        "target holds something that is not a whole number",
    ),
    "edges gap": (write("edges.csv", "source,target\n0,1\n2,\n"), "target holds something that is not a whole number"),
    "edges out of range": (write("edges.csv", "source,target\n0,60\n"), "edge 0 joins nodes 0 and 60"),
    "empty file": (write("features.csv", ""), r"features\.csv cannot be read"),
    "feature words": (write("features.csv", "f\n" + "x\n" * 60), "column f holds something that is not a number"),
    "feature nan": (write("features.csv", "f\n" + "1\n" * 59 + "nan\n"), "NaN or infinite"),
    "feature rows": (write("features.csv", "f\n1\n2\n"), r"features have shape \(2, 1\)"),
    "edges three": (write("edges.csv", "source,target\n0,40,7\n1,2,3\n"), "more values than its header"),
    "features one more": (write("features.csv", "f,g\n" + "1,2,3\n" * 60), "more values than its header"),
    "labels two": (write("labels.csv", "label\n" + "a,b\nc,d\n" * 30), "more values than its header"),
    "one class": (write("labels.csv", "label\n" + "a\n" * 60), "1 class"),
    "no nodes": (write("labels.csv", "label\n"), "no nodes"),
    "split length": (write("split.csv", "part\ntrain\n"), "names 1 nodes"),
    "split word": (write("split.csv", "part\n" + "dev\n" * 60), "holds 'dev'"),
    "split empty part": (write("split.csv", "part\n" + "train\n" * 60), "no node into val"),
    "npz broken": (write("graph.npz", "PK nonsense"), "cannot be read as an npz"),
    "npz cut short": (lambda folder: cut(folder), "cannot be read as an npz"),
    "npz damaged": (lambda folder: damage(folder), "cannot be read as an npz"),
    "npz one array": (lambda folder: one_array(folder), "one array, not named ones"),
    "npz shape of no matrix": (
        save_csr(shape=4),
        "do not fit together",
    ),
    "npz part of two columns": (save(part=np.array([["train"], ["val"], ["test"], [""]])), "the split names 4 nodes"),
    "npz pickles": (save(labels=np.array([{}], dtype=object)), "without pickles"),
    "npz array missing": (save(edge_index=None), "the array edge_index is missing"),
    "npz nothing": (lambda folder: np.savez(folder / "graph.npz"), "holds nothing; the array edge_index"),
    "npz sparse parts": (
        save_csr(indices=(9,)),
        "do not fit together",
    ),
}


@pytest.mark.parametrize(("break_it", "message"), BAD.values(), ids=BAD)
def test_bad_folders_are_named(example, break_it, message):
    break_it(example)
    with pytest.raises(InputError, match=message) as error:
        load_folder(example)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("words", "names", "numbers"),
    [
        (["10", "2", "", "-1"], ("2", "10"), [1, 0, -1, -1]),
        (["01", "1", "3", "3"], ("1", "3"), [0, 0, 1, 1]),
        (["b", "a", "b", ""], ("a", "b"), [1, 0, 1, -1]),
        (["9" * 25, "1", "1", "x"], ("1", "9" * 25, "x"), [1, 0, 0, 2]),
    ],
    ids=["by value", "the same number", "words", "too long for a number"],
)
def test_labels_are_any_words_or_numbers(example, words, names, numbers):
    (example / "labels.csv").write_text("label\n" + "".join(f'"{word}"\n' for word in words * 15))
    (example / "split.csv").unlink()
    loaded = load_folder(example)
    assert loaded.class_names == names and loaded.labels[:4].tolist() == numbers


def test_stored_zeros_of_features_are_no_entries(example):
    dense = np.array([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    save_csr(dense.ravel(), np.tile(np.arange(3), 4), np.arange(5) * 3, (4, 3))(example)
    features = load_folder(example).features
    assert features.values().tolist() == [1.0] * 6
    dense = torch.from_numpy(dense).float()
    stored = torch.sparse_csr_tensor(torch.arange(5) * 3, torch.arange(3).repeat(4), dense.flatten(), (4, 3))
    for matrix in (FeatureMatrix(dense), FeatureMatrix(stored)):
        assert matrix.kind is FeatureKind.BINARY and matrix.num_stored == 6


def test_split_must_train_every_class_and_only_labelled_nodes(example):
    part = ["train" if i == 0 else "val" if i < 30 else "test" for i in range(60)]
    (example / "split.csv").write_text("part\n" + "\n".join(part) + "\n")
    with pytest.raises(InputError, match="no training node has class"):
        load_folder(example)
    labels = (example / "labels.csv").read_text().splitlines()
    labels[1] = ""
    (example / "labels.csv").write_text("\n".join(labels) + "\n")
    with pytest.raises(InputError, match="without a label into train"):
        load_folder(example)


def test_unknown_split_missing_split_and_missing_folder(example, tmp_path):
    with pytest.raises(InputError, match="'given' or 'random'"):
        load_folder(example, split="public")
    (example / "split.csv").unlink()
    with pytest.raises(InputError, match=r"holds no split\.csv"):
        load_folder(example, split="given")
    with pytest.raises(InputError, match="is not a folder"):
        load_folder(tmp_path / "nothing")
    with pytest.raises(InputError, match="'csv' or 'npz'"):
        write_example_folder(tmp_path, form="xml")
