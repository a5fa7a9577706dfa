"""Names and values from data, fit for one line of a message or a terminal."""

from __future__ import annotations

import reprlib

_SHORT = reprlib.Repr()
_SHORT.maxstring = 60


def printable(text: str) -> str:
    r"""A text from data for one line of a terminal: without line ends, control characters and halves of characters.

    Example:
        >>> print(printable('a\nb' + chr(0xD800)))
        a\nb\ud800
    """
    return ''.join(c if c.isprintable() else c.encode('unicode_escape', 'surrogatepass').decode() for c in text)


def counted(number: int, singular: str, plural: str | None = None) -> str:
    """A number with its noun.

    Example:
        >>> counted(1, 'image'), counted(0, 'image'), counted(2, 'pass', 'passes')
        ('1 image', '0 images', '2 passes')
    """
    return f'{number} {singular if number == 1 else plural or singular + "s"}'


def shown(value: object) -> str:
    """A value from data for a message: short, however long or deep it is."""
    return printable(_SHORT.repr(value))[:80]
