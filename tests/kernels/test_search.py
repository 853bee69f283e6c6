"""search: by hand, against its PyTorch twin on every instruction set, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from cases import BITS, COMPILED, forced, random_codes
from hypothesis import given, settings
from hypothesis import strategies as st

from gnnq_lib.deployment.similarity import pack_embeddings
from gnnq_lib.errors import InputError
from gnnq_lib.kernels import available_isas, search, torch_search
from gnnq_lib.quantizers.packing import PackedCodes


def case(generator, num_rows, width, bits, num_queries, equal=False):
    """Codes, queries, factors, offsets and their scale; with `equal`, few different scores."""
    codes = random_codes(generator, width, num_rows, bits, extreme=equal)
    queries = torch.randint(-127, 128, (num_queries, width), generator=generator).to(torch.int8)
    factor, offset = torch.rand(num_rows, generator=generator), torch.randn(num_rows, generator=generator)
    scale = 100 * torch.randn(num_queries, generator=generator)
    return (codes, queries, factor.round(), offset.round(), scale) if equal else (codes, queries, factor, offset, scale)


@st.composite
def search_cases(draw):
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    num_rows = draw(st.one_of(st.integers(1, 40), st.sampled_from([63, 64, 65, 255, 257, 1003])))
    width = draw(st.one_of(st.integers(1, 9), st.sampled_from([63, 64, 65, 200])))
    given = case(generator, num_rows, width, draw(BITS), draw(st.integers(0, 9)), draw(st.booleans()))
    return (*given, draw(st.one_of(st.integers(1, min(num_rows, 30)), st.just(num_rows))))


def assert_same(found, expected):
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])


@pytest.mark.parametrize("isa", available_isas())
def test_by_hand(isa):
    """Two values of 2 bits a row: (-3, 1), (3, -1), (1, 3)."""
    codes = PackedCodes.from_codes(torch.tensor([[0, 3, 2], [2, 1, 3]]), bits=2)
    queries = torch.tensor([[1, 2], [-1, 0]], dtype=torch.int8)  # products: -1, 1, 7 and 3, -3, -1
    factor, offset = torch.tensor([1.0, 2.0, 0.5]), torch.tensor([1.0, 0.0, -1.0])
    with forced(isa):
        scores, rows = search(codes, queries, factor, offset, torch.tensor([0.0, 10.0]), k=3)
    assert scores.tolist() == [[3.5, 2.0, -1.0], [13.0, -6.0, -10.5]]
    assert rows.tolist() == [[2, 1, 0], [0, 1, 2]]


@pytest.mark.parametrize("isa", available_isas())
def test_of_equal_scores_the_lower_row_comes_first(isa):
    codes = PackedCodes.from_codes(torch.zeros(1, 200, dtype=torch.int64), bits=2)
    factor = torch.ones(200)
    factor[150], factor[3] = 0.0, -0.0  # a better score, twice
    with forced(isa):
        rows = search(codes, torch.ones(1, 1, dtype=torch.int8), factor, torch.zeros(200), torch.ones(1), k=5)[1]
    assert rows.tolist() == [[3, 150, 0, 1, 2]]


@pytest.mark.parametrize("isa", COMPILED)
@settings(max_examples=150, deadline=None)
@given(case=search_cases())
def test_equals_the_twin_bit_for_bit(isa, case):
    expected = torch_search(*case)
    with forced(isa):
        assert_same(search(*case), expected)


@pytest.mark.parametrize("isa", COMPILED)
@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("threads", [1, 3])
def test_many_queries_on_several_threads(isa, bits, threads):
    """More queries than are searched at once, and lists so long that fewer are."""
    arguments = case(torch.Generator().manual_seed(bits), 9001, 33, bits, 261)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with forced(isa):
            assert_same(search(*arguments, 20), torch_search(*arguments, 20))
            few = [part[:3] if n in (1, 4) else part for n, part in enumerate(arguments)]
            assert_same(search(*few, 9001), torch_search(*few, 9001))
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("isa", COMPILED)
def test_the_largest_sums(isa):
    """-127 and 127 times the largest numbers of 8 bits, for as many values as a sum may have."""
    width = 65_536
    codes = PackedCodes.from_codes(torch.tensor([0, 255]).repeat(width, 1), bits=8)
    queries = torch.tensor([-127, 127], dtype=torch.int8)[:, None].repeat(1, width)
    with forced(isa):
        scores, rows = search(codes, queries, torch.ones(2), torch.zeros(2), torch.ones(2), k=2)
    sums = torch.tensor([[127 * 128, -127 * 127], [127 * 127, -127 * 128]]) * width
    assert torch.equal(scores, sums.float()) and rows.tolist() == [[0, 1], [1, 0]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"codes": torch.zeros(2, 3)}, "a Tensor given as the codes"),
        ({"queries": torch.zeros(1, 3, dtype=torch.int8)}, r"queries given as torch.int8 \(1, 3\); .* \(1, 2\)"),
        ({"queries": torch.zeros(1, 2)}, "queries given as torch.float32"),
        ({"queries": None}, "queries given as NoneType"),
        ({"factor": torch.ones(4)}, "factor given"),
        ({"offset": torch.ones(3).double()}, "offset given as torch.float64"),
        ({"offset_scale": torch.ones(2)}, "offset_scale given"),
        (
            {"queries": torch.zeros(2, 2, dtype=torch.int8).T, "offset_scale": torch.ones(2)},
            "queries is not contiguous",
        ),
        ({"factor": torch.tensor([torch.nan, 1, 1])}, "factor holds NaN or infinity; finite numbers are accepted"),
        ({"offset": torch.tensor([1, torch.inf, 1])}, "offset holds NaN or infinity"),
        ({"offset_scale": torch.tensor([-torch.inf])}, "offset_scale holds NaN or infinity"),
        ({"factor": torch.full((3,), 1e37)}, r"scores up to 7.7e\+39; less than 3.4e38 is accepted"),
        (
            {"offset": torch.full((3,), -1e20), "offset_scale": torch.full((1,), 1e20)},
            r"scores up to 1e\+40; less than 3.4e38",
        ),
        ({"k": 4}, "k=4 given; whole numbers from 1 to 3"),
        ({"k": 0}, "k=0"),
        ({"k": True}, "k=True"),
        ({"codes": PackedCodes.from_codes(torch.zeros(65_537, 3, dtype=torch.int64), 1)}, "65537 values a row"),
    ],
)
@pytest.mark.parametrize("kernel", [search, torch_search])
def test_bad_input_is_named(kernel, change, message):
    ones = torch.ones(3)
    good = {"codes": random_codes(torch.Generator(), 2, 3, 2), "queries": torch.zeros(1, 2, dtype=torch.int8),
            "factor": ones, "offset": ones, "offset_scale": torch.ones(1), "k": 1}  # fmt: skip
    with pytest.raises(InputError, match=message):
        kernel(**{**good, **change})


@pytest.mark.parametrize("isa", available_isas())
def test_embeddings_so_large_that_packing_overflows_are_refused(isa):
    """They are finite, what is kept of them is not: the compiled kernels would read outside of their heap."""
    x = 1e20 * torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
    packed = pack_embeddings(x, 2)
    with forced(isa), pytest.raises(InputError, match="holds NaN or infinity"):
        packed.search(x[:1], 5)
