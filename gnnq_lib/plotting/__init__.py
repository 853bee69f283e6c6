"""Figures: one style, one way of saving, one function per figure, drawn from stored results."""

from gnnq_lib.plotting.accuracy import accuracy_by_bits
from gnnq_lib.plotting.registry import FIGURES, draw_figures, figure
from gnnq_lib.plotting.style import FULL_PRECISION, MARKERS, PALETTE, method_styles, save_figure, use_style

__all__ = [
    "FIGURES",
    "FULL_PRECISION",
    "MARKERS",
    "PALETTE",
    "accuracy_by_bits",
    "draw_figures",
    "figure",
    "method_styles",
    "save_figure",
    "use_style",
]
