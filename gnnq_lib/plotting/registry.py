"""The project's figures by name; each is drawn from stored results only and never trains."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence

import pandas as pd
from matplotlib.figure import Figure

from gnnq_lib.errors import InputError
from gnnq_lib.experiments.store import all_results
from gnnq_lib.naming import listed, nearest
from gnnq_lib.plotting.style import figure_png, save_figure, use_style

# A figure gets all results and returns None where the rows it needs are not there.
DrawFigure = Callable[[pd.DataFrame], "Figure | None"]
FIGURES: dict[str, DrawFigure] = {}
# Figure -> the tables of `gnnq run` that it draws from; a benchmark's figure has none.
FIGURE_TABLES: dict[str, tuple[str, ...]] = {}


def figure(name: str, tables: Sequence[str] = ()) -> Callable[[DrawFigure], DrawFigure]:
    """Decorator that puts a drawing function under a name, the name of its file in `figures/`.

    The function's docstring is the figure's text alternative: it says what is drawn, and the title what was found.

    Args:
        name: of the figure.
        tables: tables of `gnnq run` whose runs it shows.

    Example:
        >>> @figure("empty")
        ... def empty(results):
        ...     return None
        >>> FIGURES.pop("empty") is empty, FIGURE_TABLES.pop("empty")
        (True, ())
    """

    def add(draw: DrawFigure) -> DrawFigure:
        FIGURES[name] = draw
        FIGURE_TABLES[name] = tuple(tables)
        return draw

    return add


def finding_and_description(name: str, drawn: Figure) -> tuple[str, str]:
    """What a figure found, its title on one line, and what is drawn in it; together they are its text alternative.

    Args:
        name: of the figure.
        drawn: what its function returned.
    """
    finding = " ".join(drawn.get_suptitle().split()) or name.replace("_", " ")
    description = (inspect.getdoc(FIGURES[name]) or "").split("\n\n")[0]
    return finding, " ".join(description.replace("`", "").split())


def missing_runs(name: str) -> dict[str, tuple[int, int]]:
    """Tables behind a figure that are not complete: name -> (runs that are stored, runs in all).

    Args:
        name: of the figure.
    """
    from gnnq_lib.experiments.config import config_key
    from gnnq_lib.experiments.tables import load_table

    stored, found = set(all_results().config_key), {}
    for table in FIGURE_TABLES[name]:
        keys = {config_key(config) for config in load_table(table).configs}
        if keys - stored:
            found[table] = len(keys & stored), len(keys)
    return found


def show_figure(name: str, say: Callable[[str], object] = print) -> None:
    """Draw a figure from the stored results and show it in a notebook, with its text alternative; where runs are
    missing, say so in a sentence.

    Args:
        name: of the figure.
        say: takes the sentences.

    Raises:
        InputError: for an unknown name.
    """
    import matplotlib.pyplot as plt
    from IPython.display import Image, display

    with plt.ioff():
        drawn = _draw(name, all_results())
    if drawn is None:
        say(f"The figure {name} is not drawn: the results it needs are not stored yet.")
    else:
        text = ". ".join(finding_and_description(name, drawn))
        display(Image(figure_png(drawn), alt=text, width=round(96 * drawn.get_size_inches()[0])))
        plt.close(drawn)
    if missing := missing_runs(name):
        parts = listed([f"{there} of {wanted} runs of {table}" for table, (there, wanted) in missing.items()])
        say(f"Results still come in; stored so far: {parts}. `gnnq run TABLE` does the rest of a table.")


def _draw(name: str, results: pd.DataFrame) -> Figure | None:
    if name not in FIGURES:
        raise InputError(f"figure {name!r} is unknown{nearest(name, FIGURES)}; {', '.join(FIGURES)} are accepted")
    return FIGURES[name](results)


def draw_figures(only: Sequence[str] = (), say: Callable[[str], object] = print) -> None:
    """Draw all figures, or the named ones, into the figures folder.

    Args:
        only: names of figures; all if empty.
        say: takes one line per figure.

    Raises:
        InputError: for an unknown name.
    """
    import matplotlib.pyplot as plt

    results = all_results()
    use_style()
    with plt.ioff():
        for name in only or FIGURES:
            drawn = _draw(name, results)
            if drawn is None:
                say(f"figure {name}: skipped, the results it needs are not there")
                continue
            text = ". ".join(finding_and_description(name, drawn))
            say(f"figure {name}: {save_figure(drawn, name, text=text).name}")
            plt.close(drawn)
