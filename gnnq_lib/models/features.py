"""Input features as one sparse matrix, prepared once: normalised values, their transpose, and their low-bit form.

Bag-of-words features are sparse and non-negative. Row-normalised binary features need no quantizer at all: the pattern
says where the ones are (1 bit each) and the row scale is 1 / (number of ones). Graded features (TF-IDF) get b-bit codes
times a column scale, which moves into the weights; the row scale again follows from the codes.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

import torch
from torch import Tensor

from gnnq_lib.errors import InputError
from gnnq_lib.quantizers.affine import SCALE_BITS, check_bits


class FeatureKind(str, Enum):
    """What the stored values are: all equal to 1, non-negative, or of either sign."""

    BINARY = "binary"
    GRADED = "graded"
    SIGNED = "signed"


class _SparseProduct(torch.autograd.Function):
    """X W for sparse constant X; the gradient X^T grad uses a transpose built once."""

    @staticmethod
    def forward(ctx: Any, matrix: FeatureMatrix, values: Tensor, weight: Tensor) -> Tensor:
        ctx.matrix, ctx.values = matrix, values
        return matrix.csr(values) @ weight

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, None, Tensor]:
        return None, None, ctx.matrix.csr_transposed(ctx.values) @ grad.contiguous()


class _SparseProductWithValues(torch.autograd.Function):
    """X W whose stored values carry a gradient too: (dL/dX)_ij = grad_i . W_j, only where X has an entry."""

    @staticmethod
    def forward(ctx: Any, matrix: FeatureMatrix, values: Tensor, weight: Tensor) -> Tensor:
        ctx.matrix = matrix
        ctx.save_for_backward(values, weight)
        return matrix.csr(values) @ weight

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor, Tensor]:
        values, weight = ctx.saved_tensors
        matrix, grad = ctx.matrix, grad.contiguous()
        pattern = matrix.csr(torch.zeros_like(values))
        of_values = torch.sparse.sampled_addmm(pattern, grad, weight.t(), beta=0.0).values()
        return None, of_values, matrix.csr_transposed(values) @ grad


class FeatureMatrix:
    """Sparse features X (|V|, F), float32.

    Args:
        features: sparse CSR (as `NodeDataset.features`) or dense, shape (|V|, F); raw values.

    Attributes:
        kind: see `FeatureKind`.
        values: row-normalised stored values, float32 (nnz,); signed features stay as they are.
        num_nodes, num_features: |V|, F.

    Raises:
        InputError: not a matrix, or NaN or infinity among the values.

    Example:
        >>> x = FeatureMatrix(torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])); x.kind.value, x.values.tolist()
        ('binary', [0.5, 0.5, 1.0])
    """

    def __init__(self, features: Tensor) -> None:
        if features.dim() != 2:
            raise InputError(f"features have shape {tuple(features.shape)}; a matrix (|V|, F) is accepted.")
        csr = _without_zeros(features) if features.layout == torch.sparse_csr else features.to_sparse_csr()
        raw = csr.values().float()
        if not torch.isfinite(raw).all():
            raise InputError("features hold NaN or infinity; remove or replace such values first.")
        self.num_nodes, self.num_features = csr.shape
        self._row_ptr, self._col = csr.crow_indices().int(), csr.col_indices().int()
        self.row = torch.repeat_interleave(torch.arange(self.num_nodes, device=raw.device), csr.crow_indices().diff())
        self.raw, self.kind = raw, _kind(raw)
        self.values = raw if self.kind is FeatureKind.SIGNED else raw * self._inverse_row_sum(raw)[self.row]
        self._build_transpose()
        self._low_bit: dict[int, LowBitFeatures] = {}

    @property
    def num_stored(self) -> int:
        """Stored entries (nnz)."""
        return self._col.numel()

    @property
    def implicit_zeros(self) -> int:
        """Entries that are zero and not stored."""
        return self.num_nodes * self.num_features - self.num_stored

    def product(self, weight: Tensor, values: Tensor | None = None) -> Tensor:
        """X W, shape (|V|, C), with other stored values if given; differentiable in `weight`."""
        return _SparseProduct.apply(self, self.values if values is None else values, weight)

    def product_with_values(self, weight: Tensor, values: Tensor) -> Tensor:
        """X W, differentiable in the stored values as well (learned input ranges); slower than `product`."""
        return _SparseProductWithValues.apply(self, values, weight)

    def low_bit(self, num_bits: int, column_scale: Tensor | None = None) -> LowBitFeatures:
        """Integer entries with row and column scales, kept for the next call; see the top of this file.

        Args:
            num_bits: bits of a code.
            column_scale: float32 (F,), of the graph a model was trained on; None takes each column's largest value.
        """
        check_bits(num_bits)
        if column_scale is not None:
            return self._coded(num_bits, column_scale)
        if num_bits not in self._low_bit:
            self._low_bit[num_bits] = self._coded(num_bits, None)
        return self._low_bit[num_bits]

    def _coded(self, num_bits: int, column_scale: Tensor | None) -> LowBitFeatures:
        if self.kind is FeatureKind.BINARY:
            ones = torch.ones_like(self.raw)
            return LowBitFeatures(ones, self._inverse_row_sum(ones)[:, None], None, 1, self)
        if self.kind is FeatureKind.SIGNED and num_bits < 2:
            raise InputError("features of either sign were to be coded in 1 bit; give 2 to 8 bits.")
        signed = self.kind is FeatureKind.SIGNED
        highest = 2 ** (num_bits - 1) - 1 if signed else 2**num_bits - 1
        if column_scale is None:
            largest = self.raw.new_zeros(self.num_features).scatter_reduce(0, self._col.long(), self.raw.abs(), "amax")
            column_scale = torch.where(largest > 0, largest / highest, torch.ones_like(largest))
        codes = torch.round(self.raw / column_scale[self._col.long()])
        # A stored entry stays an entry: rounding a small positive value to zero would lose the word.
        codes = codes.clamp(-highest, highest) if signed else codes.clamp(1, highest)
        row_scale = self.raw.new_ones(self.num_nodes)
        if not signed:
            row_scale = self._inverse_row_sum(codes * column_scale[self._col.long()])
        return LowBitFeatures(codes, row_scale[:, None], column_scale, num_bits, self)

    def csr(self, values: Tensor) -> Tensor:
        """X with the given stored values, sparse CSR."""
        shape = (self.num_nodes, self.num_features)
        return torch.sparse_csr_tensor(self._row_ptr, self._col, values, shape, check_invariants=False)

    def csr_transposed(self, values: Tensor) -> Tensor:
        """X^T with the given stored values, sparse CSR."""
        shape = (self.num_features, self.num_nodes)
        return torch.sparse_csr_tensor(self._row_ptr_t, self._col_t, values[self._order], shape, check_invariants=False)

    @property
    def row_ptr(self) -> Tensor:
        """CSR row pointers, int32 (|V| + 1,)."""
        return self._row_ptr

    @property
    def col(self) -> Tensor:
        """CSR column indices, int32 (nnz,)."""
        return self._col

    def _inverse_row_sum(self, values: Tensor) -> Tensor:
        # On a CPU wherever the features are: CUDA adds in any order, so scales would differ from run to run.
        total = torch.zeros(self.num_nodes, dtype=torch.float32).index_add(0, self.row.cpu(), values.cpu())
        return torch.where(total > 0, 1 / total, torch.ones_like(total)).to(values.device)

    def _build_transpose(self) -> None:
        # A stable sort by column keeps rows ascending within each column.
        self._order = torch.argsort(self._col, stable=True)
        counts = torch.bincount(self._col, minlength=self.num_features)
        self._row_ptr_t = torch.cat([counts.new_zeros(1), counts.cumsum(0)]).int()
        self._col_t = self.row[self._order].int()


class LowBitFeatures:
    """Integer entries q_ij with x^_ij = row_scale_i q_ij column_scale_j.

    Attributes:
        codes: integers as float32 (nnz,), in the order of the matrix' CSR entries.
        row_scale: float32 (|V|, 1).
        column_scale: float32 (F,) to be multiplied into the weights, or None.
        num_bits: bits of one code; 1 means that the pattern says it all.

    Example:
        >>> low = FeatureMatrix(torch.tensor([[3.0, 1.0], [0.0, 2.0]])).low_bit(2); low.codes.tolist()
        [3.0, 2.0, 3.0]
    """

    def __init__(
        self, codes: Tensor, row_scale: Tensor, column_scale: Tensor | None, num_bits: int, matrix: FeatureMatrix
    ) -> None:
        self.codes, self.row_scale, self.column_scale = codes, row_scale, column_scale
        self.num_bits, self.matrix = num_bits, matrix

    @property
    def side_bits(self) -> float:
        """Column scales; row scales follow from the codes."""
        return 0.0 if self.column_scale is None else SCALE_BITS * self.column_scale.numel()


def _without_zeros(csr: Tensor) -> Tensor:
    """The same matrix without entries that are stored and zero: they would be coded as words that occur."""
    if bool((csr.values() != 0).all()):
        return csr
    coo = csr.to_sparse_coo()
    kept = coo.values() != 0
    return torch.sparse_coo_tensor(coo.indices()[:, kept], coo.values()[kept], csr.shape).to_sparse_csr()


def _kind(raw: Tensor) -> FeatureKind:
    if bool((raw == 1).all()):
        return FeatureKind.BINARY
    return FeatureKind.SIGNED if bool((raw < 0).any()) else FeatureKind.GRADED
