"""Sparse features: products and gradients as with dense ones, and low-bit forms that say what they are."""

from __future__ import annotations

import pytest
import torch

from gnnq_lib.errors import InputError
from gnnq_lib.models import FeatureKind, FeatureMatrix

BINARY = torch.tensor([[1.0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0], [1, 1, 1, 0]])
GRADED = torch.tensor([[3.0, 0, 1, 0], [0, 2, 0, 0], [0, 0, 0, 0], [1, 0.01, 1, 0]])
SIGNED = torch.tensor([[-3.0, 0, 1, 0], [0, 2, 0, 0], [0, 0, 0, 0], [1, -1, 1, 0]])
KINDS = {"binary": BINARY, "graded": GRADED, "signed": SIGNED}
each_kind = pytest.mark.parametrize("raw", KINDS.values(), ids=KINDS)


def dense(matrix: FeatureMatrix) -> torch.Tensor:
    return matrix.csr(matrix.values).to_dense()


@pytest.mark.parametrize(("raw", "kind"), [(v, k) for k, v in KINDS.items()], ids=KINDS)
def test_kind_is_told_from_the_values(raw, kind):
    assert FeatureMatrix(raw).kind is FeatureKind(kind)


def test_values_are_divided_by_row_sums_and_signed_ones_left_alone():
    assert torch.equal(dense(FeatureMatrix(BINARY)).sum(dim=1), torch.tensor([1.0, 1, 0, 1]))
    assert dense(FeatureMatrix(GRADED))[0].tolist() == [0.75, 0, 0.25, 0]
    assert torch.equal(dense(FeatureMatrix(SIGNED)), SIGNED)


@each_kind
def test_sparse_and_dense_input_are_the_same(raw):
    assert torch.equal(dense(FeatureMatrix(raw)), dense(FeatureMatrix(raw.to_sparse_csr())))


@each_kind
def test_stored_and_implicit_zeros_add_up(raw):
    matrix = FeatureMatrix(raw)
    assert matrix.num_stored == int((raw != 0).sum())
    assert matrix.num_stored + matrix.implicit_zeros == raw.numel()


@each_kind
def test_products_and_gradients_are_those_of_the_dense_matrix(raw):
    torch.manual_seed(0)
    matrix, outgoing = FeatureMatrix(raw), torch.randn(4, 3)
    weight = torch.randn(4, 3, requires_grad=True)
    x = dense(matrix).requires_grad_()
    (x @ weight * outgoing).sum().backward()
    of_weight, of_x, weight.grad = weight.grad, x.grad, None

    product = matrix.product(weight)
    torch.testing.assert_close(product, x @ weight)
    (product * outgoing).sum().backward()
    torch.testing.assert_close(weight.grad, of_weight)

    weight.grad, values = None, matrix.values.clone().requires_grad_()
    product = matrix.product_with_values(weight, values)
    torch.testing.assert_close(product, x @ weight)
    (product * outgoing).sum().backward()
    torch.testing.assert_close(weight.grad, of_weight)
    torch.testing.assert_close(values.grad, of_x[raw != 0])


def test_product_takes_other_stored_values():
    matrix = FeatureMatrix(BINARY)
    values = torch.arange(1.0, 7.0)
    assert matrix.product(torch.eye(4), values)[3].tolist() == [4, 5, 6, 0]


@pytest.mark.parametrize("bits", [1, 2, 8])
def test_binary_features_in_low_bits_are_the_normalised_features_exactly(bits):
    matrix = FeatureMatrix(BINARY)
    low = matrix.low_bit(bits)
    assert low.num_bits == 1 and low.column_scale is None and low.side_bits == 0
    assert torch.equal(matrix.csr(low.codes).to_dense() * low.row_scale, dense(matrix))


def test_graded_codes_by_hand():
    low = FeatureMatrix(GRADED).low_bit(2)
    # columns: max 3, 2, 1 over 3 levels; 0.01 of 2 rounds to 0, but a stored word stays a word
    assert low.column_scale.tolist() == pytest.approx([1.0, 2 / 3, 1 / 3, 1.0])
    assert low.codes.tolist() == [3, 3, 3, 1, 1, 3]
    # row 0: 3 * 1 + 3 / 3 = 4; row 3: 1 + 2/3 + 1
    assert low.row_scale.flatten().tolist() == pytest.approx([1 / 4, 1 / 2, 1, 3 / 8])
    assert low.side_bits == 4 * 32


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_graded_rows_in_low_bits_add_up_to_one(bits):
    matrix = FeatureMatrix(GRADED)
    low = matrix.low_bit(bits)
    rows = (matrix.csr(low.codes).to_dense() * low.row_scale * low.column_scale).sum(dim=1)
    torch.testing.assert_close(rows, torch.tensor([1.0, 1, 0, 1]))


def test_eight_bits_are_within_half_a_step():
    raw = torch.rand(20, 5, generator=torch.Generator().manual_seed(0)) + 0.5
    matrix = FeatureMatrix(raw)
    low = matrix.low_bit(8)
    assert ((low.codes.view(20, 5) * low.column_scale - raw).abs() <= 0.5001 * low.column_scale).all()


def test_signed_codes_are_symmetric_with_no_row_scale():
    low = FeatureMatrix(SIGNED).low_bit(2)
    assert low.codes.tolist() == [-1, 1, 1, 0, 0, 1]  # 2 bits: -1, 0, 1; 1/3 rounds to 0, -1/2 to even
    assert torch.equal(low.row_scale, torch.ones(4, 1))


@pytest.mark.gpu
@each_kind
def test_cuda_holds_the_same_and_gives_the_same_gradients(raw):
    here, there = FeatureMatrix(raw), FeatureMatrix(raw.cuda())
    assert there.values.is_cuda and torch.equal(there.values.cpu(), here.values) and there.kind is here.kind
    for name in ("codes", "row_scale", "column_scale"):
        one, other = (getattr(matrix.low_bit(2), name) for matrix in (here, there))
        assert one is other is None or torch.equal(one, other.cpu())
    results = []
    for matrix in (here, there):
        weight = torch.arange(8.0, device=matrix.values.device).view(4, 2).requires_grad_()
        values = matrix.values.clone().requires_grad_()
        (matrix.product(weight) + matrix.product_with_values(weight, values)).square().sum().backward()
        results.append((weight.grad.cpu(), values.grad.cpu()))
    torch.testing.assert_close(*results)


@pytest.mark.parametrize("bits", [0, 9, 2.0, True], ids=str)
def test_bits_out_of_range_are_refused(bits):
    with pytest.raises(InputError, match="num_bits=.* an integer from 1 to 8"):
        FeatureMatrix(GRADED).low_bit(bits)


def test_one_bit_cannot_hold_signs():
    with pytest.raises(InputError, match="1 bit"):
        FeatureMatrix(SIGNED).low_bit(1)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")], ids=str)
def test_values_that_are_no_numbers_are_refused(bad):
    raw = BINARY.clone()
    raw[1, 1] = bad
    with pytest.raises(InputError, match="NaN or infinity"):
        FeatureMatrix(raw)


def test_features_must_be_a_matrix():
    with pytest.raises(InputError, match=r"shape \(4,\)"):
        FeatureMatrix(torch.ones(4))


@pytest.mark.parametrize("shape", [(1, 1), (3, 2)], ids=str)
def test_all_zero_features_give_zero(shape):
    matrix = FeatureMatrix(torch.zeros(shape))
    assert matrix.num_stored == 0
    assert torch.equal(matrix.product(torch.ones(shape[1], 2)), torch.zeros(shape[0], 2))
    assert matrix.low_bit(2).codes.numel() == 0
