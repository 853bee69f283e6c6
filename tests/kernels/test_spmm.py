"""spmm: by hand, against its PyTorch twin on every instruction set, against float64, and what it refuses."""

from __future__ import annotations

import threading

import pytest
import torch
from cases import COMPILED, forced, random_codes, random_graph, spmm_cases
from hypothesis import given, settings

from gnnq_lib.errors import InputError
from gnnq_lib.kernels import CSRGraph, available_isas, spmm, torch_spmm
from gnnq_lib.quantizers.packing import PackedCodes

PATHS = pytest.mark.parametrize("isa", available_isas())


def four_nodes() -> tuple[CSRGraph, PackedCodes]:
    """Node 0 hears 1 and 2, node 1 hears 0, node 2 nobody, node 3 hears itself twice."""
    graph = CSRGraph(torch.tensor([0, 2, 3, 3, 5]), torch.tensor([1, 2, 0, 3, 3]))
    return graph, PackedCodes.from_codes(torch.tensor([[0, 3, 1], [1, 2, 3], [3, 0, 2], [2, 2, 2]]), bits=2)


@PATHS
def test_by_hand(isa):
    graph, rows = four_nodes()
    with forced(isa):
        assert spmm(graph, rows).tolist() == [[4, 2, 5], [0, 3, 1], [0, 0, 0], [4, 4, 4]]
        assert spmm(graph, rows, zero_point=1).tolist() == [[2, 0, 3], [-1, 2, 0], [0, 0, 0], [2, 2, 2]]


@PATHS
def test_exponents_and_zero_points_by_hand(isa):
    graph, rows = four_nodes()
    exponents = torch.tensor([0, 1, 2, 3], dtype=torch.uint8)
    zeros = torch.tensor([0, 1, 2, 3], dtype=torch.uint8)
    # node 0: (q1 - 1) * 2 + (q2 - 2) * 4
    with forced(isa):
        sums = spmm(graph, rows, exponents=exponents, zero_point=zeros)
    assert sums.tolist() == [[0 + 4, 2 - 8, 4 + 0], [0, 3, 1], [0, 0, 0], [-16, -16, -16]]


@PATHS
def test_edge_codes_by_hand(isa):
    graph, rows = four_nodes()
    codes = torch.tensor([2, 0, 1, 3, 1], dtype=torch.uint8)
    with forced(isa):
        assert spmm(graph, rows, edge_codes=codes).tolist() == [[2, 4, 6], [0, 3, 1], [0, 0, 0], [8, 8, 8]]


@PATHS
def test_scales_by_hand(isa):
    graph, rows = four_nodes()
    with forced(isa):
        result = spmm(
            graph, rows, scale=0.5, row_scale=torch.tensor([1.0, 2.0, 4.0, 8.0]),
            column_scale=torch.tensor([1.0, 10.0, 100.0]), bias=torch.tensor([0.0, 0.0, 1.0]),
        )  # fmt: skip
    assert result.tolist() == [[2, 10, 251], [0, 30, 101], [0, 0, 1], [16, 160, 1601]]


@pytest.mark.parametrize("isa", COMPILED)
@settings(max_examples=150, deadline=None)
@given(case=spmm_cases())
def test_equals_the_twin_bit_for_bit(isa, case):
    graph, rows, options = case
    expected = torch_spmm(graph, rows, **options)
    with forced(isa):
        result = spmm(graph, rows, **options)
    assert result.dtype == expected.dtype
    assert torch.equal(result, expected)


@settings(max_examples=50, deadline=None)
@given(case=spmm_cases())
def test_twin_equals_dense_float64(case):
    graph, rows, options = case
    zero = options["zero_point"]
    values = rows.codes().double() - (zero.double()[:, None] if isinstance(zero, torch.Tensor) else zero)
    for name, factor in (("node_scale", lambda s: s.double()), ("exponents", lambda e: 2.0 ** e.double())):
        if options.get(name) is not None:
            values = values * factor(options[name])[:, None]
    weights = torch.ones(graph.num_edges, dtype=torch.float64)
    for name in ("edge_weight", "edge_codes"):
        if options.get(name) is not None:
            weights = weights * options[name].double()
    dense = torch.zeros(graph.shape, dtype=torch.float64)
    dense.index_put_((graph.edge_rows, graph.col.long()), weights, accumulate=True)
    expected, size = dense @ values, dense.abs() @ values.abs()
    factor = 1.0 if options["scale"] is None else options["scale"]
    for name, dim in (("row_scale", 1), ("column_scale", 0)):
        if options[name] is not None:
            factor = factor * options[name].double().unsqueeze(dim)
    bias = 0.0 if options["bias"] is None else options["bias"].double()
    result = torch_spmm(graph, rows, **options).double()
    error = (result - (expected * factor + bias)).abs()
    assert bool((error <= 1e-4 * ((size * factor).abs() + abs(bias)) + 1e-6).all())


