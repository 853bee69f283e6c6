"""Finds the compiled kernels, says what this machine can run, and holds the C structs (csrc/gnnq_kernels.h).

`GNNQ_KERNEL_ISA` = avx512 | avx2 | plain | reference forces a path; an unknown or unavailable one is an InputError.
`GNNQ_KERNEL_LIBRARY` = FILE loads that file instead of the one built at installation (`make sanitize` uses it).
"""

from __future__ import annotations

import ctypes
import importlib.machinery
import os
import struct
import warnings
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch  # loaded first on purpose: the kernels then share PyTorch's OpenMP threads

from gnnq_lib.errors import InputError

if TYPE_CHECKING:
    from gnnq_lib.kernels.row_quantizer import RowQuantizer

ABI_VERSION = 10
ISA_NUMBERS = {"avx512": 2, "avx2": 1, "plain": 0}  # best first
REFERENCE = "reference"
_NOT_FINITE = 3
NOT_FINITE_MESSAGE = "x holds NaN or infinity; accepted are finite numbers: look for them in the features or weights"


# Mirrors of gnnq_spmm_args, gnnq_linear_args, gnnq_neighbour_sum_args, gnnq_search_args and gnnq_score_difference_args
# (fields by name: where they are packed, in ops.py and the modules of the kernels' names). Packed in one go: filling a
# ctypes structure of so many fields takes as long as the kernel does on a small graph.
SPMM_ARGS = struct.Struct("@13P4q6ifi")
LINEAR_ARGS = struct.Struct("@7P3q6ifi")
NEIGHBOUR_SUM_ARGS = struct.Struct("@10P3q2i")
SEARCH_ARGS = struct.Struct("@7P4q2i")
SCORE_DIFFERENCE_ARGS = struct.Struct("@4P3q2i")


class RowQuantizerArgs(ctypes.Structure):
    """Mirror of gnnq_row_quantizer."""

    _fields_ = [*[(name, ctypes.c_float) for name in ("scale", "inverse", "threshold")], ("stride", ctypes.c_int32)]


class PropagateArgs(ctypes.Structure):
    """Mirror of gnnq_propagate_args."""

    _fields_ = [
        *[(name, ctypes.c_void_p) for name in ("row_ptr", "col", "run_ptr", "lane_col", "order", "position")],
        *[(name, ctypes.c_void_p) for name in ("inverse_degree", "x", "row_in", "row_out")],
        *[(name, ctypes.c_void_p) for name in ("input", "aggregate", "update", "gap", "gap_aggregate")],
        *[(name, ctypes.c_void_p) for name in ("gap_coefficient", "out")],
        *[(name, ctypes.c_int64) for name in ("num_nodes", "num_positions", "num_values", "num_steps", "max_degree")],
        ("num_hub_slices", ctypes.c_int64),
        *[(name, ctypes.c_int32) for name in ("bits", "max_exponent", "num_threads")],
        *[(name, ctypes.c_float) for name in ("state_weight", "aggregate_weight", "input_weight")],
    ]


class TwoLayerArgs(ctypes.Structure):
    """Mirror of gnnq_two_layer_args."""

    _fields_ = [
        *[(name, ctypes.c_void_p) for name in ("row_ptr", "col", "order", "edge_codes", "code_sums")],
        *[(name, ctypes.c_void_p) for name in ("row_scale", "w1")],
        *[(name, ctypes.c_void_p) for name in ("half_step1", "bias1", "w2_packed", "half_step2", "bias2")],
        ("hidden_quantizer", RowQuantizerArgs),
        ("out", ctypes.c_void_p),
        *[(name, ctypes.c_int64) for name in ("num_rows", "num_edges", "num_features", "hidden", "num_values")],
        *[(name, ctypes.c_int32) for name in ("w1_bits", "w2_bits", "hidden_bits", "hidden_max_exponent")],
        *[(name, ctypes.c_int32) for name in ("max_edge_code", "num_planes", "w1_halves", "col_bytes", "num_threads")],
    ]


def row_quantizer_array(quantizers: Sequence[RowQuantizer]) -> ctypes.Array:
    """The quantizers as a C array."""
    rows = [(float(q.scale32), float(q.inverse32), float(q.thresholds()[0]), q.stride) for q in quantizers]
    return (RowQuantizerArgs * len(rows))(*[RowQuantizerArgs(*row) for row in rows])


def float_array(values: Sequence[float]) -> ctypes.Array:
    """The numbers as a C array of floats."""
    return (ctypes.c_float * len(values))(*values)


def address(array: ctypes.Array | None) -> int | None:
    """Where a C array starts; None for None."""
    return None if array is None else ctypes.addressof(array)


def _library_file() -> Path | None:
    forced = os.environ.get("GNNQ_KERNEL_LIBRARY")
    if forced:
        return Path(forced)
    folder = Path(__file__).parent
    candidates = [folder / f"_gnnq_kernels{suffix}" for suffix in importlib.machinery.EXTENSION_SUFFIXES]
    return next((path for path in candidates if path.exists()), None)


@lru_cache(maxsize=1)
def _load() -> tuple[ctypes.CDLL | None, str]:
    """The library and "", or None and the reason; warns once where there is none."""
    library, reason = _open_library()
    if library is None:
        warnings.warn(
            f"GNNQ runs on its slower pure-PyTorch kernels: {reason}. Install a C++ compiler and reinstall the package "
            "to build the fast ones; results are the same.",
            RuntimeWarning,
            stacklevel=4,
        )
    return library, reason


