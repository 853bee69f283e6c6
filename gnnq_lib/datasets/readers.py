"""From verified raw bytes to a graph, one reader per file format; each follows torch_geometric's reading of the set."""

from __future__ import annotations

import io
import pickle
from collections import defaultdict
from dataclasses import dataclass
from importlib import resources

import numpy as np
import scipy.sparse as sp


@dataclass(frozen=True)
class RawGraph:
    """A graph as read: (N, F) features, (2, E) edges, (N,) labels, and what the public split needs, where there is one.

    Attributes:
        features, edges, labels: as for `unsplit`.
        num_train: training nodes of the public split (the first ones); 0 without a public split.
        test_nodes: test nodes of the public split; empty without one.
    """

    features: sp.csr_matrix
    edges: np.ndarray
    labels: np.ndarray
    num_train: int
    test_nodes: np.ndarray


_PLANETOID_TYPES = {
    "scipy.sparse.csr.csr_matrix": sp.csr_matrix,
    "numpy.ndarray": np.ndarray,
    "numpy.dtype": np.dtype,
    "numpy.core.multiarray._reconstruct": np.zeros(0).__reduce__()[0],  # its module moves between releases of numpy
    "collections.defaultdict": defaultdict,
    "__builtin__.list": list,
}


class _PlanetoidUnpickler(pickle.Unpickler):
    """Knows only the types that the Planetoid files consist of, under the names that stand in them."""

    def find_class(self, module: str, name: str):
        # The unpickler of Python 3 hands over __builtin__ as builtins.
        known = _PLANETOID_TYPES.get(f"{module.replace('builtins', '__builtin__')}.{name}")
        if known is None:
            raise pickle.UnpicklingError(f"{module}.{name} has no place in a Planetoid file")
        return known


def read_planetoid(content: dict[str, bytes]) -> RawGraph:
    """Cora, CiteSeer or PubMed from the eight `ind.<name>.*` files.

    Node order is Planetoid's: `allx` first, then test nodes put at the places that `test.index` names. Test nodes that
    are missing from CiteSeer's files (15 isolated ones) get zero features and class 0, as in torch_geometric.

    Args:
        content: path -> verified bytes; the last part of each name tells the role.
    """
    part = {path.split("ind.")[1].split(".", 1)[1]: data for path, data in content.items()}
    x, tx, allx, ty, ally, graph = (
        _PlanetoidUnpickler(io.BytesIO(part[name]), encoding="latin1").load()
        for name in ("x", "tx", "allx", "ty", "ally", "graph")
    )
    test_nodes = np.array(part["test.index"].split(), dtype=np.int64)
    num_nodes = max(int(test_nodes.max()) + 1, allx.shape[0] + tx.shape[0])

    # Row k of tx belongs to node test_nodes[k]. (The files hold them in this order; sorting them and undoing it, as
    # other readers do, gives the same.)
    features = sp.lil_matrix((num_nodes, allx.shape[1]), dtype=np.float32)
    features[: allx.shape[0]] = allx
    features[test_nodes] = tx
    one_hot = np.zeros((num_nodes, ally.shape[1]), dtype=np.int64)
    one_hot[: ally.shape[0]] = ally
    one_hot[test_nodes] = ty

    counts = [len(neighbours) for neighbours in graph.values()]
    sources = np.repeat(np.fromiter(graph.keys(), dtype=np.int64), counts)
    targets = np.concatenate([np.asarray(neighbours, dtype=np.int64) for neighbours in graph.values()])
    return RawGraph(features.tocsr(), np.stack([sources, targets]), one_hot.argmax(axis=1), x.shape[0], test_nodes)


def read_npz_graph(content: dict[str, bytes]) -> RawGraph:
    """Coauthor and Amazon graphs of shchur/gnn-benchmark: two CSR matrices and labels.

    Feature counts above zero become 1, as in torch_geometric. The member `class_names`, a pickle in some files, is not
    read.
    """
    (data,) = content.values()
    with np.load(io.BytesIO(data), allow_pickle=False) as file:

        def matrix(prefix: str) -> sp.csr_matrix:
            parts = tuple(file[f"{prefix}_{name}"] for name in ("data", "indices", "indptr"))
            return sp.csr_matrix(parts, shape=tuple(file[f"{prefix}_shape"]))

        features, adjacency, labels = matrix("attr"), matrix("adj").tocoo(), file["labels"]
    features.data = (features.data > 0).astype(np.float32)
    features.eliminate_zeros()
    edges = np.stack([adjacency.row, adjacency.col]).astype(np.int64)
    return RawGraph(features, edges, labels.astype(np.int64), 0, np.zeros(0, dtype=np.int64))


LINQS_CLASSES = (
    "Theory",
    "Reinforcement_Learning",
    "Genetic_Algorithms",
    "Neural_Networks",
    "Probabilistic_Methods",
    "Case_Based",
    "Rule_Learning",
)


def read_cora_linqs(content: dict[str, bytes]) -> RawGraph:
    """Cora from `cora.content` and `cora.cites`, in Planetoid's node order and so with the public split.

    The two forms of Cora hold the same graph in different node orders; `cora_order.txt` is the order that makes them
    equal (checked edge by edge, feature by feature, label by label).
    """
    part = {path.rsplit(".", 1)[1]: data.decode("ascii") for path, data in content.items()}
    rows = [line.split() for line in part["content"].splitlines()]
    order = _cora_order()
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    node = {row[0]: place[line] for line, row in enumerate(rows)}
    features = sp.csr_matrix(np.array([rows[line][1:-1] for line in order], dtype=np.float32))
    labels = np.array([LINQS_CLASSES.index(rows[line][-1]) for line in order])
    edges = np.array([[node[name] for name in line.split()] for line in part["cites"].splitlines()]).T
    return RawGraph(features, edges, labels, 140, np.arange(1708, 2708))


def _cora_order() -> np.ndarray:
    lines = resources.files(__package__).joinpath("cora_order.txt").read_text().splitlines()
    return np.array(" ".join(line for line in lines if not line.startswith("#")).split(), dtype=np.int64)
