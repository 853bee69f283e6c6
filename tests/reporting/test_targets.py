"""The project's own targets: the worst number decides, a bound may be an upper one, nothing stored is not run."""

from __future__ import annotations

import pytest

from gnnq_lib.reporting.results import Results
from gnnq_lib.reporting.targets import COLUMNS, TARGETS, targets_table

PACKED = "packed (real low-bit)"


def line(table, start):
    (row,) = table[table.target.str.startswith(start)].to_numpy().tolist()
    return dict(zip(COLUMNS, row))


def kernel_row(case, bits, speedup, variant="normalised"):
    return {"case": case, "variant": variant, "bits": bits, "path": PACKED, "speedup_vs_torch_fp32": speedup}


@pytest.mark.parametrize(("speedup", "met"), [(12.0, "yes"), (11.9, "no")])
def test_a_lower_bound(speedup, met):
    table = targets_table(Results.of([], kernels=[kernel_row("generated D=128", 2, speedup)]))
    row = line(table, "sums, generated graph, D = 128, INT2")
    assert (row["wanted"], row["reached"], row["met"]) == ("at least 12.0", f"{speedup:.1f}", met)


@pytest.mark.parametrize(("times", "met"), [(1.3, "yes"), (1.31, "no")])
def test_an_upper_bound(times, met):
    rows = [{"variant": "LightGCN step", "times_products": times}, {"variant": "lsq step", "times_products": 9.0}]
    row = line(targets_table(Results.of([], lightgcn=rows)), "a training step of LightGCN")
    assert (row["wanted"], row["reached"], row["met"]) == ("at most 1.30", f"{times:.2f}", met)


def test_the_worst_case_decides():
    rows = [kernel_row("cora-sized D=7", 2, 0.8), kernel_row("generated D=256", 2, 13.0, "new result")]
    row = line(targets_table(Results.of([], kernels=rows)), "every packed kernel")
    assert (row["reached"], row["met"]) == ("0.8 to 13.0", "no")


def test_classifiers_of_the_named_graphs_only():
    def case(name, path, bits, ms, speedup):
        return {"bench": "inference", "case": f"{name} (1 node)", "path": path, "bits": bits, "median_ms": ms,
                "speedup_vs_best_fp32": speedup, "speedup_vs_fp32_as_released": 9.0}  # fmt: skip

    rows = [case(name, "fp32", 32, 6.0, 1.0) for name in ("cora", "pubmed", "generated-9-9-16")]
    rows += [case("cora", PACKED, 2, 2.0, 3.0), case("pubmed", PACKED, 2, 1.0, 6.0)]
    rows += [case("generated-9-9-16", PACKED, 2, 1.1, 5.2)]
    table = targets_table(Results.of([], inference=rows))
    large, small = line(table, "whole classifier, PubMed"), line(table, "whole classifier, Cora and CiteSeer, INT2")
    assert (large["reached"], large["met"]) == ("5.20 to 6.00", "yes")
    assert (small["reached"], small["met"]) == ("3.0", "yes")


def test_lists_are_held_against_the_fastest_full_precision_at_gowallas_size():
    def case(name, slower, best):
        return {"case": name, "path": PACKED, "speedup_vs_fp32_flat": slower, "speedup_vs_best_fp32": best}

    rows = [case("29,858 users x 40,981 items, random normal values, D=64", 1.3, 0.9), case("943 users", 0.5, 0.4)]
    rows += [case("gowalla, 29,858 users x 40,981 items, trained, D=64", 4.4, 3.7)]
    row = line(targets_table(Results.of([], serving=rows)), "lists of 20 over all items")
    assert (row["reached"], row["met"]) == ("0.9 to 3.7", "no") and "the fastest FP32" in row["target"]


def test_gnaq_beside_full_precision_on_the_three_named_sets():
    common = {"experiment": "rec_methods", "start": "teacher", "dim": 64, "seed": 0}
    rows = []
    for dataset, low in (("lastfm", 0.199), ("ml-1m", 0.1984), ("ml-100k", 0.1)):
        for metric in ("recall@10", "ndcg@10"):
            rows.append({**common, "dataset": dataset, "metric": metric, "method": "fp32", "bits": 32, "value": 0.2})
            rows.append({**common, "dataset": dataset, "metric": metric, "method": "gnaq", "bits": 2, "value": low})
    row = line(targets_table(Results.of(rows)), "GNAQ, 2 bits")
    assert (row["reached"], row["met"]) == ("-0.8 % to -0.5 %", "no")  # MovieLens-100K is not part of the target


def test_without_results_nothing_is_met():
    table = targets_table(Results.of([]))
    assert len(table) == len(TARGETS) and set(table.met) == {"not run"} and set(table.reached) == {""}
