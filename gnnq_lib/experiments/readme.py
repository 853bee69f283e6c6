"""The README's tables and numbers, written from data/results: `gnnq readme` renews them, a test compares."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import pandas as pd

from gnnq_lib.errors import InputError
from gnnq_lib.experiments.notebook_runner import notebook_paths
from gnnq_lib.experiments.store import ResultsStore, mean_and_spread
from gnnq_lib.experiments.tables import RECOMMENDER_TABLES, run_count, table_names
from gnnq_lib.files import atomic_write
from gnnq_lib.naming import case_title, dataset_title, listed
from gnnq_lib.paths import project_root, results_dir

METHODS = {
    "fp32": "FP32",
    "qlr": "QLR (paper A)",
    "bt": "QLR with BT (paper A)",
    "bt_star": "QLR with BT* (paper A)",
    "minmax": "plain min-max",
    "lsq": "LSQ",
    "degree_quant": "Degree-Quant",
    "tensor": "one scale per tensor",
    "degree_bucket": "one scale per degree bucket",
    "node_free": "a free scale per node",
    "node_pow2": "a power of two per node (ours)",
    "node_pow2, 1": "the same with one bit for the exponent",
    "node_pow2, 0": "the same without exponent: one step for all nodes",
}
AFTER_LAST = "the same after its last epoch"
# Rows of the recommendation table, in this order: label, and the settings that a run must have.
RECOMMENDERS = {
    "FP32, trained on with the same budget": {"method": "fp32"},
    "GNAQ (ours), 2 bits": {"method": "gnaq", "bits": 2},
    "GNAQ as released, 2 bits": {"method": "gnaq_as_released", "linear_head": True},
    "GNAQ as released, without its linear head, 2 bits": {"method": "gnaq_as_released", "linear_head": False},
    AFTER_LAST: {"method": "gnaq_as_released", "linear_head": False},
    "LSQ, 2 bits": {"method": "lsq"},
    "N2UQ, 2 bits": {"method": "n2uq"},
    "rounded, levels per node, 2 bits": {"method": "post_training_node"},
    "rounded, one set of levels, 2 bits": {"method": "post_training_tensor"},
    "GNAQ (ours), 1 bit": {"method": "gnaq", "bits": 1},
    "BiGeaR, 1 bit per layer": {"method": "bigear"},
}
# Data sets of one table are few enough for its columns to be read.
FULL_PRECISION = {  # tables accuracy_* beside accuracy_public
    "continued": "FP32, trained on with the same budget",
    "searched": "FP32, settings of the stored search",
}
SMALL_SETS, LARGE_SETS = ("lastfm", "ml-100k", "ml-1m"), ("gowalla", "yelp2018", "amazon-book-kgat")
# What these tables say is worked out one floor up, so it is looked up when they are made.
_CLAIMS, _TARGETS = "gnnq_lib.reporting.verdicts", "gnnq_lib.reporting.targets"
_RESULTS, _PAPER_ACCURACY = "gnnq_lib.reporting.results", "gnnq_lib.reporting.paper_accuracy"
_BLOCK = "<!-- table: {name} -->\n{body}\n<!-- end of table -->"
_NUMBER = "<!-- number: {name} -->{body}<!-- end -->"
_Found = TypeVar("_Found", pd.DataFrame, pd.Series)


class NotMeasuredError(InputError):
    """Results that one of the README's tables or numbers is made of are not stored.

    Example:
        >>> issubclass(NotMeasuredError, InputError)
        True
    """


def accuracy_table(rows: pd.DataFrame, **full_precision: pd.DataFrame) -> str:
    """Data sets across, bits down: accuracy mean ± std (n) and the largest bits per value of a stage; below FP32 other
    rows of full precision, by the names in `FULL_PRECISION`.
    """
    datasets = [name for name in ("cora", "citeseer", "pubmed") if name in set(rows.dataset)]
    head = ["", *(dataset_title(name) for name in datasets), *(f"bits, {dataset_title(name)}" for name in datasets)]
    lines = []
    for bits in sorted(rows.bits.unique(), reverse=True):
        here = [rows[(rows.bits == bits) & (rows.dataset == name)] for name in datasets]
        label = "FP32" if bits == 32 else f"INT{bits:.0f}"
        lines.append([label, *map(mean_std, here), *(f"{h.bits_per_value.max():.2f}" for h in here)])
    for place, (name, label) in enumerate(FULL_PRECISION.items(), 1):
        found = full_precision[name]
        cells = [mean_std(found[found.dataset == dataset]) for dataset in datasets]
        lines.insert(place, [label, *cells, *["32.00"] * len(datasets)])
    return _markdown(head, lines)


def methods_table(fine_tuned: pd.DataFrame, scratch: pd.DataFrame) -> str:
    """Methods down, best first: accuracy from FP32 weights and from scratch, and bits per value."""
    order = fine_tuned.groupby("method").value.mean().sort_values(ascending=False).index
    lines = [
        [
            METHODS[method],
            mean_std(fine_tuned[fine_tuned.method == method]),
            mean_std(scratch[scratch.method == method]),
            f"{fine_tuned[fine_tuned.method == method].bits_per_value.max():.2f}",
        ]
        for method in order
    ]
    return _markdown(["INT2 on Cora", "from FP32 weights", "from scratch", "bits"], lines)


def depth_table(rows: pd.DataFrame, configs: dict[str, dict]) -> str:
    """Layers across, full precision and INT2 down."""
    rows = rows.assign(layers=rows.config_key.map(lambda key: configs[key]["num_layers"]))
    depths = sorted(rows.layers.unique())
    lines = [
        [label, *(mean_std(rows[(rows.bits == bits) & (rows.layers == depth)]) for depth in depths)]
        for label, bits in (("FP32", 32), ("INT2", 2))
    ]
    return _markdown(["Cora, layers", *map(str, depths)], lines)


def calibration_table(rows: pd.DataFrame, configs: dict[str, dict]) -> str:
    """Where ranges are measured and where dropout stands, down; methods and gradients of the range factor, across."""
    settings = rows.config_key.map(configs)
    rows = rows.assign(
        gradient=settings.map(lambda c: "released" if c["as_released"] else "correct"),
        place=settings.map(lambda c: c["calibration"]),
        order=settings.map(lambda c: "dropout first" if c["dropout_first"] else "quantizer first"),
    )
    columns = [(method, gradient) for method in ("qlr", "bt_star") for gradient in ("correct", "released")]
    names = {"qlr": "QLR", "bt_star": "BT*"}
    lines = [
        [f"{place}, {order}"]
        + [mean_std(part[(part.method == method) & (part.gradient == gradient)]) for method, gradient in columns]
        for (place, order), part in rows.groupby(["place", "order"])
    ]
    head = ["ranges measured in", *(f"{names[method]}, {gradient} gradient" for method, gradient in columns)]
    return _markdown(head, lines)


def speed_table(rows: pd.DataFrame) -> str:
    """Graphs down: milliseconds of the whole classifier and how many times as fast as full precision it is."""
    lines = []
    for case, part in rows.groupby("case", sort=False):
        packed = part[part.path.str.startswith("packed")].set_index("bits")
        fastest = part[part.bits == 32].median_ms.min()
        lines.append(
            [case_title(case), f"{fastest:.2f}"]
            + [f"{packed.median_ms[bits]:.2f}" for bits in (2, 4, 8)]
            + [f"{packed.speedup_vs_best_fp32[bits]:.1f}" for bits in (2, 4, 8)]
            + [f"{packed.speedup_vs_fp32_as_released[bits]:.1f}" for bits in (2, 4)]
        )
    head = ["", "fastest FP32 (ms)", "INT2 (ms)", "INT4 (ms)", "INT8 (ms)", "INT2 against fastest FP32",
            "INT4 against fastest FP32", "INT8 against fastest FP32", "INT2 against FP32 as released",
            "INT4 against FP32 as released"]  # fmt: skip
    return _markdown(head, lines)


def size_table(rows: pd.DataFrame) -> str:
    """Data sets down: bytes of the packed file, how many times smaller than FP32, and agreement with the simulation."""
    lines = []
    for (dataset, bits), part in rows.groupby(["dataset", "bits"], sort=False):
        value = part.set_index("metric").value
        others = f"{value.nodes_of_another_class:.0f} of {value.nodes_compared:,.0f}"
        lines.append(
            [dataset_title(dataset), f"INT{bits:.0f}", f"{value.model_bytes:,.0f}", f"{value.times_smaller:.1f}",
             f"{value.largest_logit_difference:g}", others]
        )  # fmt: skip
    head = ["", "codes", "file (bytes)", "times smaller than FP32", "largest difference of a class score",
            "nodes of another class"]  # fmt: skip
    return _markdown(head, lines)


def recommendation_table(rows: pd.DataFrame, configs: dict[str, dict], wanted_sets: tuple[str, ...]) -> str:
    """Methods down; per data set Recall@10 and NDCG@10 in per cent; how many times smaller than FP32.

    Metrics are those of the epoch that validation chose, in the line `AFTER_LAST` those of the last one. A dagger marks
    cells with runs of which validation chose the state before training.

    Raises:
        NotMeasuredError: no rows of these data sets.
    """
    rows = _measured(rows[rows.dataset.isin(wanted_sets)], f"recommenders of {listed(wanted_sets)}")
    settings = pd.DataFrame(rows.config_key.map(configs).tolist(), index=rows.index)
    datasets = [name for name in wanted_sets if name in set(rows.dataset)]
    full = rows[(rows.method == "fp32") & (rows.metric == "model_bytes")].groupby("dataset").value.mean()
    lines = []
    for label, wanted in RECOMMENDERS.items():
        part = rows[(settings[list(wanted)] == pd.Series(wanted)).all(axis=1)]
        prefix = "last_" if label == AFTER_LAST else ""
        may_train = not prefix and not part.method.str.startswith("post_training").any()
        untrained = set(part[(part.metric == "best_epoch") & (part.value == 0)].config_key) if may_train else set()
        cells = [
            mean_std(found.assign(value=100 * found.value), digits=2)
            + "†" * (not untrained.isdisjoint(found.config_key))
            for dataset in datasets
            for metric in ("recall@10", "ndcg@10")
            for found in [part[(part.dataset == dataset) & (part.metric == prefix + metric)]]
        ]
        size = part[part.metric == "model_bytes"].groupby("dataset").value.mean()
        if len(size):
            lines.append([label, *cells, f"{(full / size).mean():.1f}"])
    head = ["", *(f"{dataset_title(name)}, {metric}" for name in datasets for metric in ("Recall@10", "NDCG@10"))]
    return _markdown([*head, "times smaller"], lines)


def mean_std(rows: pd.DataFrame, digits: int = 1) -> str:
    """Mean ± standard deviation (n) of the values, no deviation for a single one; a dash if there are none.

    Example:
        >>> mean_std(pd.DataFrame({"value": [80.0, 82.0]})), mean_std(pd.DataFrame({"value": [80.0]}))
        ('81.0 ± 1.4 (2)', '80.0 (1)')
    """
    if rows.empty:
        return "–"
    return mean_and_spread(rows.value.mean(), rows.value.std(), len(rows), digits)


def _measured(found: _Found, what: str) -> _Found:
    """What was found among the stored results, if that is not nothing."""
    if found.empty:
        raise NotMeasuredError(f"no results of {what} are stored; `gnnq run` and `gnnq bench` make them")
    return found


def _bench(name: str) -> pd.DataFrame:
    """Rows of a benchmark, from the results folder in use or else the committed ones."""
    folders = (results_dir(), project_root() / "data" / "results")
    files = [file for folder in folders if (file := folder / f"bench_{name}.csv").exists()]
    return _measured(pd.read_csv(files[0]) if files else pd.DataFrame(), f"the benchmark {name}")


def _accuracy(name: str) -> pd.DataFrame:
    frame = ResultsStore(name).frame()
    return _measured(frame[frame.metric == "test_accuracy"], name)


def _fewer_exponents(start: str) -> pd.DataFrame:
    """Our INT2 quantizer on Cora with none or one bit for a row's exponent, as methods of their own."""
    rows = importlib.import_module(_RESULTS).Results.stored().select("test_accuracy", "exponents", start=start)
    return rows.assign(method=[f"{name}, {bits:g}" for name, bits in zip(rows.method, rows.exponent_bits, strict=True)])


