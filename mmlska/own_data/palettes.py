"""Read the names and colours of classes from the files that people have them in."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from ..files import is_inside
from ..text import shown
from .folder import is_file

_CLASS_FILES = ('classes.json', 'classes.txt', 'class_dict.csv', 'labelmap.txt')
_IGNORED = {'unlabeled', 'unlabelled', 'void', 'ignore', 'ignored', 'ignore label'}


@dataclass(frozen=True)
class NamedClass:
    """A class by name; ``color`` is its RGB colour in the masks where the file says it."""

    name: str
    color: tuple[int, int, int] | None = None

    @property
    def ignored(self) -> bool:
        """Whether the name says that its pixels carry no label."""
        return spelling(self.name) in _IGNORED


def find_classes(root: Path, palette: str | None) -> list[NamedClass] | None:
    """The classes of the file asked for, or of one in the folder, or None; errors as for :func:`read_palette`."""
    files = (path for path in (root / name for name in _CLASS_FILES) if path.is_file() and is_inside(path, root))
    path = palette or next(files, None)
    return read_palette(Path(path)) if path else None


def read_palette(path: Path) -> list[NamedClass]:
    """Read class names and their colours.

    Understood are JSON, ``{"road": [110, 193, 228]}``, ``{"road": "#6EC1E4"}``, a list of names, a list of objects with ``name`` or
    ``title`` and ``color``, that list under ``classes``; and text with a class on each line, its name alone or name and three
    numbers in any order, apart by commas, colons or spaces.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it holds no classes, or a name or colour twice.
    """
    if not is_file(path):
        raise FileNotFoundError(
            f'palette {path} does not exist; give a JSON or text file with the name and colour of each class'
        )
    try:
        text = path.read_text(encoding='utf-8-sig')
        classes = _from_json(json.loads(text)) if path.suffix.lower() == '.json' else _from_text(text)
        broken = [c.name for c in classes if re.search('[\\ud800-\\udfff]', c.name)]
        if broken:
            raise ValueError(f'the name {shown(broken[0])} holds half a character')
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ValueError(
            f'palette {path} is not understood ({error}); write {{"road": [110, 193, 228], ...}}'
        ) from error
    names, colors = [spelling(c.name) for c in classes], [c.color for c in classes if c.color]
    for values, what in ((names, 'name'), (colors, 'colour')):
        twice = next((value for value, count in Counter(values).items() if count > 1), None)
        if twice is not None:
            raise ValueError(f'palette {path} has the {what} {twice} twice; each class needs its own')
    if not classes or (colors and len(colors) != len(classes)):
        raise ValueError(
            f'palette {path} has {len(colors)} colours for {len(classes)} classes; give all or none of them'
        )
    return classes


def _from_json(content) -> list[NamedClass]:
    if isinstance(content, dict) and isinstance(content.get('classes'), (list, dict)):
        content = content['classes']
    if isinstance(content, dict):
        return [NamedClass(str(name), _color(value)) for name, value in content.items()]
    entries = [{'name': item} if isinstance(item, str) else item for item in content]
    return [NamedClass(str(e['name'] if 'name' in e else e['title']), _color(e.get('color'))) for e in entries]


def _color(value) -> tuple[int, int, int] | None:
    if value is None:
        return None
    if isinstance(value, str):
        digits = re.fullmatch('#?([0-9a-fA-F]{6})', value.strip())
        if not digits:
            raise ValueError(f'{shown(value)} is no colour such as #6EC1E4')
        return tuple(bytes.fromhex(digits[1]))
    if len(value) != 3 or not all(type(v) is int and 0 <= v <= 255 for v in value):
        raise ValueError(f'{shown(value)} is no colour of three numbers from 0 to 255')
    return tuple(value)


def _from_text(text: str) -> list[NamedClass]:
    classes = []
    for line in text.splitlines():
        line = line.split('#')[0].strip() if not re.search('#[0-9a-fA-F]{6}', line) else line.strip()
        if not line or re.fullmatch(r'(?i)(class_?)?name[\s,;]+r[\s,;]+g[\s,;]+b', line):
            continue
        numbers = re.search(r'(?<![\w.])(\d{1,3})[\s,;]+(\d{1,3})[\s,;]+(\d{1,3})(?![\w.])', line)
        rest = (line[: numbers.start()] + ' ' + line[numbers.end() :]) if numbers else line
        name = rest.strip(' \t,;:')
        if name:
            classes.append(NamedClass(name, _color([int(v) for v in numbers.groups()]) if numbers else None))
    return classes


def spelling(name: str) -> str:
    """What two spellings of one class name have in common.

    Example:
        >>> spelling('Traffic_Light ') == spelling('traffic light')
        True
    """
    return re.sub(r'[\s_-]+', ' ', unicodedata.normalize('NFKC', str(name))).strip().casefold()
