"""The boxes around outlines and their areas, thousands at a time: one by one they take most of the time that a large file takes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from ...datasets.coco_labels import LONGEST_OUTLINE, farthest

#: Masks that are measured at once; more need more memory and take no less time.
BLOCK = 4096


class Measured(NamedTuple):
    """What the outlines of an object measure."""

    box: list[float]  # around them, within the image
    least: float  # their area, if all but the largest are holes in it
    most: float  # their areas together


def is_plain(mask: Any) -> bool:
    """Whether it is a list of outlines [x, y, ...] of three points or more, of which the numbers are yet to be looked at.

    Example:
        >>> is_plain([[0, 0, 4, 0, 4, 4]]), is_plain([[[0, 0], [4, 0], [4, 4]]]), is_plain([[0, 0, 4, 0]])
        (True, False, False)
    """
    if type(mask) is not list or not mask:
        return False
    return all(type(p) is list and len(p) > 5 and len(p) % 2 == 0 and type(p[0]) is not list for p in mask)


def measure(masks: Sequence[list], sizes: Sequence[tuple[int, int]]) -> list[Measured | None]:
    """The boxes and areas of masks.

    Args:
        masks: Each one that :func:`is_plain`.
        sizes: Width and height of the image of each.

    Returns:
        One for each mask. None for a mask that may have a :func:`mmlska.datasets.coco_labels.mask_fault`, and for all if something is no
        number: these have to be looked at one by one.

    Example:
        >>> measure([[[0, 0, 4, 0, 4, 4]], [[-2, 1, 4, 1, 4, 9]]], [(8, 6), (8, 6)])[1].box
        [0.0, 1.0, 4.0, 5.0]
    """
    rings = [ring for mask in masks for ring in mask]
    if not set(map(type, chain.from_iterable(rings))) <= {int, float}:
        return [None] * len(masks)
    points = np.fromiter(map(len, rings), np.int64, len(rings)) // 2
    try:
        values = np.fromiter(chain.from_iterable(rings), np.float64, 2 * points.sum())
    except OverflowError:  # an integer that is too large
        return [None] * len(masks)
    first = np.append(0, np.cumsum(points)[:-1])  # where rings begin among the points
    own = np.append(0, np.cumsum([len(mask) for mask in masks])[:-1])  # where masks begin among the rings
    with np.errstate(invalid='ignore', over='ignore'):  # which are found below
        sides = [np.minimum.reduceat(axis, first) for axis in (values[::2], values[1::2])]
        others = [np.maximum.reduceat(axis, first) for axis in (values[::2], values[1::2])]
        areas = _areas(values[::2], values[1::2], first, points)
        low, high = np.minimum(*sides), np.maximum(*others)
        reach = {size: farthest(*size) for size in set(sizes)}
        far = np.repeat([reach[size] for size in sizes], np.diff(np.append(own, len(rings))))
        sound = (low >= -far) & (high <= far) & (points * (high - low) <= LONGEST_OUTLINE)
        together = np.add.reduceat(areas, own)
        least = np.maximum(2 * np.maximum.reduceat(areas, own) - together, 0)
        boxes = [_within(*ends, own, side) for *ends, side in zip(sides, others, np.transpose(sizes))]
    box = np.stack([start for start, _ in boxes] + [length for _, length in boxes], axis=1)
    found = zip(box.tolist(), least.tolist(), np.maximum(together, 1).tolist())
    good = np.logical_and.reduceat(sound, own).tolist()
    return [Measured(*values) if fine else None for values, fine in zip(found, good)]


def _areas(x: np.ndarray, y: np.ndarray, first: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The area inside each of many rings, of which the points follow each other."""
    following = np.arange(1, len(x) + 1)
    following[first + points - 1] = first
    return np.abs(np.add.reduceat(x * y[following] - y * x[following], first)) / 2


def _within(low: np.ndarray, high: np.ndarray, own: np.ndarray, side: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Start and length along one axis of the part in the image of what lies around the rings of each mask."""
    low, high = np.minimum.reduceat(low, own), np.maximum.reduceat(high, own)
    start = np.maximum(low, 0)
    return start, np.minimum(low + (high - low), side) - start
