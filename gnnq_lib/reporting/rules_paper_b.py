"""Rules for the claims of paper B (GNAQ) and for the published numbers of its baselines."""

from __future__ import annotations

import pandas as pd

from gnnq_lib.naming import listed
from gnnq_lib.reporting.claims import Claim
from gnnq_lib.reporting.results import Results
from gnnq_lib.reporting.rules import Finding, not_run, p_text, rule, spread_of, status_of, title
from gnnq_lib.reporting.statistics import compare_with_each, holm, paired_test

QUANTIZERS = ("lsq", "n2uq", "post_training_tensor", "post_training_node", "bigear")
TRAINED_QUANTIZERS = ("lsq", "n2uq", "bigear")
WIDTH = 64
# Settings of GNAQ that an ablation changes; a main run has the defaults of all of them.
ABLATED = ("node_aware", "placement", "refine_steps", "refine_share", "gradient", "neighbour_share", "level_rate",
           "anchor", "order_weight", "update_every", "tanh", "linear_head", "level_bits", "num_layers")  # fmt: skip
MAIN = "rec_methods|rec_*_methods"
LEAST_SEEDS = 3  # on at least one data set
RUNS = "gnnq run rec_methods && gnnq run rec_gowalla_methods && gnnq run rec_large_methods"


def main_rows(results: Results, metric: str, dim: int = WIDTH) -> pd.DataFrame:
    """Rows of the comparisons: 3 layers, started from a teacher; no searches, ablations or refits."""
    rows = results.select(metric, MAIN if dim == WIDTH else "rec_bits|rec_dims", dim=dim, protocol="lightgcn")
    return rows[_with_default_settings(rows) & ((rows.start == "teacher") | (rows.method == "fp32"))]


def _with_default_settings(rows: pd.DataFrame) -> pd.Series:
    """True where every setting of `ABLATED` is the most frequent one of its method and bits on its data set."""
    chosen = pd.Series(True, index=rows.index)
    for name in (name for name in ABLATED if name in rows):
        text = rows[name].map(_text)
        chosen &= text == text.groupby([rows.method, rows.bits, rows.dataset]).transform(_most_frequent)
    return chosen


