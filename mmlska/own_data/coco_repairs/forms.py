"""Numbers in other forms than COCO's lists: as text, as objects, in lists of their own."""

from __future__ import annotations

import json
import re
from typing import Any

from ...datasets.coco_labels import mask_of
from .entries import CocoEntries

_NUMBER = re.compile(r'\s*[-+]?(\d{1,18}|(\d{0,18}\.\d{1,18}|\d{1,18}\.)([eE][-+]?\d{1,2})?)\s*', re.ASCII)
_SIZES = (('x', 'y', 'width', 'height'), ('x', 'y', 'w', 'h'), ('left', 'top', 'width', 'height'))
_CORNERS = (('xmin', 'ymin', 'xmax', 'ymax'), ('x1', 'y1', 'x2', 'y2'), ('left', 'top', 'right', 'bottom'))
_NO, _YES = ('0', '0.0', 'false', 'no', 'n', '', 'none', 'null'), ('1', '1.0', 'true', 'yes', 'y')


def number(value: Any) -> Any:
    """A number that is written as text; anything else as it is.

    Example:
        >>> number('12'), number(' 1.50'), number('a'), number(None)
        (12, 1.5, 'a', None)
    """
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return float(value) if '.' in value else int(value)
    return value


def parsed(text: str) -> Any:
    """What a text holds: JSON, or numbers between spaces, commas and semicolons; the text where it is neither.

    Example:
        >>> parsed('[[1, 2]]'), parsed('1 2,3;4.5'), parsed('cat')
        ([[1, 2]], [1, 2, 3, 4.5], 'cat')
    """
    if text.lstrip()[:1] in ('[', '{'):
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return text
    words = [number(word) for word in re.split(r'[\s,;]+', text.strip())]
    return words if words and not any(isinstance(word, str) for word in words) else text


def read_sizes(file: CocoEntries) -> None:
    """Width and height of images as text."""
    for image in file.item.content['images']:
        size = {key: number(image[key]) for key in ('width', 'height') if isinstance(image.get(key), str)}
        if size:
            image.update(size)
            if not any(isinstance(value, str) for value in size.values()):
                file.item.repaired.append(
                    ('image size written as text', 'read as numbers', str(image.get('file_name')))
                )


def read_boxes_as_numbers(file: CocoEntries) -> None:
    """Boxes as text or objects, or of numbers that are text."""
    for position, annotation in file.kept():
        box = annotation.get('bbox')
        if box is None or isinstance(box, list) and set(map(type, box)) <= {int, float}:
            continue
        read = _as_box(box)
        if read is not None:
            annotation['bbox'] = read
            file.repaired('box in another form than a list of numbers', 'read as x, y, width, height', position)


def _as_box(box: Any) -> list | None:
    """The four numbers that a box in another form means; None where it means none."""
    if isinstance(box, str):
        box = parsed(box)
    if isinstance(box, list) and len(box) == 1:
        box = box[0]
    if isinstance(box, dict):
        by_key = {str(key).lower().replace('_', ''): number(value) for key, value in box.items()}
        for keys in (*_SIZES, *_CORNERS):
            if by_key.keys() >= set(keys):
                box = [by_key[key] for key in keys]
                if set(map(type, box)) <= {int, float} and keys in _CORNERS:
                    box = [*box[:2], box[2] - box[0], box[3] - box[1]]
                break
    if not isinstance(box, list) or len(box) != 4:
        return None
    box = [number(value) for value in box]
    return box if set(map(type, box)) <= {int, float} else None


def read_masks_as_numbers(file: CocoEntries) -> None:
    """Masks as text, with points as objects or lists, without a size, or of numbers that are no whole ones or text."""
    for position, annotation in file.kept():
        mask = annotation.get('segmentation')
        if mask in (None, [], '') or _is_plain(mask):
            continue
        read = _as_mask(mask, file.size(annotation))
        if read is not None and (isinstance(mask, dict) or read != mask):  # 60.0 is not 60 to pycocotools
            annotation['segmentation'] = read
            file.repaired("mask in another form than COCO's", 'read all the same', position)


