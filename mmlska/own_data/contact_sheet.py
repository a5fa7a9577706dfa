"""Draw samples of a data set with their labels into one picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from ..bands import check_bands, pixels_of, read_picture
from ..datasets.coco_labels import box_of, draw_mask
from ..engine.ignored_label import IGNORED
from ..files import write_bytes
from ..image_windows import header_of, is_huge
from .folder import name_hash
from .sources.source import Legend, Sample, Source

_TILE = 320


def write_sheet(path: str | Path, source: Source, count: int = 12, bands: Sequence[int] = ()) -> int:
    """Write a PNG of samples, chosen by a hash of their names, with the labels painted over them.

    Args:
        path: The picture to write.
        source: Labels that were checked.
        count: Number of samples; fewer are drawn, and their number returned, where no more can be.
        bands: The channels, from 1, for red, green and blue, or one for grey; by default the first three, or the first.

    Raises:
        ValueError: If no sample can be drawn, or an image has no such channels.
        FileExistsError: If the picture is there and no regular file, such as a link.
    """
    legend, tiles, pixels = source.legend(), [], False
    for _, read in sorted(source.samples(), key=lambda named: name_hash(named[0])):
        sample = read()
        tile = _tile(sample, legend, bands) if sample else None
        if tile is not None:
            tiles.append(tile)
            pixels = pixels or sample.index is not None
        if len(tiles) == count:
            break
    drawn = len(tiles)
    if not drawn:
        raise ValueError(f'--sheet {path}: no image can be drawn; the findings say why')
    if pixels:
        tiles.append(_legend(legend))
    columns = min(len(tiles), 4)
    tiles += [np.full((_TILE, _TILE, 3), 255, np.uint8)] * (-len(tiles) % columns)
    rows = [
        np.hstack([np.pad(t, [(2, 2), (2, 2), (0, 0)], constant_values=255) for t in tiles[i : i + columns]])
        for i in range(0, len(tiles), columns)
    ]
    write_bytes(path, cv2.imencode('.png', np.vstack(rows)[..., ::-1])[1].tobytes())
    return drawn


def _tile(sample: Sample, legend: Legend, bands: Sequence[int]) -> np.ndarray | None:
    """An image as training sees it with its labels, RGB; None where it can't be read."""
    try:
        channels = pixels_of(sample.image).channels
    except (OSError, ValueError):
        return None
    check_bands(bands, channels)  # outside of both: a wrong number is no fault of an image
    try:
        header = header_of(sample.image)
        side = 2 * _TILE if is_huge(header) else None
        picture = read_picture(sample.image, as_stored=sample.as_stored, bands=bands, side=side)
    except (OSError, ValueError):
        return None
    pixels = np.ascontiguousarray(picture[..., ::-1])
    if sample.index is None:
        width, height = header.stored if sample.as_stored else header.upright
        painted = _paint_objects(pixels, (height, width), sample.objects, legend)
    elif sample.index.shape == pixels.shape[:2]:
        painted = _paint_index(pixels, sample.index, legend)
    else:
        return None
    return _frame(painted, sample.image.name)


def _paint_objects(
    pixels: np.ndarray, shape: tuple[int, int], objects: Sequence[tuple[int, dict]], legend: Legend
) -> np.ndarray:
    """A picture of an image of this height and width with its objects."""
    scale = _TILE / max(shape)
    tile = _resize(pixels, _TILE / max(pixels.shape[:2]))
    for label, annotation in objects:
        inside = draw_mask(annotation, shape, scale, tile.shape[:2])
        tile[inside] = (0.5 * tile[inside] + 0.5 * np.array(legend[label][1])).astype(np.uint8)
    for label, annotation in objects:
        name, color = legend[label]
        x, y, width, height = (round(value * scale) for value in box_of(annotation))
        cv2.rectangle(tile, (x, y), (x + width, y + height), color, 1)
        if len(objects) <= 30 and len(legend) > 1:
            _write(tile, _plain(name, label) + ('*' if annotation.get('iscrowd') else ''), x, y, color)
    return tile


def _paint_index(pixels: np.ndarray, index: np.ndarray, legend: Legend) -> np.ndarray:
    """Image and labels side by side, each in half a tile."""
    palette = np.zeros((256, 3), np.uint8)
    palette[: len(legend)] = [color for _, color in legend]
    painted = (0.35 * pixels + 0.65 * palette[index]).astype(np.uint8)
    painted = np.where((index == IGNORED)[..., None], pixels // 4, painted)
    scale = _TILE / max(2 * pixels.shape[1], pixels.shape[0])
    return np.hstack([_resize(part, scale) for part in (pixels, painted)])


def _legend(legend: Legend) -> np.ndarray:
    tile = np.full((_TILE, _TILE, 3), 255, np.uint8)
    step = min(max((_TILE - 20) // len(legend), 9), 24)
    for number, (name, color) in enumerate(legend):
        top = 10 + number * step
        cv2.rectangle(tile, (10, top), (30, top + step - 3), [int(v) for v in color], -1)
        cv2.putText(
            tile, _plain(name, number), (38, top + step - 5), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1, cv2.LINE_AA
        )
    return tile


def _plain(name: str, number: int) -> str:
    # OpenCV's fonts have no other letters.
    return name if name.isascii() else f'class {number}'


def _resize(pixels: np.ndarray, scale: float) -> np.ndarray:
    height, width = (max(round(side * scale), 1) for side in pixels.shape[:2])
    return cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST)


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
