"""The size of an image file by its header, as the decoders of OpenCV read it: JPEG, PNG, BMP, TIFF and WebP.

Pillow and OpenCV do not agree about files that give two sizes, so neither can be asked for the other, and some decoders make room for the
pixels as soon as they are asked for a size.
"""

from __future__ import annotations

import re
import struct
from typing import BinaryIO

#: What a file may be, whatever its name says. Pillow knows many more, and starts Ghostscript for an EPS called .png.
FORMATS = ('JPEG', 'PNG', 'BMP', 'TIFF', 'WEBP')
ORIENTATION = 274  # tag of TIFF and EXIF
# After this many segments of a JPEG, or entries of a TIFF, the search stops: real files have tens, a large colour profile hundreds.
_MOST_PARTS = 4096
_MARKER = re.compile(rb'\xff([^\x00\xff])')
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # markers of JPEG that a size follows
_BARE = {0x01, *range(0xD0, 0xD8)}  # those that no length follows
_WIDTH, _HEIGHT, _TILE_WIDTH, _TILE_HEIGHT = 256, 257, 322, 323  # tags of TIFF
#: Pixels of a tile of TIFF, which a decoder makes room for even if the image is smaller.
_MAX_TILE = 4096 * 4096
_WHOLE_NUMBERS = {1: 'B', 3: 'H', 4: 'I', 16: 'Q'}  # types of TIFF


class Animated(Exception):
    """A PNG of several frames."""


def read_size(file: BinaryIO) -> tuple[str, tuple[int, int]]:
    """Format, width and height of a file that is open at its start.

    Returns:
        No format if it is none of :data:`FORMATS`; a size of 0 if the header does not give one size.

    Raises:
        Animated: If it is a PNG of several frames.
        OSError, OverflowError, ValueError, IndexError, struct.error: If the header is broken.
    """
    start = file.read(32)
    if start[:3] == b'\xff\xd8\xff':
        return 'JPEG', jpeg_size(file)
    if start[:8] == b'\x89PNG\r\n\x1a\n':
        return 'PNG', _png_size(file, start)
    if start[:2] == b'BM':
        if struct.unpack('<I', start[14:18])[0] == 12:
            return 'BMP', struct.unpack('<HH', start[18:22])
        width, height = struct.unpack('<ii', start[18:26])
        return 'BMP', (width, abs(height))  # below zero if it is stored from top to bottom
    if start[:4] in (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+'):
        return 'TIFF', _tiff_size(file, '<' if start[:2] == b'II' else '>', big=b'+' in start[2:4])
    if start[:4] == b'RIFF' and start[8:12] == b'WEBP':
        return 'WEBP', _webp_size(start)
    return '', (0, 0)


def _png_size(file: BinaryIO, start: bytes) -> tuple[int, int]:
    """That of the first chunk; libpng refuses a second one of its kind, where Pillow would take its size."""
    at = 8
    for _ in range(_MOST_PARTS):
        file.seek(at)
        head = file.read(8)
        if len(head) < 8 or head[4:] == b'IDAT':
            return struct.unpack('>II', start[16:24]) if start[8:16] == b'\0\0\0\rIHDR' else (0, 0)
        if head[4:] in (b'acTL', b'fcTL', b'fdAT'):  # OpenCV 4.12 dies of frames that are damaged
            raise Animated
        at += 12 + int.from_bytes(head[:4], 'big')
    return 0, 0


def jpeg_size(file: BinaryIO) -> tuple[int, int]:
    """The size in the first frame header, found as libjpeg finds it; that library refuses a file with a second one."""
    at = 2
    for _ in range(_MOST_PARTS):
        file.seek(at)
        found = _MARKER.search(file.read(1 << 16))  # bytes between segments are passed over
        if not found:
            break
        marker = found[1][0]
        at += found.end()
        if marker in _BARE:
            continue
        file.seek(at)
        length, _, height, width = struct.unpack('>HBHH', file.read(7))
        if marker in _FRAMES:
            return width, height
        if marker in (0xD9, 0xDA):  # the end, or pixels
            break
        at += max(length, 2)
    return 0, 0


def count_tiff_pages(file: BinaryIO) -> int:
    """How many pages a TIFF file has that is open at its start.

    Raises:
        ValueError: If one of them is followed by an earlier one, or they are too many.
        OSError, struct.error: If they are broken.
    """
    start = file.read(16)
    order = '<' if start[:2] == b'II' else '>'
    number, size, offset, place = ('Q', 20, 'Q', 8) if b'+' in start[2:4] else ('H', 12, 'I', 4)
    at, seen = struct.unpack_from(order + offset, start, place)[0], set()
    while at:
        if at in seen:
            raise ValueError('its pages form a circle')
        if len(seen) == _MOST_PARTS:
            raise ValueError(f'it has more than {_MOST_PARTS} pages')
        seen.add(at)
        file.seek(at)
        (count,) = struct.unpack(order + number, file.read(struct.calcsize(f'={number}')))
        file.seek(count * size, 1)
        (at,) = struct.unpack(order + offset, file.read(struct.calcsize(f'={offset}')))
    return len(seen)


def _tiff_size(file: BinaryIO, order: str, *, big: bool) -> tuple[int, int]:
    """The size of the first page, as OpenCV gives it: turned as the tag of the orientation says.

    Readers differ in which of two tags they take, and in which types they know, so there has to be one of a usual type.
    """
    number, entry, offset, place = ('Q', 'HHQ', 'Q', 8) if big else ('H', 'HHI', 'I', 4)
    room = struct.calcsize(f'={offset}')
    file.seek(place)
    file.seek(struct.unpack(order + offset, file.read(room))[0])
    (count,) = struct.unpack(order + number, file.read(struct.calcsize(f'={number}')))
    if count > _MOST_PARTS:
        return 0, 0
    values: dict[int, list[int]] = {tag: [] for tag in (_WIDTH, _HEIGHT, ORIENTATION, _TILE_WIDTH, _TILE_HEIGHT)}
    for _ in range(count):
        tag, kind, length = struct.unpack(order + entry, file.read(struct.calcsize(f'={entry}')))
        value = file.read(room)
        if tag in values:
            code = _WHOLE_NUMBERS.get(kind, '')
            used = struct.calcsize(f'={code}')
            right = code and length == 1 and used <= room
            values[tag].append(struct.unpack(order + code, value[:used])[0] if right else 0)
    if len(values[_WIDTH]) != 1 or len(values[_HEIGHT]) != 1:
        return 0, 0
    size = values[_WIDTH][0], values[_HEIGHT][0]
    tile = max(values[_TILE_WIDTH], default=0) * max(values[_TILE_HEIGHT], default=0)
    if tile > max(_MAX_TILE, size[0] * size[1]):
        return 0, 0
    return size[::-1] if values[ORIENTATION][:1] in ([5], [6], [7], [8]) else size


def _webp_size(start: bytes) -> tuple[int, int]:
    """That of the canvas, for which libwebp makes room, or of the only frame."""
    kind = start[12:16]
    if kind == b'VP8X':
        return int.from_bytes(start[24:27], 'little') + 1, int.from_bytes(start[27:30], 'little') + 1
    if kind == b'VP8 ' and start[23:26] == b'\x9d\x01\x2a':
        width, height = struct.unpack('<HH', start[26:30])
        return width & 0x3FFF, height & 0x3FFF
    if kind == b'VP8L' and start[20] == 0x2F:
        (bits,) = struct.unpack('<I', start[21:25])
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return 0, 0
