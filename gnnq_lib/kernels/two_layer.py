"""Two linear layers on sparse integer features in one call: the part of the packed classifier before propagation.

    h      = relu((X W1) * row_scale * half_step1 + bias1)     X sparse small integers, W1 = 2q - n (odd, symmetric)
    logits = (Q(h) W2) * half_step2 + bias2                    Q: zero-anchored row quantizer, W2 = 2q - n

Both products are sums of whole numbers; the rest is float32, in the order of `torch_two_layer`.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from gnnq_lib.errors import InputError
from gnnq_lib.kernels import native
from gnnq_lib.kernels.checks import check_floats
from gnnq_lib.kernels.csr import CSRGraph
from gnnq_lib.kernels.row_quantizer import RowQuantizer
from gnnq_lib.quantizers.packing import PackedCodes

_BLOCK = 64  # columns of the first layer that the compiled kernel handles at once
_GROUP = 4  # rows that the compiled kernel walks side by side
_WINDOW = 1024  # rows of a result that are written close together and taken by falling number of entries
_MOST_PLANES = 6
_PREPARING = threading.Lock()  # what is made on first use is made once: running kernels hold its addresses
_REPEATS = 1.3  # adding a row this often costs about as much as multiplying it by its code


class IntegerFeatures:
    """Sparse features of small whole numbers times a scale per row: x_ij = code_ij * row_scale_i.

    Args:
        pattern: CSRGraph (N, F), the places that are not zero.
        row_scale: float32 (N,).
        codes: int8 (nnz,), the number at each place; None: all are 1 (bag of words).

    Raises:
        InputError: wrong dtype, length or device.

    Example:
        >>> pattern = CSRGraph(torch.tensor([0, 2, 3]), torch.tensor([0, 2, 1]), num_cols=3)
        >>> IntegerFeatures(pattern, torch.tensor([0.5, 1.0]))
        IntegerFeatures(2 x 3, 3 values)
    """

    def __init__(self, pattern: CSRGraph, row_scale: Tensor, codes: Tensor | None = None) -> None:
        if not isinstance(pattern, CSRGraph):
            raise InputError(f"pattern given as {type(pattern).__name__}; accepted is a CSRGraph (rows x features)")
        pattern.check_unchanged()
        check_floats("row_scale", row_scale, pattern.num_rows, pattern.device)
        if codes is not None and (codes.dtype != torch.int8 or codes.shape != (pattern.num_edges,)):
            raise InputError(
                f"codes given as {codes.dtype} {tuple(codes.shape)}; "
                f"accepted is a torch.int8 vector of {pattern.num_edges}"
            )
        self.pattern, self.row_scale = pattern, row_scale.clone()
        self.codes = None if codes is None else codes.clone()
        self.max_code = 1 if codes is None or not codes.numel() else int(codes.to(torch.int32).abs().max())
        self.layout = self.in_order(torch.arange(pattern.num_rows, device=pattern.device))

    def in_order(self, order: Tensor) -> FeatureLayout:
        """The layout that makes row `order[p]` of the features row p of the result."""
        return FeatureLayout(self, order.long())

    def __repr__(self) -> str:
        return f"IntegerFeatures({self.pattern.num_rows} x {self.pattern.num_cols}, {self.pattern.num_edges} values)"


@dataclass(frozen=True, eq=False)
class GroupedEntries:
    """Entries in groups of four rows side by side, as `gnnq_two_layer_args` describes them.

    Attributes:
        row_ptr: int64 (groups * num_planes + 1,).
        col: uint16 or int32 (4 * row_ptr[-1],).
        order: int32 (N,), the result's row at each position.
        code_sums: int32 (4 * groups,), what the codes of each position add up to.
        codes: int8, one per entry of col, or None: an entry of plane b counts 2**b times.
    """

    row_ptr: Tensor
    col: Tensor
    order: Tensor
    code_sums: Tensor
    codes: Tensor | None
    num_planes: int

    def with_short_indices(self, largest: int) -> GroupedEntries:
        """The same with 16-bit indices where they hold `largest`: indices are much of what the kernel reads."""
        return replace(self, col=self.col.to(torch.uint16)) if largest < 1 << 16 else self


class FeatureLayout:
    """Features as the compiled kernel walks them, made on first use.

    Args:
        features: what is laid out.
        rows: int64 (N,), the features' row for every row of the result.
    """

    def __init__(self, features: IntegerFeatures, rows: Tensor) -> None:
        self._pattern, self._codes, self._rows = features.pattern, features.codes, rows
        self.row_scale, self.max_code = features.row_scale[rows], features.max_code

    @cached_property
    def for_bytes(self) -> GroupedEntries | None:
        """For weights below 8 bits: small counts become entries that stand there several times, or bit planes.

        None where codes are negative or too large for that.
        """
        row, feature, codes = self._entries()
        if codes is None or _repeats_cost_less(codes):
            return self._group(*_repeated(row, feature, codes)).with_short_indices(self._pattern.num_cols)
        if int(codes.min()) < 0 or int(codes.max()) >= 1 << _MOST_PLANES:
            return None
        planes = int(codes.max()).bit_length()
        entry, plane = ((codes[:, None].int() >> torch.arange(planes, device=row.device)) & 1).nonzero(as_tuple=True)
        grouped = self._group(row[entry], feature[entry], None, plane, planes)
        return grouped.with_short_indices(self._pattern.num_cols)

    @cached_property
    def for_halves(self) -> GroupedEntries:
        """For 8-bit weights, or any codes: these stand beside the entries, unless repeating those costs less."""
        row, feature, codes = self._entries()
        if codes is None or _repeats_cost_less(codes):
            return self._group(*_repeated(row, feature, codes))
        return self._group(row, feature, codes)

    def _entries(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """The result's row, the feature and the code of every entry, row by row."""
        degree = self._pattern.degree[self._rows]
        row = torch.arange(len(degree), device=degree.device).repeat_interleave(degree)
        first = self._pattern.row_ptr[self._rows] - (degree.cumsum(0) - degree)
        edges = first[row] + torch.arange(len(row), device=row.device)
        return row, self._pattern.col[edges], None if self._codes is None else self._codes[edges]

    def _group(
        self, row: Tensor, feature: Tensor, codes: Tensor | None = None, plane: Tensor | None = None, planes: int = 1
    ) -> GroupedEntries:
        num_rows = len(self._rows)
        groups = -(-num_rows // _GROUP)
        plane = torch.zeros_like(row) if plane is None else plane
        counts = torch.bincount(row * planes + plane, minlength=num_rows * planes).view(num_rows, planes)
        order = _by_falling_counts(counts)
        position = torch.empty_like(order)
        position[order] = torch.arange(num_rows, device=row.device)
        # A place is a row of a plane of a group; the fullest of the four says how many steps that plane takes.
        place = (position[row] // _GROUP * planes + plane) * _GROUP + position[row] % _GROUP
        place, entry = torch.sort(place, stable=True)
        filled = torch.bincount(place, minlength=groups * planes * _GROUP)
        step = torch.arange(len(place), device=row.device) - (filled.cumsum(0) - filled)[place]
        steps = filled.view(-1, _GROUP).amax(1)
        row_ptr = torch.cat([steps.new_zeros(1), steps.cumsum(0)])
        to = (row_ptr[place // _GROUP] + step) * _GROUP + place % _GROUP

        def spread(values: Tensor, filler: int) -> Tensor:
            return values.new_full((int(row_ptr[-1]) * _GROUP,), filler).scatter_(0, to, values[entry])

        code_sums = row.new_zeros(groups * _GROUP, dtype=torch.int32)
        code_sums[:num_rows] = (counts << torch.arange(planes, device=row.device)).sum(1)[order].int()
        col = spread(feature, self._pattern.num_cols)  # behind the last feature stands a row of zeros
        return GroupedEntries(row_ptr, col, order.int(), code_sums, None if codes is None else spread(codes, 0), planes)


def _repeats_cost_less(codes: Tensor) -> bool:
    return not codes.numel() or (int(codes.min()) >= 0 and int(codes.sum()) <= _REPEATS * codes.numel())


def _repeated(row: Tensor, feature: Tensor, codes: Tensor | None) -> tuple[Tensor, Tensor]:
    """Each entry as often as its code says."""
    times = torch.ones_like(row) if codes is None else codes.long()
    return row.repeat_interleave(times), feature.repeat_interleave(times)


def _by_falling_counts(counts: Tensor) -> Tensor:
    """Order of rows in which neighbours have about as many entries in the first two planes, window by window."""
    if not counts.numel():
        return torch.arange(len(counts), device=counts.device)
    first, second = counts[:, 0], torch.zeros_like(counts[:, 0])
    if counts.shape[1] > 1:
        first, second = first // 3, counts[:, 1]  # rows that differ little in the one are told apart by the other
    window = torch.arange(len(counts), device=counts.device) // _WINDOW
    key = (window * (first.max() + 1) - first) * (second.max() + 1) - second
    return torch.argsort(key, stable=True)


@dataclass(frozen=True, eq=False)
class TwoLayerWeights:
    """Packed weights of both layers. The number at a code q of b bits is (2q - (2^b - 1)) * half_step[column].

    Attributes:
        weight1: (F, H). half_step1, bias1: float32 (H,).
        weight2: (H, C). half_step2, bias2: float32 (C,).
        hidden: the quantizer of the hidden rows, zero-anchored.

    Raises:
        InputError: shapes that do not fit together, or sums that could pass 2**31 - 1.
    """

    weight1: PackedCodes
    half_step1: Tensor
    bias1: Tensor
    weight2: PackedCodes
    half_step2: Tensor
    bias2: Tensor
    hidden: RowQuantizer
    _prepared: dict[str, object] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.weight1.num_values != self.weight2.num_rows:
            raise InputError(
                f"a first layer of {self.weight1.num_values} outputs and a second of {self.weight2.num_rows} inputs "
                "given; the two numbers must be equal"
            )
        device = self.weight1.device
        for name, width in (("1", self.weight1.num_values), ("2", self.weight2.num_values)):
            for kind in ("half_step", "bias"):
                check_floats(kind + name, getattr(self, kind + name), width, device)
        largest = (self.hidden.top_code << self.hidden.max_shift) * ((1 << self.weight2.bits) - 1)
        if largest * self.weight2.num_rows >= 2**31:
            raise InputError(
                f"sums of {self.weight2.num_rows} terms up to {largest} given; they could pass 2**31 - 1: "
                "use fewer bits"
            )

    def wide_weight1(self, halves: bool) -> Tensor:
        """W1 for the kernel, made once: codes q as bytes, or numbers 2q - n as 16-bit halves.

        Halves: of 64 columns the even ones first. A row of zeros follows the last.
        """
        name = "halves" if halves else "bytes"
        if name not in self._prepared:
            wide = self.weight1.codes().to(torch.int16)
            if halves:
                wide = 2 * wide - ((1 << self.weight1.bits) - 1)
            wide = torch.nn.functional.pad(wide, (0, -wide.shape[1] % _BLOCK, 0, 1))
            if halves:
                wide = wide.view(len(wide), -1, _BLOCK // 2, 2).transpose(2, 3)
            self._prepared[name] = wide.to(torch.int16 if halves else torch.uint8).contiguous()
        return self._prepared[name]

    @property
    def quantizer_args(self) -> native.RowQuantizerArgs:
        """The hidden quantizer as the compiled kernel takes it."""
        if "quantizer" not in self._prepared:
            self._prepared["quantizer"] = native.row_quantizer_array([self.hidden])
        return self._prepared["quantizer"][0]


def check_two_layer(features: IntegerFeatures, weights: TwoLayerWeights) -> None:
    if not isinstance(features, IntegerFeatures) or not isinstance(weights, TwoLayerWeights):
        raise InputError(
            f"two_layer got a {type(features).__name__} and a {type(weights).__name__}; "
            "accepted are IntegerFeatures and TwoLayerWeights"
        )
    features.pattern.check_unchanged()
    if features.pattern.num_cols != weights.weight1.num_rows:
        raise InputError(
            f"{features.pattern.num_cols} features given for weights of {weights.weight1.num_rows} inputs; "
            "they must be equal"
        )
    if features.pattern.device != weights.weight1.device:
        raise InputError(
            f"features on {features.pattern.device} and weights on {weights.weight1.device} given; "
            "put both on one device"
        )
    largest = features.max_code * ((1 << weights.weight1.bits) - 1)
    if features.pattern.max_degree * largest >= 2**31:
        raise InputError("sums of the first layer could pass 2**31 - 1; use fewer bits or smaller codes")


def two_layer(features: IntegerFeatures, weights: TwoLayerWeights) -> Tensor:
    """Logits of the two layers, on the compiled kernel where there is one.

    Args:
        features: (N, F).
        weights: F -> H -> C.

    Returns:
        float32 (N, C).

    Raises:
        InputError: types, shapes or devices that do not fit together.
    """
    check_two_layer(features, weights)
    isa = native.path_for(features.pattern.device)
    if isa == native.REFERENCE:
        return _torch_two_layer(features, weights)
    out = weights.bias2.new_empty(features.pattern.num_rows, weights.weight2.num_values)
    native.call("two_layer", isa, two_layer_args(features.layout, weights, out))
    return out


def two_layer_args(layout: FeatureLayout, weights: TwoLayerWeights, out: Tensor | None) -> native.TwoLayerArgs:
    """Checked arguments as the compiled kernel takes them; they hold addresses of the tensors, not the tensors."""
    with _PREPARING:
        entries = layout.for_bytes if weights.weight1.bits < 8 else None
        halves = entries is None
        entries = entries or layout.for_halves
        w1, quantizer = weights.wide_weight1(halves), weights.quantizer_args
    codes = entries.codes
    return native.TwoLayerArgs(
        row_ptr=entries.row_ptr.data_ptr(),
        col=entries.col.data_ptr(),
        order=entries.order.data_ptr(),
        edge_codes=None if codes is None else codes.data_ptr(),
        code_sums=entries.code_sums.data_ptr(),
        row_scale=layout.row_scale.data_ptr(),
        w1=w1.data_ptr(),
        half_step1=weights.half_step1.data_ptr(),
        bias1=weights.bias1.data_ptr(),
        w2_packed=weights.weight2.data.data_ptr(),
        half_step2=weights.half_step2.data_ptr(),
        bias2=weights.bias2.data_ptr(),
        hidden_quantizer=quantizer,
        out=None if out is None else out.data_ptr(),
        num_rows=entries.order.numel(),
        num_edges=entries.col.numel(),
        num_features=weights.weight1.num_rows,
        hidden=weights.weight1.num_values,
        num_values=weights.weight2.num_values,
        w1_bits=weights.weight1.bits,
        w2_bits=weights.weight2.bits,
        hidden_bits=weights.hidden.bits,
        hidden_max_exponent=weights.hidden.max_shift,
        max_edge_code=1 if codes is None else layout.max_code,
        num_planes=entries.num_planes,
        w1_halves=int(halves),
        col_bytes=entries.col.element_size(),
        num_threads=torch.get_num_threads(),
    )


def torch_two_layer(features: IntegerFeatures, weights: TwoLayerWeights) -> Tensor:
    """Readable twin of `two_layer`: same arguments, same result."""
    check_two_layer(features, weights)
    return _torch_two_layer(features, weights)


def _signed(weight: PackedCodes) -> Tensor:
    """The whole numbers 2q - n of packed weights, float64."""
    return 2 * weight.codes().double() - ((1 << weight.bits) - 1)


def _torch_two_layer(features: IntegerFeatures, weights: TwoLayerWeights) -> Tensor:
    pattern = features.pattern
    terms = _signed(weights.weight1)[pattern.col.long()]
    if features.codes is not None:
        terms = terms * features.codes.double()[:, None]
    # Sums of whole numbers as float64: exact below 2**53.
    sums = terms.new_zeros(pattern.num_rows, terms.shape[1]).index_add_(0, pattern.edge_rows, terms)
    hidden = (sums.float() * features.row_scale[:, None]) * weights.half_step1 + weights.bias1
    v = weights.hidden.whole_numbers(hidden.clamp(min=0), zero_anchored=True)
    products = (v.double() @ _signed(weights.weight2)).float()
    return (products * weights.hidden.scale32.to(v.device)) * weights.half_step2 + weights.bias2
