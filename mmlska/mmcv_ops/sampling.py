"""Bilinear samples as weighted sums of pixels: what RoIAlign and deformable attention have in common.

An image is a table with one row of channels for each pixel. A sample is four rows and four weights, a bin the weighted sum of the rows of
all its samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import wraps
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

#: Rows that are summed at once: with their weights they take about 100 MB.
ENTRIES = 2**22

Results = TypeVar('Results')


def through_autograd(gradient: Callable[..., Results]) -> Callable[..., Results]:
    """A gradient that PyTorch derives from the operator, computed under ``torch.inference_mode`` too, where autograd records nothing."""

    @wraps(gradient)
    def recorded(*args: object) -> Results:
        with torch.inference_mode(False), torch.no_grad():
            return gradient(*(x.clone() if isinstance(x, Tensor) and x.is_inference() else x for x in args))

    return recorded


def full_precision(x: Tensor) -> Tensor:
    """The tensor in float32, or in float64 if it is that: sums of many products are not for 16 bits."""
    return x if x.dtype == torch.float64 else x.float()


def chunks(count: int, entries_each: int, limit: int = ENTRIES) -> Iterator[slice]:
    """Slices of ``count`` things that take ``entries_each`` entries, so that none takes more than ``limit``.

    Example:
        >>> list(chunks(5, 10, limit=20))
        [slice(0, 2, None), slice(2, 4, None), slice(4, 6, None)]
    """
    step = max(1, limit // max(1, entries_each))
    return (slice(start, start + step) for start in range(0, count, step))


def clamped_neighbours(coordinates: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """The two pixels between which each coordinate lies, on one axis, as RoIAlign has it.

    Up to half a pixel outside the map, which reaches from -0.5 to size - 0.5, the border's pixel is taken; farther outside all is 0.

    Args:
        coordinates: Of any shape, in pixels; 0 is the centre of the first pixel.
        size: Pixels of the axis.

    Returns:
        Indices and weights, each with one more dimension of 2.

    Source: arXiv 1703.06870, section 3 (RoIAlign).

    Example:
        >>> index, weight = clamped_neighbours(torch.tensor([1.25, -0.5, 9.0]), 4)
        >>> index.tolist(), weight.tolist()
        ([[1, 2], [0, 1], [0, 1]], [[0.75, 0.25], [1.0, 0.0], [0.0, 0.0]])
    """
    inside = (coordinates >= -1) & (coordinates <= size)
    place = torch.where(inside, coordinates.clamp(0, size - 1), 0)  # NaN would be no index
    low = place.floor()
    right = place - low
    low = low.long()
    weight = torch.stack([1 - right, right], -1) * inside[..., None]
    return torch.stack([low, (low + 1).clamp(max=size - 1)], -1), weight


def weighted_sums(table: Tensor, index: Tensor, weight: Tensor) -> Tensor:
    """Sum rows of a table by weight, without a copy of the rows.

    Args:
        table: (R, C).
        index: (B, K), rows of the table.
        weight: (B, K).

    Returns:
        (B, C).

    Example:
        >>> table = torch.tensor([[1.0, 2], [10, 20]])
        >>> weighted_sums(table, torch.tensor([[0, 1]]), torch.tensor([[0.5, 1.0]]))
        tensor([[10.5000, 21.0000]])
    """
    if not index.numel() or not table.numel():  # a bin without samples, a map without channels
        return table.new_zeros(len(index), table.shape[1])
    return F.embedding_bag(index, table, mode='sum', per_sample_weights=weight)