def _is_plain(mask: Any) -> bool:
    if isinstance(mask, dict):
        counts, size = mask.get('counts'), mask.get('size')
        plain = ' ' not in counts.strip() if isinstance(counts, str) else _are_whole(counts)
        return plain and _are_whole(size)
    if not isinstance(mask, list) or _is_points(mask):
        return False
    return all(set(map(type, p)) <= {int, float} if isinstance(p, list) else type(p) in (int, float) for p in mask)


def _are_whole(values: Any) -> bool:
    return isinstance(values, list) and set(map(type, values)) == {int}


def _is_points(mask: list) -> bool:
    """Whether it is one outline, [[x, y], [x, y], ...], without a list around it."""
    return len(mask) > 2 and all(isinstance(point, list) and len(point) == 2 for point in mask)


def _as_mask(mask: Any, size: tuple[int, int] | None) -> Any:
    """A mask in COCO's form, in an image of this width and height; None where that makes no sense."""
    if isinstance(mask, str):
        mask = parsed(mask)
    if isinstance(mask, dict) and 'counts' in mask:
        counts, sides = mask['counts'], mask.get('size')
        if isinstance(counts, str) and re.search(r'[\s,]', counts.strip()):
            counts = parsed(counts)
        if sides is None and size is not None:
            sides = [size[1], size[0]]
        return {**mask, 'counts': _whole(_numbers(counts)), 'size': _whole(_numbers(sides))}
    if isinstance(mask, dict):
        sides = [mask.get(key) for key in ('x', 'y')]
        if not all(isinstance(side, list) for side in sides) or len(sides[0]) != len(sides[1]):
            return None
        mask = [[value for point in zip(*sides) for value in point]]
    if not isinstance(mask, list):
        return None
    mask = _numbers(mask)
    if _is_points(mask):
        mask = [mask]
    nested = [isinstance(piece, list) and all(isinstance(point, list) for point in piece) for piece in mask]
    return [[v for point in piece for v in point] if flat else piece for piece, flat in zip(mask, nested)]


def _whole(values: Any) -> Any:
    """Whole numbers that are written as 60.0."""
    whole = isinstance(values, list) and all(isinstance(value, float) and value.is_integer() for value in values)
    return [int(value) for value in values] if whole else values


def _numbers(values: Any, depth: int = 4) -> Any:
    """Lists of numbers, whatever their points and numbers are written as."""
    if not isinstance(values, list) or not depth:
        return number(values)
    if values and all(isinstance(point, dict) and point.keys() >= {'x', 'y'} for point in values):
        return [number(point[key]) for point in values for key in ('x', 'y')]
    return [_numbers(value, depth - 1) for value in values]


def short_outlines(file: CocoEntries) -> None:
    """Masks, or pieces of them, that are no mask: less than three points, or a number without its partner."""
    for position, annotation in file.kept():
        written = annotation.get('segmentation')
        if not written or isinstance(written, dict) and mask_of(annotation) is not None:
            continue
        mask = mask_of(annotation)
        if mask is None and annotation.get('bbox'):
            annotation['segmentation'] = []
            file.repaired('mask of less than three points or broken runs', 'the box is used alone', position)
        elif mask is not None and isinstance(written[0], list) and len(mask) < sum(map(bool, written)):
            annotation['segmentation'] = mask
            file.repaired('piece of a mask with less than three points', 'left out', position)


def read_crowds(file: CocoEntries) -> None:
    """``iscrowd`` and ``ignore`` as text or as anything else; '0' is no crowd."""
    for key in ('iscrowd', 'ignore'):
        for position, annotation in file.kept():
            value = annotation.get(key)
            if value is None or type(value) is int and value in (0, 1):
                continue
            flag = _flag(value)
            if flag is None:
                file.drop(f'{key} that is neither 0 nor 1', position, value)
                continue
            annotation[key] = flag
            if not isinstance(value, (bool, float)):
                file.repaired(f'{key} in another form than 0 and 1', f'read as {flag}', position)


def _flag(value: Any) -> int | None:
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    text = str(value).strip().lower() if isinstance(value, (str, int, float)) else '?'
    return 0 if text in _NO else 1 if text in _YES else None
