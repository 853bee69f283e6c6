"""Models on disk: safetensors with a JSON header and a checksum among its metadata.

    metadata: format   name of the kind of model
              version  of that format
              header   one JSON text: everything that is not a tensor
              sha256   of the header and of all tensors, in the order of their names

Nothing in such a file is ever executed: it holds numbers and one JSON text, both checked before use.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from gnnq_lib.errors import InputError
from gnnq_lib.files import atomic_write

LARGEST_METADATA = 1 << 20
_FIXED_METADATA = 120  # names and values of format, version and sha256, and the length in front
_PER_TENSOR = 75  # its name, dtype, shape and place in safetensors' own header

Header = TypeVar("Header", bound=BaseModel)
Model = TypeVar("Model")


@dataclass(frozen=True)
class TensorFormat:
    """One kind of file.

    Attributes:
        name, version: stored in every file and compared on reading.
        noun: what errors call such a file.
        made_by: the command that writes one, for errors.

    Example:
        >>> import tempfile
        >>> toys = TensorFormat("toy", "1", "a toy", "`make-toy`")
        >>> path = toys.save('{"size": 2}', {"x": torch.ones(2)}, Path(tempfile.mkdtemp()) / "a.safetensors")
        >>> toys.load(path)
        ('{"size": 2}', {'x': tensor([1., 1.])})
    """

    name: str
    version: str
    noun: str
    made_by: str

    def read(
        self, path: Path | str, header_type: type[Header], make: Callable[[Header, dict[str, Tensor]], Model]
    ) -> Model:
        """The model in a file: `make` gets the checked header and tensors, and may refuse them.

        Raises:
            InputError: as `load`, or the header or the tensors do not fit; the file is named.
        """
        header, tensors = self.load(path)
        try:
            return make(parse_json_header(header, header_type), tensors)
        except InputError as error:
            raise InputError(f"{path} cannot be used: {str(error).rstrip('.')}.") from None

    def save(self, header: str, tensors: dict[str, Tensor], path: Path | str) -> Path:
        """Write a file in one step.

        Raises:
            InputError: a header so large that the file would be refused.
        """
        if len(json.dumps(header)) > LARGEST_METADATA // 2:
            raise InputError(
                f"a model was to be saved whose header with its config takes {len(header)} bytes; half a "
                "megabyte is the most."
            )
        metadata = {
            "format": self.name,
            "version": self.version,
            "header": header,
            "sha256": self.digest(header, tensors),
        }
        return atomic_write(path, save(tensors, metadata))

    def load(self, path: Path | str) -> tuple[str, dict[str, Tensor]]:
        """Header and tensors of a file whose checksum is right.

        Raises:
            InputError: no such file, another kind of file, another version, cut short or damaged.
        """
        path = Path(path)
        if not path.is_file():
            raise InputError(f"{path} is not a file; give one that {self.made_by} wrote.")
        data = path.read_bytes()
        metadata = self._metadata(path, data)
        try:
            tensors = load(data)
        except (SafetensorError, ValueError, KeyError) as error:
            raise InputError(f"{path} is damaged or cut short ({_one_line(error)}); get or write it again.") from None
        if self.digest(metadata["header"], tensors) != metadata["sha256"]:
            raise InputError(f"{path} is damaged: its SHA-256 is not the one stored in it; get or write it again.")
        return metadata["header"], tensors

    def digest(self, header: str, tensors: dict[str, Tensor]) -> str:
        """SHA-256 of kind, version, header and tensors."""
        digest = hashlib.sha256(f"{self.name} {self.version} {header}".encode())
        for name in sorted(tensors):
            tensor = tensors[name]
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            if tensor.numel():  # an empty tensor has no bytes to view
                digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy())
        return digest.hexdigest()

    def _metadata(self, path: Path, data: bytes) -> dict[str, str]:
        """The metadata of a file of this kind and version."""
        foreign = f"{path} is not {self.noun}; give a file that {self.made_by} wrote."
        length = int.from_bytes(data[:8], "little")
        if len(data) < 8 or length > LARGEST_METADATA:
            raise InputError(foreign)
        if length > len(data) - 8:
            raise InputError(f"{path} is cut short: {len(data)} bytes, of which its header alone needs {length}.")
        try:
            metadata = json.loads(data[8 : 8 + length])["__metadata__"]
            if metadata["format"] != self.name:
                raise InputError(foreign)
            version, _, _ = (metadata[name] for name in ("version", "header", "sha256"))
        except (ValueError, KeyError, TypeError, RecursionError):
            raise InputError(foreign) from None
        if version != self.version:
            raise InputError(
                f"{path} has format version {version!r}; version {self.version!r} is accepted: "
                f"write it again with {self.made_by}."
            )
        return metadata


def parse_json_header(text: str, kind: type[Header]) -> Header:
    """Read a header from JSON.

    Raises:
        InputError: the first field that is missing, unknown or out of range.

    Example:
        >>> parse_json_header('{}', type("Toy", (BaseModel,), {"__annotations__": {"size": int}}))
        Traceback (most recent call last):
        gnnq_lib.errors.InputError: the header's size is not acceptable: Field required.
    """
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        fault = error.errors()[0]
        name = ".".join(map(str, fault["loc"]))
        message = fault["msg"].removeprefix("Value error, ").rstrip(".")
        raise InputError(f"the header{chr(39) + 's ' + name if name else ''} is not acceptable: {message}.") from None


def check_tensors(tensors: dict[str, Tensor], layout: dict[str, tuple[torch.dtype, tuple[int, ...]]]) -> None:
    """Refuse tensors that are not those of a layout (name -> dtype, shape), or not finite.

    Raises:
        InputError: a tensor that is missing, left over, of another shape or dtype, or not finite.

    Example:
        >>> check_tensors({}, {"x": (torch.float32, (2,))})
        Traceback (most recent call last):
        gnnq_lib.errors.InputError: tensor x is missing; x are needed.
    """
    for name in sorted(tensors.keys() - layout.keys()):
        raise InputError(f"tensor {name} is not one of this model's; {', '.join(layout)} are accepted.")
    for name, (dtype, shape) in layout.items():
        if name not in tensors:
            raise InputError(f"tensor {name} is missing; {', '.join(layout)} are needed.")
        tensor = tensors[name]
        if tensor.dtype != dtype or tensor.shape != shape:
            given = f"{tensor.dtype} {tuple(tensor.shape)}"
            raise InputError(f"tensor {name} is {given}; {dtype} {shape} is accepted.")
        if dtype.is_floating_point and not bool(torch.isfinite(tensor).all()):
            raise InputError(f"tensor {name} holds NaN or infinity; finite numbers are accepted.")


def file_bytes(header: str, layout: dict[str, tuple[torch.dtype, tuple[int, ...]]]) -> int:
    """Size of a file by formula: its tensors, its header, and about 75 bytes of safetensors' own per tensor."""
    values = 0
    for dtype, shape in layout.values():
        count = 1
        for size in shape:
            count *= size
        values += count * dtype.itemsize
    return values + len(json.dumps(header)) + _FIXED_METADATA + _PER_TENSOR * len(layout)


def _one_line(error: Exception) -> str:
    return str(error).splitlines()[0].rstrip(".").replace(". ", "; ") if str(error) else type(error).__name__
