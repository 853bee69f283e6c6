"""Typed experiment configs: unknown names are rejected by name, and every config has a short key."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from gnnq_lib.errors import InputError
from gnnq_lib.files import sha256_bytes
from gnnq_lib.naming import nearest

Config = TypeVar("Config", bound="ExperimentConfig")

ADDED_SETTINGS: dict[str, Any] = {"shared_ranges": False, "sampling": "interactions", "rotation": False}
"""Settings younger than stored results -> what runs without them did; at that value they are left out of the key."""
NOT_IN_KEY = ("device",)
"""Settings that say where a run is done, not what is done: the same run on another device is the same run."""


class ExperimentConfig(BaseModel):
    """What every experiment has; subclasses add their own fields. Immutable; build it with `make_config`.

    Attributes:
        experiment: the table or figure the run belongs to.
        profile: "quick" (notebooks' defaults) or "paper".
        seed: the run's seed.
        device: "cpu" or "cuda".

    Example:
        >>> make_config(ExperimentConfig, {"experiment": "table1"}).seed
        0
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    experiment: str = Field(min_length=1)
    profile: str = "quick"
    seed: int = Field(default=0, ge=0, lt=2**63)
    device: Literal["cpu", "cuda"] = "cpu"

    @field_validator("device")
    @classmethod
    def _device(cls, device: str) -> str:
        if device == "cuda" and default_device() == "cpu":
            raise ValueError("there is no CUDA device here; 'cpu' is accepted")
        return device


def default_device() -> Literal["cpu", "cuda"]:
    """Where a run goes that may use a GPU: "cuda" if there is one, else "cpu".

    Example:
        >>> default_device() in ("cpu", "cuda")
        True
    """
    import torch  # here: reading a table of settings does not wait for it

    return "cuda" if torch.cuda.is_available() else "cpu"


def make_config(kind: type[Config], values: Mapping[str, Any]) -> Config:
    """Build a config, turning every fault into one sentence.

    Args:
        kind: subclass of `ExperimentConfig`.
        values: field name -> value.

    Raises:
        InputError: names the unknown or wrong field, what was given and what is accepted.

    Example:
        >>> make_config(ExperimentConfig, {"experiment": "t", "sed": 1})
        Traceback (most recent call last):
        gnnq_lib.errors.InputError: setting 'sed' is unknown (did you mean seed?); experiment, ... are accepted
    """
    unknown = [name for name in values if name not in kind.model_fields]
    if unknown:
        accepted = ", ".join(kind.model_fields)
        raise InputError(
            f"setting {unknown[0]!r} is unknown{nearest(str(unknown[0]), kind.model_fields)}; {accepted} are accepted"
        )
    try:
        return kind(**values)
    except ValidationError as error:
        fault = error.errors()[0]
        name = ".".join(str(part) for part in fault["loc"]) or "the settings"
        given = "" if fault["type"] == "missing" else f" is {fault['input']!r}"
        raise InputError(f"setting {name}{given}: {fault['msg'].removeprefix('Value error, ')}") from None


def config_key(config: ExperimentConfig) -> str:
    """Twelve hexadecimal digits that stand for the full config: the same settings, the same key.

    A setting of `ADDED_SETTINGS` at its old value does not count, so that runs stored before it keep their key; those
    of `NOT_IN_KEY` never count.

    Example:
        >>> a = make_config(ExperimentConfig, {"experiment": "t"})
        >>> config_key(a) == config_key(make_config(ExperimentConfig, {"experiment": "t", "seed": 0}))
        True
        >>> config_key(a) == config_key(make_config(ExperimentConfig, {"experiment": "t", "seed": 1}))
        False
    """
    values = config.model_dump(mode="json", exclude=set(NOT_IN_KEY))
    text = json.dumps([type(config).__name__, without_old_values(values)], sort_keys=True)
    return sha256_bytes(text.encode())[:12]


def without_old_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings without those of `ADDED_SETTINGS` at their old value.

    Example:
        >>> without_old_values({"lr": 0.1, "sampling": "interactions"})
        {'lr': 0.1}
    """
    return {name: v for name, v in values.items() if name not in ADDED_SETTINGS or v != ADDED_SETTINGS[name]}
