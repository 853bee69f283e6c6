"""Which quantizer stands where, and how many bits it takes."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch

from gnnq_lib.errors import InputError
from gnnq_lib.models import STAGES, Method, MethodOptions
from gnnq_lib.models.methods import OURS, Values
from gnnq_lib.propagation import Coordinates
from gnnq_lib.quantizers import (
    BitwiseTruncation,
    ColumnStep,
    DegreeQuant,
    FullPrecision,
    LearnedRange,
    LearnedStep,
    MinMax,
    NodePowerOfTwo,
    SkewedBitwiseTruncation,
)

ACTIVATIONS = {
    Method.FP32: FullPrecision,
    Method.QLR: LearnedRange,
    Method.BT: BitwiseTruncation,
    Method.BT_STAR: SkewedBitwiseTruncation,
    Method.MINMAX: MinMax,
    Method.LSQ: LearnedStep,
    Method.DEGREE_QUANT: DegreeQuant,
    Method.TENSOR: MinMax,
    Method.DEGREE_BUCKET: MinMax,
    Method.NODE_FREE: MinMax,
    Method.NODE_POW2: NodePowerOfTwo,
}


def options(method: Method, bits: int = 2, stages=STAGES, num_classes: int = 7, **more) -> MethodOptions:
    return MethodOptions(method, bits, tuple(stages), torch.tensor([1.0, 2, 3, 4]), num_classes, **more)


def test_every_method_is_covered_here():
    assert set(ACTIVATIONS) == set(Method)


@pytest.mark.parametrize(("method", "kind"), ACTIVATIONS.items(), ids=[m.value for m in ACTIVATIONS])
def test_activations_get_the_methods_quantizer(method, kind):
    assert type(options(method).propagation_quantizer("updates")) is kind
    assert type(options(method).embedding_quantizer()) is kind


def test_lsq_spends_no_code_on_signs_that_do_not_occur():
    rules = options(Method.LSQ)
    counts, weights = torch.tensor([0.0, 1.0, 2.0, 3.0]), torch.tensor([[-1.0, 0.5], [0.2, 1.0]])
    assert (rules.input_quantizer()(counts).values >= 0).all()
    hidden, weight = rules.hidden_quantizer(), rules.weight_quantizer(2)
    hidden(counts[:, None]), weight(weights)
    assert (hidden.lowest, hidden.highest) == (0, 3)
    assert (weight.lowest, weight.highest) == (-2, 1)


@pytest.mark.parametrize("method", Method, ids=[m.value for m in Method])
def test_inputs_and_weights(method):
    rules = options(method)
    if method in OURS:
        assert rules.input_quantizer() is None
        assert type(rules.weight_quantizer(3)) is ColumnStep
    else:
        assert type(rules.input_quantizer()) is type(rules.weight_quantizer(3)) is ACTIVATIONS[method]
    assert rules.coordinates is (Coordinates.MEAN if method in OURS else Coordinates.SYMMETRIC)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_left_out_stays_in_full_precision(stage):
    rules = options(Method.QLR, stages=[s for s in STAGES if s != stage])
    made = {
        "inputs": rules.input_quantizer(),
        "weights": rules.weight_quantizer(3),
        "features": rules.hidden_quantizer(),
        **{s: rules.propagation_quantizer(s) for s in ("messages", "aggregates", "updates")},
        "embeddings": rules.embedding_quantizer(),
    }
    assert {s for s, quantizer in made.items() if isinstance(quantizer, FullPrecision)} == {stage}


def test_gap_stages_follow_their_namesakes():
    rules = options(Method.QLR, stages=["messages"])
    assert type(rules.propagation_quantizer("gap_messages")) is LearnedRange
    assert type(rules.propagation_quantizer("gap_updates")) is FullPrecision


@pytest.mark.parametrize(
    ("classes", "exponent_bits"),
    [(1, 0), (2, 1), (3, 1), (4, 2), (5, 2), (6, 2), (7, 2), (15, 2)],
    ids=lambda v: str(v),
)
def test_exponent_bits_are_two_or_fewer_where_2_6_bits_ask_for_it(classes, exponent_bits):
    rules = options(Method.NODE_POW2, num_classes=classes)
    assert rules.propagated_exponent_bits == exponent_bits
    # per node: C codes of 2 bits and the exponent; the one scale of 32 bits is nothing on many nodes
    bits = rules.propagation_quantizer("updates").bits_per_value((100_000, classes))
    assert bits == pytest.approx(2 + exponent_bits / classes + 32 / (100_000 * classes)) and bits <= 2.6 + 1e-3


def test_exponent_bits_can_be_given():
    assert options(Method.NODE_POW2, exponent_bits=3).propagation_quantizer("updates").exponent_bits == 3


@pytest.mark.parametrize("bits", [0, 9, -1, True, 2.5], ids=str)
@pytest.mark.parametrize("method", [m for m in Method if m is not Method.FP32], ids=lambda m: m.value)
def test_bits_out_of_range_are_refused(method, bits):
    with pytest.raises(InputError, match="num_bits="):
        options(method, bits).propagation_quantizer("updates")


@pytest.mark.parametrize("method", ["qlr", "lsq", "degree_quant", "bt", "bt_star"])
def test_one_bit_is_refused_where_the_method_has_no_one_bit_form(method):
    with pytest.raises(InputError, match="num_bits=1"):
        options(Method(method), 1).propagation_quantizer("updates")


def test_unknown_stage_is_named():
    with pytest.raises(InputError, match="'message' .* inputs, weights"):
        options(Method.QLR, stages=["message"])


@pytest.mark.gpu
@pytest.mark.parametrize("values", Values, ids=[v.value for v in Values])
@pytest.mark.parametrize("stage", ["weights", "features"])
@pytest.mark.parametrize("method", Method, ids=[m.value for m in Method])
def test_quantizers_on_cuda_round_and_learn_as_on_the_cpu(method, stage, values):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(40, 6, generator=generator) * torch.logspace(-1, 1, 40)[:, None]
    rules = MethodOptions(method, 2, STAGES, torch.arange(1.0, 41.0), 6)
    quantizer = rules.quantizer_of(stage, values, 6).eval()
    quantizer(x)  # measures ranges and sets steps
    results = []
    for device in ("cpu", "cuda"):
        moved, leaf = deepcopy(quantizer).to(device), x.to(device).detach().requires_grad_()
        quantized = moved(leaf)
        (quantized.dequantize() * (x + 1).to(device)).sum().backward()
        of_parameters = [p.grad.cpu() for p in moved.parameters() if p.grad is not None]
        results.append([quantized.values.cpu(), quantized.dequantize().cpu(), leaf.grad.cpu(), *of_parameters])
    assert torch.equal(results[0][0], results[1][0])
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-4)
