"""Dropout: rate, scale, gradient, odd sizes."""

from __future__ import annotations

import pytest
import torch

from gnnq_lib.models.dropout import dropout


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.8])
def test_rate_and_mean_are_kept(rate):
    torch.manual_seed(0)
    result = dropout(torch.ones(400, 500), rate)
    assert float((result == 0).double().mean()) == pytest.approx(rate, abs=0.005)
    assert float(result.double().mean()) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("shape", [(0,), (1,), (3, 5), (7,)], ids=str)
def test_shapes_are_kept(shape):
    assert dropout(torch.ones(shape), 0.5).shape == shape


def test_gradient_is_the_mask_that_was_applied():
    x = torch.ones(50, requires_grad=True)
    result = dropout(x, 0.5)
    result.sum().backward()
    assert torch.equal(x.grad, result.detach())


def test_nothing_happens_outside_training_or_at_rate_zero():
    x = torch.ones(3)
    assert dropout(x, 0.5, training=False) is x and dropout(x, 0.0) is x


def test_the_seed_decides():
    draws = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        draws.append(dropout(torch.ones(100), 0.5))
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])
