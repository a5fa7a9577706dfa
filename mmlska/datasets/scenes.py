"""Generated scenes: objects told apart by shape, with exact masks, in COCO and ADE20K layout.

Every pixel follows from (seed, split, index), so a data set needs no download, and image ``i`` is the same whatever
the number of images. The shape of an object is its class; its texture says nothing (``texture='random'``), agrees
(``'class'``) or is that of another class (``'conflict'``), as a measurement of shape bias needs it. The three modes
share their geometry: only the paint differs.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ..files import write_atomically

GENERATOR = 'mmlska.datasets.scenes'
VERSION = 1  # Raise it when pixels or files change: an older set is then refused, never mixed up.
SPLITS = ('training', 'validation')
TEXTURE_MODES = ('random', 'class', 'conflict')


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


DIFFICULTIES = {
    'easy': Difficulty((1, 4), (0.22, 0.45), 1.10, 0.95, 0.55, 0.08, 0.05, 0.01, 0.0),
    'medium': Difficulty((2, 6), (0.15, 0.42), 1.25, 0.60, 0.40, 0.16, 0.15, 0.03, 0.3),
    'hard': Difficulty((4, 9), (0.11, 0.42), 1.40, 0.35, 0.22, 0.30, 0.30, 0.06, 0.6),
}


@dataclass(frozen=True, eq=False)
class Instance:
    """One object of a scene."""

    category: int  # index into SHAPES
    mask: np.ndarray  # visible pixels, bool (H, W)
    bbox: tuple[int, int, int, int]  # tight box of the visible pixels: x, y, width, height
    texture: int  # index into TEXTURES; texture i is the one of shape i


@dataclass(frozen=True, eq=False)
class Scene:
    """One image and its objects."""

    image: np.ndarray  # uint8 RGB (H, W, 3)
    instances: tuple[Instance, ...]  # from back to front


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


def make_scene(
    index: int, *, split: str, seed: int, size: int | Sequence[int], num_classes: int, difficulty: str, texture: str
) -> Scene:
    """Draw one scene; the same arguments always give the same pixels.

    Args:
        index: Number of the scene in its split, from 0.
        split: 'training' or 'validation'.
        seed: Seed of the data set, from 0.
        size: Side in pixels, or (height, width); each at least 32.
        num_classes: The first so many of ``SHAPES`` occur.
        difficulty: 'easy', 'medium' or 'hard'.
        texture: 'random' (any of ``TEXTURES``), 'class' (that of the own class) or 'conflict' (that of another
            class). In the last two the background is plain noise, so that it shows the texture of no class.

    Raises:
        ValueError: An argument is none of those named here.

    Example:
        >>> scene = make_scene(0, split='training', seed=0, size=(48, 64), num_classes=5,
        ...                    difficulty='easy', texture='class')
        >>> scene.image.shape, all(item.category == item.texture for item in scene.instances)
        ((48, 64, 3), True)
    """
    _check_choice('split', split, SPLITS)
    _check_integer('index', index, 0)
    height, width = _check_parameters(size, num_classes, difficulty, texture, seed)['size']
    level = DIFFICULTIES[difficulty]
    # Two streams, so that the texture mode changes the paint and never the geometry.
    key = (seed, SPLITS.index(split), index)
    geometry, paint = (np.random.default_rng((*key, stream)) for stream in range(2))
    owner, objects = _place(geometry, height, width, num_classes, level)
    textures = [_pick_texture(paint, item.category, num_classes, texture) for item in objects]
    image = _paint(paint, owner, objects, textures, level, plain=texture != 'random')
    instances = []
    for number, item in enumerate(objects):
        mask = owner == number
        instances.append(Instance(item.category, mask, _bbox(mask), textures[number]))
    return Scene(image, tuple(instances))


def semantic_mask(scene: Scene) -> np.ndarray:
    """Return the index mask of a scene in ADE20K's convention, uint8 (H, W).

    0 (unlabelled) does not occur, 1 is background, shape ``i`` is ``i + 2``: read with mmseg's
    ``reduce_zero_label=True``, the background is class 0.
    """
    mask = np.ones(scene.image.shape[:2], np.uint8)
    for item in scene.instances:
        mask[item.mask] = item.category + 2
    return mask


def _check_parameters(size, num_classes, difficulty, texture, seed) -> dict:
    sides = list(size) if isinstance(size, (list, tuple)) else [size, size]
    if len(sides) != 2:
        raise ValueError(f'size {size!r} is impossible; use one side or (height, width)')
    for side in sides:
        _check_integer('size', side, 32)
    _check_integer('num_classes', num_classes, 1, len(SHAPES))
    _check_integer('seed', seed, 0)
    _check_choice('difficulty', difficulty, DIFFICULTIES)
    _check_choice('texture', texture, TEXTURE_MODES)
    if texture == 'conflict' and num_classes < 2:
        raise ValueError("texture 'conflict' takes textures of other classes; use num_classes 2 or more")
    return {'size': sides, 'num_classes': num_classes, 'difficulty': difficulty, 'texture': texture, 'seed': seed}


def _check_choice(name: str, value: str, allowed: Iterable[str]) -> None:
    if value not in allowed:
        raise ValueError(f'{name} {value!r} is unknown; use one of {", ".join(allowed)}')


def _check_integer(name: str, value: int, low: int, high: int | None = None) -> None:
    allowed = f'{low} or more' if high is None else f'{low} to {high}'
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f'{name} {value!r} is not a whole number; use {allowed}')
    if value < low or (high is not None and value > high):
        raise ValueError(f'{name} {value} is impossible; use {allowed}')


@dataclass(frozen=True)
class _Object:
    """Where an object lies: ``window`` is its part of the image, ``inside`` its pixels there."""

    category: int
    center: tuple[float, float]
    radius: float
    window: tuple[slice, slice]
    inside: np.ndarray
    area: int  # pixels of the whole object, those beyond the image border included


def _place(rng, height, width, num_classes, level) -> tuple[np.ndarray, list[_Object]]:
    """Place objects from back to front; return the owner of each pixel (-1: none) and the objects."""
    owner = np.full((height, width), -1)
    objects: list[_Object] = []
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


def _draw_object(rng, category, height, width, level) -> _Object:
    radius = max(rng.uniform(*level.extent) * min(height, width), 10) / 2
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
    return _Object(category, (x, y), radius, (rows, columns), visible, int(inside.sum()))


def _turn(x, y, angle):
    return x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)


def _bbox(mask: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    top, left = int(rows[0]), int(columns[0])
    return left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top


def _pick_texture(rng, category, num_classes, mode) -> int:
    if mode == 'class':
        return category
    if mode == 'conflict':
        return int((category + rng.integers(1, num_classes)) % num_classes)
    return int(rng.integers(len(TEXTURES)))


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


def _paint(rng, owner, objects, textures, level, plain) -> np.ndarray:
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


def write_scenes(
    root: str | Path,
    *,
    num_train: int = 1000,
    num_val: int = 100,
    size: int | Sequence[int] = 128,
    num_classes: int = 5,
    difficulty: str = 'medium',
    texture: str = 'random',
    seed: int = 0,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> dict:
    """Write a data set of scenes under ``root``: all of it, or nothing.

    COCO format: ``images/{training,validation}/000000.png`` and ``annotations/instances_{training,validation}.json``
    (category ids from 1; each annotation names its ``texture``). ADE20K layout: the same images with the index masks
    of ``semantic_mask`` in ``annotations/{training,validation}/000000.png``. ``scenes.json``: the parameters, the
    names and the number of objects per class.

    Args:
        root: Folder to make; it may be there if it is empty.
        num_train: Images for training.
        num_val: Images for validation.
        size, num_classes, difficulty, texture, seed: See ``make_scene``.
        overwrite: Replace scenes that are there already; a folder that holds anything else is never replaced.
        progress: Called as ``progress(done, total)`` after each image.

    Returns:
        The content of ``scenes.json``, with ``root`` and with ``created``: False if exactly these scenes were there.

    Raises:
        ValueError: A parameter is impossible.
        FileExistsError: ``root`` holds other scenes and ``overwrite`` is False, or anything else.
    """
    _check_integer('num_train', num_train, 0)
    _check_integer('num_val', num_val, 0)
    if not num_train + num_val:
        raise ValueError('num_train and num_val are both 0; use at least one image')
    options = _check_parameters(size, num_classes, difficulty, texture, seed)
    parameters = {'num_train': num_train, 'num_val': num_val, **options}
    root = Path(root).expanduser().resolve()
    present = _read_summary(root)
    if present is not None and not overwrite:
        change = _difference(root, present, parameters)
        if change:
            raise FileExistsError(f'{root} holds other scenes ({change}); use --overwrite or another folder')
        return {**present, 'root': str(root), 'created': False}
    ours = {'images', 'annotations', 'scenes.json'} if present else set()
    if root.exists() and not (root.is_dir() and {path.name for path in root.iterdir()} <= ours):
        raise FileExistsError(f'{root} holds more than scenes, which even --overwrite keeps; use another folder')

    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f'.{root.name}-', dir=root.parent) as temporary:
        new = Path(temporary, 'new')
        summary = {'generator': GENERATOR, 'version': VERSION, 'parameters': parameters}
        summary |= {'classes': list(SHAPES[:num_classes]), 'textures': list(TEXTURES), 'instances': {}}
        for split, count, start in zip(SPLITS, (num_train, num_val), (0, num_train)):
            (new / 'images' / split).mkdir(parents=True)
            (new / 'annotations' / split).mkdir(parents=True)
            dataset = _empty_coco(parameters)
            for index in range(count):
                scene = make_scene(index, split=split, **options)
                _write_png(new / f'images/{split}/{index:06d}.png', scene.image)
                _write_png(new / f'annotations/{split}/{index:06d}.png', semantic_mask(scene))
                _add_to_coco(dataset, index, scene)
                if progress is not None:
                    progress(start + index + 1, num_train + num_val)
            (new / f'annotations/instances_{split}.json').write_text(json.dumps(dataset))
            found = [item['category_id'] for item in dataset['annotations']]
            summary['instances'][split] = {name: found.count(i) for i, name in enumerate(SHAPES[:num_classes], 1)}
        (new / 'scenes.json').write_text(json.dumps(summary, indent=2) + '\n')
        if root.exists():
            root.rename(Path(temporary, 'old'))
        new.rename(root)
    return {**summary, 'root': str(root), 'created': True}


def _read_summary(root: Path) -> dict | None:
    """Return the content of ``scenes.json`` if this generator wrote it."""
    try:
        summary = json.loads((root / 'scenes.json').read_text())
        return summary if summary['generator'] == GENERATOR else None
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _difference(root: Path, present: dict, parameters: dict) -> str:
    """Say how the scenes in ``root`` differ from those wanted; nothing where they are the same and complete."""
    if present['version'] != VERSION:
        return f'generator version {present["version"]}'
    then = present['parameters']
    changed = [f'{name} {then.get(name)}' for name, value in parameters.items() if then.get(name) != value]
    if not changed:
        for split, count in zip(SPLITS, (parameters['num_train'], parameters['num_val'])):
            files = [len(list((root / kind / split).glob('*.png'))) for kind in ('images', 'annotations')]
            if files != [count, count] or not (root / f'annotations/instances_{split}.json').is_file():
                changed.append(f'{split} incomplete')
    return ', '.join(changed)


def _empty_coco(parameters: dict) -> dict:
    names = enumerate(SHAPES[: parameters['num_classes']], 1)
    return {
        'info': {'description': 'Generated scenes', 'version': VERSION, 'parameters': parameters},
        'categories': [{'id': number, 'name': name, 'supercategory': 'shape'} for number, name in names],
        'images': [],
        'annotations': [],
    }


def _add_to_coco(dataset: dict, index: int, scene: Scene) -> None:
    height, width = scene.image.shape[:2]
    dataset['images'].append({'id': index, 'file_name': f'{index:06d}.png', 'height': height, 'width': width})
    for item in scene.instances:
        annotation = {
            'id': len(dataset['annotations']) + 1,  # not from 0, which COCOeval reads as "unmatched"
            'image_id': index,
            'category_id': item.category + 1,
            'bbox': item.bbox,
            'area': int(item.mask.sum()),
            'segmentation': {'size': [height, width], 'counts': _run_lengths(item.mask)},
            'iscrowd': 0,
            'texture': TEXTURES[item.texture],
        }
        dataset['annotations'].append(annotation)


def _run_lengths(mask: np.ndarray) -> list[int]:
    """Return COCO's uncompressed run lengths: column by column, the first run is of zeros."""
    flat = mask.ravel(order='F')
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    runs = np.diff(edges, prepend=0, append=flat.size).tolist()
    return [0, *runs] if flat[0] else runs


