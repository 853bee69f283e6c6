"""Codes <-> bytes: b-bit codes (b = 1, 2, 4, 8) stored without a wasted bit, row by row.

Bit order ("planes"). A row of D codes takes B = ceil(D * b / 8) bytes. Byte k holds the codes k, k + B, k + 2B, ...:
code number p * B + k sits in bits p * b ... p * b + b - 1 of byte k. Shifting a whole row right by p * b bits and
masking each byte therefore yields *consecutive* codes p * B ... p * B + B - 1, which is what a vector unit wants; with
the usual order (codes 0, 1, 2, 3 in byte 0) they would come out interleaved. Places beyond D are zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gnnq_lib.errors import InputError

SUPPORTED_BITS = (1, 2, 4, 8)


def check_bits(bits: int) -> int:
    """Return `bits` if it is a width the packed format has, else raise InputError.

    Example:
        >>> check_bits(4)
        4
    """
    if isinstance(bits, bool) or bits not in SUPPORTED_BITS:
        raise InputError(f"bits={bits!r} given; packed codes have 1, 2, 4 or 8 bits: choose one of these")
    return int(bits)


def row_bytes(num_values: int, bits: int) -> int:
    """Bytes that one row of `num_values` codes of `bits` bits takes: ceil(num_values * bits / 8).

    Example:
        >>> row_bytes(7, 2)
        2
    """
    if num_values < 1:
        raise InputError(f"rows of {num_values} values given; a packed row has at least 1 value")
    return -(-num_values * check_bits(bits) // 8)


def pack(codes: Tensor, bits: int) -> Tensor:
    """Pack integer codes along the last dimension, in the plane order described at the top of this file.

    Args:
        codes: integers 0 ... 2**bits - 1, any integer dtype, shape (..., D), D >= 1.
        bits: width of a code: 1, 2, 4 or 8.

    Returns:
        uint8 tensor of shape (..., row_bytes(D, bits)), contiguous, on the same device.

    Raises:
        InputError: not an integer tensor, no last dimension, or a code below 0 or above 2**bits - 1.

    Example:
        >>> pack(torch.tensor([[1, 2, 3, 0, 2, 1, 3]]), 2).tolist()  # byte 0: 1, 3, 2, 3; byte 1: 2, 0, 1, pad
        [[237, 18]]
    """
    _check_integer_codes(codes)
    num_values = codes.shape[-1]
    width = row_bytes(num_values, bits)
    if codes.numel() and (int(codes.min()) < 0 or int(codes.max()) >= 1 << bits):
        raise InputError(
            f"codes from {int(codes.min())} to {int(codes.max())} given; {bits} bits hold 0 to {(1 << bits) - 1}: "
            "quantize or clamp them first"
        )
    planes = 8 // bits
    padded = torch.zeros(*codes.shape[:-1], planes * width, dtype=torch.uint8, device=codes.device)
    padded[..., :num_values] = codes
    packed = torch.zeros(*codes.shape[:-1], width, dtype=torch.uint8, device=codes.device)
    for plane in range(planes):
        packed |= padded[..., plane * width : (plane + 1) * width] << (plane * bits)
    return packed


def unpack(packed: Tensor, bits: int, num_values: int) -> Tensor:
    """Undo `pack`: uint8 codes of shape (..., num_values).

    Args:
        packed: uint8, shape (..., row_bytes(num_values, bits)).
        bits: width of a code: 1, 2, 4 or 8.
        num_values: D, the number of codes in a row.

    Raises:
        InputError: wrong dtype, or a last dimension that is not the packed width of `num_values` codes.

    Example:
        >>> unpack(torch.tensor([[237, 18]], dtype=torch.uint8), 2, 7).tolist()
        [[1, 2, 3, 0, 2, 1, 3]]
    """
    check_packed(packed, bits, num_values)
    mask = (1 << bits) - 1
    planes = [(packed >> (plane * bits)) & mask for plane in range(8 // bits)]
    return torch.cat(planes, dim=-1)[..., :num_values].contiguous()


def check_packed(packed: Tensor, bits: int, num_values: int) -> None:
    """Raise InputError unless `packed` is a uint8 tensor whose rows can hold exactly `num_values` codes of `bits` bits.

    Example:
        >>> check_packed(torch.zeros(3, 2, dtype=torch.uint8), bits=2, num_values=7)
    """
    if not isinstance(packed, Tensor) or packed.dtype != torch.uint8:
        given = packed.dtype if isinstance(packed, Tensor) else type(packed).__name__
        raise InputError(
            f"packed codes given as {given}; accepted is a torch.uint8 tensor: make it with pack(codes, bits)"
        )
    width = row_bytes(num_values, bits)
    if packed.dim() < 1 or packed.shape[-1] != width:
        raise InputError(
            f"packed rows of shape {tuple(packed.shape)} given; {num_values} codes of {bits} bits take {width} bytes "
            "in the last dimension: check num_values and bits"
        )


def _check_integer_codes(codes: Tensor) -> None:
    if not isinstance(codes, Tensor) or codes.dtype.is_floating_point or codes.dtype.is_complex:
        given = codes.dtype if isinstance(codes, Tensor) else type(codes).__name__
        raise InputError(f"codes given as {given}; accepted is an integer tensor: quantize first, then pack the codes")
    if codes.dim() < 1:
        raise InputError("a single number given as codes; accepted is a tensor with at least one dimension")


@dataclass(frozen=True, eq=False)
class PackedCodes:
    """A matrix of b-bit codes, stored packed: what the low-bit kernels read.

    Attributes:
        data: uint8, shape (num_rows, row_bytes(num_values, bits)), contiguous.
        bits: width of a code: 1, 2, 4 or 8.
        num_values: D, codes in a row.

    Raises:
        InputError: when the three do not fit together.

    Example:
        >>> PackedCodes.from_codes(torch.tensor([[3, 0, 1], [2, 2, 2]]), bits=2)
        PackedCodes(2 x 3, 2 bits, 2 bytes)
    """

    data: Tensor
    bits: int
    num_values: int

    def __post_init__(self) -> None:
        check_packed(self.data, self.bits, self.num_values)
        if self.data.dim() != 2 or not self.data.is_contiguous():
            raise InputError(
                f"packed data of shape {tuple(self.data.shape)} and stride {tuple(self.data.stride())} given; "
                "accepted is a contiguous matrix (rows, bytes): call .contiguous()"
            )

    @classmethod
    def from_codes(cls, codes: Tensor, bits: int) -> PackedCodes:
        """Pack a matrix (num_rows, D) of integer codes."""
        _check_integer_codes(codes)
        if codes.dim() != 2:
            raise InputError(f"codes of shape {tuple(codes.shape)} given; accepted is a matrix (rows, values)")
        return cls(pack(codes, bits), bits, codes.shape[1])

    @property
    def num_rows(self) -> int:
        """Number of rows of the matrix."""
        return self.data.shape[0]

    @property
    def shape(self) -> tuple[int, int]:
        """(num_rows, num_values), the shape of the unpacked matrix."""
        return self.data.shape[0], self.num_values

    @property
    def nbytes(self) -> int:
        """Bytes that the packed codes take in memory and on disk."""
        return self.data.numel()

    @property
    def device(self) -> torch.device:
        """Device of the packed bytes."""
        return self.data.device

    def codes(self) -> Tensor:
        """The codes, unpacked: uint8, shape (num_rows, num_values)."""
        return unpack(self.data, self.bits, self.num_values)

    def __repr__(self) -> str:
        plural = "s" if self.bits > 1 else ""
        return f"PackedCodes({self.num_rows} x {self.num_values}, {self.bits} bit{plural}, {self.nbytes} bytes)"
