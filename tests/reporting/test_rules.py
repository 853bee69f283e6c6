"""Every rule on results made by hand: each verdict it can give, and "not run" without results."""

from __future__ import annotations

import pytest

from gnnq_lib.reporting.claims import load_claims
from gnnq_lib.reporting.results import Results
from gnnq_lib.reporting.rules import Status
from gnnq_lib.reporting.rules_paper_b import main_rows
from gnnq_lib.reporting.verdicts import claims_table, counts, judge, judge_all, verdict_frame

CLAIMS = {claim.name: claim for claim in load_claims()}
HOLDS, IN_PART, NOT, NOT_RUN = Status.HOLDS, Status.IN_PART, Status.DOES_NOT_HOLD, Status.NOT_RUN


def runs(experiment, values, metric="test_accuracy", **settings):
    """One row per value, seeds 0, 1, ..."""
    base = {"dataset": "cora", "split": "public", "model": "smp", "bits": 2, "seconds": 10.0, "metric": metric}
    return [
        {**base, "experiment": experiment, "seed": seed, "value": value, "config_key": f"{experiment}{seed}{settings}",
         "split_seed": 0, **settings}
        for seed, value in enumerate(values)
    ]  # fmt: skip


def verdict(name, rows=(), **benches):
    return judge(CLAIMS[name], Results.of(list(rows), **benches))


def status(name, rows=(), **benches):
    return verdict(name, rows, **benches).finding.status


@pytest.mark.parametrize("name", CLAIMS)
def test_not_run_without_results(name):
    found = verdict(name)
    assert found.finding.status is NOT_RUN
    assert found.finding.why and found.command


def bench(pubmed, cs, generated, released=9.0, threads=1, full_ms=5.0):
    rows = []
    for name, factor in (("pubmed", pubmed), ("cs", cs), ("generated", generated)):
        if factor:
            common = {"bench": "inference", "case": f"{name} (9 nodes)", "threads": threads}
            rows.append({**common, "variant": "sparse", "bits": 32, "path": "fp32", "median_ms": full_ms})
            packed = {"variant": "packed", "bits": 2, "path": "packed (real low-bit)", "median_ms": full_ms / factor}
            factors = {"speedup_vs_best_fp32": factor, "speedup_vs_fp32_as_released": released}
            rows.append({**common, **packed, **factors})
    return rows


@pytest.mark.parametrize(
    ("factors", "released", "expected"),
    [
        ((5.2, 6.0, 7.0), 9.0, HOLDS),
        ((4.0, 6.0, 7.0), 3.0, IN_PART),
        ((4.0, 4.0, 4.0), 9.0, IN_PART),
        ((4.0, 4.0, 4.0), 5.0, NOT),
        ((6.0, 6.0, None), 5.0, IN_PART),
    ],
    ids=["all", "some", "against the release", "none", "one case missing"],
)
def test_speedup(factors, released, expected):
    assert status("A1", inference=bench(*factors, released=released)) is expected


def test_speedup_is_taken_where_full_precision_is_fastest():
    table = bench(9.0, 9.0, 9.0, threads=1, full_ms=5.0) + bench(2.0, 2.0, 2.0, 3.0, threads=2, full_ms=3.0)
    assert verdict("A1", inference=table).finding.value == 2.0


def test_speedup_without_the_multiplier_only():
    rows = [{**row, "multiplier": True} for row in bench(6.0, 6.0, 6.0)]
    assert status("A1", inference=rows) is NOT_RUN


def test_speedup_of_other_bits_is_not_taken():
    assert status("A2", inference=bench(6.0, 6.0, 6.0)) is NOT_RUN


def stages(bits, others=0.0):
    rows = runs("accuracy_public", [83.0], method="node_pow2")
    names = ("inputs", "weights", "features", "messages", "aggregates", "updates", "embeddings")
    for name in names:
        rows += runs("accuracy_public", [bits], f"bits_{name}", method="node_pow2")
    for metric, value in (("nodes_of_another_class", others), ("nodes_compared", 2708.0)):
        rows += runs("packed_models", [value], metric, method="node_pow2")
    return rows


