"""Rules for the claims of paper A (SMP, QLR, BT, BT*) and for the published numbers of its baselines."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pandas as pd

from gnnq_lib.experiments.store import mean_and_spread
from gnnq_lib.naming import DATASET_TITLES, PACKED, listed
from gnnq_lib.reporting.bounds import bound
from gnnq_lib.reporting.claims import Claim
from gnnq_lib.reporting.paper_accuracy import full_precision, int2_from_scratch, scheme_runs
from gnnq_lib.reporting.results import Results, plain
from gnnq_lib.reporting.rules import (
    Finding,
    Status,
    at_most_in_part,
    not_run,
    p_text,
    rule,
    span,
    span_and_spread,
    spread_of,
    status_of,
    status_of_gains,
    title,
)
from gnnq_lib.reporting.statistics import PairedTest, holm, holm_p_values, mean_test, paired_test, paired_values

SPEED_CASES = ("pubmed", "cs", "generated")  # what a graph's name starts with; there are two generated ones
THEIRS = ("qlr", "bt", "bt_star")
EARLIER = ("minmax", "lsq", "degree_quant")
STAGES = ("inputs", "weights", "features", "messages", "aggregates", "updates", "embeddings")
CLASSES = {"cora": 7, "citeseer": 6, "pubmed": 3, "cs": 15, "physics": 5}
PUBLIC = "accuracy_public|paper_public*"
RANGE_RATE = 0.001  # learning rate of range factors from scratch
DEEP = 32


def inference_rows(results: Results, bits: int) -> pd.DataFrame:
    """Packed rows of the inference benchmark, one per case: `name` (first word of the case) and the factors.

    Where several numbers of threads were timed, the one at which FP32 is fastest; SMP without its multiplier.
    """
    table = results.bench("inference")
    if table.empty:
        return table
    if "multiplier" in table:
        table = table[table.multiplier.astype(str) != "True"]
    table = table[table.bench == "inference"].assign(threads=table.get("threads", 1))
    table = table.assign(name=[str(case).split()[0] for case in table.case])
    full = table[(table.path == "fp32") & table.median_ms.notna()].sort_values("median_ms")
    fastest = full.drop_duplicates("name").set_index("name").threads
    packed = table[(table.path == PACKED) & (table.bits == bits) & (table.threads == table.name.map(fastest))]
    return packed.sort_values("median_ms").drop_duplicates("name").sort_index()


@rule(
    "gnnq bench inference --csv data/results/bench_inference.csv",
    "time of a whole classifier against the fastest FP32 path",
)
def speedup(results: Results, claim: Claim, bits: str) -> Finding:
    """Holds if packed inference of the whole classifier is at least as many times faster than the fastest FP32 path as
    claimed on PubMed, CS and every generated graph; in part if it is faster on each of them, though by less than
    claimed on some; else it does not hold. Cora and CiteSeer are left out: there what stands around the kernels
    takes most of the time.
    """
    table = inference_rows(results, int(bits))
    table = table[[name.startswith(SPEED_CASES) for name in table.name]] if len(table) else table
    if table.empty:
        return not_run("no inference benchmark is stored")
    factors = table.set_index("name").speedup_vs_best_fp32
    released = table.set_index("name").speedup_vs_fp32_as_released
    reached = factors >= claim.number
    every = all(any(name.startswith(case) for name in factors.index) for case in SPEED_CASES)
    status = status_of(every and bool(reached.all()), every and bool((factors > 1).all()))
    each = ", ".join(f"{_graph(name)} {factor:.1f}" for name, factor in factors.items())
    return Finding(
        status,
        f"INT{bits} against the fastest FP32 path: {each} times; against the dense path as released: "
        f"{span(released, 1)} times. {int(reached.sum())} of {len(factors)} cases reach the claim against the fastest "
        f"path, {int((released >= claim.number).sum())} against the release's.",
        span_and_spread(factors, 1, " times", "cases"),
        f"{span(factors / claim.number, 2)} times the claim",
        float(factors.min()),
        rows=table,
    )


def _graph(name: str) -> str:
    """A case's graph in a sentence; the name `generated` alone is the first of the generated graphs."""
    return f"the {DATASET_TITLES['generated']}" if name == "generated" else title(name).replace(", ", " of ", 1)


