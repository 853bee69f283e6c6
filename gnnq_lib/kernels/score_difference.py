"""Differences of two scores of one user: what BPR, LightGCN's loss, looks at, and its gradient.

For every triplet PyTorch's own operations write six rows that are used once; here they stay in registers.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from gnnq_lib.errors import InputError
from gnnq_lib.kernels import native
from gnnq_lib.kernels.checks import check_range, check_tensor

_PARTIAL_SUMS = 16


def score_difference(rows: Tensor, places: Tensor) -> Tensor:
    """<h_u, h_j - h_i> for every triplet (u, i, j) of places.

    Each operation is rounded to float32; column c adds to partial sum c mod 16, and halves of these are added up until
    one is left. No gradient is recorded; see `score_difference_backward`.

    Args:
        rows: float32 (n, D): h.
        places: int64 (3 t,), in 0 to n - 1: the users u, then the first items i, then the second items j.

    Returns:
        float32 (t,).

    Raises:
        InputError: an argument of wrong type, dtype, shape or device, or a place out of range.

    Example:
        >>> score_difference(torch.tensor([[2.0], [1.0], [4.0]]), torch.tensor([0, 1, 2])).tolist()
        [6.0]
    """
    isa = _check(rows, places)
    if isa == native.REFERENCE:
        return _torch_difference(rows, places)
    out = rows.new_empty(places.numel() // 3)
    _native(rows, places, None, out, isa)
    return out


def score_difference_backward(rows: Tensor, places: Tensor, grad: Tensor) -> Tensor:
    """The gradient of `rows` from that of the differences, added up triplet by triplet.

        out[u] += g (h_j - h_i),   out[i] -= g h_u,   out[j] += g h_u

    Args:
        rows, places: as given to `score_difference`.
        grad: float32 (t,): g.

    Returns:
        float32 (n, D).

    Raises:
        InputError: as above.

    Example:
        >>> rows, places = torch.tensor([[2.0], [1.0], [4.0]]), torch.tensor([0, 1, 2])
        >>> score_difference_backward(rows, places, torch.ones(1)).flatten().tolist()
        [3.0, -2.0, 2.0]
    """
    isa = _check(rows, places, grad)
    if isa == native.REFERENCE:
        return _torch_backward(rows, places, grad)
    out = torch.empty_like(rows)
    _native(rows, places, grad, out, isa)
    return out


def torch_score_difference(rows: Tensor, places: Tensor) -> Tensor:
    """Readable twin of `score_difference`: same arguments, same result on a CPU.

    Example:
        >>> torch_score_difference(torch.tensor([[2.0], [1.0], [4.0]]), torch.tensor([0, 1, 2])).tolist()
        [6.0]
    """
    _check(rows, places)
    return _torch_difference(rows, places)


def torch_score_difference_backward(rows: Tensor, places: Tensor, grad: Tensor) -> Tensor:
    """Readable twin of `score_difference_backward`: same arguments, same result on a CPU.

    Example:
        >>> rows, places = torch.tensor([[2.0], [1.0], [4.0]]), torch.tensor([0, 1, 2])
        >>> torch_score_difference_backward(rows, places, torch.ones(1)).flatten().tolist()
        [3.0, -2.0, 2.0]
    """
    _check(rows, places, grad)
    return _torch_backward(rows, places, grad)


@torch.no_grad()
def _torch_difference(rows: Tensor, places: Tensor) -> Tensor:
    users, first, second = (F.embedding(part, rows) for part in places.chunk(3))
    if rows.is_cuda:
        return torch.linalg.vecdot(users, second - first)  # the fewest calls, in an order of its own
    width = rows.shape[1]
    wanted = max(1, -(-width // _PARTIAL_SUMS)) * _PARTIAL_SUMS  # rows without a value have sums of 0, too
    terms = F.pad(users * (second - first), (0, wanted - width))
    total = terms.new_zeros(len(terms), _PARTIAL_SUMS)
    for part in terms.split(_PARTIAL_SUMS, dim=1):
        total = total + part
    while total.shape[1] > 1:
        left, right = total.chunk(2, dim=1)
        total = left + right
    return total[:, 0]


@torch.no_grad()
def _torch_backward(rows: Tensor, places: Tensor, grad: Tensor) -> Tensor:
    users, first, second = (F.embedding(part, rows) for part in places.chunk(3))
    to_items = users * grad[:, None]
    terms = torch.stack([(second - first) * grad[:, None], -to_items, to_items], dim=1).flatten(0, 1)
    return torch.zeros_like(rows).index_add_(0, places.view(3, -1).T.flatten(), terms)


def _native(rows: Tensor, places: Tensor, grad: Tensor | None, out: Tensor, isa: str) -> None:
    pointers = (rows.data_ptr(), places.data_ptr(), 0 if grad is None else grad.data_ptr(), out.data_ptr())
    sizes = (*rows.shape, places.numel() // 3, grad is not None, torch.get_num_threads())
    native.call("score_difference", isa, native.SCORE_DIFFERENCE_ARGS.pack(*pointers, *sizes))


def _check(rows: Tensor, places: Tensor, grad: Tensor | None = None) -> str:
    """The path for arguments that are as they should be."""
    if not isinstance(rows, Tensor) or rows.dim() != 2:
        given = f"a tensor of {rows.dim()} dimensions" if isinstance(rows, Tensor) else type(rows).__name__
        raise InputError(f"rows given as {given}; accepted is float32 (n, D)")
    check_tensor("rows", rows, torch.float32, tuple(rows.shape), rows.device)
    count = places.numel() // 3 * 3 if isinstance(places, Tensor) else 0
    check_tensor("places", places, torch.int64, (count,), rows.device)
    check_range("places", places, len(rows))
    if grad is not None:
        check_tensor("grad", grad, torch.float32, (count // 3,), rows.device)
    return native.path_for(rows.device)
