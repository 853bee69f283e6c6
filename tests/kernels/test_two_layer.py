"""The two-layer kernel: by hand, against its twin on every instruction set, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from cases import BITS, COMPILED, forced, random_codes, random_graph
from hypothesis import given, settings
from hypothesis import strategies as st

from gnnq_lib.errors import InputError
from gnnq_lib.kernels import (
    CSRGraph,
    IntegerFeatures,
    RowQuantizer,
    TwoLayerWeights,
    available_isas,
    torch_two_layer,
    two_layer,
)
from gnnq_lib.quantizers.packing import PackedCodes


def small_case(codes: torch.Tensor | None = None) -> tuple[IntegerFeatures, TwoLayerWeights]:
    """Two nodes, three features, two hidden units, two classes."""
    pattern = CSRGraph(torch.tensor([0, 2, 3]), torch.tensor([0, 2, 1]), num_cols=3)
    weight1 = PackedCodes.from_codes(torch.tensor([[3, 0], [1, 2], [2, 3]]), 2)
    weight2 = PackedCodes.from_codes(torch.tensor([[1, 0], [1, 1]]), 1)
    weights = TwoLayerWeights(
        weight1, torch.tensor([0.5, 1.0]), torch.tensor([0.0, 1.0]),
        weight2, torch.tensor([1.0, 2.0]), torch.tensor([0.0, 10.0]),
        RowQuantizer(1.0, bits=2, num_exponents=2),
    )  # fmt: skip
    return IntegerFeatures(pattern, torch.tensor([1.0, 3.0]), codes), weights


@pytest.mark.parametrize("isa", available_isas())
def test_by_hand(isa):
    # W1 = 2q - 3: (3, -3), (-1, 1), (1, 3). Node 0: (4, 0) * (0.5, 1) + (0, 1) = (2, 1); node 1: 3 * (-1, 1) -> (0, 4).
    # Q: codes (2, 1) at e = 0; range 4 > 3, so e = 1: (0, 2), value (0, 4). W2 = 2q - 1: (1, -1), (1, 1).
    with forced(isa):
        assert two_layer(*small_case()).tolist() == [[3, 2 * -1 + 10], [4, 18]]


@pytest.mark.parametrize("isa", available_isas())
def test_feature_codes_by_hand(isa):
    # Node 0: 2 * (3, -3) - (1, 3) = (5, -9) -> (2.5, -8) -> relu, Q: (2, 0); node 1: 0 -> (0, 1).
    with forced(isa):
        result = two_layer(*small_case(torch.tensor([2, -1, 0], dtype=torch.int8)))
    assert result.tolist() == [[2, 6], [1, 12]]


@st.composite
def two_layer_cases(draw):
    """(features, weights)."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    num_rows, num_features = draw(st.integers(1, 30)), draw(st.integers(1, 60))
    pattern = random_graph(
        generator, num_rows, num_features, draw(st.sampled_from([0, 5, 200, 3000])), draw(st.booleans())
    )
    limit = draw(st.sampled_from([1, 3, 128]))
    codes = torch.randint(-limit, limit, (pattern.num_edges,), generator=generator).to(torch.int8)
    features = IntegerFeatures(pattern, torch.rand(num_rows, generator=generator), draw(st.sampled_from([None, codes])))
    hidden, classes = draw(st.sampled_from([1, 7, 64, 65, 130])), draw(st.sampled_from([1, 3, 7, 15, 16, 17, 40]))
    weights = TwoLayerWeights(
        random_codes(generator, num_features, hidden, draw(BITS), draw(st.booleans())),
        torch.rand(hidden, generator=generator), torch.randn(hidden, generator=generator),
        random_codes(generator, hidden, classes, draw(BITS), draw(st.booleans())),
        torch.rand(classes, generator=generator), torch.randn(classes, generator=generator),
        RowQuantizer(draw(st.floats(0.01, 1.0)), draw(BITS), draw(st.integers(1, 8)), gamma=draw(st.floats(0.5, 1.5))),
    )  # fmt: skip
    return features, weights


@pytest.mark.parametrize("isa", COMPILED)
@settings(max_examples=80, deadline=None)
@given(case=two_layer_cases())
def test_equals_the_twin_bit_for_bit(isa, case):
    features, weights = case
    with forced(isa):
        result = two_layer(features, weights)
    assert torch.equal(result, torch_two_layer(features, weights))


def test_shapes_must_fit():
    features, weights = small_case()
    fields = {name: value for name, value in vars(weights).items() if not name.startswith("_")}
    with pytest.raises(InputError, match="must be equal"):
        TwoLayerWeights(**{**fields, "weight2": random_codes(torch.Generator(), 3, 2, 1)})
    with pytest.raises(InputError, match="bias1"):
        TwoLayerWeights(**{**fields, "bias1": torch.zeros(3)})
    with pytest.raises(InputError, match="features given for weights"):
        two_layer(features, TwoLayerWeights(**{**fields, "weight1": random_codes(torch.Generator(), 5, 2, 2)}))
    with pytest.raises(InputError, match="int8"):
        IntegerFeatures(features.pattern, features.row_scale, torch.tensor([1, 2, 3]))
    with pytest.raises(InputError, match="row_scale"):
        IntegerFeatures(features.pattern, torch.ones(3))
    with pytest.raises(InputError, match="TwoLayerWeights"):
        two_layer(features, None)


