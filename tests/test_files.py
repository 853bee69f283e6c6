"""Atomic writing: the old file survives every failure, and no temporary file is left."""

from __future__ import annotations

import errno
import hashlib
import os
import stat

import pytest

from gnnq_lib.files import atomic_write, sha256_bytes


@pytest.mark.parametrize(
    ("data", "expected"), [("Ångström\n", "Ångström\n".encode()), (b"\x00\xff", b"\x00\xff")], ids=["text", "bytes"]
)
def test_writes_content_and_makes_the_folder(tmp_path, data, expected):
    path = atomic_write(tmp_path / "new" / "file", data)
    assert path.read_bytes() == expected


def test_overwrites_and_keeps_permissions(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    path.chmod(0o640)
    atomic_write(path, "new")
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_disk_full_keeps_the_old_file_and_leaves_no_temporary(tmp_path, monkeypatch, step):
    path = tmp_path / "file"
    path.write_text("old")

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, step, full)
    with pytest.raises(OSError, match="No space left"):
        atomic_write(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_really_full_disk(tmp_path):
    """A file-size limit of the system, not a mock: the write itself fails."""
    resource = pytest.importorskip("resource")
    signal = pytest.importorskip("signal")
    path = tmp_path / "file"
    path.write_text("old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(OSError):
            atomic_write(path, b"x" * 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_checksums_agree_with_hashlib(tmp_path):
    data = bytes(range(256)) * 5000
    path = atomic_write(tmp_path / "big", data)
    assert sha256_bytes(path.read_bytes()) == hashlib.sha256(data).hexdigest()
