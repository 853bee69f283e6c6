"""What this project set out to reach, and what is reached: numbers from the stored results, met or not."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from gnnq_lib.naming import PACKED
from gnnq_lib.reporting.results import Results
from gnnq_lib.reporting.rules_paper_a import inference_rows

COLUMNS = ("target", "wanted", "reached", "met", "command")
_TO = "--csv data/results/bench"
KERNELS, INFERENCE = f"gnnq bench kernels {_TO}_kernels.csv", f"gnnq bench inference {_TO}_inference.csv"
LIGHTGCN = f"gnnq bench training --case lightgcn {_TO}_lightgcn.csv"
SERVING = (
    "gnnq train-recommender --data gowalla --out gowalla.safetensors && "
    f"gnnq bench serving --model gowalla.safetensors {_TO}_serving.csv"
)
LARGE = ("pubmed", "cs", "generated")
# The FP32 that these targets were set against; this library's own float kernel (`speedup_vs_best_fp32`) came later.
TORCH = "speedup_vs_torch_fp32"


@dataclass(frozen=True)
class Target:
    """One target.

    Attributes:
        text: what is measured.
        bound: the number wanted.
        measure: the numbers reached, one per case; none where it was not run. The worst of them decides.
        command: what measures it.
        most: whether the bound is an upper one.
        digits: of the numbers in print.
        unit: behind the numbers in print.
    """

    text: str
    bound: float
    measure: Callable[[Results], pd.Series]
    command: str
    most: bool = False
    digits: int = 1
    unit: str = ""

    def row(self, results: Results) -> tuple[str, str, str, str, str]:
        """The target as a line of the table; the columns are `COLUMNS`."""
        values = self.measure(results).dropna()
        wanted = f"{'at most' if self.most else 'at least'} {self._text(self.bound)}"
        if values.empty:
            return self.text, wanted, "", "not run", self.command
        low, high = self._text(values.min()), self._text(values.max())
        met = (operator.le if self.most else operator.ge)(values, self.bound).all()
        return self.text, wanted, low if low == high else f"{low} to {high}", "yes" if met else "no", self.command

    def _text(self, value: float) -> str:
        return f"{value:.{self.digits}f}{self.unit}"


def targets_table(results: Results | None = None) -> pd.DataFrame:
    """All targets as a table of text.

    Args:
        results: everything stored, if not given.

    Example:
        >>> targets_table(Results.of([])).met.unique().tolist()
        ['not run']
    """
    results = Results.stored() if results is None else results
    return pd.DataFrame([target.row(results) for target in TARGETS], columns=list(COLUMNS))


def _sums(case: str, bits: int, column: str) -> Callable[[Results], pd.Series]:
    """Sums over neighbours, normalised, of one case of the kernels' benchmark."""

    def measure(results: Results) -> pd.Series:
        return _column(results.bench("kernels", case=case, variant="normalised", bits=bits, path=PACKED), column)

    return measure


def _all_kernels(results: Results) -> pd.Series:
    return _column(results.bench("kernels", path=PACKED), TORCH)


def _classifier(
    bits: int, names: tuple[str, ...] = (), column: str = "speedup_vs_best_fp32"
) -> Callable[[Results], pd.Series]:
    """Whole classifiers of the inference benchmark; all cases if none is named."""

    def measure(results: Results) -> pd.Series:
        rows = inference_rows(results, bits)
        if names and len(rows):
            rows = rows[[name.startswith(names) for name in rows.name]]
        return _column(rows, column)

    return measure


def _lightgcn(metric: str) -> Callable[[Results], pd.Series]:
    return lambda results: results.select(metric, "rec_gowalla", dataset="gowalla", refit=True).value


def _step(column: str) -> Callable[[Results], pd.Series]:
    return lambda results: _column(results.bench("lightgcn", variant="LightGCN step"), column)


def _sampling(results: Results) -> pd.Series:
    drawn = [f"sampling, by {way}" for way in ("interactions", "users")]
    return 100 * _column(results.bench("lightgcn", variant=drawn), "share_of_step")


def _serving(column: str) -> Callable[[Results], pd.Series]:
    """Lists of 20 from packed tables of Gowalla's size, random and trained, all D."""

    def measure(results: Results) -> pd.Series:
        rows = results.bench("serving", path=PACKED)
        return _column(rows[rows.case.str.contains("29,858 users", regex=False)] if len(rows) else rows, column)

    return measure


