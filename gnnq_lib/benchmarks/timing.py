"""Timing for a busy machine: competitors take turns in one process, medians over rounds, ratios of medians."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

import torch

from gnnq_lib.errors import InputError

_SHORTEST_SAMPLE_S = 2e-3


def interleaved_medians(
    calls: Mapping[str, Callable[[], object]], rounds: int = 7, warm: bool = False
) -> dict[str, float]:
    """Median milliseconds of each call; in every round each call is timed once, one after the other.

    Calls of less than 2 ms are repeated within a round and averaged, so that the clock's resolution does not matter.

    Args:
        calls: name -> function without arguments.
        rounds: rounds that count; one more is run first to warm up.
        warm: one call that does not count before every one that does, for what is repeated in use, like a training
            step: it finds caches and memory as itself leaves them, not as the others do.

    Raises:
        InputError: fewer than one round.

    Example:
        >>> sorted(interleaved_medians({"a": lambda: None, "b": lambda: 1 + 1}, rounds=3))
        ['a', 'b']
    """
    return {name: statistics.median(times) for name, times in interleaved_times(calls, rounds, warm).items()}


def interleaved_times(
    calls: Mapping[str, Callable[[], object]], rounds: int = 7, warm: bool = False
) -> dict[str, list[float]]:
    """Milliseconds of each call in each round; see `interleaved_medians`.

    Example:
        >>> len(interleaved_times({"a": lambda: None}, rounds=3)["a"])
        3
    """
    if rounds < 1:
        raise InputError(f"rounds={rounds} given; accepted is at least 1")
    repeats = {name: _repeats(call) for name, call in calls.items()}
    samples: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            if warm:
                call()
            samples[name].append(_seconds(call, repeats[name]) * 1e3)
    return samples


def _repeats(call: Callable[[], object]) -> int:
    """Warm up, and see how often the call fits into the shortest sample."""
    call()
    once = min(_seconds(call, 1) for _ in range(3))  # a single look may be at a disturbed call
    return max(1, round(_SHORTEST_SAMPLE_S / max(once, 1e-7)))


def _seconds(call: Callable[[], object], repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - start) / repeats


def memory_bandwidth(megabytes: int = 256, rounds: int = 5) -> float:
    """GB/s that a large copy reads and writes together on all of PyTorch's threads: the machine's limit for streaming.

    Example:
        >>> memory_bandwidth(megabytes=1, rounds=1) > 0
        True
    """
    source = torch.ones(megabytes * (1 << 20) // 4)
    target = torch.empty_like(source)
    milliseconds = interleaved_medians({"copy": lambda: target.copy_(source)}, rounds)["copy"]
    return 2 * source.numel() * 4 / milliseconds / 1e6
