"""Adds the optional compiled kernels to the build; everything else about the package is in pyproject.toml.

The kernels are a plain shared library (C interface, loaded by ctypes, no PyTorch headers), one object file per
instruction set; which one runs is decided at run time. Where no compiler works, the build says so and goes on: the
pure-PyTorch reference then serves every call.
"""

from __future__ import annotations

import os
import platform
import sys

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

SOURCES = "gnnq_lib/kernels/csrc"
HEADERS = [
    "common.h",
    "gnnq_kernels.h",
    "kernels_of_isa.h",
    "vectors.h",
    "spmm_packed.h",
    "spmm_float.h",
    "linear.h",
    "search.h",
    "lanes.h",
    "finish.h",
    "neighbour_sum.h",
    "score_difference.h",
    "large_pages.h",
    "spmm_short.h",
    "propagate.h",
    "propagate_slices.h",
    "two_layer.h",
    "two_layer_groups.h",
]
# -ffp-contract=off: float results must equal PyTorch's element-wise operations bit for bit, so no fused multiply-add.
COMMON_FLAGS = ["-O3", "-g0", "-std=c++17", "-ffp-contract=off", "-fno-math-errno", "-fvisibility=hidden"]
COMMON_FLAGS += [
    "-Wno-psabi",
    "-Wno-maybe-uninitialized",
    "-Wno-uninitialized",
]  # GCC warns inside its own intrinsics header
AVX512_FLAGS = ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx512vnni"]


def _isa_flags() -> dict[str, list[str]]:
    """Source file -> flags that only this file is compiled with."""
    files: dict[str, list[str]] = {"dispatch.cpp": [], "isa_plain.cpp": []}
    if platform.machine().lower() in ("x86_64", "amd64"):
        files["isa_avx2.cpp"] = ["-mavx2"]
        files["isa_avx512.cpp"] = [*AVX512_FLAGS, "-mprefer-vector-width=512"]
    return files


class BuildKernels(build_ext):
    """Compiles each source with its own flags; OpenMP where the compiler has it; never fails the installation."""

    def build_extension(self, ext: Extension) -> None:
        extra = os.environ.get("GNNQ_KERNEL_CFLAGS", "").split()  # `make sanitize` adds its sanitizers here
        try:
            try:
                self._build(ext, [*extra, "-fopenmp"])
            except Exception:
                self._build(ext, extra)
        except Exception as error:
            message = (
                f"GNNQ: the compiled kernels could not be built ({error}); the slower reference path will be used."
            )
            print(message, file=sys.stderr)

    def _build(self, ext: Extension, flags: list[str]) -> None:
        objects = []
        for source, isa_flags in _isa_flags().items():
            objects += self.compiler.compile(
                [f"{SOURCES}/{source}"],
                output_dir=self.build_temp,
                extra_postargs=[*COMMON_FLAGS, *isa_flags, *flags],
                depends=[f"{SOURCES}/{header}" for header in HEADERS],
            )
        self.compiler.link_shared_object(
            objects, self.get_ext_fullpath(ext.name), extra_postargs=flags, target_lang="c++"
        )

    def get_outputs(self) -> list[str]:
        return [path for path in super().get_outputs() if os.path.exists(path)]


setup(
    ext_modules=[Extension("gnnq_lib.kernels._gnnq_kernels", sources=[f"{SOURCES}/dispatch.cpp"], optional=True)],
    cmdclass={"build_ext": BuildKernels},
)
