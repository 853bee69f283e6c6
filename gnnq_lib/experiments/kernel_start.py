"""Starting Jupyter kernels once more when they did not come up.

A client picks five free ports and hands them to the kernel, which binds them a second later; whatever takes one in
between (another kernel that starts at the same time) leaves a kernel that dies at once or never answers.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
_NOT_STARTED = re.compile(r"Kernel (didn't respond in|died before replying)")


def retry_kernel_start(start: Callable[[], T], attempts: int = 3) -> T:
    """Call `start`; again, with a warning, as long as the kernel that it starts does not come up.

    Args:
        start: starts a kernel and may go on to use it; called anew for each attempt.
        attempts: how often at most.

    Returns:
        What `start` returns.

    Raises:
        RuntimeError: jupyter_client's, if no attempt succeeds; any other error of `start` is raised at once.

    Example:
        >>> retry_kernel_start(lambda: "a client")
        'a client'
    """
    for _ in range(attempts - 1):
        try:
            return start()
        except RuntimeError as error:
            if not _NOT_STARTED.match(str(error)):
                raise
            warnings.warn(f"A Jupyter kernel is started again: {error}.", RuntimeWarning, stacklevel=2)
    return start()
