"""The packed recommender: codes of b bits and a few levels per node in a file, and the way back to a model.

A table of N nodes and D values takes N (b D + w 2^b) bits, w bits per level: 32 D / (2 D + 128) times less than FP32
at two bits and w = 32, that is 8.0, 10.67, 12.8 times at D = 64, 128, 256 (GNAQ fact sheet, section 4). Codes of three
bits are stored as two and one, so they take three.

Levels of a node are free numbers, so its values are no affine function of the codes, and the integer kernels (one scale
and zero point per node) do not apply. LSQ's and N2UQ's evenly spaced levels would fit them, but are served the same
way, so that all methods compare: the table is looked up once after loading and propagated in FP32. The same
additions in the same order as in training give the same scores.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, JsonValue
from torch import Tensor

from gnnq_lib.datasets.interactions import Protocol, RatingSplit, UserItems
from gnnq_lib.errors import InputError
from gnnq_lib.quantizers.packing import pack, row_bytes, unpack
from gnnq_lib.recommendation.bipartite import BipartiteGraph
from gnnq_lib.recommendation.gnaq import LowBitRecommender
from gnnq_lib.recommendation.levels import LevelTable
from gnnq_lib.tensor_files import TensorFormat, check_tensors, file_bytes

FORMAT = TensorFormat("gnnq-packed-recommender", "1", "a packed recommender", "`gnnq train-recommender --out`")
PARTS = ("train", "val")
Layout = dict[str, tuple[torch.dtype, tuple[int, ...]]]

_Size = Annotated[int, Field(ge=1, lt=2**31)]
_Count = Annotated[int, Field(ge=0, lt=2**31)]


class RecommenderHeader(BaseModel):
    """The facts of a packed recommender besides its tensors; stored as JSON. Immutable, checked on creation.

    Attributes:
        dataset: name of the data set it was trained on, or of a folder.
        bits, dim: of a code; D.
        level_bits: 16 or 32.
        num_users, num_items, num_layers: sizes; L.
        shared_levels: one set of levels for all nodes.
        item_bias: whether a number per item is added to the scores.
        num_train, num_val: interactions that the graph has, and those kept for validation (seen as well).
        interactions: fingerprint of both.
        graph: fingerprint of the former alone; "" in files of before it was kept.
        stored_interactions: whether the file holds them; otherwise they come from the data set.
        protocol, split_seed, share: how they come from the data set; see `split_interactions`.
        config: the settings of the training run.

    Example:
        >>> sizes = {"num_users": 3, "num_items": 2, "dim": 64, "num_train": 4, "num_val": 0}
        >>> RecommenderHeader(dataset="toy", bits=3, **sizes).layout()["codes_high"]
        (torch.uint8, (5, 8))
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    dataset: str
    bits: Annotated[int, Field(ge=1, le=4)]
    dim: Annotated[int, Field(ge=1, le=4096)]
    level_bits: Literal[16, 32] = 32
    num_users: _Size
    num_items: _Size
    num_layers: Annotated[int, Field(ge=0, le=16)] = 3
    shared_levels: bool = False
    item_bias: bool = False
    num_train: _Size
    num_val: _Count
    interactions: str = ""
    graph: str = ""
    stored_interactions: bool = False
    protocol: Protocol = "lightgcn"
    split_seed: _Count = 0
    share: Annotated[float, Field(gt=0, lt=1)] = 0.1
    config: dict[str, JsonValue] = {}

    @property
    def num_nodes(self) -> int:
        """N, users and items."""
        return self.num_users + self.num_items

    @property
    def planes(self) -> dict[str, int]:
        """Tensors of codes and their bits: three bits are two and one."""
        return {"codes": 2, "codes_high": 1} if self.bits == 3 else {"codes": self.bits}

    def layout(self) -> Layout:
        """Every tensor of the model: name -> (dtype, shape)."""
        tensors: Layout = {
            name: (torch.uint8, (self.num_nodes, row_bytes(self.dim, bits))) for name, bits in self.planes.items()
        }
        level_type = torch.float16 if self.level_bits == 16 else torch.float32
        tensors["levels"] = (level_type, (1 if self.shared_levels else self.num_nodes, 2**self.bits))
        if self.item_bias:
            tensors["item_bias"] = (torch.float32, (self.num_items,))
        if self.stored_interactions:
            for part, count in zip(PARTS, (self.num_train, self.num_val), strict=True):
                tensors[f"{part}_counts"] = (torch.int32, (self.num_users,))
                tensors[f"{part}_items"] = (torch.int32, (count,))
        return tensors

    @property
    def formula_bytes(self) -> float:
        """N (b D + w 2^b) / 8: codes and levels, nothing else."""
        level_rows = 1 if self.shared_levels else self.num_nodes
        return (self.num_nodes * self.bits * self.dim + level_rows * self.level_bits * 2**self.bits) / 8

    @property
    def fp32_bytes(self) -> int:
        """The same table in full precision, with the item bias if there is one."""
        return 4 * (self.num_nodes * self.dim + (self.num_items if self.item_bias else 0))


