"""How large objects are in the network's input: the one rule of checks, anchors and advice."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
from mmengine.config import Config

from ..engine.image_reading import each_step, step_name
from .config_edits import first_dataset

#: Width and height of an image, and the boxes in it as x, y, width, height, all in its own pixels.
SizedBoxes = tuple[tuple[int, int], Sequence[Sequence[float]]]

_STEPS = ('Resize', 'RandomResize', 'RandomChoiceResize', 'RandomScale')


@dataclass(frozen=True)
class InputScale:
    """What a training pipeline resizes images to.

    Attributes:
        sides: Width and height to resize to, or, with ``keep_ratio``, a longer and a shorter side to fit into, in any order; None
            where ``factor`` says it.
        keep_ratio: Whether width and height are scaled alike.
        factor: What width and height are multiplied by where there are no ``sides``.
    """

    sides: tuple[float, float] | None = None
    keep_ratio: bool = True
    factor: tuple[float, float] = (1.0, 1.0)


def input_scale(cfg: Config) -> InputScale:
    """What the first step that resizes in the training pipeline of a config does; without such a step images keep their size.

    Of sizes drawn by chance the middle counts: that of ``scales``, that between two scales. A ``ratio_range`` that holds 1 counts as
    1, as validation resizes, any other by its middle.

    Raises:
        ValueError: If the config has no data set to train on.
    """
    return _scale_of(first_dataset(cfg, 'train').get('pipeline') or [])


def _scale_of(pipeline: Iterable) -> InputScale:
    step = next((step for step in each_step(pipeline) if step_name(step) in _STEPS), None)
    if step is None:
        return InputScale()
    keep_ratio = bool(step.get('keep_ratio', False))
    if step_name(step) == 'RandomChoiceResize':
        scales = step['scales']
        scales = [_pair(scale) for scale in (scales if isinstance(scales, (list, tuple)) else [scales])]
        return InputScale(_middle(scales, keep_ratio), keep_ratio)
    if step_name(step) == 'RandomScale':
        return InputScale(None, keep_ratio, _pair(_middle_ratio(step['ratio_range'])))
    if step.get('scale') is None:
        return InputScale(None, keep_ratio, _pair(step['scale_factor']))
    scale = step['scale']
    if isinstance(scale, (list, tuple)) and isinstance(scale[0], (list, tuple)):
        return InputScale(_middle([_pair(one) for one in scale], keep_ratio), keep_ratio)
    ratio = _middle_ratio(step.get('ratio_range') or (1, 1))
    width, height = _pair(scale)
    return InputScale((width * ratio, height * ratio), keep_ratio)


def _middle_ratio(ratio_range: Sequence[float]) -> float:
    low, high = ratio_range
    return 1 if low <= 1 <= high else (low + high) / 2


def _pair(value: float | Sequence[float]) -> tuple[float, float]:
    first, second = value if isinstance(value, (list, tuple)) else (value, value)
    return float(first), float(second)


def _middle(scales: Sequence[tuple[float, float]], keep_ratio: bool) -> tuple[float, float]:
    if keep_ratio:  # the order of the two sides means nothing then, and may differ
        scales = [(max(scale), min(scale)) for scale in scales]
    return float(median(scale[0] for scale in scales)), float(median(scale[1] for scale in scales))


def resized_by(size: tuple[int, int], scale: InputScale | None) -> tuple[float, float]:
    """What width and height of an image are multiplied by.

    Args:
        size: Width and height of the image in pixels.
        scale: What the pipeline does; None where images keep their size.

    Example:
        >>> resized_by((4000, 3000), InputScale((1333, 600)))
        (0.2, 0.2)
    """
    if scale is None:
        return 1.0, 1.0
    sides = scale.sides or (size[0] * scale.factor[0], size[1] * scale.factor[1])
    if scale.keep_ratio:
        return (min(max(sides) / max(size), min(sides) / min(size)),) * 2
    return sides[0] / size[0], sides[1] / size[1]


def network_sizes(cfg: Config, images: Iterable[SizedBoxes]) -> np.ndarray:
    """The sizes of objects in the network's input.

    Args:
        cfg: The config whose training pipeline resizes the images.
        images: Width and height of each image, and its boxes as x, y, width, height in its pixels.

    Returns:
        (N, 2) width and height of every box in pixels of the network's input.

    Raises:
        ValueError: If the config has no data set to train on.
    """
    return resized_boxes(images, input_scale(cfg))


def resized_boxes(images: Iterable[SizedBoxes], scale: InputScale | None) -> np.ndarray:
    """As :func:`network_sizes`, for a scale that is known already; None where images keep their size."""
    sizes = []
    for size, boxes in images:
        across, down = resized_by(size, scale)
        sizes += [(box[2] * across, box[3] * down) for box in boxes]
    return np.asarray(sizes, float).reshape(-1, 2)


def side_lengths(sizes: np.ndarray) -> np.ndarray:
    """(N,) the side of a square of the same area, for (N, 2) widths and heights."""
    return np.sqrt(sizes[:, 0] * sizes[:, 1])


def shorter_side(size: tuple[int, int], scale: InputScale) -> float:
    """The shorter side, in pixels, that a config resizes to; where it multiplies instead, that of an image of this size then."""
    if scale.sides is not None:
        return min(scale.sides)
    return min(math.prod(pair) for pair in zip(size, resized_by(size, scale)))
