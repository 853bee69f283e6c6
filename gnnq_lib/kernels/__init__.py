"""Low-bit compute on packed codes, and the float sums of training: compiled where possible, with PyTorch twins."""

from gnnq_lib.kernels import custom_ops as custom_ops  # registers torch.ops.gnnq.*
from gnnq_lib.kernels.classifier import PackedClassifier, torch_classify
from gnnq_lib.kernels.csr import CSRGraph
from gnnq_lib.kernels.native import available_isas, kernel_info
from gnnq_lib.kernels.neighbour_sum import SparseRows, neighbour_sum, torch_neighbour_sum
from gnnq_lib.kernels.ops import linear, spmm
from gnnq_lib.kernels.propagation import PropagationGraph, PropagationPlan, propagate, torch_propagate
from gnnq_lib.kernels.reference import torch_linear, torch_spmm
from gnnq_lib.kernels.row_quantizer import RowQuantizer
from gnnq_lib.kernels.score_difference import (
    score_difference,
    score_difference_backward,
    torch_score_difference,
    torch_score_difference_backward,
)
from gnnq_lib.kernels.search import search, torch_search
from gnnq_lib.kernels.two_layer import IntegerFeatures, TwoLayerWeights, torch_two_layer, two_layer

__all__ = [
    "CSRGraph",
    "IntegerFeatures",
    "PackedClassifier",
    "PropagationGraph",
    "PropagationPlan",
    "RowQuantizer",
    "SparseRows",
    "TwoLayerWeights",
    "available_isas",
    "kernel_info",
    "linear",
    "neighbour_sum",
    "propagate",
    "score_difference",
    "score_difference_backward",
    "search",
    "spmm",
    "torch_classify",
    "torch_linear",
    "torch_neighbour_sum",
    "torch_propagate",
    "torch_score_difference",
    "torch_score_difference_backward",
    "torch_search",
    "torch_spmm",
    "torch_two_layer",
    "two_layer",
]
