"""What the released codes do differently from ours, and what each difference changes, measured where it was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from gnnq_lib.errors import InputError
from gnnq_lib.experiments.tables import ABLATION_TABLES
from gnnq_lib.paths import project_root
from gnnq_lib.reporting.results import Results, plain
from gnnq_lib.reporting.rules import p_text, span, spread_of, title
from gnnq_lib.reporting.rules_paper_a import RANGE_RATE, inference_rows
from gnnq_lib.reporting.rules_paper_b import ABLATIONS, MAIN, RUNS, ablation_pair, main_rows
from gnnq_lib.reporting.statistics import mean_test, paired_values

NOT_RUN = "not run"
CALIBRATED = {"model": "smp", "multiplier": False, "placement": "node"}
PARTS_OF_GNAQ = {"start": "teacher", "dim": 64, "bits": 2}


@dataclass(frozen=True)
class Difference:
    """One difference.

    Attributes:
        paper: "A" or "B".
        released, ours: what each does.
        effect: what it changes, with numbers; "not run" where it was not measured.
        command: what measures it; empty where the library has no switch for it.
    """

    paper: str
    released: str
    ours: str
    effect: str
    command: str = ""


def release_differences(results: Results | None = None) -> pd.DataFrame:
    """All differences as a table of text, with the effects computed from the results.

    Args:
        results: everything stored, if not given.
    """
    results = Results.stored() if results is None else results
    return pd.DataFrame([make(results) for make in _DIFFERENCES])


_DIFFERENCES: list[Callable[[Results], Difference]] = []


def _difference(make: Callable[[Results], Difference]) -> Callable[[Results], Difference]:
    _DIFFERENCES.append(make)
    return make


def effect_of(
    results: Results, metric: str, experiment: str, common: dict, released: dict, ours: dict, unit: str = "%"
) -> str:
    """The released setting beside ours, all else equal, as `effect_between` says it.

    Args:
        metric, experiment: as for `Results.select`.
        common: settings of both.
        released, ours: the settings that differ.
        unit: of the metric; "" for rankings.
    """
    theirs = results.select(metric, experiment, **{**common, **released})
    default = results.select(metric, experiment, **{**common, **ours})
    return effect_between(theirs, default, metric, unit)


def effect_between(theirs: pd.DataFrame, default: pd.DataFrame, metric: str, unit: str = "%") -> str:
    """Means, change and paired test of runs that share data set, split and seed, per data set; "not run" without any.

    Only such pairs enter, in the means too.

    Args:
        theirs, default: rows of the released setting, and of ours.
        metric: its name, for rankings; "" where the text says it already.
        unit: of the metric; "" for rankings, whose change is given in per cent of ours.

    Example:
        >>> ours = pd.DataFrame({"dataset": "lastfm", "seed": [0, 1, 2], "value": [0.2, 0.2, 0.3]})
        >>> effect_between(ours[ours.seed < 1].assign(value=0.1), ours, "recall@10", "")
        'released 0.1000 (1), ours 0.2000 (1): -50.0 % recall@10 (no test with one pair)'
    """
    if theirs.empty or default.empty:
        return NOT_RUN
    try:
        pairs = paired_values(theirs, default).reset_index()
    except InputError:
        return NOT_RUN
    if "dataset" not in pairs or pairs.dataset.nunique() == 1:
        return _change(pairs, metric, unit)
    return "; ".join(
        f"{title(name)}: {_change(part, metric, unit)}" for name, part in pairs.groupby("dataset", sort=False)
    )


def _change(pairs: pd.DataFrame, metric: str, unit: str) -> str:
    """One data set's pairs: both means, and the change."""
    test = mean_test(pairs["first"] - pairs["second"])
    if unit == "%":
        change = f"{test.difference:+.1f} points"
    else:
        change = f"{100 * test.difference / pairs['second'].mean():+.1f} % {metric}".rstrip()
    means = [spread_of(pd.DataFrame({"value": pairs[name]})) for name in ("first", "second")]
    tested = p_text(test.p_value) + (f", {test.n} pairs" if test.n > 1 else "")
    return f"released {means[0]}, ours {means[1]}: {change} ({tested})"


def _joined(parts: dict[str, str]) -> str:
    """Several effects in one line; "not run" if none was measured."""
    measured = {name: text for name, text in parts.items() if text != NOT_RUN}
    between = ". " if any("; " in text for text in measured.values()) else "; "
    return between.join(f"{name}: {text}" for name, text in measured.items()) or NOT_RUN


@_difference
def _gradient(results: Results) -> Difference:
    settings = {**CALIBRATED, "calibration": "evaluation", "dropout_first": False}
    effects = {
        name: effect_of(results, "test_accuracy", "calibration|paper_switches", {**settings, "method": method},
                        {"as_released": True}, {"as_released": False})
        for method, name in (("qlr", "QLR"), ("bt_star", "BT*"))
    }  # fmt: skip
    effects["QLR, of this only that ranges stay"] = effect_of(
        results, "test_accuracy", "paper_range_learning", {"method": "qlr", "bits": 2, "as_released": False},
        {"quantizer_lr": 0.0}, {"quantizer_lr": RANGE_RATE})  # fmt: skip
    return Difference(
        "A",
        "The gradient of the range factor is zero up to rounding noise, so ranges stay where the search put them, and "
        "whether a value passes its gradient on goes by its rounded output, not by the value",
        "The gradients of the quantizer's output with respect to the factor and to its input",
        _joined(effects),
        "gnnq run calibration && gnnq run paper_switches && gnnq run paper_range_learning",
    )


