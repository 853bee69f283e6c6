"""Commands of the recommendation part; each module adds its own."""

from __future__ import annotations

import typer

from gnnq_lib.recommendation import serving_commands


def register(app: typer.Typer) -> None:
    """Add the commands."""
    serving_commands.register(app)
