"""The names and colours of classes in masks, from the files that people have them in."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from pathlib import Path

from ..text import printable
from .class_files import EXAMPLE, NamedClass, lists_images, read_classes
from .data_folder import DataFolder
from .folder import is_file
from .label_text import short

# The first that is there counts.
_CLASS_FILES = (
    *('classes.json', 'classes.txt', 'class_dict.csv', 'labelmap.txt', '_classes.csv', 'classes.csv', 'classes.yaml'),
    *(
        'class_names.txt',
        'label_colors.txt',
        'label_map.pbtxt',
        'labelmap.pbtxt',
        'classes.names',
        'obj.names',
        'labels.txt',
    ),
)
_IGNORED = {'unlabeled', 'unlabelled', 'void', 'ignore', 'ignored', 'ignore label'}


def is_no_label(name: str) -> bool:
    """Whether a class name says that its pixels carry no label."""
    return spelling(name) in _IGNORED


def class_file(folder: DataFolder) -> Path | None:
    """The file with the classes of masks in a folder; it may lie there several times.

    Raises:
        ValueError: If files of one name give other classes.
    """
    for name in _CLASS_FILES:
        found = [path for path in folder.files if path.name.lower() == name and not lists_images(path)]
        if found:
            first = min(found, key=lambda path: len(path.parts))
            if first.parent == folder.root:
                return first
            said = [(one.name, one.color, one.number) for one in read_palette(first)]
            for other in found:
                if [(one.name, one.color, one.number) for one in read_palette(other)] != said:
                    raise ValueError(
                        f'{short(first, folder.root)} and {short(other, folder.root)} in {folder.root} give other classes; '
                        f'delete one, or name the right one with --palette'
                    )
            return first
    return None


def read_palette(path: Path) -> list[NamedClass]:
    """Read class names and their colours.

    Understood are JSON and YAML, ``{"road": [110, 193, 228]}``, ``{"road": "#6EC1E4"}``, ``{"0": "road"}``, a list of names, a list of
    objects with ``name`` or ``title`` and ``color`` or ``id``, either under ``classes``, ``names`` or ``categories``; tables whose head
    names the columns; TensorFlow's label maps; and text with a class on each line, its name alone or with a colour, apart by commas,
    colons or spaces.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it holds no classes, a name or colour twice, or numbers with gaps.
    """
    if not is_file(path):
        raise FileNotFoundError(
            f'palette {path} does not exist; give a JSON or text file with the name and colour of each class'
        )
    try:
        classes = read_classes(path)
    except ValueError as error:
        raise ValueError(f'palette {error}') from error
    for values, what in (
        ([spelling(one.name) for one in classes], 'name'),
        ([one.color for one in classes], 'colour'),
        ([one.number for one in classes], 'number'),
    ):
        counts = Counter(value for value in values if value is not None)
        twice = next((value for value, count in counts.items() if count > 1), None)
        if twice is not None:
            places = ' and '.join([one.place for one, value in zip(classes, values) if value == twice][:2])
            raise ValueError(
                f'palette {path} has the {what} {printable(str(twice))} twice ({places}); each class needs its own'
            )
    colors = [one.color for one in classes if one.color]
    if colors and len(colors) != len(classes):
        bare = next(f', none in {one.place}' for one in classes if not one.color)
        raise ValueError(
            f'palette {path} has {len(colors)} colours for {len(classes)} classes{bare}; give all or none of them: {EXAMPLE}'
        )
    numbers = [one.number for one in classes]
    if None not in numbers and not colors and numbers not in _counts(len(classes)):
        shown = ', '.join(map(str, numbers[:6])) + (', ...' if len(numbers) > 6 else '')
        raise ValueError(
            f'palette {path} has classes of the values {shown}; masks hold classes 0, 1, 2, ... or 1, 2, 3, ... without gaps: '
            f'change the masks and the file, or give colours'
        )
    return classes


def _counts(count: int) -> list[list[int]]:
    return [list(range(first, first + count)) for first in (0, 1)]


def spelling(name: str) -> str:
    """What two spellings of one class name have in common.

    Example:
        >>> spelling('Traffic_Light ') == spelling('traffic light')
        True
    """
    return re.sub(r'[\s_-]+', ' ', unicodedata.normalize('NFKC', str(name))).strip().casefold()