@rule("gnnq run accuracy_public && gnnq run packed_models", "bits at every stage; packed against simulated")
def all_stages(results: Results, claim: Claim) -> Finding:
    """Holds if all seven stages take at most 3 bits per value (scales included) in the INT2 models (a power of two per
    node) of every data set measured, and packed integers give the simulated model's class on every node; in part if
    only one of the two; else it does not hold.
    """
    rows = results.rows
    public = results.select("test_accuracy", PUBLIC, bits=2, method="node_pow2")
    stages = rows[rows.config_key.isin(set(public.config_key)) & rows.metric.isin([f"bits_{s}" for s in STAGES])]
    if stages.empty:
        return not_run("no INT2 run with its bits per stage is stored")
    complete = stages.groupby("dataset").metric.nunique().min() == len(STAGES)
    largest = stages.groupby("dataset", sort=False).value.max()
    packed = results.select("nodes_of_another_class", "packed_models", bits=2)
    compared = results.select("nodes_compared", "packed_models", bits=2)
    low, same = complete and largest.max() <= bound("most_bits"), len(packed) > 0 and packed.value.sum() == 0
    check = (
        f"packed integers give another class on {packed.value.sum():.0f} of {compared.value.sum():,.0f} nodes of "
        f"{packed.dataset.nunique()} data sets"
        if len(packed)
        else "packed models were not compared"
    )
    datasets = listed([title(name) for name in largest.index])
    return Finding(
        status_of(low and same, low or same),
        f"{stages.metric.nunique()} of {len(STAGES)} stages are quantized on {datasets} ({len(public)} runs), with at "
        f"most {largest.max():.2f} bits per value; {check}.",
        span_and_spread(largest, 2, " bits at most", "data sets"),
        f"{largest.max():.2f} of {bound('most_bits'):g} bits",
        value=float(largest.max()),
        rows=pd.concat([public, packed]),
    )


@rule(
    "gnnq run methods_cora_scratch && gnnq run accuracy_public",
    "QLR, BT or BT* from scratch against three quantizers",
)
def int2_where_others_fail(results: Results, claim: Claim) -> Finding:
    """Judged on every data set with INT2 models from scratch (APPNP's propagation; the same settings for all methods,
    none of them tuned). Holds if on each of them that of QLR, BT and BT* (those that were run) with the best validation
    accuracy is within 10 points of FP32 and above min-max QAT, LSQ and Degree-Quant (paired t-tests over common seeds,
    Holm over all of them, 5 %; 3 pairs or more); in part if it is so on some data set; else it does not hold.
    """
    rows, validation = int2_from_scratch(results), int2_from_scratch(results, "val_accuracy")
    full = full_precision(results)
    cases, tests = {}, {}
    for dataset, here in rows.groupby("dataset", sort=False):
        theirs = here[here.method.isin(THEIRS)]
        others = {name: here[here.method == name] for name in EARLIER}
        if theirs.empty or not (full.dataset == dataset).any() or any(part.empty for part in others.values()):
            continue
        best = _best_on_validation(validation[validation.dataset == dataset], theirs)
        cases[dataset] = (theirs[theirs.method == best], full[full.dataset == dataset], others)
        tests |= {(dataset, name): paired_test(cases[dataset][0], part) for name, part in others.items()}
    if not cases:
        return not_run("INT2 methods from scratch beside FP32 are not stored")
    corrected = holm_p_values(tests)
    won, sentences, gaps, needed = {}, [], {}, []
    for dataset, (ours, reference, others) in cases.items():
        gaps[dataset] = paired_test(reference, ours).difference
        above = {name: tests[dataset, name].clearly_above(corrected[dataset, name]) for name in others}
        pairs = min(tests[dataset, name].n for name in others)
        close, enough = gaps[dataset] <= bound("gap_to_full"), pairs >= bound("least_runs")
        won[dataset] = close and enough and all(above.values())
        needed.append((won[dataset], max(corrected[dataset, name] for name in others)))
        each = ", ".join(
            f"{_with_chance(name, part, dataset)}: {tests[dataset, name].difference:+.1f} over "
            f"{tests[dataset, name].n} pairs ({p_text(corrected[dataset, name])})"
            for name, part in others.items()
        )
        sentences.append(
            f"{title(dataset)}: {title(ours.method.iloc[0])} {spread_of(ours)} %, {gaps[dataset]:.1f} points below FP32"
            f" on the same seeds (all of FP32: {spread_of(reference)}); above {sum(above.values())} of {len(above)}: "
            f"against {each}"
        )
    return Finding(
        status_of(all(won.values()), any(won.values())),
        ". ".join(sentences) + ".",
        "; ".join(f"{title(name)} {title(o.method.iloc[0])} {spread_of(o)}" for name, (o, _, _) in cases.items()),
        "; ".join(f"{title(name)} {gap:.1f} points below FP32" for name, gap in gaps.items()),
        float(max(gaps.values())),
        _deciding(needed),
        pd.concat(
            [frame for ours, reference, others in cases.values() for frame in (ours, reference, *others.values())]
        ),
    )


