"""Transforms for data pipelines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine.registry import TRANSFORMS

from ..colors import pack_rgb
from ..images import ImageError, read_photo

_MOST_COLORS = 255  # whose indices 8 bits hold beside one for no label


def color_to_index(mask: np.ndarray, palette: Sequence[Sequence[int]], ignore_index: int = 255) -> np.ndarray:
    """Turn a mask painted in one colour for each class into class indices.

    Args:
        mask: (H, W, 3) uint8, RGB.
        palette: RGB colour of each class, in the order of the classes.
        ignore_index: Index of the pixels whose colour is not in the palette.

    Returns:
        (H, W) uint8.

    Raises:
        ValueError: If the mask has no three channels or the palette has a colour twice or more classes than 8 bits hold.

    Example:
        >>> color_to_index(np.array([[[60, 16, 152], [9, 9, 9]]], np.uint8), [[60, 16, 152]])
        array([[  0, 255]], dtype=uint8)
    """
    if mask.ndim != 3 or mask.shape[2] != 3:
        raise ValueError(f'colour mask has shape {mask.shape}, expected (H, W, 3); an index mask needs no palette')
    codes = pack_rgb(np.reshape(palette, (-1, 3)))
    if len(set(codes.tolist())) != len(codes) or len(codes) > _MOST_COLORS:
        raise ValueError(
            f'palette of {len(codes)} colours must have each colour once and at most {_MOST_COLORS} colours'
        )
    order = np.argsort(codes)
    pixels = pack_rgb(mask)
    place = np.searchsorted(codes, pixels, sorter=order).clip(max=len(codes) - 1)
    index = order[place]
    return np.where(codes[index] == pixels, index, ignore_index).astype(np.uint8)


@TRANSFORMS.register_module()
class LoadColorAnnotations:
    """Load segmentation labels that are painted in colours; stands where mmseg's ``LoadAnnotations`` would.

    Args:
        palette: RGB colour of each class, in the order of the dataset's classes. Other colours are ignored in training and testing.
        ignore_index: Index of the pixels to ignore.
    """

    def __init__(self, palette: Sequence[Sequence[int]], ignore_index: int = 255) -> None:
        self.palette, self.ignore_index = palette, ignore_index

    def __call__(self, results: dict) -> dict:
        """Add ``gt_seg_map`` (H, W) to the results of an image.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the mask file is not an image, or larger than what is read.
        """
        try:
            mask = read_photo(results['seg_map_path'])
        except ImageError as error:
            raise ValueError(f'mask {error}') from error
        results['gt_seg_map'] = color_to_index(mask[..., ::-1], self.palette, self.ignore_index)
        results['seg_fields'].append('gt_seg_map')
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}({len(self.palette)} classes, ignore_index={self.ignore_index})'


@TRANSFORMS.register_module()
class RandomScale:
    """Scale an image and its labels by a random factor of its own size, where ``RandomResize`` would by one of a fixed size.

    Args:
        ratio_range: The least and the largest factor.
        resize_type: The step that resizes.
        **options: More settings of that step, such as ``keep_ratio``.
    """

    def __init__(self, ratio_range: tuple[float, float], resize_type: str = 'Resize', **options: Any) -> None:
        self.ratio_range = ratio_range
        self.resize = TRANSFORMS.build(dict(type=resize_type, scale_factor=1.0, **options))

    def __call__(self, results: dict) -> dict:
        """What the step that resizes makes of a sample."""
        factor = np.random.uniform(*self.ratio_range)  # noqa: NPY002  the generator that mmcv's transforms use
        self.resize.scale_factor = (factor, factor)
        return self.resize(results)

    def __repr__(self) -> str:
        return f'{type(self).__name__}(ratio_range={self.ratio_range})'
