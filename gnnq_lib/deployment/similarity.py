r"""Nearest neighbours among packed embeddings (paper A's second use; fact sheet A, section 1: only announced there).

How a row x of D values becomes D codes of b bits and two numbers of 16 bits:

1. mu, the mean of all rows, is subtracted: x = mu + c. For a query u, with c' = u - mu,

       u . x = c' . c + mu . c + u . mu

   where mu . c is one number per row (kept, 16 bits) and u . mu is the same for all rows.
2. A random rotation R mixes the columns, so that no column is more spread out than another: c' . c = (R c') . (R c).
3. Each row is put on the grid v = -n, -n + 2, ... n (n = 2^b - 1) with the step of least squared error.
4. The row's factor is f = |c|^2 / (R c . v), not the step: f v then has the right inner product with c itself, so the
   error is at right angles to it and close neighbours are not underrated. (Steps 2 and 4 follow RaBitQ, Gao and Long,
   SIGMOD 2024.)

Searching is integer arithmetic (`gnnq_lib.kernels.search`): queries get 8 bits, and a few float operations per score
remain. For the cosine, rows and queries are scaled to length 1 first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from gnnq_lib.errors import InputError
from gnnq_lib.kernels.search import grid, search
from gnnq_lib.quantizers.packing import PackedCodes, check_bits

METRICS = ("inner product", "cosine")
_BLOCK_ROWS = 64
_ROWS_AT_ONCE = 1 << 10  # while packing, so that they stay in cache
_STEPS = 16  # tried per row
_QUERY_LEVELS = 127
_TINY = 1e-30


class Neighbours(NamedTuple):
    """The k best rows of each query: scores float32 (Q, k), falling, and row numbers int64 (Q, k)."""

    scores: Tensor
    rows: Tensor


@dataclass(frozen=True, eq=False)
class PackedEmbeddings:
    """Embeddings as packed codes, to be searched; made by `pack_embeddings`.

    Attributes:
        codes: (D, N), b bits: a column's values lie side by side, so that many rows are unpacked at once.
        factor, offset: float16 (N,): what a row's codes are multiplied by, and mu . c; in units of their largest.
        units: float32 (2,), the two units.
        mean: float32 (D,). rotation: float32 (D, D).
        metric: "inner product" or "cosine".
    """

    codes: PackedCodes
    factor: Tensor
    offset: Tensor
    units: Tensor
    mean: Tensor
    rotation: Tensor
    metric: str

    @property
    def num_rows(self) -> int:
        """N."""
        return self.factor.numel()

    @property
    def nbytes(self) -> int:
        """Everything that is kept: codes, two 16-bit numbers per row, mean, rotation, units."""
        floats = self.mean.numel() + self.rotation.numel() + self.units.numel()
        return self.codes.nbytes + 2 * (self.factor.numel() + self.offset.numel()) + 4 * floats

    def search(self, queries: Tensor, k: int = 20) -> Neighbours:
        """The k rows of largest inner product or cosine.

        Args:
            queries: float32 (Q, D), finite, Q >= 1.
            k: 1 to the number of rows.

        Raises:
            InputError: queries of another dtype or width, or k out of range.

        Example:
            >>> packed = pack_embeddings(torch.eye(4), bits=8)
            >>> packed.search(torch.tensor([[0.0, 0.1, 3.0, 0.0]]), k=2).rows.tolist()
            [[2, 1]]
        """
        _check_search(queries, self.mean.numel(), k, self.num_rows)
        queries = functional.normalize(queries, dim=1) if self.metric == "cosine" else queries
        whole, step = _whole_numbers((queries - self.mean) @ self.rotation)
        # Scores in units of `step`: the order of rows is that of the true scores. A query at mu has no step of its own.
        step = torch.maximum(step * self.units[0], self.units[1] * _TINY).clamp(min=_TINY)
        offset_scale = (self.units[1] / step).flatten()
        scores, rows = search(self.codes, whole, self.factor.float(), self.offset.float(), offset_scale, k)
        return Neighbours(scores * step + (queries @ self.mean)[:, None], rows)

    def dequantize(self) -> Tensor:
        """The rows without their 16-bit offsets: mean + f v R^T, float32 (N, D)."""
        times, shift = grid(self.codes.bits)
        values = (times * self.codes.codes().float() + shift) * (self.factor.float() * self.units[0])
        return (self.rotation @ values).T + self.mean


def pack_embeddings(embeddings: Tensor, bits: int, metric: str = "inner product", seed: int = 0) -> PackedEmbeddings:
    """Put embeddings into b bits per value and two 16-bit numbers per row; see the top of this file.

    Args:
        embeddings: float32 (N, D), finite, N >= 1.
        bits: 1, 2, 4 or 8.
        metric: "inner product" or "cosine".
        seed: of the rotation.

    Raises:
        InputError: another width, metric or dtype, no rows, or NaN or infinity.

    Example:
        >>> pack_embeddings(torch.randn(100, 64), bits=2).codes
        PackedCodes(64 x 100, 2 bits, 1600 bytes)
    """
    check_bits(bits)
    if metric not in METRICS:
        raise InputError(f"metric={metric!r} was given; {' and '.join(map(repr, METRICS))} are accepted.")
    _check_rows("embeddings", embeddings)
    if not embeddings.shape[0] or not embeddings.shape[1]:
        raise InputError(f"embeddings of shape {tuple(embeddings.shape)} were given; at least one value is needed.")
    rows = functional.normalize(embeddings, dim=1) if metric == "cosine" else embeddings
    mean, rotation = rows.mean(dim=0), _rotation(rows.shape[1], seed)
    parts = [_encode((part - mean) @ rotation, bits) for part in rows.split(_ROWS_AT_ONCE)]
    codes, factor = (torch.cat(part) for part in zip(*parts, strict=True))
    offset = (rows - mean) @ mean
    units = torch.stack([factor.max(), offset.abs().max()]).clamp(min=_TINY)
    halves = ((factor / units[0]).half(), (offset / units[1]).half())
    return PackedEmbeddings(PackedCodes.from_codes(codes.T, bits), *halves, units, mean, rotation, metric)


def best_of_rows(scores: Tensor, k: int) -> Neighbours:
    """The k largest of every row, falling; as `torch.topk`, in fewer passes.

    The k largest lie in those k blocks whose largest scores are largest, so only their entries need be sorted.

    Args:
        scores: (Q, N), without NaN.
        k: 1 ... N.

    Example:
        >>> best_of_rows(torch.tensor([[1.0, 3.0, 2.0]]), 2).rows.tolist()
        [[1, 2]]
    """
    whole = scores.shape[1] // _BLOCK_ROWS * _BLOCK_ROWS
    if whole <= k * _BLOCK_ROWS:
        return Neighbours(*scores.topk(k, dim=1))
    blocks = scores[:, :whole].unflatten(1, (-1, _BLOCK_ROWS))
    chosen = blocks.amax(dim=2).topk(k, dim=1).indices
    rows = (chosen[:, :, None] * _BLOCK_ROWS + torch.arange(_BLOCK_ROWS, device=scores.device)).flatten(1)
    rest = torch.arange(whole, scores.shape[1], device=scores.device).expand(scores.shape[0], -1)
    rows = torch.cat([rows, rest], dim=1)
    best, places = scores.gather(1, rows).topk(k, dim=1)
    return Neighbours(best, rows.gather(1, places))


def recall(found: Tensor, exact: Tensor) -> float:
    """Share of the exact neighbours that were found: both (Q, k) row numbers, without repetitions.

    Example:
        >>> recall(torch.tensor([[1, 2], [5, 4]]), torch.tensor([[2, 3], [4, 5]]))
        0.75
    """
    hits = (found[:, :, None] == exact[:, None, :]).any(dim=1)
    return float(hits.double().mean())


def _encode(x: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Codes uint8 (N, D) and factors (N,) of centred, rotated rows."""
    levels = _levels(bits)
    largest = x.abs().amax(dim=1, keepdim=True).clamp(min=_TINY)
    best_error, values = torch.full_like(largest, torch.inf), torch.zeros_like(x)
    for i in range(_STEPS, 0, -1) if bits < 8 else [_STEPS]:
        step = largest * (i / _STEPS / levels)
        tried = _to_grid(x / step, bits)
        error = (tried * step - x).square().sum(dim=1, keepdim=True)
        values = torch.where(error < best_error, tried, values)
        best_error = torch.minimum(error, best_error)
    along = (x * values).sum(dim=1)
    factor = torch.where(along > 0, x.square().sum(dim=1) / along, torch.zeros_like(along))
    codes = values + 128 if bits == 8 else (values + levels) / 2
    return codes.to(torch.uint8), factor


