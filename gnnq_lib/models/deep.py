"""Baselines for depth, in full precision: GCN, GCN with PairNorm or DropEdge, SGC, GCNII, DAGNN.

The layers are torch_geometric's where it has them. Two things differ from its examples, for speed on a CPU, and change
no number: the first linear map runs on sparse features, and a layer propagates with one symmetric CSR matrix, which
also serves the backward pass (torch_geometric's own paths gather along an edge list or build a transpose).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.nn import GCN2Conv, GCNConv, PairNorm, SGConv

from gnnq_lib.errors import InputError
from gnnq_lib.models.dropout import dropout
from gnnq_lib.models.features import FeatureMatrix
from gnnq_lib.naming import nearest
from gnnq_lib.propagation import GraphOperator

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
    name: str, in_channels: int, num_classes: int, num_layers: int, hidden: int, dropout: float
) -> nn.Module:
    """A fresh baseline, called as model(features, operator) -> logits (|V|, C).

    Args:
        name: one of `DEEP_MODELS`.
        in_channels, num_classes: F, C.
        num_layers: graph layers (gcn, pairnorm, dropedge, gcnii) or propagation steps (sgc, dagnn), from 1.
        hidden: width of hidden layers; sgc has none.
        dropout: rate in [0, 1) on the input and the hidden layers.

    Raises:
        InputError: unknown name or fewer than one layer.

    Example:
        >>> pair = GraphOperator(torch.tensor([[0, 1], [1, 0]]), 2)
        >>> make_deep_model("gcn", 3, 2, 4, 8, 0.5)(FeatureMatrix(torch.eye(2, 3)), pair).shape
        torch.Size([2, 2])
    """
    makers: dict[str, Callable[[], nn.Module]] = {
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
    return makers[name]()


class SparseLinear(nn.Module):
    """X W + b on sparse features, with dropout on the stored values.

    Args:
        in_channels, out_channels: F and the width of the result.
        dropout: rate in training.
        bias: whether b is added.

    Example:
        >>> SparseLinear(3, 2, 0.5)(FeatureMatrix(torch.eye(2, 3))).shape
        torch.Size([2, 2])
    """

    def __init__(self, in_channels: int, out_channels: int, dropout: float, bias: bool = True) -> None:
        super().__init__()
        self.dropout = dropout
        self.weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(in_channels, out_channels)))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None

    def forward(self, features: FeatureMatrix) -> Tensor:
        """(|V|, F) sparse -> (|V|, out_channels)."""
        product = features.product(self.weight, dropout(features.values, self.dropout, self.training))
        return product if self.bias is None else product + self.bias


def _spread(self: nn.Module, edge_index: GraphOperator, x: Tensor, edge_weight: None = None) -> Tensor:
    """A_hat x: stands in for `MessagePassing.propagate` in layers whose messages are w_ij x_j, added up."""
    return edge_index.normalised(x)


class _GraphConv(GCNConv):
    propagate = _spread


class _SimpleConv(SGConv):
    propagate = _spread


class _InitialResidualConv(GCN2Conv):
    propagate = _spread


class Gcn(nn.Module):
    """GCN (arXiv 1609.02907): H' = relu(A_hat H W + b) per layer, dropout before each; no relu after the last.

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
        self.dropout, self.dropped_edges = dropout, dropped_edges
        widths = [in_channels] + [hidden] * (num_layers - 1) + [num_classes]
        self.convs = nn.ModuleList(_GraphConv(i, o, normalize=False) for i, o in pairwise(widths))
        self.convs[0].lin = SparseLinear(in_channels, widths[1], dropout, bias=False)
        self.norm = PairNorm(scale_individually=True) if pair_norm else nn.Identity()

    def second_parameters(self) -> Iterator[nn.Parameter]:
        """All but the first layer's: they take the second weight decay."""
        return self.convs[1:].parameters()

    def forward(self, features: FeatureMatrix, operator: GraphOperator) -> Tensor:
        """Logits (|V|, C)."""
        if self.training and self.dropped_edges:
            operator = operator.without_edges(self.dropped_edges)
        x = self.convs[0](features, operator)
        for conv in self.convs[1:]:
            x = conv(dropout(torch.relu(self.norm(x)), self.dropout, self.training), operator)
        return x


class Sgc(nn.Module):
    """SGC (arXiv 1902.07153): A_hat^K X W + b, evaluated as A_hat^K (X W) + b: the same product, C columns wide.

    Example:
        >>> Sgc(5, 3, 2, 0.0).spread.K
        2
    """

    def __init__(self, in_channels: int, num_classes: int, num_layers: int, dropout: float) -> None:
        super().__init__()
        self.linear = SparseLinear(in_channels, num_classes, dropout, bias=False)
        self.spread = _SimpleConv(num_classes, num_classes, K=num_layers)
        self.spread.lin = nn.Identity()  # the linear map has come first
        self.bias = nn.Parameter(torch.zeros(num_classes))

    def forward(self, features: FeatureMatrix, operator: GraphOperator) -> Tensor:
        """Logits (|V|, C)."""
        return self.spread(self.linear(features), operator) + self.bias


class Gcnii(nn.Module):
    """GCNII (arXiv 2007.02133, eq. 5): initial residual alpha and identity mapping beta_l = log(lambda / l + 1).

        H' = relu( ((1 - alpha) A_hat H + alpha H_0) ((1 - beta_l) I + beta_l W) ),   H_0 = relu(X W_in + b)

    Example:
        >>> len(Gcnii(5, 3, 64, 8, 0.6).convs)
        64
    """

    def __init__(self, in_channels: int, num_classes: int, num_layers: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.first = SparseLinear(in_channels, hidden, dropout)
        self.convs = nn.ModuleList(
            _InitialResidualConv(hidden, GCNII_ALPHA, GCNII_LAMBDA, layer, normalize=False)
            for layer in range(1, num_layers + 1)
        )
        self.last = nn.Linear(hidden, num_classes)

    def second_parameters(self) -> Iterator[nn.Parameter]:
        """The graph layers': they take the second weight decay."""
        return self.convs.parameters()

    def forward(self, features: FeatureMatrix, operator: GraphOperator) -> Tensor:
        """Logits (|V|, C)."""
        x = first = torch.relu(self.first(features))
        for conv in self.convs:
            x = torch.relu(conv(dropout(x, self.dropout, self.training), first, operator))
        return self.last(dropout(x, self.dropout, self.training))


class Dagnn(nn.Module):
    """DAGNN (arXiv 2007.09296, eq. 8): sum over hops k = 0 .. K of sigmoid(A_hat^k Z s) A_hat^k Z, Z a two-layer MLP.

    Example:
        >>> tuple(Dagnn(5, 3, 10, 8, 0.8).gate.weight.shape)
        (1, 3)
    """

    def __init__(self, in_channels: int, num_classes: int, num_layers: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.num_layers, self.dropout = num_layers, dropout
        self.first = SparseLinear(in_channels, hidden, dropout)
        self.second = nn.Linear(hidden, num_classes)
        self.gate = nn.Linear(num_classes, 1)

    def forward(self, features: FeatureMatrix, operator: GraphOperator) -> Tensor:
        """Logits (|V|, C)."""
        hop = self.second(dropout(torch.relu(self.first(features)), self.dropout, self.training))
        total = torch.sigmoid(self.gate(hop)) * hop
        for _ in range(self.num_layers):
            hop = operator.normalised(hop)
            total = total + torch.sigmoid(self.gate(hop)) * hop
        return total
