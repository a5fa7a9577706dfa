"""How a generated scene is drawn: shapes, textures, and how they are placed and painted."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True)
class Difficulty:
    """What makes scenes easy or hard; colours are RGB in 0..1."""

    objects: tuple[int, int]  # fewest and most objects drawn; where there is no room some are left out
    extent: tuple[float, float]  # smallest and largest object, as a fraction of the image's shorter side
    aspect: float  # largest ratio between the two axes of a stretched object
    visible: float  # least share of an object that other objects and the image border leave visible
    contrast: float  # least distance between the colours of an object and of the background
    clutter: float  # distance between the two colours of the background
    shading: float  # largest relative change of light, across the image and across an object
    noise: float  # standard deviation of the sensor noise
    blur: float  # share of the images that are slightly blurred
    least: float = 10  # smallest object in pixels, whatever the size of the image


DIFFICULTIES = {
    'easy': Difficulty((1, 4), (0.22, 0.45), 1.10, 0.95, 0.55, 0.08, 0.05, 0.01, 0.0),
    'medium': Difficulty((2, 6), (0.15, 0.42), 1.25, 0.60, 0.40, 0.16, 0.15, 0.03, 0.3),
    'hard': Difficulty((4, 9), (0.11, 0.42), 1.40, 0.35, 0.22, 0.30, 0.30, 0.06, 0.6),
    # Objects of 8 to 16 pixels in an image of 1024: what tiles are for.
    'small': Difficulty((20, 60), (8 / 1024, 16 / 1024), 1.25, 0.60, 0.40, 0.16, 0.15, 0.03, 0.3, least=8),
}


# Shapes: is the point (u, v) inside? A unit is half the extent; all eight stay apart when turned.


def _triangle(u, v):
    return np.maximum(-v, (3**0.5 * np.abs(u) + v) / 2) <= 0.575


def _star(u, v, tip=1.15, notch=0.5):
    # Folded into one of ten equal sectors, the outline is the line from a tip to a notch.
    radius, angle = np.hypot(u, v), np.arctan2(u, v)
    angle = np.abs((angle + np.pi / 5) % (2 * np.pi / 5) - np.pi / 5)
    across, along = radius * np.sin(angle), radius * np.cos(angle)
    return across * (tip - notch * np.cos(np.pi / 5)) <= (tip - along) * notch * np.sin(np.pi / 5)


def _heart(u, v):
    u, v = 1.15 * u, 1.15 * v + 0.1
    return (u * u + v * v - 1) ** 3 <= u * u * v**3


def _cross(u, v):
    u, v = np.abs(u), np.abs(v)
    return (np.minimum(u, v) <= 0.27) & (np.maximum(u, v) <= 1)


_SHAPES = {
    'circle': lambda u, v: np.hypot(u, v) <= 1,
    'square': lambda u, v: np.maximum(np.abs(u), np.abs(v)) <= 0.85,
    'triangle': _triangle,
    'star': _star,
    'ring': lambda u, v: np.abs(np.hypot(u, v) - 0.78) <= 0.22,
    'cross': _cross,
    'heart': _heart,
    'crescent': lambda u, v: (np.hypot(u, v) <= 1) & (np.hypot(u - 0.5, v) >= 0.75),
}
SHAPES = tuple(_SHAPES)

# Textures: the share in 0..1 of the second colour at (u, v). A unit is one period.


def _bricks(u, v, rng):
    return (v % 1 < 0.25) | ((u + np.floor(v)) / 2 % 1 < 0.13)


def _mosaic(u, v, rng):
    tiles = rng.random((32, 32))
    return tiles[np.floor(1.6 * v).astype(int) % 32, np.floor(1.6 * u).astype(int) % 32]


_TEXTURES = {
    'stripes': lambda u, v, rng: u % 1 < 0.5,
    'checks': lambda u, v, rng: (np.floor(1.4 * u) + np.floor(1.4 * v)) % 2,
    'dots': lambda u, v, rng: np.hypot(u % 1 - 0.5, v % 1 - 0.5) < 0.34,
    'gradient': lambda u, v, rng: 0.5 + 0.5 * np.sin(u * np.pi / 5),
    'mosaic': _mosaic,
    'bricks': _bricks,
    'ripples': lambda u, v, rng: np.hypot(u, v) % 1 < 0.5,
    'zigzag': lambda u, v, rng: (u + 2 * np.abs(v / 2 % 1 - 0.5)) % 1 < 0.5,
}
TEXTURES = tuple(_TEXTURES)


@dataclass(frozen=True)
class PlacedObject:
    """Where an object lies: ``window`` is its part of the image, ``inside`` its pixels there."""

    category: int
    center: tuple[float, float]
    radius: float
    window: tuple[slice, slice]
    inside: np.ndarray
    area: int  # pixels of the whole object, those beyond the image border included


def place_objects(rng, height, width, num_classes, level) -> tuple[np.ndarray, list[PlacedObject]]:
    """Place objects from back to front; return the owner of each pixel (-1: none) and the objects."""
    owner = np.full((height, width), -1)
    objects: list[PlacedObject] = []
    visible = np.zeros(0, int)
    for _ in range(rng.integers(level.objects[0], level.objects[1] + 1)):
        category = int(rng.integers(num_classes))
        # Only the place is drawn again, never the class, so that the classes stay equally frequent.
        for _ in range(40):
            item = _draw_object(rng, category, height, width, level)
            behind = owner[item.window][item.inside]
            covered = np.bincount(behind + 1, minlength=len(objects) + 1)[1:]
            left = np.append(visible - covered, behind.size)
            areas = np.array([other.area for other in (*objects, item)])
            if np.all(left >= np.maximum(level.visible * areas, 16)):
                owner[item.window][item.inside] = len(objects)
                objects.append(item)
                visible = left
                break
    return owner, objects


def _draw_object(rng, category, height, width, level) -> PlacedObject:
    radius = max(rng.uniform(*level.extent) * min(height, width), level.least) / 2
    margin = radius * level.visible
    x, y = rng.uniform(margin, width - margin), rng.uniform(margin, height - margin)
    angle, stretch = rng.uniform(0, 2 * np.pi), level.aspect ** rng.uniform(-0.5, 0.5)
    reach = int(1.5 * radius) + 2
    left, top = int(x) - reach, int(y) - reach
    dx = np.arange(left, left + 2 * reach) + 0.5 - x
    dy = np.arange(top, top + 2 * reach)[:, None] + 0.5 - y
    u, v = _turn(dx, dy, angle)
    inside = _SHAPES[SHAPES[category]](u / radius * stretch, v / radius / stretch)
    rows = slice(max(top, 0), min(top + 2 * reach, height))
    columns = slice(max(left, 0), min(left + 2 * reach, width))
    visible = inside[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    return PlacedObject(category, (x, y), radius, (rows, columns), visible, int(inside.sum()))


def _turn(x, y, angle):
    return x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)


def _pick_color(rng, avoid, distances) -> np.ndarray:
    """Return a random colour as far as asked from those to avoid, or the one of 32 that comes nearest to that."""
    colors = rng.uniform(0.04, 0.96, (32, 3))
    spare = (np.linalg.norm(colors[:, None] - np.array(avoid), axis=2) - distances).min(1)
    return colors[np.minimum(spare, 0).argmax()]


def _texture(name, x, y, period, rng) -> np.ndarray:
    u, v = _turn(x / period, y / period, rng.uniform(0, 2 * np.pi))
    u, v = u + rng.uniform(-1, 1), v + rng.uniform(-1, 1)
    return np.asarray(_TEXTURES[name](u, v, rng), float)[..., None]


def _cloud(rng, height, width) -> np.ndarray:
    """Return soft noise without direction or period, in 0..1 (H, W, 1)."""
    cells = rng.random((4 + height // 12, 4 + width // 12))
    return np.clip(cv2.resize(cells, (width, height), interpolation=cv2.INTER_CUBIC), 0, 1)[..., None]


def _light(rng, x, y, strength) -> np.ndarray:
    slope = rng.uniform(0, strength)
    return 1 + slope * _turn(x, y, rng.uniform(0, 2 * np.pi))[0][..., None]


def paint_scene(rng, owner, objects, textures, level, plain) -> np.ndarray:
    """Paint placed objects before a background, which shows a texture unless it is plain; return uint8 RGB (H, W, 3)."""
    height, width = owner.shape
    x, y = np.arange(width) + 0.5, np.arange(height)[:, None] + 0.5
    ground, step = rng.uniform(0.15, 0.85, 3), rng.normal(size=3)
    clutter = np.clip(ground + level.clutter * step / np.linalg.norm(step), 0, 1)
    if plain:
        share = _cloud(rng, height, width)
    else:
        period = rng.uniform(0.06, 0.15) * min(height, width)
        share = _texture(TEXTURES[rng.integers(len(TEXTURES))], x, y, period, rng)
    image = ground + (clutter - ground) * share
    for number, (item, texture) in enumerate(zip(objects, textures)):
        first = _pick_color(rng, [ground, clutter], level.contrast)
        # Its two colours stay far apart at every level: a texture nobody can see is no cue.
        second = _pick_color(rng, [ground, clutter, first], [level.contrast, level.contrast, 0.5])
        dx, dy = x[item.window[1]] - item.center[0], y[item.window[0]] - item.center[1]
        period = max(2 * item.radius / rng.uniform(4, 7), 4)
        color = first + (second - first) * _texture(TEXTURES[texture], dx, dy, period, rng)
        color *= _light(rng, dx / item.radius, dy / item.radius, level.shading)
        visible = owner[item.window] == number
        image[item.window][visible] = color[visible]
    image *= _light(rng, 2 * x / width - 1, 2 * y / height - 1, level.shading)
    if rng.random() < level.blur:
        padded = np.pad(image, [(1, 1), (1, 1), (0, 0)], 'edge')
        padded = (padded[:-2] + 2 * padded[1:-1] + padded[2:]) / 4
        image = (padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]) / 4
    image = image + level.noise * rng.standard_normal(image.shape, np.float32)
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
