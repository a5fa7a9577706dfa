"""TIFF files of any number of channels, pages and bits, read by window with tifffile, which an extra installs: mmlska[bands]."""

from __future__ import annotations

import io
import logging
import lzma
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .image_headers import ORIENTATION, count_tiff_pages, jpeg_size
from .images import BROKEN, MAX_BYTES, WHAT_TO_DO, ImageError, ImageTooLarge, NotRead
from .text import printable

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage

#: Channels of an image; OpenCV, which scales them, takes no more.
MAX_CHANNELS = 512

_NODATA = 42113  # the tag in which GDAL notes the value of pixels without data
# Photometric interpretations in which the values are not what a reader gives.
_WHITE_IS_ZERO, _PALETTE, _CMYK, _YCBCR, _CIELAB = 0, 3, 5, 6, 8
_ALPHA = (1, 2)  # kinds of extra samples
_OVERVIEW_OR_MASK = 1 | 4  # bits of the tag NewSubfileType
_JPEG = 7
#: Those whose decoder cannot make more pixels of a part than the header of the file says, and JPEG, whose size is looked at.
_COMPRESSIONS = {
    1: 'none',
    5: 'LZW',
    _JPEG: 'JPEG',
    8: 'deflate',
    32946: 'deflate',
    32773: 'PackBits',
    34925: 'LZMA',
    50000: 'ZSTD',
}
_NOT_IN_OPENCV = (34925, 50000)
_LARGEST_PART = 1 << 28  # bytes that are decoded for a window of a larger image
_BROKEN = (*BROKEN, RuntimeError, AttributeError, zlib.error, lzma.LZMAError)


class TiffWindows:
    """The pixels of a TIFF file as an array (H, W, C) of which only the windows that are asked for are read.

    All pages of the size and type of the first one are channels, in their order; those of transparency are left out. Overviews, masks
    and thumbnails are no pages of it. The file stays open as long as this lives.

    Attributes:
        shape: (H, W, C).
        dtype: NumPy's type of the values.
        plain: Whether this is one page of 8 bits or less, grey or in colours, of a compression that OpenCV knows.
        grey: Whether such a page is grey.
        readable: Whether windows of such a page are what OpenCV gives; it makes colours of some values, and turns some images.
        alpha: Whether the file has transparency, which is left out.
        nodata: The value of pixels without data, where the file names one.

    Raises:
        ImportError: If tifffile is missing.
        ImageError: If the file is damaged, or of a kind that is not read.
    """

    def __init__(self, path: str | Path) -> None:
        from tifffile import TiffFile

        self.path = path
        with self._errors():
            with open(path, 'rb') as file:
                count_tiff_pages(file)  # tifffile would go round a circle of pages
            self._file = TiffFile(path)
            self._describe()

    def __del__(self) -> None:
        if hasattr(self, '_file'):
            with suppress(Exception):  # also where Python itself is going down
                self._file.close()

    def _describe(self) -> None:
        self._pages = _pages(self._file)
        first = self._pages[0]
        separate, depth, height, width, contiguous = first.shaped
        samples = separate * contiguous
        extra = [int(kind) for kind in first.extrasamples]
        # Which samples of a page are channels.
        self._used = [i for i in range(samples) if i < samples - len(extra) or extra[i - samples] not in _ALPHA]
        self._used = self._used or list(range(samples))
        self.alpha = len(self._used) < samples
        self._hidden = _hidden_planes(self._file, self._pages) if samples == 1 else 1
        self.shape = (height, width, len(self._used) * len(self._pages) * self._hidden)
        self.dtype = np.dtype(first.dtype or 'V').newbyteorder('=')
        self.nodata = _nodata(first, self.dtype)
        meaning, bits, compression = int(first.photometric), first.bitspersample, int(first.compression)
        colours = meaning in (_PALETTE, _CMYK, _YCBCR, _CIELAB)
        self.plain = (
            self.shape[2] == len(self._used)
            and bits <= 8
            and compression not in _NOT_IN_OPENCV
            and self.dtype in (np.uint8, bool)
            and (colours or len(self._used) in (1, 3))
        )
        self.grey = len(self._used) == 1 and not colours
        turned = first.tags.valueof(ORIENTATION, 1)
        decoded = meaning == _YCBCR and compression == _JPEG  # as JPEG's decoder makes the colours
        self.readable = bits == 8 and turned == 1 and (decoded or not colours) and meaning != _WHITE_IS_ZERO
        if self.plain:
            return
        if depth > 1:
            raise NotRead(self.path, f'it is a volume of {depth} layers in one page; save each layer as a page')
        if self.shape[2] > MAX_CHANNELS:
            raise NotRead(
                self.path, f'it has {self.shape[2]} channels, more than {MAX_CHANNELS}; save those that are needed'
            )
        if turned != 1:
            raise NotRead(self.path, f'its orientation tag is {turned}; save it upright, with the tag 1')
        if self.dtype.kind not in 'uif':
            raise NotRead(self.path, f'its values are of type {self.dtype}; save them as integers or floats')

    def read(self, top: int, bottom: int, left: int, right: int) -> np.ndarray:
        """The rows ``top`` to ``bottom`` and the columns ``left`` to ``right``, (h, w, C).

        Raises:
            ImageError: If the file is damaged, or a part of it is too large or of a compression that is not read.
            ImageTooLarge: If the window is too large.
        """
        samples = math.prod(self._pages[0].shaped[::4])
        shape = (bottom - top, right - left, samples * len(self._pages) * self._hidden)
        size = math.prod(shape) * self.dtype.itemsize
        if size > MAX_BYTES:
            raise ImageTooLarge(
                f'{printable(str(self.path))} has {self.shape[1]}x{self.shape[0]} pixels of {self.shape[2]} channels, which need '
                f'{size / 1e9:.1f} GB at once; cut it up, or predict it in tiles'
            )
        with self._errors():
            # Parts that are not stored have the value of pixels without data.
            out = np.full(shape, 0 if self.nodata is None else self.nodata, self.dtype)
            if self._hidden > 1:
                planes = self._memmap(self._file.series[0].dataoffset, (self._hidden, *self.shape[:2]))
                out[:] = planes[:, top:bottom, left:right].transpose(1, 2, 0)
                return out
            for number, page in enumerate(self._pages):
                part = out[..., number * samples : (number + 1) * samples]
                for (y, x, channel), values in self._parts(page, top, bottom, left, right):
                    _paste(part, values, y - top, x - left, channel)
        if not self.alpha:
            return out
        return out[..., [page * samples + i for page in range(len(self._pages)) for i in self._used]]

    def _memmap(self, offset: int, shape: tuple[int, ...]) -> np.ndarray:
        return np.memmap(self.path, self._file.byteorder + self._pages[0].dtype.char, 'r', offset, shape)

    def _parts(
        self, page: TiffPage, top: int, bottom: int, left: int, right: int
    ) -> Iterator[tuple[tuple[int, int, int], np.ndarray]]:
        """The strips or tiles of a page that a window touches, each with its row, column and first channel."""
        separate, _, height, width, samples = page.shaped
        if page.is_memmappable:
            whole = self._memmap(page.dataoffsets[0], page.shaped)
            for channel in range(separate):
                yield (top, left, channel), whole[channel, 0, top:bottom, left:right]
            return
        compression = int(page.compression)
        if compression not in _COMPRESSIONS:
            allowed = ', '.join(dict.fromkeys(_COMPRESSIONS.values()))
            raise NotRead(self.path, f'its compression is {page.compression.name}; save it with one of {allowed}')
        rows, columns = (page.tilelength, page.tilewidth) if page.is_tiled else (min(page.rowsperstrip, height), width)
        size = rows * columns * samples * page.dtype.itemsize
        if size > (MAX_BYTES if (bottom - top, right - left) == (height, width) else _LARGEST_PART):
            raise NotRead(
                self.path, f'{columns}x{rows} pixels of it are compressed in one piece; save it in tiles of 512 pixels'
            )
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
                self._file.filehandle.seek(page.dataoffsets[index])
                data = self._file.filehandle.read(page.databytecounts[index])
                if compression == _JPEG and math.prod(jpeg_size(io.BytesIO(data))) > rows * columns:
                    raise ValueError('a part has more pixels than its place')
                values, (channel, _, y, x, _), _ = page.decode(data, index, **tables)
                yield (y, x, channel), values[0]

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """What goes wrong in tifffile as an ImageError; it does not log that."""
        logger = logging.getLogger('tifffile')
        before, logger.disabled = logger.disabled, True
        try:
            yield
        except (ImageError, ImportError):
            raise
        except _BROKEN as error:
            reason = ' '.join(str(error).strip('"').split())[:200]
            if 'imagecodecs' in reason:
                raise NotRead(
                    self.path, f'{reason}; pip install imagecodecs, or save it without compression'
                ) from error
            name = printable(str(self.path))
            raise ImageError(f'{name} is a TIFF file that is cut off or damaged ({reason}); {WHAT_TO_DO}') from error
        finally:
            logger.disabled = before


