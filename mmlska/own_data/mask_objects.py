"""Masks in which each object has a value of its own, which is no class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from PIL import Image

from ..engine.ignored_label import IGNORED
from .mask_files import MaskPair, read_values, seen_as

#: What to say of such masks, whose values nothing names.
OBJECT_IDS = (
    'each value is one piece in its mask, like ids of objects: --instances reads them as objects, for detectors; segmentors need '
    'classes, such as (mask > 0).astype("uint8"); a classes.json names true ones'
)
#: What to say where they are read as such.
OBJECTS_READ = (
    'each value is one piece in its mask and is read as one object; a classes.json names values that are classes'
)
_MOST_MASKS, _MOST_PIECES = 8, 40  # whose pieces are counted, and values of each
_SINGLE = 0.85  # share of values that are one piece in their mask
_MOST, _EACH, _APART = 4, 3, 1.25  # objects in some mask; in each where ids never come back; masks for each such id
SMALLEST = 9  # pixels of a piece: less is the fringe of another


def has_object_ids(pairs: Sequence[MaskPair]) -> bool:
    """Whether the values of masks are ids of objects: each is one piece, and they count from 1 in each mask or never come back.

    Args:
        pairs: Pairs that went through :func:`mmlska.own_data.mask_files.scan_one`.
    """
    indexed = all(pair.indexed for pair in pairs)
    ground = _ground(pairs, indexed)
    found = [seen_as(pair, indexed).keys() - ground for pair in pairs]
    found = [values for values in found if values]
    sizes = {len(values) for values in found}
    counted = indexed and len(sizes) > 1 and max(sizes) >= _MOST and all(max(v) == len(v) for v in found)
    every = set().union(*found)
    apart = len(found) > 2 and _EACH * len(found) <= sum(map(len, found)) <= _APART * len(every)
    if not counted and not apart:
        return False
    richest = sorted(pairs, key=lambda pair: -len(pair.values))[:_MOST_MASKS]
    pieces = [count for pair in richest for count in _pieces(read_values(pair, indexed), ground)]
    return sum(count == 1 for count in pieces) >= _SINGLE * len(pieces)


def objects_of(pair: MaskPair, pairs: Sequence[MaskPair]) -> Iterator[tuple[int, int, np.ndarray]]:
    """The objects of a mask of ids, each as left, top and the pixels (H, W) from there, true inside.

    Args:
        pairs: All that :func:`has_object_ids` looked at.
    """
    indexed = all(one.indexed for one in pairs)
    values = read_values(pair, indexed)
    if pair.photo_size:
        image = Image.fromarray(values.astype(np.int32), 'I')
        values = np.asarray(image.resize(pair.photo_size, Image.Resampling.NEAREST))
    yield from _cut_out(values, _ground(pairs, indexed))


def _ground(pairs: Sequence[MaskPair], indexed: bool) -> set[int]:
    """The values that are no object: 0 and no label, or else black where each mask has it and the commonest colour where not."""
    if indexed:
        return {0} if any(pair.deep for pair in pairs) else {0, IGNORED}
    found = [seen_as(pair, False) for pair in pairs]
    if all(0 in values for values in found):
        return {0}
    total: Counter = Counter()
    for values in found:
        total.update(values)
    return {value for value, _ in total.most_common(1)}


def _cut_out(values: np.ndarray, ground: set[int]) -> Iterator[tuple[int, int, np.ndarray]]:
    places = np.flatnonzero(~np.isin(values, list(ground)))
    kinds = values.ravel()[places]
    order = np.argsort(kinds, kind='stable')
    places, starts = places[order], np.flatnonzero(np.diff(kinds[order])) + 1
    for own in np.split(places, starts) if len(places) else ():
        rows, columns = np.divmod(own, values.shape[1])
        top, left = int(rows.min()), int(columns.min())
        inside = np.zeros((int(rows.max()) - top + 1, int(columns.max()) - left + 1), bool)
        inside[rows - top, columns - left] = True
        yield left, top, inside


def _pieces(values: np.ndarray, ground: set[int]) -> list[int]:
    """How many pieces some of the values have."""
    counts = []
    for number, (_, _, inside) in enumerate(_cut_out(values, ground)):
        if number == _MOST_PIECES:
            break
        _, _, stats, _ = cv2.connectedComponentsWithStats(np.pad(inside, 1).astype(np.uint8), connectivity=8)
        counts.append(max(int((stats[1:, cv2.CC_STAT_AREA] >= SMALLEST).sum()), 1))
    return counts