def _text(value: object) -> str:
    """A setting as text; whole numbers without a decimal point, which a column with gaps adds."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).lower()


def _most_frequent(values: pd.Series) -> str:
    return values.mode().iloc[0]


def full_precision(rows: pd.DataFrame) -> pd.DataFrame:
    """FP32 rows, per data set those of the better start: trained once, or trained on with the low-bit budget."""
    rows = rows[rows.method == "fp32"]
    means = rows.groupby(["dataset", "start"]).value.mean()
    if means.empty:
        return rows
    best = {dataset: part.idxmax()[1] for dataset, part in means.groupby(level="dataset")}
    return rows[rows.start == rows.dataset.map(best)]


def too_few(ours: pd.DataFrame) -> Finding | None:
    """ "Not run" where GNAQ was measured with fewer than `LEAST_SEEDS` seeds: one run decides no claim."""
    seeds = int(ours.groupby("dataset").seed.nunique().max()) if len(ours) else 0
    if seeds >= LEAST_SEEDS:
        return None
    return not_run(f"{seeds} seed{'s' * (seeds != 1)} of GNAQ stored; a verdict asks for {LEAST_SEEDS}")


@rule(RUNS)
def gain_over_quantizers(results: Results, claim: Claim, metric: str) -> Finding:
    """Holds if GNAQ at 2 bits (D = 64) gains, on average over data sets and low-bit baselines, at least the claimed per
    cent; in part if it is above every baseline (paired t-tests over data sets and seeds, Holm, 5 %); else it does not
    hold. Baselines: LSQ, N2UQ and post-training at 2 bits, BiGeaR at 1 bit. Asks for 3 seeds on a data set.
    """
    rows = main_rows(results, metric)
    ours = rows[(rows.method == "gnaq") & (rows.bits == 2)]
    low = rows[(rows.bits == 2) | (rows.method == "bigear")]
    others = {name: part for name, part in low.groupby("method") if name in QUANTIZERS}
    if ours.empty or not others:
        return not_run("GNAQ beside quantized baselines is not stored")
    if few := too_few(ours):
        return few
    gains = _relative_gains(ours, others)
    tests = compare_with_each(ours, others)
    above = [name for name, (test, p) in tests.items() if test.clearly_above(p)]
    average = gains.mean()
    each = ", ".join(f"{title(name)} {value:+.1f} %" for name, value in gains.groupby(level="method").mean().items())
    datasets = listed([title(name) for name in gains.index.get_level_values("dataset").unique()])
    return Finding(
        status_of(average >= claim.number and len(above) == len(others), len(above) == len(others)),
        f"Average gain {average:+.1f} % over {len(gains)} pairs on {datasets} ({each}); above {len(above)} of "
        f"{len(others)} baselines at the 5 % level.",
        f"{average:+.1f} %",
        f"{average - claim.number:+.1f} points of per cent",
        float(average),
        max(p for _, p in tests.values()),
        pd.concat([ours, *others.values()]),
    )


def _relative_gains(ours: pd.DataFrame, others: dict[str, pd.DataFrame]) -> pd.Series:
    """Per cent gained over each baseline on each data set."""
    mean = ours.groupby("dataset").value.mean()
    gains = {
        (name, dataset): 100 * (mean[dataset] / value - 1)
        for name, part in others.items()
        for dataset, value in part.groupby("dataset").value.mean().items()
        if dataset in mean
    }
    return pd.Series(gains).rename_axis(["method", "dataset"])


@rule("gnnq run rec_methods && gnnq run rec_bits && gnnq run rec_dims")
def times_smaller(results: Results, claim: Claim, highest: str) -> Finding:
    """Holds if GNAQ at 2 bits is at least as many times smaller than the FP32 table as claimed at D = 64, and reaches
    the claim's upper number at the largest D measured (3 % tolerance); in part if only the lower number is reached.
    """
    ratios, used = {}, []
    for dim in (64, 128, 256):
        rows = main_rows(results, "model_bytes", dim)
        full, ours = rows[rows.method == "fp32"], rows[(rows.method == "gnaq") & (rows.bits == 2)]
        common = set(full.dataset) & set(ours.dataset)
        if common:
            means = (frame[frame.dataset.isin(common)].groupby("dataset").value.mean() for frame in (full, ours))
            ratios[dim] = next(means).div(next(means)).mean()
            used += [full, ours]
    if not ratios:
        return not_run("sizes of GNAQ and FP32 tables are not stored")
    lower, upper = ratios[min(ratios)] >= 0.97 * claim.number, max(ratios.values()) >= 0.97 * float(highest)
    each = ", ".join(f"{ratio:.2f} at D = {dim}" for dim, ratio in ratios.items())
    low, high = min(ratios.values()), max(ratios.values())
    return Finding(
        status_of(lower and upper, lower),
        f"Times smaller, levels included: {each}.",
        f"{low:.1f} to {high:.1f}" if high > low else f"{low:.1f}",
        f"{low / claim.number:.2f} times the claim",
        float(low),
        rows=pd.concat(used),
    )


@rule(RUNS)
def keeps_full_precision(results: Results, claim: Claim) -> Finding:
    """Holds if Recall@10 and NDCG@10 of GNAQ at 2 bits (D = 64) are at most 1 % below the better FP32 table on every
    data set; in part if at most 1 % below on some, or at most 3 % below on all; else it does not hold. Asks for 3
    seeds on a data set.
    """
    changes, used, p_values = {}, [], []
    for metric in ("recall@10", "ndcg@10"):
        rows = main_rows(results, metric)
        full, ours = full_precision(rows), rows[(rows.method == "gnaq") & (rows.bits == 2)]
        for dataset in sorted(set(full.dataset) & set(ours.dataset)):
            pair = [frame[frame.dataset == dataset] for frame in (ours, full)]
            changes[dataset, metric] = 100 * (pair[0].value.mean() / pair[1].value.mean() - 1)
            p_values.append(paired_test(*pair).p_value)
            used += pair
    if not changes:
        return not_run("GNAQ beside FP32 tables is not stored")
    if few := too_few(pd.concat(used[::2])):
        return few
    series = pd.Series(changes)
    worst = series.groupby(level=0).min()
    each = "; ".join(
        f"{title(dataset)} " + ", ".join(f"{metric} {value:+.1f} %" for metric, value in part.droplevel(0).items())
        for dataset, part in series.groupby(level=0)
    )
    return Finding(
        status_of(bool((worst >= -1).all()), bool((worst >= -1).any()) or bool((worst >= -3).all())),
        f"Against FP32: {each}.",
        f"{series.min():+.1f} to {series.max():+.1f} %",
        f"{series.min():+.1f} % at worst",
        float(series.min()),
        min(holm(p_values)),
        pd.concat(used),
    )


@rule("gnnq bench training --case lightgcn --csv data/results/bench_lightgcn.csv")
def faster_training(results: Results, claim: Claim) -> Finding:
    """Judged by single training steps on Gowalla, timed in turns in one process (times of runs on different days say
    little on a busy machine; all methods take the same number of steps). Holds if the step of every trained baseline
    (LSQ, N2UQ, BiGeaR) takes at least as many times as long as GNAQ's as claimed; in part if their mean is above 1.
    """
    rows = results.bench("lightgcn", variant=[f"{name} step" for name in ("gnaq", *TRAINED_QUANTIZERS)])
    times = rows.set_index("variant").median_ms if len(rows) else pd.Series(dtype=float)
    if "gnaq step" not in times or len(times) < 2:
        return not_run("training steps of GNAQ beside its baselines are not timed")
    ratios = times.drop("gnaq step") / times["gnaq step"]
    each = ", ".join(f"{title(name.removesuffix(' step'))} {value:.2f}" for name, value in ratios.items())
    return Finding(
        status_of(bool((ratios >= claim.number).all()), ratios.mean() > 1),
        f"A baseline's step over GNAQ's: {each} times; GNAQ's refinement before training is not counted.",
        f"{ratios.min():.2f} to {ratios.max():.2f} times",
        f"{ratios.min() / claim.number:.2f} times the claim at least",
        float(ratios.min()),
        rows=rows,
    )


@rule(RUNS)
def datasets_covered(results: Results, claim: Claim) -> Finding:
    """Holds if GNAQ and FP32 were measured on as many real data sets as claimed; in part if on at least one."""
    rows = main_rows(results, "recall@10")
    rows = rows[rows.dataset != "power-law"]
    both = set(rows[rows.method == "gnaq"].dataset) & set(rows[rows.method == "fp32"].dataset)
    if not both:
        return not_run("GNAQ beside FP32 is not stored for any data set")
    return Finding(
        status_of(len(both) >= claim.number, True),
        f"Measured here on {listed([title(name) for name in sorted(both)])}; which four the paper used "
        "is not known to us.",
        f"{len(both)}",
        f"{len(both) - claim.number:+.0f}",
        float(len(both)),
        rows=rows[rows.method.isin(["gnaq", "fp32"])],
    )


@rule("gnnq run rec_ablations")
def part_helps(results: Results, claim: Claim, setting: str, without: str) -> Finding:
    """Judged by GNAQ at 2 bits with and without the part, all else equal, NDCG@10 over data sets and seeds. Holds if it
    is higher with it (paired t-test, 5 %); in part if no difference can be told; does not hold if it is lower.
    """
    rows = results.select("ndcg@10", "rec_ablations", method="gnaq", bits=2, dim=WIDTH)
    if rows.empty or setting not in rows:
        return not_run("the ablation of GNAQ is not stored")
    settings = rows[[name for name in ABLATED if name in rows]].map(_text)
    usual = settings == settings.apply(_most_frequent)
    same = usual.drop(columns=setting).all(axis=1)
    off, on = rows[same & (settings[setting] == without)], rows[same & usual[setting]]
    if off.empty or on.empty:
        return not_run(f"GNAQ with {setting}={without} is not stored")
    test = paired_test(on, off)
    percent = 100 * test.difference / off.value.mean()
    worse = test.difference < 0 and test.p_value < 0.05
    datasets = listed([title(name) for name in sorted(set(on.dataset) & set(off.dataset))])
    return Finding(
        status_of(test.clearly_above(), not worse),
        f"With it NDCG@10 changes by {percent:+.2f} % on {datasets} ({test.n} pairs, {p_text(test.p_value)}).",
        f"{percent:+.2f} %",
        f"{percent:+.2f} % NDCG@10",
        percent,
        test.p_value,
        pd.concat([on, off]),
    )


@rule("gnnq run rec_gowalla")
def published_ranking(results: Results, claim: Claim, dataset: str, metric: str) -> Finding:
    """Holds if full-precision LightGCN (D = 64, 3 layers, whole test set, all items not trained on as candidates) is at
    most 1 % below the published value; in part if at most 5 % below; else it does not hold.
    """
    rows = results.select(metric, "rec_gowalla|rec_yelp*", dataset=dataset, method="fp32", dim=WIDTH, num_layers=3,
                          start="random", protocol="lightgcn")  # fmt: skip
    if rows.empty:
        return not_run(f"full-precision LightGCN on {title(dataset)} is not stored")
    refit = rows[rows.refit == True]  # noqa: E712 - trained on all training ratings, as the published model
    rows = refit if len(refit) else rows
    ratio = rows.value.mean() / claim.number
    kind = "trained on training and validation part" if len(refit) else "trained without the validation part"
    return Finding(
        status_of(ratio >= 0.99, ratio >= 0.95),
        f"LightGCN on {title(dataset)} ({kind}) gives {metric} {spread_of(rows)}, {100 * (ratio - 1):+.1f} % against "
        "the published value.",
        spread_of(rows),
        f"{ratio:.3f} times",
        float(rows.value.mean()),
        rows=rows,
    )


@rule(RUNS)
def recovers(results: Results, claim: Claim, method: str, metric: str) -> Finding:
    """Holds if the method keeps at least the claimed share of FP32 (D = 64) on every data set measured; in part if on
    average it keeps at most 5 points less; else it does not hold.
    """
    rows = main_rows(results, metric)
    full = full_precision(rows).groupby("dataset").value.mean()
    ours = rows[rows.method == method].groupby("dataset").value.mean()
    shares = (100 * ours / full).dropna()
    if shares.empty:
        return not_run(f"{title(method)} beside FP32 is not stored")
    each = ", ".join(f"{title(name)} {value:.1f} %" for name, value in shares.items())
    return Finding(
        status_of(bool((shares >= claim.number).all()), shares.mean() >= claim.number - 5),
        f"Share of FP32's {metric} that {title(method)} keeps: {each}.",
        f"{shares.mean():.1f} %",
        f"{shares.mean() - claim.number:+.1f} points",
        float(shares.mean()),
        rows=rows[rows.method.isin([method, "fp32"])],
    )
