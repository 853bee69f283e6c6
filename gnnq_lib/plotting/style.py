"""One style and one way of saving for every figure and notebook."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from gnnq_lib.files import atomic_write
from gnnq_lib.paths import figures_dir

# Okabe and Ito's palette: told apart with any kind of colour vision. Black is full precision everywhere.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
FULL_PRECISION = "#000000"
WIDTH_INCHES = 6.4  # readable at half page width


def use_style() -> None:
    """Set the project's matplotlib style; call it once per notebook or figure.

    Example:
        >>> use_style()
        >>> mpl.rcParams["savefig.bbox"]
        'tight'
    """
    mpl.rcParams.update(
        {
            "figure.figsize": (WIDTH_INCHES, 3.6),
            "figure.dpi": 100,
            "figure.constrained_layout.use": True,
            "savefig.dpi": 160,
            "savefig.bbox": "tight",
            "font.size": 10,
            "axes.titlesize": 11,
            "axes.titlelocation": "left",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.alpha": 0.3,
            "axes.prop_cycle": mpl.cycler(color=PALETTE),
            "image.cmap": "cividis",
            "legend.frameon": False,
        }
    )


def method_styles(methods: Iterable[str]) -> dict[str, dict[str, str]]:
    """Colour and marker per method: full precision black, the others by their place in the sorted list.

    Args:
        methods: names of methods; those that begin with "fp32" are full precision.

    Example:
        >>> method_styles(["qlr", "fp32"])["fp32"]["color"]
        '#000000'
    """
    names = sorted(set(methods))
    others = [name for name in names if not name.lower().startswith("fp32")]
    styles = {name: {"color": FULL_PRECISION, "marker": "*"} for name in names if name not in others}
    for index, name in enumerate(others):
        styles[name] = {"color": PALETTE[index % len(PALETTE)], "marker": MARKERS[index % len(MARKERS)]}
    return styles


def save_figure(figure: Figure, name: str) -> Path:
    """Save a figure as PNG in the figures folder, in one step, without a date: equal figures are equal files.

    Args:
        figure: the figure.
        name: file name without ending.

    Returns:
        The file.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return atomic_write(figures_dir() / f"{name}.png", buffer.getvalue())
