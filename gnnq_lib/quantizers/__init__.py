"""Numbers on a low-bit grid: choose parameters, quantize, dequantize; learned ranges; truncation; packing.

Paper symbol -> name here (paper A): alpha -> `LearnedRange.alpha`; m, M -> `minimum`, `maximum`; s, z -> `scale`,
`zero_point`; q -> `codes`; n -> `levels`; k (BT*) -> `SkewedBitwiseTruncation.shift()`.
"""

from gnnq_lib.quantizers.affine import QParams, choose_qparams, dequantize, fake_quantize, quantize
from gnnq_lib.quantizers.base import FullPrecision, Quantized, Quantizer, calibration
from gnnq_lib.quantizers.baselines import DegreeQuant, LearnedStep, MinMax
from gnnq_lib.quantizers.granularity import PerChannel, PerDegreeBucket, PerNode, PerTensor
from gnnq_lib.quantizers.node_pow2 import NodePowerOfTwo
from gnnq_lib.quantizers.packing import pack, unpack
from gnnq_lib.quantizers.qlr import BitwiseTruncation, LearnedRange, SkewedBitwiseTruncation
from gnnq_lib.quantizers.ranges import percentile_limits, search_ratio, sqnr_db
from gnnq_lib.quantizers.weights import ColumnStep

__all__ = [
    "BitwiseTruncation",
    "ColumnStep",
    "DegreeQuant",
    "FullPrecision",
    "LearnedRange",
    "LearnedStep",
    "MinMax",
    "NodePowerOfTwo",
    "PerChannel",
    "PerDegreeBucket",
    "PerNode",
    "PerTensor",
    "QParams",
    "Quantized",
    "Quantizer",
    "SkewedBitwiseTruncation",
    "calibration",
    "choose_qparams",
    "dequantize",
    "fake_quantize",
    "pack",
    "percentile_limits",
    "quantize",
    "search_ratio",
    "sqnr_db",
    "unpack",
]
