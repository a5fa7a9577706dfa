"""Run lengths in other forms than COCO's: pairs of start and length as Kaggle has them, and sizes with the width first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from ...datasets.coco_labels import WRONG_MASK_SIZE, box_of, decoded, encode_mask, mask_fault, mask_of, resized_runs
from ..annotations import is_resized
from .entries import CocoEntries, agrees, clear_winner, is_box

Pairs = list[tuple[int, int]]

_LARGER = 16  # times as many pixels as the image: more in a mask of another size are not read


def run_lengths(pairs: Sequence[tuple[int, int]], size: tuple[int, int]) -> dict[str, list[int]]:
    """COCO's run lengths of sorted pairs of start, from 1 down the columns, and length.

    Args:
        pairs: Without overlap, inside the image.
        size: Width and height of the image.

    Example:
        >>> run_lengths([(2, 1), (5, 2)], (2, 4))
        {'size': [4, 2], 'counts': [1, 1, 2, 2, 2]}
    """
    width, height = size
    counts, end = [], 1
    for start, length in pairs:
        if counts and start == end:
            counts[-1] += length
        else:
            counts += [start - end, length]
        end = start + length
    rest = width * height + 1 - end
    return {'size': [height, width], 'counts': counts + [rest] * bool(rest)}


def _turned(mask: dict) -> dict:
    """Run lengths that go along the rows, of which the size has the width first, as COCO's."""
    return encode_mask(decoded(mask).T)


def _from(first: int, by_rows: bool, pairs: Pairs, size: tuple[int, int]) -> dict | None:
    """COCO's run lengths of pairs that count pixels from ``first``; None where they leave the image."""
    pairs = [(start + 1 - first, length) for start, length in pairs]
    if pairs[0][0] < 1 or sum(pairs[-1]) > size[0] * size[1] + 1:
        return None
    return _turned(run_lengths(pairs, size[::-1])) if by_rows else run_lengths(pairs, size)


_PAIRS: dict[str, Callable[[Pairs, tuple[int, int]], dict | None]] = {
    'down the columns, from 1': partial(_from, 1, False),
    'down the columns, from 0': partial(_from, 0, False),
    'along the rows, from 1': partial(_from, 1, True),
    'along the rows, from 0': partial(_from, 0, True),
}


def read_pairs(file: CocoEntries) -> None:
    """Pairs of start and length in place of run lengths, decided once a file: by the boxes, or else as Kaggle counts."""
    found = []
    for position, annotation in file.kept():
        size = file.size(annotation)
        numbers = None if size is None else _numbers_of(annotation.get('segmentation'), size)
        if numbers is None:
            continue
        if sum(numbers) == size[0] * size[1] and isinstance(annotation['segmentation'], dict):
            return  # a file with sound run lengths has no pairs; others in it are broken
        pairs = _sorted_pairs(numbers, size)
        if pairs:
            found.append((position, annotation, pairs, size))
    if not any(len(pairs) > 1 for _, _, pairs, _ in found):
        return
    reading = _reading_of([(annotation, pairs, size) for _, annotation, pairs, size in found])
    for position, annotation, pairs, size in found if reading else ():
        mask = _PAIRS[reading](pairs, size)
        if mask is not None:
            annotation['segmentation'] = mask
            file.repaired('run lengths as pairs of start and length', f'read {reading}', position)


def _numbers_of(mask: Any, size: tuple[int, int]) -> list[int] | None:
    """The whole numbers of a mask that may be pairs, or run lengths as a list; None where it is an outline, or compressed."""
    if isinstance(mask, dict):
        if mask.get('size') != [size[1], size[0]]:
            return None
        mask = mask.get('counts')
    else:
        if isinstance(mask, list) and len(mask) == 1:
            mask = mask[0]
        if not isinstance(mask, list) or not _leaves(mask, size):
            return None
    if not isinstance(mask, list):
        return None
    if all(isinstance(pair, list) and len(pair) == 2 for pair in mask):
        mask = [value for pair in mask for value in pair]
    return mask if mask and set(map(type, mask)) == {int} else None


def _leaves(mask: list, size: tuple[int, int]) -> bool:
    """Whether numbers lie outside the image when they are taken for an outline."""
    flat = [v for point in mask for v in point] if all(isinstance(p, list) and len(p) == 2 for p in mask) else mask
    if not flat or not set(map(type, flat)) <= {int}:
        return False
    return max(flat[0::2]) > 2 * size[0] or max(flat[1::2], default=0) > 2 * size[1]


