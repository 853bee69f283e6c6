"""What the recipes of low-bit recommenders say they chose on validation is what the stored searches found."""

from __future__ import annotations

import pandas as pd
import pytest

from gnnq_lib.experiments import ResultsStore
from gnnq_lib.experiments.config import make_config
from gnnq_lib.experiments.recommendation import Config, resolve
from gnnq_lib.paths import project_root

TEXT = (project_root() / "notebooks" / "11_gnaq_compared.ipynb").read_text(encoding="utf-8")
README = " ".join((project_root() / "README.md").read_text(encoding="utf-8").split())
SEARCHES = ("rec_search_low_bit", "rec_search_rotation", "rec_search_bigear")


def stored(name: str, metric: str = "val_ndcg@20") -> list[tuple[Config, float]]:
    store = ResultsStore(project_root() / "data" / "results" / f"{name}.csv")
    rows = store.frame()
    values = rows[rows.metric == metric].set_index("config_key").value
    configs = {key: make_config(Config, {**c, "device": "cpu"}) for key, c in store.configs().items()}
    return [(config, values[key]) for key, config in configs.items()]


def trials() -> dict[tuple[str, str, int], list[tuple[Config, float]]]:
    """The trials of each (method, data set, bits) that start from the teacher in use."""
    found: dict[tuple[str, str, int], list[tuple[Config, float]]] = {}
    for config, value in [trial for name in SEARCHES for trial in stored(name)]:
        if config.method != "gnaq_as_released" and config.sampling == chosen(config).sampling:
            found.setdefault((config.method, config.dataset, config.bits), []).append((config, value))
    return found


def chosen(trial: Config) -> Config:
    """What the recipes say for the method, data set and bits of a trial."""
    kept = {name: getattr(trial, name) for name in ("experiment", "profile", "method", "dataset", "bits")}
    return resolve(make_config(Config, kept))


def is_chosen(trial: Config) -> bool:
    return trial.model_copy(update={"seed": 0}) == chosen(trial)


@pytest.mark.parametrize("case", sorted(trials()), ids=str)
def test_the_best_trial_on_validation_is_in_use(case):
    values = trials()[case]
    in_use = [value for config, value in values if is_chosen(config)]
    assert len(in_use) == 1 and in_use[0] == max(value for _, value in values)


def test_how_often_validation_preferred_a_rotated_start():
    """Notebook 11's summary says so."""
    cases = trials().values()
    preferred = sum(max(values, key=lambda trial: trial[1])[0].rotation for values in cases)
    assert (preferred, len(cases)) == (15, 28)
    assert f"validation preferred it in {preferred} of {len(cases)} cases" in TEXT


def test_bigear_with_the_layers_of_its_paper():
    """Notebook 11, section 4, and the README: what two layers lose on validation, as used and with its paper's rate."""
    lost: dict[bool, list[float]] = {True: [], False: []}
    for config, value in stored("rec_search_bigear"):
        (in_use,) = [v for c, v in trials()["bigear", config.dataset, 1] if is_chosen(c)]
        lost[config.lr == 1e-3].append(100 * (1 - value / in_use))
    span = f"{min(lost[False]):.1f} to {max(lost[False]):.1f} %"
    assert f"Two layers lost {span} of the validation NDCG@20" in TEXT
    assert f"7.1 times smaller, not 5.3, and {span} worse in NDCG@20 on validation" in README
    assert len(lost[True]) == 3 and min(lost[True]) > max(lost[False])
    sizes = [v for c, v in stored("rec_search_bigear", "model_bytes") if c.dataset == "lastfm"]
    assert 32 * 64 / (8 * sizes[0] / (1892 + 4489)) == pytest.approx(7.1, abs=0.05)


@pytest.mark.parametrize(("metric", "percent"), [("val_ndcg@20", 1.1), ("recall@10", -0.6), ("ndcg@10", -0.5)])
def test_three_times_the_epochs_on_gowalla(metric, percent):
    """Notebook 11, section 5: one percent more on validation, half a percent less on the test part."""
    longer, usual = (
        pd.Series(
            [v for c, v in stored(name, metric) if (c.dataset, c.method, c.bits) == ("gowalla", "gnaq", 2)]
        ).item()
        for name in ("rec_budget", "rec_gowalla_methods")
    )
    assert 100 * (longer / usual - 1) == pytest.approx(percent, abs=0.15)


def test_three_times_the_epochs_on_movielens_1m():
    """Notebook 11, section 5: full precision gains more of them than GNAQ."""
    gain = {}
    for method, bits in (("gnaq", 2), ("fp32", 32)):
        longer, usual = (
            pd.Series(
                [v for c, v in stored(name, "ndcg@10") if (c.dataset, c.method, c.bits) == ("ml-1m", method, bits)]
            )
            for name in ("rec_budget", "rec_methods")
        )
        assert len(longer) == len(usual) == 3
        gain[method] = round(100 * (longer.mean() / usual.mean() - 1), 1)
    assert gain == {"gnaq": 0.3, "fp32": 0.8}
    assert (
        f"NDCG@10 by {gain['gnaq']} % and that of full precision, trained on for as long, by {gain['fp32']} %" in TEXT
    )


def test_the_penalty_of_full_precision_on_movielens_1m():
    """Notebook 11, section 5, and the recipe: the best of the five weights on validation is in use."""
    by_l2 = {
        metric: {c.l2: v for c, v in stored("rec_search_fp32", metric) if c.dataset == "ml-1m"}
        for metric in ("val_ndcg@20", "ndcg@10")
    }
    validation, test = by_l2["val_ndcg@20"], by_l2["ndcg@10"]
    best = max(validation, key=validation.get)
    assert len(validation) == 5 and min(validation) < best < max(validation)
    recipe = make_config(
        Config, {"experiment": "test", "dataset": "ml-1m", "method": "fp32", "bits": 32, "start": "random"}
    )
    assert resolve(recipe).l2 == best == 10 * 1e-4
    for values in (validation, test):
        assert f"from {values[1e-4]:.3f} to {values[best]:.3f}".replace(" 0.", " .") in TEXT
