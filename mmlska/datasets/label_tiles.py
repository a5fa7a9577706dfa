"""Labels of objects cut to the tiles of an image.

The rule: an object is learned in each tile that shows at least half of its box, and always in the one that shows most of it. There its
box and its mask are cut at the side of the tile. What another tile shows of it is neither object nor background there: it is ignored.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..image_windows import MOST_PIXELS
from .coco_labels import decoded_columns, mask_of, refuse_deadly_mask

#: The share of its box that a tile must show of an object, so that it is learned there.
LEAST_SHARE = 0.5


def shown_shares(boxes: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The share of the height of each box that each row of tiles shows, and of its width that each column shows.

    Args:
        boxes: (N, 4), x1, y1, x2, y2 in pixels of the image, inside it.
        rows, columns: First pixel of the tiles and the one after their last, (R, 2) and (C, 2).

    Returns:
        (N, R) and (N, C), from 0 to 1; their products are the shares of the area.
    """

    def shares(low: np.ndarray, high: np.ndarray, spans: np.ndarray) -> np.ndarray:
        inside = np.minimum(high[:, None], spans[:, 1]) - np.maximum(low[:, None], spans[:, 0])
        return np.clip(inside, 0, None) / np.maximum(high - low, 1e-6)[:, None]

    return shares(boxes[:, 1], boxes[:, 3], rows), shares(boxes[:, 0], boxes[:, 2], columns)


def learned_in(by_row: np.ndarray, by_column: np.ndarray) -> np.ndarray:
    """In which tiles each object is learned, bool (N, R, C), from its :func:`shown_shares`.

    Example:
        >>> learned_in(np.array([[1.0]]), np.array([[0.7, 0.5, 0.2]])).tolist()
        [[[True, True, False]]]
        >>> learned_in(np.array([[1.0]]), np.array([[0.3, 0.4, 0.3]])).tolist()
        [[[False, True, False]]]
    """
    learned = by_row[:, :, None] * by_column[:, None, :] >= LEAST_SHARE
    each = np.arange(len(by_row))
    learned[each, by_row.argmax(axis=1), by_column.argmax(axis=1)] = True
    return learned


def boxes_of(instances: Sequence[dict], height: int, width: int) -> np.ndarray:
    """The boxes of mmdet's instances, (N, 4), cut at the borders of the image."""
    boxes = np.array([instance['bbox'] for instance in instances], np.float64).reshape(-1, 4)
    return np.clip(boxes, 0, [width, height, width, height])


def cut_instances(
    instances: Sequence[dict], size: tuple[int, int], rows: np.ndarray, columns: np.ndarray, place: tuple[int, int]
) -> list[dict]:
    """The objects of an image that one of its tiles shows, in pixels of the tile.

    Args:
        instances: As mmdet's data sets have them: ``bbox`` (x1, y1, x2, y2), ``ignore_flag`` and what else there is; a ``mask`` of
            polygons or run lengths.
        size: Height and width of the image.
        rows, columns: First pixel of the tiles and the one after their last, (R, 2) and (C, 2).
        place: The row and the column of the tile.

    Returns:
        New instances. Those that are not learned here have ``ignore_flag`` 1; less than a pixel of one is left out.

    Raises:
        ValueError: For a mask that pycocotools must not see.
    """
    boxes = boxes_of(instances, *size)
    by_row, by_column = shown_shares(boxes, rows, columns)
    row, column = place
    learned = learned_in(by_row, by_column)[:, row, column]
    (y, y_end), (x, x_end) = rows[row].tolist(), columns[column].tolist()
    inside = np.clip(boxes, [x, y, x, y], [x_end, y_end, x_end, y_end]) - [x, y, x, y]
    whole = by_row[:, row] * by_column[:, column] >= 1 - 1e-9
    cut = []
    for i in np.flatnonzero((by_row[:, row] > 0) & (by_column[:, column] > 0)).tolist():
        instance = dict(instances[i], ignore_flag=int(instances[i].get('ignore_flag', 0) or not learned[i]))
        box = inside[i].tolist()
        if instance.get('mask'):
            refuse_deadly_mask(instance['mask'], dict(height=size[0], width=size[1]), MOST_PIXELS)
            mask = cut_mask(instance['mask'], (y, x, y_end, x_end))
            if mask is None:  # of the object itself this tile shows nothing
                continue
            instance['mask'], tight = mask
            box = box if whole[i] else _common(box, tight)
        if box[2] - box[0] >= 1 and box[3] - box[1] >= 1:
            cut.append(dict(instance, bbox=box))
    return cut


