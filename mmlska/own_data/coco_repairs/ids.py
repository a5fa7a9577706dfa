"""Ids that are written in another type than those that they mean, and ids that several entries have."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Hashable
from pathlib import PurePosixPath

from ..palettes import spelling
from .entries import CocoEntries

_BY_VALUE = 'taken by its value'
SHARED_ID = 'image id used twice'


def _plain(value: object) -> Hashable | None:
    """An id as whole number or text, whatever it is written as; None if it is none.

    Example:
        >>> [_plain(value) for value in ('07', 7.0, [7], ' a1 ', True, {}, [1, 2])]
        [7, 7, 7, 'a1', None, None, None]
    """
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, str):
        text = value.strip()
        return int(text) if re.fullmatch(r'-?\d{1,18}', text, re.ASCII) else text or None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if type(value) is int and abs(value) < 1 << 63 else None


def annotation_ids(file: CocoEntries) -> None:
    """Ids of annotations that are no whole numbers: nothing refers to them, so all are numbered anew."""
    for position, annotation in file.kept():
        number = annotation.get('id')
        if number is None or type(number) is int and abs(number) < 1 << 63:
            continue
        if not isinstance(number, (str, float)) or number != number:  # nothing to name it by, or NaN
            annotation['id'] = None
        if not (isinstance(number, float) and number.is_integer()):
            file.repaired('annotation id that is no whole number', 'numbered anew', position)


def shared_images(file: CocoEntries) -> None:
    """Images of one id: nobody knows which of them an annotation is on. An entry that is there twice is one."""
    images = file.item.content['images']
    for image in images:
        if isinstance(image.get('id'), list) and _plain(image['id']) is not None:
            image['id'] = _plain(image['id'])
            file.item.repaired.append(('image id written as a list', _BY_VALUE, str(image.get('file_name'))))
    numbers = [image.get('id') for image in images]
    names = [image.get('file_name') for image in images]
    if not all(isinstance(value, (int, float, str, type(None))) for value in (*numbers, *names)):
        return  # which is refused later
    counts = Counter(numbers)
    shared = {number for number, count in counts.items() if count > 1 and number is not None}
    if not shared:
        return
    different = Counter(number for number, _ in dict.fromkeys(zip(numbers, names)))
    same = {number for number in shared if different[number] == 1}
    kept, seen = [], set()
    for image in images:
        number, name = image.get('id'), str(image.get('file_name'))
        if number in shared - same:
            file.item.left_out.append((SHARED_ID, f'{number} in {file.item.path.name}: {name}'))
        elif number in seen and number in same:
            file.item.repaired.append(('image listed twice', 'taken once', name))
        else:
            kept.append(image)
        seen.add(number)
    if len(kept) < len(images):
        file.item.content['images'] = kept
    for position, annotation in file.kept():
        number = _plain(annotation.get('image_id'))
        if number is not None and number in shared - same:
            file.drop(f'annotation of an {SHARED_ID}', position, annotation['image_id'])


def join_images(file: CocoEntries) -> None:
    """``image_id`` as text, list or name of the file, where the images have numbers, or the other way round."""
    images = file.item.content['images']
    names: dict[str, object] = {}
    for image in images:
        if isinstance(image.get('file_name'), str):
            path = PurePosixPath(image['file_name'].replace('\\', '/'))
            names.update(dict.fromkeys((str(path), path.name, path.stem), image.get('id')))
    _join(file, 'image_id', [image.get('id') for image in images], names.get)


def join_categories(file: CocoEntries) -> None:
    """``category_id`` as text, list or name of the class, and ids of categories that are no whole numbers."""
    categories = file.item.content.get('categories')
    if not isinstance(categories, list) or not all(isinstance(category, dict) for category in categories):
        return  # which is refused later
    written = [category.get('id') for category in categories]
    plain = [_plain(value) for value in written]
    names = {spelling(c['name']): value for c, value in zip(categories, written) if isinstance(c.get('name'), str)}
    _join(file, 'category_id', written, lambda text: names.get(spelling(text)))
    if all(type(value) is int for value in written) or None in plain:
        return
    # Numbers by value where all are; else the classes are counted.
    numbers = plain if all(isinstance(value, int) for value in plain) else list(range(1, len(plain) + 1))
    for category, number in zip(categories, numbers):
        if type(category['id']) is not int:
            place = f'{category.get("name")} in {file.item.path.name}'
            file.item.repaired.append(('category id that is no whole number', _BY_VALUE, place))
        category['id'] = number
    by_value = dict(zip(plain, numbers))
    for _, annotation in file.kept():
        annotation['category_id'] = by_value.get(_plain(annotation.get('category_id')), annotation.get('category_id'))


def _join(file: CocoEntries, key: str, written: list, by_name: Callable[[str], object]) -> None:
    """Replace what annotations have as ``key`` by the id that it means; drop what can be no id."""
    own = {value for value in written if isinstance(value, (int, float, str)) and not isinstance(value, bool)}
    plain = Counter(_plain(value) for value in own)
    by_value = {_plain(value): value for value in own if plain[_plain(value)] == 1 and _plain(value) is not None}
    found, strangers = [], []
    for position, annotation in file.kept():
        value = annotation.get(key)
        if isinstance(value, (int, float, str)) and not isinstance(value, bool) and value in own:
            found.append(None)
        elif value is not None:
            meant = by_value.get(_plain(value))
            (strangers if meant is None else found).append((position, annotation, value, meant))
    named = [(entry, by_name(value)) for entry in strangers if isinstance(value := entry[2], str)]
    if not found and len(named) == len(strangers) and all(meant is not None for _, meant in named):
        for (position, annotation, _, _), meant in named:
            annotation[key] = meant
            file.repaired(f'{key} that is a name', 'taken for the id of that name', position)
        return
    for position, annotation, _, meant in filter(None, found):
        annotation[key] = meant
        file.repaired(f'{key} of another type than the ids', _BY_VALUE, position)
    for position, _, value, _ in strangers:
        if _plain(value) is None:
            file.drop(f'{key} that is no id', position, value)


def shifted_categories(file: CocoEntries) -> None:
    """Annotations of the classes 0 to N - 1 where the categories have 1 to N: each would be learned as its neighbour."""
    categories = file.item.content.get('categories')
    if not isinstance(categories, list) or not all(
        isinstance(c, dict) and type(c.get('id')) is int for c in categories
    ):
        return
    listed = {category['id'] for category in categories}
    used = {annotation.get('category_id') for _, annotation in file.kept()}
    if not listed or listed != set(range(1, len(listed) + 1)) or used != set(range(len(listed))):
        return
    for position, annotation in file.kept():
        file.drop('category_id counted from 0, where the categories begin with 1', position, annotation['category_id'])


def shared_categories(file: CocoEntries) -> None:
    """Categories of one id and several names: nobody knows which of them an annotation is of."""
    categories = file.item.content.get('categories')
    if not isinstance(categories, list) or not all(
        isinstance(c, dict) and type(c.get('id')) is int and isinstance(c.get('name'), str) for c in categories
    ):
        return
    names: dict[int, set[str]] = {}
    for category in categories:
        names.setdefault(category['id'], set()).add(spelling(category['name']))
    shared = {number: ', '.join(sorted(group)) for number, group in names.items() if len(group) > 1}
    for position, annotation in file.kept() if shared else ():
        if annotation.get('category_id') in shared:
            file.drop('category id of several classes', position, shared[annotation['category_id']])
