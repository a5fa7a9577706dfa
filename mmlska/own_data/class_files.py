"""Files with the names of classes, as programs write them: JSON, YAML, tables, TensorFlow's label maps and lists of names."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import yaml

from ..images import is_image
from ..text import printable, shown
from .label_tables import column_names, columns_of, delimiter_of, filled_rows, first_column
from .label_text import read_text

#: What such a file may look like, for messages.
EXAMPLE = 'write {"road": [110, 193, 228], ...}, or a name and its colour on each line'
_NAME_COLUMNS = ('name', 'class', 'classname', 'label', 'labelname', 'category', 'categoryname', 'title')
_NUMBER_COLUMNS = ('pixelvalue', 'value', 'index', 'id', 'classid', 'labelid', 'classindex', 'number')
_COLOR_COLUMNS = ('color', 'colour', 'rgb', 'colorrgb', 'hex', 'hexcolor', 'colorhex', 'rgbcolor')
_CHANNEL_COLUMNS = (('r', 'g', 'b'), ('red', 'green', 'blue'))
_BARE = r'(\d{1,3})[\s,;]+(\d{1,3})[\s,;]+(\d{1,3})'
_NUMBERS = re.compile(rf'[\[(]?(?<![\w.]){_BARE}(?![\w.])[\])]?')
_HEX = re.compile('#([0-9a-fA-F]{6})(?![0-9a-zA-Z])')
# No name of a class: what stands above a list of names.
_HEADING = re.compile(
    r'(?i)(class|label|category)[ _-]?names?|(names|classes|labels):|(id|index)[\s,;]+((class|label)[ _-]?)?name'
)
_ITEM = re.compile(r'item\s*\{(.*?)\}', re.DOTALL)
_COUNTED = re.compile(r'(?P<number>\d{1,5})\s*[\s,;:=]\s*(?P<name>\S.*)')
_COUNTED_BEHIND = re.compile(r'(?P<name>.*\S)\s*[,;]\s*(?P<number>\d{1,5})')


@dataclass(frozen=True)
class NamedClass:
    """A class by name.

    ``color`` is its RGB colour in the masks, and ``number`` its value in them or its id in labels, where the file says so; ``place``
    is where.
    """

    name: str
    color: tuple[int, int, int] | None = None
    number: int | None = None
    place: str = ''


def lists_images(path: Path) -> bool:
    """Whether a text of a vague name such as labels.txt has a line for each image."""
    if path.suffix.lower() != '.txt':
        return False
    with suppress(OSError, ValueError):  # whoever reads it names it
        words = re.split(r'[\s,;]+', read_text(path, latin=True).strip(), maxsplit=1)
        return is_image(Path(words[0]))
    return False


def read_classes(path: Path) -> list[NamedClass]:
    """Read class names, their colours and numbers; those with numbers come in the order of these.

    Raises:
        ValueError: If the file is not understood; the message names the line or entry.
    """
    try:
        text = read_text(path, latin=True)
        suffix = path.suffix.lower()
        if suffix == '.json':
            classes = list(_from_content(json.loads(text)))
        elif suffix in ('.yaml', '.yml'):
            classes = list(_from_content(yaml.load(text, Loader=yaml.BaseLoader)))
        elif suffix == '.pbtxt':
            classes = list(_from_items(text))
        else:
            classes = _from_table(text, suffix in ('.csv', '.tsv')) or list(_from_lines(text))
    except (ValueError, TypeError, KeyError, RecursionError, csv.Error, yaml.YAMLError) as error:
        reason = printable(' '.join(str(error).replace(str(path), 'it').split()))[:200]
        raise ValueError(f'{path} is not understood ({reason}); {EXAMPLE}') from error
    if not classes:
        raise ValueError(f'{path} names no class; {EXAMPLE}')
    if all(one.number is not None for one in classes):
        classes.sort(key=lambda one: one.number)
    return classes


def _from_content(content: object) -> Iterator[NamedClass]:
    for key in ('classes', 'names', 'categories', 'labels'):
        if isinstance(content, dict) and isinstance(content.get(key), (list, dict)):
            content = content[key]
            break
    if isinstance(content, dict):
        numbered = all(_whole(key) is not None and isinstance(value, str) for key, value in content.items())
        swapped = all(_whole(value) is not None for value in content.values())
        for key, value in content.items():
            place = f'entry {shown(key)}'
            if numbered:
                yield NamedClass(_name(value, place), None, _whole(key), place)
            elif swapped:
                yield NamedClass(_name(key, place), None, _whole(value), place)
            else:
                yield NamedClass(_name(key, place), _color(value, place), None, place)
        return
    if not isinstance(content, list):
        raise ValueError(f'{shown(content)} is no list of classes')
    for count, item in enumerate(content, 1):
        place = f'entry {count}'
        if isinstance(item, str):
            yield NamedClass(_name(item, place), None, None, place)
            continue
        if not isinstance(item, dict):
            raise ValueError(f'{place} is {shown(item)}, no name')
        name = next((item[key] for key in ('name', 'title', 'label') if key in item), None)
        color = next((item[key] for key in ('color', 'colour') if key in item), None)
        number = next((_whole(item[key]) for key in ('id', 'value', 'index') if key in item), None)
        yield NamedClass(_name(name, place), _color(color, place), number, place)


def _from_items(text: str) -> Iterator[NamedClass]:
    """TensorFlow's label map: ``item { id: 1 name: 'cat' }``."""
    for count, found in enumerate(_ITEM.finditer(text), 1):
        place = f'item {count}'
        name = re.search(r"""\bdisplay_name\s*:\s*(["'])(.*?)\1""", found[1])
        name = name or re.search(r"""\bname\s*:\s*(["'])(.*?)\1""", found[1])
        number = re.search(r'\bid\s*:\s*(\d{1,5})', found[1])
        if not name or not number:
            raise ValueError(f'{place} has no id and name')
        yield NamedClass(_name(name[2], place), None, int(number[1]), place)