def _best_on_validation(validation: pd.DataFrame, rows: pd.DataFrame) -> str:
    """The method of these runs with the highest mean validation accuracy; any of them where that is not stored."""
    means = validation[validation.config_key.isin(set(rows.config_key))].groupby("method").value.mean()
    return means.idxmax() if len(means) else rows.method.iloc[0]


def _with_chance(method: str, rows: pd.DataFrame, dataset: str) -> str:
    """A baseline's mean, and whether it collapsed below the accuracy of guessing."""
    chance = 100 / CLASSES[dataset] if dataset in CLASSES else 0.0
    below = f", collapsed below chance of {chance:.1f}" if rows.value.mean() < chance else ""
    return f"{title(method)} {spread_of(rows)}{below}"


class Gains:
    """Two methods compared in several cases, over common seeds and splits in each; p-values corrected by Holm's rule.

    Args:
        pairs: case in words -> (rows of the first method, rows of the second).

    Attributes:
        tests: case -> paired test.
        above, below: case -> whether the first is clearly higher, and clearly lower.
    """

    def __init__(self, pairs: Mapping[str, Sequence[pd.DataFrame]]) -> None:
        self.pairs = pairs
        self.tests = {case: paired_test(*pair) for case, pair in pairs.items()}
        self._corrected = holm_p_values(self.tests)
        self.above = {case: test.clearly_above(self._corrected[case]) for case, test in self.tests.items()}
        self.below = {case: test.clearly_below(self._corrected[case]) for case, test in self.tests.items()}

    @property
    def status(self) -> Status:
        """See `status_of_gains`; at most "in part" if a case has few pairs."""
        fewest = min(test.n for test in self.tests.values())
        return at_most_in_part(status_of_gains(self.above.values(), self.below.values()), fewest)

    @property
    def p_value(self) -> float:
        """The one that decides, of the gains or, if there is none, of the losses."""
        decides = self.above if any(self.above.values()) else self.below
        return _deciding([(decides[case], p) for case, p in self._corrected.items()])

    @property
    def rows(self) -> pd.DataFrame:
        """All that was compared."""
        return pd.concat([rows for pair in self.pairs.values() for rows in pair])

    def each(self, digits: int = 1) -> str:
        """Every case in words."""
        return "; ".join(
            f"{case} {spread_of(self.pairs[case][0])} % against {spread_of(self.pairs[case][1])} %, "
            f"{test.difference:+.{digits}f} points over {test.n} pairs ({p_text(self._corrected[case])})"
            for case, test in self.tests.items()
        )


def _deciding(tests: Sequence[tuple[bool, float]]) -> float:
    """The p-value that decides: the largest among the tests that were won; of none won, the smallest."""
    won = [p for win, p in tests if win and not math.isnan(p)]
    made = [p for _, p in tests if not math.isnan(p)]
    return max(won) if won else min(made, default=math.nan)