@_difference
def _calibration(results: Results) -> Difference:
    released = {"calibration": "training", "dropout_first": True}
    ours = {"calibration": "evaluation", "dropout_first": False}
    effects = {
        f"{name}, {gradient} gradient": effect_of(
            results, "test_accuracy", "calibration|paper_switches",
            {**CALIBRATED, "method": method, "as_released": gradient == "released"}, released, ours)
        for method, name in (("qlr", "QLR"), ("bt_star", "BT*"))
        for gradient in ("correct", "released")
    }  # fmt: skip
    return Difference(
        "A",
        "Ranges are those of the last training step, on tensors that dropout has scaled up, frozen for evaluation",
        "Ranges are measured on what evaluation sees; the quantizer stands before dropout",
        _joined(effects),
        "gnnq run calibration && gnnq run paper_switches",
    )


@_difference
def _shared_range(results: Results) -> Difference:
    effect = effect_of(
        results, "test_accuracy", "paper_switches",
        {"model": "smp", "method": "qlr", "bits": 2, "start": "scratch", "multiplier": True, "placement": "node",
         "as_released": False, "calibration": "evaluation"},
        {"shared_ranges": True}, {"shared_ranges": False})  # fmt: skip
    return Difference(
        "A",
        "One range factor per stage is shared by all layers and both propagations; the last first call sets it",
        "One range factor per quantizer",
        effect if effect == NOT_RUN else f"QLR with the multiplier: {effect}",
        "gnnq run paper_switches",
    )


@_difference
def _edge_messages(results: Results) -> Difference:
    effects = {
        name: effect_of(results, "test_accuracy", "paper_switches|methods_cora_scratch",
                        {"model": "smp", "method": method, "bits": 2, "start": "scratch", "multiplier": False,
                         "as_released": False}, {"placement": "edge"}, {"placement": "node"})
        for method, name in (("qlr", "QLR"), ("bt_star", "BT*"))
    }  # fmt: skip
    return Difference(
        "A",
        "Messages are quantized once per edge, which cannot be stored packed",
        "Messages are quantized once per node; sums of integers are then exact",
        _joined(effects),
        "gnnq run methods_cora_scratch && gnnq run paper_switches",
    )


@_difference
def _appnp(results: Results) -> Difference:
    common = {"method": "fp32", "start": "scratch"}
    smp = {"model": "smp", "multiplier": True, "gap_term": False}
    effects = {
        "SMP with its multiplier beside APPNP": effect_of(
            results, "test_accuracy", "paper_switches", common, smp, {"model": "appnp"}),
        "with the term that the release drops": effect_of(
            results, "test_accuracy", "paper_switches", common, smp,
            {"model": "smp", "multiplier": True, "gap_term": True}),
    }  # fmt: skip
    return Difference(
        "A",
        "At the released settings the base step of SMP is APPNP with teleport 0.1; the multiplier's step drops one "
        "term of the Lagrangian's gradient, and the slack does not move",
        "The same step by default, the dropped term as a switch, multiplier off by default",
        _joined(effects),
        "gnnq run paper_switches",
    )


@_difference
def _emp(results: Results) -> Difference:
    common = {"method": "fp32", "bits": 32}
    effects = {
        name: effect_of(results, "test_accuracy", table, common, {"model": "emp_released"}, {"model": "emp"})
        for name, table in (("public split", "paper_switches"), ("random splits", "paper_random_cora"))
    }
    return Difference(
        "A",
        "EMP's sparse term is computed and then overwritten, and its edge weights are read from the diagonal",
        "Elastic message passing with its term and the normalised weights",
        _joined(effects),
        "gnnq run paper_switches && gnnq run paper_random_cora",
    )


@_difference
def _test_selection(results: Results) -> Difference:
    printed = pd.read_csv(project_root() / "data" / "reported" / "paper_a_notebook.csv")
    gain = printed.max_test - printed.test_at_best_val
    return Difference(
        "A",
        "Embeddings for similarity search are saved at the epoch of best test accuracy",
        "Every choice is made on validation",
        f"in the authors' own logs the best test epoch is {gain.mean():.1f} points above the epoch chosen on "
        f"validation, on average over {len(gain)} settings ({gain.max():.1f} at most)",
        "gnnq report",
    )


@_difference
def _single_split(results: Results) -> Difference:
    rows = plain(results.select("test_accuracy", "paper_random_cora*", dataset="cora", method="fp32"))
    effect = NOT_RUN
    if len(rows) > 1:
        low, high = rows.value.min(), rows.value.max()
        effect = f"FP32 SMP over {len(rows)} random splits: {spread_of(rows)} %, from {low:.1f} to {high:.1f} %"
    return Difference(
        "A",
        "The option that should run n random splits runs the n-th only, and every run starts from one fixed seed",
        "Splits and seeds are looped over, with mean and standard deviation",
        effect,
        "gnnq run paper_random_cora",
    )


