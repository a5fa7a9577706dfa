"""Shapes that annotation tools draw, as the outlines and run lengths that COCO has."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

import numpy as np

from ..datasets.coco_labels import decoded, mask_fault
from ..images import BROKEN
from ..text import shown
from .label_text import number

Polygon = list[float]  # x, y, x, y, ...
_CORNERS = 36  # of an ellipse


def turned_box(x: float, y: float, width: float, height: float, angle: float) -> Polygon:
    """The corners of a box that is turned about its centre (x, y) by an angle in radians, clockwise as y points down.

    Example:
        >>> [round(v, 6) for v in turned_box(10, 10, 4, 2, math.pi / 2)]
        [11.0, 8.0, 11.0, 12.0, 9.0, 12.0, 9.0, 8.0]
    """
    cos, sin = math.cos(angle), math.sin(angle)
    corners = ((-width / 2, -height / 2), (width / 2, -height / 2), (width / 2, height / 2), (-width / 2, height / 2))
    return [value for a, b in corners for value in (x + a * cos - b * sin, y + a * sin + b * cos)]


def ellipse(x: float, y: float, radius_x: float, radius_y: float, angle: float = 0.0) -> Polygon:
    """The outline of an ellipse about (x, y), of 36 corners, turned by an angle in radians as :func:`turned_box` turns.

    Example:
        >>> [round(v, 6) for v in ellipse(5, 5, 2, 1)[18:20]]
        [5.0, 6.0]
    """
    cos, sin = math.cos(angle), math.sin(angle)
    steps = (2 * math.pi * step / _CORNERS for step in range(_CORNERS))
    points = ((radius_x * math.cos(step), radius_y * math.sin(step)) for step in steps)
    return [value for a, b in points for value in (x + a * cos - b * sin, y + a * sin + b * cos)]


def runs_of(mask: np.ndarray) -> dict:
    """COCO's compressed run lengths of an (H, W) mask.

    Example:
        >>> runs_of(np.array([[0, 1], [0, 1]], bool))
        {'size': [2, 2], 'counts': '22'}
    """
    from pycocotools import mask as coco_mask

    runs = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return {'size': [int(side) for side in runs['size']], 'counts': runs['counts'].decode()}


def placed(mask: np.ndarray, left: int, top: int, size: tuple[int, int]) -> dict:
    """Run lengths of a mask that covers a part of its photo; what lies beyond the photo is cut off.

    Args:
        mask: (h, w), nonzero inside.
        left, top: Where its upper left pixel lies.
        size: Width and height of the photo.
    """
    from pycocotools import mask as coco_mask

    width, height = size
    x, y = max(left, 0), max(top, 0)
    part = mask[y - top : max(height - top, 0), x - left : max(width - left, 0)]
    if not part.size:  # far away
        x = y = 0
    columns, rows = np.nonzero(part.T)
    flat = (columns + x) * height + rows + y  # COCO counts down the columns
    starts = flat[np.diff(flat, prepend=-2) != 1]
    ends = flat[np.diff(flat, append=-2) != 1] + 1
    edges = np.column_stack([starts, ends]).ravel()
    counts = np.diff(edges, prepend=0, append=width * height)
    runs = coco_mask.frPyObjects({'size': [height, width], 'counts': counts.tolist()}, height, width)
    return {'size': [height, width], 'counts': runs['counts'].decode()}


def filled(polygons: Sequence[Polygon], size: tuple[int, int], holes: Sequence[Polygon] = ()) -> np.ndarray:
    """The pixels inside outlines and outside of holes, (H, W) bool, as pycocotools counts them.

    Args:
        polygons, holes: Of three points or more each.
        size: Width and height of the photo.

    Raises:
        ValueError: If a number is impossible for the photo; see :func:`mmlska.datasets.coco_labels.mask_fault`.

    Example:
        >>> filled([[0, 0, 4, 0, 4, 4, 0, 4]], (4, 4), [[1, 1, 3, 1, 3, 3, 1, 3]]).astype(int)
        array([[1, 1, 1, 1],
               [1, 0, 0, 1],
               [1, 0, 0, 1],
               [1, 1, 1, 1]])
    """
    from pycocotools import mask as coco_mask

    width, height = size
    fault = mask_fault([*map(list, polygons), *map(list, holes)], width, height)
    if fault:
        raise ValueError(fault)

    def drawn(outlines: Sequence[Polygon]) -> np.ndarray:
        runs = coco_mask.frPyObjects([list(outline) for outline in outlines], height, width)
        return coco_mask.decode(coco_mask.merge(runs)).astype(bool)

    inside = drawn(polygons)
    return inside & ~drawn(holes) if holes else inside


def pixels_of(mask: dict | list, size: tuple[int, int]) -> np.ndarray:
    """The pixels of a mask, (H, W) bool, as :func:`mmlska.datasets.coco_labels.mask_of` returns it: outlines or run lengths."""
    return filled(mask, size) if isinstance(mask, list) else decoded(mask)


def read_mask(content: bytes, most: tuple[int, int]) -> np.ndarray:
    """Decode a picture that a label file holds, (h, w) bool: its pixels that are not transparent.

    Of a picture without transparency those that are not 0.

    Args:
        most: Width and height that it may have at most, those of the photo.

    Raises:
        ValueError: If it is no picture or larger.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content), formats=('PNG', 'JPEG', 'BMP')) as picture:
            size = picture.size
            if size[0] > most[0] or size[1] > most[1]:
                raise ValueError(f'it has {size[0]}x{size[1]} pixels, the photo {most[0]}x{most[1]}')
            if picture.mode in ('RGBA', 'LA', 'PA') or 'transparency' in picture.info:
                return np.asarray(picture.convert('RGBA').getchannel('A')) != 0
            return np.asarray(picture if picture.mode in ('1', 'L', 'P') else picture.convert('L')) != 0
    except (*BROKEN, Image.DecompressionBombError) as error:
        raise ValueError(f'a mask that can not be read ({" ".join(str(error).split())[:80]})') from error


