"""Random kernel inputs, drawn by hypothesis as a seed and a few sizes; shared by the kernel tests."""

from __future__ import annotations

import os
from contextlib import contextmanager
from unittest import mock

import torch
from hypothesis import strategies as st

from gnnq_lib.kernels import CSRGraph, available_isas
from gnnq_lib.quantizers.packing import PackedCodes

COMPILED = available_isas()[:-1]
BITS = st.sampled_from([1, 2, 4, 8])
WIDTHS = st.one_of(st.integers(1, 20), st.sampled_from([31, 32, 33, 63, 64, 65, 100, 127, 128, 129, 256, 300, 513]))


@contextmanager
def forced(isa: str):
    """Run with one kernel path."""
    with mock.patch.dict(os.environ, GNNQ_KERNEL_ISA=isa):
        yield


def random_graph(generator: torch.Generator, num_rows: int, num_cols: int, num_edges: int, hub=False) -> CSRGraph:
    """Edges at random; with `hub`, most of them in one row, so that lanes overflow if they are flushed too late."""
    if not num_rows or not num_cols:
        num_edges = 0
    row = torch.randint(0, max(num_rows, 1), (num_edges,), generator=generator)
    if hub:
        row[: num_edges * 3 // 4] = 0
    degree = torch.bincount(row, minlength=num_rows)[:num_rows]
    row_ptr = torch.cat([torch.zeros(1, dtype=torch.long), degree.cumsum(0)])
    return CSRGraph(row_ptr, torch.randint(0, max(num_cols, 1), (num_edges,), generator=generator), num_cols)


def random_codes(generator: torch.Generator, num_rows: int, num_values: int, bits: int, extreme=False) -> PackedCodes:
    """Codes at random, or all at their maximum."""
    codes = torch.randint(0, 1 << bits, (num_rows, num_values), generator=generator)
    if extreme:
        codes.fill_((1 << bits) - 1)
    return PackedCodes.from_codes(codes, bits)


def maybe(draw, value):
    """`value` or None."""
    return value if draw(st.booleans()) else None


@st.composite
def float_steps(draw, generator: torch.Generator, num_rows: int, num_values: int) -> dict:
    """The scaling arguments, each present or not."""
    return {
        "scale": maybe(draw, draw(st.sampled_from([0.5, 0.1, -3.7]))),
        "row_scale": maybe(draw, torch.randn(num_rows, generator=generator)),
        "column_scale": maybe(draw, torch.randn(num_values, generator=generator)),
        "bias": maybe(draw, torch.randn(num_values, generator=generator)),
    }


@st.composite
def spmm_cases(draw):
    """(graph, rows, keyword arguments) for spmm, in its integer or its float form."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    bits, num_values = draw(BITS), draw(WIDTHS)
    num_rows, num_cols = draw(st.integers(0, 30)), draw(st.integers(0, 30))
    graph = random_graph(generator, num_rows, num_cols, draw(st.sampled_from([0, 1, 5, 60, 1500])), draw(st.booleans()))
    rows = random_codes(generator, num_cols, num_values, bits, draw(st.booleans()))
    options = draw(float_steps(generator, num_rows, num_values))
    zeros = torch.randint(0, 1 << bits, (num_cols,), generator=generator, dtype=torch.uint8)
    options["zero_point"] = draw(st.one_of(st.integers(0, (1 << bits) - 1), st.just(zeros)))
    if draw(st.booleans()):
        options["node_scale"] = maybe(draw, torch.randn(num_cols, generator=generator))
        options["edge_weight"] = maybe(draw, torch.randn(graph.num_edges, generator=generator))
    else:
        top = draw(st.sampled_from([1, 3, 7]))
        exponents = torch.randint(0, top + 1, (num_cols,), generator=generator, dtype=torch.uint8)
        options["exponents"] = maybe(draw, exponents)
        # Sums of 1500 terms that could pass 2**31 - 1 are refused (tested by themselves).
        largest = (2**31 - 1) // (1500 * (((1 << bits) - 1) << top))
        top_code = min(draw(st.sampled_from([1, 3, 15, 255])), largest)
        codes = torch.randint(0, top_code + 1, (graph.num_edges,), generator=generator)
        options["edge_codes"] = maybe(draw, codes.to(torch.uint8))
    return graph, rows, options


@st.composite
def linear_cases(draw):
    """(x, weight, keyword arguments) for linear."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    x_bits, weight_bits = draw(BITS), draw(BITS)
    num_rows, inner = draw(st.integers(0, 20)), draw(st.one_of(st.integers(1, 10), st.sampled_from([63, 64, 65, 200])))
    num_values = draw(st.one_of(st.integers(1, 20), st.sampled_from([64, 100])))
    x = random_codes(generator, num_rows, inner, x_bits, draw(st.booleans()))
    weight = random_codes(generator, inner, num_values, weight_bits, draw(st.booleans()))
    options = draw(float_steps(generator, num_rows, num_values))
    zeros = torch.randint(0, 1 << x_bits, (num_rows,), generator=generator, dtype=torch.uint8)
    options["x_zero"] = draw(st.one_of(st.integers(0, (1 << x_bits) - 1), st.just(zeros)))
    options["weight_zero"] = draw(st.integers(0, (1 << weight_bits) - 1))
    return x, weight, options
