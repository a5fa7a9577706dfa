"""The text of label files: read whole, in a known encoding, or refused in one line."""

from __future__ import annotations

import base64
import json
import math
import mmap
import os
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from ..text import printable, shown
from .encodings import decode, xml_text
from .folder import is_file

#: The kind of mistake of a label file of which nothing is known.
UNREADABLE = 'label file that can not be read'


def read_json(path: Path) -> Any:
    """Read a JSON file in UTF-8.

    Raises:
        ValueError: If it is broken, or no regular file.
    """
    check_regular(path)
    try:
        return json.loads(path.read_text(encoding='utf-8-sig'))
    except (ValueError, RecursionError) as error:
        raise ValueError(f'{path} is not valid JSON: {error}') from error


def read_text(path: Path, *, latin: bool = False) -> str:
    """Read a text file in UTF-8, in UTF-16 if it begins with that mark, or in GBK if it makes sense so.

    Args:
        path: The file.
        latin: Take another encoding for that of Windows in Europe.

    Raises:
        ValueError: If it is in another encoding or binary, or no regular file.
    """
    check_regular(path)
    try:
        text, _ = decode(path.read_bytes(), latin=latin)
    except ValueError as error:
        raise ValueError(f'{path} is no text in UTF-8: {error}; save it in UTF-8') from error
    if '\0' in text:
        raise ValueError(f'{path} is no text: it holds a zero byte; replace it')
    return text


def encoding_remarks(paths: Iterable[Path], root: Path) -> list[tuple[str, str]]:
    """What to say of text files whose encoding had to be guessed: the kind of remark and the place of each."""
    kind = 'text that is not in UTF-8, read as {}; if names are wrong, save it in UTF-8'
    remarks = []
    for path in paths:
        with suppress(OSError, ValueError):  # whoever reads it names it
            guess = decode(path.read_bytes(), latin=True)[1]
            remarks += [(kind.format(guess), short(path, root))] if guess else []
    return remarks


def read_xml(path: Path) -> ElementTree.Element:
    """Read an XML file.

    Raises:
        ValueError: If it is broken, has a document type (which could name other files and grow without bounds), or is no regular file.
    """
    check_regular(path)
    content = path.read_bytes()
    try:
        return _parsed(content)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        with suppress(ElementTree.ParseError, ValueError):
            return _parsed(xml_text(content))
        raise ValueError(f'{path} is not valid XML: {error}') from error


def _parsed(content: bytes | str) -> ElementTree.Element:
    parser = ElementTree.XMLParser(target=_NoDocumentType())
    parser.feed(content)
    return parser.close()


class _NoDocumentType(ElementTree.TreeBuilder):
    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise ValueError('it has a document type, which is not read; delete <!DOCTYPE ...>')


def xml_root(path: Path) -> str | None:
    """The tag of the root of an XML file, from its first 4 KiB; None where there is none."""
    try:
        check_regular(path)
        with open(path, 'rb') as file:
            content = file.read(1 << 12)
    except (OSError, ValueError):
        return None
    return _first_tag(content) or _first_tag(content.decode('latin-1'))  # tags are ASCII


def _first_tag(content: bytes | str) -> str | None:
    target = _FirstTag()
    with suppress(ElementTree.ParseError, ValueError, LookupError):
        ElementTree.XMLParser(target=target).feed(content)
    return target.tag


class _FirstTag:
    """Takes what an XML parser finds, up to the first tag."""

    tag: str | None = None

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self.tag = self.tag or tag
        raise ValueError('enough is known')


def read_each(
    paths: Iterable[Path], read: Callable[[Path], Any], root: Path, left_out: list[tuple[str, str]]
) -> dict[Path, Any]:
    """Read label files; those that can't be read are noted in ``left_out``.

    Raises:
        ValueError: If none of them can be read.
    """
    found, first = {}, None
    for path in paths:
        try:
            found[path] = read(path)
        except (OSError, ValueError) as error:
            first = first or error
            reason = printable(str(error).replace(str(path), '').strip())
            left_out.append((UNREADABLE, f'{short(path, root)}: {reason[:160]}'))
    if first and not found:
        raise ValueError(str(first)) from first
    return found


def contains(path: Path, *words: bytes) -> bool:
    """Whether a file holds all of these words; an empty one and one that can't be read do not."""
    try:
        with open(path, 'rb') as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return all(content.find(word) >= 0 for word in words)
    except (OSError, ValueError):  # ValueError: it is empty
        return False


def matches(path: Path, pattern: bytes) -> bool:
    """Whether a regular expression matches somewhere in a file; as :func:`contains`."""
    try:
        with open(path, 'rb') as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return re.search(pattern, content) is not None
    except (OSError, ValueError):
        return False


def number(text: object) -> float:
    """A finite number of a label file, as text or as a number.

    Raises:
        ValueError: If it is none.

    Example:
        >>> number(' 12.5 '), number(3)
        (12.5, 3.0)
    """
    try:
        value = math.nan if isinstance(text, bool) else float(text)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f'{shown(text)} is no number')
    return value


def unpacked(text: object) -> bytes:
    """The bytes that a label file holds as base64, in one line or in several.

    Raises:
        ValueError: If it is none.

    Example:
        >>> unpacked('bW1s')
        b'mml'
    """
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f'{shown(text)} is no base64')
    return base64.b64decode(''.join(text.split()), validate=True)


def short(path: Path, root: Path) -> str:
    """The name of a file for a message: below the data folder."""
    return printable(path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name)


def check_regular(path: Path) -> None:
    if os.path.exists(path) and not is_file(path):  # a pipe would be waited for
        raise ValueError(f'{path} is no regular file; replace it by one')
