"""Helping with mistyped names: the accepted names nearest to what was given."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(given: str, accepted: Iterable[str], count: int = 3) -> str:
    """Words to append to a message: the accepted names most like `given`, or nothing if none is.

    Example:
        >>> nearest("coar", ["cora", "pubmed"])
        ' (did you mean cora?)'
        >>> nearest("xyz", ["cora", "pubmed"])
        ''
    """
    matches = difflib.get_close_matches(given, list(accepted), n=count)
    return f" (did you mean {' or '.join(matches)}?)" if matches else ""