@pytest.mark.parametrize("isa", COMPILED)
@pytest.mark.parametrize("bits", [1, 2, 4, 8], ids=lambda bits: f"bits={bits}")
@pytest.mark.parametrize("num_values", [3, 7, 64, 128])
def test_a_row_longer_than_any_lane(isa, bits, num_values):
    graph = CSRGraph(torch.tensor([0, 70_000, 70_001]), torch.zeros(70_001, dtype=torch.int32), num_cols=1)
    rows = random_codes(torch.Generator(), 1, num_values, bits, extreme=True)
    top = (1 << bits) - 1
    with forced(isa):
        sums = spmm(graph, rows)
    assert torch.equal(sums, torch.tensor([[70_000 * top], [top]], dtype=torch.int32).expand(2, num_values))


@pytest.mark.parametrize("isa", COMPILED)
def test_large_results_are_streamed_right(isa):
    generator = torch.Generator().manual_seed(0)
    graph = random_graph(generator, 9000, 500, 30_000)
    for bits, num_values in ((2, 128), (4, 128), (8, 128), (2, 192), (2, 130)):
        rows = random_codes(generator, 500, num_values, bits)
        scale = torch.rand(9000, generator=generator)
        expected = torch_spmm(graph, rows, row_scale=scale, zero_point=1)
        with forced(isa):
            assert torch.equal(spmm(graph, rows, row_scale=scale, zero_point=1), expected)


@pytest.mark.parametrize("isa", COMPILED)
@pytest.mark.parametrize(("bits", "num_values"), [(1, 64), (2, 16), (8, 16), (4, 32)])
def test_large_results_of_short_rows_are_streamed_right(isa, bits, num_values):
    generator = torch.Generator().manual_seed(0)
    num_rows = 5_000_000 // (4 * num_values)  # beyond the size from which results go past the cache
    graph, rows = random_graph(generator, num_rows, 500, 60_000), random_codes(generator, 500, num_values, bits)
    options = {"scale": 0.5, "zero_point": 1, "column_scale": torch.rand(num_values, generator=generator)}
    with forced(isa):
        assert torch.equal(spmm(graph, rows, **options), torch_spmm(graph, rows, **options))


@pytest.mark.parametrize("isa", COMPILED)
@pytest.mark.parametrize("num_values", [1, 3, 8, 9, 17, 33, 63])
@pytest.mark.parametrize("with_exponents", [False, True])
def test_short_rows_on_any_number_of_threads(isa, num_values, with_exponents):
    generator, before = torch.Generator().manual_seed(0), torch.get_num_threads()
    graph = random_graph(generator, 5000, 5000, 20_000, hub=True)  # most rows without edges, one longer than any lane
    options = {"zero_point": 1}
    if with_exponents:
        options["exponents"] = torch.randint(0, 4, (5000,), generator=generator, dtype=torch.uint8)
    try:
        for bits in (1, 2, 4, 8):
            rows = random_codes(generator, 5000, num_values, bits)
            for extra in ({}, {"scale": 0.3}, {"scale": 0.3, "bias": torch.rand(num_values, generator=generator)}):
                expected = torch_spmm(graph, rows, **options, **extra)
                for threads in (1, 3):
                    torch.set_num_threads(threads)
                    with forced(isa):
                        assert torch.equal(spmm(graph, rows, **options, **extra), expected)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("isa", COMPILED)
def test_thread_count_does_not_matter(isa):
    generator = torch.Generator().manual_seed(0)
    graph, rows = random_graph(generator, 3000, 3000, 40_000, hub=True), random_codes(generator, 3000, 64, 2)
    weight, before = torch.rand(40_000, generator=generator), torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            with forced(isa):
                results.append((spmm(graph, rows), spmm(graph, rows, edge_weight=weight)))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, results[0][0]) and torch.equal(b, results[0][1]) for a, b in results)