def _exponent_gain() -> str:
    """Points that the two bits of a row's exponent add, over common seeds, with the p-value of a paired t-test."""
    with_exponent = _accuracy("methods_cora").query("method == 'node_pow2'")
    without = _fewer_exponents("fp32").query("exponent_bits == 0")
    test = importlib.import_module("gnnq_lib.reporting").paired_test(with_exponent, without)
    return f"{test.difference:.1f} ± {test.std:.1f} ({test.n} pairs, p = {test.p_value:.3f})"


def _from_scratch(dataset: str = "cora", **instead: bool) -> pd.DataFrame:
    """INT2 from scratch: every stored seed of each method, not those of one table alone."""
    stored = importlib.import_module(_RESULTS).Results.stored()
    rows = importlib.import_module(_PAPER_ACCURACY).int2_from_scratch(stored, **instead)
    return rows[rows.dataset == dataset]


def _qlr(dataset: str, as_released: bool) -> str:
    """Accuracy of 2-bit QLR from scratch, with the released gradient of its ranges or the correct one."""
    rows = _from_scratch(dataset, as_released=as_released)
    return mean_std(rows[rows.method == "qlr"])


def _frozen_qlr(dataset: str) -> str:
    """Accuracy of 2-bit QLR from scratch whose range factors stay where the search put them."""
    results = importlib.import_module(_RESULTS).Results.stored()
    return mean_std(results.select("test_accuracy", "paper_range_learning", dataset=dataset, quantizer_lr=0.0))


