"""Plugin for pytest (`-p tests.nbval_kernel_start`): nbval starts a kernel that did not come up once more."""

from __future__ import annotations

import nbval.kernel

from gnnq_lib.experiments.kernel_start import retry_kernel_start

_start = nbval.kernel.start_new_kernel


def start_new_kernel(*args, **kwargs):
    """nbval's function of this name, with further attempts."""
    return retry_kernel_start(lambda: _start(*args, **kwargs))


nbval.kernel.start_new_kernel = start_new_kernel
