"""Files with the names of classes, as programs write them: JSON, YAML, tables, TensorFlow's label maps and lists of names."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import yaml

from ..images import is_image
from ..text import printable, shown
from .class_numbers import COLOR_COLUMNS, NAME_COLUMNS, NUMBER_COLUMNS, counted, from_rows, twice
from .class_values import NamedClass, color_in, color_of, counts, name_of, whole, without_comment
from .label_tables import column_names, columns_of, delimiter_of, filled_rows, first_column
from .label_text import read_text

#: What such a file may look like, for messages.
EXAMPLE = 'write {"road": [110, 193, 228], ...}, or a name and its colour on each line'
_CHANNEL_COLUMNS = (('r', 'g', 'b'), ('red', 'green', 'blue'))
_PHOTO_COLUMNS = {'filename', 'image', 'imageid', 'imagename', 'img', 'file', 'filepath', 'path', 'photo'}
# The entries of a file that hold the classes; of several the first that is there.
_ENTRIES = (
    *('classes', 'names', 'categories', 'labels', 'id2label', 'label2id', 'idtolabel', 'labeltoid', 'classnames'),
    *('labelnames', 'labelmap', 'classmap', 'metainfo'),
)
# No name of a class: what stands above a list of names.
_HEADING = re.compile(
    r'(?i)(class|label|category)[ _-]?names?|(names|classes|labels):|(id|index)[\s,;]+((class|label)[ _-]?)?name'
)
_ITEM = re.compile(r'item\s*\{(.*?)\}', re.DOTALL)
_LABELME_FIRST = '__ignore__'  # the first line of LabelMe's labels.txt, with the number -1


def lists_images(path: Path) -> bool:
    """Whether a text of a vague name such as labels.txt has a line for each image."""
    if path.suffix.lower() != '.txt':
        return False
    with suppress(OSError, ValueError):  # whoever reads it names it
        words = re.split(r'[\s,;]+', read_text(path, latin=True).strip(), maxsplit=1)
        return is_image(Path(words[0]))
    return False


def has_class_entry(path: Path) -> bool:
    """Whether a file of JSON or YAML has an entry whose name says that it holds the classes, such as ``names``."""
    try:
        text = read_text(path, latin=True)
        content = json.loads(text) if path.suffix.lower() == '.json' else yaml.load(text, Loader=yaml.BaseLoader)
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return False
    entries = {_key(key): value for key, value in content.items()} if isinstance(content, dict) else {}
    return any(_holds_classes(entries.get(key)) for key in _ENTRIES)


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
            classes = _from_literal(text) or _from_table(text, suffix in ('.csv', '.tsv')) or _from_lines(text)
    except (ValueError, TypeError, KeyError, RecursionError, csv.Error, yaml.YAMLError) as error:
        reason = printable(' '.join(str(error).replace(str(path), 'it').split()))[:200]
        raise ValueError(f'{path} is not understood ({reason}); {EXAMPLE}') from error
    if len(classes) > 1 and classes[0].name == _LABELME_FIRST and not any(one.number for one in classes):
        classes = [replace(one, number=None) for one in classes[1:]]
    if not classes:
        raise ValueError(f'{path} names no class; {EXAMPLE}')
    found = twice(classes, lambda one: one.number)
    if found:
        raise ValueError(f'{path} has the number {found[0]} twice ({found[1]}); each class needs its own')
    if all(one.number is not None for one in classes):
        classes.sort(key=lambda one: one.number)
    return classes


def _key(key: object) -> str:
    return re.sub(r'[\s_-]', '', str(key)).casefold()


def _from_content(content: object) -> Iterator[NamedClass]:
    if isinstance(content, dict):
        entries = {_key(key): value for key, value in content.items()}
        inner = next((entries[key] for key in _ENTRIES if _holds_classes(entries.get(key))), None)
        if inner is not None:
            colors = entries.get('palette')
            if isinstance(inner, list) and isinstance(colors, list) and len(inner) == len(colors):
                inner = dict(zip(inner, colors)) if all(isinstance(name, str) for name in inner) else inner
            content = inner if isinstance(inner, (list, dict)) else _listed(inner)
            if _key('metainfo') in entries and inner is entries['metainfo']:
                yield from _from_content(content)
                return
    if isinstance(content, dict):
        yield from _from_entries(content)
        return
    if not isinstance(content, list):
        raise ValueError(f'{shown(content)} is no list of classes')
    places = [f'entry {count}' for count in range(1, len(content) + 1)]
    if content and all(isinstance(item, dict) for item in content):
        yield from from_rows([_row(item) for item in content], places, strict=False)
        return
    for item, place in zip(content, places):
        if not isinstance(item, str):
            raise ValueError(f'{place} is {shown(item)}, no name')
        yield NamedClass(name_of(item, place), None, None, place)


def _holds_classes(value: object) -> bool:
    if isinstance(value, list):
        return not any(isinstance(item, (int, float)) for item in value)
    return isinstance(value, dict) or isinstance(value, str) and ',' in value


def _listed(text: str) -> list[str]:
    return [word.strip() for word in text.split(',')]


def _row(item: Mapping) -> dict[str, object]:
    return {_key(key): value for key, value in item.items()}


def _from_entries(content: Mapping) -> Iterator[NamedClass]:
    """The classes of an object: names by numbers, numbers, colours or objects by names, names by colours."""
    items, places = list(content.items()), [f'entry {shown(key)}' for key in content]
    if items and all(isinstance(value, dict) and not {'r', 'g', 'b'} <= value.keys() for _, value in items):
        numbered = all(whole(key) is not None for key, _ in items)
        rows = [{('index' if numbered else 'name'): key} | _row(value) for key, value in items]
        yield from from_rows(rows, places, strict=False)
        return
    numbered = all(whole(key) is not None and isinstance(value, str) for key, value in items)
    swapped = all(whole(value) is not None for _, value in items)
    by_color = all(_is_color(key) and isinstance(value, str) and not _is_color(value) for key, value in items)
    for (key, value), place in zip(items, places):
        if numbered:
            yield NamedClass(name_of(value, place), None, whole(key), place)
        elif swapped:
            yield NamedClass(name_of(key, place), None, whole(value), place)
        elif by_color:
            yield NamedClass(name_of(value, place), color_of(key, place), None, place)
        else:
            yield NamedClass(name_of(key, place), color_of(value, place), None, place)


def _is_color(text: object) -> bool:
    if not isinstance(text, str) or not re.search('[#,;( ]', text):  # a name may be one of letters, such as facade
        return False
    numbers, rest = color_in(text)
    return numbers is not None and not rest.strip()


def _from_items(text: str) -> Iterator[NamedClass]:
    """TensorFlow's label map: ``item { id: 1 name: 'cat' }``."""
    for count, found in enumerate(_ITEM.finditer(text), 1):
        place = f'item {count}'
        name = re.search(r"""\bdisplay_name\s*:\s*(["'])(.*?)\1""", found[1])
        name = name or re.search(r"""\bname\s*:\s*(["'])(.*?)\1""", found[1])
        number = re.search(r'\bid\s*:\s*(\d{1,5})', found[1])
        if not name or not number:
            raise ValueError(f'{place} has no id and name')
        yield NamedClass(name_of(name[2], place), None, int(number[1]), place)


