"""Paired comparison over seeds and splits, and the correction for making several of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from scipy import stats

from gnnq_lib.errors import InputError
from gnnq_lib.reporting.bounds import bound

PAIRED_ON = ("dataset", "split", "split_seed", "seed")


def significant(p_value: float) -> bool:
    """Whether a p-value is below the level of the tests; NaN, where there was no test, is not.

    Example:
        >>> significant(0.04), significant(0.05), significant(math.nan)
        (True, False, False)
    """
    return p_value < bound("significance")


@dataclass(frozen=True)
class PairedTest:
    """Two methods compared on the same seeds and splits.

    Attributes:
        difference: mean of first minus second.
        std: standard deviation of the differences; NaN for one pair.
        n: pairs.
        p_value: of Student's paired t-test, two-sided; NaN for one pair.
    """

    difference: float
    std: float
    n: int
    p_value: float

    def clearly_above(self, p_value: float | None = None) -> bool:
        """Whether the first is higher, at the 5 % level; `p_value` replaces the test's own, where it was corrected.

        Example:
            >>> PairedTest(2.0, 0.5, 5, 0.001).clearly_above(), PairedTest(2.0, 0.5, 5, 0.2).clearly_above()
            (True, False)
        """
        return self.difference > 0 and significant(self.p_value if p_value is None else p_value)

    def clearly_below(self, p_value: float | None = None) -> bool:
        """Whether the difference is negative and significant; with another p-value if one is given, as after Holm."""
        return self.difference < 0 and significant(self.p_value if p_value is None else p_value)


def paired_values(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """Values of runs that share data set, split and seed: columns `first` and `second`, a row per pair.

    Args:
        first, second: rows of one metric with `value` and the columns of `PAIRED_ON` that both have; where a method has
            several runs of one seed (on other settings), their mean counts.

    Raises:
        InputError: if no run of one has a partner in the other.

    Example:
        >>> a = pd.DataFrame({"seed": [0, 1], "value": [3.0, 4.0]})
        >>> paired_values(a, a[a.seed == 1]).reset_index().to_numpy().tolist()
        [[1.0, 4.0, 4.0]]
    """
    on = [name for name in PAIRED_ON if name in first and name in second]
    columns = {
        name: frame.groupby(on, dropna=False).value.mean() for name, frame in (("first", first), ("second", second))
    }
    pairs = pd.concat(columns, axis=1, join="inner").dropna()
    if pairs.empty:
        raise InputError("the two methods share no seed and split; run both on the same seeds.")
    return pairs


def paired_test(first: pd.DataFrame, second: pd.DataFrame) -> PairedTest:
    """Student's t-test on the differences of runs that share data set, split and seed.

    Args:
        first, second: as for `paired_values`.

    Raises:
        InputError: if no run of one has a partner in the other.

    Example:
        >>> a = pd.DataFrame({"seed": [0, 1, 2], "value": [3.0, 4.0, 5.5]})
        >>> test = paired_test(a, a.assign(value=[1.0, 2.0, 3.0]))
        >>> round(test.difference, 3), test.n, round(test.p_value, 4)
        (2.167, 3, 0.0059)
    """
    pairs = paired_values(first, second)
    return mean_test(pairs["first"] - pairs["second"])


def mean_test(differences: pd.Series, against: float = 0.0, side: str = "two-sided") -> PairedTest:
    """Student's t-test of whether the mean of some differences is a given number; the sign test if all are equal.

    Args:
        differences: of pairs, or any independent values.
        against: the number.
        side: "two-sided"; "greater" asks whether the mean is above it.

    Example:
        >>> test = mean_test(pd.Series([-0.5, -0.4, -0.6]), against=-1, side="greater")
        >>> round(test.difference, 2), round(test.p_value, 4)
        (-0.5, 0.0065)
    """
    n, mean = len(differences), float(differences.mean())
    if n < 2:
        return PairedTest(mean, math.nan, n, math.nan)
    std, off = float(differences.std()), mean - against
    if std < 1e-9 * max(1.0, abs(mean)):  # the t-test divides by it; accuracies are multiples of one node's share
        same = abs(off) < 1e-9 or (side == "greater" and off < 0)
        return PairedTest(mean, 0.0, n, 1.0 if same else 0.5 ** (n - (side == "two-sided")))
    return PairedTest(mean, std, n, float(stats.ttest_1samp(differences, against, alternative=side).pvalue))


def relative_differences(first: pd.DataFrame, second: pd.DataFrame) -> pd.Series:
    """By how many per cent the first is above the second, per pair of runs (see `paired_values`).

    Example:
        >>> a = pd.DataFrame({"seed": [0, 1], "value": [3.0, 4.0]})
        >>> relative_differences(a, a.assign(value=2.0)).tolist()
        [50.0, 100.0]
    """
    pairs = paired_values(first, second)
    return 100 * (pairs["first"] / pairs["second"] - 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's correction: p-values that allow for how many comparisons were made.

    A NaN, where there was one pair and so no test, stays NaN and is not counted.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    made = [index for index, p in enumerate(p_values) if not math.isnan(p)]
    corrected, largest = [math.nan] * len(p_values), 0.0
    for rank, index in enumerate(sorted(made, key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(made) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected


def holm_p_values(tests: Mapping[Any, PairedTest]) -> dict[Any, float]:
    """The p-value of each of several tests, corrected by Holm's rule.

    Example:
        >>> holm_p_values({"a": PairedTest(1.0, 0.1, 3, 0.01), "b": PairedTest(1.0, 0.3, 3, 0.04)})
        {'a': 0.02, 'b': 0.04}
    """
    return dict(zip(tests, holm([test.p_value for test in tests.values()])))