def _kept(bits: int) -> Callable[[Results], pd.Series]:
    """Per cent by which GNAQ differs from FP32 trained on, per data set and metric."""

    def measure(results: Results) -> pd.Series:
        changes = []
        for metric in ("recall@10", "ndcg@10"):
            rows = results.select(metric, "rec_methods|rec_gowalla_methods", start="teacher", dim=64)
            rows = rows[rows.dataset.isin(["lastfm", "ml-1m", "gowalla"])]
            full = rows[rows.method == "fp32"].groupby("dataset").value.mean()
            low = rows[(rows.method == "gnaq") & (rows.bits == bits)].groupby("dataset").value.mean()
            changes.append(100 * (low / full - 1))
        return pd.concat(changes)

    return measure


def _column(rows: pd.DataFrame, column: str) -> pd.Series:
    return rows[column] if column in rows else pd.Series(dtype=float)


TARGETS = (
    *(
        Target(
            f"sums, generated graph, D = {width}, INT{bits}: times as fast as PyTorch's fastest FP32",
            bound,
            _sums(f"generated D={width}", bits, TORCH),
            KERNELS,
        )
        for width, bounds in ((128, (12, 7, 3.5)), (256, (10, 5, 3)))
        for bits, bound in zip((2, 4, 8), bounds)
    ),
    *(
        Target(
            f"the same, D = {width}, INT{bits}: times as fast as PyTorch's quantized operator of the same bits",
            5,
            _sums(f"generated D={width}", bits, "speedup_vs_same_bits_peer"),
            KERNELS,
        )
        for width in (128, 256)
        for bits in (2, 4)
    ),
    Target(
        "sums, PubMed's size, D = 64, INT2: times as fast as PyTorch's fastest FP32",
        4,
        _sums("pubmed-sized D=64", 2, TORCH),
        KERNELS,
    ),
    Target("every packed kernel and case: times as fast as PyTorch's fastest FP32", 1, _all_kernels, KERNELS),
    Target(
        "whole classifier, PubMed, CS and generated graphs, INT2: times as fast as the fastest FP32",
        5.11,
        _classifier(2, LARGE),
        INFERENCE,
        digits=2,
    ),
    Target("the same, INT4", 4.70, _classifier(4, LARGE), INFERENCE, digits=2),
    *(
        Target(
            f"whole classifier, Cora and CiteSeer, INT{bits}: times as fast as the fastest FP32",
            3,
            _classifier(bits, ("cora", "citeseer")),
            INFERENCE,
        )
        for bits in (2, 4)
    ),
    *(
        Target(
            f"whole classifier, all graphs, INT{bits}: times as fast as FP32 as released",
            8,
            _classifier(bits, column="speedup_vs_fp32_as_released"),
            INFERENCE,
        )
        for bits in (2, 4)
    ),
    *(
        Target(f"LightGCN, Gowalla, test {name}", bound, _lightgcn(metric), "gnnq run rec_gowalla", digits=3)
        for name, metric, bound in (("Recall@20", "recall@20", 0.180), ("NDCG@20", "ndcg@20", 0.152))
    ),
    *(
        Target(
            f"GNAQ, {bits} bit{'s' * (bits > 1)}, against FP32 on LastFM, MovieLens-1M and Gowalla: "
            "change of Recall@10 and NDCG@10",
            bound,
            _kept(bits),
            "gnnq run rec_methods && gnnq run rec_gowalla_methods",
            unit=" %",
        )
        for bits, bound in ((2, -0.5), (1, -3))
    ),
    Target(
        "a training step of LightGCN on Gowalla: times its own sparse products",
        1.3,
        _step("times_products"),
        LIGHTGCN,
        most=True,
        digits=2,
    ),
    Target("sampling: share of that step", 5, _sampling, LIGHTGCN, most=True, unit=" %"),
    Target(
        "that step: times as fast as PyTorch Geometric's LightGCN",
        3,
        _step("steps_per_second_vs_pyg"),
        LIGHTGCN,
    ),
    Target(
        "lists of 20 over all items, Gowalla's size, D = 64 to 256: times as fast as the fastest FP32",
        1,
        _serving("speedup_vs_best_fp32"),
        SERVING,
    ),
    Target("the same: times smaller", 8, _serving("times_smaller"), SERVING),
)