@pytest.mark.parametrize(
    ("rows", "expected"), [(stages(2.3), HOLDS), (stages(2.3, 4.0), IN_PART), (stages(32.0, 4.0), NOT)]
)
def test_all_stages(rows, expected):
    assert status("A3", rows) is expected


def methods(best, earlier, full=84.0):
    rows = runs("accuracy_public", [full, full + 0.2], method="fp32", bits=32)
    for name in ("qlr", "bt", "bt_star"):
        rows += runs("methods_cora_scratch", [best, best + 1, best + 0.6, best], method=name, start="scratch")
    for name in ("minmax", "lsq", "degree_quant"):
        rows += runs("methods_cora_scratch", [earlier, earlier - 1, earlier, earlier], method=name, start="scratch")
    return rows


@pytest.mark.parametrize(
    ("best", "earlier", "expected"), [(77.0, 20.0, HOLDS), (70.0, 20.0, IN_PART), (20.0, 70.0, NOT)]
)
def test_int2_where_others_fail(best, earlier, expected):
    assert status("A4", methods(best, earlier)) is expected


def growth(after_8, after_64, share):
    rows = []
    for metric, value in (
        ("relative_error@8", after_8), ("relative_error@64", after_64), ("largest_error_over_bound", share)
    ):  # fmt: skip
        rows += runs("paper_error_growth", [value, value], metric, method="qlr", teleport=0.1)
    return rows


@pytest.mark.parametrize(("after_64", "share", "expected"), [(0.72, 0.5, HOLDS), (1.4, 0.5, IN_PART), (0.7, 1.2, NOT)])
def test_error_bounded(after_64, share, expected):
    assert status("A5", growth(0.7, after_64, share)) is expected


def test_error_without_teleport_is_not_taken():
    assert status("A5", [{**row, "teleport": 0.0} for row in growth(0.7, 0.7, 0.5)]) is NOT_RUN


def depth(int2, gcn=None):
    rows = []
    for layers, full, low in ((8, 84.0, 83.0), (64, 83.5, int2)):
        rows += runs("depth", [full], method="fp32", bits=32, num_layers=layers)
        rows += runs("depth", [low], method="node_pow2", num_layers=layers)
    if gcn:
        for layers, value in ((2, 81.0), (64, gcn)):
            rows += runs("paper_depth_cora_baselines", [value], method="fp32", bits=32, model="gcn", num_layers=layers)
    return rows


@pytest.mark.parametrize(
    ("rows", "expected"),
    [(depth(82.5, 25.0), HOLDS), (depth(82.5), IN_PART), (depth(82.5, 80.0), IN_PART), (depth(60.0, 25.0), IN_PART)],
    ids=["kept", "no GCN", "GCN kept too", "INT2 lost"],
)
def test_depth_kept(rows, expected):
    assert status("A6", rows) is expected


def switched(on, off):
    common = {"method": "fp32", "bits": 32, "gap_term": False, "non_negative": False, "detach_change": False,
              "placement": "node"}  # fmt: skip
    return runs("paper_switches", on, multiplier=True, **common) + runs(
        "paper_switches", off, multiplier=False, **common
    )


@pytest.mark.parametrize(
    ("on", "off", "expected"),
    [
        ([84.0, 85.1, 84.6], [80.0, 81.0, 80.9], HOLDS),
        ([84.0, 81.0, 84.6], [82.0, 84.0, 83.0], IN_PART),
        ([80.0, 81.0, 80.9], [84.0, 85.1, 84.6], NOT),
    ],
)
def test_multiplier(on, off, expected):
    assert status("A7", switched(on, off)) is expected


