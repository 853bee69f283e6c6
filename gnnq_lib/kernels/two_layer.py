"""Two linear layers on sparse integer features in one call: the part of the packed classifier before propagation.

    h      = relu((X W1) * row_scale * half_step1 + bias1)     X sparse small integers, W1 = 2q - n (odd, symmetric)
    logits = (Q(h) W2) * half_step2 + bias2                    Q: zero-anchored row quantizer, W2 = 2q - n

Both products are sums of whole numbers; the rest is float32, in the order of `torch_two_layer`.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from gnnq_lib.errors import InputError
from gnnq_lib.kernels import native
from gnnq_lib.kernels.checks import check_floats
from gnnq_lib.kernels.csr import CSRGraph, padded_indices
from gnnq_lib.kernels.row_quantizer import RowQuantizer
from gnnq_lib.quantizers.packing import PackedCodes

_BLOCK = 64  # columns of the first layer that the compiled kernel handles at once
_GROUP_ROWS = 256  # rows of a result that are written close together are taken by falling number of entries
_PLANE_STEP = 4
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
        self.layout = FeatureLayout(self, pattern.by_degree_with_edges())

    def in_order(self, order: Tensor) -> FeatureLayout:
        """The layout that makes row `order[p]` of the features row p of the result."""
        pattern = self.pattern
        degree = pattern.degree[order.long()]
        by_length = torch.argsort(
            (torch.arange(len(order)) // _GROUP_ROWS) * (pattern.max_degree + 1) - degree, stable=True
        )
        rows = order.long()[by_length]
        degree = degree[by_length]
        row_ptr = torch.cat([degree.new_zeros(1), degree.cumsum(0)])
        edges = torch.repeat_interleave(pattern.row_ptr[rows] - row_ptr[:-1], degree) + torch.arange(pattern.num_edges)
        col = padded_indices(pattern.col[edges])
        return FeatureLayout(self, (row_ptr, col, by_length.to(torch.int32), edges), self.row_scale[order.long()])

    def __repr__(self) -> str:
        return f"IntegerFeatures({self.pattern.num_rows} x {self.pattern.num_cols}, {self.pattern.num_edges} values)"


class FeatureLayout:
    """Features as the compiled kernel walks them; small counts become entries that stand there several times.

    Args:
        features: what is laid out.
        arrangement: row_ptr and col of the pattern in the order of walking, the result's row for each place, and for
            every entry its number in the pattern.
        row_scale: float32 (N,) by the result's rows; default: as in `features`.
    """

    def __init__(
        self,
        features: IntegerFeatures,
        arrangement: tuple[Tensor, Tensor, Tensor, Tensor],
        row_scale: Tensor | None = None,
    ) -> None:
        self.row_ptr, self.col, self.order, edges = arrangement
        self.row_scale = features.row_scale if row_scale is None else row_scale
        self.codes, self.largest_factor, self.num_features = None, 1, features.pattern.num_cols
        if features.codes is None:
            return
        codes = features.codes[edges]
        if codes.numel() and int(codes.min()) >= 0 and int(codes.sum()) <= _REPEATS * codes.numel():
            times = codes.long()
            ends = torch.cat([times.new_zeros(1), times.cumsum(0)])
            self.row_ptr, self.col = ends[self.row_ptr], padded_indices(self.col.repeat_interleave(times))
        else:
            self.codes, self.largest_factor = codes.contiguous(), features.max_code

    @cached_property
    def bit_planes(self) -> tuple[Tensor, Tensor, int] | None:
        """row_ptr, col and number of planes: an entry stands in plane b of its row if its code has bit b.

        Planes are filled up to multiples of four with a feature behind the last, whose weights are 0: lengths that the
        processor cannot foresee cost more. None where codes are negative, or repeats cost less.
        """
        if self.codes is None or not self.codes.numel() or int(self.codes.min()) < 0:
            return None
        planes = max(self.largest_factor.bit_length(), 1)
        rows = torch.arange(self.row_ptr.numel() - 1).repeat_interleave(self.row_ptr.diff())
        has_bit = (self.codes[:, None].int() >> torch.arange(planes)) & 1
        entry, plane = has_bit.nonzero(as_tuple=True)
        place = rows[entry] * planes + plane
        counts = torch.bincount(place, minlength=(self.row_ptr.numel() - 1) * planes)
        ends, row_ptr = (
            torch.cat([counts.new_zeros(1), size.cumsum(0)]) for size in (counts, counts + -counts % _PLANE_STEP)
        )
        by_place = torch.argsort(place, stable=True)
        to = torch.arange(len(place)) + (row_ptr - ends)[place[by_place]]
        col = self.col.new_full((int(row_ptr[-1]),), self.num_features).scatter_(0, to, self.col[entry][by_place])
        return row_ptr, padded_indices(col), planes


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
        """W1 as numbers 2q - n for the kernel, made once: bytes, or 16-bit halves (of 64 columns the even first).

        A row of zeros follows the last.
        """
        name = "halves" if halves else "bytes"
        if name not in self._prepared:
            signed = 2 * self.weight1.codes().to(torch.int16) - ((1 << self.weight1.bits) - 1)
            wide = torch.nn.functional.pad(signed, (0, -signed.shape[1] % _BLOCK, 0, 1))
            if halves:
                wide = wide.view(len(wide), -1, _BLOCK // 2, 2).transpose(2, 3)
            self._prepared[name] = wide.to(torch.int16 if halves else torch.int8).contiguous()
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
    out = torch.empty(features.pattern.num_rows, weights.weight2.num_values)
    native.call("two_layer", isa, two_layer_args(features.layout, weights, out))
    return out


def two_layer_args(layout: FeatureLayout, weights: TwoLayerWeights, out: Tensor | None) -> native.TwoLayerArgs:
    """Checked arguments as the compiled kernel takes them; they hold addresses of the tensors, not the tensors."""
    row_ptr, col, codes, planes = layout.row_ptr, layout.col, layout.codes, 1
    with _PREPARING:
        if weights.weight1.bits < 8 and layout.bit_planes is not None:
            (row_ptr, col, planes), codes = layout.bit_planes, None
        halves = codes is not None or weights.weight1.bits == 8
        w1, quantizer = weights.wide_weight1(halves), weights.quantizer_args
    return native.TwoLayerArgs(
        row_ptr=row_ptr.data_ptr(),
        col=col.data_ptr(),
        order=layout.order.data_ptr(),
        edge_codes=None if codes is None else codes.data_ptr(),
        row_scale=layout.row_scale.data_ptr(),
        w1=w1.data_ptr(),
        half_step1=weights.half_step1.data_ptr(),
        bias1=weights.bias1.data_ptr(),
        w2_packed=weights.weight2.data.data_ptr(),
        half_step2=weights.half_step2.data_ptr(),
        bias2=weights.bias2.data_ptr(),
        hidden_quantizer=quantizer,
        out=None if out is None else out.data_ptr(),
        num_rows=layout.row_ptr.numel() - 1,
        num_edges=col.numel(),
        num_features=weights.weight1.num_rows,
        hidden=weights.weight1.num_values,
        num_values=weights.weight2.num_values,
        w1_bits=weights.weight1.bits,
        w2_bits=weights.weight2.bits,
        hidden_bits=weights.hidden.bits,
        hidden_max_exponent=weights.hidden.max_shift,
        max_edge_code=1 if codes is None else layout.largest_factor,
        num_planes=planes,
        w1_halves=int(halves),
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
