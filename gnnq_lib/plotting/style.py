"""One style, one way of saving, and one look per method and model for every figure and notebook."""

from __future__ import annotations

import io
import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gnnq_lib.errors import InputError
from gnnq_lib.files import atomic_write
from gnnq_lib.naming import nearest
from gnnq_lib.paths import figures_dir

# Okabe and Ito's colours without their yellow (too pale on white), then four darker ones of Paul Tol's muted set: told
# apart with any kind of colour vision, and every name also has a marker of its own. Black is full precision everywhere.
BLACK, BLUE, VERMILION, GREEN, PINK, ORANGE, SKY = (
    "#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"
)  # fmt: skip
INDIGO, WINE, OLIVE, TEAL, GREY = "#332288", "#882255", "#8A8A2D", "#44AA99", "#777777"
PALETTE = (BLUE, VERMILION, GREEN, PINK, ORANGE, SKY, INDIGO)
HEAT_MAP = "cividis"
FULL_PRECISION_LINE = {"color": BLACK, "linestyle": "--", "linewidth": 1}

# Every stored figure has this width, whatever the number of its panels: at half a page (8.5 cm) its 11 pt letters are
# still 7 pt high and its smallest, those of legends and long labels, 5.6 pt.
WIDTH_INCHES, HEIGHT_INCHES = 5.4, 3.4
SMALL_LETTERS = 9
TITLE_LETTERS_PER_INCH = 10.5
_KEPT = "\N{NO-BREAK SPACE}"  # keeps a number beside its unit when a title is broken into lines


@dataclass(frozen=True)
class Look:
    """How one method or model appears in every figure.

    Attributes:
        label: name in legends.
        color, marker: fixed.

    Example:
        >>> Look("QLR", BLUE, "o").line()["color"]
        '#0072B2'
    """

    label: str
    color: str
    marker: str

    def line(self) -> dict[str, str]:
        """Keyword arguments for `plot` and `errorbar`, the label included."""
        return {"label": self.label, "color": self.color, "marker": self.marker}


# A new method or model gets one line here; names are those of `models.methods.Method`, of `Config.model`, and of the
# granularities in snake case.
LOOKS: dict[str, Look] = {
    # methods
    "fp32": Look("FP32", BLACK, "*"),
    "qlr": Look("QLR", BLUE, "o"),
    "bt": Look("BT", SKY, "v"),
    "bt_star": Look("BT*", INDIGO, "^"),
    "minmax": Look("min-max QAT", ORANGE, "s"),
    "lsq": Look("LSQ", OLIVE, "D"),
    "degree_quant": Look("Degree-Quant", PINK, "P"),
    "tensor": Look("one scale per tensor", GREY, "X"),
    "degree_bucket": Look("scale per degree bucket", TEAL, "<"),
    "node_free": Look("free scale per node", WINE, ">"),
    "node_pow2": Look("power of two per node", VERMILION, "h"),
    # recommenders
    "popularity": Look("popularity", GREY, "X"),
    "lightgcn": Look("LightGCN, FP32", BLACK, "*"),
    "gnaq": Look("GNAQ", VERMILION, "h"),
    "gnaq_as_released": Look("GNAQ as released", PINK, "P"),
    "post_training_tensor": Look("rounded, one set of levels", SKY, "v"),
    "post_training_node": Look("rounded, levels per node", BLUE, "^"),
    "n2uq": Look("N2UQ", GREEN, "s"),
    "bigear": Look("BiGeaR", INDIGO, "<"),
    # what shares a scale
    "per_tensor": Look("per tensor", GREY, "X"),
    "per_channel": Look("per channel", ORANGE, "s"),
    "per_degree_bucket": Look("per degree bucket", TEAL, "<"),
    "per_node": Look("per node", WINE, ">"),
    # QLR's gradient
    "correct_gradient": Look("correct gradient", BLUE, "o"),
    "released_gradient": Look("gradient as released", VERMILION, "s"),
    # models
    "smp": Look("SMP", VERMILION, "o"),
    "appnp": Look("APPNP", BLUE, "s"),
    "emp": Look("EMP", GREEN, "D"),
    "emp_released": Look("EMP as released", TEAL, "d"),
    "mlp": Look("MLP", GREY, "x"),
    "gcn": Look("GCN", ORANGE, "v"),
    "sgc": Look("SGC", OLIVE, "<"),
    "gcnii": Look("GCNII", INDIGO, "^"),
    "dagnn": Look("DAGNN", PINK, "P"),
    "pairnorm": Look("PairNorm", SKY, "X"),
    "dropedge": Look("DropEdge", WINE, "p"),
}


