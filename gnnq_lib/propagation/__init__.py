"""What one layer does to node embeddings: sparse operators, APPNP, SMP, EMP, and measures of smoothness.

Paper symbol -> name here (paper A): A_hat, L, B -> `GraphOperator`; mu, eta_H, eta_s, eta_lambda, a -> `Smp.mu`,
`eta_h`, `eta_s`, `eta_lambda`, `threshold`; lambda, s, trace(G^T L G) per layer -> `Trajectory.multiplier`, `slack`,
`change`.
"""

from gnnq_lib.propagation.lowbit import (
    Coordinates,
    MessagePlacement,
    PropagationQuantizers,
    aggregate,
    full_precision_quantizers,
)
from gnnq_lib.propagation.operators import GraphOperator
from gnnq_lib.propagation.schemes import Appnp, Emp, Norm, Route, Scheme, Smp, Trajectory
from gnnq_lib.propagation.smoothness import dirichlet_energy, layer_change, mean_average_distance

__all__ = [
    "Appnp",
    "Coordinates",
    "Emp",
    "GraphOperator",
    "MessagePlacement",
    "Norm",
    "PropagationQuantizers",
    "Route",
    "Scheme",
    "Smp",
    "Trajectory",
    "aggregate",
    "dirichlet_energy",
    "full_precision_quantizers",
    "layer_change",
    "mean_average_distance",
]