@pytest.mark.parametrize(
    ("learned", "qlr", "expected"),
    [([80.0, 81.0, 80.4], 74.0, HOLDS), ([70.0, 75.0, 80.0], 74.0, IN_PART), ([70.0, 75.0, 80.0], 16.0, NOT)],
)
def test_learned_ranges(learned, qlr, expected):
    rows = runs("methods_cora_scratch", [qlr, qlr + 1, qlr], method="qlr", start="scratch")
    rows += runs("methods_cora_scratch", [16.0, 16.5, 17.0], method="minmax", start="scratch")
    where = {"method": "qlr", "multiplier": False, "placement": "node", "calibration": "evaluation",
             "dropout_first": False}  # fmt: skip
    rows += runs("calibration", learned, as_released=False, **where)
    rows += runs("calibration", [76.0, 77.0, 76.1], as_released=True, **where)
    assert status("A8", rows) is expected


@pytest.mark.parametrize(("star", "expected"), [(80.0, HOLDS), (76.0, IN_PART), (70.0, NOT)])
def test_bt_star(star, expected):
    rows = []
    for table in ("methods_cora_scratch", "methods_cora"):
        for name, value in (("qlr", 73.0), ("bt", 77.0), ("bt_star", star)):
            rows += runs(table, [value, value + 0.3, value + 0.1, value - 0.2], method=name)
    assert status("A9", rows) is expected


@pytest.mark.parametrize(("qlr", "bt", "expected"), [(0.3, 0.2, HOLDS), (0.3, -0.2, IN_PART), (-0.1, -0.2, NOT)])
def test_error_by_degree(qlr, bt, expected):
    rows = runs("paper_error_growth", [qlr], "degree_correlation", method="qlr", teleport=0.1)
    rows += runs("paper_error_growth", [bt], "degree_correlation", method="bt", teleport=0.1)
    assert status("A10", rows) is expected


@pytest.mark.parametrize(("mean", "expected"), [(73.0, HOLDS), (69.5, IN_PART), (60.0, NOT)])
def test_printed_accuracy(mean, expected):  # INT2 SMP: 73.3 on one random split
    rows = runs("paper_random_cora", [mean - 1, mean, mean + 1], method="qlr", as_released=False, split="random")
    assert status("N7", rows) is expected


def test_a_wide_spread_alone_does_not_make_a_printed_accuracy_hold():
    rows = runs("paper_random_cora", [56.0, 66.0, 76.0], method="qlr", as_released=False, split="random")
    assert status("N7", rows) is IN_PART


def test_the_public_split_is_not_compared_with_a_random_one():
    rows = runs("accuracy_public", [73.0, 74.0], method="qlr", as_released=False)
    assert status("N7", rows) is NOT_RUN


@pytest.mark.parametrize(("value", "expected"), [(80.0, HOLDS), (78.0, IN_PART), (70.0, NOT)])
def test_published_accuracy(value, expected):  # GCN, 2 layers, Cora: 80.7
    rows = runs("paper_depth_cora_baselines", [value, value], method="fp32", bits=32, model="gcn", num_layers=2)
    assert status("D1", rows) is expected


@pytest.mark.parametrize(("value", "expected"), [(83.8, HOLDS), (82.0, IN_PART), (60.0, NOT)])
def test_int8_like_fp32(value, expected):
    rows = runs("accuracy_public", [84.0, 84.2], method="fp32", bits=32)
    rows += runs("paper_methods_cora", [value, value], method="degree_quant", bits=8)
    assert status("Q2", rows) is expected


@pytest.mark.parametrize(
    ("values", "expected"), [([80.0, 81.0, 80.5], HOLDS), ([71.0, 70.0, 69.2], IN_PART), ([50.0, 51.0, 50.0], NOT)]
)
def test_gain_over_plain_training(values, expected):
    rows = runs("paper_methods_cora", values, method="degree_quant", bits=4)
    rows += runs("paper_methods_cora", [70.0, 69.0, 70.3], method="minmax", bits=4)
    assert status("Q3", rows) is expected


