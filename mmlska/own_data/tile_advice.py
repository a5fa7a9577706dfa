"""Whether training on tiles would help, with numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

import numpy as np

from ..tiles import checked_tiles, tile_starts
from .input_scale import InputScale, SizedBoxes, resized_by, shorter_side, side_lengths

#: What a report calls the finding.
SMALL_OBJECTS = 'objects that are small for the network'
# What the large recipes resize to.
_RECIPE = InputScale((1333.0, 800.0))
# Sides in pixels: half of that below which COCO calls an object small, and the finest stride of most recipes.
_SMALL = (16, 8)
_MANY = 0.25  # share of small objects from which on tiles are advised
_SHRUNK = 0.8  # the scaling from which on it is the resizing that makes objects small
_STEP, _LEAST, _MOST = 32, 256, 1280
_TIMES = 4  # a tile is so many times as long as nearly all objects


def tile_advice(images: Sequence[SizedBoxes], scale: InputScale | None = None) -> str:
    """Say whether tiles at the image's own scale would keep objects large enough that resizing the whole image makes too small.

    They are advised where a quarter of the objects or more are under 16 px (the square root of their area) in the network's input, or
    under 8 px, the median image is scaled by 0.8 or less, and in tiles at most half as many are that small.

    Args:
        images: Width and height of each image, and its boxes as x, y, width, height in its pixels.
        scale: What training resizes images to; None for the 1333x800 of the recipes, which the text then says.

    Returns:
        A line to print; '' where there is nothing to advise.

    Example:
        >>> print(tile_advice([((2666, 1600), [(0, 0, 20, 20), (90, 90, 40, 40)])]))
        --tile 800 would help: 50 % of 2 objects are under 16 px in the network's input of 1333x800, assumed
        (images of 2666x1600 are scaled by 0.5), in tiles 0 % would be; 12 tiles an image
    """
    assumed = ', assumed' if scale is None else ''
    scale = scale or _RECIPE
    images = [image for image in images if len(image[1])]
    if not images:
        return ''
    factors = [_factor(size, scale) for size, _ in images]
    boxes = [np.asarray(boxes, float).reshape(-1, 4)[:, 2:] for _, boxes in images]
    own = side_lengths(np.concatenate(boxes))
    seen = own * np.repeat(factors, [len(one) for one in boxes])
    shares = [(limit, float((seen < limit).mean()), float((own < limit).mean())) for limit in _SMALL]
    helped = [found for found in shares if found[1] >= _MANY and found[2] <= found[1] / 2]
    if not helped or median(factors) > _SHRUNK:
        return ''
    limit, small, small_in_tiles = helped[0]
    size = sorted((size for size, _ in images), key=lambda size: (size[0] * size[1], size))[len(images) // 2]
    tile = tile_size(shorter_side(size, scale), float(np.quantile(own, 0.95)))
    across, down = scale.sides or (side * factor for side, factor in zip(size, resized_by(size, scale)))
    return (
        f'--tile {tile} would help: {100 * small:.0f} % of {len(own)} objects are under {limit} px '
        f"in the network's input of {across:.0f}x{down:.0f}{assumed} (images of {size[0]}x{size[1]} are scaled by "
        f'{_factor(size, scale):.2g}), in tiles {100 * small_in_tiles:.0f} % would be; {tiles_in(size, tile)} tiles an image'
    )


def _factor(size: tuple[int, int], scale: InputScale) -> float:
    """What the square root of an area is scaled by."""
    return math.prod(resized_by(size, scale)) ** 0.5


def tile_size(shorter: float, large: float) -> int:
    """The side of a tile: the input that the recipe is made for, if large objects fit into it.

    It is the shorter side of the input, to the nearest multiple of 32, but at least 256 and at least 4 times the size of large objects,
    so that few are cut; at most 1280, which is more than the recipes' memory is made for already.

    Args:
        shorter: The shorter side that training resizes to, in pixels.
        large: The size that 95 % of the objects do not exceed, in pixels of the image.

    Example:
        >>> tile_size(800, 40), tile_size(300, 100), tile_size(200, 30), tile_size(800, 900)
        (800, 416, 256, 1280)
    """
    usual, needed = round(shorter / _STEP) * _STEP, math.ceil(_TIMES * large / _STEP) * _STEP
    return min(max(usual, needed, _LEAST), _MOST)


def tiles_in(size: tuple[int, int], tile: int) -> int:
    """How many tiles, which overlap as those of a training do, cover an image of this width and height.

    Example:
        >>> tiles_in((4000, 3000), 640), tiles_in((640, 641), 640)
        (42, 2)
    """
    tile, overlap = checked_tiles(tile)
    return math.prod(len(tile_starts(side, tile, overlap)) for side in size)
