"""Masks of one object, in which programs write different numbers for it: 1, 254, 255, 65535 or white."""

from __future__ import annotations

from collections.abc import Sequence

from ..engine.ignored_label import IGNORED
from .mask_files import MaskPair

_GREYS = {0xFFFFFF: IGNORED, 0xFEFEFE: IGNORED - 1, 0x010101: 1}
_LEAST = IGNORED - 1  # what is as bright stands for white


def white_among_ones(pairs: Sequence[MaskPair]) -> list[MaskPair]:
    """The masks of black and white, where others have 1 for white: of one object, written by two programs.

    There are none if any mask has other values, or both: 255 is no label there.
    """
    white, ones, _ = _of_one_object(pairs)
    return white if ones else []


def _of_one_object(pairs: Sequence[MaskPair]) -> tuple[list[MaskPair], int, set[int]]:
    """Of masks with one value beside 0 in each: those in which it is white, how many have 1, and the whites."""
    white, ones, found = [], 0, set()
    for pair in pairs:
        values = {value if pair.indexed else _GREYS.get(value, -1) for value in pair.values if value}
        if len(values) > 1 or not all(value == 1 or value >= _LEAST for value in values):
            return [], 0, set()
        ones += values == {1}
        if values - {1}:
            white.append(pair)
            found |= values
    return white, ones, found


def join_white(pairs: Sequence[MaskPair]) -> list[str]:
    """Make what is white in masks of one object 1, where not all say so in one way that is read as it is; what to say of it."""
    white, ones, found = _of_one_object(pairs)
    if not white or not (ones or len(found) > 1 or max(found) > IGNORED or any(pair.deep for pair in white)):
        return []
    for pair in (*white, *(pair for pair in pairs if not pair.indexed)):
        pair.values = {min(value, 1): count for value, count in pair.values.items()}
        pair.shown = {value: value * 0x010101 for value in pair.values}
        pair.indexed, pair.white = True, True
    if ones:
        return [
            f'{len(white)} of {len(pairs)} masks have white where others have 1; both are one class: {white[0].mask.name}'
        ]
    if len(found) > 1:
        return [f'the masks have {" and ".join(map(str, sorted(found)))} for white; they are one class']
    return []
