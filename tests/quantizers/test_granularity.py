"""Granularity: which values share a scale, what it costs, and that node order does not matter."""

from __future__ import annotations

import pytest
import torch

from gnnq_lib.quantizers import MinMax, PerChannel, PerDegreeBucket, PerNode, PerTensor, choose_qparams, fake_quantize

X = torch.tensor([[1.0, -2.0, 0.5], [3.0, 0.0, -1.0]])


@pytest.mark.parametrize(
    ("granularity", "low", "high", "groups"),
    [
        (PerTensor(), -2.0, 3.0, 1),
        (PerChannel(), [[1.0, -2.0, -1.0]], [[3.0, 0.0, 0.5]], 3),
        (PerNode(), [[-2.0], [-1.0]], [[1.0], [3.0]], 2),
        (PerDegreeBucket(torch.tensor([4, 5])), [[-2.0], [-2.0]], [[3.0], [3.0]], 6),
        (PerDegreeBucket(torch.tensor([1, 5]), 2), [[-2.0], [-1.0]], [[1.0], [3.0]], 2),
    ],
    ids=["per_tensor", "per_channel", "per_node", "one_bucket", "two_buckets"],
)
def test_limits_and_number_of_groups_by_hand(granularity, low, high, groups):
    lowest, highest = granularity.limits(X)
    assert lowest.tolist() == low and highest.tolist() == high
    assert granularity.num_groups(tuple(X.shape)) == groups


def test_buckets_are_powers_of_two_and_the_last_takes_the_rest():
    degree = torch.tensor([0, 1, 2, 3, 4, 7, 8, 15, 16, 31, 32, 64, 100_000])
    assert PerDegreeBucket(degree).bucket.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 5]
    powers = 2 ** torch.arange(20)
    assert torch.equal(PerDegreeBucket(powers, 20).bucket, torch.arange(20))
    assert torch.equal(PerDegreeBucket(powers[1:] - 1, 20).bucket, torch.arange(19))


def test_finer_granularity_is_never_worse_on_rows_of_different_size():
    x = torch.randn(50, 4, generator=torch.Generator().manual_seed(0)) * torch.logspace(-2, 2, 50)[:, None]
    error = {g: (fake_quantize(x, choose_qparams(x, 4, g)) - x).square().mean() for g in (PerNode(), PerTensor())}
    assert error[PerNode()] < error[PerTensor()] / 2


@pytest.mark.parametrize("name", ["per_tensor", "per_channel", "per_node", "per_degree_bucket"])
def test_permuting_nodes_permutes_the_result(name):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(30, 5, generator=generator)
    degree = torch.randint(1, 40, (30,), generator=generator)
    order = torch.randperm(30, generator=generator)

    def quantizer(degree):
        rules = {"per_tensor": PerTensor(), "per_channel": PerChannel(), "per_node": PerNode()}
        return MinMax(3, rules.get(name) or PerDegreeBucket(degree))

    expected = quantizer(degree)(x).dequantize()[order]
    assert torch.equal(quantizer(degree[order])(x[order]).dequantize(), expected)


def test_bad_input(refuses):
    with refuses("num_buckets=0; give 1 or more"):
        PerDegreeBucket(torch.tensor([1]), 0)
    with refuses("knows 3 degrees but the tensor has 2 rows"):
        PerDegreeBucket(torch.tensor([1, 2, 3])).limits(X)