class StoredTable(LowBitRecommender):
    """A recommender whose table came out of a file.

    Args:
        graph: of the training interactions.
        table: codes and levels.
        bias: a number per item, or None.
        num_layers: L.
    """

    def __init__(self, graph: BipartiteGraph, table: LevelTable, bias: Tensor | None, num_layers: int) -> None:
        super().__init__(graph, num_layers)
        self.register_buffer("codes", table.codes.to(graph.device))
        self.register_buffer("levels", table.levels.to(graph.device))
        self.register_buffer("bias", None if bias is None else bias.to(graph.device))

    def table(self) -> Tensor:
        """X: the levels at the codes."""
        return self.low_bit_table().dequantize()

    def low_bit_table(self) -> LevelTable:
        """Codes and levels."""
        return LevelTable(self.codes, self.levels)

    def item_bias(self) -> Tensor | None:
        """A number per item, or None."""
        return self.bias


@dataclass(frozen=True, eq=False)
class PackedRecommender:
    """A recommender in packed codes; made by `pack_recommender` or `load_recommender`.

    Attributes:
        header: sizes, settings, origin.
        tensors: as `RecommenderHeader.layout` says.

    Raises:
        InputError: a tensor that is missing, left over, of another shape or dtype, not finite; stored interactions
            that are not what the header says.
    """

    header: RecommenderHeader
    tensors: dict[str, Tensor]

    def __post_init__(self) -> None:
        check_tensors(self.tensors, self.header.layout())
        if self.header.stored_interactions and fingerprint(*self.interactions()) != self.header.interactions:
            raise InputError("the stored interactions are not those of the model; their fingerprint is another.")

    def low_bit_table(self) -> LevelTable:
        """Codes, unpacked, and levels as float32."""
        header = self.header
        codes = torch.zeros(header.num_nodes, header.dim, dtype=torch.uint8)
        shift = 0
        for name, bits in header.planes.items():
            codes |= unpack(self.tensors[name], bits, header.dim) << shift
            shift += bits
        return LevelTable(codes, self.tensors["levels"].float())

    def interactions(self) -> tuple[UserItems, UserItems]:
        """The stored interactions: those of the graph, and those kept for validation.

        Raises:
            InputError: none are stored, or they are inconsistent.
        """
        if not self.header.stored_interactions:
            raise InputError("this file holds no interactions; they come from its data set.")
        parts = [self._part(part) for part in PARTS]
        return parts[0], parts[1]

    def model(self, train: UserItems, device: torch.device | str = "cpu") -> StoredTable:
        """The model on its graph.

        Args:
            train: the interactions it was trained on.
            device: where it runs.

        Raises:
            InputError: other interactions.
        """
        self._check_train(train)
        graph = BipartiteGraph(train, device)
        return StoredTable(graph, self.low_bit_table(), self.tensors.get("item_bias"), self.header.num_layers)

    def expected_bytes(self) -> int:
        """Size of the file by formula, metadata included."""
        return file_bytes(_header_text(self.header), self.header.layout())

    def _check_train(self, train: UserItems) -> None:
        header = self.header
        known = (header.num_users, header.num_items, header.num_train)
        given = (train.num_users, train.num_items, len(train))
        if given != known or header.graph not in ("", fingerprint(train)):
            raise InputError(
                f"{given[2]} interactions of {given[0]} users and {given[1]} items given; the {known[2]} of {known[0]} "
                f"users and {known[1]} items that this model was trained on are accepted"
            )

    def _part(self, part: str) -> UserItems:
        header = self.header
        counts, items = (self.tensors[f"{part}_{name}"].numpy() for name in ("counts", "items"))
        if (counts < 0).any() or int(counts.sum(dtype=np.int64)) != len(items):
            raise InputError(f"tensor {part}_counts does not add up to the {len(items)} stored interactions.")
        users = np.repeat(np.arange(header.num_users), counts)
        return UserItems(users, items, header.num_users, header.num_items)