@rule("gnnq run paper_error_growth", "error of APPNP's propagation at the deepest layer against layer 8")
def error_bounded(results: Results, claim: Claim) -> Finding:
    """Judged per quantizer of the paper at INT2 by how the error of propagation grows (by SMP's base step, which is
    APPNP's; the multiplier is off): bounded if, with teleport, it is at the deepest layer at most 1.1 times that after
    8 layers and below the error without teleport (paired t-test over seeds, Holm, 5 %). Holds if so for every quantizer
    measured, with 3 seeds or more; in part if for some; else it does not hold. That an error is below the proved bound
    is a theorem and decides nothing.
    """
    keep = {"bits": 2, "method": list(THEIRS)}
    layers = {
        int(name.split("@")[1])
        for name in results.rows.metric.dropna().unique()
        if str(name).startswith("relative_error@")
    }
    at = {
        layer: results.select(f"relative_error@{layer}", "paper_error_growth", **keep)
        for layer in ({8, max(layers)} if layers else ())
    }
    if 8 not in at or at[8].empty:
        return not_run("error growth is not stored")
    deepest = max(at)
    split = {layer: [rows[(rows.teleport > 0) == on] for on in (True, False)] for layer, rows in at.items()}
    (early, _), (late, without) = split[8], split[deepest]
    names = [name for name in THEIRS if (early.method == name).any() and (without.method == name).any()]
    if not names:
        return not_run("error growth with teleport and without it is not stored")
    of = lambda rows, name: rows[rows.method == name]  # noqa: E731
    pairs = {name: paired_values(of(late, name), of(early, name)) for name in names}
    growth = {name: pair["first"].mean() / pair["second"].mean() for name, pair in pairs.items()}
    tests = {name: paired_test(of(without, name), of(late, name)) for name in names}
    corrected = holm_p_values(tests)
    most = bound("error_growth")
    bounded = {name: growth[name] <= most and tests[name].clearly_above(corrected[name]) for name in names}
    each = ", ".join(
        f"{title(name)} {growth[name]:.2f} (without teleport {tests[name].difference:+.2f} more error at the end, "
        f"{tests[name].n} pairs, {p_text(corrected[name])})"
        for name in names
    )
    seeds = min(test.n for test in tests.values())
    return Finding(
        at_most_in_part(status_of(all(bounded.values()), any(bounded.values())), seeds),
        f"With teleport, the error after {deepest} layers over that after 8 (INT2): {each}; bounded for "
        f"{sum(bounded.values())} of {len(names)} quantizers.",
        span_and_spread(pd.Series(growth), 2, " times the error at 8 layers", f"quantizers, {seeds} seeds each"),
        f"{max(growth.values()):.2f} times at worst, {most:g} asked for",
        value=float(max(growth.values())),
        p_value=_deciding([(bounded[name], corrected[name]) for name in names]),
        rows=pd.concat([early, late, without]),
    )


@rule("gnnq run depth && gnnq run paper_depth_cora_baselines", "accuracy at 64 layers, beside plain propagation's")
def depth_kept(results: Results, claim: Claim) -> Finding:
    """Holds if SMP (with its multiplier) on Cora at its deepest (32 layers or more) is at most 2 points below its best
    depth in FP32 and INT2, while plain propagation (SGC, which has no stack of weights whose training could fail as a
    deep GCN's does) loses more than 10 and is below SMP there (paired t-test over seeds, 5 %; 3 seeds or more); in part
    if SMP loses at most 2 points in one precision at least; else it does not hold. Depths with fewer seeds than others
    are left out. APPNP, which is SMP without its multiplier, is told beside it: what it does too is the teleport's.
    """
    rows = results.select("test_accuracy", "depth|paper_depth_cora*", dataset="cora")
    smp = rows[(rows.model == "smp") & (rows.multiplier == True) & rows.method.isin(["fp32", "node_pow2"])]  # noqa: E712
    sgc = rows[(rows.model == "sgc") & (rows.method == "fp32")]
    losses = {name: _points_lost(part) for name, part in smp.groupby("method")}
    if not losses or smp.num_layers.max() < DEEP:
        return not_run(f"no run of SMP with {DEEP} layers or more is stored")
    of_sgc = _points_lost(sgc) if len(sgc) else pd.Series(dtype=float)
    kept = [name for name, loss in losses.items() if loss.mean() <= bound("depth_loss")]
    each = ", ".join(f"{'FP32' if name == 'fp32' else 'INT2'} {_points(loss)}" for name, loss in losses.items())
    test, deepest = PairedTest(math.nan, math.nan, 0, math.nan), smp.num_layers.max()
    other = "plain propagation (SGC) was not measured"
    if len(sgc) and sgc.num_layers.max() == deepest and "fp32" in losses:
        ends = [part[part.num_layers == deepest] for part in (smp[smp.method == "fp32"], sgc)]
        test = paired_test(*ends)
        other = (
            f"plain propagation (SGC) {_points(of_sgc)}; there SMP in FP32 is {test.difference:+.1f} points above it "
            f"({test.n} pairs, {p_text(test.p_value)})"
        )
    appnp = rows[(rows.model == "appnp") & (rows.method == "fp32") & (rows.num_layers == deepest)]
    of_smp = spread_of(smp[(smp.method == "fp32") & (smp.num_layers == deepest)])
    also = f". SMP has {of_smp} % there, APPNP, without the multiplier, {spread_of(appnp)} %" if len(appnp) else ""
    seeds = min(len(loss) for loss in losses.values())
    holds = len(kept) == 2 and of_sgc.mean() > bound("plain_loss") and test.clearly_above()
    return Finding(
        at_most_in_part(status_of(holds, bool(kept)), min(seeds, test.n)),
        f"Points lost at {deepest:.0f} layers against the best depth: SMP {each}; {other}{also}.",
        "; ".join(f"{'FP32' if name == 'fp32' else 'INT2'} {_points(loss)}" for name, loss in losses.items())
        + " points lost",
        f"{max(loss.mean() for loss in losses.values()):.1f} points at worst, {bound('depth_loss'):g} allowed",
        value=float(max(loss.mean() for loss in losses.values())),
        p_value=test.p_value if holds else math.nan,
        rows=pd.concat([smp, sgc]),
    )