def _common(one: Sequence[float], other: Sequence[float]) -> list[float]:
    low = [max(a, b) for a, b in zip(one[:2], other[:2])]
    return low + [min(a, b) for a, b in zip(one[2:], other[2:])]


def cut_mask(
    segmentation: list | dict, tile: tuple[int, int, int, int]
) -> tuple[list[list[float]] | dict, list[float]] | None:
    """What a tile shows of a mask, in pixels of the tile, and the box around that; None if it shows nothing.

    Args:
        segmentation: COCO's polygons or run lengths.
        tile: Row and column of the tile, and the row and the column after it.

    Example:
        >>> cut_mask([[0, 0, 10, 0, 10, 4, 0, 4]], (2, 5, 34, 37))
        ([[5.0, 0.0, 5.0, 2.0, 0.0, 2.0, 0.0, 0.0]], [0.0, 0.0, 5.0, 2.0])
    """
    y, x, y_end, x_end = tile
    mask = mask_of({'segmentation': segmentation})
    if isinstance(mask, dict):
        return _cut_runs(mask, tile)
    polygons = []
    for polygon in mask or ():
        points = np.reshape(np.array(polygon, float), (-1, 2)) - [x, y]
        points = clip_polygon(points, x_end - x, y_end - y)
        if len(points) >= 3:
            polygons.append(points)
    if not polygons:
        return None
    every = np.concatenate(polygons)
    return [points.reshape(-1).tolist() for points in polygons], [*every.min(0).tolist(), *every.max(0).tolist()]


def clip_polygon(points: np.ndarray, width: float, height: float) -> np.ndarray:
    """The part of a polygon (N, 2) inside a rectangle that begins at (0, 0), as a polygon; empty where there is none.

    Where it falls into several parts, lines along the sides of the rectangle join them, which cover no pixel. Outlines that cross
    themselves, which labels have, keep their pixels; shapely's ``clip_by_rect`` gives other ones. Source: Sutherland and Hodgman,
    Reentrant polygon clipping, 1974.
    """
    for axis, limit, sign in ((0, 0.0, 1), (0, width, -1), (1, 0.0, 1), (1, height, -1)):
        if not len(points):
            break
        depth = sign * (points[:, axis] - limit)  # how far inside each corner is
        following, after = np.roll(points, -1, axis=0), np.roll(depth, -1)
        kept = []
        for here, there, one, other in zip(points, following, depth, after):
            if one >= 0:
                kept.append(here)
            if (one > 0 > other) or (one < 0 < other):
                crossing = here + (there - here) * (one / (one - other))
                crossing[axis] = limit
                kept.append(crossing)
        points = np.array(kept).reshape(-1, 2)
    return points


def _cut_runs(mask: dict, tile: tuple[int, int, int, int]) -> tuple[dict, list[float]] | None:
    from pycocotools import mask as coco_mask

    y, x, y_end, x_end = tile
    part = decoded_columns(mask, x, x_end)[y:y_end]
    if not part.any():
        return None
    rows, columns = np.flatnonzero(part.any(1)), np.flatnonzero(part.any(0))
    box = [float(v) for v in (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)]
    runs = coco_mask.encode(np.asfortranarray(part.astype(np.uint8)))
    return dict(runs, counts=runs['counts'].decode()), box  # text, as in a COCO file