def look(name: str) -> Look:
    """The fixed colour, marker and label of a method or model.

    Raises:
        InputError: for a name without a look.

    Example:
        >>> look("bt_star").label
        'BT*'
    """
    if name not in LOOKS:
        raise InputError(f"no figure style for {name!r}{nearest(name, LOOKS)}; {', '.join(LOOKS)} are accepted")
    return LOOKS[name]


def use_style() -> None:
    """Set the project's matplotlib style; call it once per notebook or figure.

    Example:
        >>> use_style()
        >>> mpl.rcParams["image.cmap"]
        'cividis'
    """
    mpl.rcParams.update(
        {
            "figure.figsize": (WIDTH_INCHES, HEIGHT_INCHES),
            "figure.dpi": 110,
            "figure.constrained_layout.use": True,
            "savefig.dpi": 160,
            "savefig.bbox": "tight",
            "font.size": 11,
            "axes.titlesize": 11,
            "axes.titlelocation": "left",
            "axes.titleweight": "normal",
            "figure.titlesize": 12,
            "figure.titleweight": "bold",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.alpha": 0.3,
            "axes.prop_cycle": mpl.cycler(color=PALETTE),
            "image.cmap": HEAT_MAP,
            "legend.frameon": False,
            "legend.fontsize": SMALL_LETTERS,
            "legend.title_fontsize": SMALL_LETTERS,
            "legend.handlelength": 1.6,
            "legend.columnspacing": 1.2,
            "lines.markersize": 5,
            "lines.linewidth": 1.4,
        }
    )


def set_finding(drawing: Figure, finding: str) -> None:
    """Put the finding over the whole figure, left, broken into lines that fit its width.

    Example:
        >>> drawing = Figure(figsize=(3, 2)); set_finding(drawing, "Two bits cost one point of accuracy on Cora")
        >>> drawing.get_suptitle()
        'Two bits cost one point of\\naccuracy on Cora'
    """
    letters = int(drawing.get_size_inches()[0] * TITLE_LETTERS_PER_INCH)
    kept = re.sub(r" (=|%|bits?\b)( (?=\d))?", lambda found: found.group().replace(" ", _KEPT), finding)
    lines = textwrap.wrap(kept, letters)
    drawing.suptitle("\n".join(lines).replace(_KEPT, " "), x=0.01, ha="left")


def bit_ticks(axes: Axes, bits: list[int]) -> None:
    """Label the horizontal axis with these numbers of bits, as integers.

    Example:
        >>> axes = Figure().subplots(); bit_ticks(axes, [2, 4]); axes.get_xlabel()
        'bits per code'
    """
    axes.set_xticks(bits, [str(int(b)) for b in bits])
    axes.set_xlabel("bits per code")


def save_figure(drawing: Figure, name: str, folder: Path | None = None, text: str = "") -> Path:
    """Save a figure as PNG, in one step and without a date: equal figures are equal files.

    Args:
        drawing: the figure.
        name: file name without ending.
        folder: where to; the project's figures folder if not given.
        text: a text alternative, kept in the file as its description.

    Returns:
        The file.
    """
    return atomic_write(Path(folder or figures_dir()) / f"{name}.png", figure_png(drawing, text))


def figure_png(drawing: Figure, text: str = "", dpi: float | None = None) -> bytes:
    """A figure as the bytes of a PNG without a date, with a description if one is given.

    Example:
        >>> figure_png(Figure(figsize=(1, 1)))[1:4]
        b'PNG'
    """
    buffer = io.BytesIO()
    described = {"Description": text} if text else {}
    options = {"dpi": dpi} if dpi else {}
    drawing.savefig(buffer, format="png", metadata={"Software": None, **described}, **options)
    return buffer.getvalue()
