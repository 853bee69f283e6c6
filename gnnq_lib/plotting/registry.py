"""The project's figures by name; each is drawn from stored results only and never trains."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd
from matplotlib.figure import Figure

from gnnq_lib.errors import InputError
from gnnq_lib.experiments.store import all_results
from gnnq_lib.naming import nearest
from gnnq_lib.plotting.style import save_figure, use_style

# A figure gets all results and returns None where the rows it needs are not there.
DrawFigure = Callable[[pd.DataFrame], "Figure | None"]
FIGURES: dict[str, DrawFigure] = {}


def figure(name: str) -> Callable[[DrawFigure], DrawFigure]:
    """Decorator that puts a drawing function under a name, the name of its file in `figures/`.

    Example:
        >>> @figure("empty")
        ... def empty(results):
        ...     return None
        >>> FIGURES.pop("empty") is empty
        True
    """

    def add(draw: DrawFigure) -> DrawFigure:
        FIGURES[name] = draw
        return draw

    return add


def draw_figures(only: Sequence[str] = (), say: Callable[[str], object] = print) -> None:
    """Draw all figures, or the named ones, into the figures folder.

    Args:
        only: names of figures; all if empty.
        say: takes one line per figure.

    Raises:
        InputError: for an unknown name.
    """
    import matplotlib.pyplot as plt

    unknown = [name for name in only if name not in FIGURES]
    if unknown:
        raise InputError(
            f"figure {unknown[0]!r} is unknown{nearest(unknown[0], FIGURES)}; {', '.join(FIGURES)} are accepted"
        )
    results = all_results()
    use_style()
    with plt.ioff():
        for name in only or FIGURES:
            drawn = FIGURES[name](results)
            if drawn is None:
                say(f"figure {name}: skipped, the results it needs are not there")
                continue
            say(f"figure {name}: {save_figure(drawn, name).name}")
            plt.close(drawn)
