"""Low-bit baselines on the same backbone: post-training quantization, LSQ, N2UQ."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gnnq_lib.quantizers.baselines import LearnedStep
from gnnq_lib.recommendation.bipartite import BipartiteGraph
from gnnq_lib.recommendation.gnaq import LowBitRecommender
from gnnq_lib.recommendation.levels import LevelTable, Placement, check_table_bits, fitted_levels, nearest_codes

# Step of the uniform quantizer with the least squared error for a normal distribution, in standard deviations
# (J. Max, Quantizing for minimum distortion, 1960, table II), by bits.
NORMAL_STEPS = {1: 1.596, 2: 0.9957, 3: 0.586, 4: 0.3352}


class PostTraining(LowBitRecommender):
    """The teacher's table rounded to its levels; nothing is trained.

    Args:
        graph: of the training interactions.
        start: the teacher's X, float (|V|, D).
        bits: 1 to 4.
        per_node: levels per node, else one set for the table.
        placement: see `fitted_levels`.
        num_layers: L.

    Example:
        >>> from gnnq_lib.datasets.interactions import UserItems
        >>> graph = BipartiteGraph(UserItems([0], [0], 1, 1))
        >>> PostTraining(graph, torch.tensor([[0.0, 1.0], [2.0, 4.0]]), bits=1).table().tolist()
        [[0.0, 1.0], [2.0, 4.0]]
    """

    def __init__(
        self,
        graph: BipartiteGraph,
        start: Tensor,
        bits: int = 2,
        per_node: bool = True,
        placement: Placement = "lloyd",
        num_layers: int = 3,
    ) -> None:
        super().__init__(graph, num_layers)
        start = self.checked_start(start)
        levels = fitted_levels(start, bits, placement, per_node)
        self.register_buffer("levels", levels)
        self.register_buffer("codes", nearest_codes(start, levels))

    def table(self) -> Tensor:
        """X: the levels at the codes."""
        return self.low_bit_table().dequantize()

    def low_bit_table(self) -> LevelTable:
        """Codes and levels."""
        return LevelTable(self.codes, self.levels)


class LsqTable(LowBitRecommender):
    """LSQ on the table: one learned step for all values (arXiv 1902.08153); see `quantizers.LearnedStep`.

    Args:
        graph: of the training interactions.
        start: the teacher's X, float (|V|, D).
        bits: 2 to 4: with one bit LSQ's signed grid is {-1, 0}.
        num_layers: L.
    """

    def __init__(self, graph: BipartiteGraph, start: Tensor, bits: int = 2, num_layers: int = 3) -> None:
        super().__init__(graph, num_layers)
        self.latent = nn.Parameter(self.checked_start(start).clone())
        self.quantizer = LearnedStep(check_table_bits(bits)).to(graph.device)
        self.quantizer(self.latent.detach())  # sets the first step

    def settings(self) -> dict[str, object]:
        """See `Recommender.settings`; no shape tells the bits."""
        return super().settings() | {"bits": self.quantizer.num_bits}

    def table(self) -> Tensor:
        """X: the latent table on its grid."""
        return self.quantizer(self.latent).dequantize()

    def low_bit_table(self) -> LevelTable:
        """Codes and the grid."""
        with torch.no_grad():
            integers, step, _ = self.quantizer(self.latent)
            grid = torch.arange(self.quantizer.lowest, self.quantizer.highest + 1, device=integers.device)
            return LevelTable((integers - self.quantizer.lowest).to(torch.uint8), (grid * step)[None])


class N2uqTable(LowBitRecommender):
    r"""N2UQ on the table: learned thresholds, equally spaced output levels, generalised STE (arXiv 2111.14826).

    The line is cut into 2^b - 1 segments of learned lengths a_1, a_2, ... from a learned start; a value in segment j
    becomes j - 1 or j, by the half it lies in. The generalised STE's gradient is that of the expected value if rounding
    up happened with the probability of the place in the segment: of the broken line through the segments' ends.
    Output levels are s (q - (2^b - 1) / 2) with a learned s.

    Args:
        graph: of the training interactions.
        start: the teacher's X, float (|V|, D).
        bits: 1 to 4.
        num_layers: L.
    """

    def __init__(self, graph: BipartiteGraph, start: Tensor, bits: int = 2, num_layers: int = 3) -> None:
        super().__init__(graph, num_layers)
        start = self.checked_start(start)
        self.latent = nn.Parameter(start.clone())
        self.segments = 2 ** check_table_bits(bits) - 1
        step = (NORMAL_STEPS[bits] * start.std(correction=0)).clamp(min=1e-8)
        self.first = nn.Parameter(-step * self.segments / 2)
        self.lengths = nn.Parameter(step.repeat(self.segments))
        self.scale = nn.Parameter(step.clone())

    def table(self) -> Tensor:
        """X: the latent table's codes on equally spaced levels."""
        soft = self._expected()
        with torch.no_grad():
            rounding = self._codes() - soft
        return self.scale * (soft + rounding - self.segments / 2)

    def low_bit_table(self) -> LevelTable:
        """Codes and the equally spaced levels."""
        with torch.no_grad():
            grid = torch.arange(self.segments + 1, device=self.latent.device) - self.segments / 2
            return LevelTable(self._codes().to(torch.uint8), (grid * self.scale)[None])

    def _segments(self) -> list[tuple[Tensor, Tensor]]:
        """(start, length) of each segment."""
        lengths = self.lengths.clamp(min=1e-6)
        starts = self.first + lengths.cumsum(0) - lengths
        return list(zip(starts, lengths))

    def _expected(self) -> Tensor:
        total = None
        for start, length in self._segments():
            part = ((self.latent - start) / length).clamp(0, 1)
            total = part if total is None else total + part
        return total

    def _codes(self) -> Tensor:
        codes = torch.zeros(self.latent.shape, dtype=torch.uint8, device=self.latent.device)
        for start, length in self._segments():
            codes += (self.latent > start + length / 2).view(torch.uint8)
        return codes.float()