def _recommenders() -> tuple[pd.DataFrame, dict[str, dict]]:
    stores = [ResultsStore(name) for name in RECOMMENDER_TABLES]
    frames = [frame for store in stores if len(frame := store.frame())]
    rows = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()
    return _measured(rows, "recommenders"), {key: c for store in stores for key, c in store.configs().items()}


TABLES: dict[str, Callable[[], str]] = {
    "accuracy": lambda: accuracy_table(
        _accuracy("accuracy_public"), **{name: _accuracy(f"accuracy_{name}") for name in FULL_PRECISION}
    ),
    "methods": lambda: methods_table(
        pd.concat([_accuracy("methods_cora"), _fewer_exponents("fp32")]),
        pd.concat([_from_scratch(), _fewer_exponents("scratch")]),
    ),
    "calibration": lambda: calibration_table(_accuracy("calibration"), ResultsStore("calibration").configs()),
    "speed": lambda: speed_table(_bench("inference")),
    "size": lambda: size_table(_measured(ResultsStore("packed_models").frame(), "packed_models")),
    "depth": lambda: depth_table(_accuracy("depth"), ResultsStore("depth").configs()),
    "recommendation": lambda: recommendation_table(*_recommenders(), SMALL_SETS),
    "recommendation_large": lambda: recommendation_table(*_recommenders(), LARGE_SETS),
    "claims": lambda: importlib.import_module(_CLAIMS).claims_table(),
    "paper_accuracy": lambda: _markdown_of(importlib.import_module(_PAPER_ACCURACY).paper_accuracy_table()),
    "published": lambda: _markdown_of(importlib.import_module(_CLAIMS).published_table()),
    "targets": lambda: _markdown_of(importlib.import_module(_TARGETS).targets_table()),
}


