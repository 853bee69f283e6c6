"""`NodeDataset`: one graph with features, labels and a split, checked once so that nothing after it need check."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from gnnq_lib.errors import InputError

if TYPE_CHECKING:
    from torch_geometric.data import Data


@dataclass(frozen=True, eq=False)
class NodeDataset:
    """A graph for node classification.

    Attributes:
        name: registry name, or the folder's name for a graph of your own.
        features: sparse CSR float32, shape (N, F); values as stored, not normalised.
        edge_index: int64, shape (2, E); undirected (both directions), no duplicates, no self-loops, sorted by row.
        labels: int64, shape (N,); 0 .. num_classes - 1, or -1 for an unlabelled node (own graphs only).
        num_classes: number of classes.
        train_mask, val_mask, test_mask: bool, shape (N,); disjoint.
        split: "public", "given" (own graphs) or "random".
        seed: seed of a random split; 0 otherwise.
        source: which source served the data.
        class_names: names of the classes 0 .. num_classes - 1, where a folder of your own names them; else empty.
    """

    name: str
    features: Tensor
    edge_index: Tensor
    labels: Tensor
    num_classes: int
    train_mask: Tensor
    val_mask: Tensor
    test_mask: Tensor
    split: str
    seed: int
    source: str
    class_names: tuple[str, ...] = ()

    @property
    def num_nodes(self) -> int:
        """N."""
        return self.labels.shape[0]

    @property
    def num_features(self) -> int:
        """F."""
        return self.features.shape[1]

    @property
    def num_edges(self) -> int:
        """E, both directions counted."""
        return self.edge_index.shape[1]

    def describe(self) -> str:
        """One line: sizes, split and source.

        Example:
            >>> from gnnq_lib.datasets import load_dataset
            >>> load_dataset("digits").describe()[:45]
            'digits: 1797 nodes, 24680 edges, 64 features,'
        """
        split = f"{self.split} split (seed {self.seed})" if self.split == "random" else f"{self.split} split"
        parts = "/".join(str(int(mask.sum())) for mask in (self.train_mask, self.val_mask, self.test_mask))
        return (
            f"{self.name}: {self.num_nodes} nodes, {self.num_edges} edges, {self.num_features} features, "
            f"{self.num_classes} classes; {split} {parts}; from {self.source}"
        )

    def to_pyg(self, dense: bool = True) -> Data:
        """The same graph as a `torch_geometric.data.Data` object.

        Args:
            dense: give `x` as a dense tensor, shape (N, F), which PyG's layers expect; else sparse CSR.

        Example:
            >>> from gnnq_lib.datasets import load_dataset
            >>> tuple(load_dataset("digits").to_pyg().x.shape)
            (1797, 64)
        """
        from torch_geometric.data import Data

        return Data(
            x=self.features.to_dense() if dense else self.features,
            edge_index=self.edge_index,
            y=self.labels,
            train_mask=self.train_mask,
            val_mask=self.val_mask,
            test_mask=self.test_mask,
        )

    def with_split(self, masks: tuple[Tensor, Tensor, Tensor], split: str, seed: int) -> NodeDataset:
        """The same graph with other training, validation and test masks."""
        train, val, test = masks
        return replace(self, train_mask=train, val_mask=val, test_mask=test, split=split, seed=seed)


def unsplit(
    name: str, features: sp.spmatrix | np.ndarray, edges: np.ndarray, labels: np.ndarray, source: str
) -> NodeDataset:
    """Check a graph and build a `NodeDataset` whose masks are still empty.

    Args:
        name: name of the data set, used in messages.
        features: (N, F) numbers, dense or scipy sparse.
        edges: (2, E) node numbers, in any direction and order; duplicates and self-loops are dropped.
        labels: (N,) class numbers from 0 without gaps; -1 marks unlabelled nodes.
        source: which source served the data.

    Raises:
        InputError: names what is wrong and what is accepted.

    Example:
        >>> g = unsplit("toy", np.eye(3), np.array([[0, 1], [1, 2]]), np.array([0, 1, 0]), "by hand")
        >>> g.edge_index.tolist()
        [[0, 1, 1, 2], [1, 0, 2, 1]]
    """
    labels = np.asarray(labels)
    num_nodes = labels.shape[0]
    num_classes = _check_labels(name, labels)
    features = _check_features(name, features, num_nodes)
    edges = _check_edges(name, np.asarray(edges), num_nodes)
    empty = torch.zeros(num_nodes, dtype=torch.bool)
    return NodeDataset(
        name=name,
        features=to_torch_csr(features),
        edge_index=torch.from_numpy(undirected(edges, num_nodes)),
        labels=torch.from_numpy(labels.astype(np.int64)),
        num_classes=num_classes,
        train_mask=empty,
        val_mask=empty.clone(),
        test_mask=empty.clone(),
        split="none",
        seed=0,
        source=source,
    )


def undirected(edges: np.ndarray, num_nodes: int) -> np.ndarray:
    """Both directions of every edge, each once, without self-loops, sorted by row and then column.

    Args:
        edges: (2, E) int64.
        num_nodes: N.

    Returns:
        (2, E') int64.

    Example:
        >>> undirected(np.array([[1, 2, 0], [0, 2, 1]]), 3).tolist()
        [[0, 1], [1, 0]]
    """
    row, col = edges.astype(np.int64, copy=False)
    keep = row != col
    row, col = row[keep], col[keep]
    keys = np.unique(np.concatenate([row * num_nodes + col, col * num_nodes + row]))
    return np.stack([keys // max(num_nodes, 1), keys % max(num_nodes, 1)])


def to_torch_csr(matrix: sp.csr_matrix) -> Tensor:
    """A scipy CSR matrix as a torch sparse CSR tensor, float32 with int64 indices."""
    matrix = sp.csr_matrix(matrix)
    return torch.sparse_csr_tensor(
        torch.from_numpy(matrix.indptr.astype(np.int64)),
        torch.from_numpy(matrix.indices.astype(np.int64)),
        torch.from_numpy(matrix.data.astype(np.float32)),
        size=matrix.shape,
    )


def _check_labels(name: str, labels: np.ndarray) -> int:
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise InputError(
            f"{name}: labels have shape {labels.shape} and type {labels.dtype}; one whole number per node is accepted"
        )
    if labels.size == 0:
        raise InputError(f"{name}: the graph has no nodes; give a graph of at least 2 nodes")
    if labels.size == 1:
        raise InputError(f"{name}: the graph has one node; give at least 2 nodes, so that there is one to test on")
    if labels.min() < -1:
        raise InputError(f"{name}: a label is {labels.min()}; class numbers from 0, or -1 for no label, are accepted")
    present = np.unique(labels[labels >= 0])
    if present.size < 2:
        raise InputError(f"{name}: the labels hold {present.size} class(es); give at least 2 classes to tell apart")
    missing = np.setdiff1d(np.arange(present[-1] + 1), present)
    if missing.size:
        raise InputError(
            f"{name}: no node has class {missing[0]} although the labels go up to {present[-1]}; "
            "number the classes from 0 without gaps"
        )
    return int(present.size)


def _check_features(name: str, features: sp.spmatrix | np.ndarray, num_nodes: int) -> sp.csr_matrix:
    kind = getattr(features, "dtype", None)
    if kind is None or not (np.issubdtype(kind, np.number) or np.issubdtype(kind, np.bool_)):
        raise InputError(f"{name}: features have type {kind}; a matrix of numbers is accepted")
    if len(features.shape) != 2 or features.shape[0] != num_nodes or features.shape[1] == 0:
        raise InputError(
            f"{name}: features have shape {tuple(features.shape)}; one row per labelled or unlabelled node "
            f"({num_nodes} rows) and at least one column are accepted"
        )
    with np.errstate(over="ignore"):  # what overflows becomes infinite and is named below
        matrix = sp.csr_matrix(features, dtype=np.float32, copy=True)
    matrix.sum_duplicates()
    matrix.eliminate_zeros()  # a stored zero is no entry: it would be coded as the smallest level
    bad = np.flatnonzero(~np.isfinite(matrix.data))
    if bad.size:
        row = int(np.searchsorted(matrix.indptr, bad[0], side="right")) - 1
        raise InputError(
            f"{name}: {bad.size} feature value(s) are NaN or infinite as 32-bit floats, the first in node {row}; "
            "only finite numbers are accepted, so replace or drop them"
        )
    return matrix


def _check_edges(name: str, edges: np.ndarray, num_nodes: int) -> np.ndarray:
    if edges.size == 0:
        return np.zeros((2, 0), dtype=np.int64)
    if edges.ndim != 2 or edges.shape[0] != 2 or not np.issubdtype(edges.dtype, np.integer):
        raise InputError(
            f"{name}: edges have shape {edges.shape} and type {edges.dtype}; two rows of whole numbers are accepted"
        )
    outside = (edges < 0) | (edges >= num_nodes)
    if outside.any():
        column = int(np.flatnonzero(outside.any(axis=0))[0])
        raise InputError(
            f"{name}: edge {column} joins nodes {edges[0, column]} and {edges[1, column]}; "
            f"node numbers from 0 to {num_nodes - 1} are accepted"
        )
    return edges
