"""Your own graph from a folder: tables (CSV) or one `graph.npz`.

A folder of tables holds

- `edges.csv`: header `source,target`, then an edge per line, node numbers from 0; direction and duplicates don't matter
- `features.csv`: a header naming the columns, then one line of numbers per node, in node order
- `labels.csv`: header `label`, then one class per line, in node order: any words or numbers; empty or -1 for "no label"
- `split.csv` (optional): header `part`, then `train`, `val`, `test` or nothing per node; without it splits are random

`graph.npz` instead holds the arrays `edge_index` (2, E), `features` (N, F) or its CSR parts `features_data`,
`features_indices`, `features_indptr`, `features_shape`, `labels` (N,) and, optionally, `part` (N,) as above.
`write_example_folder` makes an example of either.
"""

from __future__ import annotations

import io
import re
import warnings
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch

from gnnq_lib.datasets.generated import csbm_graph
from gnnq_lib.datasets.node_dataset import NodeDataset, unsplit
from gnnq_lib.datasets.splits import Masks, random_split
from gnnq_lib.errors import InputError
from gnnq_lib.files import atomic_write

PARTS = ("train", "val", "test")


def load_folder(path: Path | str, split: str | None = None, seed: int = 0) -> NodeDataset:
    """Load a graph of your own from a folder (formats: see the module's text).

    Args:
        path: the folder.
        split: "given" (from `split.csv` or `part`), "random" (20 per class / 500 / 1000, fewer on small graphs), or
            None: the given one where there is one.
        seed: of the random split.

    Returns:
        A `NodeDataset` named after the folder. Classes are numbered in sorted order of their names (by value
        where all are whole numbers), which `class_names` keeps; an array of numbers in graph.npz stays as it is.

    Raises:
        InputError: one sentence naming the file and what is wrong in it.

    Example:
        >>> import tempfile
        >>> load_folder(write_example_folder(Path(tempfile.mkdtemp()) / "mine")).num_nodes
        60
    """
    folder = Path(path)
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; give a folder with edges.csv, features.csv and labels.csv")
    if split not in (None, "given", "random"):
        raise InputError(f"split is {split!r}; for a graph of your own, 'given' or 'random' is accepted")
    read = _read_npz if (folder / "graph.npz").is_file() else _read_tables
    features, edges, labels, part = read(folder)
    numbers, names = _class_numbers(labels)
    graph = unsplit(folder.resolve().name, features, edges, numbers, f"folder {folder.name}")
    graph = replace(graph, class_names=names)
    if split == "given" and part is None:
        raise InputError(f"{folder} holds no split.csv or part; add it or use split='random'")
    if part is not None and split != "random":
        return graph.with_split(_given_masks(folder, part, graph), "given", 0)
    return graph.with_split(random_split(graph.labels, seed), "random", seed)


def write_example_folder(path: Path | str, form: str = "csv") -> Path:
    """Write a small graph (60 nodes, 3 classes) in the documented format, to start your own from.

    Args:
        path: folder to write into; made if missing.
        form: "csv" for tables, "npz" for one file.

    Raises:
        InputError: for another form.

    Example:
        >>> import tempfile
        >>> sorted(f.name for f in write_example_folder(Path(tempfile.mkdtemp()) / "mine").iterdir())
        ['edges.csv', 'features.csv', 'labels.csv', 'split.csv']
    """
    if form not in ("csv", "npz"):
        raise InputError(f"form is {form!r}; 'csv' or 'npz' is accepted")
    folder = Path(path)
    graph = csbm_graph(num_nodes=60, num_classes=3, num_features=8, average_degree=5.0, seed=0)
    features = graph.features.to_dense().numpy()
    edges = graph.edge_index.numpy()
    edges = edges[:, edges[0] < edges[1]]
    part = np.full(60, "", dtype="U5")
    for name, mask in zip(PARTS, random_split(graph.labels, seed=0, train_per_class=5, num_val=15, num_test=30)):
        part[mask.numpy()] = name
    if form == "npz":
        buffer = io.BytesIO()
        np.savez_compressed(buffer, edge_index=edges, features=features, labels=graph.labels.numpy(), part=part)
        atomic_write(folder / "graph.npz", buffer.getvalue())
        return folder
    names = np.array(["physics", "biology", "history"])
    columns = [f"f{i}" for i in range(features.shape[1])]
    atomic_write(folder / "edges.csv", pd.DataFrame(edges.T, columns=["source", "target"]).to_csv(index=False))
    atomic_write(folder / "features.csv", pd.DataFrame(features, columns=columns).round(4).to_csv(index=False))
    atomic_write(folder / "labels.csv", pd.DataFrame({"label": names[graph.labels]}).to_csv(index=False))
    atomic_write(folder / "split.csv", pd.DataFrame({"part": part}).to_csv(index=False))
    return folder


