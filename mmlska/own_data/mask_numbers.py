"""What the numbers of a class file, or its only name, mean in the masks beside it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from ..colors import pack_rgb, unpack_rgb
from ..engine.ignored_label import IGNORED
from ..text import counted
from .class_numbers import counted as with_numbers
from .class_values import NamedClass, counts
from .label_drawing import BACKGROUND
from .mask_files import MaskPair, seen_as
from .palettes import is_no_label, spelling

_WHITE = 0xFFFFFF
_MOST_SHOWN = 0.9  # of the pixels; the rest may be edges
_NO_LABELS = (
    'border',
    'boundary',
    'unknown',
    'undefined',
    'invalid',
    'no data',
    'nodata',
    'no label',
    'dont care',
    "don't care",
)


def has_gaps(named: Sequence[NamedClass]) -> bool:
    """Whether classes have numbers that do not count from 0 or 1."""
    numbers = [one.number for one in named]
    return None not in numbers and not counts(numbers)


def meant_by(named: Sequence[NamedClass], pairs: Sequence[MaskPair]) -> tuple[list[NamedClass], list[str]]:
    """The classes as the masks have them: with numbers that count, or else with the colours that masks show for their numbers.

    Args:
        named: The classes of a file.
        pairs: Masks that were scanned.

    Returns:
        The classes, and what to say of them.

    Raises:
        ValueError: If numbers and masks do not go together.
    """
    values = _values(pairs)
    named = [one for one in named if not (one.number == IGNORED and _is_unlabelled(one.name))] or list(named)
    if values is None:  # colours
        return _with_background(named, pairs, None)
    if not any(one.color or one.number is not None for one in named):
        named = with_numbers(named, values)  # 7 road, where the masks hold 7
        named.sort(key=lambda one: one.number or 0)  # all have one, or none
    named, notes = _of_training(named, values)
    named = _joined(named, values)
    named = _of_greys(named, pairs, values)
    numbers = {one.number for one in named}
    fits = None not in numbers and values - {0, IGNORED} <= numbers
    if any(one.color for one in named):
        if not has_gaps(named):
            return named, notes
        shown = {pair.shown[value] for pair in pairs if pair.indexed for value in pair.values if value != IGNORED}
        known = {one.color for one in named}
        if fits and not all(tuple(unpack_rgb(color)) in known for color in shown):
            named = [replace(one, color=None) for one in named]
        else:
            return [replace(one, number=None) for one in named], notes
    named, said = _with_background(named, pairs, values)
    notes += said
    indexed = all(pair.indexed for pair in pairs)
    if has_gaps(named):
        notes += _without_name(named, values)
    elif indexed or None in numbers:
        return named, notes
    return _colored(named, pairs), notes


def check_covered(named: Sequence[NamedClass], pairs: Sequence[MaskPair], *, sure: bool) -> None:
    """Check that the classes of a file that may be for something else are those of the masks.

    Args:
        named: The classes of the file.
        pairs: Masks that were scanned.
        sure: The file is one of classes; it may have more of them than the masks.

    Raises:
        ValueError: If the masks hold something else.
    """
    colors, values = Counter(), _values(pairs)
    for pair in pairs:
        colors.update(seen_as(pair, False))
    known = {int(pack_rgb(one.color)) for one in named if one.color is not None}
    shown = sum(colors[color] for color in known | {0, _WHITE}) / max(colors.total(), 1)
    if known & colors.keys() - {0, _WHITE} and (shown == 1 or values is None and (sure or shown >= _MOST_SHOWN)):
        return
    if values is None:
        raise ValueError('the masks hold other colours' if known else 'the masks hold colours, and it names none')
    found, no_number = values - {IGNORED}, any(one.number is None for one in named)
    if len(named) == 1 or no_number and len(named) == len(values) == 2 and 0 in values:
        return
    trained = {one.train_number for one in named} - {None, IGNORED}
    numbers = set(range(len(named))) if no_number else {one.number for one in named}
    for each in (numbers, trained) if trained else (numbers,):
        covered = (found if no_number else found - {0}) <= each
        same = found | {0} == (each - {IGNORED}) | {0} and (0 in each or 0 not in found)
        if same or sure and covered:
            return
    raise ValueError(f'the masks hold {_listed(found)}, and it names {_listed(numbers)}')


def _listed(numbers: Iterable[int]) -> str:
    few = sorted(numbers)
    return ', '.join(map(str, few[:6])) + (', ...' if len(few) > 6 else '')


def _is_unlabelled(name: str) -> bool:
    return is_no_label(name) or spelling(name) in _NO_LABELS


def _values(pairs: Iterable[MaskPair]) -> set[int] | None:
    """The values in the masks, where grey stands for its brightness; None where there are other colours."""
    values = set()
    for pair in pairs:
        for value in pair.values:
            channels = [value] if pair.indexed else unpack_rgb(value)
            if len(set(channels)) > 1:
                return None
            values.add(channels[0])
    return values


def _of_training(named: list[NamedClass], values: set[int]) -> tuple[list[NamedClass], list[str]]:
    """The classes by their second numbers, where the masks were prepared for training by these."""
    kept = [one for one in named if one.train_number not in (None, IGNORED)]
    numbers = [one.train_number for one in kept]
    if not kept or not values - {IGNORED} <= set(numbers):
        return named, []
    if len(set(numbers)) < len(numbers):
        raise ValueError('the class file has a training id twice, and the masks hold these; give each class its own')
    renumbered = [replace(one, number=one.train_number) for one in kept]
    said = [] if renumbered == kept else ['the masks hold the training ids of the class file']
    return sorted(renumbered, key=lambda one: one.number), said


def _joined(named: list[NamedClass], values: set[int]) -> list[NamedClass]:
    """Two classes of 0 and another number, where the masks hold 1 for it."""
    if len(named) == 2 and named[0].number == 0 and values <= {0, 1} and (named[1].number or 0) >= IGNORED - 1:
        return [named[0], replace(named[1], number=1)]
    return named


def _of_greys(named: list[NamedClass], pairs: Sequence[MaskPair], values: set[int]) -> list[NamedClass]:
    """The classes by their colours, where these are the shades of grey 0, 1, 2, ... and the masks hold such indices."""
    greys = [one.color[0] if one.color and len(set(one.color)) == 1 else None for one in named]
    if not counts(greys) or not all(pair.indexed for pair in pairs) or not values - {0, IGNORED} <= set(greys):
        return named
    return [replace(one, color=None, number=grey) for grey, one in sorted(zip(greys, named), key=lambda item: item[0])]


def _with_background(
    named: list[NamedClass], pairs: Sequence[MaskPair], values: set[int] | None
) -> tuple[list[NamedClass], list[str]]:
    """The only class of a file and the background, where the masks hold 0 and another value."""
    if len(named) > 1 or spelling(named[0].name) == BACKGROUND or named[0].color:
        return named, []
    found = set().union(*(pair.values for pair in pairs)) if values is None else values
    others = found - {0}
    others = others - {IGNORED} or others
    if len(others) != 1 or 0 not in found:
        return named, []
    (value,) = others
    if values is None:
        pair = [replace(named[0], color=tuple(unpack_rgb(value)), number=None)]
        pair.insert(0, NamedClass(BACKGROUND, (0, 0, 0)))
    else:
        pair = [NamedClass(BACKGROUND, None, 0), replace(named[0], number=value)]
    return pair, [
        f'the class file has one name, {named[0].name}; it is taken for what is not 0 or black, the rest for background'
    ]


def _without_name(named: Sequence[NamedClass], values: set[int]) -> list[str]:
    """What to say of values without a name.

    Raises:
        ValueError: If the numbers are not those of the masks.
    """
    numbers = sorted(one.number for one in named)
    without = sorted(values - set(numbers) - {IGNORED})
    listed = _listed(without)
    if without and not values & set(numbers) - {0}:
        of_file = _listed(numbers)
        raise ValueError(
            f'the class file has classes of the values {of_file}, and the masks hold {listed}; write the values of the masks into the file'
        )
    if numbers[-1] > IGNORED:
        raise ValueError(
            f'the class file has a class of the value {numbers[-1]}; masks are read in 8 bits: use values 0 to 255'
        )
    return [f'{counted(len(without), "value")} of the masks without a name, unlabelled: {listed}'] if without else []


def _colored(named: Sequence[NamedClass], pairs: Sequence[MaskPair]) -> list[NamedClass]:
    """The classes with the colours that the masks show for their numbers.

    Raises:
        ValueError: If a number is shown in two colours, or two numbers in one.
    """
    shown: dict[int, set[int]] = {}
    for pair in pairs:
        for value in pair.values:
            number, color = (value, pair.shown[value]) if pair.indexed else (value & 255, value)
            shown.setdefault(number, set()).add(color)
    colors = [shown.get(one.number, {one.number * 0x010101}) for one in named]
    if any(len(found) > 1 for found in colors) or len(set().union(*colors)) < len(colors):
        raise ValueError(
            f'the class file has classes of the values {", ".join(str(one.number) for one in named[:6])}, and the masks have palettes in '
            f'which these are not told apart; save the masks in shades of grey'
        )
    return [replace(one, color=tuple(unpack_rgb(next(iter(found))))) for one, found in zip(named, colors)]
