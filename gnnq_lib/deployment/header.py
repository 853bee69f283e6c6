"""What a packed model says about itself, and which tensors follow from it."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from gnnq_lib.errors import InputError
from gnnq_lib.propagation import Appnp, Scheme, Smp
from gnnq_lib.quantizers.packing import row_bytes

_Size = Annotated[int, Field(ge=1, lt=2**31)]
_MAX_SHIFT = 7

SCHEMES: dict[str, type[Scheme]] = {"smp": Smp, "appnp": Appnp}


class PackedHeader(BaseModel):
    """The facts of a packed classifier besides its tensors; stored as JSON. Immutable, checked on creation.

    Attributes:
        dataset: name of the data set it was trained on.
        bits: width of all codes.
        num_features, hidden, num_classes, num_layers: F, H, C, K.
        class_names: names of the classes in their order, where the training data had names; else empty.
        feature_kind: what input features must be; see `FeatureKind`.
        scheme, scheme_settings: propagation and its settings (`Smp` or `Appnp`).
        exponent_bits, stride, ratio: of the quantizers of the propagation (`NodePowerOfTwo`).
        hidden_exponent_bits, hidden_ratio: of the hidden layer's quantizer.
        trained_graph: fingerprint of the graph that the stored multipliers belong to.
        config: the settings of the training run.

    Example:
        >>> sizes = {"num_features": 4, "hidden": 2, "num_classes": 3, "num_layers": 1}
        >>> header = PackedHeader(dataset="toy", bits=2, feature_kind="binary", scheme="smp", exponent_bits=1, **sizes)
        >>> header.layout()["weight1"]
        (torch.uint8, (4, 1))
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    dataset: str
    bits: Literal[1, 2, 4, 8]
    num_features: _Size
    hidden: _Size
    num_classes: _Size
    num_layers: Annotated[int, Field(ge=0, le=4096)]
    feature_kind: Literal["binary", "graded", "signed"]
    scheme: Literal["smp", "appnp"]
    scheme_settings: dict[str, float | bool] = {}
    exponent_bits: Annotated[int, Field(ge=0, le=3)]
    stride: Literal[1, 2, 4] = 1
    ratio: Annotated[float, Field(gt=0, le=1)] = 0.6
    hidden_exponent_bits: Annotated[int, Field(ge=0, le=3)] = 3
    hidden_ratio: Annotated[float, Field(gt=0, le=1)] = 0.8
    class_names: list[str] = []
    trained_graph: str = ""
    config: dict[str, JsonValue] = {}

    @model_validator(mode="after")
    def _fits_the_kernels(self) -> PackedHeader:
        if self.stride * (2**self.exponent_bits - 1) > _MAX_SHIFT:
            raise ValueError(f"rows are shifted by {_MAX_SHIFT} bits at most; take fewer exponents or stride 1")
        try:
            self.make_scheme()
        except (TypeError, InputError) as error:
            reason = str(error).partition(". ")[0]  # from Python 3.13 on a suggestion follows as a second sentence
            raise ValueError(f"the settings of {self.scheme} are not its own ({reason})") from None
        return self

    def make_scheme(self) -> Scheme:
        """The propagation scheme."""
        return SCHEMES[self.scheme](**self.scheme_settings)

    @property
    def has_multipliers(self) -> bool:
        """Whether SMP's correction is part of the model."""
        scheme = self.make_scheme()
        return isinstance(scheme, Smp) and scheme.use_multiplier

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages of the propagation that have a scale per layer."""
        gaps = ("gap_messages", "gap_aggregates") if self.has_multipliers else ()
        return ("aggregates", "updates", *gaps)

    def layout(self) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
        """Every tensor of the model: name -> (dtype, shape).

        weight1, weight2: packed codes. columns1, columns2: half steps, then biases. scales: hidden, propagation's
        input, then K for each of `stages`. multipliers: SMP's lambda of each layer. column_scale: of graded features.
        """
        f, h, c, k = self.num_features, self.hidden, self.num_classes, self.num_layers
        tensors: dict[str, tuple[torch.dtype, tuple[int, ...]]] = {
            "weight1": (torch.uint8, (f, row_bytes(h, self.bits))),
            "weight2": (torch.uint8, (h, row_bytes(c, self.bits))),
            "columns1": (torch.float32, (2, h)),
            "columns2": (torch.float32, (2, c)),
            "scales": (torch.float32, (2 + k * len(self.stages),)),
        }
        if self.has_multipliers:
            tensors["multipliers"] = (torch.float32, (k,))
        if self.feature_kind != "binary":
            tensors["column_scale"] = (torch.float32, (f,))
        return tensors
