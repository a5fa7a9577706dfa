"""Values of masks that interpolation made: masks that were resized like photos have values between two classes where these meet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import cv2
import numpy as np

from ..colors import unpack_rgb
from ..engine.ignored_label import IGNORED
from .mask_files import MaskPair, read_values, seen_as

_MOST_MASKS, _MOST_SIDE = 12, 2048  # that are looked at
_THIN, _SOLID = 0.02, 0.1  # share of pixels that lie among their like: at most of an edge, at least of a class
_BETWEEN = 0.8  # share of an edge's pixels that have lower and higher values around them
_LARGEST = 0.2  # share of all pixels that an edge has at most
_NEAR = 4  # of the line between two colours, in each channel
_ALIKE = 8  # a channel whose values differ less around a pixel says nothing
_TOUCHING_TWO, _TOUCHING = 0.05, 1  # how often classes may touch for each pixel of the edges: of two, of more
_ALONE = 0.1  # share of the masks with an edge that have one value of them alone
_RINGING = 0.1  # of the range of values: how far from a class some ways of interpolation leave others beside it


def edge_values(pairs: Sequence[MaskPair], values: Iterable[int]) -> set[int]:
    """Those of these values that are no classes: they lie in thin seams between others, which do not touch otherwise.

    A single value between two others is none, as a class for the border of objects looks the same.

    Args:
        pairs: Pairs that went through :func:`mmlska.own_data.mask_files.scan_one`.
        values: Indices where all masks have one channel, else packed colours.
    """
    indexed = all(pair.indexed for pair in pairs)
    known = np.array(sorted(values))
    if len(known) < 4 or any(pair.deep or pair.lossy for pair in pairs):
        return set()
    counts = [seen_as(pair, indexed) for pair in pairs]
    total = Counter()
    for found in counts:
        total.update(found)
    rare = [value for value in known.tolist() if total[value] < _LARGEST * total.total()]
    if len(rare) < 2:
        return set()
    masks = [_Mask(pairs[number], known, indexed) for number in _most_of(counts, rare)]
    pixels, flat = (sum(part) for part in zip(*((mask.pixels(), mask.pixels(mask.flat())) for mask in masks)))
    solid = {known[i] for i in np.flatnonzero(flat >= _SOLID * np.maximum(pixels, 1)) if pixels[i]}
    # The border that is no label, which Pascal VOC has around each object.
    void = indexed and len(solid - {IGNORED}) > 1
    between = sum(mask.pixels(mask.between(void)) for mask in masks)
    thin = (pixels > 0) & (flat <= _THIN * pixels) & (between >= _BETWEEN * pixels)
    edges = {int(value) for value in known[thin]} & set(rare)
    together = [len(edges & found.keys()) for found in counts]
    if len(edges) < 2 or len(solid) < 2 or together.count(1) > _ALONE * sum(map(bool, together)):
        return set()
    touching = sum(mask.touching(solid, edges) for mask in masks)
    share = _TOUCHING_TWO if len(edges) == 2 else _TOUCHING
    if touching > share * pixels[np.isin(known, list(edges))].sum():
        return set()
    seams = {int(value) for value in known[(pixels > 0) & (flat <= _THIN * pixels)]} & set(rare)
    return edges | {value for value in seams if _rings(value, solid, indexed)}


def _most_of(counts: Sequence[dict[int, int]], values: Sequence[int]) -> list[int]:
    """The numbers of some masks: for each value the one that has most of it."""
    most = dict.fromkeys(values, (0, 0))  # pixels, and the number of the first mask that has so many
    for number, found in enumerate(counts):
        for value in found.keys() & most.keys():
            if found[value] > most[value][0]:
                most[value] = found[value], number
    return list(dict.fromkeys(number for _, number in most.values()))[:_MOST_MASKS]


class _Mask:
    """The middle of a mask, as an array of channels and as places in the list of values; -1 for others."""

    def __init__(self, pair: MaskPair, known: np.ndarray, indexed: bool) -> None:
        codes = _middle(read_values(pair, indexed))
        place = np.searchsorted(known, codes).clip(max=len(known) - 1)
        self._known, self._codes = known, codes
        self._place = np.where(known[place] == codes, place, -1)
        self._channels = (codes if indexed else np.stack([codes >> 16, codes >> 8 & 255, codes & 255], -1)).astype(
            np.uint8
        )

    def pixels(self, where: np.ndarray | None = None) -> np.ndarray:
        """How many pixels each value has, of those where this is true."""
        found = self._place[(self._place >= 0) if where is None else where & (self._place >= 0)]
        return np.bincount(found, minlength=len(self._known))

    def flat(self) -> np.ndarray:
        """Pixels among their like."""
        low, high = _around(self._channels, self._channels, 3)
        return (low == high).all(-1)

    def between(self, void: bool) -> np.ndarray:
        """Pixels with lower and higher values around them, in each channel that differs there.

        Args:
            void: 255 is no label and no neighbour.
        """
        here = self._channels
        lowest, highest = _around(here, np.where(here == IGNORED, 0, here) if void else here, 5)
        here = here.reshape(lowest.shape)
        inside = (lowest < here) & (here < highest)
        wide = np.subtract(highest, lowest, dtype=np.int16) > (_ALIKE if here.shape[-1] > 1 else 0)
        return (inside | ~wide).all(-1) & wide.any(-1)

    def touching(self, solid: set, edges: set[int]) -> int:
        """How often two classes touch that an edge lies between."""
        count = 0
        for codes in (self._codes, self._codes.T):
            both = np.stack([codes[:-1], codes[1:]], -1)[codes[:-1] != codes[1:]]
            both = both[np.isin(both, list(solid)).all(-1)]
            for (one, other), times in zip(*np.unique(both, axis=0, return_counts=True)):
                if any(_is_between(edge, int(one), int(other), self._channels.ndim > 2) for edge in edges):
                    count += int(times)
        return count


def _middle(array: np.ndarray) -> np.ndarray:
    top, left = (max(side - _MOST_SIDE, 0) // 2 for side in array.shape)
    return array[top : top + _MOST_SIDE, left : left + _MOST_SIDE]


def _around(low: np.ndarray, high: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """The lowest and the highest value around each pixel, (H, W, channels)."""
    kernel = np.ones((side, side), np.uint8)
    shape = (*low.shape[:2], -1)
    return cv2.erode(low, kernel).reshape(shape), cv2.dilate(high, kernel).reshape(shape)


def _rings(value: int, solid: set, indexed: bool) -> bool:
    """Whether a value is nearly that of a class, beside which some ways of interpolation leave it."""
    classes = np.array([[int(one)] if indexed else unpack_rgb(int(one)) for one in solid])
    apart = np.abs(classes - (value if indexed else unpack_rgb(value))).max(1).min()
    return apart <= _RINGING * (classes.max(0) - classes.min(0)).max()


def _is_between(value: int, one: int, other: int, colors: bool) -> bool:
    """Whether a value lies between two others, or a colour near the line between two."""
    if not colors:
        return min(one, other) < value < max(one, other)
    start, end, here = (np.array(unpack_rgb(color), float) for color in (one, other, value))
    way = end - start
    share = float((here - start) @ way / max(way @ way, 1))
    return 0 < share < 1 and float(np.abs(start + share * way - here).max()) <= _NEAR
