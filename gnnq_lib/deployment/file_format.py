"""Packed models on disk: safetensors with one JSON header (`PackedHeader`) among its metadata; see `tensor_files`."""

from __future__ import annotations

from pathlib import Path

from gnnq_lib.deployment.header import PackedHeader
from gnnq_lib.deployment.packed_model import PackedModel
from gnnq_lib.tensor_files import TensorFormat, file_bytes

FORMAT = TensorFormat("gnnq-packed-classifier", "1", "a packed model", "`gnnq quantize --out`")


def save_packed(model: PackedModel, path: Path | str) -> Path:
    """Write a packed model in one step; see the top of this file.

    Raises:
        InputError: a config so large that the file would be refused.
    """
    return FORMAT.save(_header_text(model.header), model.tensors, path)


def load_packed(path: Path | str) -> PackedModel:
    """Read a packed model.

    Raises:
        InputError: no such file, another kind of file, another version, cut short, damaged or inconsistent.
    """
    return FORMAT.read(path, PackedHeader, PackedModel)


def expected_bytes(header: PackedHeader) -> int:
    """Size of the file by formula: codes, 4 bytes per scale and bias, and the metadata.

    Codes take ceil(columns * bits / 8) bytes per row of a weight matrix.
    """
    return file_bytes(_header_text(header), header.layout())


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


def _header_text(header: PackedHeader) -> str:
    return header.model_dump_json(exclude_defaults=True)