def _pages(file: TiffFile) -> list[TiffPage]:
    first = file.pages[0]
    return [
        page
        for page in file.pages
        if page is first
        or (page.shaped == first.shaped and page.dtype == first.dtype and not int(page.subfiletype) & _OVERVIEW_OR_MASK)
    ]


def _hidden_planes(file: TiffFile, pages: list[TiffPage]) -> int:
    """How many planes follow the only page of a large stack of ImageJ, which lists no others; else 1."""
    if len(pages) > 1 or not file.is_imagej or file.series[0].dataoffset is None:
        return 1
    return math.prod(file.series[0].shape) // math.prod(pages[0].shaped)


def _nodata(page: TiffPage, dtype: np.dtype) -> float | None:
    """The value without data, if the file names one that its pixels can have."""
    tag = page.tags.get(_NODATA)
    try:
        value = float(str(tag.value).strip('\0 ')) if tag is not None else None
    except ValueError:
        return None
    if value is None or dtype.kind == 'f':
        return value
    fits = dtype.kind in 'ui' and value.is_integer() and np.iinfo(dtype).min <= value <= np.iinfo(dtype).max
    return value if fits else None


def _paste(out: np.ndarray, values: np.ndarray, y: int, x: int, channel: int) -> None:
    """Copy a part (h, w, c) of an image to its place in a window, as far as it lies in it."""
    height, width, _ = out.shape
    y0, x0 = max(y, 0), max(x, 0)
    y1, x1 = min(y + values.shape[0], height), min(x + values.shape[1], width)
    if y1 > y0 and x1 > x0:
        out[y0:y1, x0:x1, channel : channel + values.shape[2]] = values[y0 - y : y1 - y, x0 - x : x1 - x]
