"""Writing files so that a reader never sees half of one, and recognising files by their checksum."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

from gnnq_lib.errors import InputError


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


def check_writable(out: Path | str) -> Path:
    """Return `out` as a `Path` if a file can be written there, else raise InputError; its folder is made if missing.

    Example:
        >>> check_writable(Path(tempfile.mkdtemp()) / "new" / "m.safetensors").name
        'm.safetensors'
    """
    out = Path(out)
    if out.is_dir():
        raise InputError(f"{out} is a folder; give the name of the file to write")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out.parent):
            pass
    except OSError as error:
        raise InputError(f"{out} cannot be written ({error.strerror}); give a place where you may write") from None
    return out


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
