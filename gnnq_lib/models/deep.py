"""Baselines for depth: GCN, GCN with PairNorm or DropEdge, SGC, GCNII, DAGNN; full precision or low bits (simulated).

The layers are torch_geometric's where it has them. Two things differ from its examples, for speed on a CPU, and change
no number: the first linear map runs on sparse features, and a layer propagates with one symmetric CSR matrix, which
also serves the backward pass (torch_geometric's own paths gather along an edge list or build a transpose).

Every tensor that paper A's stages name passes a `Stage` (see `models.stages`): in low bits, inputs, weights, what a
layer holds (features; in GCNII also updates), messages, their sums and the class scores are quantized. Biases,
normalisation (PairNorm), the value of DAGNN's gate and linear combinations are not, as in the decoupled models.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.nn import GCN2Conv, GCNConv, PairNorm

from gnnq_lib.errors import InputError
from gnnq_lib.models.dropout import dropout
from gnnq_lib.models.features import FeatureMatrix
from gnnq_lib.models.methods import MethodOptions, Values
from gnnq_lib.models.stages import Linear, SparseLinear, Spread, Stage, StagedModel
from gnnq_lib.naming import nearest
from gnnq_lib.propagation import GraphOperator, Trajectory

# Settings: fact sheet "baselines", section 4; SGC's and what no sheet gives (epochs, DropEdge's rate) are ours.
_COMMON = {"hidden": 64, "epochs": 200, "lr": 0.01, "dropout": 0.5, "weight_decay": 5e-4, "second_weight_decay": 0.0,
           "schedule": "constant"}  # fmt: skip
_GCNII = {"epochs": 500, "dropout": 0.6, "weight_decay": 5e-4, "second_weight_decay": 0.01}
_DAGNN = {"dropout": 0.8, "weight_decay": 5e-3, "second_weight_decay": 5e-3}
_SGC = {"lr": 0.2, "dropout": 0.0, "weight_decay": 1e-5}

RECIPES: dict[str, dict[str, dict[str, Any]]] = {
    "gcn": {"": _COMMON},
    "pairnorm": {"": _COMMON},
    "dropedge": {"": _COMMON},
    "sgc": {"": _COMMON | _SGC},
    "gcnii": {"": _COMMON | _GCNII, "citeseer": {"dropout": 0.7, "hidden": 256}, "pubmed": {"hidden": 256}},
    "dagnn": {
        "": _COMMON | _DAGNN,
        "citeseer": {"dropout": 0.5, "weight_decay": 0.02, "second_weight_decay": 0.02},
        "cs": {"weight_decay": 0.0, "second_weight_decay": 0.0},
        "physics": {"weight_decay": 0.0, "second_weight_decay": 0.0},
    },
}
"""Model -> data set ("" for all) -> training settings; `deep_recipe` reads it."""

DEEP_MODELS: tuple[str, ...] = tuple(RECIPES)

GCNII_ALPHA, GCNII_LAMBDA = 0.1, 0.5
DROPPED_EDGES = 0.5


def deep_recipe(name: str, dataset: str) -> dict[str, Any]:
    """Settings of a baseline on a data set, under the names of the experiment's config.

    Example:
        >>> deep_recipe("gcnii", "citeseer")["dropout"], deep_recipe("gcnii", "cora")["dropout"]
        (0.7, 0.6)
    """
    return RECIPES[name][""] | RECIPES[name].get(dataset, {})


def make_deep_model(
    name: str,
    in_channels: int,
    num_classes: int,
    num_layers: int,
    hidden: int,
    dropout: float,
    rules: MethodOptions | None = None,
) -> StagedModel:
    """A fresh baseline, called as model(features, operator, trajectory) -> logits (|V|, C).

    Args:
        name: one of `DEEP_MODELS`.
        in_channels, num_classes: F, C.
        num_layers: graph layers (gcn, pairnorm, dropedge, gcnii) or propagation steps (sgc, dagnn), from 1.
        hidden: width of hidden layers; sgc has none.
        dropout: rate in [0, 1) on the input and the hidden layers.
        rules: quantizers of the low-bit form; None for full precision.

    Raises:
        InputError: unknown name or fewer than one layer.

    Example:
        >>> pair = GraphOperator(torch.tensor([[0, 1], [1, 0]]), 2)
        >>> make_deep_model("gcn", 3, 2, 4, 8, 0.5)(FeatureMatrix(torch.eye(2, 3)), pair).shape
        torch.Size([2, 2])
    """
    makers: dict[str, Callable[[], StagedModel]] = {
        "gcn": lambda: Gcn(in_channels, num_classes, num_layers, hidden, dropout),
        "pairnorm": lambda: Gcn(in_channels, num_classes, num_layers, hidden, dropout, pair_norm=True),
        "dropedge": lambda: Gcn(in_channels, num_classes, num_layers, hidden, dropout, dropped_edges=DROPPED_EDGES),
        "sgc": lambda: Sgc(in_channels, num_classes, num_layers, dropout),
        "gcnii": lambda: Gcnii(in_channels, num_classes, num_layers, hidden, dropout),
        "dagnn": lambda: Dagnn(in_channels, num_classes, num_layers, hidden, dropout),
    }
    if name not in makers:
        raise InputError(f"model {name!r} is unknown{nearest(name, makers)}; {', '.join(makers)} are accepted.")
    if num_layers < 1:
        raise InputError(f"num_layers={num_layers} was given; {name} takes 1 or more.")
    model = makers[name]()
    if rules is not None:
        model.quantize(rules)
    return model


def _spread(self: nn.Module, edge_index: GraphOperator, x: Tensor, edge_weight: None = None) -> Tensor:
    """A_hat x: stands in for `MessagePassing.propagate` in layers whose messages are w_ij x_j, added up."""
    return self.spread(x, edge_index)


class _GraphConv(GCNConv):
    """A_hat (X W) + b, as torch_geometric has it; in low bits (A_hat X) W + b where X is 0 or more, after a relu, since
    X W is of either sign and 2-bit codes for it cost a GCN of 8 layers on Cora ten points at each of two stages.

    Args:
        in_channels, out_channels: widths of X and of the result.
        dropout: rate on X.
        values: what X W holds in the first layer, whose X is sparse; None in the others.
    """

    propagate = _spread

    def __init__(self, in_channels: int, out_channels: int, dropout: float, values: Values | None) -> None:
        super().__init__(in_channels, out_channels, normalize=False)
        self.spread_first = values is None
        self.dropout = dropout
        self.lin = Linear(self.lin) if self.spread_first else self.lin
        self.spread = Spread(in_channels, Values.NON_NEGATIVE) if self.spread_first else Spread(out_channels, values)

    def forward(self, x: Tensor | FeatureMatrix, edge_index: GraphOperator) -> Tensor:
        """(|V|, in) -> (|V|, out)."""
        if not self.spread_first:
            return super().forward(x, edge_index)
        if not self.spread.low_bit:
            return super().forward(dropout(x, self.dropout, self.training), edge_index)
        return self.lin(self.spread(x, edge_index, self.dropout)) + self.bias


class _InitialResidualConv(GCN2Conv):
    propagate = _spread

    def __init__(self, hidden: int, layer: int, dropout: float) -> None:
        super().__init__(hidden, GCNII_ALPHA, GCNII_LAMBDA, layer, normalize=False)
        self.spread = Spread(hidden, Values.NON_NEGATIVE)
        self.dropout = dropout
        self.updates = Stage("updates", hidden, Values.NON_NEGATIVE)
        self.weights = Stage("weights", hidden, rows=hidden)

    def forward(self, x: Tensor, x_0: Tensor, edge_index: GraphOperator) -> Tensor:
        """torch_geometric's, with the mixture and the weights quantized."""
        spread = self.spread(x, edge_index, self.dropout)
        mixed = self.updates((1 - self.alpha) * spread + self.alpha * x_0).dequantize()
        weight = self.weights(self.weight1).dequantize()
        return torch.addmm(mixed, mixed, weight, beta=1.0 - self.beta, alpha=self.beta)


