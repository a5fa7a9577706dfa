"""Which number of a class a file with class names gives: in lines before or behind the name, or in a column."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from ..text import shown
from .class_values import NamedClass, color_of, counts, name_of, whole
from .label_tables import first_column

NAME_COLUMNS = (
    *('name', 'class', 'classname', 'label', 'labelname', 'category', 'categoryname', 'title', 'classes', 'names'),
    *('labels', 'categories', 'readable', 'displayname', 'description'),
)
_SURE_COLUMNS = ('pixelvalue', 'value', 'index', 'id', 'classid', 'labelid', 'classindex', 'number')
# Names of columns that may hold something else, such as a count of pixels or a code of letters.
_OTHER_COLUMNS = (
    *('idx', 'categoryid', 'maskvalue', 'classvalue', 'labelvalue', 'grayvalue', 'greyvalue', 'gray', 'grey', 'code'),
    *('classnumber', 'pixel'),
)
NUMBER_COLUMNS = (*_SURE_COLUMNS, *_OTHER_COLUMNS)
_LARGEST = 255  # value of a mask in 8 bits
TRAIN_COLUMNS = ('trainid', 'trainids')
COLOR_COLUMNS = ('color', 'colour', 'rgb', 'colorrgb', 'hex', 'hexcolor', 'colorhex', 'rgbcolor', 'rgba')
_MARK = r'[,;:=|\t]|-+>'
_BEFORE = re.compile(rf'(?P<number>\d{{1,5}})\s*(?P<mark>{_MARK}|[.)-](?=\s)|\s)\s*(?P<name>\S.*)')
_BEHIND = re.compile(rf'(?P<name>\S|\S.*?\S)\s*(?P<mark>{_MARK}|\s)\s*(?P<number>\d{{1,5}})')


def counted(classes: Sequence[NamedClass], values: Collection[int] = ()) -> list[NamedClass]:
    """The classes with their numbers, where each line begins or ends with one.

    A number without which two classes would have one name, as ``1 euro`` and ``2 euro``, is part of the name. So is one that stands
    apart by a blank alone, as in ``10 of clubs``, unless these numbers count from 0 or 1, or are those of the masks.

    Args:
        classes: The classes as their lines name them.
        values: The values in the masks, where they are known: then numbers are taken only if they are these, with gaps.
    """
    first = classes[0].name if classes else ''
    has_head = len(classes) > 2 and re.search(_MARK, first) and not re.search(r'\d', first)
    for part in (classes, classes[1:] if has_head else []):
        for pattern in (_BEFORE, _BEHIND):
            matches = [pattern.fullmatch(one.name) for one in part]
            if matches and all(matches) and _are_numbers(matches, pattern is _BEFORE, values):
                return [
                    replace(one, name=match['name'].strip(), number=int(match['number']))
                    for one, match in zip(part, matches)
                ]
    return list(classes)


def _are_numbers(matches: Sequence[re.Match], before: bool, values: Collection[int]) -> bool:
    names = {match['name'].casefold() for match in matches}
    numbers = [int(match['number']) for match in matches]
    if len(names) < len(matches):
        return False
    if values:
        others = set(values) - {0, _LARGEST}
        without = others - set(numbers)
        are_values = others and (not without or 0 in numbers and len(without) < len(others) / 2)
        return bool(are_values) and before and len(set(numbers)) == len(numbers) and not counts(numbers)
    if all(match['mark'] == '\t' or match['mark'].strip() for match in matches):
        return True
    if len(matches) == 1:
        return before and numbers == [0]
    return counts(numbers)


def from_rows(rows: Sequence[Mapping[str, object]], places: Sequence[str], *, strict: bool) -> list[NamedClass]:
    """The classes of a table or of a list of objects.

    Args:
        rows: The values of each class, by keys as of :func:`mmlska.own_data.label_tables.column_names`.
        places: Where each stands.
        strict: A number that is none is a mistake; else the column is something else.

    Raises:
        ValueError: If a name, number or colour is none.
    """
    keys = dict.fromkeys(key for row in rows for key in row)
    columns = {key: key for key in keys}

    def numeric(key: str) -> bool:
        return all(whole(row.get(key)) is not None for row in rows)

    named = [key for key in NAME_COLUMNS if key in keys]
    name = next((key for key in named if not numeric(key)), named[0] if named else '')

    def are_numbers(key: str) -> bool:
        return numeric(key) and (key not in _OTHER_COLUMNS or all(whole(row.get(key)) <= _LARGEST for row in rows))

    possible = [key for key in (*NUMBER_COLUMNS, *named) if key in keys and key != name]
    number = next(filter(are_numbers, possible), None) or (first_column(columns, _SURE_COLUMNS) if strict else None)
    train, color = first_column(columns, TRAIN_COLUMNS), first_column(columns, COLOR_COLUMNS)
    out = []
    for row, place in zip(rows, places):
        value = whole(row.get(number)) if number else None
        if number and value is None:
            raise ValueError(f'{place} has the number {shown(row.get(number))}')
        train_value = whole(row.get(train)) if train else None
        rgb = color_of(row.get(color), place) if color else None
        others = [] if strict else [row.get(key) for key in named if key != number]
        text = next(filter(None, (row.get(name), *others)), None)
        out.append(NamedClass(name_of(text, place), rgb, value, place, train_value))
    if number is None and train and numeric(train):
        out = [replace(one, number=one.train_number) for one in out]
    return out


def twice(classes: Iterable[NamedClass], key: Callable[[NamedClass], object]) -> tuple[object, str] | None:
    """A value that two classes have, and their places; None where each has its own, or none."""
    values = [(key(one), one.place) for one in classes]
    many = Counter(value for value, _ in values if value is not None)
    value = next((value for value, count in many.items() if count > 1), None)
    if value is None:
        return None
    return value, ' and '.join([place for other, place in values if other == value][:2])
