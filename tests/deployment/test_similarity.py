"""Packed similarity search: scores are those of the dequantized rows, order is exact, recall grows with bits."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from gnnq_lib.deployment import pack_embeddings, recall
from gnnq_lib.deployment.similarity import METRICS, best_of_rows


def rows(num_rows=500, width=64, seed=0):
    """Clusters of non-negative rows, as after a ReLU."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(10, width, generator=generator)
    chosen = torch.randint(0, 10, (num_rows,), generator=generator)
    return (centres[chosen] + 0.6 * torch.randn(num_rows, width, generator=generator)).relu()


def exact(x, queries, metric, k=20):
    if metric == "cosine":
        x, queries = functional.normalize(x, dim=1), functional.normalize(queries, dim=1)
    return (queries @ x.T).topk(k, dim=1)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("bits", "least"), [(1, 0.4), (2, 0.6), (4, 0.85), (8, 0.97)])
def test_recall(bits, least, metric):
    x = rows()
    queries = rows(40, seed=1)
    found = pack_embeddings(x, bits, metric).search(queries)
    assert recall(found.rows, exact(x, queries, metric).indices) > least
    assert (found.scores[:, :-1] >= found.scores[:, 1:]).all()


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_scores_are_those_of_the_kept_numbers(bits, metric):
    """By hand: u . x' with x' = mean + f R v, and the offset mu . c kept beside it instead of that of x'."""
    x, queries = rows(70, 9), rows(5, 9, seed=1)
    packed = pack_embeddings(x, bits, metric)
    found = packed.search(queries, k=70)
    u = functional.normalize(queries, dim=1) if metric == "cosine" else queries
    kept = packed.dequantize() - packed.mean
    offset = packed.offset.float() * packed.units[1]
    by_hand = (u - packed.mean) @ kept.T + offset + (u @ packed.mean)[:, None]
    close = {"rtol": 0, "atol": 0.02 * float(by_hand.abs().max())}  # queries have 8 bits
    torch.testing.assert_close(found.scores, by_hand.gather(1, found.rows), **close)
    assert found.rows.sort(dim=1).values.tolist() == [list(range(70))] * 5


def test_a_rows_factor_gives_it_the_right_length_along_itself():
    x = rows(50)
    packed = pack_embeddings(x, 2)
    centred = x - packed.mean
    along = ((packed.dequantize() - packed.mean) * centred).sum(1)
    torch.testing.assert_close(along, centred.square().sum(1), rtol=2e-3, atol=1e-3)


def test_eight_bits_are_close_to_the_rows():
    x = rows(50)
    torch.testing.assert_close(pack_embeddings(x, 8).dequantize(), x, rtol=0, atol=0.05)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_query_finds_the_same_alone_and_among_others(bits, metric):
    """1003 rows do not fill their last bytes, 300 queries not the last of the parts they are searched in."""
    packed, queries = pack_embeddings(rows(1003, 9), bits, metric), rows(300, 9, seed=1)
    together = packed.search(queries, k=7)
    for q in (0, 255, 299):
        alone = packed.search(queries[q : q + 1], k=7)
        assert torch.equal(alone.rows, together.rows[q : q + 1])
        torch.testing.assert_close(alone.scores, together.scores[q : q + 1])


def test_bytes_are_counted():
    packed = pack_embeddings(rows(1000), 2)
    assert packed.nbytes == 1000 * (16 + 4) + 4 * (64 + 64 * 64 + 2)
    kept = (packed.codes.data, packed.factor, packed.offset, packed.units, packed.mean, packed.rotation)
    assert packed.nbytes == sum(tensor.numel() * tensor.itemsize for tensor in kept)


@given(num_rows=st.integers(1, 700), k=st.integers(1, 30), seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_best_of_rows_is_topk(num_rows, k, seed):
    scores = torch.randint(0, 10_000, (3, num_rows), generator=torch.Generator().manual_seed(seed)).float()
    k = min(k, num_rows)
    best = best_of_rows(scores, k)
    assert torch.equal(best.scores, scores.topk(k, dim=1).values)
    assert torch.equal(scores.gather(1, best.rows), best.scores)
    assert all(len(set(line)) == k for line in best.rows.tolist())


def test_rows_that_are_all_equal_and_zero():
    for x in (torch.zeros(5, 8), torch.ones(5, 8)):
        for metric in METRICS:
            found = pack_embeddings(x, 2, metric).search(x[:2], k=5)
            assert torch.isfinite(found.scores).all()
            expected = 0.0 if not x.any() else 8.0 if metric == "inner product" else 1.0
            torch.testing.assert_close(found.scores, torch.full((2, 5), expected), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("size", [2.0**-30, 2.0**30])
def test_size_of_the_numbers_does_not_matter(size):
    x, queries = rows(200), rows(10, seed=1)
    large = pack_embeddings(x * size, 2).search(queries * size)
    assert torch.equal(pack_embeddings(x, 2).search(queries).rows, large.rows)


def test_a_query_at_the_mean_ranks_by_offsets():
    x = rows(50, 8) * 2.0**30
    packed = pack_embeddings(x, 2)
    found = packed.search(packed.mean[None], k=50)
    expected = packed.offset.float() * packed.units[1] + packed.mean @ packed.mean
    torch.testing.assert_close(found.scores[0], expected[found.rows[0]], rtol=1e-5, atol=0)
    assert found.rows[0].sort().values.tolist() == list(range(50))


def test_the_seed_decides_the_rotation():
    x = rows(20)
    first, same, other = (pack_embeddings(x, 2, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first.codes.data, same.codes.data) and not torch.equal(first.codes.data, other.codes.data)
    torch.testing.assert_close(first.rotation @ first.rotation.T, torch.eye(64), rtol=0, atol=1e-5)


def test_bad_input(refuses):
    x = rows(20, 8)
    packed = pack_embeddings(x, 4)
    with refuses("metric='l2' was given"):
        pack_embeddings(x, 4, "l2")
    with refuses("given as torch.float64"):
        pack_embeddings(x.double(), 4)
    with refuses("hold NaN or infinity"):
        pack_embeddings(x / 0, 4)
    with refuses("at least one value"):
        pack_embeddings(x[:0], 4)
    with refuses(r"queries of shape \(2, 7\)"):
        packed.search(x[:2, :7])
    with refuses("k=21 was given; 1 to 20"):
        packed.search(x[:2], k=21)
