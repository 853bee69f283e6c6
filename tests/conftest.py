"""Shared by all tests: every test has its own cache and results, and no test reaches the network unless marked so."""

from __future__ import annotations

import os

import pytest

_DATA = os.environ.get("GNNQ_DATA")


@pytest.fixture(autouse=True)
def _own_folders(request, tmp_path_factory, monkeypatch):
    """A fresh cache and results folder per test; the network only for tests marked `network`."""
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
