"""Large images in overlapping tiles: where they lie, and how what was found in them becomes one result.

Memory beside the image and its result is that of one batch of tiles and, for a segmentor, two strips of logits as high as the overlap.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np


def tile_starts(length: int, tile: int, overlap: int) -> list[int]:
    """First pixels of the tiles along one side: equally spaced, the last one ends with the image.

    Example:
        >>> tile_starts(100, 40, 10)
        [0, 30, 60]
        >>> tile_starts(30, 40, 10)
        [0]
    """
    if length <= tile:
        return [0]
    count = -(-(length - overlap) // (tile - overlap))
    return [round(i * (length - tile) / (count - 1)) for i in range(count)]


def tile_spans(length: int, tile: int, overlap: int) -> np.ndarray:
    """Where the tiles along one side begin, and the pixel after their last one, (N, 2).

    Example:
        >>> tile_spans(100, 40, 10).tolist()
        [[0, 40], [30, 70], [60, 100]]
    """
    starts = np.array(tile_starts(length, tile, overlap))
    return np.stack([starts, np.minimum(starts + tile, length)], axis=1)


def checked_tiles(tile: int, overlap: int | None = None) -> tuple[int, int]:
    """The side of tiles and the pixels that neighbours share, by default an eighth.

    Raises:
        ValueError: If there can be no such tiles.

    Example:
        >>> checked_tiles(640), checked_tiles(640, 100)
        ((640, 80), (640, 100))
    """
    for name, value in (('tile', tile), ('overlap', 0 if overlap is None else overlap)):
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(f'{name}={value!r} must be a whole number of pixels')
    if tile < 32:
        raise ValueError(f'tile={tile} must be at least 32 pixels, or 0 for whole images')
    overlap = tile // 8 if overlap is None else overlap
    if not 0 <= overlap <= tile // 3:
        raise ValueError(f'overlap={overlap} must be 0 to {tile // 3}, a third of tile={tile}')
    return tile, overlap


class Blender:
    """Logits of tiles to the index mask of the whole image: in each overlap one tile fades into the next.

    Across the boundary between two tiles the weights go from 1 to 0 and from 0 to 1 over ``overlap`` pixels, and add up to 1. Tiles
    must be added in reading order.

    Args:
        height, width: Of the image.
        tile: Side of a tile.
        overlap: Over which neighbours fade.
        threshold: Above which a single output means foreground.
    """

    def __init__(self, height: int, width: int, tile: int, overlap: int, threshold: float = 0.0) -> None:
        self.overlap, self.threshold = overlap, threshold
        self.rows = _parts(height, tile, overlap)
        self.columns = _parts(width, tile, overlap)
        self.mask = np.zeros((height, width), np.uint8)
        self._above: np.ndarray | None = None  # what the tiles above add to this row of tiles, and these to the next
        self._below: np.ndarray | None = None
        self._left: np.ndarray | None = None

    def boxes(self) -> Iterator[tuple[int, int, int, int]]:
        """Row and column of each tile, in order, and the image's rows and columns that end it."""
        for y, y_end, *_ in self.rows:
            for x, x_end, *_ in self.columns:
                yield y, x, y_end, x_end

    def add(self, index: int, logits: np.ndarray) -> None:
        """Add the logits (C, H, W) of a tile; ``index`` is its place in :meth:`boxes`."""
        i, j = divmod(index, len(self.columns))
        (y, _, top, bottom, row_weights), (x, _, left, right, column_weights) = self.rows[i], self.columns[j]
        block = logits[:, top - y : bottom - y, left - x : right - x].astype(np.float32)
        block *= row_weights[:, None] * column_weights
        o = self.overlap
        first, last_row, last_column = j == 0, i == len(self.rows) - 1, j == len(self.columns) - 1
        if first:
            self._above, self._below = self._below, None
            if not last_row:
                self._below = np.zeros((len(block), o, self.mask.shape[1]), np.float32)
        if len(block) > 256 and self.mask.dtype == np.uint8:
            self.mask = self.mask.astype(np.uint16)
        new = left if first else left + o  # the columns before were added with the tile on the left
        if i > 0:
            block[:, :o, new - left :] += self._above[:, :, new:right]
        if not first:
            block[:, :, :o] += self._left
        done_row = bottom if last_row else bottom - o
        done = right if last_column else right - o
        self._left = None if last_column else block[:, :, done - left :].copy()
        finished = block[:, :, : done - left]
        self.mask[top:done_row, left:done] = self._classes(finished[:, : done_row - top])
        if not last_row:
            self._below[:, :, left:done] = finished[:, done_row - top :]

    def _classes(self, outputs: np.ndarray) -> np.ndarray:
        return outputs.argmax(axis=0) if len(outputs) > 1 else outputs[0] > self.threshold


def _parts(length: int, tile: int, overlap: int) -> list[tuple[int, int, int, int, np.ndarray]]:
    """For each tile: start, end, the part of it that counts, and that part's weights."""
    starts = tile_starts(length, tile, overlap)
    ends = [min(start + tile, length) for start in starts]
    # Half-way through what two neighbours share, the fade is centred.
    fades = [(end + start - overlap + 1) // 2 for end, start in zip(ends, starts[1:])]
    lows, highs = [0, *fades], [*(fade + overlap for fade in fades), length]
    ramp = (np.arange(overlap, dtype=np.float32) + 0.5) / max(overlap, 1)
    parts = []
    for i, (start, end, low, high) in enumerate(zip(starts, ends, lows, highs)):
        weights = np.ones(high - low, np.float32)
        if i > 0:
            weights[:overlap] *= ramp
        if i < len(starts) - 1:
            weights[len(weights) - overlap :] *= ramp[::-1]
        parts.append((start, end, low, high, weights))
    return parts


def cut_by_tile(boxes: np.ndarray, tile: tuple[int, int, int, int], height: int, width: int) -> np.ndarray:
    """Which boxes (N, 4) of a tile end at one of its sides that lies inside the image, within two pixels."""
    y, x, y_end, x_end = tile
    ends_there = np.hstack([boxes[:, :2] <= (x + 2, y + 2), boxes[:, 2:] >= (x_end - 2, y_end - 2)])
    return (ends_there & [x > 0, y > 0, x_end < width, y_end < height]).any(axis=1)


def drop_pieces(boxes: np.ndarray, labels: np.ndarray, cut: np.ndarray) -> np.ndarray:
    """Which boxes stay when the pieces of objects that another tile shows whole are dropped; NMS would keep them for their small IoU.

    Args:
        boxes: (N, 4) in pixels of the image.
        labels: (N,).
        cut: (N,), whether a box ends where its tile does. Such a piece goes if 0.7 of it lies in one whole box of its class.
    """
    stays = np.ones(len(boxes), bool)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    whole = ~cut
    for i in np.flatnonzero(cut):
        others = boxes[whole & (labels == labels[i])]
        sides = np.minimum(others[:, 2:], boxes[i, 2:]) - np.maximum(others[:, :2], boxes[i, :2])
        inside = np.clip(sides, 0, None).prod(axis=1)
        stays[i] = not (inside >= 0.7 * max(areas[i], 1e-6)).any()
    return stays
