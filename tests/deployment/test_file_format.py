"""Files that are refused, each for its reason; damaged ones are made from a good one."""

from __future__ import annotations

import json
import pickle

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save

from gnnq_lib.deployment import PackedModel, freeze, load_packed, save_packed
from gnnq_lib.deployment.file_format import FORMAT
from gnnq_lib.errors import InputError
from gnnq_lib.propagation import Smp


@pytest.fixture(scope="module")
def packed(graphs, make_model):
    return freeze(make_model("words", scheme=Smp()), graphs["words"])


@pytest.fixture
def path(packed, tmp_path):
    return save_packed(packed, tmp_path / "model.safetensors")


def forge(path, change=None, header=None, **metadata):
    """Rewrite the file with other contents and a checksum that fits them, as an attacker could."""
    data = path.read_bytes()
    known = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
    tensors = load(data)
    if change is not None:
        change(tensors)
    if header is not None:
        known["header"] = json.dumps({**json.loads(known["header"]), **header})
    known["sha256"] = FORMAT.digest(known["header"], tensors)
    path.write_bytes(save(tensors, {**known, **metadata}))


def test_a_forged_copy_without_change_is_accepted(path):
    forge(path)
    assert load_packed(path).header.bits == 2


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not a packed model"),
        (b"no model", "not a packed model"),
        (pickle.dumps({"weight1": [1.0]}), "not a packed model"),
        (save({"weight": torch.ones(2)}), "not a packed model"),
        (save({"weight": torch.ones(2)}, {"format": "pt"}), "not a packed model"),
        ((2**62).to_bytes(8, "little") + b"{}", "not a packed model"),
        ((50).to_bytes(8, "little") + b"{}", "cut short: 10 bytes, of which its header alone needs 50"),
        ((4).to_bytes(8, "little") + b"\xff\xff\xff\xff", "not a packed model"),
        ((100_000).to_bytes(8, "little") + b"[" * 100_000, "not a packed model"),
        ((2).to_bytes(8, "little") + b"[]", "not a packed model"),
    ],
    ids=["empty", "text", "pickle", "no metadata", "other format", "huge header", "short", "no text", "nested", "list"],
)
def test_foreign_files(content, reason, tmp_path, refuses):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with refuses(reason):
        load_packed(path)


def test_no_file_and_a_folder(tmp_path, refuses):
    with refuses("is not a file"):
        load_packed(tmp_path / "nothing")
    with refuses("is not a file"):
        load_packed(tmp_path)


def test_another_version(path, refuses):
    forge(path, version="2")
    with refuses("format version '2'; version '1' is accepted"):
        load_packed(path)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_any_changed_byte_is_noticed(data, packed, path):
    good = save_packed(packed, path).read_bytes()
    place = data.draw(st.integers(0, len(good) - 1))
    bad = bytearray(good)
    bad[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(bad)
    try:
        loaded = load_packed(path)
    except InputError:
        return
    # Spaces that pad the JSON header may become other white space; what the file says is then the same.
    assert loaded.header == packed.header
    assert all(torch.equal(loaded.tensors[name], tensor) for name, tensor in packed.tensors.items())


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(share=st.floats(0, 1, exclude_max=True))
def test_any_truncation_is_noticed(share, packed, path):
    good = save_packed(packed, path).read_bytes()
    path.write_bytes(good[: int(share * len(good))])
    with pytest.raises(InputError, match="cut short|not a packed model"):
        load_packed(path)


def test_appended_bytes_are_noticed(path, refuses):
    path.write_bytes(path.read_bytes() + b"more")
    with refuses("damaged or cut short"):
        load_packed(path)


def test_a_changed_code_is_noticed_by_the_checksum(path, refuses):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with refuses("SHA-256"):
        load_packed(path)


def _drop(name):
    return lambda tensors: tensors.pop(name)


def _put(name, value):
    return lambda tensors: tensors.update({name: value})


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_drop("weight2"), "tensor weight2 is missing"),
        (_put("extra", torch.ones(1)), "tensor extra is not one of this model's"),
        (_put("weight2", torch.zeros(16, 2, dtype=torch.int8)), "weight2 is torch.int8 .*; torch.uint8"),
        (_put("columns1", torch.ones(2, 16, dtype=torch.bfloat16)), "columns1 is torch.bfloat16"),
        (_put("columns2", torch.ones(5, 2)), r"columns2 is torch.float32 \(5, 2\); torch.float32 \(2, 5\)"),
        (_put("columns1", torch.full((2, 16), float("nan"))), "columns1 holds NaN"),
        (_put("scales", torch.zeros(14)), "scales holds a number that is not above 0"),
        (_put("scales", torch.full((14,), 1e-30)), "scale=.* given"),
        (_put("multipliers", torch.full((3,), float("inf"))), "multipliers holds NaN or infinity"),
    ],
    ids=["missing", "left over", "dtype", "bfloat16", "shape", "NaN", "zero scale", "tiny scale", "infinite"],
)
def test_tensors_that_do_not_fit(change, reason, path, refuses):
    forge(path, change)
    with refuses(f"cannot be used: .*{reason}"):
        load_packed(path)


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ({"bits": 3}, "header's bits is not acceptable"),
        ({"bits": 4}, "tensor weight1 is"),
        ({"num_features": 25}, "tensor weight1 is"),
        ({"num_classes": 2**31}, "header's num_classes"),
        ({"num_classes": 2**31 - 1}, "tensor weight2 is"),
        ({"num_layers": 4}, "tensor scales is"),
        ({"hidden": 0}, "header's hidden"),
        ({"hidden": "16"}, "header's hidden"),
        ({"scheme": "emp"}, "header's scheme"),
        ({"scheme_settings": {"nu": 1.0}}, "settings of smp are not its own"),
        ({"scheme_settings": {"mu": -1.0}}, "settings of smp are not its own"),
        ({"feature_kind": "graded"}, "tensor column_scale is missing"),
        ({"exponent_bits": 4}, "header's exponent_bits"),
        ({"ratio": 0.0}, "header's ratio"),
        ({"hidden_ratio": 1e-4}, "gamma=0.0001"),
        ({"execute": "rm"}, "header's execute is not acceptable: Extra inputs are not permitted"),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
)
def test_headers_that_do_not_fit(header, reason, path, refuses):
    forge(path, header=header)
    with refuses(f"cannot be used: .*{reason}"):
        load_packed(path)


def test_a_header_that_is_no_json(path, refuses):
    data = path.read_bytes()
    tensors = load(data)
    metadata = {"format": FORMAT.name, "version": "1", "header": "{", "sha256": FORMAT.digest("{", tensors)}
    path.write_bytes(save(tensors, metadata))
    with refuses("the header is not acceptable: Invalid JSON"):
        load_packed(path)


def test_a_config_too_large_for_the_header(packed, path, tmp_path, refuses):
    large = {"config": {"text": "x" * (1 << 20)}}
    forge(path, header=large)
    with refuses("not a packed model"):
        load_packed(path)
    with refuses("its config takes .* bytes; half a megabyte"):
        save_packed(PackedModel(packed.header.model_copy(update=large), packed.tensors), tmp_path / "large.safetensors")
    assert not (tmp_path / "large.safetensors").exists()


def test_loading_executes_nothing(path, monkeypatch):
    """No pickle, no import of what a file names, no evaluation."""

    def never(*arguments, **settings):
        raise AssertionError("called while loading")

    for name in ("pickle.load", "pickle.loads", "torch.load", "builtins.exec", "builtins.eval"):
        monkeypatch.setattr(name, never)
    assert load_packed(path).header.num_classes == 5
