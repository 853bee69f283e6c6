"""Configs: bad settings named, keys stable."""

from __future__ import annotations

import pytest
from pydantic import Field

from gnnq_lib.errors import InputError
from gnnq_lib.experiments import ExperimentConfig, config_key, make_config


class Toy(ExperimentConfig):
    bits: int = Field(default=2, ge=1, le=8)
    dataset: str = "cora"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"bitz": 4},
            r"setting 'bitz' is unknown \(did you mean bits\?\); experiment, profile, seed, device, bits, dataset",
        ),
        ({"bits": 9}, "setting bits is 9: .*less than or equal to 8"),
        ({"bits": "two"}, "setting bits is 'two': .*integer"),
        ({"seed": -1}, "setting seed is -1"),
        ({"experiment": ""}, "setting experiment is ''"),
    ],
    ids=["unknown", "out of range", "not a number", "negative seed", "no name"],
)
def test_bad_settings_are_named_in_one_line(values, message):
    with pytest.raises(InputError, match=message) as error:
        make_config(Toy, {"experiment": "t", **values})
    assert "\n" not in str(error.value)


def test_missing_setting():
    with pytest.raises(InputError, match="setting experiment: Field required"):
        make_config(Toy, {})


def test_key_is_pinned_and_depends_on_every_field():
    """Pinned: a changed key would compute every stored result anew."""
    base = make_config(Toy, {"experiment": "t"})
    assert config_key(base) == "d01107692762"
    for change in ({"bits": 3}, {"dataset": "pubmed"}, {"seed": 1}, {"profile": "paper"}, {"experiment": "u"}):
        assert config_key(make_config(Toy, {"experiment": "t", **change})) != config_key(base)


def test_configs_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        make_config(Toy, {"experiment": "t"}).bits = 3
