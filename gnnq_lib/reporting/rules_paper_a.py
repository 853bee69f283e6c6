"""Rules for the claims of paper A (SMP, QLR, BT, BT*) and for the published numbers of its baselines."""

from __future__ import annotations

import math

import pandas as pd

from gnnq_lib.naming import PACKED, listed
from gnnq_lib.reporting.claims import Claim
from gnnq_lib.reporting.results import Results
from gnnq_lib.reporting.rules import Finding, not_run, p_text, rule, span, spread_of, status_of, title
from gnnq_lib.reporting.statistics import compare_with_each, paired_test

SPEED_CASES = ("pubmed", "cs", "generated")
THEIRS = ("qlr", "bt", "bt_star")
EARLIER = ("minmax", "lsq", "degree_quant")
STAGES = ("inputs", "weights", "features", "messages", "aggregates", "updates", "embeddings")
MOST_BITS = 3.0
PUBLIC = "accuracy_public|paper_public*"


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


@rule("gnnq bench inference --csv data/results/bench_inference.csv")
def speedup(results: Results, claim: Claim, bits: str) -> Finding:
    """Holds if packed inference of the whole classifier is at least as many times faster than the fastest FP32 path as
    claimed on PubMed, CS and the generated graph; in part if it is so on some of them, or against the dense FP32
    path of the release on all; else it does not hold.
    """
    table = inference_rows(results, int(bits))
    table = table[table.name.isin(SPEED_CASES)] if len(table) else table
    if table.empty:
        return not_run("no inference benchmark is stored")
    factors = table.set_index("name").speedup_vs_best_fp32
    released = table.set_index("name").speedup_vs_fp32_as_released
    reached = factors >= claim.number
    every = len(factors) == len(SPEED_CASES)
    status = status_of(every and bool(reached.all()), bool(reached.any()) or bool((released >= claim.number).all()))
    each = ", ".join(f"{title(name)} {factor:.1f}" for name, factor in factors.items())
    return Finding(
        status,
        f"INT{bits} against the fastest FP32 path: {each} times; against the dense path as released: "
        f"{span(released, 1)} times.",
        f"{span(factors, 1)} times",
        f"{span(factors / claim.number, 2)} times the claim",
        float(factors.min()),
    )


@rule("gnnq run accuracy_public && gnnq run packed_models")
def all_stages(results: Results, claim: Claim) -> Finding:
    """Holds if all seven stages take at most 3 bits per value (scales included) in the INT2 models of every data set
    measured, and packed integers give the simulated model's class on every node; in part if only one of the two.
    """
    rows = results.rows
    public = results.select("test_accuracy", PUBLIC, bits=2, method="node_pow2")
    stages = rows[rows.config_key.isin(set(public.config_key)) & rows.metric.isin([f"bits_{s}" for s in STAGES])]
    if stages.empty:
        return not_run("no INT2 run with its bits per stage is stored")
    complete = stages.groupby("dataset").metric.nunique().min() == len(STAGES)
    largest = stages.value.max()
    packed = results.select("nodes_of_another_class", "packed_models", bits=2)
    compared = results.select("nodes_compared", "packed_models", bits=2)
    low, same = complete and largest <= MOST_BITS, len(packed) > 0 and packed.value.sum() == 0
    check = (
        f"packed integers give another class on {packed.value.sum():.0f} of {compared.value.sum():,.0f} nodes"
        if len(packed)
        else "packed models were not compared"
    )
    datasets = listed([title(name) for name in stages.dataset.unique()])
    return Finding(
        status_of(low and same, low or same),
        f"{stages.metric.nunique()} of {len(STAGES)} stages are quantized on {datasets}, with at most {largest:.2f} "
        f"bits per value; {check}.",
        f"{largest:.2f} bits at most",
        value=float(largest),
        rows=pd.concat([public, packed]),
    )


@rule("gnnq run methods_cora_scratch && gnnq run accuracy_public")
def int2_where_others_fail(results: Results, claim: Claim) -> Finding:
    """Holds if the best of QLR, BT and BT* at INT2 on Cora, trained from scratch as in the paper, is within 10 points
    of FP32 and above min-max QAT, LSQ and Degree-Quant (paired t-test over seeds, Holm, 5 %); in part if it is above at
    least one of them; else it does not hold.
    """
    rows = results.select("test_accuracy", "methods_cora_scratch", bits=2, start="scratch")
    full = results.select("test_accuracy", "accuracy_public", dataset="cora", method="fp32")
    theirs = rows[rows.method.isin(THEIRS)]
    others = {name: part for name, part in rows.groupby("method") if name in EARLIER}
    if theirs.empty or full.empty or len(others) < len(EARLIER):
        return not_run("INT2 methods from scratch on Cora are not stored")
    best = theirs.groupby("method").value.mean().idxmax()
    ours = theirs[theirs.method == best]
    tests = compare_with_each(ours, others)
    above = [name for name, (test, p) in tests.items() if test.clearly_above(p)]
    gap = full.value.mean() - ours.value.mean()
    means = ", ".join(f"{title(name)} {part.value.mean():.1f}" for name, part in others.items())
    return Finding(
        status_of(gap <= 10 and len(above) == len(others), bool(above)),
        f"{title(best)} reaches {spread_of(ours)} %, {gap:.1f} points below FP32; {means} %; "
        f"it is above {len(above)} of {len(others)} of them at the 5 % level.",
        spread_of(ours),
        f"{gap:.1f} points below FP32",
        float(ours.value.mean()),
        max(p for _, p in tests.values()),
        pd.concat([ours, *others.values()]),
    )


