"""Choosing the path: the variable, what a machine without the compiled part does, and what is reported."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings

import pytest
import torch
from cases import COMPILED, forced

from gnnq_lib.errors import InputError
from gnnq_lib.kernels import CSRGraph, available_isas, kernel_info, spmm
from gnnq_lib.kernels.native import path_for
from gnnq_lib.quantizers.packing import PackedCodes


def test_best_first_and_reference_last():
    order = ["avx512", "avx2", "plain", "reference"]
    assert available_isas() == [isa for isa in order if isa in available_isas()]
    assert available_isas()[-1] == "reference"


@pytest.mark.parametrize("isa", available_isas())
def test_forced_path_is_active(isa):
    with forced(isa):
        assert kernel_info()["isa_active"] == isa
        assert path_for(torch.device("cuda")) == "reference"


@pytest.mark.parametrize("name", ["avx1024", "AVX2"])
def test_unknown_path_is_named(name):
    with forced(name), pytest.raises(InputError, match="accepted is one of avx512, avx2, plain, reference"):
        kernel_info()


_WITHOUT_LIBRARY = """
import warnings, torch
from gnnq_lib.errors import InputError
from gnnq_lib.kernels import CSRGraph, kernel_info, spmm
from gnnq_lib.quantizers.packing import PackedCodes
graph = CSRGraph(torch.tensor([0, 2]), torch.tensor([0, 1]), 2)
rows = PackedCodes.from_codes(torch.tensor([[1, 2], [3, 0]]), 2)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    assert spmm(graph, rows).tolist() == [[4, 2]]
    assert spmm(graph, rows).tolist() == [[4, 2]]
messages = [str(w.message) for w in caught if "pure-PyTorch" in str(w.message)]
assert len(messages) == 1, messages
info = kernel_info()
assert not info["compiled"] and info["isas_available"] == ["reference"] and info["reason"], info
"""


@pytest.mark.parametrize("content", [None, b"not a library"], ids=["missing", "damaged"])
def test_without_the_compiled_part(tmp_path, content):
    library = tmp_path / "kernels.so"
    if content:
        library.write_bytes(content)
    environment = {**os.environ, "GNNQ_KERNEL_LIBRARY": str(library)}
    environment.pop("GNNQ_KERNEL_ISA", None)
    done = subprocess.run([sys.executable, "-c", _WITHOUT_LIBRARY], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_compiled_part_does_not_warn():
    if not COMPILED:
        pytest.skip("no compiled kernels on this machine")
    graph = CSRGraph(torch.tensor([0, 1]), torch.tensor([0]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        spmm(graph, PackedCodes.from_codes(torch.ones(1, 3, dtype=torch.long), 1))