def _read_table(folder: Path, name: str, columns: list[str] | None, **options) -> pd.DataFrame:
    """One CSV file; `columns` are the columns it must have."""
    file = folder / name
    if not file.is_file():
        raise InputError(f"{file} is missing; a folder with edges.csv, features.csv and labels.csv is accepted")
    try:
        with warnings.catch_warnings():
            # Without index_col=False pandas takes what is too much for an index and shifts the rest; with it, it warns.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            table = pd.read_csv(file, skip_blank_lines=False, index_col=False, **options)
    except pd.errors.ParserWarning:
        raise InputError(
            f"{file} has lines of more values than its header has names; one value per name is accepted"
        ) from None
    except (ValueError, UnicodeDecodeError) as error:  # pandas' parser errors are ValueErrors
        raise InputError(f"{file} cannot be read as a table: {str(error).strip().splitlines()[0]}") from None
    missing = [column for column in columns or [] if column not in table]
    if missing:
        raise InputError(
            f"{file} has the columns {', '.join(table.columns)}; its header must name {', '.join(columns)}"
        )
    return table


def _read_tables(folder: Path):
    edges = _read_table(folder, "edges.csv", ["source", "target"])
    for column in ("source", "target"):
        if len(edges) and not pd.api.types.is_integer_dtype(edges[column]):
            raise InputError(
                f"{folder / 'edges.csv'}: column {column} holds something that is not a whole number; "
                "one node number from 0 per line is accepted"
            )
    features = _read_table(folder, "features.csv", None)
    words = [column for column in features if not pd.api.types.is_numeric_dtype(features[column])]
    if words:
        raise InputError(
            f"{folder / 'features.csv'}: column {words[0]} holds something that is not a number; "
            "replace it by numbers or drop the column"
        )
    labels = _read_table(folder, "labels.csv", ["label"], dtype=str, keep_default_na=False)["label"].to_numpy(dtype=str)
    part = None
    if (folder / "split.csv").is_file():
        part = _read_table(folder, "split.csv", ["part"], dtype=str, keep_default_na=False)["part"].to_numpy(dtype=str)
    return features.to_numpy(dtype=np.float64), edges[["source", "target"]].to_numpy().T, labels, part


def _read_npz(folder: Path):
    file = folder / "graph.npz"
    try:
        archive = np.load(file, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise ValueError("it holds one array, not named ones")
        with archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{file} cannot be read as an npz file without pickles: {error}") from None
    sparse = [f"features_{name}" for name in ("data", "indices", "indptr", "shape")]
    wanted = ["edge_index", "labels", *(sparse if "features_data" in arrays else ["features"])]
    if missing := [name for name in wanted if name not in arrays]:
        raise InputError(f"{file} holds {', '.join(arrays) or 'nothing'}; the array {missing[0]} is missing")
    features = arrays.get("features")
    if features is None:
        data, indices, indptr, shape = (arrays[name] for name in sparse)
        try:
            features = sp.csr_matrix((data, indices, indptr), shape=tuple(shape))
            features.check_format(full_check=True)
        except (ValueError, TypeError, IndexError) as error:
            raise InputError(f"{file}: the CSR parts of the features do not fit together: {error}") from None
    return features, arrays["edge_index"], arrays["labels"], arrays.get("part")


def _class_numbers(labels: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """Class numbers and the classes' names: words are numbered in sorted order, whole numbers by value, and nothing
    and -1 are no class. Arrays of numbers stay as they are and have no names.
    """
    if labels.dtype.kind not in "US":
        return labels, ()
    words = [str(label).strip() for label in labels.ravel()]
    whole = all(re.fullmatch(r"-?[0-9]{1,18}", word) for word in words if word)
    if whole:
        words = [str(int(word)) if word else "" for word in words]  # 01 and 1 are the same class
    names = sorted({*words} - {"", "-1"}, key=(lambda word: (int(word), word)) if whole else str)
    number = {name: i for i, name in enumerate(names)} | {"": -1, "-1": -1}
    return np.array([number[word] for word in words], dtype=np.int64).reshape(labels.shape), tuple(names)


def _given_masks(folder: Path, part: np.ndarray, graph: NodeDataset) -> Masks:
    part = np.asarray(part).astype(str)
    if part.ndim != 1 or len(part) != graph.num_nodes:
        raise InputError(
            f"{folder}: the split names {len(part)} nodes; one line per node ({graph.num_nodes}) is accepted"
        )
    if unknown := sorted(set(part.tolist()) - {*PARTS, ""}):
        raise InputError(f"{folder}: the split holds {unknown[0]!r}; train, val, test or nothing is accepted")
    masks = tuple(torch.from_numpy(part == name) for name in PARTS)
    for name, mask in zip(PARTS, masks):
        if not mask.any():
            raise InputError(f"{folder}: the split puts no node into {name}; give each of train, val and test some")
        if (graph.labels[mask] < 0).any():
            raise InputError(f"{folder}: the split puts a node without a label into {name}; label it or leave it out")
    trained = torch.unique(graph.labels[masks[0]])
    if len(trained) < graph.num_classes:
        absent = sorted(set(range(graph.num_classes)) - set(trained.tolist()))[0]
        raise InputError(f"{folder}: no training node has class {absent}; give each class at least one")
    return masks
