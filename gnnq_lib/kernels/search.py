"""The best rows of a packed table for some queries: products of integers, ranked before they reach memory.

Full-precision search writes a score per query and row and ranks them afterwards, which takes as long as the product.
Here a score is compared with the worst of those kept as soon as it is there.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gnnq_lib.errors import InputError
from gnnq_lib.kernels import native
from gnnq_lib.kernels.checks import check_tensor
from gnnq_lib.quantizers.packing import PackedCodes

WIDEST = 1 << 16  # values in a row: longer sums could pass 31 bits
_QUERIES_AT_ONCE, _KEPT_AT_ONCE = 256, 1 << 21  # so that what is kept of each query stays small
_SCORES_AT_ONCE = 1 << 22  # of the twin


def search(
    codes: PackedCodes, queries: Tensor, factor: Tensor, offset: Tensor, offset_scale: Tensor, k: int
) -> tuple[Tensor, Tensor]:
    """The k rows of largest score for every query.

        score[q, n] = float32(sum over d of queries[q, d] * v[d, n]) * factor[n]  +  offset_scale[q] * offset[n]

    with the whole number v = 2c - (2^b - 1) that a code c of b bits stands for (c - 128 with 8 bits), each operation
    rounded to float32.

    Args:
        codes: (D, N): a row of the table is a column here, so that many rows are unpacked at once; D to 65,536.
        queries: int8 (Q, D).
        factor, offset: float32 (N,), finite.
        offset_scale: float32 (Q,), finite, and small enough that no score can overflow.
        k: 1 to N.

    Returns:
        Scores, float32 (Q, k), falling, and row numbers, int64 (Q, k); of equal scores the lower row comes first.

    Raises:
        InputError: an argument of wrong type, dtype, shape or device, not finite or too large, or k out of range.

    Example:
        >>> codes = PackedCodes.from_codes(torch.tensor([[0, 3, 2]]), bits=2)  # stands for -3, 3, 1
        >>> query, ones = torch.tensor([[5]], dtype=torch.int8), torch.ones(3)
        >>> [part.tolist() for part in search(codes, query, ones, torch.zeros(3), torch.ones(1), k=2)]
        [[[15.0, 5.0]], [[1, 2]]]
    """
    _check(codes, queries, factor, offset, offset_scale, k)
    isa = native.path_for(codes.device)
    if isa == native.REFERENCE:
        return _torch_search(codes, queries, factor, offset, offset_scale, k)
    at_once = max(1, min(_QUERIES_AT_ONCE, _KEPT_AT_ONCE // k))
    shape = (len(queries), k)
    scores, rows = factor.new_empty(shape), factor.new_empty(shape, dtype=torch.int64)
    for start in range(0, len(queries), at_once):
        part = slice(start, start + at_once)
        _native_search(codes, queries[part], factor, offset, offset_scale[part], scores[part], rows[part], isa)
    return scores, rows


def torch_search(
    codes: PackedCodes, queries: Tensor, factor: Tensor, offset: Tensor, offset_scale: Tensor, k: int
) -> tuple[Tensor, Tensor]:
    """Readable twin of `search`: same arguments, same result.

    Example:
        >>> codes = PackedCodes.from_codes(torch.tensor([[0, 3, 2]]), bits=2)
        >>> query, ones = torch.tensor([[5]], dtype=torch.int8), torch.ones(3)
        >>> torch_search(codes, query, ones, torch.zeros(3), torch.ones(1), k=1)[1].tolist()
        [[1]]
    """
    _check(codes, queries, factor, offset, offset_scale, k)
    return _torch_search(codes, queries, factor, offset, offset_scale, k)


def grid(bits: int) -> tuple[int, int]:
    """(times, shift): the whole number that code c stands for is times * c + shift.

    Example:
        >>> grid(2), grid(8)
        ((2, -3), (1, -128))
    """
    return (1, -128) if bits == 8 else (2, 1 - 2**bits)


def _native_search(
    codes: PackedCodes,
    queries: Tensor,
    factor: Tensor,
    offset: Tensor,
    offset_scale: Tensor,
    scores: Tensor,
    rows: Tensor,
    isa: str,
) -> None:
    tensors = (codes.data, queries, factor, offset, offset_scale, scores, rows)
    sizes = (codes.num_values, codes.num_rows, len(queries), scores.shape[1], codes.bits, torch.get_num_threads())
    native.call("search", isa, native.SEARCH_ARGS.pack(*[tensor.data_ptr() for tensor in tensors], *sizes))


def _torch_search(
    codes: PackedCodes, queries: Tensor, factor: Tensor, offset: Tensor, offset_scale: Tensor, k: int
) -> tuple[Tensor, Tensor]:
    times, shift = grid(codes.bits)
    values = times * codes.codes().double() + shift  # sums of these are exact in float64
    scores, rows = [], []
    for part, scale in zip(*[t.split(max(1, _SCORES_AT_ONCE // codes.num_values)) for t in (queries, offset_scale)]):
        score = (part.double() @ values).float() * factor + scale[:, None] * offset
        rows.append(_best_rows(score, k))
        scores.append(score.gather(1, rows[-1]))
    if not rows:
        return factor.new_zeros(0, k), torch.zeros(0, k, dtype=torch.int64, device=factor.device)
    return torch.cat(scores), torch.cat(rows)


def _best_rows(scores: Tensor, k: int) -> Tensor:
    """The k best of each line, of equal ones the lower row: by whole numbers that rise with the score and fall with the
    row."""
    bits = (scores + 0.0).view(torch.int32).long()  # + 0.0: there is one zero
    rising = torch.where(bits < 0, -(bits & 0x7FFFFFFF), bits)
    row = torch.arange(scores.shape[1], device=scores.device)
    return ((rising << 31) - row).topk(k, dim=1).indices


def _check(codes: PackedCodes, queries: Tensor, factor: Tensor, offset: Tensor, offset_scale: Tensor, k: int) -> None:
    if not isinstance(codes, PackedCodes):
        raise InputError(f"a {type(codes).__name__} given as the codes; PackedCodes (D, N) are accepted")
    if codes.num_rows > WIDEST:
        raise InputError(f"codes of {codes.num_rows} values a row given; 1 to {WIDEST} are accepted")
    count = len(queries) if isinstance(queries, Tensor) and queries.dim() else 0
    rows = (codes.num_values,)
    given = {
        "queries": (queries, torch.int8, (count, codes.num_rows)),
        "factor": (factor, torch.float32, rows),
        "offset": (offset, torch.float32, rows),
        "offset_scale": (offset_scale, torch.float32, (count,)),
    }
    for name, (tensor, dtype, shape) in given.items():
        check_tensor(name, tensor, dtype, shape, codes.device)
    if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= codes.num_values:
        raise InputError(f"k={k!r} given; whole numbers from 1 to {codes.num_values} (the rows) are accepted")
    _check_scores(codes, {"factor": factor, "offset": offset, "offset_scale": offset_scale})


def _check_scores(codes: PackedCodes, factors: dict[str, Tensor]) -> None:
    """Raise InputError where a score could be NaN: such a row is never kept, and the kernel relies on k that are."""
    largest = {name: float(part.abs().max()) if part.numel() else 0.0 for name, part in factors.items()}
    for name, value in largest.items():
        if not math.isfinite(value):
            raise InputError(f"{name} holds NaN or infinity; finite numbers are accepted")
    times, shift = grid(codes.bits)
    sums = 128 * codes.num_rows * max(abs(shift), times * (2**codes.bits - 1) + shift)
    bound = sums * largest["factor"] + largest["offset_scale"] * largest["offset"]
    if bound >= torch.finfo(torch.float32).max:
        raise InputError(f"factor and offset given for scores up to {bound:.2g}; less than 3.4e38 is accepted")
