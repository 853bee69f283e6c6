"""From a packed recommender to lists: load, propagate once, rank, leave out what a user has seen.

`RecommendationServer` keeps the propagated tables in FP32 and gives the lists of the trained model. `CompactTables`
keeps them in a few bits and gives nearly those lists.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gnnq_lib.datasets.interactions import Interactions, RatingSplit, UserItems, split_interactions
from gnnq_lib.datasets.interactions_registry import INTERACTION_SETS, load_interactions
from gnnq_lib.datasets.sources import at_hand
from gnnq_lib.deployment.similarity import PackedEmbeddings, pack_embeddings
from gnnq_lib.errors import InputError
from gnnq_lib.quantizers.packing import PackedCodes, unpack
from gnnq_lib.recommendation.lightgcn import Recommender
from gnnq_lib.recommendation.packed import PackedRecommender, fingerprint, load_recommender
from gnnq_lib.recommendation.ranking import check_k, top_items

NOBODY = -1  # stands in a list where no unseen item is left
_USERS_AT_ONCE = 256


@dataclass(frozen=True, eq=False)
class Recommendations:
    """Lists of items, best first.

    Attributes:
        users: int64 (n,).
        items: int64 (n, k); -1 where a user has no unseen item left.
        scores: float32 (n, k); -inf there.
    """

    users: Tensor
    items: Tensor
    scores: Tensor


class RecommendationServer:
    """Ranks all items for users by a model's propagated tables, which are computed once and kept on the CPU.

    Args:
        model: any recommender, on any device.
        seen: interactions that are never recommended, such as training and validation.
        titles: one per item, if there are any.

    Example:
        >>> from gnnq_lib.recommendation.bipartite import BipartiteGraph
        >>> from gnnq_lib.recommendation.lightgcn import LightGCN
        >>> pairs = UserItems([0, 1], [0, 1], 2, 3)
        >>> model = LightGCN(BipartiteGraph(pairs), dim=2, num_layers=0, table=torch.tensor(
        ...     [[1.0, 0.0], [0.0, 1.0], [9.0, 9.0], [5.0, 6.0], [7.0, 8.0]]))
        >>> RecommendationServer(model, [pairs]).recommend([0, 1], k=2).items.tolist()  # without item 0, without item 1
        [[2, 1], [0, 2]]
    """

    def __init__(self, model: Recommender, seen: Sequence[UserItems], titles: Sequence[str] | None = None) -> None:
        self.seen, self.titles = list(seen), titles
        model.eval()
        with torch.no_grad():
            self._user_table, self._item_table = (table.cpu() for table in model.score_tables())
        self.num_users, self.num_items = self._user_table.shape[0], self._item_table.shape[0]

    def recommend(self, users: Sequence[int], k: int = 10) -> Recommendations:
        """The k best unseen items of each user.

        Args:
            users: numbers from 0.
            k: 1 to the number of items.

        Raises:
            InputError: an unknown user, k out of range.
        """
        chosen = torch.tensor([_known("user", user, self.num_users) for user in users], dtype=torch.int64)
        items = top_items(self._user_table, self._item_table, self.seen, chosen, check_k(k, self.num_items))
        scores = (self._user_table[chosen, None] * self._item_table[items]).sum(dim=2)
        beyond = torch.arange(k) >= torch.tensor([self.num_unseen(int(user)) for user in chosen]).view(-1, 1)
        return Recommendations(chosen, items.masked_fill(beyond, NOBODY), scores.masked_fill(beyond, -torch.inf))

    def num_unseen(self, user: int) -> int:
        """How many items a user has not seen."""
        return self.num_items - len(self._seen_by(user))

    def place(self, user: int, item: int) -> tuple[float, int | None]:
        """Score of one item for one user, and its place among the unseen items, from 1; None if it was seen.

        Raises:
            InputError: an unknown user or item.
        """
        _known("user", user, self.num_users)
        _known("item", item, self.num_items)
        scores = self._item_table @ self._user_table[user]
        score = float(scores[item])
        seen = self._seen_by(user)
        if item in seen:
            return score, None
        scores[torch.from_numpy(seen)] = -torch.inf
        return score, 1 + int((scores > score).sum())

    def title(self, item: int) -> str:
        """Title of an item, or nothing."""
        return self.titles[item] if self.titles else ""

    def _seen_by(self, user: int) -> np.ndarray:
        return np.unique(np.concatenate([pairs.of(user) for pairs in self.seen] or [np.zeros(0, dtype=np.int64)]))


@dataclass(frozen=True, eq=False)
class CompactTables:
    """Propagated tables in packed codes, ranked without being unpacked as a whole; made by `compact_tables`.

    Propagated values are no longer a few levels per node, so they are quantized again: items by `pack_embeddings`,
    which searches them in integers; users on an even grid per user, unpacked when they are asked for.

    Attributes:
        users: (num_users, D).
        low, step: float16 (num_users, 1), in units of `unit`: a user's value at code q is low + q * step.
        unit: float32 (), the largest value of all users.
        items: of num_items rows.

    Example:
        >>> tables = compact_tables(torch.eye(3), torch.tensor([[5.0, 0.0, 1.0], [0.0, 4.0, 2.0], [1.0, 1.0, 3.0]]))
        >>> tables.top(torch.tensor([0, 2]), k=1)[0].tolist()
        [[0], [2]]
    """

    users: PackedCodes
    low: Tensor
    step: Tensor
    unit: Tensor
    items: PackedEmbeddings

    @property
    def nbytes(self) -> int:
        """Everything that is kept, of users and items."""
        return self.users.nbytes + 2 * (self.low.numel() + self.step.numel()) + 4 + self.items.nbytes

    def user_rows(self, users: Tensor) -> Tensor:
        """Rows of these users, float32 (n, D)."""
        codes = unpack(self.users.data[users], self.users.bits, self.users.num_values)
        return torch.addcmul(self.low[users].float(), codes.float(), self.step[users].float()) * self.unit

    def top(self, users: Tensor, k: int, seen: Sequence[UserItems] = ()) -> tuple[Tensor, Tensor]:
        """The k best items of each user and their scores, both (n, k); -1 and -inf where no unseen item is left.

        Args:
            users: int64 (n,).
            k: 1 to the number of items.
            seen: interactions to leave out.

        Raises:
            InputError: an unknown user, k out of range.
        """
        check_k(k, self.items.num_rows)
        if not users.numel():
            return users.new_zeros(0, k), self.unit.new_zeros(0, k)
        for end in users.aminmax():
            _known("user", end.item(), self.users.num_rows)
        if not seen:
            found = self.items.search(self.user_rows(users), k)
            return found.rows, found.scores
        # A list of k and as many more as a user has seen holds k unseen ones. Users who have seen as much go together.
        counts = sum(torch.from_numpy(pairs.counts)[users] for pairs in seen)
        items, scores = users.new_full((len(users), k), NOBODY), self.unit.new_full((len(users), k), -torch.inf)
        for chunk in torch.argsort(counts).split(_USERS_AT_ONCE):
            length = min(k + int(counts[chunk].max()), self.items.num_rows)
            found = self.items.search(self.user_rows(users[chunk]), length)
            items[chunk], scores[chunk] = _unseen(found.rows, found.scores, users[chunk], seen, k)
        return items, scores


def compact_tables(user_table: Tensor, item_table: Tensor, user_bits: int = 4, item_bits: int = 2) -> CompactTables:
    """Quantize propagated tables for ranking.

    With 4 and 2 bits, both tables take 9.6, 10.3 and 10.5 times less than FP32 at D = 64, 128, 256 where there are as
    many items as in Gowalla (1.4 per user). What is returned is on the CPU.

    Args:
        user_table: float32 (num_users, D). item_table: float32 (num_items, D); see `Recommender.score_tables`.
        user_bits, item_bits: 1, 2, 4 or 8.

    Raises:
        InputError: bits out of range, NaN or infinity.
    """
    if not bool(torch.isfinite(user_table).all()):
        raise InputError("the user table holds NaN or infinity; finite numbers are accepted")
    user_table, item_table = user_table.cpu(), item_table.cpu()
    unit = user_table.abs().max().clamp(min=1e-30)
    low, high = user_table.amin(dim=1, keepdim=True), user_table.amax(dim=1, keepdim=True)
    low, step = (low / unit).half(), ((high - low) / (unit * (2**user_bits - 1))).half()
    codes = ((user_table / unit - low) / step.float().clamp(min=1e-7)).round().clamp(0, 2**user_bits - 1)
    users = PackedCodes.from_codes(codes.to(torch.uint8), user_bits)
    return CompactTables(users, low, step, unit, pack_embeddings(item_table.contiguous(), item_bits))


def _known(kind: str, number: int, count: int) -> int:
    """The number of a user or item, if there is one of that number."""
    if isinstance(number, bool) or not isinstance(number, int | np.integer) or not 0 <= number < count:
        raise InputError(f"{kind} {number} is unknown; {kind}s are numbered 0 to {count - 1}")
    return int(number)


def _unseen(items: Tensor, scores: Tensor, users: Tensor, seen: Sequence[UserItems], k: int) -> tuple[Tensor, Tensor]:
    """The first k unseen items of each list, in order."""
    hidden = torch.zeros(items.shape, dtype=torch.bool)
    wanted = users[:, None] * seen[0].num_items + items
    for pairs in seen:
        keys = torch.from_numpy(pairs.keys)
        if keys.numel():
            hidden |= keys[torch.searchsorted(keys, wanted).clamp(max=keys.numel() - 1)] == wanted
    first = hidden.int().argsort(dim=1, stable=True)[:, :k]
    gone = hidden.gather(1, first)
    return items.gather(1, first).masked_fill(gone, NOBODY), scores.gather(1, first).masked_fill(gone, -torch.inf)


def serve(path: Path | str, root: Path | str | None = None) -> RecommendationServer:
    """Load a packed recommender and propagate it.

    Args:
        path: the file.
        root: data folder, instead of `GNNQ_DATA`; used where the file holds no interactions.

    Raises:
        InputError: what `load_recommender` refuses; interactions that are not those of the training.
        DataUnavailableError: the data set can't be had, and the file holds no interactions.
    """
    packed = load_recommender(path)
    split = training_split(packed, root)
    return RecommendationServer(packed.model(split.train), [split.train, split.val], split.data.titles)


def training_split(packed: PackedRecommender, root: Path | str | None = None) -> RatingSplit:
    """The interactions a packed recommender was trained on, from the file if it has them, else from the data set.

    Titles come from the data set; a file with interactions of its own does without if the data set is not at hand, or
    is a folder of your own.

    Raises:
        InputError: the data set's interactions are others than those of the training.
        DataUnavailableError: the data set can't be had.
    """
    header = packed.header
    if header.stored_interactions:
        train, val = packed.interactions()
        nothing = train.select(np.zeros(len(train), dtype=bool))
        data = Interactions(header.dataset, train.plus(val), nothing, "the model's file", titles=_titles(packed, root))
        return RatingSplit(data, train, val, nothing, header.protocol)
    data = load_interactions(header.dataset, root, header.split_seed)
    split = split_interactions(data, header.protocol, header.split_seed, header.share)
    if fingerprint(split.train, split.val) != header.interactions:
        raise InputError(
            f"{data.describe()} is not what this model was trained on; give the same files, or a model that holds its "
            "interactions (`gnnq train-recommender --with-interactions`)"
        )
    return split


def _titles(packed: PackedRecommender, root: Path | str | None) -> tuple[str, ...] | None:
    """Titles from a known data set that is on this machine and has as many items."""
    name = packed.header.dataset
    spec = INTERACTION_SETS.get(name)
    forms = [form for form, _ in spec.forms] if spec else []
    in_root = bool(root) and any(all((Path(root) / path).is_file() for path in form.files) for form in forms)
    if not forms or not (in_root or at_hand(forms)):
        return None
    data = load_interactions(name, root if in_root else None)
    return data.titles if data.num_items == packed.header.num_items else None
