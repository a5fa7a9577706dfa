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
from .scene_bands import band_image, write_bands
from .scene_drawing import DIFFICULTIES, SHAPES, TEXTURES, paint_scene, place_objects

GENERATOR = 'mmlska.datasets.scenes'
VERSION = 1  # Raise it when pixels or files change: an older set is then refused, never mixed up.
SPLITS = ('training', 'validation')
TEXTURE_MODES = ('random', 'class', 'conflict')
_MOST_BANDS = 64


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
    owner, objects = place_objects(geometry, height, width, num_classes, level)
    textures = [_pick_texture(paint, item.category, num_classes, texture) for item in objects]
    image = paint_scene(paint, owner, objects, textures, level, plain=texture != 'random')
    instances = []
    for number, item in enumerate(objects):
        mask = owner == number
        instances.append(Instance(item.category, mask, _bbox(mask), textures[number]))
    return Scene(image, tuple(instances))


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
    bands: int | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> dict:
    """Write a data set of scenes under ``root``: all of it, or nothing.

    COCO format: ``images/{training,validation}/000000.png`` (``.tif`` of ``bands``) and
    ``annotations/instances_{training,validation}.json``
    (category ids from 1; each annotation names its ``texture``). ADE20K layout: the same images with the index masks
    of ``semantic_mask`` in ``annotations/{training,validation}/000000.png``. ``scenes.json``: the parameters, the
    names and the number of objects per class.

    Args:
        root: Folder to make; it may be there if it is empty.
        num_train, num_val: Images for training and for validation.
        size, num_classes, difficulty, texture, seed: See ``make_scene``.
        bands: Write the images as TIFF of so many bands in 16 bits; see :func:`mmlska.datasets.scene_bands.band_image`. None for PNG
            in colours.
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
    if bands is not None:  # scenes in colours are described as before there were others
        _check_integer('bands', bands, 1, _MOST_BANDS)
        parameters['bands'] = bands
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
                name = f'{index:06d}.png' if bands is None else f'{index:06d}.tif'
                labels, file = semantic_mask(scene), new / f'images/{split}/{name}'
                if bands is None:
                    _write_png(file, scene.image)
                else:
                    write_bands(file, band_image(scene.image, labels - 1, bands, (seed, SPLITS.index(split), index)))
                _write_png(new / f'annotations/{split}/{index:06d}.png', labels)
                _add_to_coco(dataset, index, scene, name)
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
    names = dict.fromkeys([*parameters, *then])
    changed = [f'{name} {then.get(name)}' for name in names if then.get(name) != parameters.get(name)]
    if not changed:
        for split, count in zip(SPLITS, (parameters['num_train'], parameters['num_val'])):
            files = [len(list((root / kind / split).glob('*.*'))) for kind in ('images', 'annotations')]
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


def _add_to_coco(dataset: dict, index: int, scene: Scene, name: str) -> None:
    height, width = scene.image.shape[:2]
    dataset['images'].append({'id': index, 'file_name': name, 'height': height, 'width': width})
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
