"""Paired tests against values worked out by hand and by scipy's two-sample form."""

from __future__ import annotations

import math

import pandas as pd
import pytest
from scipy import stats

from gnnq_lib.reporting.statistics import holm, holm_p_values, mean_test, paired_test, relative_differences


def frame(values, **columns):
    return pd.DataFrame({"seed": range(len(values)), "value": values, **columns})


def test_equal_to_scipys_paired_test():
    first, second = [80.0, 82.0, 81.0, 85.0], [79.0, 80.0, 81.5, 82.0]
    test = paired_test(frame(first), frame(second))
    assert test.p_value == pytest.approx(stats.ttest_rel(first, second).pvalue)
    assert (test.difference, test.n) == (1.375, 4)


def test_pairs_by_seed_and_split_not_by_place():
    first = pd.DataFrame({"seed": [0, 0], "split_seed": [0, 1], "value": [1.0, 5.0]})
    assert paired_test(first, first.iloc[::-1]).difference == 0


def test_runs_of_one_seed_count_as_their_mean():
    twice = pd.DataFrame({"seed": [0, 0, 1, 1], "value": [1.0, 3.0, 2.0, 2.0]})
    assert paired_test(twice, frame([1.0, 1.0])).difference == 1.0


def test_one_pair_gives_no_p_value():
    assert math.isnan(paired_test(frame([2.0]), frame([1.0])).p_value)
    assert not paired_test(frame([2.0]), frame([1.0])).clearly_above()


@pytest.mark.parametrize(("shift", "p_value"), [(0.0, 1.0), (1.0, 0.5)])
def test_constant_differences(shift, p_value):
    assert paired_test(frame([1.0 + shift, 2.0 + shift]), frame([1.0, 2.0])).p_value == p_value


def test_one_sided_test_is_scipys():
    values = pd.Series([-0.5, -2.0, 0.3, -0.9])
    test = mean_test(values, -1, "greater")
    assert test.p_value == pytest.approx(stats.ttest_1samp(values, -1, alternative="greater").pvalue)


def test_relative_differences_are_of_common_seeds_only():
    first, second = frame([2.0, 3.0]), frame([1.0, 2.0, 100.0])
    assert relative_differences(first, second).tolist() == [100.0, 50.0]


def test_without_a_common_seed(refuses):
    with refuses("share no seed"):
        paired_test(frame([1.0]), frame([1.0]).assign(seed=7))


def test_holm_by_hand():
    # 3 x 0.01, then 2 x 0.03 = 0.06, then max(0.06, 0.04)
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])


def test_holm_leaves_out_what_was_not_tested():
    """One pair gives no test: it is neither counted among the comparisons nor shown as p = 1."""
    corrected = holm([math.nan, 0.02, math.nan, 0.03])
    assert corrected[1::2] == pytest.approx([0.04, 0.04]) and all(math.isnan(p) for p in corrected[::2])


def test_each_comparison_is_corrected():
    single = paired_test(frame([5.0, 6.0, 7.1]), frame([1.0, 2.0, 3.0]))
    assert list(holm_p_values({"a": single, "b": single}).values()) == pytest.approx([2 * single.p_value] * 2)


def test_equal_differences_of_few_runs_are_no_proof():
    """One node of a thousand more in each of three runs: the sign test says 1 in 4."""
    three, seven = (mean_test(pd.Series([0.1] * n)) for n in (3, 7))
    assert (three.p_value, seven.p_value) == (0.25, 0.5**6)
    assert mean_test(pd.Series([0.1] * 3), side="greater").p_value == 0.125