REC = {"dim": 64, "protocol": "lightgcn", "start": "teacher", "dataset": "lastfm", "model": "lightgcn", "refit": False,
       "num_layers": 3}  # fmt: skip


def rec(method, values, metric="recall@10", experiment="rec_methods", bits=2, **settings):
    return runs(experiment, values, metric, **{**REC, "method": method, "bits": bits, **settings})


@pytest.mark.parametrize(("name", "metric"), [("B1", "recall@10"), ("B2", "ndcg@10")])
@pytest.mark.parametrize(
    ("lsq", "expected"), [(0.10, HOLDS), (0.17, IN_PART), (0.19, NOT)], ids=["far above", "above", "below"]
)
def test_gain_over_quantizers(name, metric, lsq, expected):
    rows = rec("gnaq", [0.180, 0.1801, 0.1802], metric) + rec("lsq", [lsq, lsq + 1e-4, lsq], metric)
    assert status(name, rows) is expected


def test_one_bit_gnaq_is_not_taken_for_two():
    rows = rec("gnaq", [0.18, 0.18], bits=1) + rec("lsq", [0.1, 0.1])
    assert status("B1", rows) is NOT_RUN


def test_settings_chosen_for_two_bits_are_not_judged_by_those_of_one():
    """Chosen per number of bits: the runs of 1 bit, just as many, do not make those of 2 bits an ablation."""
    rows = rec("gnaq", [0.2, 0.2, 0.2], anchor=1.0) + rec("gnaq", [0.1, 0.1, 0.1], bits=1, anchor=0.0)
    assert main_rows(Results.of(rows), "recall@10").bits.tolist() == [2] * 3 + [1] * 3


def sizes(ratios):
    rows = []
    for dim, ratio in ratios.items():
        table = {"experiment": "rec_methods" if dim == 64 else "rec_bits", "dim": dim}
        rows += rec("fp32", [1000.0], "model_bytes", bits=32, **table)
        rows += rec("gnaq", [1000.0 / ratio], "model_bytes", **table)
    return rows


@pytest.mark.parametrize(
    ("ratios", "expected"), [({64: 8.0, 256: 12.8}, HOLDS), ({64: 8.0}, IN_PART), ({64: 6.0, 256: 12.8}, NOT)]
)
def test_times_smaller(ratios, expected):
    assert status("B3", sizes(ratios)) is expected


@pytest.mark.parametrize(("gnaq", "expected"), [(0.1795, HOLDS), (0.1765, IN_PART), (0.15, NOT)])
def test_keeps_full_precision(gnaq, expected):
    rows = [
        row
        for metric in ("recall@10", "ndcg@10")
        for row in rec("gnaq", [gnaq, gnaq + 1e-4, gnaq], metric) + rec("fp32", [0.18, 0.1801, 0.18], metric, bits=32)
    ]
    assert status("B4", rows) is expected


@pytest.mark.parametrize(("ms", "expected"), [(40.0, HOLDS), (60.0, IN_PART), (160.0, NOT)])
def test_faster_training(ms, expected):
    times = {"gnaq step": ms, "lsq step": 100.0, "n2uq step": 200.0, "LightGCN step": 1.0}
    rows = [{"variant": name, "median_ms": value} for name, value in times.items()]
    assert status("B5", [], lightgcn=rows) is expected


@pytest.mark.parametrize("name", ["B1", "B4"])
def test_fewer_than_three_seeds_decide_nothing(name):
    metrics = ("recall@10", "ndcg@10")
    rows = [row for m in metrics for who in ("gnaq", "lsq") for row in rec(who, [0.1, 0.2], m)]
    rows += [row for m in metrics for row in rec("fp32", [0.1, 0.2], m, bits=32)]
    assert status(name, rows) is NOT_RUN


def test_datasets_covered():
    four = [row for name in "abcd" for method in ("gnaq", "fp32") for row in rec(method, [0.1], dataset=name)]
    assert (status("B6", four), status("B6", four[:4])) == (HOLDS, IN_PART)