def _points_lost(rows: pd.DataFrame) -> pd.Series:
    """Points per seed between the best depth (of the means) and the deepest, among depths with the most seeds."""
    table = rows.pivot_table(index="seed", columns="num_layers", values="value")
    table = table.loc[:, table.count() == table.count().max()].dropna()
    return table[table.mean().idxmax()] - table[table.columns.max()]


def _points(loss: pd.Series) -> str:
    return mean_and_spread(loss.mean(), loss.std(), len(loss), 1)


@rule(
    "gnnq run paper_switches && gnnq run paper_public_citeseer && gnnq run paper_public_pubmed_smp",
    "FP32 accuracy with the multiplier against without",
)
def multiplier_helps(results: Results, claim: Claim) -> Finding:
    """The claim describes the method; it is judged by whether the multiplier changes accuracy. A case is a data set and
    kind of split (public, random). Holds if FP32 SMP is better with the multiplier than without in every case (paired
    t-tests over seeds or splits, Holm, 5 %); in part if in some; does not hold if it is worse in some and better in
    none; else it cannot be told. Cases of fewer than 3 pairs are left out where others have as many. Without it SMP is
    APPNP, so APPNP's runs count as that.
    """
    on, off = _with_and_without_multiplier(results)
    if on.empty or off.empty:
        return not_run("SMP with and without its multiplier is not stored")
    shared = paired_values(on, off).groupby(["dataset", "split"], sort=False).size()
    enough = shared >= bound("least_runs")
    cases = shared[enough].index if enough.any() else shared.index
    gains = Gains(
        {
            f"{title(dataset)} ({split} split)": [
                rows[(rows.dataset == dataset) & (rows.split == split)] for rows in (on, off)
            ]
            for dataset, split in cases
        }
    )
    differences = pd.Series([test.difference for test in gains.tests.values()])
    return Finding(
        gains.status,
        f"SMP in FP32 with the multiplier against without: {gains.each(digits=2)}.",
        span_and_spread(differences, 2, " points", "data sets and kinds of split", sign="+"),
        f"better in {sum(gains.above.values())}, worse in {sum(gains.below.values())} of {len(gains.tests)} cases",
        float(differences.mean()),
        gains.p_value,
        gains.rows,
    )


