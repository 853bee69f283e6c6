"""Which values share a scale: types, not strings.

Each granularity answers two questions: the smallest and largest value of every group (`limits`, in a shape that
broadcasts against the tensor), and how many groups a tensor has (`num_groups`), which is what scales and zero points
cost in storage. Tensors are (|V|, F): rows are nodes, columns are channels.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from gnnq_lib.errors import InputError


@dataclass(frozen=True)
class PerTensor:
    """One scale for the whole tensor; scale shape ().

    Example:
        >>> low, high = PerTensor().limits(torch.tensor([[1.0, -2.0], [3.0, 0.0]])); low.item(), high.item()
        (-2.0, 3.0)
    """

    def limits(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Smallest and largest value, shape ()."""
        return torch.aminmax(x)

    def num_groups(self, shape: tuple[int, ...]) -> int:
        """How many scales a tensor of this shape needs."""
        return 1


@dataclass(frozen=True)
class PerChannel:
    """One scale per column; scale shape (1, F).

    Example:
        >>> PerChannel().limits(torch.tensor([[1.0, -2.0], [3.0, 0.0]]))[0].tolist()
        [[1.0, -2.0]]
    """

    def limits(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Smallest and largest value of every column, shape (1, F)."""
        return torch.aminmax(x, dim=0, keepdim=True)

    def num_groups(self, shape: tuple[int, ...]) -> int:
        """How many scales a tensor of this shape needs."""
        return shape[1]


@dataclass(frozen=True)
class PerNode:
    """One scale per row; scale shape (|V|, 1).

    Example:
        >>> PerNode().limits(torch.tensor([[1.0, -2.0], [3.0, 0.0]]))[1].tolist()
        [[1.0], [3.0]]
    """

    def limits(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Smallest and largest value of every row, shape (|V|, 1)."""
        return torch.aminmax(x, dim=1, keepdim=True)

    def num_groups(self, shape: tuple[int, ...]) -> int:
        """How many scales a tensor of this shape needs."""
        return shape[0]


@dataclass(frozen=True, eq=False)
class PerDegreeBucket:
    """One scale for all nodes whose degree falls in the same power-of-two bucket; scale shape (|V|, 1).

    The bucket follows from the graph, so only the few scales are stored, no assignment.

    Args:
        degree: node degrees, shape (|V|,).
        num_buckets: buckets are 0-1, 2-3, 4-7, ...; the last one takes all larger degrees.

    Example:
        >>> g = PerDegreeBucket(torch.tensor([1, 2, 9]), num_buckets=2); g.bucket.tolist()
        [0, 1, 1]
    """

    degree: Tensor
    num_buckets: int = 6
    bucket: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.num_buckets < 1:
            raise InputError(f"PerDegreeBucket got num_buckets={self.num_buckets}; give 1 or more.")
        # The exponent is exact; a logarithm of 8 may come out below 3 on another device.
        exponent = torch.frexp(self.degree.clamp(min=1).double()).exponent - 1
        bucket = exponent.long().clamp(max=self.num_buckets - 1)
        object.__setattr__(self, "bucket", bucket)

    def limits(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Smallest and largest value of each node's bucket, shape (|V|, 1)."""
        if x.shape[0] != self.bucket.numel():
            raise InputError(
                f"PerDegreeBucket knows {self.bucket.numel()} degrees but the tensor has {x.shape[0]} rows; "
                "give one degree per row."
            )
        low, high = PerNode().limits(x)
        empty, bucket = x.new_zeros(self.num_buckets), self.bucket.to(x.device)  # a model that moves leaves it behind
        low = empty.scatter_reduce(0, bucket, low[:, 0], "amin", include_self=False)[bucket]
        high = empty.scatter_reduce(0, bucket, high[:, 0], "amax", include_self=False)[bucket]
        return low[:, None], high[:, None]

    def num_groups(self, shape: tuple[int, ...]) -> int:
        """How many scales a tensor of this shape needs."""
        return self.num_buckets


Granularity = PerTensor | PerChannel | PerNode | PerDegreeBucket

PER_TENSOR = PerTensor()