def _open_library() -> tuple[ctypes.CDLL | None, str]:
    path = _library_file()
    if path is None:
        return None, "the compiled kernels were not built at installation"
    try:
        library = ctypes.CDLL(str(path))
        version = library.gnnq_abi_version()
    except (OSError, AttributeError) as error:
        return None, f"{path.name} cannot be loaded ({error})"
    if version != ABI_VERSION:
        return None, f"{path.name} is of interface version {version}, this package needs {ABI_VERSION}"
    for name in ("spmm", "linear", "neighbour_sum", "search", "score_difference"):
        getattr(library, f"gnnq_{name}").argtypes = (ctypes.c_int, ctypes.c_char_p)
    library.gnnq_ask_for_large_pages.argtypes = (ctypes.c_void_p, ctypes.c_int64)
    library.gnnq_propagate.argtypes = (ctypes.c_int, ctypes.POINTER(PropagateArgs))
    library.gnnq_two_layer.argtypes = (ctypes.c_int, ctypes.POINTER(TwoLayerArgs))
    library.gnnq_classify.argtypes = (ctypes.c_int, ctypes.POINTER(TwoLayerArgs), ctypes.POINTER(PropagateArgs))
    return library, ""


def available_isas() -> list[str]:
    """Paths this machine can run, best first; the last is always "reference".

    Example:
        >>> available_isas()[-1]
        'reference'
    """
    library, _ = _load()
    found = [name for name, number in ISA_NUMBERS.items() if library is not None and library.gnnq_has_isa(number)]
    return [*found, REFERENCE]


@lru_cache(maxsize=16)
def _resolve(forced: str | None) -> str:
    available = available_isas()
    if not forced:
        return available[0]
    if forced not in (*ISA_NUMBERS, REFERENCE):
        raise InputError(
            f"GNNQ_KERNEL_ISA={forced!r} given; accepted is one of {', '.join([*ISA_NUMBERS, REFERENCE])}: "
            "correct or unset it"
        )
    if forced not in available:
        raise InputError(
            f"GNNQ_KERNEL_ISA={forced!r} given, but this machine or build runs only {', '.join(available)}: "
            "choose one of these"
        )
    return forced


def active_isa() -> str:
    """The path that serves CPU tensors now: "avx512", "avx2", "plain" or "reference".

    Raises:
        InputError: GNNQ_KERNEL_ISA names a path that does not exist or cannot run here.

    Example:
        >>> active_isa() in ("avx512", "avx2", "plain", "reference")
        True
    """
    # `in` first: get() of a variable that is not set goes through an exception, which small calls would notice.
    return _resolve(os.environ["GNNQ_KERNEL_ISA"] or None if "GNNQ_KERNEL_ISA" in os.environ else None)


def path_for(device: torch.device) -> str:
    """The path that serves tensors on this device: an instruction set for CPU tensors, else "reference".

    Example:
        >>> path_for(torch.device("cuda"))
        'reference'
    """
    return active_isa() if device.type == "cpu" else REFERENCE


@lru_cache(maxsize=8)
def _entry(name: str) -> Callable[..., int]:
    return getattr(_load()[0], f"gnnq_{name}")


def call(name: str, isa: str, *args: ctypes.Structure | bytes) -> None:
    """Run kernel `name` on checked arguments; ctypes releases the interpreter lock meanwhile."""
    pointers = [one if type(one) is bytes else ctypes.byref(one) for one in args]
    status = _entry(name)(ISA_NUMBERS[isa], *pointers)
    if status == _NOT_FINITE:
        raise InputError(NOT_FINITE_MESSAGE)
    if status:
        raise MemoryError(f"kernel {name} on {isa} stopped with status {status}: no memory for its buffers")


def large_empty(num_rows: int, num_values: int, device: torch.device | str = "cpu") -> torch.Tensor:
    """Uninitialised float32 (num_rows, num_values), on a CPU in large pages where the system gives them.

    Rows of a table of many megabytes, read in any order, are then found with fewer lookups of pages.

    Example:
        >>> large_empty(2, 3).shape
        torch.Size([2, 3])
    """
    table = torch.empty(num_rows, num_values, dtype=torch.float32, device=device)
    library, _ = _load()
    if library is not None and table.device.type == "cpu":
        library.gnnq_ask_for_large_pages(table.data_ptr(), table.numel() * table.element_size())
    return table


def kernel_info() -> dict[str, object]:
    """What the low-bit kernels run on, for `gnnq info`.

    Returns:
        isa_active, isas_available, forced_by (the variable's value or None), threads, compiled (bool), openmp (bool),
        library (file name or None), reason (why nothing is compiled, else "").

    Example:
        >>> sorted(kernel_info())[:3]
        ['compiled', 'forced_by', 'isa_active']
    """
    library, reason = _load()
    path = _library_file()
    return {
        "isa_active": active_isa(),
        "isas_available": available_isas(),
        "forced_by": os.environ.get("GNNQ_KERNEL_ISA") or None,
        "threads": torch.get_num_threads(),
        "compiled": library is not None,
        "openmp": bool(library is not None and library.gnnq_has_openmp()),
        "library": path.name if path else None,
        "reason": reason,
    }
