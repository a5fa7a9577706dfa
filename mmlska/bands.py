"""Images of any number of channels and any depth: what a file holds, how a model reads it, and a picture of it for people.

Channels are in the order of the file: red comes first. Photos of 8 bits are read by :mod:`mmlska.images` wherever they need nothing else.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from .images import MAX_PIXELS, Header, ImageError, ImageTooLarge, NotRead, open_image, read_header, read_photo, shrink
from .text import printable
from .tiff_windows import TiffWindows

#: Pixels above which a TIFF file of 8 bits is read by window.
LARGE = 64_000_000

_STRIP = 1 << 26  # values that a picture of a large image is made of at once
_SAMPLED = 1 << 18  # values that the contrast of a picture is chosen by
_CONTRAST = (2, 98)  # percent of them that are darker than black, and than white


@dataclass(frozen=True, order=True)
class Pixels:
    """What the pixels of an image are.

    Example:
        >>> str(Pixels(5, 'uint16')), str(Pixels(1, 'float32'))
        ('5 channels of 16 bits', '1 channel of 32-bit floats')
    """

    channels: int
    dtype: str  # NumPy's name
    # Of 8 bits, and OpenCV does not read them: they lie in pages, or are compressed in a way that it does not know.
    by_tifffile: bool = False
    alpha: bool = field(default=False, compare=False)  # a TIFF file has transparency too, which is left out

    def __str__(self) -> str:
        kind = np.dtype(self.dtype)
        bits = 8 * kind.itemsize
        values = f'{bits}-bit floats' if kind.kind == 'f' else f'{"signed " if kind.kind == "i" else ""}{bits} bits'
        channels = f'{self.channels} {"channel" if self.channels == 1 else "channels"} of {values}'
        return f'{channels} that only tifffile reads' if self.by_tifffile else channels

    @property
    def is_photo(self) -> bool:
        """Whether it is grey or in colours, of 8 bits, as every program reads it."""
        return self.dtype == 'uint8' and self.channels in (1, 3) and not self.by_tifffile

    def fits(self, wanted: Pixels) -> bool:
        """Whether a model that reads the ``wanted`` pixels takes these; one of grey photos takes those in colours."""
        same = (self.channels, self.dtype) == (wanted.channels, wanted.dtype)
        return same or (wanted == GREY and self.is_photo)


PHOTO, GREY = Pixels(3, 'uint8'), Pixels(1, 'uint8')


def pixels_of(path: str | Path) -> Pixels:
    """What the pixels of a file are, by its header; transparency is no channel, and a palette stands for colours.

    Raises:
        FileNotFoundError: If there is no such file.
        ImageError: If it is no image, or one that only the extra ``bands`` reads, which is not installed.
    """
    return _inspect(path)[0]


def _inspect(path: str | Path) -> tuple[Pixels, Header, TiffWindows | None]:
    """What a file holds, its sizes, and its windows if it is a TIFF file that tifffile reads."""
    header = read_header(path, max_pixels=None)
    with open(path, 'rb') as file:
        start = file.read(32)
    if start[:8] == b'\x89PNG\r\n\x1a\n':
        bits, colour = struct.unpack('BB', start[24:26])
        return Pixels(1 if colour in (0, 4) else 3, 'uint16' if bits == 16 else 'uint8'), header, None
    if start[:4] == b'RIFF':  # WebP has colours only, and Pillow makes room for all of its pixels at once
        return PHOTO, header, None
    windows = _windows(path) if start[:2] in (b'II', b'MM') else None
    if windows is not None:
        channels, dtype = (
            (1 if windows.grey else 3, 'uint8') if windows.plain else (windows.shape[2], windows.dtype.name)
        )
        by_tifffile = not windows.plain and dtype == 'uint8' and channels in (1, 3)
        return Pixels(channels, dtype, by_tifffile, windows.alpha), header, windows
    with open_image(path, max_pixels=None) as image:
        return Pixels(1 if image.mode in ('1', 'L', 'LA', 'La') else 3, 'uint8'), header, None


def _windows(path: str | Path) -> TiffWindows | None:
    """A TIFF file by window; None where tifffile is missing and Pillow shows that OpenCV reads it."""
    try:
        return TiffWindows(path)
    except ImportError:
        pass
    try:
        with open_image(path, max_pixels=None) as image:
            plain = image.mode in ('1', 'L', 'LA', 'P', 'PA', 'RGB', 'RGBA', 'CMYK', 'YCbCr', 'LAB')
            if plain and getattr(image, 'n_frames', 1) == 1:
                return None
    except ImageError:
        pass
    raise NotRead(path, 'it is no photo of 8 bits, and tifffile is missing; pip install "mmlska[bands]"')


class BandFile:
    """An image file as an array (H, W, C), of which a TIFF file reads only the windows that are asked for.

    Args:
        path: The file.
        as_stored: Do not turn it as its EXIF data say.

    Attributes:
        shape: (H, W, C).
        pixels: What it holds.

    Raises:
        FileNotFoundError: If there is no such file.
        ImageError: As for :func:`pixels_of`.

    Example::

        BandFile('scene.tif')[1000:1512, :512]  # (512, 512, C)
    """

    def __init__(self, path: str | Path, *, as_stored: bool = False) -> None:
        self.path, self.as_stored = path, as_stored
        self.pixels, header, windows = _inspect(path)
        width, height = header.stored if as_stored else header.upright
        self.shape = (height, width, self.pixels.channels)
        self._whole: np.ndarray | None = None
        # OpenCV reads photos as everywhere else here, as long as they are not too large for that.
        use = windows is not None and (not windows.plain or (windows.readable and height * width > LARGE))
        self._windows = windows if use else None

    @property
    def by_window(self) -> bool:
        """Whether windows are read alone, not the whole of it."""
        return self._windows is not None

    def __getitem__(self, window: tuple[slice, slice]) -> np.ndarray:
        """The values of some rows and columns, (h, w, C); NaN where the file says that there are none."""
        rows, columns = (part.indices(side)[:2] for part, side in zip(window, self.shape))
        if self._windows is None:
            if self._whole is None:
                self._whole = self._read_whole()
            return self._whole[slice(*rows), slice(*columns)]
        values = self._windows.read(*rows, *columns)
        if self._windows.nodata is None or self.pixels.is_photo:
            return values
        # In every window floats, whether or not a pixel of it has no data.
        return np.where(values == self._windows.nodata, np.float32(np.nan), values.astype(np.float32))

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:
        values = self[:, :]
        return values if dtype is None else values.astype(dtype)

    def _read_whole(self) -> np.ndarray:
        height, width, channels = self.shape
        if self.pixels == PHOTO:
            return read_photo(self.path, as_stored=self.as_stored, max_pixels=None)[..., ::-1]
        flag = (cv2.IMREAD_GRAYSCALE if channels == 1 else cv2.IMREAD_COLOR) | cv2.IMREAD_ANYDEPTH
        values = read_photo(self.path, as_stored=self.as_stored, max_pixels=None, flag=flag)
        values = values[..., None] if values.ndim == 2 else values[..., ::-1]
        if values.shape != self.shape or values.dtype != self.pixels.dtype:
            raise ImageError(
                f'{printable(str(self.path))} says that it has {self.pixels}, and has others; save it again'
            )
        return values


@dataclass(frozen=True)
class BandReader:
    """How a model reads images that are no photos of 8 bits in colours.

    Attributes:
        channels: How many channels it takes.
        dtype: Type of the values in the files.
        fill: A value for each channel, which pixels without a finite one get.
        shown: Which channels, from 1, are red, green and blue in pictures; by default the first three, or the first.
        as_stored: Files are not turned as their EXIF data say.

    Raises:
        ValueError: If there are not as many values to fill as channels, or there are no such channels to show.
    """

    channels: int
    dtype: str
    fill: Sequence[float] = ()
    shown: Sequence[int] = ()
    as_stored: bool = False

    def __post_init__(self) -> None:
        if self.fill and len(self.fill) != self.channels:
            raise ValueError(f'fill has {len(self.fill)} values for {self.channels} channels; give one for each')
        check_bands(self.shown, self.channels)

    @property
    def pixels(self) -> Pixels:
        """What files must hold."""
        return Pixels(self.channels, self.dtype)

    def open(self, path: str | Path) -> BandFile:
        """A file, of which nothing is read yet.

        Raises:
            FileNotFoundError: If there is no such file.
            ImageError: If it holds other pixels; a photo in colours does for a model of grey ones.
        """
        file = BandFile(path, as_stored=self.as_stored)
        if not file.pixels.fits(self.pixels):
            raise ImageError(
                f'{printable(str(path))} has {file.pixels}, and the model reads {self.pixels}; give images of that kind'
            )
        return file

    def read(self, path: str | Path, max_pixels: int | None = MAX_PIXELS) -> np.ndarray:
        """The whole of a file as the model gets it: (H, W, C), uint8 or float32.

        Raises:
            FileNotFoundError: If there is no such file.
            ImageError: As :meth:`open`, or if it is larger than ``max_pixels`` or damaged.
        """
        file = self.open(path)
        height, width, _ = file.shape
        if max_pixels is not None and height * width > max_pixels:
            raise ImageTooLarge(
                f'{printable(str(path))} has {width}x{height} pixels, more than the {max_pixels / 1e6:.3g} million that are read '
                f'at once; cut it up'
            )
        return self.finish(file[:, :])

    def finish(self, values: np.ndarray) -> np.ndarray:
        """Values of a file as the model gets them: (H, W, C), uint8 or float32, all of them finite."""
        if values.shape[2] != self.channels:  # a photo in colours, for a model of grey ones
            values = cv2.cvtColor(np.ascontiguousarray(values), cv2.COLOR_RGB2GRAY)[..., None]
        if values.dtype == np.uint8:
            return np.ascontiguousarray(values)
        with np.errstate(over='ignore'):  # what float32 cannot hold becomes infinite, and is filled
            values = values.astype(np.float32)
        missing = ~np.isfinite(values)
        if missing.any():
            values = np.where(missing, np.array(self.fill or [0.0] * self.channels, np.float32), values)
        return values


@dataclass(frozen=True)
class GreyPhotoReader(BandReader):
    """How a model reads photos as grey ones of 8 bits: by OpenCV's own decoding, which differs from greyed colours by rounding."""

    channels: int = 1
    dtype: str = 'uint8'

    def read(self, path: str | Path, max_pixels: int | None = MAX_PIXELS) -> np.ndarray:
        """A photo, (H, W, 1) uint8; errors are those of :func:`mmlska.images.read_photo`."""
        flag = cv2.IMREAD_GRAYSCALE
        return read_photo(path, as_stored=self.as_stored, max_pixels=max_pixels, flag=flag)[..., None]


