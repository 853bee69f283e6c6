"""A trained model -> packed integers -> file -> integer inference.

Names are looked up on first use, so that the command line can be built without loading PyTorch.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "PackedHeader": "header",
    "PackedModel": "packed_model",
    "PackedEmbeddings": "similarity",
    "freeze": "freezing",
    "expected_bytes": "file_format",
    "fp32_bytes": "file_format",
    "load_packed": "file_format",
    "pack_embeddings": "similarity",
    "recall": "similarity",
    "save_packed": "file_format",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
