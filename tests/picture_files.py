"""Image files, by Pillow or byte by byte, for tests of files that are something else than they say."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

PIXELS = np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)
_CODES = {1: 'B', 3: 'H', 4: 'I', 16: 'Q'}  # of the types in a TIFF


def chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack('>I', len(content)) + kind + content + struct.pack('>I', zlib.crc32(kind + content))


def with_side(png: bytes, side: int) -> bytes:
    """A PNG whose header says that it is a square of this side."""
    return png[:8] + chunk(b'IHDR', struct.pack('>II', side, side) + png[24:29]) + png[33:]


def tiff(entries: list[tuple], order: str = '<', big: bool = False, content: bytes = b'\x07' * 600) -> bytes:
    """A TIFF of these entries: tag, type, count, and a value or a list of them; a value of None is where the content starts."""
    number, form, word, room = ('Q', 'HHQ', 'Q', 8) if big else ('H', 'HHI', 'I', 4)
    head = b'II' if order == '<' else b'MM'
    head += struct.pack(f'{order}HHHQ', 43, 8, 0, 16) if big else struct.pack(f'{order}HI', 42, 8)
    table = struct.pack(order + number, len(entries))
    at = len(head + table) + (20 if big else 12) * len(entries) + room
    for tag, kind, count, value in entries:
        values = [at if item is None else item for item in (value if isinstance(value, list) else [value])]
        packed = struct.pack(order + len(values) * _CODES[kind], *values)
        if len(packed) > room:
            content, packed = content + packed, struct.pack(order + word, at + len(content))
        table += struct.pack(order + form, tag, kind, count) + packed.ljust(room, b'\0')
    return head + table + bytes(room) + content


def save(path: Path, kind: str, mode: str = 'RGB', orientation: int | None = None, **options) -> Path:
    """Write PIXELS with Pillow."""
    image = Image.fromarray(PIXELS)
    image = image.convert('I').convert('I;16') if mode == 'I;16' else image.convert(mode)
    if orientation is not None:
        options['exif'] = Image.Exif()
        options['exif'][0x0112] = orientation
    image.save(path, kind, **options)
    return path