def pack_recommender(
    model: LowBitRecommender,
    split: RatingSplit,
    *,
    level_bits: int = 32,
    with_interactions: bool = False,
    split_seed: int = 0,
    share: float = 0.1,
    config: dict[str, JsonValue] | None = None,
) -> PackedRecommender:
    """Pack a low-bit model.

    Args:
        model: any recommender whose table is codes and levels.
        split: the data it was trained on; its training part is the model's graph.
        level_bits: 32, or 16 for half the levels' bytes, rounded to float16.
        with_interactions: put the interactions into the file (4 bytes each), for use without the data set.
        split_seed, share: what `split_interactions` had.
        config: settings of the training run, to be kept with the model.

    Raises:
        InputError: level_bits other than 16 or 32; a model of another graph; levels beyond what float16 holds.

    Example:
        >>> from gnnq_lib.datasets.interactions import split_interactions
        >>> from gnnq_lib.datasets.interactions_generated import power_law_interactions
        >>> from gnnq_lib.recommendation.baselines import PostTraining
        >>> split = split_interactions(power_law_interactions())
        >>> model = PostTraining(BipartiteGraph(split.train), torch.randn(700, 64))
        >>> packed = pack_recommender(model, split)
        >>> packed.header.fp32_bytes / packed.header.formula_bytes
        8.0
    """
    if level_bits not in (16, 32):
        raise InputError(f"level_bits={level_bits!r} given; 16 or 32 is accepted")
    graph, table, bias = model.graph, model.low_bit_table(), model.item_bias()
    if not graph.is_of(split.train):
        raise InputError("the model's graph is not that of the split's training part; give the split it was trained on")
    header = RecommenderHeader(
        dataset=split.data.name,
        bits=table.bits,
        dim=table.codes.shape[1],
        level_bits=level_bits,
        num_users=graph.num_users,
        num_items=graph.num_items,
        num_layers=model.num_layers,
        shared_levels=table.levels.shape[0] == 1,
        item_bias=bias is not None,
        num_train=len(split.train),
        num_val=len(split.val),
        interactions=fingerprint(split.train, split.val),
        graph=fingerprint(split.train),
        stored_interactions=with_interactions,
        protocol=split.protocol,
        split_seed=split_seed,
        share=share,
        config=config or {},
    )
    tensors: dict[str, Tensor] = {}
    codes, shift = table.codes.cpu(), 0
    for name, bits in header.planes.items():
        tensors[name] = pack(codes >> shift & (1 << bits) - 1, bits)
        shift += bits
    levels = table.levels.detach().cpu()
    tensors["levels"] = (levels.half() if level_bits == 16 else levels.float()).contiguous()
    if bias is not None:
        tensors["item_bias"] = bias.detach().cpu().clone()
    if with_interactions:
        for part, pairs in zip(PARTS, (split.train, split.val), strict=True):
            tensors[f"{part}_counts"] = torch.from_numpy(pairs.counts.astype(np.int32))
            tensors[f"{part}_items"] = torch.from_numpy(pairs.items.astype(np.int32))
    return PackedRecommender(header, tensors)


def save_recommender(packed: PackedRecommender, path: Path | str) -> Path:
    """Write a packed recommender in one step.

    Raises:
        InputError: a config so large that the file would be refused.
    """
    return FORMAT.save(_header_text(packed.header), packed.tensors, path)


def load_recommender(path: Path | str) -> PackedRecommender:
    """Read a packed recommender.

    Raises:
        InputError: no such file, another kind of file, another version, cut short, damaged or inconsistent.
    """
    return FORMAT.read(path, RecommenderHeader, PackedRecommender)


def fingerprint(train: UserItems, *more: UserItems) -> str:
    """Sixteen hexadecimal digits that stand for interactions, as a split's training and validation part.

    Example:
        >>> pairs = UserItems([0], [0], 1, 2)
        >>> fingerprint(pairs, pairs) == fingerprint(pairs, UserItems([0], [1], 1, 2))
        False
    """
    digest = hashlib.sha256(f"{train.num_users} {train.num_items}".encode())
    for part in (train, *more):
        digest.update(f" {len(part)} ".encode() + part.keys.astype("<i8").tobytes())
    return digest.hexdigest()[:16]


def _header_text(header: RecommenderHeader) -> str:
    return header.model_dump_json(exclude_defaults=True)
