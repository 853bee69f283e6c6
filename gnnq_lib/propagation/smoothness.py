"""Oversmoothing, measured: how alike neighbouring embeddings have become."""

from __future__ import annotations

import torch
from torch import Tensor

from gnnq_lib.propagation.operators import GraphOperator


def dirichlet_energy(h: Tensor, operator: GraphOperator, relative: bool = False) -> float:
    """trace(H^T L H) = 1/2 sum_ij a_ij |h_i / sqrt(d_i) - h_j / sqrt(d_j)|^2; 0 if neighbours agree up to sqrt(d).

    Args:
        h: embeddings (|V|, F).
        operator: the graph.
        relative: divide by |H|^2, so that shrinking embeddings does not look like smoothing; in [0, 2].

    Example:
        >>> pair = GraphOperator(torch.tensor([[0, 1], [1, 0]]), 2)
        >>> round(dirichlet_energy(torch.tensor([[1.0], [-1.0]]), pair), 6), dirichlet_energy(torch.ones(2, 1), pair)
        (2.0, 0.0)
    """
    h = h.detach()
    scaled = h.double() / operator.degree.double().sqrt()[:, None]
    # Summed over edges in float64: the difference form cannot go below zero by rounding.
    above = operator.row < operator.col
    difference = scaled[operator.row[above]] - scaled[operator.col[above]]
    energy = difference.square().sum()
    if relative:
        energy = energy / h.double().square().sum().clamp(min=torch.finfo(torch.float64).tiny)
    return float(energy)


def mean_average_distance(h: Tensor, operator: GraphOperator) -> float:
    """Mean over nodes of the mean cosine distance to their neighbours, in [0, 2] (MAD, arXiv 1909.03211).

    Nodes without neighbours are left out, and so are rows of zeros, which have no direction. Neighbours at distance
    zero count; the paper's own average leaves them out.

    Example:
        >>> pair = GraphOperator(torch.tensor([[0, 1], [1, 0]]), 2)
        >>> mean_average_distance(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), pair)
        1.0
    """
    h = h.detach().double()
    norm = h.norm(dim=1, keepdim=True)
    direction = h / norm.clamp(min=torch.finfo(torch.float64).tiny)
    defined = norm[:, 0] > 0
    keep = (operator.row != operator.col) & defined[operator.row] & defined[operator.col]
    row, col = operator.row[keep], operator.col[keep]
    distance = (1 - (direction[row] * direction[col]).sum(dim=1)).clamp(min=0)  # rounding may give -1e-16
    count = torch.bincount(row, minlength=operator.num_nodes)
    total = h.new_zeros(operator.num_nodes).index_add(0, row, distance)
    if not bool(count.any()):
        return 0.0
    return float((total[count > 0] / count[count > 0]).mean())


def layer_change(before: Tensor, after: Tensor, operator: GraphOperator) -> float:
    """trace(G^T L G) with G = after - before: what SMP's constraint bounds (fact sheet A, 3.6).

    Example:
        >>> pair = GraphOperator(torch.tensor([[0, 1], [1, 0]]), 2)
        >>> round(layer_change(torch.zeros(2, 1), torch.tensor([[1.0], [-1.0]]), pair), 6)
        2.0
    """
    return dirichlet_energy(after - before, operator)