def _levels(bits: int) -> int:
    """Largest grid value: 127 of 8 bits (int8 holds no more), else 2^b - 1."""
    return min(2**bits - 1, _QUERY_LEVELS)


def _to_grid(x: Tensor, bits: int) -> Tensor:
    """Nearest grid values: whole numbers in 8 bits, else odd ones."""
    levels = _levels(bits)
    if bits == 8:
        return x.round().clamp(-levels, levels)
    return 2 * ((x + levels) / 2).round().clamp(0, levels) - levels


def _whole_numbers(queries: Tensor) -> tuple[Tensor, Tensor]:
    """int8 (Q, D) and steps (Q, 1)."""
    step = (queries.abs().amax(dim=1, keepdim=True) / _QUERY_LEVELS).clamp(min=_TINY)
    return (queries / step).round().to(torch.int8), step


def _rotation(width: int, seed: int) -> Tensor:
    """A random rotation (D, D)."""
    return torch.linalg.qr(torch.randn(width, width, generator=torch.Generator().manual_seed(seed)))[0]


def _check_rows(name: str, rows: Tensor) -> None:
    if not isinstance(rows, Tensor) or rows.dtype != torch.float32 or rows.dim() != 2:
        given = f"{rows.dtype} {tuple(rows.shape)}" if isinstance(rows, Tensor) else type(rows).__name__
        raise InputError(f"{name} were given as {given}; a torch.float32 matrix is accepted.")
    if not bool(torch.isfinite(rows).all()):
        raise InputError(f"{name} hold NaN or infinity; finite numbers are accepted.")


def _check_search(queries: Tensor, width: int, k: int, num_rows: int) -> None:
    _check_rows("queries", queries)
    if queries.shape[1] != width or not queries.shape[0]:
        raise InputError(f"queries of shape {tuple(queries.shape)} were given; (1 or more, {width}) is accepted.")
    if not 1 <= k <= num_rows:
        raise InputError(f"k={k} was given; 1 to {num_rows} are accepted.")