def test_two_threads_at_once():
    generator = torch.Generator().manual_seed(0)
    cases = []
    for bits in (2, 4):
        graph, rows = random_graph(generator, 2000, 2000, 30_000), random_codes(generator, 2000, 40, bits)
        cases.append((graph, rows, torch_spmm(graph, rows, scale=0.5)))
    wrong = []

    def work(case):
        graph, rows, expected = case
        wrong.extend(turn for turn in range(30) if not torch.equal(spmm(graph, rows, scale=0.5), expected))

    threads = [threading.Thread(target=work, args=(case,)) for case in cases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@PATHS
def test_out_is_written_and_returned(isa):
    graph, rows = four_nodes()
    out = torch.full((4, 3), -1, dtype=torch.int32)
    with forced(isa):
        assert spmm(graph, rows, out=out) is out
    assert out.tolist() == [[4, 2, 5], [0, 3, 1], [0, 0, 0], [4, 4, 4]]


@PATHS
@pytest.mark.parametrize(("num_rows", "num_cols"), [(0, 0), (0, 3), (3, 0), (1, 1)])
def test_graphs_without_edges(isa, num_rows, num_cols):
    graph = CSRGraph(torch.zeros(num_rows + 1, dtype=torch.long), torch.zeros(0, dtype=torch.long), num_cols)
    rows = random_codes(torch.Generator(), num_cols, 7, 2)
    with forced(isa):
        assert torch.equal(spmm(graph, rows), torch.zeros(num_rows, 7, dtype=torch.int32))
        bias = spmm(graph, rows, bias=torch.ones(7))
    assert torch.equal(bias, torch.ones(num_rows, 7))


BYTES, FLOATS = torch.zeros(4, dtype=torch.uint8), torch.ones(4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"zero_point": 4}, "0 to 3"),
        ({"zero_point": -1}, "0 to 3"),
        ({"zero_point": 1.0}, "integer"),
        ({"zero_point": BYTES + 4}, "0 to 3"),
        ({"zero_point": torch.zeros(4)}, "torch.uint8"),
        ({"exponents": BYTES + 8}, "0 to 7"),
        ({"exponents": BYTES[:3]}, "vector of 4"),
        ({"exponents": torch.zeros(4, dtype=torch.int32)}, "torch.uint8"),
        ({"edge_codes": BYTES}, "vector of 5"),
        ({"node_scale": FLOATS.double()}, "torch.float32"),
        ({"node_scale": torch.ones(8)[::2]}, "contiguous"),
        ({"edge_weight": FLOATS}, "vector of 5"),
        ({"node_scale": FLOATS, "exponents": BYTES}, "fold the integers"),
        ({"scale": "2"}, "one number"),
        ({"row_scale": FLOATS[:1]}, "vector of 4"),
        ({"column_scale": FLOATS}, "vector of 3"),
        ({"bias": FLOATS[None, :3]}, "vector of 3"),
        ({"bias": FLOATS[:3].to("meta")}, "move it there"),
        ({"out": torch.zeros(4, 3)}, "torch.int32"),
        ({"out": torch.zeros(3, 4, dtype=torch.int32).t()}, "contiguous"),
        ({"scale": 1.0, "out": torch.zeros(4, 3, dtype=torch.int32)}, "torch.float32"),
    ],
)
@pytest.mark.parametrize("kernel", [spmm, torch_spmm])
def test_bad_input_is_named(kernel, options, message):
    graph, rows = four_nodes()
    with pytest.raises(InputError, match=message):
        kernel(graph, rows, **options)


def test_wrong_number_of_rows_is_named():
    graph, _ = four_nodes()
    with pytest.raises(InputError, match="one row per source node"):
        spmm(graph, random_codes(torch.Generator(), 5, 3, 2))


def test_unpacked_arguments_are_named():
    graph, rows = four_nodes()
    with pytest.raises(InputError, match="PackedCodes"):
        spmm(graph, rows.data)


def test_sums_beyond_31_bits_are_refused():
    graph = CSRGraph(torch.tensor([0, 300]), torch.zeros(300, dtype=torch.int32), num_cols=1)
    rows = random_codes(torch.Generator(), 1, 1, 8, extreme=True)
    large = {"exponents": torch.tensor([7], dtype=torch.uint8)}
    large["edge_codes"] = torch.full((300,), 255, dtype=torch.uint8)
    with pytest.raises(InputError, match="2\\*\\*31"):
        spmm(graph, rows, **large)


def test_sums_past_31_bits_are_refused(refuses):
    graph = CSRGraph(torch.tensor([0, 2000]), torch.zeros(2000, dtype=torch.int64), num_cols=1)
    rows = PackedCodes.from_codes(torch.tensor([[255]]), bits=8)
    options = {
        "exponents": torch.tensor([7], dtype=torch.uint8),
        "edge_codes": torch.full((2000,), 255, dtype=torch.uint8),
    }
    with refuses("2000 terms"):
        spmm(graph, rows, **options)