def _from_literal(text: str) -> list[NamedClass]:
    """The classes of a text that is a list or an object, such as ``['cat', 'dog']``; none of another text."""
    if not text.lstrip().startswith(('[', '{')):
        return []
    try:
        content = yaml.load(text, Loader=yaml.BaseLoader)
    except yaml.YAMLError:  # a line may begin with a colour
        return []
    if isinstance(content, list) and all(isinstance(item, str) and whole(item) is not None for item in content):
        return []
    return list(_from_content(content))


def _from_table(text: str, is_table: bool) -> list[NamedClass] | None:
    """The classes of a table with a head; None for another text.

    Args:
        text: The text.
        is_table: Whether the file is called a table; else a head of one column is the name of a class.
    """
    delimiter = delimiter_of(text)
    rows = list(filled_rows(csv.reader(text.splitlines(), delimiter=delimiter, skipinitialspace=True)))
    columns = column_names([cell.strip('# ') for cell in rows[0][1]]) if rows else {}
    name, color = first_column(columns, NAME_COLUMNS), first_column(columns, COLOR_COLUMNS)
    channels = columns_of(columns, _CHANNEL_COLUMNS)
    if is_table and _PHOTO_COLUMNS & columns.keys():
        raise ValueError('it is a table of photos')
    if name is None or not (
        is_table or channels or color is not None or first_column(columns, NUMBER_COLUMNS) is not None
    ):
        return None
    found = []
    for _, cells in rows[1:]:
        if color is not None and color == len(columns) - 1 and len(cells) > len(columns):  # (1, 2, 3) without quotes
            cells = [*cells[:color], ','.join(cells[color:])]
        cells = cells + [''] * (len(columns) - len(cells))
        row: dict[str, object] = {key: cells[column] for key, column in columns.items()}
        if channels:
            row[COLOR_COLUMNS[0]] = [whole(cells[column]) for column in channels]
        found.append(row)
    return from_rows(found, [f'line {line}' for line, _ in rows[1:]], strict=True)


def _from_lines(text: str) -> list[NamedClass]:
    """A class on each line: its name, or name and colour in any order, apart by commas, colons or spaces."""
    found: list[tuple[NamedClass, list[int] | None]] = []
    is_list = False  # one of YAML, under its heading
    for count, line in enumerate(text.splitlines(), 1):
        place = f'line {count}'
        numbers, rest = color_in(without_comment(line))
        rest = rest.strip()
        if not (rest or numbers) or re.fullmatch(r'(?i)(class_?)?name[\s,;]+r[\s,;]+g[\s,;]+b', rest):
            continue
        if not found and _HEADING.fullmatch(rest):
            is_list = rest.endswith(':')
            continue
        rest = rest.removeprefix('- ') if is_list else rest
        name = re.sub(r"""^(["'])(.*)\1$""", r'\2', rest.strip(' \t,;:'))
        found.append((NamedClass(name_of(name, place), None, None, place), numbers))
    classes = _colored(found)
    first, *rest = [one.name for one in classes] or ['']
    if rest and whole(first) == len(rest) and not any(whole(name) is not None for name in rest):  # how many follow
        classes = classes[1:]
    if len(classes) == 1 and classes[0].color is None and not re.search(r'\d', classes[0].name):
        names = filter(None, map(str.strip, re.split('[,;]', classes[0].name)))
        return [replace(classes[0], name=name) for name in names]
    return classes if any(one.number is not None for one in classes) else counted(classes)


def _colored(found: list[tuple[NamedClass, list[int] | None]]) -> list[NamedClass]:
    """The classes with their colours; of four numbers one may be that of the class, before or behind the colour."""
    fours = [numbers for _, numbers in found if numbers and len(numbers) == 4]
    at = None
    if fours and len(fours) == len(found):
        opaque = len(fours) > 1 and all(numbers[3] == 255 for numbers in fours)
        at = next((place for place in (0, 3) if not opaque and counts([numbers[place] for numbers in fours])), None)
    out = []
    for one, numbers in found:
        number = None if at is None else numbers[at]
        rgb = numbers and (numbers[1:] if at == 0 else numbers[:3])
        out.append(replace(one, color=color_of(rgb, one.place) if rgb else None, number=number))
    return out
