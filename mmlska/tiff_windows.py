"""TIFF files of any number of channels, pages and bits, read by window with tifffile, which an extra installs: mmlska[bands]."""

from __future__ import annotations

import lzma
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .images import BROKEN, MAX_BYTES, WHAT_TO_DO, ImageError, ImageTooLarge
from .text import printable

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage

#: Channels of an image; OpenCV, which scales them, takes no more.
MAX_CHANNELS = 512

_NODATA = 42113  # the tag in which GDAL notes the value of pixels without data
_ORIENTATION = 274
_WHITE_IS_ZERO, _PALETTE, _CMYK, _YCBCR, _CIELAB = (
    0,
    3,
    5,
    6,
    8,
)  # photometric interpretations that are not the values themselves
_ALPHA = (1, 2)
_OVERVIEW_OR_MASK = 1 | 4  # bits of the tag NewSubfileType
_BROKEN = (*BROKEN, RuntimeError, AttributeError, zlib.error, lzma.LZMAError)


class TiffWindows:
    """The pixels of a TIFF file as an array (H, W, C) of which only the windows that are asked for are read.

    All pages of the size and type of the first one are channels, in their order; those of transparency are left out. Overviews, masks
    and thumbnails are no pages of it.

    Attributes:
        shape: (H, W, C).
        dtype: NumPy's type of the values.
        plain: Whether this is one page of 8 bits, grey or in colours, which OpenCV reads too.
        grey: Whether such a page is grey.
        converted: Whether the colours of such a page are made from its values, which OpenCV does and this does not.
        nodata: The value of pixels without data, where the file names one.

    Raises:
        ImportError: If tifffile is missing.
        ImageError: If the file is damaged, or of a kind that is not read.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = path
        with _opened(path) as file:
            pages = _pages(file)
            first = pages[0]
            separate, depth, height, width, contiguous = first.shaped
            samples = separate * contiguous
            alpha = sum(int(kind) in _ALPHA for kind in first.extrasamples)
            meaning = int(first.photometric)
            self.kept = samples - alpha if samples > alpha else samples  # of each page
            self.shape = (height, width, self.kept * len(pages) * _hidden(file, pages))
            self.dtype = np.dtype(first.dtype or 'V').newbyteorder('=')
            colours = meaning in (_PALETTE, _CMYK, _YCBCR, _CIELAB)
            self.plain = self.shape[2] == self.kept and (
                first.bitspersample == 1
                or (first.bitspersample == 8 and self.dtype == np.uint8 and (colours or self.kept in (1, 3)))
            )
            self.grey = self.kept == 1 and not colours
            self.converted = colours or meaning == _WHITE_IS_ZERO or first.bitspersample == 1
            self.nodata = _nodata(first)
            if self.plain:
                return
            _refuse(path, file, first, depth, self.shape[2])
            if self.dtype.kind not in 'uif':
                raise _unread(path, f'its values are of type {self.dtype}; save them as integers or floats')

    def read(self, top: int, bottom: int, left: int, right: int) -> np.ndarray:
        """The rows ``top`` to ``bottom`` and the columns ``left`` to ``right``, (h, w, C)."""
        shape = (bottom - top, right - left, self.shape[2])
        size = math.prod(shape) * self.dtype.itemsize
        if size > MAX_BYTES:
            raise ImageTooLarge(
                f'{printable(str(self.path))} has {self.shape[1]}x{self.shape[0]} pixels of {self.shape[2]} channels, which need '
                f'{size / 1e9:.1f} GB at once; predict it in tiles, or cut it up'
            )
        # Parts that are not stored have the value of pixels without data.
        absent = 0 if self.nodata is None else np.array(self.nodata).astype(self.dtype)
        out = np.full(shape, absent, self.dtype)
        with _opened(self.path) as file:
            pages = _pages(file)
            hidden = _hidden(file, pages)
            if hidden > 1:
                whole = np.memmap(
                    self.path, pages[0].parent.byteorder + pages[0].dtype.char, 'r', file.series[0].dataoffset
                )
                planes = whole[: self.shape[0] * self.shape[1] * hidden].reshape(hidden, *self.shape[:2])
                out[:] = planes[:, top:bottom, left:right].transpose(1, 2, 0)
                return out
            for number, page in enumerate(pages):
                part = out[..., number * self.kept : (number + 1) * self.kept]
                for (y, x, channel), values in _segments(file, page, top, bottom, left, right):
                    _paste(part, values, y - top, x - left, channel)
        return out


def _pages(file: TiffFile) -> list[TiffPage]:
    first = file.pages[0]
    return [
        page
        for page in file.pages
        if page is first
        or (page.shaped == first.shaped and page.dtype == first.dtype and not int(page.subfiletype) & _OVERVIEW_OR_MASK)
    ]


def _hidden(file: TiffFile, pages: list[TiffPage]) -> int:
    """How many planes follow the only page of a large stack of ImageJ, which lists no others; else 1."""
    if len(pages) > 1 or not file.is_imagej or file.series[0].dataoffset is None:
        return 1
    return math.prod(file.series[0].shape) // math.prod(pages[0].shaped)


def _segments(
    file: TiffFile, page: TiffPage, top: int, bottom: int, left: int, right: int
) -> Iterator[tuple[tuple[int, int, int], np.ndarray]]:
    """The strips or tiles of a page that a window touches, each with its row, column and first channel."""
    separate, _, height, width, samples = page.shaped
    if page.is_memmappable:
        whole = np.memmap(
            file.filehandle.path, page.parent.byteorder + page.dtype.char, 'r', page.dataoffsets[0], page.shaped
        )
        for channel in range(separate):
            yield (top, left, channel), whole[channel, 0, top:bottom, left:right]
        return
    rows, columns = (page.tilelength, page.tilewidth) if page.is_tiled else (min(page.rowsperstrip, height), width)
    if rows * columns * samples * page.dtype.itemsize > MAX_BYTES:
        raise ValueError(f'a part of {columns}x{rows} pixels must be read at once; save it in tiles')
    down, across = -(-height // rows), -(-width // columns)
    wanted = [
        (channel * down + row) * across + column
        for channel in range(separate)
        for row in range(top // rows, -(-bottom // rows))
        for column in range(left // columns, -(-right // columns))
    ]
    tables = dict(jpegtables=page.jpegtables) if page.jpegtables is not None else {}
    for index in wanted:
        if page.databytecounts[index]:  # nothing is stored of an empty part
            file.filehandle.seek(page.dataoffsets[index])
            data = file.filehandle.read(page.databytecounts[index])
            values, (channel, _, y, x, _), _ = page.decode(data, index, **tables)
            yield (y, x, channel), values[0]


def _paste(out: np.ndarray, values: np.ndarray, y: int, x: int, channel: int) -> None:
    """Copy a part (h, w, c) of an image to its place in a window, as far as it lies in it."""
    height, width, kept = out.shape
    y0, x0 = max(y, 0), max(x, 0)
    y1, x1 = min(y + values.shape[0], height), min(x + values.shape[1], width)
    count = min(values.shape[2], kept - channel)
    if y1 > y0 and x1 > x0 and count > 0:
        out[y0:y1, x0:x1, channel : channel + count] = values[y0 - y : y1 - y, x0 - x : x1 - x, :count]


def _nodata(page: TiffPage) -> float | None:
    tag = page.tags.get(_NODATA)
    try:
        return None if tag is None else float(str(tag.value).strip('\0 '))
    except ValueError:
        return None


def _refuse(path: str | Path, file: TiffFile, page: TiffPage, depth: int, channels: int) -> None:
    if depth > 1:
        raise _unread(path, f'it is a volume of {depth} layers in one page; save each layer as a page')
    if channels > MAX_CHANNELS:
        raise _unread(path, f'it has {channels} channels, more than {MAX_CHANNELS}; save those that are needed')
    tag = page.tags.get(_ORIENTATION)
    if tag is not None and tag.value != 1:
        raise _unread(path, f'its orientation tag is {tag.value}; save it upright, with the tag 1')


def _unread(path: str | Path, reason: str) -> ImageError:
    return ImageError(f'{printable(str(path))} is not read: {reason}')


@contextmanager
def _opened(path: str | Path) -> Iterator[TiffFile]:
    """Open a file with tifffile; what goes wrong is an ImageError."""
    from tifffile import TiffFile

    try:
        with TiffFile(path) as file:
            yield file
    except ImageError:
        raise
    except _BROKEN as error:
        reason = ' '.join(str(error).strip('"').split())[:200]
        codec = 'imagecodecs' in reason
        fix = 'pip install imagecodecs, or save it without compression' if codec else WHAT_TO_DO
        raise ImageError(f'{printable(str(path))} is not a readable TIFF file: {reason}; {fix}') from error
