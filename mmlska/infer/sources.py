"""What a user may name as input, resolved before anything is computed and read one image at a time."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
from PIL import Image

from ..images import IMAGE_SUFFIXES, ImageError, bgr_pixels, folders_below, is_image, read_header, read_photo
from ..text import printable

VIDEO_SUFFIXES = ('.mp4', '.avi', '.mov', '.mkv', '.webm', '.m4v')

Source: TypeAlias = str | Path | np.ndarray | Image.Image


def resolve(inputs: Source | Sequence[Source]) -> list[Path | np.ndarray]:
    """List the files and arrays that an input stands for.

    Args:
        inputs: An image or video file, a folder (its images, without its subfolders, by name), a glob pattern, an image as an array of
            uint8 of shape (H, W, 3) in BGR order as OpenCV reads it, an image of Pillow, or a list of these.

    Raises:
        FileNotFoundError: If a file does not exist, a folder has no images or a pattern matches nothing.
        TypeError: If an input is none of these.
        ValueError: If an array is not an image, or a path is a URL or that of a pipe or a device.
    """
    if isinstance(inputs, np.ndarray):
        if inputs.dtype != np.uint8 or inputs.ndim != 3 or inputs.shape[2] != 3 or 0 in inputs.shape:
            raise ValueError(
                f'array of shape {inputs.shape} and dtype {inputs.dtype} is not an image; give uint8 of shape (H, W, 3) in BGR order'
            )
        return [inputs]
    if isinstance(inputs, Image.Image):
        return [bgr_pixels(inputs)]
    if isinstance(inputs, (list, tuple)):
        return [item for each in inputs for item in resolve(each)]
    if not isinstance(inputs, (str, Path)):
        raise TypeError(
            f'input of type {type(inputs).__name__}; give a path, an array (H, W, 3) in BGR, an image of Pillow or a list of them'
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


def read_images(items: Iterable[Path | np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    """Read what :func:`resolve` listed, one image at a time, each with its name: the path, '' for an array, path#frame for a video.

    Raises:
        ValueError: If a file is neither an image nor a video that OpenCV can read.
    """
    for item in items:
        if isinstance(item, np.ndarray):
            yield '', item
        elif is_video(item):
            yield from _frames(item)
        else:
            yield str(item), read_photo(item, max_pixels=None)  # what may be large is the caller's to say


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
        raise ValueError(f'{path} is not a video that OpenCV can read; convert it, for example to .mp4')
