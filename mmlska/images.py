"""Image files: which there are, and the one reader of them, which knows five formats by their content.

The size is known before anything is decoded, see :mod:`mmlska.image_headers`.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from .image_headers import FORMATS, ORIENTATION, Animated, read_size
from .text import printable

if TYPE_CHECKING:
    from PIL.Image import Image

IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.jpe', '.jfif', '.png', '.bmp', '.tif', '.tiff', '.webp')
#: Pixels above which a file is not decoded, where Pillow's TIFF reader stops too: 537 MB as a photo in 8 bits.
MAX_PIXELS = 178_956_970
#: Bytes above which a file is not read: OpenCV takes no more at once.
MAX_BYTES = (1 << 31) - 1

WHAT_TO_DO = 'leave it out or replace it'
#: What Pillow raises for broken files beside an error of its own.
BROKEN = OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, ArithmeticError, struct.error, MemoryError


class ImageError(ValueError):
    """A file that is no image of a known format, is damaged, or is larger than the limit."""


class ImageTooLarge(ImageError):
    """An image with more pixels than the limit."""


class NotRead(ImageError):
    """A sound image of a kind that is not read; ``reason`` says why, and what to do."""

    def __init__(self, path: str | Path, reason: str) -> None:
        super().__init__(f'{printable(str(path))} is not read: {reason}')
        self.reason = reason


@dataclass(frozen=True)
class Header:
    """Size of an image file; ``upright`` is the size after its EXIF orientation, which viewers and OpenCV apply.

    OpenCV turns a TIFF whatever it is asked for, and no WebP: of these, both sizes are the one that it gives.
    """

    stored: tuple[int, int]  # width, height
    upright: tuple[int, int]
    turned: bool = False  # or mirrored, which its size need not show


def is_image(path: Path) -> bool:
    """Whether a file has the suffix of an image."""
    return path.suffix.lower() in IMAGE_SUFFIXES


def images_below(folder: str | Path) -> list[Path]:
    """The image files in a folder and in the folders below it, sorted; none if there is no such folder.

    Links to folders are not followed, as they can lead in circles, and what is no regular file, such as a pipe, is left out.
    """
    found = (Path(place, name) for place in folders_below(folder) for name in os.listdir(place))
    return sorted(path for path in found if is_image(path) and os.path.isfile(path))


def photos_in(folder: str | Path) -> list[Path]:
    """What :func:`images_below` finds, at least one.

    Raises:
        FileNotFoundError: If there is no such folder, or no image in it.
    """
    photos = images_below(folder)
    if not photos:
        raise FileNotFoundError(f'no images found in {folder}; name a folder of {", ".join(IMAGE_SUFFIXES)} files')
    return photos


def spread(items: Sequence, count: int) -> list:
    """At most ``count`` of the items, evenly spread.

    Raises:
        ValueError: If ``count`` is not positive.

    Example:
        >>> spread('abcdefgh', 3)
        ['a', 'd', 'f']
    """
    if count < 1:
        raise ValueError(f'{count} images are none; give a count of 1 or more')
    chosen = np.linspace(0, len(items), min(count, len(items)), endpoint=False).round().astype(int)
    return [items[i] for i in chosen]


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
        max_pixels: Its width times its height may not be more; None for no limit.

    Raises:
        FileNotFoundError: If there is no such file.
        ImageError: If it is no regular file, no image of :data:`mmlska.image_headers.FORMATS`, damaged or larger than the limit.
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
    return Header(size, upright, orientation in range(2, 9))


def read_photo(
    path: str | Path, *, as_stored: bool = False, max_pixels: int | None = MAX_PIXELS, flag: int | None = None
) -> np.ndarray:
    """Read an image as OpenMMLab's pipelines do: (H, W, 3) uint8 in BGR order, turned as its EXIF data say.

    Args:
        as_stored: Leave it as it is stored.
        max_pixels: As for :func:`open_image`; None leaves it at OpenCV's own limit, 2^30.
        flag: What OpenCV makes of it, by default ``cv2.IMREAD_COLOR``.

    Raises:
        FileNotFoundError: If there is no such file.
        ImageError: As :func:`open_image`, or if OpenCV can't decode it.
    """
    import cv2

    flag = cv2.IMREAD_COLOR if flag is None else flag
    flag |= cv2.IMREAD_IGNORE_ORIENTATION if as_stored else 0
    with _measured(path, max_pixels) as (file, _, size):
        if os.fstat(file.fileno()).st_size > MAX_BYTES:
            name = printable(str(path))
            raise ImageError(f'{name} has more than {MAX_BYTES} bytes, which are not read at once; make it smaller')
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


def bgr_pixels(image: Image) -> np.ndarray:
    """An image of Pillow as :func:`read_photo` would give it: (H, W, 3) uint8 in BGR order, turned as its EXIF data say.

    Transparency is left out, and 16 bits become 8, as OpenCV does both.

    Example:
        >>> from PIL import Image
        >>> bgr_pixels(Image.new('RGB', (4, 2), (255, 0, 0)))[0, 0].tolist()
        [0, 0, 255]
    """
    from PIL import ImageOps

    image = ImageOps.exif_transpose(image)
    if image.mode.startswith('I'):  # Pillow would cut values above 255 off
        grey = (np.asarray(image).clip(0, 65535) // 256).astype(np.uint8)
        return np.ascontiguousarray(np.repeat(grey[..., None], 3, axis=2))
    return np.ascontiguousarray(np.asarray(image.convert('RGB'))[..., ::-1])


def square(image: np.ndarray, size: int) -> np.ndarray:
    """Scale the shorter side of an (H, W, C) image to ``size`` pixels and cut the middle square out.

    Example:
        >>> square(np.zeros((40, 90, 3), np.uint8), 32).shape
        (32, 32, 3)
    """
    import cv2

    height, width = image.shape[:2]
    scale = size / min(height, width)
    height, width = max(size, round(height * scale)), max(size, round(width * scale))
    image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    top, left = (height - size) // 2, (width - size) // 2
    return image[top : top + size, left : left + size]


def shrink(image: np.ndarray, side: int, interpolation: int | None = None) -> np.ndarray:
    """Scale an (H, W) or (H, W, C) image down to a longer side of ``side`` pixels; a smaller one stays as it is.

    ``interpolation`` is OpenCV's, by default INTER_AREA; masks want INTER_NEAREST.

    Example:
        >>> shrink(np.zeros((40, 90, 3), np.uint8), 30).shape
        (13, 30, 3)
    """
    import cv2

    height, width = image.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return image
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if interpolation is None else interpolation)


def _x(size: tuple[int, ...]) -> str:
    return f'{size[0]}x{size[1]}'


def _unreadable(path: str | Path, reason: object) -> ImageError:
    return ImageError(
        f'{printable(str(path))} is not an image that OpenCV can read ({" ".join(str(reason).split())}); {WHAT_TO_DO}'
    )


@contextmanager
def _measured(path: str | Path, max_pixels: int | None) -> Iterator[tuple[BinaryIO, str, tuple[int, int]]]:
    """Open a file that may be decoded; with its format and its width and height."""
    name = printable(str(path))
    if not os.path.exists(path):
        raise FileNotFoundError(f'{name} does not exist')
    if not os.path.isfile(path):  # a pipe would be waited for
        raise ImageError(f'{name} is not a regular file; give an image file')
    try:
        file = open(path, 'rb')  # noqa: SIM115, closed below
    except OSError as error:
        raise _unreadable(path, error.strerror) from error
    with file:
        try:
            kind, (width, height) = read_size(file)
        except Animated:
            raise ImageError(f'{name} is an animated PNG, which is not read; save it as a still one') from None
        except (OSError, OverflowError, ValueError, IndexError, struct.error) as error:
            raise _unreadable(path, 'its header is broken') from error
        if not kind:
            raise _unreadable(path, f'it is none of {", ".join(FORMATS)}')
        if width < 1 or height < 1:
            raise _unreadable(path, 'its header does not give one size')
        if max_pixels is not None and width * height > max_pixels:
            raise ImageTooLarge(
                f'{name} has {width}x{height} pixels, more than the {max_pixels / 1e6:.3g} million that are read; '
                f'make it smaller or cut it up'
            )
        yield file, kind, (width, height)


@contextmanager
def _errors(path: str | Path) -> Iterator[None]:
    """Errors of Pillow as an ImageError."""
    from PIL import Image

    try:
        yield
    except ImageError:
        raise
    except (*BROKEN, Image.DecompressionBombError) as error:
        reason = ' '.join(str(error).split())
        raise ImageError(f'{printable(str(path))} is not a readable image: {reason}; {WHAT_TO_DO}') from error


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
            return exif.get(ORIENTATION, 1)
    except ImageError:
        return 1
