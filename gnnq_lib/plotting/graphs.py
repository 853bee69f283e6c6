"""Figures of the data."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from gnnq_lib.plotting.style import BLUE, set_finding


def degree_distribution(degree: np.ndarray, finding: str) -> Figure:
    """Number of nodes per degree, both axes logarithmic.

    Args:
        degree: (|V|,) number of neighbours; nodes without any are left out.
        finding: title.

    Example:
        >>> degree_distribution(np.array([1, 1, 2]), "Few").axes[0].get_xscale()
        'log'
    """
    values, counts = np.unique(np.asarray(degree)[np.asarray(degree) > 0], return_counts=True)
    drawing, axes = plt.subplots()
    axes.plot(values, counts, color=BLUE, marker="o", linestyle="none", alpha=0.8)
    axes.set(xlabel="number of neighbours", ylabel="number of nodes", xscale="log", yscale="log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:g}")
    set_finding(drawing, finding)
    return drawing
