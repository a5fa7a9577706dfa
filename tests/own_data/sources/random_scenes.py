"""Random labelled photos, with names as people have them."""

from __future__ import annotations

import math
import unicodedata
from dataclasses import dataclass

import numpy as np

BOX, POLYGON, TURNED, MASK = 'box', 'polygon', 'turned box', 'mask'
CLASSES = ['cat', 'traffic light', 'T-shirt', '苹果', 'salt & pepper']
_NFD = unicodedata.normalize('NFD', 'Ångström')
STEMS = [
    'my photo',
    'test drive',
    'train_001',
    'photo 1',
    '照片 二',
    '2024.05.01 12.30',
    'été',
    _NFD,
    'red, green',
    'a & b',
    'IMG_jpg.rf.9f3',
    'UP',
]
SUFFIXES = ['.jpg', '.JPG', '.png', '.PNG', '.Jpeg']


@dataclass
class Thing:
    """An object. A mask has no outline, a box that of its corners."""

    name: str
    kind: str
    box: list[float]  # left, top, width, height
    outline: list[float]  # x, y, x, y, ...
    turned: tuple[float, ...] = ()  # x and y of the centre, width, height, angle in radians, clockwise
    mask: np.ndarray | None = None  # (H, W) bool


@dataclass
class Scene:
    """A photo and what is on it."""

    name: str
    size: tuple[int, int]  # width, height
    split: str | None
    things: list[Thing]


def random_scenes(rng: np.random.Generator) -> list[Scene]:
    """3 to 6 photos; the first has an object of every kind, others may have none. Either all have a split, both of them, or none."""
    stems = rng.permutation(len(STEMS))[: rng.integers(3, 7)]
    split, scenes = bool(rng.integers(2)), []
    for place, stem in enumerate(stems):
        size = tuple(int(side) for side in rng.integers(40, 121, 2))
        first = [BOX, POLYGON, TURNED, MASK] if place == 0 else []
        kinds = first + list(rng.choice([BOX, POLYGON, TURNED, MASK], rng.integers(0, 4)))
        name = STEMS[stem] + str(rng.choice(SUFFIXES))
        scenes.append(
            Scene(
                name, size, ['train', 'val'][place % 2] if split else None, [_thing(rng, str(k), size) for k in kinds]
            )
        )
    return scenes


def _thing(rng: np.random.Generator, kind: str, size: tuple[int, int]) -> Thing:
    name = str(rng.choice(CLASSES))
    x, y = (side * rng.uniform(0.3, 0.7) for side in size)
    reach = min(x, y, size[0] - x, size[1] - y) - 0.1  # more than 11 pixels
    if kind == MASK:
        rows, columns = np.mgrid[: size[1], : size[0]]
        far = np.hypot(rows - y, (columns - x) / rng.uniform(0.5, 1))
        return Thing(
            name, kind, _bounds(mask := (far < reach * 0.8) & (far > reach * rng.uniform(0, 0.5))), [], mask=mask
        )
    if kind == TURNED:
        angle, lean = rng.uniform(0.1, 3.0), rng.uniform(0.4, 1.2)
        width, height = (round(2 * reach * side, 2) for side in (math.cos(lean), math.sin(lean)))
        turned = (round(x, 2), round(y, 2), width, height, round(angle, 5))
        return Thing(name, kind, _box(outline := _corners(*turned)), outline, turned)
    if kind == BOX:
        left, right = sorted(rng.uniform([0, size[0] / 2], [size[0] / 2 - 2, size[0]]).round(2).tolist())
        top, bottom = sorted(rng.uniform([0, size[1] / 2], [size[1] / 2 - 2, size[1]]).round(2).tolist())
        outline = [left, top, right, top, right, bottom, left, bottom]
    else:
        count = int(rng.integers(3, 9))
        angles = [(step + rng.uniform(0, 0.8)) * 2 * math.pi / count for step in range(count)]
        far = [reach * rng.uniform(0.5, 1) for _ in angles]
        outline = [round(v, 2) for r, a in zip(far, angles) for v in (x + r * math.cos(a), y + r * math.sin(a))]
    return Thing(name, kind, _box(outline), outline)


def _corners(x: float, y: float, width: float, height: float, angle: float) -> list[float]:
    cos, sin = math.cos(angle), math.sin(angle)
    signs = ((-1, -1), (1, -1), (1, 1), (-1, 1))
    moved = ((a * width / 2, b * height / 2) for a, b in signs)
    return [v for a, b in moved for v in (x + a * cos - b * sin, y + a * sin + b * cos)]


def _box(outline: list[float]) -> list[float]:
    (x, right), (y, bottom) = ((min(outline[start::2]), max(outline[start::2])) for start in (0, 1))
    return [x, y, right - x, bottom - y]


def _bounds(mask: np.ndarray) -> list[int]:
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    return [int(v) for v in (columns[0], rows[0], np.ptp(columns) + 1, np.ptp(rows) + 1)]
