"""Ids that are written in another type than those that they mean, and ids that several entries have."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from pathlib import PurePosixPath

from ..palettes import spelling
from .entries import CocoEntries

_BY_VALUE = 'taken by its value'
_BY_NAME = 'that is a name', 'taken for the id of that name'
SHARED_ID = 'image id used twice'
_MANY_IMAGES, _MOST = 10, 0.5  # images, and the share of them that is used, which make a shift likely


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
    unclear = shared - same
    kept, seen = [], set()
    for image in images:
        number, name = image.get('id'), str(image.get('file_name'))
        if number in unclear:
            file.item.left_out.append((SHARED_ID, f'{number} in {file.item.path.name}: {name}'))
        elif number in seen and number in same:
            file.item.repaired.append(('image listed twice', 'taken once', name))
        else:
            kept.append(image)
        seen.add(number)
    if len(kept) < len(images):
        file.item.content['images'] = kept
        for name in file.item.images.keys() - {image.get('file_name') for image in kept}:
            del file.item.images[name]
    for position, annotation in file.kept():
        number = _plain(annotation.get('image_id'))
        if number is not None and number in unclear:
            file.drop(f'annotation of an {SHARED_ID}', position, annotation['image_id'])


def join_images(file: CocoEntries) -> None:
    """``image_id`` as text, list or name of the file, where the images have numbers, or the other way round."""
    images = [image for image in file.item.content['images'] if _is_id(image.get('id'))]
    whole: dict[str, list] = {}
    for image in images:
        if isinstance(image.get('file_name'), str):
            path = str(PurePosixPath(image['file_name'].replace('\\', '/')))
            whole.setdefault(path, [image['id']])  # entries of one photo are joined later
    parts: dict[str, list] = {}
    for path, ids in whole.items():
        for name in {PurePosixPath(path).name, PurePosixPath(path).stem}:
            parts.setdefault(name, []).extend(ids)
    _join(file, 'image_id', [image['id'] for image in images], lambda text: whole.get(text) or parts.get(text, ()))


def join_categories(file: CocoEntries) -> None:
    """``category_id`` as text, list or name of the class, and ids of categories that are no whole numbers."""
    categories = file.item.content.get('categories')
    if not isinstance(categories, list) or not all(isinstance(category, dict) for category in categories):
        return  # which is refused later
    written = [category.get('id') for category in categories]
    plain = [_plain(value) for value in written]
    named = [category for category in categories if isinstance(category.get('name'), str)]
    names = {spelling(category['name']): [category['id']] for category in named if _is_id(category.get('id'))}
    _join(file, 'category_id', written, lambda text: names.get(spelling(text), ()))
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


def _is_id(value: object) -> bool:
    return isinstance(value, (int, float, str)) and not isinstance(value, bool)


def _join(file: CocoEntries, key: str, written: list, by_name: Callable[[str], Sequence]) -> None:
    """Replace what annotations have as ``key`` by the id that it means; drop what can be no id, or that of several entries."""
    own = set(filter(_is_id, written))
    plain = Counter(map(_plain, own))
    by_value = {_plain(value): [value] for value in own if plain[_plain(value)] == 1 and _plain(value) is not None}
    strangers = []
    for position, annotation in file.kept():
        value = annotation.get(key)
        if value is not None and not (_is_id(value) and value in own):
            names = by_name(value) if isinstance(value, str) else ()
            strangers.append((position, annotation, value, by_value.get(_plain(value), ()), names))
    # Texts that all are ids, and not all names, are ids; and the other way round.
    texts = [(ids, names) for _, _, value, ids, names in strangers if isinstance(value, str)]
    all_ids, all_names = all(ids for ids, _ in texts), all(names for _, names in texts)
    for position, annotation, value, ids, names in strangers:
        if all_ids and not all_names:
            names = ()
        elif all_names and not all_ids and names:
            ids = ()
        meant = {*ids, *names}
        if len(meant) > 1:
            fault = (
                'that is the id of one entry and the name of another' if ids else 'that is the name of several entries'
            )
            file.drop(f'{key} {fault}', position, value)
            if key == 'image_id':  # any of them may have lost an object
                file.item.lost |= meant
        elif meant:
            (annotation[key],) = meant
            fault, remedy = ('of another type than the ids', _BY_VALUE) if ids else _BY_NAME
            file.repaired(f'{key} {fault}', remedy, position)
        elif _plain(value) is None:
            file.drop(f'{key} that is no id', position, value)
        elif isinstance(value, list):
            annotation[key] = _plain(value)  # of no entry, which is said of each


def shifted_images(file: CocoEntries) -> None:
    """Annotations of the images 0 to N - 1 where the images have 1 to N, or the other way: each would be learned on its neighbour."""
    listed = [image.get('id') for image in file.item.content['images']]
    used = {annotation.get('image_id') for _, annotation in file.kept()}
    if _is_shifted(listed, used):
        _drop_shifted(file, 'image_id', 'images', min(used), min(listed))
    elif len(listed) >= _MANY_IMAGES and len(used) >= _MOST * len(listed) and _is_run(listed):
        # Where some images have no annotation it is not certain.
        for step in (-1, 1):
            strangers, spared = used - set(listed), max(listed) if step < 0 else min(listed)
            if strangers and strangers <= {number + step for number in listed} and spared not in used:
                kind = f'image_id counted from {min(listed) + step}, where the images may begin with {min(listed)}'
                place = f'{file.item.path.name}: {min(strangers)} is no image, and {spared} has no annotation'
                file.item.doubts.append((f'{kind}: each annotation would be on another image', place))


def shifted_categories(file: CocoEntries) -> None:
    """Annotations of the classes 0 to N - 1 where the categories have 1 to N, or the other way: each would be learned as its neighbour."""
    categories = file.item.content.get('categories')
    if not isinstance(categories, list) or not all(isinstance(category, dict) for category in categories):
        return
    listed = [category.get('id') for category in categories]
    used = {annotation.get('category_id') for _, annotation in file.kept()}
    if _is_shifted(listed, used):
        _drop_shifted(file, 'category_id', 'categories', min(used), min(listed))


def _is_shifted(listed: list, used: set) -> bool:
    """Whether ids follow each other, and each is used with the same 1 added or taken away."""
    return _is_run(listed) and any(used == {number + step for number in listed} for step in (-1, 1))


def _is_run(numbers: list) -> bool:
    """Whether ids are whole numbers that follow each other, in any order."""
    if not numbers or set(map(type, numbers)) != {int}:
        return False
    return max(numbers) - min(numbers) + 1 == len(set(numbers))


def _drop_shifted(file: CocoEntries, key: str, entries: str, first: int, listed: int) -> None:
    change = 'add 1 to each' if first < listed else 'take 1 from each'
    kind = f'{key} counted from {first}, where the {entries} begin with {listed}; {change}'
    for position, annotation in file.kept():
        file.drop(kind, position, annotation[key])


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