def _from_table(text: str, is_table: bool) -> list[NamedClass] | None:
    """The classes of a table with a head; None for another text.

    Args:
        text: The text.
        is_table: Whether the file is called a table; else a head of one column is the name of a class.
    """
    delimiter = delimiter_of(text)
    rows = list(filled_rows(csv.reader(text.splitlines(), delimiter=delimiter, skipinitialspace=True)))
    columns = column_names([cell.strip('# ') for cell in rows[0][1]]) if rows else {}
    name = first_column(columns, _NAME_COLUMNS)
    number, color = first_column(columns, _NUMBER_COLUMNS), first_column(columns, _COLOR_COLUMNS)
    channels = columns_of(columns, _CHANNEL_COLUMNS)
    if is_table and 'filename' in columns:
        raise ValueError('it is a table of photos')
    if name is None or not (is_table or channels or number is not None or color is not None):
        return None
    out = []
    for line, cells in rows[1:]:
        place = f'line {line}'
        if color is not None and color == len(columns) - 1 and len(cells) > len(columns):  # (1, 2, 3) without quotes
            cells = [*cells[:color], ','.join(cells[color:])]
        cells = cells + [''] * (len(columns) - len(cells))
        rgb = (
            ' '.join(cells[column] for column in channels) if channels else cells[color] if color is not None else None
        )
        value = cells[number] if number is not None else None
        if value is not None and _whole(value) is None:
            raise ValueError(f'{place} has the number {shown(value)}')
        out.append(NamedClass(_name(cells[name], place), _color(rgb, place), _whole(value), place))
    return out


def _from_lines(text: str) -> Iterator[NamedClass]:
    """A class on each line: its name, or name and colour in any order, apart by commas, colons or spaces."""
    found, is_list = [], False  # one of YAML, under its heading
    for count, line in enumerate(text.splitlines(), 1):
        place, code, color = f'line {count}', _HEX.search(line), None
        line = line.strip() if code else re.split(r'(?:^|\s)#', line)[0].strip()
        if not line or re.fullmatch(r'(?i)(class_?)?name[\s,;]+r[\s,;]+g[\s,;]+b', line):
            continue
        if not found and _HEADING.fullmatch(line):
            is_list = line.endswith(':')
            continue
        line = line.removeprefix('- ') if is_list else line
        match = code or _NUMBERS.search(line)
        if match:
            color = _color(match[0], place)
            line = f'{line[: match.start()]} {line[match.end() :]}'
        name = line.strip(' \t,;:').strip('"')
        if name or match:
            found.append(NamedClass(_name(name, place), color, None, place))
    yield from _counted(found)


def _counted(classes: list[NamedClass]) -> Iterable[NamedClass]:
    """The classes with their numbers, where each line begins with one, or ends with one behind a comma, from 0 or 1 on.

    A number without which two classes would have one name, as ``1 euro`` and ``2 euro``, is part of the name.
    """
    for pattern in (_COUNTED, _COUNTED_BEHIND):
        matches = [pattern.fullmatch(one.name) for one in classes]
        numbers = [int(match['number']) for match in matches if match]
        names = {match['name'].casefold() for match in matches if match}
        counts = list(range(len(classes))), list(range(1, len(classes) + 1))
        if len(classes) > 1 and numbers in counts and len(names) == len(classes):
            named = zip(classes, matches, numbers)
            return [NamedClass(match['name'], one.color, number, one.place) for one, match, number in named]
    return classes


def _name(value: object, place: str) -> str:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f'{place} has no name')
    if re.search('[\\ud800-\\udfff]', value):
        raise ValueError(f'the name {shown(value)} holds half a character')
    return value.strip()


def _whole(value: object) -> int | None:
    """A whole number from 0, as such or as text."""
    found = re.fullmatch(r'\s*(\d{1,5})(\.0*)?\s*', str(value)) if not isinstance(value, bool) else None
    return int(found[1]) if found else None


def _color(value: object, place: str) -> tuple[int, int, int] | None:
    """The colour that is three numbers, or text such as #6EC1E4 or (110, 193, 228)."""
    if value is None or value == '':
        return None
    if isinstance(value, str):
        code = re.fullmatch('#?([0-9a-fA-F]{6})', value.strip())
        if code:
            return tuple(bytes.fromhex(code[1]))
        numbers = _NUMBERS.fullmatch(value.strip())
        if not numbers:
            raise ValueError(f'{place}: {shown(value)} is no colour such as #6EC1E4')
        value = [int(number) for number in numbers.groups()]
    if isinstance(value, list) and all(isinstance(v, str) for v in value):  # of YAML
        value = [_whole(v) for v in value]
    if not isinstance(value, list) or len(value) != 3 or not all(type(v) is int and 0 <= v <= 255 for v in value):
        raise ValueError(f'{place}: {shown(value)} is no colour of three numbers from 0 to 255')
    return tuple(value)
