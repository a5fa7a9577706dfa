"""Images that are used in parts: a large TIFF file is opened and read window by window, another image is read whole."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from .bands import BandFile, BandReader, picture_of
from .images import MAX_PIXELS, Header, read_header, read_photo

#: Most pixels of an image that is read by window: COCO's masks count them in 32 bits.
MOST_PIXELS = (1 << 31) - 1


def header_of(path: str | Path) -> Header:
    """The sizes of an image that can be used: read whole, or tile by tile if it is a large TIFF file.

    Raises:
        FileNotFoundError: If there is no such file.
        ImageError: If it is no image, or has more pixels than are read.
    """
    header = read_header(path, max_pixels=MOST_PIXELS)
    if is_huge(header) and not BandFile(path).by_window:
        return read_header(path)  # which says that it is too large
    return header


def is_huge(header: Header) -> bool:
    """Whether an image has more pixels than are read at once: it is used in tiles."""
    width, height = header.stored
    return width * height > MAX_PIXELS


def open_windows(
    path: str | Path,
    reader: BandReader | None = None,
    *,
    as_stored: bool = False,
    whole_bytes: int = 0,
    max_pixels: int | None = MAX_PIXELS,
) -> np.ndarray | BandFile:
    """A file of which a model gets windows, by :func:`window_of`: a TIFF file is only opened, another image is read whole.

    Args:
        path: The file.
        reader: What a model reads that takes no photos of 8 bits in colours.
        as_stored: Do not turn photos as their EXIF data say.
        whole_bytes: TIFF files of up to so many bytes of pixels are read whole too.
        max_pixels: Limit of images that are read whole; None for none.

    Raises:
        FileNotFoundError: If there is no such file.
        ImageError: If it holds other pixels than the model reads, is damaged or too large.
    """
    file = BandFile(path, as_stored=as_stored) if reader is None else reader.open(path)
    size = math.prod(file.shape) * np.dtype(file.pixels.dtype).itemsize
    if file.by_window and size > whole_bytes and (reader is not None or file.pixels.is_photo):
        return file
    if reader is None:
        return read_photo(path, as_stored=as_stored, max_pixels=max_pixels)
    return reader.read(path, max_pixels)


def window_of(
    image: np.ndarray | BandFile, reader: BandReader | None, y: int, y_end: int, x: int, x_end: int
) -> np.ndarray:
    """Rows and columns of what :func:`open_windows` gave as the model's pipeline takes them: BGR of a photo, else all channels."""
    part = image[y:y_end, x:x_end]
    if isinstance(image, BandFile):
        part = reader.finish(part) if reader is not None else picture_of(part)
    return np.ascontiguousarray(part)
