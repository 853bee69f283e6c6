"""Data sets: registries of graphs and of interactions, where their files come from, splits, and data of your own."""

from gnnq_lib.datasets.folder import load_folder, write_example_folder
from gnnq_lib.datasets.generated import csbm_graph, digits_graph
from gnnq_lib.datasets.interactions import Interactions, RatingSplit, UserItems, split_interactions
from gnnq_lib.datasets.interactions_generated import power_law_interactions
from gnnq_lib.datasets.interactions_registry import INTERACTION_SETS, load_interactions
from gnnq_lib.datasets.node_dataset import NodeDataset
from gnnq_lib.datasets.registry import DATASETS, load_dataset
from gnnq_lib.datasets.splits import public_split, random_split, random_split_per_class

__all__ = [
    "DATASETS",
    "INTERACTION_SETS",
    "Interactions",
    "NodeDataset",
    "RatingSplit",
    "UserItems",
    "csbm_graph",
    "digits_graph",
    "load_dataset",
    "load_folder",
    "load_interactions",
    "power_law_interactions",
    "public_split",
    "random_split",
    "random_split_per_class",
    "split_interactions",
    "write_example_folder",
]