def _sorted_pairs(numbers: list[int], size: tuple[int, int]) -> Pairs | None:
    pairs = sorted(zip(numbers[::2], numbers[1::2]))
    apart = all(start + length <= following for (start, length), (following, _) in zip(pairs, pairs[1:]))
    inside = pairs and pairs[0][0] >= 0 and sum(pairs[-1]) <= size[0] * size[1] + 1
    return pairs if len(numbers) % 2 == 0 and apart and inside and min(length for _, length in pairs) > 0 else None


def _reading_of(found: list[tuple[dict, Pairs, tuple[int, int]]]) -> str | None:
    """How the pairs of a file count pixels; None where their boxes agree with nothing."""
    sample = [entry for entry in found if is_box(entry[0].get('bbox'))][:200]
    if not sample:
        from_zero = any(pairs[0][0] == 0 for _, pairs, _ in found)
        return 'down the columns, from 0' if from_zero else 'down the columns, from 1'
    for slack in ((0.5, 0), (2, 0.05)):  # boxes that are exact tell 0 from 1
        for name, read in _PAIRS.items():
            masks = [(annotation['bbox'], read(pairs, size)) for annotation, pairs, size in sample]
            fits = [mask is not None and agrees(box, box_of({'segmentation': mask}), *slack) for box, mask in masks]
            if 10 * sum(fits) >= 9 * len(fits):
                return name
    return None


def turned_sizes(file: CocoEntries) -> None:
    """Run lengths whose ``size`` has the width first, where the boxes tell what they count."""
    readings = {'size': lambda mask: {**mask, 'size': mask['size'][::-1]}, 'along the rows': _turned}
    found, matches = [], dict.fromkeys(readings, 0)
    for position, annotation in file.kept():
        mask, size = annotation.get('segmentation'), file.size(annotation)
        if not isinstance(mask, dict) or size is None or size[0] == size[1] or mask.get('size') != list(size):
            continue
        if not mask.get('counts') or mask_fault(mask, *size[::-1]) or not is_box(annotation.get('bbox')):
            continue
        found.append((position, annotation))
        for name, read in readings.items() if len(found) <= 200 else ():
            matches[name] += agrees(annotation['bbox'], box_of({'segmentation': read(mask)}))
    best = clear_winner(matches, min(len(found), 200))
    for position, annotation in found if best else ():
        annotation['segmentation'] = readings[best](annotation['segmentation'])
        remedy = 'read down the columns' if best == 'size' else 'read along the rows'
        file.repaired('run lengths of a size with the width first', remedy, position)


def fit_runs(file: CocoEntries) -> None:
    """Run lengths of another size by one factor, which follow the image; where most masks of a file are broken, boxes stay alone."""
    broken, total = [], 0
    for position, annotation in file.kept():
        total += 1
        size = file.size(annotation)
        mask = mask_of(annotation) if isinstance(annotation.get('segmentation'), dict) else None
        fault = None if mask is None or size is None else mask_fault(mask, *size)
        if fault is None:
            continue
        own = _of_another_size(mask, size) if fault == WRONG_MASK_SIZE else None
        box, fitted = annotation.get('bbox'), None if own is None else resized_runs(mask, size)
        if fitted is not None and (box is None or is_box(box) and agrees(box, box_of({'segmentation': fitted}))):
            annotation['segmentation'] = fitted
            file.repaired('run lengths for an image of another size', f'rescaled by {size[0] / own[0]:.3g}', position)
        elif is_box(box) and not (own and agrees(box, box_of({'segmentation': mask}))):
            broken.append((position, annotation, fault))
    for position, annotation, fault in broken if 2 * len(broken) > total else ():
        annotation['segmentation'] = []
        file.repaired(fault, 'the box is used alone', position)


def _of_another_size(mask: dict, size: tuple[int, int]) -> tuple[int, int] | None:
    """The width and height of sound run lengths, where one factor makes those of the image of them."""
    height, width = mask['size']
    near = 0 < width * height <= _LARGER * size[0] * size[1] and is_resized((width, height), size)
    return (width, height) if near and not mask_fault(mask, width, height) else None
