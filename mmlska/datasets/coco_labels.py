"""Boxes and masks of COCO annotations: what they are, and which of them training has to do without.

pycocotools believes every number that it is given, and ends the process at wrong ones: each is looked at here before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from ..images import MAX_PIXELS
from ..text import shown

WRONG_MASK_SIZE = 'mask size unlike the image'
BAD_BOX = 'box of impossible numbers'
THIN_BOX = 'box thinner than a pixel'
BAD_POLYGON = 'mask of impossible numbers'
BAD_RUNS = 'mask of broken run lengths'
# Labels this many times the longer side of the image away from its corner are none of that image.
_FAR = 5
# pycocotools counts in 32 bits, five steps to a pixel, and stores each step of an outline.
_FARTHEST = 10_000_000
#: Most pixels along an outline.
LONGEST_OUTLINE = 4_000_000


def problem(annotation: dict, image: dict | None, category_ids: set) -> str | None:
    """Say why training has to do without an annotation; None where it can use it.

    What :func:`box_of` and :func:`mask_of` return is sound only where this is None.

    Args:
        annotation: As in a COCO file that went through :func:`mmlska.own_data.annotations.check_entries`.
        image: Its image, with the true ``width`` and ``height``.
        category_ids: Those that there are.

    Example:
        >>> problem({'category_id': 1, 'bbox': [90, 0, 20, 9]}, {'width': 80, 'height': 60}, {1})
        'box outside the image'
        >>> problem({'category_id': 1, 'bbox': [1e300, 0, 20, 9]}, {'width': 80, 'height': 60}, {1})
        'box of impossible numbers'
    """
    if image is None:
        return 'unknown image id'
    if annotation.get('category_id') not in category_ids:
        return 'unknown category id'
    mask = mask_of(annotation)
    fault = mask_fault(mask, image['width'], image['height']) if mask else None
    if fault:
        return fault
    if _has_box(annotation) and not _are_numbers(annotation['bbox'], farthest(image['width'], image['height'])):
        return BAD_BOX
    box = box_of(annotation)
    if box is None:
        return BAD_BOX if annotation.get('bbox') else 'no box'
    x, y, width, height = box
    if width < 0 or height < 0:
        return 'box of negative width or height'
    if width == 0 or height == 0:
        return 'box of zero area'
    if x >= image['width'] or y >= image['height'] or x + width <= 0 or y + height <= 0:
        return 'box outside the image'
    if width < 1 or height < 1:  # mmdet skips these
        return THIN_BOX
    return None


def is_cut(box: Sequence[float], image: dict) -> bool:
    """Whether a box passes a border of its image by more than a pixel."""
    x, y, width, height = box
    return x < -1 or y < -1 or x + width > image['width'] + 1 or y + height > image['height'] + 1


def has_size(image: dict, most: int = MAX_PIXELS) -> bool:
    """Whether an entry says a size that an image of at most so many pixels can have."""
    size = image.get('width'), image.get('height')
    return _are_numbers(size, most) and min(size) > 0 and size[0] * size[1] <= most


def refuse_deadly_mask(segmentation, image: dict, most: int = MAX_PIXELS) -> None:
    """Raise ValueError for a mask at which pycocotools would end the process, or take more memory than any image has.

    Mask and size of the image are as in a COCO file, which is trained on or compared with as it is. An image has at most ``most`` pixels.
    """
    if not segmentation:
        return
    if isinstance(segmentation, list):  # pycocotools reads polygons of two points too
        mask = [polygon for polygon in _polygons(segmentation) if polygon]
    else:
        mask = mask_of({'segmentation': segmentation})
    if not has_size(image, most):
        fault = 'mask in an image of impossible size'
    else:
        fault = BAD_RUNS if mask is None else mask_fault(mask, image['width'], image['height'])
    if fault:
        raise ValueError(f'{fault}: {shown(segmentation)}; mmlska check lists such labels, --fix leaves them out')


def mask_fault(mask: dict | list, width: int, height: int) -> str | None:
    """Say why pycocotools must not see a mask, as :func:`mask_of` returns it, of an image of this size.

    Example:
        >>> mask_fault([[0, 0, 1e9, 0, 5, 5]], 80, 60), mask_fault({'size': [60, 80], 'counts': [9, 9]}, 80, 60)
        ('mask of impossible numbers', 'mask of broken run lengths')
    """
    if isinstance(mask, dict):
        return _runs_fault(mask, width, height)
    reach = farthest(width, height)
    sound = all(
        isinstance(polygon, list) and _are_numbers(polygon, reach) and _outline(polygon) <= LONGEST_OUTLINE
        for polygon in mask
    )
    return None if sound else BAD_POLYGON


def _runs_fault(mask: dict, width: int, height: int) -> str | None:
    size, counts = mask['size'], mask['counts']
    if set(map(type, size)) != {int}:
        return BAD_RUNS
    if list(size) != [height, width]:
        return WRONG_MASK_SIZE  # mmdet stops at it
    if isinstance(counts, str):
        runs = _run_lengths(counts)
        sound = runs is not None and runs.min() >= 0 and runs.sum() == width * height
    else:
        sound = set(map(type, counts)) == {int} and min(counts) >= 0 and sum(counts) == width * height
    return None if sound else BAD_RUNS


def _run_lengths(text: str) -> np.ndarray | None:
    """The numbers in COCO's compressed run lengths; None if the text is cut off or holds other letters.

    Each is written in groups of five bits, the lowest first, with a sixth bit if more follow and the last bit as sign; from the
    fourth on it is the difference from the last but one.
    """
    codes = np.frombuffer(text.encode('utf-8', 'surrogatepass'), np.uint8).astype(np.int64) - 48
    ends = np.flatnonzero(codes < 32)
    if codes.min() < 0 or codes.max() > 63 or not len(ends) or ends[-1] != len(codes) - 1:
        return None
    starts = np.append(0, ends[:-1] + 1)
    groups = ends - starts + 1
    if groups.max() > 6:  # more than any image has pixels
        return None
    place = np.arange(len(codes)) - np.repeat(starts, groups)
    runs = np.add.reduceat((codes & 31) << 5 * place, starts) - ((codes[ends] & 16) >> 4 << 5 * groups)
    for first in (1, 2):
        runs[first::2] = np.cumsum(runs[first::2])
    return runs


def farthest(width: int, height: int) -> int:
    """How far from 0 the numbers of labels of an image of this size may be.

    Example:
        >>> farthest(80, 60)
        400
    """
    return min(_FAR * max(width, height), _FARTHEST)


def _are_numbers(values: Sequence, reach: float) -> bool:
    """Whether all are numbers, finite ones, and no further from 0 than this; a bool is none."""
    # NaN passes no comparison if it comes first, and makes a sum NaN that is not made of huge integers.
    return (
        set(map(type, values)) <= {int, float}
        and -reach <= min(values)
        and max(values) <= reach
        and math.isfinite(sum(values))
    )


def _outline(polygon: list[float]) -> float:
    """The number of pixels along a polygon, or more."""
    most = len(polygon) / 2 * (max(polygon) - min(polygon))
    if most <= LONGEST_OUTLINE:
        return most
    corners = np.reshape(polygon[: len(polygon) // 2 * 2], (-1, 2))
    return float(np.abs(corners - np.roll(corners, 1, 0)).max(1).sum())


def _has_box(annotation: dict) -> bool:
    box = annotation.get('bbox')
    return isinstance(box, (list, tuple)) and len(box) == 4 and set(map(type, box)) <= {int, float}


def box_of(annotation: dict) -> list[float] | None:
    """The box (x, y, width, height) of an annotation, from its polygons or runs where it has no ``bbox``."""
    if _has_box(annotation):
        return [float(v) for v in annotation['bbox']]
    mask = mask_of(annotation)
    if isinstance(mask, dict):
        from pycocotools import mask as coco_mask

        return [float(v) for v in coco_mask.toBbox(_encoded(mask))]
    if mask:
        x, y = ([end for polygon in mask for end in _ends(polygon[start::2])] for start in (0, 1))
        return [min(x), min(y), max(x) - min(x), max(y) - min(y)]
    return None


def _ends(values: list[float]) -> tuple[float, float]:
    return min(values), max(values)


def mask_of(annotation: dict) -> dict | list | None:
    """The ``segmentation`` as a dict of runs or a list of polygons with three points or more; None where there is none."""
    mask = annotation.get('segmentation')
    if isinstance(mask, dict):
        size, counts = mask.get('size'), mask.get('counts')
        sound = isinstance(counts, (list, str)) and counts and isinstance(size, (list, tuple)) and len(size) == 2
        return {'size': size, 'counts': counts} if sound else None
    if not isinstance(mask, list) or not mask:
        return None
    return [p for p in _polygons(mask) if not isinstance(p, list) or (len(p) >= 6 and len(p) % 2 == 0)] or None


def _polygons(mask: list) -> list:
    """Each [x, y, ...], which is seen as [[x, y], ...] as well, and a single one without a list around it."""

    def flat(polygon):
        points = isinstance(polygon, list) and polygon and all(isinstance(point, list) for point in polygon)
        return [v for point in polygon for v in point] if points else polygon

    return [flat(polygon) for polygon in (mask if isinstance(mask[0], list) else [mask])]


def _encoded(mask: dict) -> dict:
    from pycocotools import mask as coco_mask

    return coco_mask.frPyObjects(mask, *mask['size']) if isinstance(mask['counts'], list) else mask


def is_ignored(annotation: dict) -> bool:
    """Whether an object is neither learned nor counted: a crowd, or one that is difficult."""
    return bool(annotation.get('iscrowd')) or bool(annotation.get('ignore'))


def decoded(mask: dict) -> np.ndarray:
    """Run lengths, as :func:`mask_of` returns them, as (H, W) bool."""
    from pycocotools import mask as coco_mask

    return coco_mask.decode(_encoded(mask)).astype(bool)


def decoded_columns(mask: dict, first: int, last: int) -> np.ndarray:
    """Some columns of run lengths, as :func:`mask_of` returns them and without a :func:`mask_fault`, as (H, W) bool.

    Example:
        >>> decoded_columns({'size': [2, 4], 'counts': [1, 4, 3]}, 1, 3).astype(int)
        array([[1, 1],
               [1, 0]])
    """
    height, width = mask['size']
    counts = mask['counts'] if isinstance(mask['counts'], list) else _run_lengths(mask['counts'])
    # Column follows column; the first run is outside of the object, the second inside.
    ends = np.append(np.cumsum(counts), height * width)
    low, high = first * height, min(last, width) * height
    steps = np.zeros(high - low + 1, np.int8)
    for edges, step in ((ends[0::2][: len(ends) // 2], 1), (ends[1::2], -1)):
        np.add.at(steps, np.clip(edges, low, high) - low, step)
    return np.cumsum(steps[:-1], dtype=np.int8).reshape(-1, height).T.astype(bool)


def resized_runs(mask: dict, size: tuple[int, int]) -> dict[str, Any]:
    """Sound run lengths for an image of another size.

    Args:
        mask: COCO's run lengths.
        size: Width and height of that image.
    """
    # The nearest of the centres of pixels, which cv2's own nearest neighbour takes from their corners.
    return encode_mask(cv2.resize(decoded(mask).astype(np.uint8), size, interpolation=cv2.INTER_NEAREST_EXACT))


def encode_mask(mask: Any, top: int = 0, left: int = 0, size: tuple[int, int] | None = None) -> dict[str, Any]:
    """COCO's compressed run lengths of a mask that is part of an image, without making a mask of the whole image.

    Args:
        mask: (H, W), true inside: an array or a tensor.
        top, left: Row and column of the image where the mask begins.
        size: Height and width of the image; by default those of the mask.

    Example:
        >>> encode_mask(np.ones((2, 2), bool), top=1, left=1, size=(4, 4))
        {'size': [4, 4], 'counts': '52203'}
    """
    from pycocotools.mask import frPyObjects

    mask = np.asarray(mask.cpu() if hasattr(mask, 'cpu') else mask, dtype=bool)
    height, width = size or mask.shape
    # Runs along columns, as COCO counts; the row of zeros above and below makes each begin and end in its column.
    columns = np.pad(mask.T, ((0, 0), (1, 1))).astype(np.int8)
    steps = np.diff(columns, axis=1)
    starts, ends = (np.argwhere(steps == sign) for sign in (1, -1))
    edges = np.stack([(at[:, 0] + left) * height + at[:, 1] + top for at in (starts, ends)], axis=1)
    # A run that ends with its column continues where the next column begins at once.
    flat = edges.reshape(-1)
    joined = np.flatnonzero(flat[1:-1:2] == flat[2::2]) * 2 + 1
    flat = np.delete(flat, np.concatenate([joined, joined + 1]))
    last = [] if len(flat) and flat[-1] == height * width else [height * width]
    counts = np.diff(np.concatenate([[0], flat, last]).astype(np.int64)).tolist()
    encoded = frPyObjects(dict(size=[height, width], counts=counts), height, width)
    return dict(size=[int(height), int(width)], counts=encoded['counts'].decode())


def area_of(annotation: dict, box: list[float]) -> float:
    """The ``area`` of an annotation, or else that of its mask or of this box, in pixels."""
    area, mask = annotation.get('area'), mask_of(annotation)
    if _are_numbers([area], _FARTHEST**2) and area > 0:
        return area
    if isinstance(mask, dict):
        from pycocotools import mask as coco_mask

        return float(coco_mask.area(_encoded(mask)))
    if mask:
        return max(sum(polygon_area(polygon) for polygon in mask), 1.0)
    return box[2] * box[3]


def polygon_area(polygon: list[float]) -> float:
    """The area inside an outline [x, y, ...].

    Example:
        >>> polygon_area([0, 0, 4, 0, 4, 4])
        8.0
    """
    x, y = polygon[::2], polygon[1::2]
    return abs(sum(a * d - b * c for a, b, c, d in zip(x, y, x[1:] + x[:1], y[1:] + y[:1]))) / 2


def draw_mask(annotation: dict, shape: tuple[int, int], scale: float, drawn: tuple[int, int]) -> np.ndarray:
    """The mask of an annotation on a picture of its image, bool; empty where it has none.

    Args:
        annotation: One that has no :func:`problem`.
        shape: Height and width of the image in pixels.
        scale: What its coordinates are multiplied by for the picture.
        drawn: Height and width of the picture.

    Example:
        >>> draw_mask({'segmentation': [[0, 0, 4, 0, 4, 2, 0, 2]]}, (4, 8), 0.5, (2, 4)).astype(int)
        array([[1, 1, 1, 0],
               [1, 1, 1, 0]])
    """
    mask, inside = mask_of(annotation), np.zeros(drawn, np.uint8)
    if isinstance(mask, list):
        cv2.fillPoly(inside, [np.round(np.reshape(polygon, (-1, 2)) * scale).astype(np.int32) for polygon in mask], 1)
    elif mask is not None and list(mask['size']) == list(shape):
        inside = cv2.resize(decoded(mask).astype(np.uint8), drawn[::-1], interpolation=cv2.INTER_NEAREST)
    return inside.astype(bool)