class Gcn(StagedModel):
    """GCN (arXiv 1609.02907): H' = relu(A_hat H W + b) per layer, dropout before each; no relu after the last.

    In low bits the first layer's messages are X W, of either sign; from the second layer on they are H, from 0.

    Args:
        in_channels, num_classes, num_layers, hidden, dropout: see `make_deep_model`.
        pair_norm: centre and rescale each node's row before the relu (PairNorm-SI, arXiv 1909.12223).
        dropped_edges: share of edges left out, anew in every training step (DropEdge, arXiv 1907.10903).

    Example:
        >>> [tuple(conv.lin.weight.shape) for conv in Gcn(5, 3, 2, 4, 0.5).convs]
        [(5, 4), (3, 4)]
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        num_layers: int,
        hidden: int,
        dropout: float,
        pair_norm: bool = False,
        dropped_edges: float = 0.0,
    ) -> None:
        super().__init__()
        self.dropped_edges = dropped_edges
        widths = [in_channels] + [hidden] * (num_layers - 1) + [num_classes]
        first = Values.SCORES if num_layers == 1 else Values.SIGNED
        values = [first] + [None] * (num_layers - 1)
        pairs = zip(pairwise(widths), values, strict=True)
        self.convs = nn.ModuleList(_GraphConv(i, o, dropout, v) for (i, o), v in pairs)
        self.convs[0].lin = SparseLinear(in_channels, widths[1], dropout, bias=False)
        self.norm = PairNorm(scale_individually=True) if pair_norm else nn.Identity()
        self.states = nn.ModuleList(Stage("features", hidden, Values.NON_NEGATIVE) for _ in range(num_layers - 1))
        self.embeddings = Stage("embeddings", num_classes, Values.SCORES)

    def second_parameters(self) -> Iterator[nn.Parameter]:
        """All but the first layer's: they take the second weight decay."""
        return _without_quantizers(self.convs[1:])

    def forward(self, features: FeatureMatrix, operator: GraphOperator, trajectory: Trajectory | None = None) -> Tensor:
        """Logits (|V|, C)."""
        if self.training and self.dropped_edges:
            operator = operator.without_edges(self.dropped_edges)
        x = self.convs[0](features, operator)
        for conv, state in zip(self.convs[1:], self.states, strict=True):
            x = state(torch.relu(self.norm(x))).dequantize()
            _keep(x, trajectory)
            x = conv(x, operator)
        x = self.embeddings(x).dequantize()
        return _keep(x, trajectory)