def _with_and_without_multiplier(results: Results) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Full-precision runs of SMP with its multiplier and of SMP without it, which is APPNP."""
    runs = scheme_runs(results)
    runs = runs[runs.form == "FP32"]
    switches = results.select("test_accuracy", "paper_switches", model="smp", method="fp32", gap_term=False,
                              non_negative=False, detach_change=False, placement="node")  # fmt: skip
    once = ["dataset", "split", "split_seed", "seed"]
    return tuple(
        pd.concat([runs[runs.scheme == scheme], switches[switches.multiplier == switched]]).drop_duplicates(once)
        for scheme, switched in (("smp", True), ("appnp", False))
    )


@rule(
    "gnnq run paper_range_learning && gnnq run methods_cora_scratch && gnnq run paper_methods_citeseer",
    "QLR against min-max, and against ranges left alone",
)
def learned_ranges_help(results: Results, claim: Claim) -> Finding:
    """Judged on every data set with QLR at INT2 from scratch, correct gradient. Holds if on each of them QLR is above
    min-max QAT, and learning its range factors (at our default rate) is above leaving them where the search put them
    (rate 0, all else equal), by paired t-tests over common seeds (Holm, 5 %; 3 pairs or more); in part if only the
    first, so that ranges come from the data but learning them is not shown to help; else it does not hold.
    """
    minmax = int2_from_scratch(results)
    minmax = minmax[minmax.method == "minmax"]
    learned, frozen = (
        plain(results.select("test_accuracy", "paper_range_learning", method="qlr", bits=2, quantizer_lr=rate))
        for rate in (RANGE_RATE, 0.0)
    )
    names = [name for name in learned.dataset.unique() if name in set(frozen.dataset) & set(minmax.dataset)]
    if not names:
        return not_run("QLR with learned and with frozen ranges beside min-max QAT is not stored")
    on = lambda frame, name: frame[frame.dataset == name]  # noqa: E731
    chosen = {name: paired_test(on(learned, name), on(minmax, name)) for name in names}
    trained = {name: paired_test(on(learned, name), on(frozen, name)) for name in names}
    tests = [*chosen.values(), *trained.values()]
    corrected = holm([test.p_value for test in tests])
    wins = [test.clearly_above(p) for test, p in zip(tests, corrected)]
    first, second = all(wins[: len(names)]), all(wins[len(names) :])
    each = ". ".join(
        f"{title(name)}: QLR gives {spread_of(on(learned, name))} %, on the {chosen[name].n} seeds with min-max QAT "
        f"{chosen[name].difference:+.1f} points against it ({p_text(corrected[i])}); learning the ranges, not leaving "
        f"them ({spread_of(on(frozen, name))} %), changes {trained[name].difference:+.1f} points over "
        f"{trained[name].n} pairs ({p_text(corrected[len(names) + i])})"
        for i, name in enumerate(names)
    )
    needed = corrected if first == second else corrected[: len(names)]
    used = (frame[frame.dataset.isin(names)] for frame in (learned, frozen, minmax))
    return Finding(
        at_most_in_part(status_of(first and second, first), min(test.n for test in tests)),
        f"{each}.",
        "; ".join(f"{title(name)} {spread_of(on(learned, name))}" for name in names),
        "learned against left: " + "; ".join(f"{title(name)} {trained[name].difference:+.1f} points" for name in names),
        min(test.difference for test in trained.values()),
        max(needed) if first else min(needed),
        pd.concat(used),
    )


@rule(
    "gnnq run methods_cora && gnnq run methods_cora_scratch && gnnq run paper_random_cora",
    "accuracy of BT* against BT",
)
def bt_star_helps(results: Results, claim: Claim) -> Finding:
    """Judged by BT* against BT at INT2 with SMP on Cora: from scratch and from FP32 weights on the public split, and
    from scratch on random splits, those of the three that are stored (paired t-tests over seeds and splits, Holm, 5 %).
    Holds if BT* is above in each, with 3 pairs or more; in part if above in some; does not hold if below in some and
    above in none; else it cannot be told.
    """
    random = plain(results.select("test_accuracy", "paper_random_cora*", bits=2, dataset="cora", start="scratch"))
    stored = {
        "from scratch": int2_from_scratch(results).query("dataset == 'cora'"),
        "from FP32 weights": plain(results.select("test_accuracy", "methods_cora", bits=2, dataset="cora")),
        "random splits": random,
    }
    parts = {name: [rows[rows.method == method] for method in ("bt_star", "bt")] for name, rows in stored.items()}
    parts = {name: pair for name, pair in parts.items() if len(pair[0]) and len(pair[1])}
    if not parts:
        return not_run("BT and BT* are not stored")
    gains = Gains(parts)
    return Finding(
        gains.status,
        f"BT* against BT on Cora: {gains.each()}.",
        "; ".join(f"{name} {spread_of(parts[name][0])}" for name in parts),
        "; ".join(f"{name} {test.difference:+.1f}" for name, test in gains.tests.items()) + " points against BT",
        min(test.difference for test in gains.tests.values()),
        gains.p_value,
        gains.rows,
    )


@rule("gnnq run paper_error_growth", "rank correlation of degree and error")
def error_by_degree(results: Results, claim: Claim) -> Finding:
    """Judged per quantizer of the paper at INT2 by Spearman's rank correlation of a node's degree and its error after
    one layer: it rises if the mean over seeds is above 0.1 and clearly above zero (t-test over seeds, Holm, 5 %; 3
    seeds or more). Holds if it rises for every quantizer measured; in part if for some; does not hold if no mean is
    above 0.1; else it cannot be told.
    """
    rows = results.select("degree_correlation", "paper_error_growth", bits=2, method=list(THEIRS), teleport=0.1)
    if rows.empty:
        return not_run("error per degree is not stored")
    parts = dict(iter(rows.groupby("method")))
    tests = {name: mean_test(part.value) for name, part in parts.items()}
    corrected = holm_p_values(tests)
    floor = bound("correlation")
    rises = {name: test.difference > floor and test.clearly_above(corrected[name]) for name, test in tests.items()}
    status = status_of_gains(rises.values(), [all(test.difference <= floor for test in tests.values())])
    each = ", ".join(
        f"{title(name)} {test.difference:+.2f} ± {test.std:.2f} ({test.n} seeds, {p_text(corrected[name])})"
        for name, test in tests.items()
    )
    means = pd.Series({name: test.difference for name, test in tests.items()})
    seeds = min(test.n for test in tests.values())
    return Finding(
        at_most_in_part(status, seeds),
        f"Rank correlation of a node's degree and its error after one layer: {each}; a floor of {floor:g} and the test "
        f"are passed by {sum(rises.values())} of {len(rises)}.",
        span_and_spread(means, 2, "", f"quantizers, {seeds} seeds each", "+"),
        f"{means.min():+.2f} at least, {floor:g} asked for",
        value=float(means.mean()),
        p_value=_deciding([(rises[name], corrected[name]) for name in tests]),
        rows=rows,
    )


@rule("gnnq run paper_random_cora")
def printed_accuracy(results: Results, claim: Claim, model: str, method: str, bits: str) -> Finding:
    """Theirs is one run on one random split of Cora. Holds if it is no further from our mean over random splits than
    two of our standard deviations and than 3 points, on either side; in part if no further than two standard deviations
    and than 6 points; else it does not hold. Fewer than 3 splits: in part at most. SMP has its multiplier, as printed.
    Runs with the gradient of the release are taken where 3 are stored, else the corrected ones; learning rates and
    dropout are ours throughout. The public split is another task and is never compared.
    """
    rows = results.select("test_accuracy", "paper_random_cora*", dataset="cora", model=model, method=method,
                          bits=int(bits))  # fmt: skip
    rows = rows[(rows.multiplier == True) == (model == "smp")]  # noqa: E712 - a column of objects
    released = rows[rows.as_released == True]  # noqa: E712 - a column of objects
    corrected = rows[rows.as_released != True]  # noqa: E712
    rows = released if len(released) >= bound("least_runs") else corrected
    if len(rows) < 2:
        name = f"{title(model)} in {'FP32' if bits == '32' else f'INT{bits} ({title(method)})'}"
        return not_run(f"{name} on random splits of Cora is not stored (the public split is another task)")
    mean, std = rows.value.mean(), rows.value.std()
    off = claim.number - mean
    return Finding(
        at_most_in_part(status_of(abs(off) <= min(2 * std, 3), abs(off) <= min(2 * std, 6)), len(rows)),
        f"Ours over {len(rows)} random splits is {spread_of(rows)} %; the printed run is {abs(off):.1f} points "
        f"{'above' if off > 0 else 'below'} our mean, {abs(off) / std:.1f} standard deviations."
        f"{_unlike(model, method, rows is released)}",
        spread_of(rows),
        f"{-off:+.1f} points",
        float(mean),
        rows=rows,
    )


def _unlike(model: str, method: str, released: bool) -> str:
    """In what our run differs from the printed one, which is the release's."""
    settings = "our learning rates and dropout"
    if method == "fp32":
        return f" Ours has {settings}; the printed run is the release's throughout."
    gradient = "the gradient of the release" if released else "the corrected gradient of the range factors"
    operator = "the release's EMP operator and " if model == "emp_released" else ""
    stages = "and quantizes the new state and the final scores, which the release leaves in full precision"
    return f" Ours has {operator}{gradient} and {settings}, {stages}."