def merged(runs: Sequence[dict]) -> dict:
    """Run lengths of what lies in any of several masks of one photo, each as :func:`runs_of` returns it.

    Example:
        >>> merged([runs_of(np.array([[0, 1]], bool)), runs_of(np.array([[1, 0]], bool))])
        {'size': [1, 2], 'counts': '02'}
    """
    from pycocotools import mask as coco_mask

    whole = coco_mask.merge(list(runs))
    return {'size': [int(side) for side in whole['size']], 'counts': whole['counts'].decode()}


def joined(pieces: Sequence[dict], size: tuple[int, int]) -> dict:
    """The pieces of one object as one: boxes alone are a box around all, boxes among outlines are outlines.

    Args:
        pieces: Each with ``box``, ``polygons`` or ``runs``, as :meth:`mmlska.own_data.label_builder.LabelledPhoto.add` takes them.
        size: Width and height of the photo.

    Raises:
        ValueError: If an outline has to be drawn and is impossible for the photo.

    Example:
        >>> joined([{'box': [0, 0, 2, 2]}, {'box': [3, 1, 2, 2]}], (9, 9))
        {'box': [0, 0, 5, 3]}
        >>> joined([{'box': [0, 0, 2, 2]}, {'polygons': [[3, 3, 5, 3, 5, 5]]}], (9, 9))
        {'polygons': [[0, 0, 2, 0, 2, 2, 0, 2], [3, 3, 5, 3, 5, 5]]}
    """
    if len(pieces) == 1:
        return dict(pieces[0])
    boxes = [_corners(piece['box']) if 'box' in piece else None for piece in pieces]
    if all(boxes):
        return {'box': box_around([box for box in boxes if box])}
    outlines = [one for box, piece in zip(boxes, pieces) for one in ([box] if box else piece.get('polygons', ()))]
    masks = [piece['runs'] for piece in pieces if 'runs' in piece]
    if not masks:
        return {'polygons': outlines}
    return {'runs': merged([*masks, *([runs_of(filled(outlines, size))] if outlines else [])])}


def _corners(box: Sequence[float]) -> Polygon:
    x, y, width, height = box
    return [x, y, x + width, y, x + width, y + height, x, y + height]


def outline(points: object) -> Polygon:
    """The outline that a list of points [x, y] is.

    Raises:
        ValueError: If it is none.

    Example:
        >>> outline([[1, 2], [3.5, 4]])
        [1.0, 2.0, 3.5, 4.0]
    """
    if not isinstance(points, list) or not all(isinstance(point, list) and len(point) == 2 for point in points):
        raise ValueError(f'{shown(points)} is no list of points')
    return [number(value) for point in points for value in point]


def box_around(outlines: Sequence[Polygon]) -> list[float]:
    """Left, top, width and height of all these outlines together.

    Example:
        >>> box_around([[5, 1, 2, 3], [0, 2]])
        [0, 1, 5, 2]
    """
    x, y = ([value for points in outlines for value in points[start::2]] for start in (0, 1))
    if not x:
        raise ValueError('no point at all')
    return [min(x), min(y), max(x) - min(x), max(y) - min(y)]