def _span(values: pd.Series, digits: int = 1) -> str:
    """Smallest to largest.

    Example:
        >>> _span(pd.Series([2.84, 1.5])), _span(pd.Series([2.04, 2.0]))
        ('1.5 to 2.8', '2.0')
    """
    low, high = f"{values.min():.{digits}f}", f"{values.max():.{digits}f}"
    return low if low == high else f"{low} to {high}"


def _speedups(bits: int) -> pd.Series:
    rows = _bench("inference")
    return rows[rows.path.str.startswith("packed") & (rows.bits == bits)].speedup_vs_best_fp32


def _sums_against_ours(width: int) -> str:
    """How many times as fast packed sums on the large graph are as our float kernel, at 2, 4 and 8 bits."""
    rows = _bench("kernels")
    rows = rows[(rows.case == f"generated D={width}") & rows.variant.isin(["normalised", "neighbour_sum"])]
    times = rows.set_index("bits").median_ms
    return listed([f"{times[32] / times[bits]:.1f}" for bits in (2, 4, 8)])


def _lists(trained: bool) -> pd.DataFrame:
    """Lists of 20 from packed tables of Gowalla's size, random values or trained ones."""
    rows = _bench("serving")
    rows = rows[rows.path.str.startswith("packed") & rows.case.str.contains("29,858 users", regex=False)]
    return rows[rows.case.str.contains("trained") == trained]