@rule("gnnq run paper_depth_{dataset}_baselines")
def published_accuracy(results: Results, claim: Claim, model: str, dataset: str, layers: str) -> Finding:
    """Holds if our mean over seeds on the public split is at most 1 point off the published value, on either side; in
    part if at most 3 points off; else it does not hold: a baseline far above is as little a reproduction as one far
    below. Fewer than 3 seeds: in part at most.
    """
    rows = results.select("test_accuracy", "paper_depth_*|depth|paper_public*", dataset=dataset, model=model,
                          method="fp32", num_layers=int(layers), split="public")  # fmt: skip
    if rows.empty:
        return not_run(f"{title(model)} with {layers} layers on {title(dataset)} is not stored")
    gap = claim.number - rows.value.mean()
    few = f"; {len(rows)} run{'s' * (len(rows) > 1)}, so in part at most" if len(rows) < bound("least_runs") else ""
    few += "; a stronger baseline, but not the published number" if gap < -3 else ""
    return Finding(
        at_most_in_part(status_of(abs(gap) <= 1, abs(gap) <= 3), len(rows)),
        f"{title(model)} with {layers} layers on {title(dataset)} gives {spread_of(rows)} % here, "
        f"{abs(gap):.1f} points {'below' if gap > 0 else 'above'} the published value{few}.",
        spread_of(rows),
        f"{-gap:+.1f} points",
        float(rows.value.mean()),
        rows=rows,
    )