@_difference
def _no_integers(results: Results) -> Difference:
    table = inference_rows(results, 2)
    effect = NOT_RUN
    if len(table):
        factors = table.speedup_vs_fp32_as_released
        effect = f"packed INT2 is {span(factors, 1)} times faster than dense FP32 as released"
    return Difference(
        "A",
        "All arithmetic is simulated in FP32 on dense features; there is no integer kernel",
        "Packed codes and integer kernels, giving the simulated model's answers",
        effect,
        "gnnq bench inference --csv data/results/bench_inference.csv",
    )


@_difference
def _dense_adjacency(results: Results) -> Difference:
    table = results.bench("training")
    effect = NOT_RUN
    if "speedup_vs_dense" in table:
        effect = f"an epoch of the dense form takes {table.speedup_vs_dense.max():.1f} times as long"
    return Difference(
        "A",
        "The N x N adjacency matrix is built densely two or three times per forward pass",
        "Sparse weights, computed once",
        effect,
        "gnnq bench training --csv data/results/bench_training.csv",
    )


@_difference
def _collapse(results: Results) -> Difference:
    common, tables = {**PARTS_OF_GNAQ}, MAIN
    effects = {}
    for metric in ("recall@10", "ndcg@10"):
        ours = results.select(metric, tables, **common, method="gnaq")
        for head in (True, False):
            theirs = results.select(metric, tables, **common, method="gnaq_as_released", linear_head=head)
            name = f"{'with' if head else 'without'} its linear head, {metric}"
            effects[name] = effect_between(theirs, ours, "", "")
    form = {**common, "method": "gnaq_as_released", "linear_head": False}
    effects["as released without its linear head, codes taken anew against never, ndcg@10 after the last epoch"] = (
        effect_between(
            results.select("last_ndcg@10", tables, **form),
            results.select("last_ndcg@10", "|".join(ABLATION_TABLES), **form, update_every=0),
            "",
            "",
        )
    )
    untrained = results.select("best_epoch", tables, **common, method="gnaq_as_released", linear_head=False)
    effect = _joined(effects)
    if len(untrained) and effect != NOT_RUN:
        kept = int((untrained.value == 0).sum())
        effect += (
            f". Without its linear head, training only lowered validation NDCG in {kept} of {len(untrained)} runs, "
            "which therefore show the rounded table before training"
        )
    return Difference(
        "B",
        "Codes are taken anew from the propagated embedding after every batch, an iteration that smooths the table",
        "Codes are the nearest levels of a latent table that is trained",
        effect,
        RUNS,
    )


@_difference
def _levels(results: Results) -> Difference:
    return _ablated(
        results,
        "placement",
        "released",
        "First levels at 0.2, 0.4, 0.6, 0.8 of a node's range, codes by its quarters (measured with codes by the "
        "nearest level, and refined as ours)",
        "First levels fitted to the node's values (Lloyd's rule)",
    )


@_difference
def _tanh(results: Results) -> Difference:
    return _ablated(
        results,
        "tanh",
        "true",
        "Levels are initialised to the teacher's values but used through tanh",
        "Levels are used as they are",
    )


@_difference
def _head(results: Results) -> Difference:
    return _ablated(
        results,
        "linear_head",
        "true",
        "A linear head adds a free FP32 number per user and item, started at random (measured started at 0)",
        "Inner products only",
    )


def _ablated(results: Results, setting: str, released: str, theirs_text: str, ours_text: str) -> Difference:
    """One switch of GNAQ; every other setting is the usual one of the ablations on both sides."""
    ours, theirs, _ = ablation_pair(results, setting, released)
    effect = effect_between(theirs, ours, "ndcg@10", "")
    return Difference("B", theirs_text, ours_text, effect, ABLATIONS)


@_difference
def _float_codes(results: Results) -> Difference:
    sizes = main_rows(results, "model_bytes")
    full, low = sizes[sizes.method == "fp32"], sizes[(sizes.method == "gnaq") & (sizes.bits == 2)]
    effect = NOT_RUN
    if set(full.dataset) & set(low.dataset):
        pairs = paired_values(full, low)
        times, datasets = pairs["first"] / pairs["second"], pairs.index.get_level_values("dataset").nunique()
        effect = (
            f"a table as released takes the bytes of FP32; packed, one of D = 64 is {span(times, 1)} times smaller "
            f"({datasets} data set{'s' * (datasets > 1)})"
        )
    return Difference(
        "B",
        "Codes are held and saved as FP32, so nothing becomes smaller",
        "Two bits per code, packed, in a file",
        effect,
        RUNS,
    )


@_difference
def _test_epochs(results: Results) -> Difference:
    return Difference(
        "B",
        "The teacher's number of epochs is chosen on test data, and the validation split changes with the seed",
        "Teacher and student share one split; test data choose nothing",
        NOT_RUN,
    )
