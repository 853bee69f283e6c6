"""Node classifiers: the low-bit model of paper A and deep full-precision baselines."""

from gnnq_lib.models.decoupled import DecoupledClassifier, ModelOptions
from gnnq_lib.models.features import FeatureKind, FeatureMatrix
from gnnq_lib.models.methods import STAGES, Method, MethodOptions

__all__ = [
    "STAGES",
    "DecoupledClassifier",
    "FeatureKind",
    "FeatureMatrix",
    "Method",
    "MethodOptions",
    "ModelOptions",
]