def _searches(batch: int, column: str = "speedup_vs_best_fp32") -> pd.Series:
    """How many times as fast packed similarity search is as the fastest in full precision, all sets, metrics, bits; or
    another column of these rows.
    """
    rows = _bench("similarity")
    return rows[rows.path.str.startswith("packed") & (rows.batch == batch)][column]


def _points_lost(datasets: tuple[str, ...], against: str = "accuracy_public") -> pd.Series:
    """Points of accuracy that INT2 loses on average per data set, against the full precision of a table."""
    low, full = (
        rows[rows.dataset.isin(datasets) & (rows.bits == bits)].groupby("dataset").value.mean()
        for rows, bits in ((_accuracy("accuracy_public"), 2), (_accuracy(against), 32))
    )
    return _measured((full - low).dropna(), f"accuracy_public at 2 bits and {against} at 32")


def _int2_on_cora() -> pd.Series:
    rows = _accuracy("accuracy_public")
    return _measured(rows[(rows.dataset == "cora") & (rows.bits == 2)].value, "accuracy_public at 2 bits on Cora")


def _slow_kernels() -> str:
    """How many timed rows of packed kernels are slower than the fastest full-precision path."""
    rows = _bench("kernels")
    packed = rows[rows.path.str.startswith("packed")].speedup_vs_best_fp32.dropna()
    return f"{(packed < 1).sum()} of {len(packed)}"


def _claimed(claim: str) -> str:
    """A claim's published number, two digits."""
    claims = pd.read_csv(project_root() / "data" / "reported" / "claims.csv", index_col="claim")
    return f"{float(claims.number[claim]):.2f}"


def _moved_by_bounds() -> str:
    """Claims of the abstracts with another verdict where one of the rules' bounds is another."""
    from gnnq_lib.reporting.verdicts import of_abstracts, sensitivity

    changes = " ".join(sensitivity()["verdicts that change"])
    names = [claim.name for claim in of_abstracts()]
    moved = [name for name in names if re.search(rf"\b{name}\b", changes)]
    return f"{len(moved)} of {len(names)} ({', '.join(moved)})"


def _training_speedup() -> str:
    rows = _bench("training")
    return f"{rows[(rows.variant == 'sparse') & (rows.threads == 1)].speedup_vs_dense.iloc[0]:.0f}"


def _minutes(command: str) -> str:
    rows = _bench("fresh_clone").set_index("case")
    return f"{rows.seconds[command] / 60:.0f}"


def _notebook_seconds(number: str) -> str:
    """Seconds of a notebook in a fresh clone; a dash if it was not measured."""
    rows = _bench("fresh_clone")
    rows = rows[(rows.path == "notebook") & rows.case.str.startswith(f"{number}_")]
    return f"{rows.seconds.iloc[0]:.0f}" if len(rows) else "–"


def _kept_by_gnaq(metric: str) -> pd.Series:
    """Per cent by which GNAQ at 2 bits differs from FP32, per data set."""
    rows, configs = _recommenders()
    rows = rows[(rows.metric == metric) & rows.config_key.map(lambda key: configs[key]["bits"] in (2, 32))]
    means = rows.pivot_table(index="dataset", columns="method", values="value").reindex(columns=["gnaq", "fp32"])
    return _measured(100 * (means.gnaq / means.fp32 - 1).dropna(), "GNAQ beside full precision")


def _paper_runs() -> str:
    """How many runs of paper A's tables are stored, and how many there are: "n of m"."""
    names = [name for name in table_names() if name.startswith("paper_")]
    stored = sum(len(ResultsStore(name).configs()) for name in names)
    return f"{stored:,} of {sum(map(run_count, names)):,}"


def untrained_as_released(rows: pd.DataFrame, configs: dict[str, dict]) -> str:
    """Runs of GNAQ as released without its linear head whose best epoch is 0, the table before training: "n of m".

    Args:
        rows, configs: of the recommenders' stores.
    """
    rows = rows[(rows.metric == "best_epoch") & (rows.method == "gnaq_as_released")]
    rows = rows[[not configs[key]["linear_head"] for key in rows.config_key]]
    return f"{int((rows.value == 0).sum())} of {len(rows)}"


