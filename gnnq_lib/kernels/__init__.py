"""Low-bit compute on packed codes: `spmm` and `linear`, compiled where possible, with readable PyTorch twins."""

from gnnq_lib.kernels.csr import CSRGraph
from gnnq_lib.kernels.native import available_isas, kernel_info
from gnnq_lib.kernels.ops import linear, spmm
from gnnq_lib.kernels.reference import torch_linear, torch_spmm

__all__ = ["CSRGraph", "available_isas", "kernel_info", "linear", "spmm", "torch_linear", "torch_spmm"]
