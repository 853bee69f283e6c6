"""Shared by all tests: every test has its own cache and results, and no test reaches the network unless marked so."""

from __future__ import annotations

import os
from contextlib import contextmanager

import pytest
import torch

from gnnq_lib.errors import InputError

_DATA = os.environ.get("GNNQ_DATA")
torch.set_num_threads(1)  # tests run in parallel processes; threads that wait for each other slow all of them down


@pytest.fixture(autouse=True)
def _own_folders(request, tmp_path_factory, monkeypatch):
    """A fresh cache and results folder per test; network and CUDA only for tests marked `network` and `gpu`."""
    if request.node.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    monkeypatch.setenv("GNNQ_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setenv("GNNQ_RESULTS", str(tmp_path_factory.mktemp("results")))
    monkeypatch.delenv("GNNQ_DATA", raising=False)
    if request.node.get_closest_marker("network") is None:
        monkeypatch.setenv("GNNQ_OFFLINE", "1")


@pytest.fixture
def real_data() -> str:
    """The folder of raw data sets (GNNQ_DATA); a test that asks for it skips where there is none."""
    if not _DATA:
        pytest.skip("needs the raw data sets: GNNQ_DATA is not set")
    return _DATA


@pytest.fixture
def refuses():
    """`with refuses("num_bits=9"): ...` passes if InputError is raised with one sentence that matches."""

    @contextmanager
    def check(pattern: str):
        with pytest.raises(InputError, match=pattern) as caught:
            yield
        message = str(caught.value)
        assert message.endswith(".") and "\n" not in message and ". " not in message, f"not one sentence: {message}"

    return check
