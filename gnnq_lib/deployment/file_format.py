"""Packed models on disk: safetensors with one JSON header among its metadata.

    metadata: format   "gnnq-packed-classifier"
              version  "1"
              header   JSON of `PackedHeader`
              sha256   of the header and of all tensors, in the order of their names

Nothing in such a file is ever executed: it holds numbers and one JSON text, both checked before use.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from gnnq_lib.deployment.header import PackedHeader, parse_header
from gnnq_lib.deployment.packed_model import PackedModel
from gnnq_lib.errors import InputError
from gnnq_lib.files import atomic_write

FORMAT, VERSION = "gnnq-packed-classifier", "1"
_LARGEST_METADATA = 1 << 20
_FIXED_METADATA = 120  # names and values of format, version and sha256, and the length in front
_PER_TENSOR = 75  # its name, dtype, shape and place in safetensors' own header


def save_packed(model: PackedModel, path: Path | str) -> Path:
    """Write a packed model in one step; see the top of this file.

    Raises:
        InputError: a config so large that the file would be refused.
    """
    header = model.header.model_dump_json(exclude_defaults=True)
    if len(json.dumps(header)) > _LARGEST_METADATA // 2:
        raise InputError(
            f"a model was to be saved whose header with its config takes {len(header)} bytes; half a "
            "megabyte is the most."
        )
    metadata = {"format": FORMAT, "version": VERSION, "header": header, "sha256": _digest(header, model.tensors)}
    return atomic_write(path, save(model.tensors, metadata))


def load_packed(path: Path | str) -> PackedModel:
    """Read a packed model.

    Raises:
        InputError: no such file, another kind of file, another version, cut short, damaged or inconsistent.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} is not a file; give one that `gnnq quantize --out` wrote.")
    data = path.read_bytes()
    metadata = _metadata(path, data)
    try:
        tensors = load(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise InputError(f"{path} is damaged or cut short ({_one_line(error)}); get or write it again.") from None
    header = metadata["header"]
    if _digest(header, tensors) != metadata["sha256"]:
        raise InputError(f"{path} is damaged: its SHA-256 is not the one stored in it; get or write it again.")
    try:
        return PackedModel(parse_header(header), tensors)
    except InputError as error:
        raise InputError(f"{path} cannot be used: {str(error).rstrip('.')}.") from None


def expected_bytes(header: PackedHeader) -> int:
    """Size of the file by formula: codes, 4 bytes per scale and bias, and the metadata.

    Codes take ceil(columns * bits / 8) bytes per row of a weight matrix.
    """
    values = 0
    for dtype, shape in header.layout().values():
        count = 1
        for size in shape:
            count *= size
        values += count * dtype.itemsize
    text = json.dumps(header.model_dump_json(exclude_defaults=True))  # quoted once more inside safetensors' header
    return values + len(text) + _FIXED_METADATA + _PER_TENSOR * len(header.layout())


def fp32_bytes(header: PackedHeader) -> int:
    """Weights and biases of the same model in full precision, 4 bytes each.

    Example:
        >>> sizes = {"num_features": 4, "hidden": 2, "num_classes": 3, "num_layers": 1}
        >>> rest = {"dataset": "toy", "bits": 2, "feature_kind": "binary", "scheme": "smp", "exponent_bits": 1}
        >>> fp32_bytes(PackedHeader(**sizes, **rest))
        76
    """
    h = header.hidden
    return 4 * (header.num_features * h + h + h * header.num_classes + header.num_classes)


def _metadata(path: Path, data: bytes) -> dict[str, str]:
    """The metadata of a file of ours, of this version."""
    foreign = f"{path} is not a packed model; give a file that `gnnq quantize --out` wrote."
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > _LARGEST_METADATA:
        raise InputError(foreign)
    if length > len(data) - 8:
        raise InputError(f"{path} is cut short: {len(data)} bytes, of which its header alone needs {length}.")
    try:
        metadata = json.loads(data[8 : 8 + length])["__metadata__"]
        if metadata["format"] != FORMAT:
            raise InputError(foreign)
        version, _, _ = (metadata[name] for name in ("version", "header", "sha256"))
    except (ValueError, KeyError, TypeError, RecursionError):
        raise InputError(foreign) from None
    if version != VERSION:
        raise InputError(
            f"{path} has format version {version!r}; version {VERSION!r} is accepted: quantize the model again."
        )
    return metadata


def _digest(header: str, tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256(f"{FORMAT} {VERSION} {header}".encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _one_line(error: Exception) -> str:
    return str(error).splitlines()[0].rstrip(".").replace(". ", "; ") if str(error) else type(error).__name__