class Sgc(StagedModel):
    """SGC (arXiv 1902.07153): A_hat^K X W + b, evaluated as A_hat^K (X W) + b: the same product, C columns wide.

    Example:
        >>> len(Sgc(5, 3, 2, 0.0).hops)
        2
    """

    def __init__(self, in_channels: int, num_classes: int, num_layers: int, dropout: float) -> None:
        super().__init__()
        self.linear = SparseLinear(in_channels, num_classes, dropout, bias=False)
        self.state = Stage("features", num_classes, Values.SCORES)
        self.hops = nn.ModuleList(Spread(num_classes, Values.SCORES) for _ in range(num_layers))
        self.bias = nn.Parameter(torch.zeros(num_classes, dtype=torch.float32))
        self.embeddings = Stage("embeddings", num_classes, Values.SCORES)

    def forward(self, features: FeatureMatrix, operator: GraphOperator, trajectory: Trajectory | None = None) -> Tensor:
        """Logits (|V|, C)."""
        x = _keep(self.state(self.linear(features)).dequantize(), trajectory)
        for hop in self.hops:
            x = _keep(hop(x, operator), trajectory)
        return self.embeddings(x + self.bias).dequantize()


class Gcnii(StagedModel):
    """GCNII (arXiv 2007.02133, eq. 5): initial residual alpha and identity mapping beta_l = log(lambda / l + 1).

        H' = relu( ((1 - alpha) A_hat H + alpha H_0) ((1 - beta_l) I + beta_l W) ),   H_0 = relu(X W_in + b)

    In low bits all up to the product with the weights is 0 or more; the mixture in brackets is the stage "updates".

    Example:
        >>> len(Gcnii(5, 3, 64, 8, 0.6).convs)
        64
    """

    def __init__(self, in_channels: int, num_classes: int, num_layers: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.first = SparseLinear(in_channels, hidden, dropout)
        self.convs = nn.ModuleList(_InitialResidualConv(hidden, layer, dropout) for layer in range(1, num_layers + 1))
        self.last = Linear(nn.Linear(hidden, num_classes))
        self.states = nn.ModuleList(Stage("features", hidden, Values.NON_NEGATIVE) for _ in range(num_layers + 1))
        self.embeddings = Stage("embeddings", num_classes, Values.SCORES)

    def second_parameters(self) -> Iterator[nn.Parameter]:
        """The graph layers': they take the second weight decay."""
        return _without_quantizers(self.convs)

    def forward(self, features: FeatureMatrix, operator: GraphOperator, trajectory: Trajectory | None = None) -> Tensor:
        """Logits (|V|, C)."""
        x = first = _keep(self.states[0](torch.relu(self.first(features))).dequantize(), trajectory)
        for conv, state in zip(self.convs, self.states[1:], strict=True):
            x = _keep(state(torch.relu(conv(x, first, operator))).dequantize(), trajectory)
        return self.embeddings(self.last(dropout(x, self.dropout, self.training))).dequantize()


class Dagnn(StagedModel):
    """DAGNN (arXiv 2007.09296, eq. 8): sum over hops k = 0 .. K of sigmoid(A_hat^k Z s) A_hat^k Z, Z a two-layer MLP.

    In low bits every hop holds class scores; where they are kept up to a shift of the row (`node_pow2`), the gate reads
    them so, too. With a grid for either sign INT2 at K = 10 on Cora had eight points less (76 % and 84 %, one seed).

    Example:
        >>> tuple(Dagnn(5, 3, 10, 8, 0.8).gate.weight.shape)
        (1, 3)
    """

    def __init__(self, in_channels: int, num_classes: int, num_layers: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.first = SparseLinear(in_channels, hidden, dropout)
        self.second = Linear(nn.Linear(hidden, num_classes))
        self.gate = Linear(nn.Linear(num_classes, 1))
        self.hidden = Stage("features", hidden, Values.NON_NEGATIVE)
        self.state = Stage("features", num_classes, Values.SCORES)
        self.hops = nn.ModuleList(Spread(num_classes, Values.SCORES) for _ in range(num_layers))
        self.embeddings = Stage("embeddings", num_classes, Values.SCORES)

    def forward(self, features: FeatureMatrix, operator: GraphOperator, trajectory: Trajectory | None = None) -> Tensor:
        """Logits (|V|, C)."""
        hidden = self.hidden(torch.relu(self.first(features))).dequantize()
        hop = _keep(self.state(self.second(dropout(hidden, self.dropout, self.training))).dequantize(), trajectory)
        total = torch.sigmoid(self.gate(hop)) * hop
        for spread in self.hops:
            hop = _keep(spread(hop, operator), trajectory)
            total = total + torch.sigmoid(self.gate(hop)) * hop
        return self.embeddings(total).dequantize()


def _keep(x: Tensor, trajectory: Trajectory | None) -> Tensor:
    """Note down what a layer holds, if asked to, and hand it on."""
    if trajectory is not None:
        trajectory.embeddings.append(x.detach())
    return x


def _without_quantizers(layers: nn.Module) -> Iterator[nn.Parameter]:
    """Weights and biases of layers, without the scales of their stages."""
    scales = {id(p) for module in layers.modules() if isinstance(module, Stage) for p in module.parameters()}
    return (p for p in layers.parameters() if id(p) not in scales)