def reads_as_stored(color_type: str) -> bool:
    """Whether ``LoadImageFromFile`` with this ``color_type`` leaves photos as they are stored, whatever their EXIF data say.

    Example:
        >>> reads_as_stored('grayscale'), reads_as_stored('color_ignore_orientation')
        (False, True)
    """
    return color_type == 'unchanged' or color_type.endswith('ignore_orientation')


def grey_reader(color_type: str) -> GreyPhotoReader | None:
    """How ``LoadImageFromFile`` with this ``color_type`` reads photos if it makes them grey; None if it does not."""
    return GreyPhotoReader(as_stored=reads_as_stored(color_type)) if color_type.startswith('grayscale') else None


def check_bands(bands: Sequence[int], channels: int) -> None:
    """Raise ValueError if channels to show, counted from 1, are not one or three of ``channels``."""
    if bands and (len(bands) not in (1, 3) or not all(1 <= band <= channels for band in bands)):
        raise ValueError(
            f'bands {" ".join(map(str, bands))} cannot be shown; give one or three numbers from 1 to {channels}'
        )


def picture_of(values: np.ndarray | BandFile, bands: Sequence[int] = (), side: int | None = None) -> np.ndarray:
    """A picture of an image of any channels, (h, w, 3) uint8 in BGR order.

    Args:
        values: (H, W, C) or (H, W).
        bands: The channels, from 1, for red, green and blue, or one for grey; by default the first three, or the first.
        side: Longer side of the picture in pixels, if it is smaller than the image.

    Returns:
        Values of 8 bits as they are; others from black at the darkest 2 % of each channel to white at the brightest.

    Raises:
        ValueError: If there are no such channels.

    Example:
        >>> picture_of(np.linspace(0, 1e4, 64).reshape(8, 8, 1))[::7, ::7, 0].tolist()
        [[0, 24], [230, 255]]
    """
    channels = values.shape[2] if len(values.shape) == 3 else 1
    check_bands(bands, channels)
    chosen = [band - 1 for band in bands or ((1, 2, 3) if channels >= 3 else (1,))]
    small = _small(values, chosen, side)
    if small.dtype != np.uint8:
        small = _stretched(small)
    return np.ascontiguousarray(np.repeat(small, 3 // small.shape[2], axis=2)[..., ::-1])


def _small(values: np.ndarray | BandFile, chosen: list[int], side: int | None) -> np.ndarray:
    """Some channels of an image, scaled down strip by strip."""
    height, width = values.shape[:2]
    channels = values.shape[2] if len(values.shape) == 3 else 1
    scale = min(side / max(height, width), 1.0) if side else 1.0
    rows, columns = max(round(height * scale), 1), max(round(width * scale), 1)
    step = max(_STRIP // (width * channels) * rows // height, 1) if scale < 1 else rows
    strips = []
    for first in range(0, rows, step):
        last = min(first + step, rows)
        part = np.asarray(values[first * height // rows : last * height // rows, :])
        part = (part if part.ndim == 3 else part[..., None])[..., chosen]
        part = part if part.dtype == np.uint8 else part.astype(np.float32)
        if scale < 1:
            part = cv2.resize(np.ascontiguousarray(part), (columns, last - first), interpolation=cv2.INTER_AREA)
        strips.append(part.reshape(last - first, columns, len(chosen)))
    return np.concatenate(strips)


def _stretched(values: np.ndarray) -> np.ndarray:
    """Float values to 8 bits, each channel by its own darkest and brightest."""
    out = np.zeros(values.shape, np.uint8)
    for channel in range(values.shape[2]):
        plane = values[..., channel]
        finite = plane[np.isfinite(plane)]
        if finite.size:
            low, high = np.percentile(finite[:: max(finite.size // _SAMPLED, 1)], _CONTRAST)
            scaled = (plane - low) / max(high - low, 1e-12) * 255
            out[..., channel] = np.nan_to_num(scaled, nan=0).clip(0, 255)
    return out


def read_picture(
    path: str | Path, *, as_stored: bool = False, bands: Sequence[int] = (), side: int | None = None
) -> np.ndarray:
    """A picture of an image file of any kind, (H, W, 3) uint8 in BGR order: a photo of 8 bits itself, else :func:`picture_of`.

    Raises:
        FileNotFoundError: If there is no such file.
        ImageError: If it is damaged or too large, or cannot be read.
    """
    file = BandFile(path, as_stored=as_stored)
    height, width, _ = file.shape
    if not bands and file.pixels.is_photo and not (side and file.by_window):
        photo = read_photo(path, as_stored=as_stored)
        return shrink(photo, side) if side else photo
    if height * width > MAX_PIXELS and not file.by_window:
        raise ImageTooLarge(
            f'{printable(str(path))} has {width}x{height} pixels, too many for a picture; save it as TIFF in tiles'
        )
    return picture_of(file, bands, side)