def _write_png(path: Path, image: np.ndarray) -> None:
    # Not cv2.imwrite, which returns False where it should raise.
    pixels = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.ndim == 3 else image
    path.write_bytes(cv2.imencode('.png', pixels)[1].tobytes())


def write_contact_sheet(path: str | Path, scenes: Sequence[Scene], columns: int = 4) -> None:
    """Write one PNG of scenes of equal size, each object outlined and labelled with its shape and texture."""
    tiles = []
    for scene in scenes:
        scale = -(-256 // min(scene.image.shape[:2]))  # large enough for the labels
        tile = scene.image.repeat(scale, 0).repeat(scale, 1)
        for item in scene.instances:
            mask = item.mask.astype(np.uint8).repeat(scale, 0).repeat(scale, 1)
            tile[mask > cv2.erode(mask, np.ones((3, 3), np.uint8))] = 255
        for item in scene.instances:
            label, font = f'{SHAPES[item.category]}/{TEXTURES[item.texture]}', (cv2.FONT_HERSHEY_SIMPLEX, 0.4)
            width, height = (side + 4 for side in cv2.getTextSize(label, *font, 1)[0])
            x = max(min(item.bbox[0] * scale, tile.shape[1] - width), 0)
            y = max(item.bbox[1] * scale - height // 2, 0)
            tile[y : y + height, x : x + width] //= 4
            cv2.putText(tile, label, (x + 2, y + height - 3), *font, (255, 255, 255), 1, cv2.LINE_AA)
        tiles.append(np.pad(tile, [(1, 1), (1, 1), (0, 0)]))
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % columns)
    sheet = np.vstack([np.hstack(tiles[start : start + columns]) for start in range(0, len(tiles), columns)])
    write_atomically(path, lambda tmp: _write_png(Path(tmp), sheet))