@pytest.mark.parametrize(
    ("without", "expected"),
    [([0.150, 0.1511, 0.1512], HOLDS), ([0.170, 0.1711, 0.1694], IN_PART), ([0.190, 0.191, 0.1905], NOT)],
)
@pytest.mark.parametrize(
    ("name", "usual", "changed"),
    [
        ("B7", {"node_aware": True}, {"node_aware": False}),
        ("B8", {"refine_steps": 20.0}, {"refine_steps": 0.0}),
        ("B9", {"gradient": "graph"}, {"gradient": "straight_through"}),
    ],
    ids=["node-aware", "refinement", "gradient"],
)
def test_parts_of_gnaq(name, usual, changed, without, expected):
    default = {"node_aware": True, "refine_steps": 20.0, "gradient": "graph", "tanh": False, **usual}
    where = {"metric": "ndcg@10", "experiment": "rec_ablations"}
    rows = rec("gnaq", [0.170, 0.1705, 0.1700], **where, **default)
    rows += rec("gnaq", without, **where, **{**default, **changed})
    rows += rec("gnaq", [0.01, 0.01, 0.01], **where, **{**default, "tanh": True})  # another ablation: not taken
    assert status(name, rows) is expected


@pytest.mark.parametrize(("value", "expected"), [(0.182, HOLDS), (0.177, IN_PART), (0.16, NOT)])
def test_published_ranking(value, expected):
    where = {"experiment": "rec_gowalla", "metric": "recall@20", "bits": 32, "dataset": "gowalla", "start": "random"}
    rows = rec("fp32", [0.1], **where) + rec("fp32", [value], **{**where, "refit": True})
    assert status("L1", rows) is expected


@pytest.mark.parametrize(("value", "expected"), [(0.175, HOLDS), (0.165, IN_PART), (0.1, NOT)])
def test_recovers(value, expected):
    rows = rec("fp32", [0.18], "recall@20", bits=32) + rec("bigear", [value], "recall@20", bits=1)
    assert status("Q1", rows) is expected


def test_seconds_count_each_run_once():
    rows = methods(77.0, 20.0)
    assert verdict("A4", rows).seconds == 10 * 4 * 4  # four methods of four seeds; FP32 is not part of the test


def test_the_sentence_holds_the_numbers():
    found = verdict("A4", methods(77.0, 20.0)).finding
    assert found.ours == "77.4 ± 0.5 (4)" and found.ours in found.why
    assert found.p_value < 0.05


def test_frame_and_counts():
    verdicts = judge_all(Results.of(methods(77.0, 20.0)))
    frame = verdict_frame(verdicts).set_index("claim")
    assert frame.verdict["A4"] == "holds" and frame.verdict["A1"] == "not run"
    assert sum(counts(verdicts).values()) == len(frame) and counts(verdicts)["holds"] == 1


def test_claims_table_has_a_line_per_claim_of_the_papers():
    lines = claims_table(results=Results.of([])).splitlines()
    papers = [claim for claim in CLAIMS.values() if claim.paper in ("A", "B")]
    assert len(lines) == 2 + len(papers)
    assert lines[2].startswith("| A1 | INT2 inference") and lines[2].endswith("| 5.11 times | – | not run |")
    assert all(line.count(" | ") == 4 for line in lines)


def test_a_run_that_stands_in_two_tables_counts_once():
    row = {"metric": "m", "method": "gnaq", "dim": 64}
    runs = [("search", 0, 1.0), ("search", 1, 2.0), ("main", 0, 1.0), ("main", 2, 4.0), ("main", 2, 5.0)]
    results = Results.of([{**row, "experiment": name, "seed": seed, "value": value} for name, seed, value in runs])
    # main's seed 0 is search's; two rows of one table are never thought to be the same run
    assert results.select("m", "search|main").value.tolist() == [1.0, 2.0, 4.0, 5.0]
    assert results.select("m", "main").value.tolist() == [1.0, 4.0, 5.0]
