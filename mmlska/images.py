"""The one reader of image files: five formats, known by their content, and a size that is known before anything is decoded.

The size is read from the file itself, here, as the decoders of OpenCV read it. Pillow and OpenCV do not agree about files that give two
sizes, so neither can be asked for the other, and some decoders make room for the pixels as soon as they are asked for a size.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from .text import printable

if TYPE_CHECKING:
    from PIL.Image import Image

IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp')
#: What a file may be, whatever its name says. Pillow knows many more, and starts Ghostscript for an EPS called .png.
FORMATS = ('JPEG', 'PNG', 'BMP', 'TIFF', 'WEBP')
#: Pixels above which a file is not decoded, where Pillow's TIFF reader stops too: 537 MB as a photo in 8 bits.
MAX_PIXELS = 178_956_970
#: Bytes above which a file is not read: OpenCV takes no more at once.
MAX_BYTES = (1 << 31) - 1

_WHAT_TO_DO = 'leave it out or replace it'
# After this many segments of a JPEG, or entries of a TIFF, the search stops: real files have tens, a large colour profile hundreds.
_MOST_PARTS = 4096
_MARKER = re.compile(rb'\xff([^\x00\xff])')
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # markers of JPEG that a size follows
_BARE = {0x01, *range(0xD0, 0xD8)}  # those that no length follows
_WIDTH, _HEIGHT, _ORIENTATION, _TILE_WIDTH, _TILE_HEIGHT = 256, 257, 274, 322, 323  # tags of TIFF
#: Pixels of a tile of TIFF, which a decoder makes room for even if the image is smaller.
_MAX_TILE = 4096 * 4096
_WHOLE_NUMBERS = {1: 'B', 3: 'H', 4: 'I', 16: 'Q'}  # types of TIFF


class ImageError(ValueError):
    """A file that is no image of a known format, is damaged, or is larger than the limit."""


class ImageTooLarge(ImageError):
    """An image with more pixels than the limit."""


class _Animated(Exception):
    pass


@dataclass(frozen=True)
class Header:
    """Size of an image file; ``upright`` is the size after its EXIF orientation, which viewers and OpenCV apply.

    OpenCV turns a TIFF whatever it is asked for, and no WebP: of these, both sizes are the one that it gives.
    """

    stored: tuple[int, int]  # width, height
    upright: tuple[int, int]


def is_image(path: Path) -> bool:
    """Whether a file has the suffix of an image."""
    return path.suffix.lower() in IMAGE_SUFFIXES


def images_below(folder: str | Path) -> list[Path]:
    """The image files in a folder and in the folders below it, sorted; none if there is no such folder.

    Links to folders are not followed, as they can lead in circles, and what is no regular file, such as a pipe, is left out.
    """
    found = (Path(place, name) for place in folders_below(folder) for name in os.listdir(place))
    return sorted(path for path in found if is_image(path) and os.path.isfile(path))


def folders_below(folder: str | Path, *, like_glob: bool = False) -> Iterator[str]:
    """A folder and the folders below it, each real one once.

    Args:
        folder: Where to begin; nothing is found if it is no folder that can be listed.
        like_glob: Follow links to folders and pass over hidden folders, as the pattern ** does. By default the other way round.
    """
    seen, pending = set(), [str(folder)]
    while pending:  # no recursion, as os.walk has it: folders may be nested deeper than Python's stack
        place = pending.pop()
        try:
            status, names = os.stat(place), sorted(os.listdir(place), reverse=True)
        except OSError:
            continue
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        yield place
        paths = [os.path.join(place, name) for name in names if not (like_glob and name.startswith('.'))]
        pending += [path for path in paths if os.path.isdir(path) and (like_glob or not os.path.islink(path))]


@contextmanager
def open_image(path: str | Path, max_pixels: int | None = MAX_PIXELS) -> Iterator[Image]:
    """Open a file with Pillow; what goes wrong, while its pixels are read too, is an ImageError.

    Args:
        path: The file.
        max_pixels: Its width times its height may not be more; None for no limit.

    Raises:
        FileNotFoundError: If there is no such file.
        ImageError: If it is no regular file, no image of :data:`FORMATS`, damaged or larger than the limit.
    """
    with _measured(path, max_pixels) as (file, kind, size), _errors(path), _pillow(file, kind) as image:
        if sorted(image.size) != sorted(size):  # Pillow turns a TIFF at once
            raise ImageError(
                f'{printable(str(path))} gives two sizes, {_x(size)} and {_x(image.size)} pixels; save it again in an image program'
            )
        yield image


def read_header(path: str | Path, max_pixels: int | None = MAX_PIXELS) -> Header:
    """Read the size of an image without its pixels.

    Raises:
        FileNotFoundError: If there is no such file.
        ImageError: As :func:`open_image`, but for damage after the header.
    """
    with _measured(path, max_pixels) as (file, kind, size):
        orientation = _orientation(file, kind) if kind in ('JPEG', 'PNG') else 1
    upright = size[::-1] if orientation in (5, 6, 7, 8) else size
    return Header(size, upright)


def read_photo(path: str | Path, *, as_stored: bool = False, max_pixels: int | None = MAX_PIXELS) -> np.ndarray:
    """Read an image as OpenMMLab's pipelines do: (H, W, 3) uint8 in BGR order, turned as its EXIF data say.

    Args:
        path: The file.
        as_stored: Leave it as it is stored.
        max_pixels: As for :func:`open_image`; None leaves it at OpenCV's own limit, 2^30.

    Raises:
        FileNotFoundError: If there is no such file.
        ImageError: As :func:`open_image`, or if OpenCV can't decode it.
    """
    import cv2

    flag = cv2.IMREAD_COLOR | (cv2.IMREAD_IGNORE_ORIENTATION if as_stored else 0)
    with _measured(path, max_pixels) as (file, _, size):
        file.seek(0)
        try:
            # imdecode, as imread cannot open every file name on every system, and so that the bytes are those that were measured.
            image = cv2.imdecode(np.fromfile(file, np.uint8), flag)
        except (OSError, cv2.error) as error:
            raise _unreadable(path, getattr(error, 'err', None) or error) from error
    if image is None:
        raise _unreadable(path, 'it may be broken')
    if sorted(image.shape[:2]) != sorted(size):
        raise _unreadable(path, f'it says that it has {_x(size)} pixels, and has {_x(image.shape[1::-1])}')
    return image


def _x(size: tuple[int, ...]) -> str:
    return f'{size[0]}x{size[1]}'


def _unreadable(path: str | Path, reason: object) -> ImageError:
    return ImageError(
        f'{printable(str(path))} is not an image that OpenCV can read ({" ".join(str(reason).split())}); {_WHAT_TO_DO}'
    )


@contextmanager
def _measured(path: str | Path, max_pixels: int | None) -> Iterator[tuple[BinaryIO, str, tuple[int, int]]]:
    """Open a file that may be decoded; with its format and its width and height."""
    if not os.path.exists(path):
        raise FileNotFoundError(f'{printable(str(path))} does not exist')
    if not os.path.isfile(path):  # a pipe would be waited for
        raise ImageError(f'{printable(str(path))} is not a regular file; give an image file')
    try:
        file = open(path, 'rb')  # noqa: SIM115, closed below
    except OSError as error:
        raise _unreadable(path, error.strerror) from error
    with file:
        try:
            kind, (width, height) = _size(file)
        except _Animated:
            raise ImageError(
                f'{printable(str(path))} is an animated PNG, which is not read; save it as a still one'
            ) from None
        except (OSError, OverflowError, ValueError, IndexError, struct.error) as error:
            raise _unreadable(path, 'its header is broken') from error
        if not kind:
            raise _unreadable(path, f'it is none of {", ".join(FORMATS)}')
        if width < 1 or height < 1:
            raise _unreadable(path, 'its header does not give one size')
        if max_pixels is not None and width * height > max_pixels:
            raise ImageTooLarge(
                f'{printable(str(path))} has {width}x{height} pixels, more than the {max_pixels / 1e6:.3g} million that are read; '
                f'make it smaller or cut it up'
            )
        if os.fstat(file.fileno()).st_size > MAX_BYTES:
            raise ImageError(
                f'{printable(str(path))} has more than {MAX_BYTES} bytes, which are not read; make it smaller'
            )
        yield file, kind, (width, height)


@contextmanager
def _errors(path: str | Path) -> Iterator[None]:
    """What Pillow raises for broken files, as an ImageError."""
    from PIL import Image

    try:
        yield
    except ImageError:
        raise
    except (
        OSError,
        SyntaxError,
        ValueError,
        EOFError,
        LookupError,
        TypeError,
        ArithmeticError,
        struct.error,
        MemoryError,
        Image.DecompressionBombError,
    ) as error:
        reason = ' '.join(str(error).split())
        raise ImageError(f'{printable(str(path))} is not a readable image: {reason}; {_WHAT_TO_DO}') from error


def _pillow(file: BinaryIO, kind: str) -> Image:
    """Image.open for one format, without its limit: that is one for all threads, half of it only a warning, and not ours."""
    from PIL import Image

    Image.init()
    file.seek(0)
    return Image.OPEN[kind][0](file, '')


def _orientation(file: BinaryIO, kind: str) -> int:
    """What OpenCV turns a photo by: EXIF data alone, not what XMP says; nothing where they are broken."""
    from PIL import Image

    exif = Image.Exif()
    try:
        with _errors(''), _pillow(file, kind) as image:
            exif.load(image.info.get('exif'))
            return exif.get(_ORIENTATION, 1)
    except ImageError:
        return 1


def _size(file: BinaryIO) -> tuple[str, tuple[int, int]]:
    """Format, width and height; no format if it is none of :data:`FORMATS`."""
    start = file.read(32)
    if start[:3] == b'\xff\xd8\xff':
        return 'JPEG', _jpeg_size(file)
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
            raise _Animated
        at += 12 + int.from_bytes(head[:4], 'big')
    return 0, 0


def _jpeg_size(file: BinaryIO) -> tuple[int, int]:
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
    values: dict[int, list[int]] = {tag: [] for tag in (_WIDTH, _HEIGHT, _ORIENTATION, _TILE_WIDTH, _TILE_HEIGHT)}
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
    return size[::-1] if values[_ORIENTATION][:1] in ([5], [6], [7], [8]) else size


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
