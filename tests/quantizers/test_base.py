"""What every quantizer promises; calibration leaves a model as it found it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gnnq_lib.quantizers import FullPrecision, LearnedRange, MinMax, Quantized, Quantizer, calibration
from gnnq_lib.quantizers.base import frozen_ranges


def test_quantized_is_integers_times_a_scale():
    pair = torch.tensor([[1.0, 3.0], [2.0, -1.0]])
    assert Quantized(pair, torch.tensor([[0.5], [2.0]])).dequantize().tolist() == [[0.5, 1.5], [4.0, -2.0]]
    assert Quantized(pair, torch.tensor(0.5), low_bit=False).dequantize() is pair


@pytest.mark.parametrize(
    ("scale", "low_bit", "exact"),
    [
        (torch.ones(()), True, True),
        (torch.ones(1, 4), True, True),
        (torch.ones(3, 1), True, False),
        (torch.ones(()), False, False),
    ],
    ids=["per_tensor", "per_channel", "per_node", "full_precision"],
)
def test_rows_add_up_as_integers_only_with_a_common_scale(scale, low_bit, exact):
    assert Quantized(torch.ones(3, 4), scale, low_bit).exact_sum is exact


def test_full_precision_returns_the_tensor_itself():
    x = torch.randn(3, 2)
    out = FullPrecision()(x)
    assert out.dequantize() is x and not out.low_bit
    assert FullPrecision().bits_per_value((3, 2)) == 32


def test_the_base_class_is_abstract():
    with pytest.raises(NotImplementedError):
        Quantizer()(torch.ones(1))
    with pytest.raises(NotImplementedError):
        Quantizer().bits_per_value((1, 1))


def test_calibration_sets_evaluation_mode_without_gradients_and_undoes_it():
    model = nn.Sequential(LearnedRange(2), nn.Dropout(), MinMax(2))
    model[1].eval()  # a part in evaluation mode on purpose
    with calibration(model):
        assert not any(m.training for m in model.modules())
        assert model[0].calibrating and model[2].calibrating
        assert not torch.is_grad_enabled()
    assert [m.training for m in model] == [True, False, True] and model.training
    assert not model[0].calibrating and torch.is_grad_enabled()


@pytest.mark.parametrize(("context", "flag"), [(calibration, "calibrating"), (frozen_ranges, "frozen")])
def test_flags_are_undone_after_an_error(context, flag):
    model = nn.Sequential(LearnedRange(2))
    with pytest.raises(RuntimeError, match="inside"), context(model):
        assert getattr(model[0], flag)
        raise RuntimeError("inside")
    assert not getattr(model[0], flag) and model.training


def test_calibrated_range_is_that_of_evaluation_not_of_dropout():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Dropout(0.8), LearnedRange(2))
    x = torch.rand(200)
    model(x)
    assert model[1].maximum > 2  # five times too large
    with calibration(model):
        model(x)
    assert model[1].maximum == x.max()