# Numbers within the README's sentences: `<!-- number: NAME -->...<!-- end -->`.
NUMBERS: dict[str, Callable[[], str]] = {
    "int2_points_lost": lambda: f"{_points_lost(('cora', 'citeseer')).max():.1f}",
    "int2_points_lost_pubmed": lambda: f"{_points_lost(('pubmed',)).max():.1f}",
    "int2_points_lost_continued": lambda: _span(_points_lost(("cora", "citeseer", "pubmed"), "accuracy_continued")),
    "int2_points_lost_searched": lambda: _span(_points_lost(("cora", "citeseer", "pubmed"), "accuracy_searched")),
    "without_exponent": lambda: mean_std(_fewer_exponents("fp32").query("exponent_bits == 0")),
    "exponent_gain": _exponent_gain,
    "without_exponent_scratch": lambda: mean_std(_fewer_exponents("scratch").query("exponent_bits == 0")),
    "int2_cora": lambda: _span(_int2_on_cora()),
    "lists_random": lambda: _span(_lists(trained=False).speedup_vs_best_fp32),
    "lists_trained": lambda: _span(_lists(trained=True).speedup_vs_best_fp32),
    "lists_smaller": lambda: _span(_lists(trained=True).times_smaller),
    "lists_found": lambda: f"{100 * _lists(trained=True).recall_at_k.min():.0f}",
    "lists_found_random": lambda: _span(100 * _lists(trained=False).recall_at_k, 0),
    "searches_256": lambda: _span(_searches(256)),
    "searches_1": lambda: _span(_searches(1)),
    "searches_found": lambda: _span(100 * _searches(256, "recall"), 0),
    "slow_kernels": _slow_kernels,
    "moved_by_bounds": _moved_by_bounds,
    "claimed_int2": lambda: _claimed("A1"),
    "claimed_int4": lambda: _claimed("A2"),
    "qlr_cora": lambda: _qlr("cora", as_released=False),
    "qlr_cora_frozen": lambda: _frozen_qlr("cora"),
    "qlr_citeseer_frozen": lambda: _frozen_qlr("citeseer"),
    "qlr_cora_released": lambda: _qlr("cora", as_released=True),
    "qlr_citeseer": lambda: _qlr("citeseer", as_released=False),
    "qlr_citeseer_released": lambda: _qlr("citeseer", as_released=True),
    "int2_speedups": lambda: _span(_speedups(2)),
    "int4_speedups": lambda: _span(_speedups(4)),
    "sums_128": lambda: _sums_against_ours(128),
    "sums_256": lambda: _sums_against_ours(256),
    "training_one_thread": _training_speedup,
    "install_minutes": lambda: _minutes("make install"),
    "reproduce_minutes": lambda: _minutes("make reproduce"),
    "test_minutes": lambda: _minutes("make test"),
    "gnaq_recall": lambda: _span(_kept_by_gnaq("recall@10")),
    "gnaq_ndcg": lambda: _span(_kept_by_gnaq("ndcg@10")),
    **{f"seconds_{path.name[:2]}": partial(_notebook_seconds, path.name[:2]) for path in notebook_paths()},
    "paper_runs": _paper_runs,
    "released_untrained": lambda: untrained_as_released(*_recommenders()),
}


def with_tables(text: str) -> str:
    """The README's text with every marked table and number made anew from the results.

    Raises:
        InputError: a marker names a table or number that does not exist.
        NotMeasuredError: results of one are not stored.
    """
    return _renewed(_renewed(text, "table", TABLES, _BLOCK, "<!-- end of table -->"), "number", NUMBERS, _NUMBER)


def _renewed(text: str, kind: str, makers: dict[str, Callable[[], str]], form: str, end: str = "<!-- end -->") -> str:
    def renew(match: re.Match) -> str:
        name = match["name"]
        if name not in makers:
            raise InputError(f"README marks a {kind} {name!r}; {', '.join(makers)} are accepted")
        return form.format(name=name, body=makers[name]())

    return re.sub(rf"<!-- {kind}: (?P<name>\w+) -->.*?{end}", renew, text, flags=re.DOTALL)


def update(readme: Path) -> None:
    """Renew the tables and numbers of a README file in place."""
    atomic_write(readme, with_tables(readme.read_text(encoding="utf-8")))


def _markdown_of(table: pd.DataFrame) -> str:
    return _markdown(list(table), table.to_numpy().tolist())


def _markdown(head: list[str], lines: list[list[str]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)
