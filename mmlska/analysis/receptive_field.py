"""Effective receptive fields: which pixels of the image the middle of a feature map depends on, and how much.

Paper: Understanding the Effective Receptive Field in Deep Convolutional Neural Networks, arXiv 1701.04128. The share within a centred
square is the measure of RepLKNet, arXiv 2203.06717, table 9, which the LSKA paper uses too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

SHARES = (0.2, 0.3, 0.5, 0.99)


class ReceptiveField(NamedTuple):
    """The effective receptive field of one feature.

    Attributes:
        heat: (H, W) float64, mean over the images of the absolute gradient of each pixel, summed over its colours.
        center: (row, column) of the pixel on which the feature sits.
        images: Number of images.
    """

    heat: np.ndarray
    center: tuple[int, int]
    images: int


def input_gradient(
    module: Callable[[Tensor], Tensor | Sequence[Tensor]],
    images: Tensor,
    *,
    stage: int = -1,
    position: tuple[int, int] | None = None,
) -> tuple[Tensor, tuple[int, int]]:
    """How strongly each pixel moves the output at one position.

    The output's channels are added after a ReLU. Without it a LayerNorm at the end of a stage would give nothing: before training its
    channels add up to zero whatever the image.

    Args:
        module: A backbone, or any module that makes a map of a map.
        images: (N, C, H, W).
        stage: Which output, where the module returns several.
        position: (row, column) in the output; the middle by default.

    Returns:
        (N, H, W), the absolute gradient summed over the input's channels, and the size of the output map.

    Raises:
        ValueError: If the output has no such stage or position.

    Source: arXiv 1701.04128, section 3; the ReLU is RepLKNet's.
    """
    images = images.detach().requires_grad_()
    with torch.enable_grad():
        outputs = module(images)
        if not isinstance(outputs, Tensor):
            if not -len(outputs) <= stage < len(outputs):
                raise ValueError(f'stage {stage + 1} does not exist; the backbone returns {len(outputs)}')
            outputs = outputs[stage]
        height, width = outputs.shape[2:]
        row, column = (height // 2, width // 2) if position is None else position
        if not (0 <= row < height and 0 <= column < width):
            raise ValueError(f'position {(row, column)} is outside the output map of {height}x{width}')
        (gradient,) = torch.autograd.grad(outputs[:, :, row, column].relu().sum(), images)
    return gradient.abs().sum(1), (height, width)


def effective_receptive_field(
    module: Callable[[Tensor], Tensor | Sequence[Tensor]], batches: Iterable[Tensor], *, stage: int = -1
) -> ReceptiveField:
    """Average the input gradient of the middle of a feature map of a backbone in eval mode over images of one size, (N, C, H, W) each.

    Raises:
        ValueError: If there are no images, the stage does not exist or no pixel has any influence.
    """
    heat, images, center = 0.0, 0, (0, 0)
    for batch in batches:
        gradient, out = input_gradient(module, batch, stage=stage)
        heat = heat + gradient.double().sum(0).numpy()
        images += len(batch)
        center = tuple(o // 2 * _stride(i, o) for i, o in zip(batch.shape[2:], out))
    if images == 0:
        raise ValueError('no images to average over; name a folder with photos')
    if not np.isfinite(heat).all() or heat.sum() == 0:
        raise ValueError('the gradients are zero or not finite; check the checkpoint')
    return ReceptiveField(heat / images, center, images)


def _stride(size_in: int, size_out: int) -> int:
    """Stride of a map, a power of two in every backbone; odd sizes are rounded up by one layer and down by another."""
    return 2 ** round(np.log2(size_in / size_out))


class Contribution(NamedTuple):
    """The smallest centred square that holds a share of the contribution.

    Attributes:
        share: The share, 0 to 1.
        side: Side of the square in pixels; where it reaches over the border of the image, only the part inside counts.
        area_ratio: RepLKNet's r, the square's area inside the image over that of the image.
    """

    share: float
    side: int
    area_ratio: float


def contributions(
    heat: np.ndarray, center: tuple[int, int], shares: Sequence[float] = SHARES
) -> tuple[Contribution, ...]:
    """Find for each share the smallest square around ``center`` that holds it.

    Args:
        heat: (H, W), not negative.
        center: (row, column) of the square's middle pixel.

    Raises:
        ValueError: If a share is not above 0 and at most 1.

    Source: arXiv 2203.06717, table 9.

    Example:
        >>> heat = np.zeros((9, 9))
        >>> heat[3:6, 3:6] = 1
        >>> [c.side for c in contributions(heat, (4, 4), (0.1, 0.5, 1.0))]
        [1, 3, 3]
    """
    for share in shares:
        if not 0 < share <= 1:
            raise ValueError(f'share {share} must be above 0 and at most 1')
    rows, columns = (abs(np.arange(n) - c) for n, c in zip(heat.shape, center))
    ring = np.maximum.outer(rows, columns)  # half the side of the square on whose edge a pixel lies
    inside = np.cumsum(np.bincount(ring.ravel(), heat.ravel()))
    area = np.cumsum(np.bincount(ring.ravel()))
    found = []
    for share in shares:
        # Rounding must not ask for a ring beyond the last pixel that contributes.
        radius = int(np.searchsorted(inside, share * inside[-1] * (1 - 1e-12)))
        found.append(Contribution(share, 2 * radius + 1, float(area[radius] / heat.size)))
    return tuple(found)
