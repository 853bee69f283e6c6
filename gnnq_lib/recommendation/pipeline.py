"""What `gnnq train-recommender` does: train, pack, write, read back, compare the lists, measure."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from gnnq_lib.datasets.interactions import RatingSplit
from gnnq_lib.datasets.interactions_registry import INTERACTION_SETS
from gnnq_lib.errors import InputError
from gnnq_lib.experiments.config import make_config
from gnnq_lib.experiments.recommendation import Config, TrainedRecommender, train_recommender
from gnnq_lib.files import atomic_write, check_writable
from gnnq_lib.recommendation.gnaq import LowBitRecommender
from gnnq_lib.recommendation.lightgcn import Recommender
from gnnq_lib.recommendation.packed import load_recommender, pack_recommender, save_recommender
from gnnq_lib.recommendation.ranking import top_items
from gnnq_lib.recommendation.training import evaluate

COMPARED_K = 20


class ListsDifferError(RuntimeError):
    """A packed recommender whose lists are not those of the trained one; it was not written."""


@dataclass(frozen=True)
class RecommenderReport:
    """What packing a trained recommender gave.

    Attributes:
        dataset, method, bits, dim, num_users, num_items: of the run.
        recall, ndcg: at `k`, on the test part, of the model as loaded from the file.
        k: 20, or the number of items if there are fewer.
        other_lists: users whose k items differ between the trained and the loaded model, order included.
        file_bytes, formula_bytes, fp32_bytes: on disk; codes and levels by the formula; the table in full precision.
    """

    dataset: str
    method: str
    bits: int
    dim: int
    num_users: int
    num_items: int
    recall: float
    ndcg: float
    k: int
    other_lists: int
    file_bytes: int
    formula_bytes: float
    fp32_bytes: int

    @property
    def times_smaller(self) -> float:
        """FP32 bytes divided by the bytes of the file."""
        return self.fp32_bytes / self.file_bytes


def recommender_config(data: str, **settings: object) -> Config:
    """The settings of a recommender that can be packed; see `experiments.recommendation.Config`.

    Raises:
        InputError: a method without a table of codes and levels, or a setting out of range.

    Example:
        >>> recommender_config("power-law", bits=2, dim=32).method
        'gnaq'
    """
    config = make_config(Config, {"experiment": "train-recommender", "dataset": data, **settings})
    if config.method in ("fp32", "bigear"):
        raise InputError(
            f"method={config.method!r} was given; methods with codes and levels are accepted: gnaq, gnaq_as_released, "
            "post_training_tensor, post_training_node, lsq, n2uq"
        )
    return config


def train_and_pack(
    config: Config, out: Path | str, with_interactions: bool = False, say: Callable[[str], object] | None = None
) -> RecommenderReport:
    """Train, pack, write, read back, compare and measure.

    Args:
        config: see `recommender_config`.
        out: the file to write; one that is there is replaced by a file that gave the same lists, or stays.
        with_interactions: see `save_trained`.
        say: takes lines of progress.

    Raises:
        InputError: settings or data that are not accepted; a place that cannot be written to, said before training.
        ListsDifferError: the file gives other lists than the trained model.
    """
    out = check_writable(out)
    trained = train_recommender(config, say=say)
    with tempfile.TemporaryDirectory() as folder:
        content = save_trained(trained, Path(folder) / out.name, with_interactions).read_bytes()
        packed = load_recommender(Path(folder) / out.name)
    split, header = trained.split, packed.header
    loaded = packed.model(split.train, config.device)
    k = min(COMPARED_K, header.num_items)
    differing = other_lists(trained.model, loaded, split, k)
    if differing:
        raise ListsDifferError(
            f"{differing} of {header.num_users} users get other lists from the file; please report it"
        )
    atomic_write(out, content)
    found = evaluate(loaded, split, "test", [k])
    return RecommenderReport(
        header.dataset,
        config.method,
        header.bits,
        header.dim,
        header.num_users,
        header.num_items,
        found[f"recall@{k}"],
        found[f"ndcg@{k}"],
        k,
        differing,
        len(content),
        header.formula_bytes,
        header.fp32_bytes,
    )


def save_trained(trained: TrainedRecommender, out: Path | str, with_interactions: bool = False) -> Path:
    """Pack a trained recommender and write it.

    Args:
        trained: of a method with codes and levels.
        out: the file to write.
        with_interactions: put the interactions into the file; always done for a folder of your own, whose name says
            nothing on another machine. Its titles are not put there.

    Raises:
        InputError: a model without a table of codes and levels.
    """
    config, model = trained.config, trained.model
    if not isinstance(model, LowBitRecommender):
        raise InputError(f"a {type(model).__name__} was given; a model with codes and levels can be packed")
    settings = config.model_dump(mode="json", exclude_defaults=True, exclude={"dataset", "protocol", "split_seed"})
    packed = pack_recommender(
        model,
        trained.split,
        level_bits=config.level_bits,
        with_interactions=with_interactions or config.dataset not in INTERACTION_SETS,
        split_seed=config.split_seed,
        share=config.share,
        config=settings,
    )
    return save_recommender(packed, out)


@torch.no_grad()
def other_lists(one: Recommender, other: Recommender, split: RatingSplit, k: int) -> int:
    """Users whose k items differ between two models, order included, seen items left out."""
    users = torch.from_numpy(np.arange(split.train.num_users))
    one.eval()
    other.eval()
    lists = [top_items(*model.score_tables(), [split.train, split.val], users, k).cpu() for model in (one, other)]
    return int((lists[0] != lists[1]).any(dim=1).sum())
