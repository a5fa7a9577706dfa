"""The shapes of CVAT's XML as boxes, outlines and run lengths; :mod:`.cvat` reads the files."""

from __future__ import annotations

import math
from xml.etree.ElementTree import Element

import numpy as np

from ...text import shown
from ..label_text import number
from ..shapes import ellipse, placed, turned_box


def read_shape(shape: Element, size: tuple[int, int]) -> dict:
    """A box, outline or mask, as :meth:`mmlska.own_data.label_builder.LabelledPhoto.add` takes it.

    Args:
        shape: ``<box>``, ``<polygon>``, ``<ellipse>`` or ``<mask>``.
        size: Width and height of the photo.

    Raises:
        ValueError: If it is another shape, or lacks a number.
    """
    if shape.tag not in _READERS:
        raise ValueError('it is no shape of CVAT 1.1')
    return _READERS[shape.tag](shape, size)


def _box(shape: Element, size: tuple[int, int]) -> dict:
    left, top, right, bottom = (_number(shape, key) for key in ('xtl', 'ytl', 'xbr', 'ybr'))
    angle = math.radians(number(shape.get('rotation') or 0) % 360)
    if not angle:
        return {'box': [left, top, right - left, bottom - top]}
    return {'polygons': [turned_box((left + right) / 2, (top + bottom) / 2, right - left, bottom - top, angle)]}


def _polygon(shape: Element, size: tuple[int, int]) -> dict:
    points = [pair.split(',') for pair in (shape.get('points') or '').split(';') if pair.strip()]
    if len(points) < 3 or any(len(point) != 2 for point in points):
        raise ValueError(f'the points {shown(shape.get("points"))} are no three or more x,y')
    return {'polygons': [[number(value) for point in points for value in point]]}


def _ellipse(shape: Element, size: tuple[int, int]) -> dict:
    x, y, radius_x, radius_y = (_number(shape, key) for key in ('cx', 'cy', 'rx', 'ry'))
    angle = math.radians(number(shape.get('rotation') or 0) % 360)
    return {'polygons': [ellipse(x, y, radius_x, radius_y, angle)]}


def _mask(shape: Element, size: tuple[int, int]) -> dict:
    left, top, width, height = (whole(shape, key) for key in ('left', 'top', 'width', 'height'))
    if not (0 < width <= size[0] and 0 < height <= size[1]):
        raise ValueError(f'a mask of {width}x{height} pixels in a photo of {size[0]}x{size[1]}')
    runs = [number(run) for run in (shape.get('rle') or '').split(',')]
    if min(runs) < 0 or any(run != int(run) for run in runs) or sum(runs) != width * height:
        raise ValueError(f'its run lengths do not add up to {width}x{height} pixels')
    inside = np.repeat(np.arange(len(runs)) % 2 == 1, np.array(runs, int)).reshape(height, width)
    return {'runs': placed(inside, left, top, size)}


_READERS = {'box': _box, 'polygon': _polygon, 'ellipse': _ellipse, 'mask': _mask}


def _number(shape: Element, key: str) -> float:
    value = shape.get(key)
    if value is None:
        raise ValueError(f'it has no {key}')
    return number(value)


def whole(shape: Element, key: str) -> int:
    """A whole number among the attributes of a shape. ValueError if it is none."""
    value = _number(shape, key)
    if value != int(value):
        raise ValueError(f'{key} is {value:g}, no whole number')
    return int(value)
