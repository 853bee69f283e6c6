"""Packing a recommender: sizes, round trips for every number of bits, files refused for their reason."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load, save

from gnnq_lib.datasets.interactions import UserItems, split_interactions
from gnnq_lib.datasets.interactions_generated import power_law_interactions
from gnnq_lib.errors import InputError
from gnnq_lib.recommendation.baselines import LsqTable, PostTraining
from gnnq_lib.recommendation.bipartite import BipartiteGraph
from gnnq_lib.recommendation.gnaq import Gnaq, GnaqAsReleased, GnaqOptions
from gnnq_lib.recommendation.packed import (
    FORMAT,
    RecommenderHeader,
    fingerprint,
    load_recommender,
    pack_recommender,
    save_recommender,
)


def table_of(graph, dim=8, seed=0):
    return torch.randn(graph.num_nodes, dim, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def packed(split, graph):
    return pack_recommender(PostTraining(graph, table_of(graph)), split, with_interactions=True, config={"seed": 3})


@pytest.fixture
def path(packed, tmp_path):
    return save_recommender(packed, tmp_path / "model.safetensors")


@pytest.mark.parametrize("bits", [1, 2, 3, 4])
@pytest.mark.parametrize("dim", [5, 8])
def test_codes_and_levels_come_back(bits, dim, split, graph, tmp_path):
    model = PostTraining(graph, table_of(graph, dim), bits)
    file = save_recommender(pack_recommender(model, split), tmp_path / "m.safetensors")
    loaded = load_recommender(file).low_bit_table()
    assert torch.equal(loaded.codes, model.codes) and torch.equal(loaded.levels, model.levels)
    assert loaded.bits == bits
    assert torch.equal(load_recommender(file).model(split.train)(), model())


def test_three_bits_take_three(split, graph):
    def bytes_of_codes(bits):
        tensors = pack_recommender(PostTraining(graph, table_of(graph), bits), split).tensors
        return sum(tensor.numel() for name, tensor in tensors.items() if name.startswith("codes"))

    assert [bytes_of_codes(bits) for bits in (1, 2, 3, 4)] == [graph.num_nodes * bits for bits in (1, 2, 3, 4)]


@pytest.mark.parametrize(
    ("dim", "level_bits", "times"),
    [(64, 32, 8.0), (128, 32, 10.67), (256, 32, 12.8), (64, 16, 10.67), (128, 16, 12.8), (256, 16, 14.22)],
)
def test_file_is_as_small_as_the_formula_says(dim, level_bits, times, tmp_path):
    data = split_interactions(power_law_interactions(num_users=3000, num_items=2000, per_user=6, held_out=1))
    model = PostTraining(BipartiteGraph(data.train), table_of(BipartiteGraph(data.train), dim), placement="midpoints")
    packed = pack_recommender(model, data, level_bits=level_bits)
    size = save_recommender(packed, tmp_path / "m.safetensors").stat().st_size
    assert packed.header.fp32_bytes / packed.header.formula_bytes == pytest.approx(times, abs=0.005)
    assert packed.header.fp32_bytes / size == pytest.approx(times, rel=0.03)
    assert packed.expected_bytes() == pytest.approx(size, abs=60)


def test_levels_in_16_bits_are_the_rounded_ones(split, graph, tmp_path):
    model = PostTraining(graph, table_of(graph))
    file = save_recommender(pack_recommender(model, split, level_bits=16), tmp_path / "m.safetensors")
    assert torch.equal(load_recommender(file).low_bit_table().levels, model.low_bit_table().with_half_levels().levels)


@pytest.mark.parametrize(
    "make",
    [
        lambda graph, table: Gnaq(graph, table, GnaqOptions(refine_steps=2, linear_head=True, tanh=True)),
        lambda graph, table: GnaqAsReleased(graph, table, num_layers=2),
        lambda graph, table: LsqTable(graph, table),
        lambda graph, table: PostTraining(graph, table, per_node=False, num_layers=0),
    ],
    ids=["gnaq with head", "as released", "lsq", "one set of levels"],
)
def test_every_kind_of_model_scores_the_same_from_its_file(make, split, graph, tmp_path):
    model = make(graph, table_of(graph)).eval()
    loaded = load_recommender(save_recommender(pack_recommender(model, split), tmp_path / "m.safetensors"))
    with torch.no_grad():
        for mine, theirs in zip(loaded.model(split.train).score_tables(), model.score_tables(), strict=True):
            assert torch.equal(mine, theirs)


def test_interactions_come_back(packed, path, split):
    train, val = load_recommender(path).interactions()
    assert (train.keys == split.train.keys).all() and (val.keys == split.val.keys).all()
    assert packed.header.interactions == fingerprint(split.train, split.val)


def test_without_a_validation_part(split, tmp_path):
    whole = split.with_validation_in_training()
    graph = BipartiteGraph(whole.train)
    made = pack_recommender(PostTraining(graph, table_of(graph)), whole, with_interactions=True)
    train, val = load_recommender(save_recommender(made, tmp_path / "m.safetensors")).interactions()
    assert len(train) == len(whole.train) and len(val) == 0


def test_a_file_without_interactions_says_so(split, graph):
    with pytest.raises(InputError, match="holds no interactions"):
        pack_recommender(PostTraining(graph, table_of(graph)), split).interactions()


@pytest.mark.parametrize("stored", [True, False])
def test_a_model_is_made_on_its_own_interactions_only(stored, split, graph):
    made = pack_recommender(PostTraining(graph, table_of(graph)), split, with_interactions=stored)
    other = split_interactions(split.data, seed=1).train
    assert len(other) == len(split.train)
    for given in (other, split.val, UserItems([0], [0], 5, 4)):
        with pytest.raises(InputError, match=f"{len(given)} interactions of .* given; the {len(other)} of 60 users"):
            made.model(given)
    assert torch.equal(made.model(split.train).codes, made.low_bit_table().codes)


def test_a_file_of_before_the_graph_was_told_is_read(split, path):
    forge(path, graph="")
    packed = load_recommender(path)
    assert packed.model(split.train).graph.is_of(split.train)
    with pytest.raises(InputError, match="interactions of 60 users and 50 items given"):
        packed.model(split.val)


def test_config_is_kept(path):
    assert load_recommender(path).header.config == {"seed": 3}


def test_what_cannot_be_packed(split, graph):
    model = PostTraining(graph, table_of(graph))
    with pytest.raises(InputError, match="level_bits=8 given; 16 or 32"):
        pack_recommender(model, split, level_bits=8)
    with pytest.raises(InputError, match="not that of the split's training part"):
        pack_recommender(model, split.with_validation_in_training())
    other = split_interactions(split.data, seed=1)
    assert len(other.train) == len(split.train)  # as many interactions, others
    with pytest.raises(InputError, match="not that of the split's training part"):
        pack_recommender(model, other)
    with pytest.raises(InputError, match="levels holds NaN or infinity"):
        pack_recommender(PostTraining(graph, 1e5 * table_of(graph)), split, level_bits=16)


# Refused files; the container's own checks are tested in tests/deployment/test_file_format.py.


def forge(path, change=None, **header):
    """Rewrite the file with other contents and a checksum that fits them."""
    data = path.read_bytes()
    known = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
    tensors = load(data)
    if change is not None:
        change(tensors)
    known["header"] = json.dumps({**json.loads(known["header"]), **header})
    known["sha256"] = FORMAT.digest(known["header"], tensors)
    path.write_bytes(save(tensors, known))


def test_a_forged_copy_without_change_is_accepted(path):
    forge(path)
    assert load_recommender(path).header.bits == 2


@pytest.mark.parametrize(
    ("change", "header", "reason"),
    [
        (lambda t: t.pop("levels"), {}, "tensor levels is missing"),
        (lambda t: t.update(extra=torch.ones(1)), {}, "tensor extra is not one of this model's"),
        (lambda t: t.update(levels=torch.zeros(110, 3)), {}, r"levels is torch.float32 \(110, 3\)"),
        (lambda t: t["levels"].fill_(float("nan")), {}, "levels holds NaN"),
        (lambda t: t["train_items"].fill_(50), {}, "item id 50 given; ids from 0 to 49"),
        (lambda t: t["train_items"].fill_(-1), {}, "item id -1 given"),
        (lambda t: t["train_counts"].add_(1), {}, "train_counts does not add up"),
        (lambda t: t["train_items"].zero_(), {}, "interactions are not those of the model"),
        (None, {"bits": 5}, "header's bits is not acceptable"),
        (None, {"dim": 0}, "header's dim is not acceptable"),
        (None, {"num_layers": 17}, "header's num_layers is not acceptable"),
        (None, {"more": 1}, "header's more is not acceptable"),
        (None, {"dim": 4096}, "codes is torch.uint8"),
    ],
    ids=["missing", "left over", "shape", "NaN", "unknown item", "negative item", "counts", "interactions", "bits",
         "dim", "layers", "field", "other size"],
)  # fmt: skip
def test_contents_that_do_not_fit(change, header, reason, path):
    forge(path, change, **header)
    with pytest.raises(InputError, match=f"cannot be used: .*{reason}") as caught:
        load_recommender(path)
    assert "\n" not in str(caught.value) and str(caught.value).count(". ") == 0


def test_damaged_short_and_foreign_files(path, tmp_path):
    good = path.read_bytes()
    for data, reason in (
        (good[:-9] + bytes([good[-9] ^ 1]) + good[-8:], "SHA-256"),
        (good[: len(good) // 2], "damaged or cut short"),
        (b"text", "not a packed recommender; give a file that `gnnq train-recommender --out` wrote"),
        (save({"x": torch.ones(2)}, {"format": "gnnq-packed-classifier"}), "not a packed recommender"),
    ):
        path.write_bytes(data)
        with pytest.raises(InputError, match=reason):
            load_recommender(path)
    with pytest.raises(InputError, match="is not a file"):
        load_recommender(tmp_path / "nothing")


def test_fingerprint_tells_parts_and_sizes_apart():
    one, two = UserItems([0], [0], 2, 2), UserItems([0], [0], 2, 3)
    none = one.select(one.items > 5)
    assert len({fingerprint(one, none), fingerprint(none, one), fingerprint(two, none)}) == 3


def test_layout_names_every_tensor():
    sizes = {"num_users": 3, "num_items": 2, "dim": 9, "num_train": 4, "num_val": 0}
    header = RecommenderHeader(dataset="toy", bits=3, level_bits=16, item_bias=True, stored_interactions=True, **sizes)
    assert header.layout() == {
        "codes": (torch.uint8, (5, 3)),
        "codes_high": (torch.uint8, (5, 2)),
        "levels": (torch.float16, (5, 8)),
        "item_bias": (torch.float32, (2,)),
        "train_counts": (torch.int32, (3,)),
        "train_items": (torch.int32, (4,)),
        "val_counts": (torch.int32, (3,)),
        "val_items": (torch.int32, (0,)),
    }
