"""Figures: one style, one way of saving, one look per method, one function per figure. Nothing here trains."""

from gnnq_lib.plotting.accuracy import accuracy_by_bits
from gnnq_lib.plotting.registry import FIGURES, draw_figures, figure
from gnnq_lib.plotting.style import LOOKS, PALETTE, Look, bit_ticks, look, save_figure, set_finding, use_style

__all__ = [
    "FIGURES",
    "LOOKS",
    "PALETTE",
    "Look",
    "accuracy_by_bits",
    "bit_ticks",
    "draw_figures",
    "figure",
    "look",
    "save_figure",
    "set_finding",
    "use_style",
]