@rule("gnnq run paper_methods_cora && gnnq run paper_methods_citeseer && gnnq run accuracy_public")
def int8_like_fp32(results: Results, claim: Claim, method: str) -> Finding:
    """A case is a data set; it is like FP32 if the method's INT8 SMP is on average at most 1 point below FP32 over
    common seeds (3 pairs or more). Holds if more than half of the cases are; in part if some are; else it does not
    hold.
    """
    low = plain(results.select("test_accuracy", "paper_methods_*", method=method, bits=8))
    full = full_precision(results)
    names = [name for name in low.dataset.unique() if (full.dataset == name).any()]
    if not names:
        return not_run(f"{title(method)} at INT8 beside FP32 is not stored")
    tests = {name: paired_test(low[low.dataset == name], full[full.dataset == name]) for name in names}
    like = [test.difference >= -1 and test.n >= bound("least_runs") for test in tests.values()]
    each = "; ".join(
        f"{title(name)} {spread_of(low[low.dataset == name])} %, {test.difference:+.1f} points against FP32 over "
        f"{test.n} pairs ({p_text(test.p_value)})"
        for name, test in tests.items()
    )
    return Finding(
        status_of(sum(like) > len(like) / 2, any(like)),
        f"{title(method)} at INT8 with SMP: {each}; {sum(like)} of {len(like)} cases are at most 1 point below.",
        "; ".join(f"{title(name)} {spread_of(low[low.dataset == name])}" for name in names),
        "; ".join(f"{title(name)} {test.difference:+.1f} points" for name, test in tests.items()),
        min(test.difference for test in tests.values()),
        rows=pd.concat([low[low.dataset.isin(names)], full[full.dataset.isin(names)]]),
    )


@rule("gnnq run paper_methods_cora && gnnq run paper_methods_citeseer")
def gain_over_plain_training(results: Results, claim: Claim, method: str, bits: str) -> Finding:
    """Judged on every data set stored. Holds if the method is above min-max QAT at these bits on each (paired t-tests
    over common seeds, Holm, 5 %; 3 pairs or more); in part if on some; does not hold if below on some and above on
    none; else it cannot be told. The claim's number is the largest gain over six data sets, so it is not asked for.
    """
    rows = plain(results.select("test_accuracy", "paper_methods_*", bits=int(bits)))
    ours, other = rows[rows.method == method], rows[rows.method == "minmax"]
    names = [name for name in ours.dataset.unique() if (other.dataset == name).any()]
    if not names:
        return not_run(f"{title(method)} beside min-max QAT at INT{bits} is not stored")
    gains = Gains({title(name): [frame[frame.dataset == name] for frame in (ours, other)] for name in names})
    return Finding(
        gains.status,
        f"{title(method)} against min-max QAT at INT{bits}: {gains.each()}.",
        "; ".join(f"{name} {spread_of(pair[0])}" for name, pair in gains.pairs.items()),
        "; ".join(f"{name} {test.difference:+.1f} points" for name, test in gains.tests.items()),
        max(test.difference for test in gains.tests.values()),
        gains.p_value,
        gains.rows,
    )
