"""Writing files so that a reader never sees half of one, and recognising files by their checksum."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path


def atomic_write(path: Path | str, data: bytes | str) -> Path:
    """Write `data` to `path` in one step: either the whole new file is there afterwards, or the old one untouched.

    The bytes go to a temporary name in the same folder, are synced to disk and renamed over `path`. When writing fails
    (disk full, interrupted), the temporary file is removed and the error passed on.

    Args:
        path: where the file belongs; its folder is made if missing.
        data: the content; text is written as UTF-8.

    Returns:
        `path` as a `Path`.

    Raises:
        OSError: if the file could not be written.

    Example:
        >>> folder = tempfile.mkdtemp()
        >>> atomic_write(Path(folder) / "a.txt", "hello").read_text()
        'hello'
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data.encode("utf-8") if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, _usual_mode(path))
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path


def _usual_mode(path: Path) -> int:
    """Permissions of the file to replace, else those the process would give a new file (mkstemp gives 0600)."""
    if path.exists():
        return path.stat().st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def sha256_bytes(data: bytes) -> str:
    """SHA-256 of `data` as 64 hexadecimal digits.

    Example:
        >>> sha256_bytes(b"")[:8]
        'e3b0c442'
    """
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path | str) -> str:
    """SHA-256 of a file's content as 64 hexadecimal digits, read in pieces of 1 MiB.

    Example:
        >>> path = atomic_write(Path(tempfile.mkdtemp()) / "empty", b"")
        >>> sha256_file(path) == sha256_bytes(b"")
        True
    """
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
