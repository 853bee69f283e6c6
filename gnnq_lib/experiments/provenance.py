"""Where a number comes from: versions, commit and device, stored with every result."""

from __future__ import annotations

import functools
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

import gnnq_lib
from gnnq_lib.paths import project_root


def provenance() -> dict[str, str]:
    """Versions, commit and device of this process, each as one line.

    Returns:
        `versions` ("gnnq 0.1.0, torch 2.13.0, ..."), `commit` (short hash, "+" if the library has uncommitted changes,
        "unknown" outside a checkout) and `device` (processor, usable cores, torch threads).

    Example:
        >>> sorted(provenance())
        ['commit', 'device', 'versions']
    """
    return {"versions": _versions(), "commit": _commit(), "device": _device()}


@functools.cache
def _versions() -> str:
    names = ("torch", "torch-geometric", "numpy", "scipy")
    parts = [f"{name} {metadata.version(name).split('+')[0]}" for name in names]
    return ", ".join([f"gnnq {gnnq_lib.__version__}", *parts, f"python {platform.python_version()}"])


@functools.cache
def _commit() -> str:
    def git(*arguments: str) -> str:
        command = ["git", "-C", str(project_root()), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()

    try:
        return git("rev-parse", "--short=10", "HEAD") + ("+" if git("status", "--porcelain", "--", "gnnq_lib") else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def processor() -> str:
    """Name of the processor.

    Example:
        >>> len(processor()) > 0
        True
    """
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def usable_cores() -> int:
    """Cores this process may use.

    Example:
        >>> usable_cores() >= 1
        True
    """
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _device() -> str:
    import torch

    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{processor()}, {usable_cores()} cores, {torch.get_num_threads()} threads{gpu}"
