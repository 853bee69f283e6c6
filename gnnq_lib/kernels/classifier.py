"""The whole packed classifier in one call: two linear layers, then K propagation steps."""

from __future__ import annotations

import threading

import torch
from torch import Tensor

from gnnq_lib.errors import InputError
from gnnq_lib.kernels import native
from gnnq_lib.kernels.checks import check_out
from gnnq_lib.kernels.propagation import (
    LARGEST_ROW,
    PropagationGraph,
    PropagationPlan,
    check_plan,
    propagate,
    propagate_args,
    torch_propagate,
)
from gnnq_lib.kernels.two_layer import (
    IntegerFeatures,
    TwoLayerWeights,
    check_two_layer,
    torch_two_layer,
    two_layer,
    two_layer_args,
)


class PackedClassifier:
    """`propagate(graph, two_layer(features, weights), plan)`, checked and laid out once, for many calls.

    Small graphs take some tenths of a millisecond; checking and collecting the arguments again would show. Several
    threads may call one object at once.

    Args:
        features, weights: see `two_layer`.
        graph, plan: see `propagate`; as many nodes as `features` has rows.

    Raises:
        InputError: parts that do not fit together.

    Example:
        >>> from gnnq_lib.kernels import CSRGraph, PackedClassifier, RowQuantizer
        >>> from gnnq_lib.quantizers.packing import PackedCodes
        >>> words = IntegerFeatures(CSRGraph(torch.tensor([0, 1]), torch.tensor([0]), num_cols=1), torch.ones(1))
        >>> one, code = torch.ones(1), PackedCodes.from_codes(torch.tensor([[3]]), 2)
        >>> weights = TwoLayerWeights(code, one, one, code, one, one, RowQuantizer(1.0, 8))
        >>> graph = PropagationGraph(CSRGraph(torch.tensor([0, 1]), torch.tensor([0])), one, one, one)
        >>> PackedClassifier(words, weights, graph, PropagationPlan(2, 1.0, [], []))().shape
        torch.Size([1, 1])
    """

    def __init__(
        self, features: IntegerFeatures, weights: TwoLayerWeights, graph: PropagationGraph, plan: PropagationPlan
    ) -> None:
        check_two_layer(features, weights)
        check_plan(graph, plan)
        if features.pattern.num_rows != graph.num_nodes or features.pattern.device != graph.graph.device:
            raise InputError(
                f"features of {features.pattern.num_rows} nodes on {features.pattern.device} given for a graph of "
                f"{graph.num_nodes} on {graph.graph.device}; give the features of the graph's nodes"
            )
        self.features, self.weights, self.graph, self.plan = features, weights, graph, plan
        self.shape = (graph.num_nodes, weights.weight2.num_values)
        self._of_thread = threading.local()
        self._first_call = threading.Lock()
        self._args: tuple[native.TwoLayerArgs, native.PropagateArgs] | None = None

    def __call__(self, out: Tensor | None = None) -> Tensor:
        """Class scores of every node.

        Args:
            out: float32 (N, C) to write into; default: a new tensor.

        Returns:
            float32 (N, C).

        Raises:
            InputError: `out` of another shape or dtype, or scores that are not finite.
        """
        device = self.features.pattern.device
        check_out(out, self.shape, True, device)
        isa = native.path_for(device)
        if isa == native.REFERENCE or self.shape[1] > LARGEST_ROW:
            result = propagate(self.graph, two_layer(self.features, self.weights), self.plan)
            return result if out is None else out.copy_(result)
        out = torch.empty(self.shape, dtype=torch.float32, device=device) if out is None else out
        scores = self._scores()
        layers, steps = self._arguments()
        layers.out = steps.x = scores.data_ptr()
        steps.out = out.data_ptr()
        layers.num_threads = steps.num_threads = torch.get_num_threads()
        native.call("classify", isa, layers, steps)
        return out

    def _scores(self) -> Tensor:
        """Memory for what the layers hand to the steps; each thread keeps its own."""
        if not hasattr(self._of_thread, "scores"):
            self._of_thread.scores = self.weights.bias2.new_empty(self.shape)
        return self._of_thread.scores

    def _arguments(self) -> tuple[native.TwoLayerArgs, native.PropagateArgs]:
        """Copies for this call: another thread may be calling, too."""
        with self._first_call:
            if self._args is None:
                self._args = self._lay_out()
        layers, steps = self._args
        return native.TwoLayerArgs.from_buffer_copy(layers), native.PropagateArgs.from_buffer_copy(steps)

    def _lay_out(self) -> tuple[native.TwoLayerArgs, native.PropagateArgs]:
        """What the kernels walk, kept by this object: the arguments hold its addresses."""
        # The layers write their scores in the order in which the steps read them.
        self._layout = self.features.in_order(self.graph.order)
        self._row_in = self.graph.row_in[self.graph.order.long()]
        steps = propagate_args(self.graph, self.plan, self.shape[1], None, None)
        steps.order, steps.row_in = None, self._row_in.data_ptr()
        return two_layer_args(self._layout, self.weights, None), steps


def torch_classify(classifier: PackedClassifier) -> Tensor:
    """Readable twin of a `PackedClassifier`'s call: same result."""
    scores = torch_two_layer(classifier.features, classifier.weights)
    return torch_propagate(classifier.graph, scores, classifier.plan)