@rule("gnnq run paper_error_growth")
def error_bounded(results: Results, claim: Claim) -> Finding:
    """Holds if, for the paper's quantizers at INT2, the error of propagation with teleport is below the proved bound in
    every run and at the deepest layer at most 1.1 times that after 8 layers; in part if it is below the bound but
    grows.
    """
    keep = {"bits": 2, "method": list(THEIRS), "teleport": 0.1}
    slack = results.select("largest_error_over_bound", "paper_error_growth", **keep)
    depths = {
        int(name.split("@")[1]): results.select(name, "paper_error_growth", **keep)
        for name in results.rows.metric.dropna().unique()
        if str(name).startswith("relative_error@")
    }
    depths = {depth: rows for depth, rows in depths.items() if len(rows)}
    if slack.empty or 8 not in depths:
        return not_run("error growth is not stored")
    deepest = max(depths)
    growth = depths[deepest].groupby("method").value.mean() / depths[8].groupby("method").value.mean()
    below = bool((slack.value <= 1 + 1e-6).all())
    each = ", ".join(f"{title(name)} {factor:.2f}" for name, factor in growth.items())
    return Finding(
        status_of(below and growth.max() <= 1.1, below),
        f"The error after {deepest} layers over that after 8: {each}; the largest share of the bound that was reached "
        f"is {slack.value.max():.2f}.",
        f"{growth.max():.2f} times the error at 8 layers",
        value=float(growth.max()),
        rows=pd.concat([depths[8], depths[deepest], slack]),
    )


@rule("gnnq run depth && gnnq run paper_depth_cora_baselines")
def depth_kept(results: Results, claim: Claim) -> Finding:
    """Holds if SMP on Cora at its deepest (32 layers or more) is at most 2 points below its best depth in FP32 and INT2
    while plain GCN loses more than 10; in part if SMP does so but GCN was not measured, or SMP does so in one
    precision.
    """
    rows = results.select("test_accuracy", "depth|paper_depth_cora*", dataset="cora")
    smp = rows[(rows.model == "smp") & rows.method.isin(["fp32", "node_pow2"])]
    drops = {name: _drop(part) for name, part in smp.groupby("method")}
    if not drops or smp.num_layers.max() < 32:
        return not_run("no run of SMP with 32 layers or more is stored")
    gcn = rows[(rows.model == "gcn") & (rows.method == "fp32")]
    gcn_drop = _drop(gcn) if len(gcn) else math.nan
    kept = [name for name, drop in drops.items() if drop <= 2]
    each = ", ".join(f"{'FP32' if name == 'fp32' else 'INT2'} {drop:.1f}" for name, drop in drops.items())
    other = f"plain GCN {gcn_drop:.1f}" if len(gcn) else "plain GCN was not measured"
    return Finding(
        status_of(len(kept) == 2 and gcn_drop > 10, bool(kept)),
        f"Points lost at {smp.num_layers.max():.0f} layers against the best depth: SMP {each}; {other}.",
        f"{max(drops.values()):.1f} points lost",
        value=float(max(drops.values())),
        rows=pd.concat([smp, gcn]),
    )


def _drop(rows: pd.DataFrame) -> float:
    """Points between the best depth and the deepest."""
    means = rows.groupby("num_layers").value.mean()
    return float(means.max() - means.loc[means.index.max()])


