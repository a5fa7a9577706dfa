"""Draw samples of a data set with their labels into one picture."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from ..datasets.coco_labels import box_of, mask_of, problem
from ..files import write_bytes
from ..images import read_header, read_photo
from .layout import distinct_colors
from .sources.coco import CocoFile, categories_of, labelled_as_stored
from .sources.masks import IGNORE, Labels, MaskPair, read_index

_TILE = 320


def write_sheet(
    path: str, files: Sequence[CocoFile] | None, pairs: Sequence[MaskPair], labels: Labels | None, count: int = 12
) -> int:
    """Write a PNG of samples, chosen by a hash of their names, with the labels painted over them.

    Args:
        path: The picture to write.
        files: COCO files; None for pairs.
        pairs: Pairs of image and mask.
        labels: The classes of the masks.
        count: Number of samples.

    Returns:
        The number of samples drawn.

    Raises:
        ValueError: If no sample can be drawn.
        FileExistsError: If the picture is there and no regular file, such as a link.
    """
    tiles = []
    if files is not None:
        classes, mapping, _ = categories_of(files)
        samples = [
            (item, image) for item in files for image in item.content['images'] if image.get('file_name') in item.images
        ]
        for item, image in sorted(samples, key=lambda sample: _hash(sample[1]['file_name'])):
            tiles += _coco_tile(item, image, classes, mapping)
            if len(tiles) == count:
                break
    elif labels is not None:
        for pair in sorted(pairs, key=lambda pair: _hash(pair.image.name + str(pair.image.parent))):
            tiles += _mask_tile(pair, labels)
            if len(tiles) == count:
                break
    drawn = len(tiles)
    if not drawn:
        raise ValueError(f'--sheet {path}: no image can be drawn; the findings say why')
    if files is None:
        tiles.append(_legend(labels))
    columns = min(len(tiles), 4)
    tiles += [np.full((_TILE, _TILE, 3), 255, np.uint8)] * (-len(tiles) % columns)
    rows = [
        np.hstack([np.pad(t, [(2, 2), (2, 2), (0, 0)], constant_values=255) for t in tiles[i : i + columns]])
        for i in range(0, len(tiles), columns)
    ]
    write_bytes(path, cv2.imencode('.png', np.vstack(rows)[..., ::-1])[1].tobytes())
    return drawn


def _hash(name: str) -> bytes:
    return hashlib.sha1(name.encode('utf-8', 'surrogatepass')).digest()


def _load(path: Path, as_stored: bool) -> np.ndarray | None:
    """An image as training sees it, RGB."""
    try:
        pixels = read_photo(path, as_stored=as_stored)
    except (OSError, ValueError):
        return None
    return np.ascontiguousarray(pixels[..., ::-1])


def _coco_tile(item: CocoFile, image: dict, classes: list[str], mapping: dict) -> list[np.ndarray]:
    path = item.images[image['file_name']]
    try:
        as_stored = labelled_as_stored(image, read_header(path))
    except (OSError, ValueError):
        return []
    pixels = _load(path, as_stored)
    if pixels is None:
        return []
    image = dict(image, width=pixels.shape[1], height=pixels.shape[0])
    scale = _TILE / max(pixels.shape[:2])
    tile = _resize(pixels, scale, cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST)
    colors = distinct_colors(len(classes))
    ids = {number for source, number in mapping if source == item.path}
    usable = [
        a for a in item.content['annotations'] if a.get('image_id') == image.get('id') and not problem(a, image, ids)
    ]
    for annotation in usable:
        color = colors[mapping[item.path, annotation['category_id']]]
        inside = _mask(annotation, pixels.shape[:2], scale, tile.shape[:2])
        tile[inside] = (0.5 * tile[inside] + 0.5 * np.array(color)).astype(np.uint8)
    for annotation in usable:
        label = mapping[item.path, annotation['category_id']]
        x, y, width, height = (round(value * scale) for value in box_of(annotation))
        cv2.rectangle(tile, (x, y), (x + width, y + height), colors[label], 1)
        if len(usable) <= 30 and len(classes) > 1:
            _write(
                tile, _plain(classes[label], label) + ('*' if annotation.get('iscrowd') else ''), x, y, colors[label]
            )
    return [_frame(tile, path.name)]


def _mask(annotation: dict, shape: tuple[int, int], scale: float, tile_shape: tuple[int, int]) -> np.ndarray:
    """The mask of an annotation on the tile, bool."""
    from pycocotools import mask as coco_mask

    mask, inside = mask_of(annotation), np.zeros(tile_shape, np.uint8)
    if isinstance(mask, list):
        cv2.fillPoly(inside, [np.round(np.reshape(polygon, (-1, 2)) * scale).astype(np.int32) for polygon in mask], 1)
    elif mask is not None and list(mask['size']) == list(shape):
        runs = coco_mask.frPyObjects(mask, *shape) if isinstance(mask['counts'], list) else mask
        inside = cv2.resize(coco_mask.decode(runs), tile_shape[::-1], interpolation=cv2.INTER_NEAREST)
    return inside.astype(bool)


def _mask_tile(pair: MaskPair, labels: Labels) -> list[np.ndarray]:
    """Image and labels side by side, each in half a tile."""
    if not pair.values:
        return []
    try:
        header = read_header(pair.image)
    except (OSError, ValueError):
        return []
    pixels, index = _load(pair.image, pair.size == header.stored != header.upright), read_index(pair, labels)
    if pixels is None or index.shape != pixels.shape[:2]:
        return []
    palette = np.array([*labels.palette, *[[0, 0, 0]] * (256 - len(labels.palette))], np.uint8)
    painted = palette[index]
    half = np.where((index == IGNORE)[..., None], pixels // 4, (0.35 * pixels + 0.65 * painted).astype(np.uint8))
    scale = _TILE / max(2 * pixels.shape[1], pixels.shape[0])
    both = np.hstack(
        [_resize(part, scale, cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST) for part in (pixels, half)]
    )
    return [_frame(both, pair.image.name)]


def _legend(labels: Labels) -> np.ndarray:
    tile = np.full((_TILE, _TILE, 3), 255, np.uint8)
    step = min(max((_TILE - 20) // max(len(labels.classes), 1), 9), 24)
    for number, (name, color) in enumerate(zip(labels.classes, labels.palette)):
        top = 10 + number * step
        cv2.rectangle(tile, (10, top), (30, top + step - 3), [int(v) for v in color], -1)
        cv2.putText(
            tile, _plain(name, number), (38, top + step - 5), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1, cv2.LINE_AA
        )
    return tile


def _plain(name: str, number: int) -> str:
    # OpenCV's fonts have no other letters.
    return name if name.isascii() else f'class {number}'


def _resize(pixels: np.ndarray, scale: float, how: int) -> np.ndarray:
    height, width = (max(round(side * scale), 1) for side in pixels.shape[:2])
    return cv2.resize(pixels, (width, height), interpolation=how)


def _frame(tile: np.ndarray, name: str) -> np.ndarray:
    """Centre a picture on a tile and write the name of its file below."""
    out = np.full((_TILE, _TILE, 3), 40, np.uint8)
    tile = tile[:_TILE, :_TILE]
    top, left = (_TILE - tile.shape[0]) // 2, (_TILE - tile.shape[1]) // 2
    out[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    text = name if name.isascii() else name.encode('ascii', 'replace').decode()
    _write(out, text if len(text) <= 44 else f'{text[:20]}...{text[-20:]}', 2, _TILE - 4, (255, 255, 255))
    return out


def _write(tile: np.ndarray, text: str, x: int, y: int, color: Sequence[int]) -> None:
    font = (cv2.FONT_HERSHEY_SIMPLEX, 0.35)
    width, height = cv2.getTextSize(text, *font, 1)[0]
    x, y = max(min(x, tile.shape[1] - width - 2), 0), max(min(y, tile.shape[0] - 3), height + 2)
    tile[y - height - 2 : y + 3, x : x + width + 2] //= 4
    cv2.putText(tile, text, (x + 1, y), *font, [int(v) for v in color], 1, cv2.LINE_AA)
