"""Objects drawn into label maps: the class of each pixel."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..datasets.coco_labels import area_of, box_of, is_ignored, mask_of
from ..engine.ignored_label import IGNORED
from .palettes import spelling
from .shapes import pixels_of

#: The class of pixels that belong to no object.
BACKGROUND = 'background'
_MOST_CLASSES = 255  # indices of 8 bits, less the one without a label


def with_background(classes: Sequence[str]) -> tuple[list[str], list[int]]:
    """The classes of a label map, of which the background is the first, and the index there of each of these classes.

    Raises:
        ValueError: If there are more classes than a label map holds.

    Example:
        >>> with_background(['cat', 'dog']), with_background(['cat', 'Background'])
        ((['background', 'cat', 'dog'], [1, 2]), (['Background', 'cat'], [1, 0]))
    """
    own = next((name for name in classes if spelling(name) == BACKGROUND), None)
    names = [own or BACKGROUND, *(name for name in classes if name is not own)]
    if len(names) > _MOST_CLASSES:
        raise ValueError(f'{len(names)} classes are too many for a label map, which holds {_MOST_CLASSES}; merge some')
    return names, [names.index(name) for name in classes]


def draw_index(objects: Sequence[tuple[int, dict]], size: tuple[int, int], indices: Sequence[int]) -> np.ndarray:
    """The class of each pixel of an image, (H, W) uint8, 255 where there is no label.

    Args:
        objects: Class and sound COCO annotation of each object.
        size: Width and height of the image.
        indices: The index of each class; 0 is the background.

    Example:
        >>> large, small = ({'bbox': [0, 0, n, n], 'segmentation': [[0, 0, n, 0, n, n, 0, n]]} for n in (4, 2))
        >>> draw_index([(1, small), (0, large)], (5, 4), [1, 2])
        array([[2, 2, 1, 1, 0],
               [2, 2, 1, 1, 0],
               [1, 1, 1, 1, 0],
               [1, 1, 1, 1, 0]], dtype=uint8)
    """
    index = np.zeros(size[::-1], np.uint8)
    known = [(label, annotation, _is_known(annotation)) for label, annotation in objects]
    for label, annotation, sure in sorted(known, key=lambda entry: (entry[2], -area_of(entry[1], box_of(entry[1])))):
        value = indices[label] if sure else IGNORED
        mask = mask_of(annotation)
        if mask is None:
            x, y, width, height = box_of(annotation)
            index[max(round(y), 0) : round(y + height), max(round(x), 0) : round(x + width)] = value
        else:
            index[pixels_of(mask, size)] = value
    return index


def _is_known(annotation: dict) -> bool:
    return mask_of(annotation) is not None and not is_ignored(annotation)
