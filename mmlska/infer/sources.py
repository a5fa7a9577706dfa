"""What a user may name as input, resolved before anything is computed and read one image at a time."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageOps

from ..bands import GREY, LARGE, PHOTO, BandFile, BandReader
from ..image_windows import open_windows
from ..images import (
    IMAGE_SUFFIXES,
    ImageError,
    ImageTooLarge,
    bgr_pixels,
    folders_below,
    is_image,
    read_header,
    read_photo,
)
from ..text import printable

VIDEO_SUFFIXES = ('.mp4', '.avi', '.mov', '.mkv', '.webm', '.m4v')

Source: TypeAlias = str | Path | np.ndarray | Image.Image


#: Pixels above which an image is predicted in tiles or refused, and bytes above which a TIFF file is then read by window.
MAX_PIXELS = LARGE
# The number of a camera, as OpenCV and YOLO take it, its device, or the address of a stream.
_STREAM = re.compile(r'\d{1,2}$|/dev/video\d+$|(rtsps?|rtmps?|rtp|udp|tcp|srt|mms):/|https?:/.*\.m3u8', re.IGNORECASE)
_MAX_BYTES = 3 * LARGE


def resolve(inputs: Source | Sequence[Source], reader: BandReader | None = None) -> list[Path | np.ndarray]:
    """List the files and arrays that an input stands for.

    Args:
        inputs: An image or video file, a folder (its images, without its subfolders, by name), a glob pattern, an image as an array of
            uint8 of shape (H, W, 3) in BGR order as OpenCV reads it, an image of Pillow, or a list of these.
        reader: What a model reads that takes no photos; arrays must then be (H, W, C) of its channels and type, or of floats.

    Raises:
        FileNotFoundError: If a file does not exist, a folder has no images or a pattern matches nothing.
        TypeError: If an input is none of these.
        ValueError: If an array is not an image, or a path is a URL or that of a pipe or a device.
    """
    if isinstance(inputs, (np.ndarray, Image.Image)) and reader is not None:
        return [_bands_of(inputs, reader)]
    if isinstance(inputs, np.ndarray):
        if inputs.dtype != np.uint8 or inputs.ndim != 3 or inputs.shape[2] != 3 or 0 in inputs.shape:
            raise ValueError(
                f'array of shape {inputs.shape} and dtype {inputs.dtype} is not an image; give uint8 of shape (H, W, 3) in BGR order'
            )
        return [inputs]
    if isinstance(inputs, Image.Image):
        return [bgr_pixels(inputs)]
    if isinstance(inputs, (list, tuple)):
        return [item for each in inputs for item in resolve(each, reader)]
    if not isinstance(inputs, (str, Path)):
        raise TypeError(
            f'input of type {type(inputs).__name__}; give a path, an array (H, W, 3) in BGR, an image of Pillow or a list of them'
        )
    if _STREAM.match(str(inputs)) and not os.path.isfile(inputs) and not os.path.isdir(inputs):
        raise ValueError(
            f'input {printable(str(inputs))} is a camera or a stream, which are not read; record a video, for example with ffmpeg, and '
            f'give its file'
        )
    if re.match(r'\w{2,}:/', str(inputs)) and not os.path.exists(inputs):  # of the two slashes a Path has one
        raise ValueError(
            f'input {printable(str(inputs))} is a URL, and nothing is downloaded here; save the picture and give its file'
        )
    path = Path(os.path.expanduser(inputs))
    if os.path.isfile(path):
        return [path]
    name, suffixes = printable(str(path)), ' '.join(IMAGE_SUFFIXES)
    if os.path.isdir(path):
        found = sorted(p for p in path.iterdir() if is_image(p) and os.path.isfile(p))
        if not found:
            raise FileNotFoundError(f'folder {name} has no images ({suffixes}); give another folder or a pattern')
        return found
    if os.path.exists(path):
        raise ValueError(f'input {name} is no regular file; give an image, a video, a folder or a pattern')
    if glob.has_magic(str(path)):
        found = sorted(p for p in _matches(path) if (is_image(p) or is_video(p)) and os.path.isfile(p))
        if not found:
            raise FileNotFoundError(f'pattern {name} matches no image ({suffixes}) and no video; check it')
        if '**' in path.parts:  # of the names of one file the first
            found = sorted({os.path.realpath(p): p for p in reversed(found)}.values())
        return found
    raise FileNotFoundError(
        f'input {printable(str(inputs))} does not exist; give an image, a video, a folder or a pattern'
    )


def _bands_of(image: np.ndarray | Image.Image, reader: BandReader) -> np.ndarray:
    """An array or an image of Pillow as the model gets it."""
    if isinstance(image, Image.Image):
        image = ImageOps.exif_transpose(image)
        image = np.asarray(image.convert('L') if reader.pixels == GREY else image)
    array = image[..., None] if image.ndim == 2 else image
    if (
        reader.pixels == GREY and array.dtype == np.uint8 and array.shape[2:] == (3,) and array.size
    ):  # as OpenCV reads photos
        array = array[..., ::-1]
        return reader.finish(array)
    fits = array.ndim == 3 and array.shape[2] == reader.channels and 0 not in array.shape
    if not fits or (array.dtype != reader.dtype and array.dtype.kind != 'f'):
        raise ValueError(
            f'array of shape {image.shape} and dtype {image.dtype} does not fit; the model reads {reader.pixels}: give {reader.dtype} of '
            f'shape (H, W, {reader.channels})'
        )
    return reader.finish(array)


def _matches(pattern: Path) -> set[Path]:
    """What glob.glob(pattern, recursive=True) finds, but of the folders that ** stands for each real one once.

    Links can lead in circles, and glob goes round each of them until a path is too long.
    """
    if '**' not in pattern.parts:
        return set(map(Path, glob.glob(str(pattern))))
    place = pattern.parts.index('**')
    rest = pattern.parts[place + 1 :] or ('*',)
    starts = glob.glob(str(Path(*pattern.parts[:place]))) if place else ['.']
    folders = [folder for start in starts for folder in folders_below(start, like_glob=True)]
    return {match for folder in folders for match in _matches(Path(glob.escape(folder), *rest))}


def read_images(
    items: Iterable[Path | np.ndarray],
    reader: BandReader | None = None,
    *,
    by_window: bool = False,
    as_stored: bool = False,
    unread: list[Exception] | None = None,
) -> Iterator[tuple[str, np.ndarray | BandFile]]:
    """Read what :func:`resolve` listed, one image at a time, each with its name: the path, '' for an array, path#frame for a video.

    Args:
        items: The files and arrays.
        reader: What a model reads that takes no photos.
        by_window: Only open large TIFF files, of which the windows that are asked for are read then. Else images of more than
            :data:`MAX_PIXELS` are not read.
        as_stored: Do not turn photos as their EXIF data say; a ``reader`` knows that itself.
        unread: Gets what is wrong with each file that cannot be read, and the next file follows; None to raise that.

    Raises:
        ImageError: If a file is neither an image nor a video that OpenCV can read, is too large, or has not the pixels that the model
            reads.
    """
    for item in items:
        try:
            if isinstance(item, np.ndarray):
                yield '', item
            elif is_video(item):
                yield from ((name, _frame_for(frame, name, reader)) for name, frame in _frames(item))
            else:
                yield str(item), _read(item, reader, by_window, as_stored)
        except (ImageError, OSError) as error:
            if unread is None:
                raise
            unread.append(error)


def _read(path: Path, reader: BandReader | None, by_window: bool, as_stored: bool) -> np.ndarray | BandFile:
    if by_window and (reader is not None or _is_large(path)):
        return open_windows(path, reader, as_stored=as_stored, whole_bytes=_MAX_BYTES, max_pixels=None)
    size = None if by_window else image_size(path)
    if size:
        check_size(path, *size)  # before it is decoded
    return read_photo(path, as_stored=as_stored, max_pixels=None) if reader is None else reader.read(path, None)


def check_size(name: str | Path | int, width: int, height: int) -> None:
    """Raise ImageTooLarge for an image that has to be predicted in tiles."""
    if height * width > MAX_PIXELS:
        raise ImageTooLarge(
            f'image {name} has {width}x{height} pixels, more than {MAX_PIXELS // 10**6} million: '
            f'predict it in tiles (tile=1024, --tile 1024)'
        )


def _is_large(path: Path) -> bool:
    size = image_size(path)
    return size is not None and size[0] * size[1] > MAX_PIXELS


def _frame_for(frame: np.ndarray, name: str, reader: BandReader | None) -> np.ndarray:
    if reader is None:
        return frame
    if reader.pixels != GREY:
        raise ImageError(f'{name} has {PHOTO}, and the model reads {reader.pixels}; give images of that kind')
    return reader.finish(frame[..., ::-1])


def image_size(path: Path) -> tuple[int, int] | None:
    """Width and height by an image's header, as stored: a photo of a turned camera is read the other way round. None if unreadable."""
    try:
        return read_header(path, max_pixels=None).stored  # our own limits have messages of their own
    except (FileNotFoundError, ImageError):
        return None


def is_one_image(inputs: Source | Sequence[Source]) -> bool:
    """Whether an input is a single image, and not a folder, a pattern, a video or a list, which may hold any number."""
    if isinstance(inputs, (str, Path)):
        path = Path(os.path.expanduser(inputs))
        return os.path.isfile(path) and not is_video(path)
    return not isinstance(inputs, (list, tuple))


def is_video(item: Path | np.ndarray) -> bool:
    """Whether an item holds many images."""
    return isinstance(item, Path) and item.suffix.lower() in VIDEO_SUFFIXES


def _frames(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    import cv2

    video = cv2.VideoCapture(str(path))
    try:
        number = 0
        while (read := video.read())[0]:
            yield f'{path}#{number:06d}', read[1]
            number += 1
    finally:
        video.release()
    if number == 0:
        raise ImageError(f'{path} is not a video that OpenCV can read; convert it, for example to .mp4')
