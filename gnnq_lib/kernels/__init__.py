"""Low-bit compute on packed codes, compiled where possible, each kernel with a readable PyTorch twin."""

from gnnq_lib.kernels import custom_ops as custom_ops  # registers torch.ops.gnnq.*
from gnnq_lib.kernels.classifier import PackedClassifier, torch_classify
from gnnq_lib.kernels.csr import CSRGraph
from gnnq_lib.kernels.native import available_isas, kernel_info
from gnnq_lib.kernels.ops import linear, spmm
from gnnq_lib.kernels.propagation import PropagationGraph, PropagationPlan, propagate, torch_propagate
from gnnq_lib.kernels.reference import torch_linear, torch_spmm
from gnnq_lib.kernels.row_quantizer import RowQuantizer
from gnnq_lib.kernels.two_layer import IntegerFeatures, TwoLayerWeights, torch_two_layer, two_layer

__all__ = [
    "CSRGraph",
    "IntegerFeatures",
    "PackedClassifier",
    "PropagationGraph",
    "PropagationPlan",
    "RowQuantizer",
    "TwoLayerWeights",
    "available_isas",
    "kernel_info",
    "linear",
    "propagate",
    "spmm",
    "torch_classify",
    "torch_linear",
    "torch_propagate",
    "torch_spmm",
    "torch_two_layer",
    "two_layer",
]
