"""The values in files with class names: a class, its name, its number and its colour, in the ways that programs write them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..text import shown

_NUMBER = r'\d{1,3}(?:\.0+)?'
_RUN = re.compile(rf'(?:\brgba?\s*)?[\[(]?\s*(?<![\w.]){_NUMBER}(?:[\s,;]+{_NUMBER}){{2,3}}(?![\w.])\s*[\])]?')
_HEX = re.compile('#([0-9a-fA-F]{6})(?:[0-9a-fA-F]{2})?(?![0-9a-zA-Z])')

Color = tuple[int, int, int]


@dataclass(frozen=True)
class NamedClass:
    """A class by name.

    ``color`` is its RGB colour in the masks, and ``number`` its value in them or its id in labels, where the file says so; ``place``
    is where. ``train_number`` is a second value that some files have, for masks that were prepared for training.
    """

    name: str
    color: Color | None = None
    number: int | None = None
    place: str = ''
    train_number: int | None = None


def name_of(value: object, place: str) -> str:
    """A class name, which may be a number.

    Raises:
        ValueError: If it is none.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f'{place} has no name')
    if re.search('[\\ud800-\\udfff]', value):
        raise ValueError(f'the name {shown(value)} holds half a character')
    return value.strip()


def whole(value: object) -> int | None:
    """A whole number from 0, as such or as text; None for another value.

    Example:
        >>> whole('7'), whole(7.0), whole('7 road'), whole(True)
        (7, 7, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None
    found = re.fullmatch(r'\s*(\d{1,5})(\.0*)?\s*', str(value))
    return int(found[1]) if found else None


def counts(numbers: Sequence[int | None]) -> bool:
    """Whether numbers count from 0 or from 1 on, in any order.

    Example:
        >>> counts([2, 0, 1]), counts([2, 1]), counts([0, 2])
        (True, True, False)
    """
    if None in numbers:
        return False
    return sorted(numbers) in (list(range(len(numbers))), list(range(1, len(numbers) + 1)))


def color_in(line: str) -> tuple[list[int] | None, str]:
    """The three or four numbers of the colour in a line, or None, and the rest of the line."""
    found = _HEX.search(line)
    numbers = list(bytes.fromhex(found[1])) if found else None
    if not found:
        found = _RUN.search(line)
        numbers = [int(float(word)) for word in re.findall(_NUMBER, found[0])] if found else None
    return numbers, f'{line[: found.start()]} {line[found.end() :]}' if found else line


def without_comment(line: str) -> str:
    """A line without what follows a #, but for colours such as #6EC1E4.

    Example:
        >>> without_comment('road # paved'), without_comment('road #6EC1E4')
        ('road', 'road #6EC1E4')
    """
    return line if _HEX.search(line) else re.split(r'(?:^|\s)#', line)[0]


def color_of(value: object, place: str) -> Color | None:
    """The colour that is three numbers, or text such as #6EC1E4 or (110, 193, 228); a fourth number is how opaque it is.

    Raises:
        ValueError: If it is none.

    Example:
        >>> color_of('rgb(110, 193, 228)', ''), color_of([110, 193, 228.0, 255], ''), color_of('', '')
        ((110, 193, 228), (110, 193, 228), None)
    """
    if value is None or value == '':
        return None
    if isinstance(value, str):
        code = re.fullmatch('#?([0-9a-fA-F]{6})', value.strip())
        numbers, rest = color_in(f'#{code[1]}' if code else value)
        if numbers is None or rest.strip():
            raise ValueError(f'{place}: {shown(value)} is no colour such as #6EC1E4')
        value = numbers
    if isinstance(value, Mapping):
        value = [value.get(key) for key in 'rgb']
    numbers = [whole(part) for part in value] if isinstance(value, list) else []
    if len(numbers) not in (3, 4) or not all(number is not None and number <= 255 for number in numbers[:3]):
        raise ValueError(f'{place}: {shown(value)} is no colour of three numbers from 0 to 255')
    return tuple(numbers[:3])
