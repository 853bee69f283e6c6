"""The one place that knows where things live on disk."""

from __future__ import annotations

import os
from pathlib import Path


def project_root() -> Path:
    """Folder that holds `notebooks/`, `data/` and `figures/`: `GNNQ_ROOT` if set, else the checkout this package is in.

    Example:
        >>> (project_root() / "gnnq_lib").name
        'gnnq_lib'
    """
    return Path(os.environ.get("GNNQ_ROOT") or Path(__file__).resolve().parent.parent)


def results_dir() -> Path:
    """Folder of measured results (tidy CSV); `GNNQ_RESULTS` overrides it, for tests and trial runs."""
    return Path(os.environ.get("GNNQ_RESULTS") or project_root() / "data" / "results")


def figures_dir() -> Path:
    """Folder of the figures that `gnnq figures` redraws; `GNNQ_FIGURES` overrides it."""
    return Path(os.environ.get("GNNQ_FIGURES") or project_root() / "figures")


def cache_dir() -> Path:
    """Folder for downloads and processed data (git-ignored); `GNNQ_CACHE` overrides it."""
    return Path(os.environ.get("GNNQ_CACHE") or project_root() / "data" / "cache")


def runs_dir() -> Path:
    """Folder for executed notebooks, logs and checkpoints (git-ignored)."""
    return project_root() / "runs"
