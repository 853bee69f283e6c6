"""Low-bit tables: a code per value and a few levels per node (or for all nodes), made from a full-precision table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from gnnq_lib.checks import check_choice
from gnnq_lib.errors import InputError

RangePlacement = Literal["midpoints", "released"]
Placement = Literal["lloyd", "midpoints", "released"]
PLACEMENTS = get_args(Placement)


def check_table_bits(bits: int) -> int:
    """Return `bits` if it is 1, 2, 3 or 4, else raise InputError.

    Example:
        >>> check_table_bits(2)
        2
    """
    if isinstance(bits, bool) or not isinstance(bits, int) or not 1 <= bits <= 4:
        raise InputError(f"bits={bits!r} given; tables of 1, 2, 3 or 4 bits are accepted")
    return bits


@dataclass(frozen=True, eq=False)
class LevelTable:
    """A table of codes and levels: X[n, d] = levels[n, codes[n, d]].

    Attributes:
        codes: uint8 (|V|, D), 0 ... 2^b - 1.
        levels: float32 (|V|, 2^b), or (1, 2^b) if all nodes share them.

    Example:
        >>> table = LevelTable(torch.tensor([[0, 3]], dtype=torch.uint8), torch.tensor([[-1.0, 0.0, 0.5, 2.0]]))
        >>> table.dequantize().tolist(), table.bits
        ([[-1.0, 2.0]], 2)
    """

    codes: Tensor
    levels: Tensor

    @property
    def bits(self) -> int:
        """b, bits per code."""
        return self.levels.shape[1].bit_length() - 1

    def dequantize(self) -> Tensor:
        """X, float32 (|V|, D)."""
        return look_up(self.codes, self.levels)

    def num_bytes(self, level_bits: int = 32) -> float:
        """Bytes of codes and levels: N (b D + level_bits * 2^b) / 8 with levels per node (GNAQ fact sheet, section 4).

        Example:
            >>> table = LevelTable(torch.zeros(10, 64, dtype=torch.uint8), torch.zeros(10, 4))
            >>> 10 * 64 * 4 / table.num_bytes()
            8.0
        """
        return (self.bits * self.codes.numel() + level_bits * self.levels.numel()) / 8

    def with_half_levels(self) -> LevelTable:
        """The same table with its levels rounded to 16 bits (kept in float32)."""
        return LevelTable(self.codes, self.levels.half().float())


def look_up(codes: Tensor, levels: Tensor) -> Tensor:
    """levels[n, codes[n, d]], float32 (|V|, D)."""
    levels = levels.expand(codes.shape[0], -1) if levels.shape[0] == 1 else levels
    return levels.gather(1, codes.long())  # .long() costs nothing where codes are int64 already


def nearest_codes(table: Tensor, levels: Tensor) -> Tensor:
    """The nearest level of each value; a value halfway takes the lower one.

    Args:
        table: (|V|, D).
        levels: (|V|, K) or (1, K), ascending in each row.

    Returns:
        uint8 (|V|, D).

    Example:
        >>> nearest_codes(torch.tensor([[-5.0, 0.5, 0.6]]), torch.tensor([[0.0, 1.0]])).tolist()
        [[0, 0, 1]]
    """
    thresholds = ((levels[:, 1:] + levels[:, :-1]) / 2).split(1, dim=1)
    codes = (table > thresholds[0]).view(torch.uint8)
    for threshold in thresholds[1:]:
        codes += (table > threshold).view(torch.uint8)  # seen as bytes, no conversion
    return codes


def range_levels(table: Tensor, bits: int, placement: RangePlacement = "midpoints", per_node: bool = True) -> Tensor:
    """Levels from the range [lo, hi] of each node's values (or of all values).

    midpoints: lo + (k + 1/2) R / 2^b;   released: lo + (k + 1) R / (2^b + 1), k = 0 ... 2^b - 1 (GNAQ fact sheet, 3.1).

    Args:
        table: (|V|, D). bits: b, 1 to 4.
        per_node: a range per node, else one for all.

    Returns:
        float32 (|V|, 2^b) or (1, 2^b), ascending.

    Raises:
        InputError: unknown placement, bits out of range.

    Example:
        >>> range_levels(torch.tensor([[0.0, 8.0]]), 2).tolist()
        [[1.0, 3.0, 5.0, 7.0]]
    """
    check_choice("placement", placement, RangePlacement)
    values = table if per_node else table.reshape(1, -1)
    low, high = values.amin(dim=1, keepdim=True), values.amax(dim=1, keepdim=True)
    steps = torch.arange(2 ** check_table_bits(bits), device=table.device)
    fractions = (steps + 1) / (2**bits + 1) if placement == "released" else (steps + 0.5) / 2**bits
    return low + (high - low) * fractions


def range_codes(table: Tensor, bits: int) -> Tensor:
    """The equal part of each row's own range [min, max] that a value lies in, parts closed on the right; uint8.

    Example:
        >>> range_codes(torch.tensor([[0.0, 2.0, 2.1, 8.0]]), 2).tolist()
        [[0, 0, 1, 3]]
    """
    low, high = table.amin(dim=1, keepdim=True), table.amax(dim=1, keepdim=True)
    codes = torch.zeros(table.shape, dtype=torch.uint8, device=table.device)
    for part in range(1, 2 ** check_table_bits(bits)):
        codes += table > low + (high - low) * (part / 2**bits)
    return codes


def fitted_levels(
    table: Tensor, bits: int, placement: Placement = "lloyd", per_node: bool = True, rounds: int = 10
) -> Tensor:
    """Levels for a table: from its ranges, or fitted to its values by Lloyd's rule.

    Lloyd: start at quantiles; give every value to its nearest level; move each level to the mean of its values; repeat.
    The squared error never grows.

    Args:
        table: (|V|, D). bits: b, 1 to 4.
        placement: "lloyd", or "midpoints" or "released" as in `range_levels`.
        per_node: levels per node, else one set for all.
        rounds: of Lloyd's rule.

    Returns:
        float32 (|V|, 2^b) or (1, 2^b), ascending.

    Raises:
        InputError: unknown placement, bits out of range.

    Example:
        >>> fitted_levels(torch.tensor([[0.0, 1.0, 9.0, 10.0]]), 1).tolist()
        [[0.5, 9.5]]
    """
    check_table_bits(bits)
    check_choice("placement", placement, Placement)
    if placement != "lloyd":
        return range_levels(table, bits, placement, per_node)
    values = table if per_node else table.reshape(1, -1)
    ordered = values.sort(dim=1).values
    places = (torch.arange(2**bits, device=table.device) + 0.5) / 2**bits * values.shape[1]
    levels = ordered[:, places.long().clamp(max=values.shape[1] - 1)]
    for _ in range(rounds):
        codes = nearest_codes(values, levels)
        sums = sums_per_code(values, codes, 2**bits)
        counts = sums_per_code(torch.ones_like(values), codes, 2**bits)
        levels = torch.where(counts > 0, sums / counts.clamp(min=1), levels).sort(dim=1).values
    return levels


def sums_per_code(values: Tensor, codes: Tensor, num_codes: int) -> Tensor:
    """Sum of each row's values that have code k, float32 (|V|, num_codes).

    Example:
        >>> sums_per_code(torch.tensor([[1.0, 2.0, 4.0]]), torch.tensor([[0, 1, 0]]), 2).tolist()
        [[5.0, 2.0]]
    """
    return values.new_zeros(values.shape[0], num_codes).scatter_add_(1, codes.long(), values)


class LevelLookup(torch.autograd.Function):
    """X[n, d] = levels[n, codes[n, d]]; exact gradient for the levels, straight-through gradient for a latent table.

        dX/dlevels: sums of the gradient over the values with that code, exact
        dX/dlatent: the gradient itself, wherever the latent value lies

    Args of `apply`: latent (|V|, D), levels (|V| or 1, K), codes (|V|, D).

    Example:
        >>> latent = torch.tensor([[0.2, 0.9, 9.0]], requires_grad=True)
        >>> levels = torch.tensor([[0.0, 1.0]], requires_grad=True)
        >>> LevelLookup.apply(latent, levels, nearest_codes(latent, levels)).sum().backward()
        >>> latent.grad.tolist(), levels.grad.tolist()
        ([[1.0, 1.0, 1.0]], [[1.0, 2.0]])
    """

    @staticmethod
    def forward(ctx: Any, latent: Tensor, levels: Tensor, codes: Tensor) -> Tensor:
        ctx.save_for_backward(levels, codes)
        return look_up(codes, levels)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        levels, codes = ctx.saved_tensors
        grad_levels = None
        if ctx.needs_input_grad[1]:
            sums = sums_per_code(grad, codes, levels.shape[1])
            grad_levels = sums.sum(dim=0, keepdim=True) if levels.shape[0] == 1 else sums
        return grad if ctx.needs_input_grad[0] else None, grad_levels, None
