"""Boxes in other numbers than COCO's x, y, width, height, decided once a file; and boxes that do not belong to their masks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from ...datasets.coco_labels import box_of, is_ignored, mask_of
from .entries import CocoEntries, agrees, clear_winner, within

_SAMPLE = 2000  # annotations that decide about a file
_TIMES = 4  # as many of one kind leave their images, if it is the one that is wrong
_MANY = 10  # boxes outside that are no slips
_OWN = 'x, y, width, height'
CORNERS = 'corners (x1, y1, x2, y2)'
CENTRES = 'centre and size (x, y, width, height)'
#: What four numbers can mean, as x, y, width, height.
READINGS: dict[str, Callable[[float, float, float, float], list[float]]] = {
    _OWN: lambda a, b, c, d: [a, b, c, d],
    CORNERS: lambda a, b, c, d: [a, b, c - a, d - b],
    CENTRES: lambda a, b, c, d: [a - c / 2, b - d / 2, c, d],
    'rows first (y, x, height, width)': lambda a, b, c, d: [b, a, d, c],
    'corners, rows first (y1, x1, y2, x2)': lambda a, b, c, d: [b, a, d - b, c - a],
}
#: Of boxes with rows first, how they are to be read where their outlines have the rows first instead.
_ROWS_FIRST = {'rows first (y, x, height, width)': _OWN, 'corners, rows first (y1, x1, y2, x2)': CORNERS}


def scale_fractions(file: CocoEntries) -> None:
    """Boxes, and outlines, as fractions of their images: where no number of the file is larger than 1, and not all are 0 and 1."""
    boxes = file.boxes()
    within_one = boxes and all(min(a['bbox']) >= -0.01 and max(a['bbox']) <= 1.01 for _, a, _ in boxes)
    if within_one and any(value % 1 for _, a, _ in boxes for value in a['bbox']):
        for position, annotation, (width, height) in boxes:
            annotation['bbox'] = [v * side for v, side in zip(annotation['bbox'], (width, height) * 2)]
            file.repaired('box as fractions of its image', 'scaled to pixels', position)
        file.fractions = True
    outlines = []
    for position, annotation in file.kept():
        mask = mask_of(annotation)
        if not isinstance(mask, list) or file.size(annotation) is None:
            continue
        numbers = [v for polygon in mask for v in (polygon if isinstance(polygon, list) else [math.nan])]
        if not set(map(type, numbers)) <= {int, float} or min(numbers) < -0.01 or max(numbers) > 1.01:
            return
        outlines.append((position, annotation, mask))
    if not any(value % 1 for _, _, mask in outlines for polygon in mask for value in polygon):
        return
    for position, annotation, mask in outlines:
        sides = file.size(annotation)
        annotation['segmentation'] = [[v * sides[i % 2] for i, v in enumerate(polygon)] for polygon in mask]
        file.repaired('outline as fractions of its image', 'scaled to pixels', position)


def read_boxes(file: CocoEntries) -> None:
    """Boxes that are no x, y, width, height: by masks, else by areas, else by what fits into the images."""
    boxes = file.boxes()
    sample = boxes[:: max(len(boxes) // _SAMPLE, 1)]
    if not sample:
        return
    reading = _by_masks(file, sample)
    if reading is None:
        sizes = _by_areas(sample)  # which are the same with the centre
        reading = sizes if sizes == CORNERS else _by_images(file, sample, (CENTRES,) if sizes else (CORNERS, CENTRES))
    elif reading in _ROWS_FIRST:
        reading = _rows_first(file, boxes, reading)
    if reading in (None, _OWN):
        return
    for position, annotation, _ in boxes:
        annotation['bbox'] = READINGS[reading](*annotation['bbox'])
        file.repaired(f'box that is no {_OWN}', f'read as {reading}', position)


def _by_masks(file: CocoEntries, sample: list) -> str | None:
    """How the boxes of those with a mask are to be read; None where there are none."""
    matches, total = dict.fromkeys(READINGS, 0), 0
    for _, annotation, size in sample:
        extent = None if is_ignored(annotation) else file.extent(annotation)
        if extent is None:
            continue
        total += 1
        for name, read in READINGS.items():
            matches[name] += agrees(within(read(*annotation['bbox']), size), extent)
    return (clear_winner(matches, total) or _OWN) if total else None


def _rows_first(file: CocoEntries, boxes: list, reading: str) -> str | None:
    """Which of boxes and outlines have the rows first, where the others do not: those that leave the images. None for no other reading."""
    straight = _ROWS_FIRST[reading]
    masks = [(annotation, mask_of(annotation), size) for _, annotation, size in boxes]
    masks = [(annotation, mask, size) for annotation, mask, size in masks if mask]
    outlines = [size for _, mask, size in masks if isinstance(mask, list)]
    if len(outlines) < len(masks):  # run lengths, which stay in their images
        return reading
    by_boxes = sum(not _fits(READINGS[straight](*annotation['bbox']), size) for annotation, _, size in masks)
    by_outlines = sum(not _fits(box_of({'segmentation': mask}), size) for _, mask, size in masks)
    if by_boxes > _TIMES * by_outlines:
        return reading
    if by_outlines > _TIMES * by_boxes:
        for position, annotation in file.kept():
            mask = mask_of(annotation)
            if isinstance(mask, list):
                annotation['segmentation'] = [[v for x, y in zip(p[::2], p[1::2]) for v in (y, x)] for p in mask]
                file.repaired('outline with rows first (y, x)', 'read so', position)
        return straight
    for position, annotation, _ in boxes:
        kind = (
            'box and outline disagree: one of them has rows first (y, x), and the photos do not tell which; '
            'write both as columns first (x, y)'
        )
        file.drop(kind, position, annotation['bbox'])
    return None


def _by_areas(sample: list) -> str | None:
    """Corners, if the areas are those of corners; None where they say nothing."""
    areas = [a['area'] for _, a, _ in sample if type(a.get('area')) in (int, float) and abs(a['area']) < 1e15]
    if len(areas) < len(sample) or len(areas) > 1 and len(set(areas)) == 1:
        return None
    matches = dict.fromkeys((_OWN, CORNERS), 0)
    for name in matches:
        for _, annotation, _ in sample:
            width, height = READINGS[name](*annotation['bbox'])[2:]
            same = abs(width * height - annotation['area']) <= 1 + annotation['area'] / 100
            matches[name] += min(width, height) > 0 and same
    return clear_winner(matches, len(sample))


def _by_images(file: CocoEntries, sample: list, readings: tuple[str, ...]) -> str | None:
    """One of some readings, if it is the only one that keeps the boxes in their images; None where nothing is known."""
    boxes = [(annotation['bbox'], size) for _, annotation, size in sample]
    # Boxes as fractions come from formats of other readings.
    reading, leaving, fitting = other_reading(boxes, _OWN, readings, enough=0.01 if file.fractions else 0.25)
    if reading == CENTRES and leaving < _MANY and not file.fractions:
        reading = None  # some boxes that reach too far do so as well
    if reading is None and fitting and (file.fractions or 10 * leaving >= len(sample)):
        kind = f'file of boxes that may be {" or ".join(fitting)}: look at them (--sheet), and write all as {_OWN}'
        place = f'{file.item.path.name}, read as {_OWN}: {leaving} of {len(sample)} then leave their image'
        file.item.remarks.append((kind, place))
    return reading


def other_reading(
    boxes: Sequence[tuple[Sequence[float], tuple[int, int]]],
    own: str,
    others: Sequence[str],
    enough: float = 0.25,
) -> tuple[str | None, int, list[str]]:
    """Whether boxes that leave their images are meant otherwise.

    Args:
        boxes: Four numbers in pixels and the size of the image, of each.
        own: What the format says they are, one of :data:`READINGS`.
        others: What they may be instead.
        enough: The share of boxes that has to leave the images.

    Returns:
        The one other reading that keeps nearly all inside, if enough of them leave; how many do; and all readings that fit.

    Example:
        >>> other_reading([([50, 40, 70, 55], (80, 60))] * 2, CENTRES, [CORNERS])
        ('corners (x1, y1, x2, y2)', 2, ['corners (x1, y1, x2, y2)'])
    """
    leaving = sum(not _fits(READINGS[own](*box), size) for box, size in boxes)
    fitting = [
        name for name in others if 50 * sum(_fits(READINGS[name](*box), size) for box, size in boxes) >= 49 * len(boxes)
    ]
    clear = len(fitting) == 1 and leaving > (1 if enough > 0.1 else 0) and leaving >= enough * len(boxes)
    return (fitting[0] if clear else None), leaving, fitting


def _fits(box: list[float], size: tuple[int, int]) -> bool:
    x, y, width, height = box
    slack = 2 + max(size) / 100
    inside = x >= -slack and y >= -slack and x + width <= size[0] + slack and y + height <= size[1] + slack
    return inside and width > 0 and height > 0


def boxes_of_masks(file: CocoEntries) -> None:
    """Annotations without a box, or with something else in its place: the box of a sound mask."""
    # A file without any box is meant so, see docs/own_data.md.
    quiet = not file.as_is and not any('bbox' in annotation for _, annotation in file.kept())
    for position, annotation in file.kept():
        box = annotation.get('bbox')
        if isinstance(box, list) and len(box) == 4 and set(map(type, box)) <= {int, float}:
            continue
        extent = file.extent(annotation)
        if extent is not None and min(extent[2:]) > 0:
            annotation['bbox'] = extent
            if not quiet:
                file.repaired('annotation without a box of numbers', 'that of its mask is used', position)


def compare_with_masks(file: CocoEntries) -> None:
    """Drop an object whose box and mask lie in different places: one of them is another object's. A mask may be empty."""
    for position, annotation, size in file.boxes():
        extent = file.extent(annotation)
        box = within(annotation['bbox'], size)
        if extent is None or min(box[2:]) <= 0 or agrees(box, extent):
            continue
        if min(extent[2:]) == 0:
            annotation['segmentation'] = []
            file.repaired('mask without a pixel', 'the box is used alone', position)
        elif 2 * _shared(box, extent) >= min(box[2] * box[3], extent[2] * extent[3]) > 0:
            file.item.remarks.append(('box of another size than its mask, used as it is', file.place(position)))
        else:
            shown = [round(value, 1) for value in (*box, *extent)]
            file.drop('box and mask in different places', position, (shown[:4], shown[4:]))


def _shared(box: list[float], other: list[float]) -> float:
    """The area that two boxes have in common."""
    across = min(box[0] + box[2], other[0] + other[2]) - max(box[0], other[0])
    down = min(box[1] + box[3], other[1] + other[3]) - max(box[1], other[1])
    return max(across, 0) * max(down, 0)