@rule("gnnq run paper_switches")
def multiplier_helps(results: Results, claim: Claim) -> Finding:
    """The claim describes the method; it is judged by whether the multiplier changes anything. Holds if accuracy with
    it is above that without (paired t-test over seeds, 5 %); in part if no difference can be told; does not hold if
    below.
    """
    rows = results.select("test_accuracy", "paper_switches", model="smp", method="fp32", gap_term=False,
                          non_negative=False, detach_change=False, placement="node")  # fmt: skip
    on, off = rows[rows.multiplier == True], rows[rows.multiplier == False]  # noqa: E712 - a column of objects
    if on.empty or off.empty:
        return not_run("SMP with and without its multiplier is not stored")
    test = paired_test(on, off)
    worse = test.difference < 0 and test.p_value < 0.05
    return Finding(
        status_of(test.clearly_above(), not worse),
        f"SMP in FP32 with the multiplier gives {spread_of(on)} %, without it {spread_of(off)} %: "
        f"{test.difference:+.2f} points over {test.n} seeds, {p_text(test.p_value)}.",
        spread_of(on),
        f"{test.difference:+.2f} points",
        test.difference,
        test.p_value,
        rows,
    )


@rule("gnnq run methods_cora_scratch && gnnq run calibration")
def learned_ranges_help(results: Results, claim: Claim) -> Finding:
    """Holds if QLR at INT2 on Cora from scratch is above min-max QAT and learning its ranges (correct gradient) is
    above leaving them (gradient as released), by paired t-tests at 5 %; in part if only one of the two.
    """
    rows = results.select("test_accuracy", "methods_cora_scratch", bits=2, start="scratch")
    qlr, minmax = rows[rows.method == "qlr"], rows[rows.method == "minmax"]
    where = results.select("test_accuracy", "calibration|paper_switches", model="smp", method="qlr", multiplier=False,
                           placement="node", calibration="evaluation", dropout_first=False)  # fmt: skip
    learned, frozen = (where[where.as_released == released] for released in (False, True))
    if qlr.empty or minmax.empty or learned.empty or frozen.empty:
        return not_run("QLR beside min-max QAT, with both gradients, is not stored")
    chosen, trained = paired_test(qlr, minmax), paired_test(learned, frozen)
    wins = [chosen.clearly_above(), trained.clearly_above()]
    return Finding(
        status_of(all(wins), any(wins)),
        f"QLR gives {spread_of(qlr)} %, {chosen.difference:+.1f} points against min-max QAT "
        f"({p_text(chosen.p_value)}); learning the ranges, not leaving them, changes {trained.difference:+.1f} points "
        f"({p_text(trained.p_value)}, {trained.n} seeds).",
        spread_of(qlr),
        f"{chosen.difference:+.1f} points",
        chosen.difference,
        max(chosen.p_value, trained.p_value),
        pd.concat([qlr, minmax, learned, frozen]),
    )


@rule("gnnq run methods_cora_scratch && gnnq run methods_cora")
def bt_star_helps(results: Results, claim: Claim) -> Finding:
    """Holds if BT* at INT2 on Cora is above both BT and QLR (paired t-tests over seeds, Holm, 5 %), from scratch as in
    the paper and from FP32 weights; in part if it is above one of them in one of the two.
    """
    found, used = {}, []
    for table, name in (("methods_cora_scratch", "from scratch"), ("methods_cora", "from FP32 weights")):
        rows = results.select("test_accuracy", table, bits=2, method=list(THEIRS))
        parts = dict(iter(rows.groupby("method")))
        if set(parts) != set(THEIRS):
            return not_run(f"QLR, BT and BT* {name} are not stored")
        found[name] = compare_with_each(parts["bt_star"], {key: parts[key] for key in ("bt", "qlr")})
        used.append(rows)
    tests = [pair for both in found.values() for pair in both.values()]
    wins = [test.clearly_above(p) for test, p in tests]
    each = "; ".join(
        f"{name} "
        + ", ".join(f"{test.difference:+.1f} against {title(m)} ({p_text(p)})" for m, (test, p) in both.items())
        for name, both in found.items()
    )
    scratch = used[0][used[0].method == "bt_star"]
    return Finding(
        status_of(all(wins), any(wins)),
        f"Points of BT*: {each}.",
        spread_of(scratch),
        f"{found['from scratch']['bt'][0].difference:+.1f} points against BT",
        found["from scratch"]["bt"][0].difference,
        max(p for _, p in tests),
        pd.concat(used),
    )


@rule("gnnq run paper_error_growth")
def error_by_degree(results: Results, claim: Claim) -> Finding:
    """Holds if, with the paper's quantizers at INT2, the error of a node's state after one layer rises with its degree
    (Spearman's rank correlation above 0.1 on average); in part if it is positive for some quantizer; else it does not
    hold.
    """
    rows = results.select("degree_correlation", "paper_error_growth", bits=2, method=list(THEIRS), teleport=0.1)
    if rows.empty:
        return not_run("error per degree is not stored")
    means = rows.groupby("method").value.mean()
    each = ", ".join(f"{title(name)} {value:+.2f}" for name, value in means.items())
    return Finding(
        status_of(bool((means > 0.1).all()), bool((means > 0).any())),
        f"Rank correlation of a node's degree and its error after one layer: {each}.",
        f"{means.mean():+.2f}",
        value=float(means.mean()),
        rows=rows,
    )


