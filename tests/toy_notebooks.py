"""A small notebook that follows the template, and its solutions, for the tests of everything that handles notebooks."""

from __future__ import annotations

from pathlib import Path

from gnnq_lib.experiments.notebook_authoring import from_percent, write_notebook

TOY = """
# %% [markdown]
# # 01 A toy
# One sentence. Paper A, section 1.
#
# Run time: 1 s · CPU · Data: none
#
# ## What you will learn
# - one
# - two
# - three
#
# ## Before you start
# Nothing.
# %% tags=["parameters"]
bits: int = 2  # bits of every stage
name: str = "toy"  # name of the run
# %% tags=["nbval-check-output"]
levels = 2**bits
levels
# %%
from gnnq_lib.experiments import ExperimentConfig, Measurement, ResultsStore, make_config, run_all


class Config(ExperimentConfig):
    bits: int


def run_one(config):
    return [Measurement("test_accuracy", 80.0 + config.seed, "%", bits_per_value=config.bits)]


configs = [make_config(Config, {"experiment": name, "bits": bits, "seed": seed}) for seed in range(2)]
print(run_all(configs, run_one, ResultsStore(name)))
# %% [markdown]
# ## Check your understanding
# Why?
#
# ## Exercises
# ### Exercise 1
# Do it.
#
# ## Summary
# Done.
#
# ## Where the release differs
# Nowhere.
"""

SOLUTIONS = """
# %% [markdown]
# # 01 Solutions
# ### Exercise 1
# %%
1 + 1
"""


def write_toy(root: Path, text: str = TOY, name: str = "01_toy.ipynb") -> Path:
    """Write the toy (or another text) and its solutions, without outputs, into `root/notebooks`."""
    write_notebook(from_percent(SOLUTIONS), root / "notebooks" / "solutions" / name)
    return write_notebook(from_percent(text), root / "notebooks" / name)
