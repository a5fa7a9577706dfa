"""Colours of classes in pictures, and RGB colours as single numbers."""

from __future__ import annotations

import colorsys

import numpy as np
from numpy.typing import ArrayLike


def distinct_colors(count: int) -> list[list[int]]:
    """RGB colours that are easy to tell apart, the same ones every time: the palette of classes that come without colours.

    Example:
        >>> distinct_colors(2)
        [[230, 57, 57], [57, 108, 230]]
    """
    colors = []
    for i in range(count):
        # Golden-ratio steps of the hue keep neighbours apart however many there are.
        value = (0.9, 0.65, 1.0)[i // 8 % 3]
        colors.append([round(255 * c) for c in colorsys.hsv_to_rgb(i * 0.618 % 1, 0.75, value)])
    return colors


def pack_rgb(colors: ArrayLike) -> np.ndarray:
    """One number for each RGB colour, as in '#3C1098': (..., 3) of 0 to 255 to (...) int32.

    Example:
        >>> hex(pack_rgb([60, 16, 152]))
        '0x3c1098'
    """
    red, green, blue = np.moveaxis(np.asarray(colors, np.int32), -1, 0)
    return red << 16 | green << 8 | blue


def unpack_rgb(number: int) -> list[int]:
    """The RGB colour of a packed number.

    Example:
        >>> unpack_rgb(0x3C1098)
        [60, 16, 152]
    """
    return [number >> 16, number >> 8 & 255, number & 255]