@rule("gnnq run paper_random_cora")
def printed_accuracy(results: Results, claim: Claim, model: str, method: str, bits: str) -> Finding:
    """Theirs is one run on one random split of Cora. Holds if it is at most two of our standard deviations over random
    splits, and at most 3 points, above our mean; in part if at most two standard deviations and 3 points; else it does
    not hold. The public split is another task and is never compared.
    """
    rows = results.select("test_accuracy", "paper_random_cora*", dataset="cora", model=model, method=method,
                          bits=int(bits), as_released=False)  # fmt: skip
    if len(rows) < 2:
        name = f"{title(model)} in {'FP32' if bits == '32' else f'INT{bits} ({title(method)})'}"
        return not_run(f"{name} on random splits of Cora is not stored (the public split is another task)")
    mean, std = rows.value.mean(), rows.value.std()
    above = claim.number - mean
    return Finding(
        status_of(above <= min(2 * std, 3), above <= 2 * std + 3),
        f"Ours over {len(rows)} random splits is {spread_of(rows)} %; the printed run is {abs(above):.1f} points "
        f"{'above' if above > 0 else 'below'} our mean, {abs(above) / std:.1f} standard deviations.",
        spread_of(rows),
        f"{mean - claim.number:+.1f} points",
        float(mean),
        rows=rows,
    )


@rule("gnnq run paper_depth_{dataset}_baselines")
def published_accuracy(results: Results, claim: Claim, model: str, dataset: str, layers: str) -> Finding:
    """Holds if our mean over seeds on the public split is at most 1 point below the published value; in part if at most
    3 points below; else it does not hold.
    """
    rows = results.select("test_accuracy", "paper_depth_*|depth|paper_public*", dataset=dataset, model=model,
                          method="fp32", num_layers=int(layers), split="public")  # fmt: skip
    if rows.empty:
        return not_run(f"{title(model)} with {layers} layers on {title(dataset)} is not stored")
    gap = claim.number - rows.value.mean()
    return Finding(
        status_of(gap <= 1, gap <= 3),
        f"{title(model)} with {layers} layers on {title(dataset)} gives {spread_of(rows)} % here, "
        f"{abs(gap):.1f} points {'below' if gap > 0 else 'above'} the published value.",
        spread_of(rows),
        f"{-gap:+.1f} points",
        float(rows.value.mean()),
        rows=rows,
    )


@rule("gnnq run paper_methods_cora && gnnq run accuracy_public")
def int8_like_fp32(results: Results, claim: Claim, method: str) -> Finding:
    """Holds if the method's mean at INT8 on Cora is at most 1 point below FP32; in part if at most 3 points; else it
    does not hold.
    """
    low = results.select("test_accuracy", "paper_methods_*", dataset="cora", method=method, bits=8)
    full = results.select("test_accuracy", "accuracy_public", dataset="cora", method="fp32")
    if low.empty or full.empty:
        return not_run(f"{title(method)} at INT8 on Cora is not stored")
    test = paired_test(low, full)
    return Finding(
        status_of(test.difference >= -1, test.difference >= -3),
        f"{title(method)} at INT8 gives {spread_of(low)} %, {test.difference:+.1f} points against FP32 "
        f"({p_text(test.p_value)}).",
        spread_of(low),
        f"{test.difference:+.1f} points",
        float(low.value.mean()),
        test.p_value,
        pd.concat([low, full]),
    )


@rule("gnnq run paper_methods_cora")
def gain_over_plain_training(results: Results, claim: Claim, method: str, bits: str) -> Finding:
    """Holds if the method is above min-max QAT at these bits on Cora (paired t-test over seeds, 5 %); in part if its
    mean is higher; else it does not hold. The claim's number is a largest gain over six data sets, so it is not asked
    for.
    """
    rows = results.select("test_accuracy", "paper_methods_*", dataset="cora", bits=int(bits))
    ours, plain = rows[rows.method == method], rows[rows.method == "minmax"]
    if ours.empty or plain.empty:
        return not_run(f"{title(method)} beside min-max QAT at INT{bits} is not stored")
    test = paired_test(ours, plain)
    return Finding(
        status_of(test.clearly_above(), test.difference > 0),
        f"{title(method)} at INT{bits} gives {spread_of(ours)} %, min-max QAT {spread_of(plain)} %: "
        f"{test.difference:+.1f} points, {p_text(test.p_value)}.",
        spread_of(ours),
        f"{test.difference:+.1f} points",
        test.difference,
        test.p_value,
        rows[rows.method.isin([method, "minmax"])],
    )