@pytest.mark.parametrize("isa", COMPILED)
@pytest.mark.parametrize("rows", [1, 3, 8, 9])
@pytest.mark.parametrize("classes", [3, 7, 15, 40])
def test_codes_as_bit_planes(isa, rows, classes):
    generator = torch.Generator().manual_seed(rows)
    pattern = random_graph(generator, rows, 50, 60 * (rows // 2))  # the last rows may be empty
    codes = torch.randint(0, 16, (pattern.num_edges,), generator=generator).to(torch.int8)
    features = IntegerFeatures(pattern, torch.rand(rows, generator=generator), codes)
    weights = TwoLayerWeights(
        random_codes(generator, 50, 64, 4), torch.rand(64, generator=generator), torch.randn(64, generator=generator),
        random_codes(generator, 64, classes, 4), torch.rand(classes), torch.randn(classes),
        RowQuantizer(0.05, 4, 8),
    )  # fmt: skip
    assert rows == 1 or features.layout.for_bytes.num_planes == 4
    with forced(isa):
        assert torch.equal(two_layer(features, weights), torch_two_layer(features, weights))


def test_groups_of_rows_by_hand():
    # Rows 3, 1, 2, 0, 1 entries long; row 1 comes first. What is missing beside it is feature 7, a row of zeros.
    pattern = CSRGraph(torch.tensor([0, 1, 4, 6, 6, 7]), torch.tensor([0, 1, 2, 3, 4, 5, 6]), num_cols=7)
    entries = IntegerFeatures(pattern, torch.ones(5)).layout.for_bytes
    assert entries.order.tolist() == [1, 2, 0, 4, 3]
    assert entries.row_ptr.tolist() == [0, 3, 3]
    assert entries.col.int().tolist() == [1, 4, 0, 6, 2, 5, 7, 7, 3, 7, 7, 7]
    assert entries.code_sums.tolist() == [3, 2, 1, 1, 0, 0, 0, 0]


def test_planes_by_hand():
    pattern = CSRGraph(torch.tensor([0, 1, 3]), torch.tensor([0, 0, 1]), num_cols=2)
    entries = IntegerFeatures(pattern, torch.ones(2), torch.tensor([2, 1, 3], dtype=torch.int8)).layout.for_bytes
    assert (entries.num_planes, entries.order.tolist(), entries.code_sums.tolist()) == (2, [0, 1], [2, 4, 0, 0])
    assert entries.row_ptr.tolist() == [0, 2, 3]
    assert entries.col.int().tolist() == [2, 0, 2, 2, 2, 1, 2, 2, 0, 1, 2, 2]


@pytest.mark.parametrize("codes", [[2, -1, 0], [2, 64, 0]])
def test_negative_and_large_codes_have_no_planes(codes):
    features, _ = small_case(torch.tensor(codes, dtype=torch.int8))
    assert features.layout.for_bytes is None


@pytest.mark.parametrize("isa", COMPILED)
@pytest.mark.parametrize("num_features", [65535, 65536])
def test_many_features_take_wide_indices(isa, num_features):
    generator = torch.Generator().manual_seed(0)
    pattern = CSRGraph(torch.tensor([0, 2, 3]), torch.tensor([0, num_features - 1, 40000]), num_cols=num_features)
    features = IntegerFeatures(pattern, torch.ones(2))
    assert features.layout.for_bytes.col.element_size() == (2 if num_features < 65536 else 4)
    weights = TwoLayerWeights(
        random_codes(generator, num_features, 20, 2), torch.rand(20), torch.randn(20),
        random_codes(generator, 20, 5, 2), torch.rand(5), torch.randn(5), RowQuantizer(0.5, 2, 4),
    )  # fmt: skip
    with forced(isa):
        assert torch.equal(two_layer(features, weights), torch_two_layer(features, weights))


@pytest.mark.parametrize("isa", COMPILED)
@pytest.mark.parametrize("bits", [1, 2, 4])
def test_long_rows_of_largest_weights(isa, bits):
    # 700 entries of the largest number: lanes of 8 and 16 bits must be emptied in time.
    pattern = CSRGraph(torch.tensor([0, 700, 700, 1399]), torch.arange(700).repeat(2)[:1399], num_cols=700)
    top = (1 << bits) - 1
    weights = TwoLayerWeights(
        PackedCodes.from_codes(torch.full((700, 64), top), bits), torch.ones(64), torch.arange(64.0),
        PackedCodes.from_codes(torch.full((64, 3), top), bits), torch.ones(3), torch.zeros(3), RowQuantizer(64.0, 8, 8),
    )  # fmt: skip
    features = IntegerFeatures(pattern, torch.ones(3))
    with forced(isa):
        assert torch.equal(two_layer(features, weights), torch_two_layer(features, weights))
