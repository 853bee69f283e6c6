"""What holds of the papers' claims, worked out from the stored results; nothing here trains.

Names are looked up on first use, so that the command line can be built without loading pandas.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "Claim": "claims",
    "Results": "results",
    "Status": "verdicts",
    "Verdict": "verdicts",
    "build_report": "page",
    "claims_table": "verdicts",
    "judge_all": "verdicts",
    "load_claims": "claims",
    "paired_test": "statistics",
    "release_differences": "released",
    "sensitivity": "verdicts",
    "targets_table": "targets",
    "verdict_frame": "verdicts",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
