"""Data sets: a registry of graphs, where their files come from, splits, and graphs of your own."""

from gnnq_lib.datasets.folder import load_folder, write_example_folder
from gnnq_lib.datasets.generated import csbm_graph, digits_graph
from gnnq_lib.datasets.node_dataset import NodeDataset
from gnnq_lib.datasets.registry import DATASETS, load_dataset
from gnnq_lib.datasets.splits import public_split, random_split, random_split_per_class

__all__ = [
    "DATASETS",
    "NodeDataset",
    "csbm_graph",
    "digits_graph",
    "load_dataset",
    "load_folder",
    "public_split",
    "random_split",
    "random_split_per_class",
    "write_example_folder",
]
