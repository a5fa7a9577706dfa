"""What a user may name as input, resolved before anything is computed and read one image at a time."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp')
VIDEO_SUFFIXES = ('.mp4', '.avi', '.mov', '.mkv', '.webm', '.m4v')

Source = str | Path | np.ndarray


def resolve(inputs: Source | Sequence[Source]) -> list[Path | np.ndarray]:
    """List the files and arrays that an input stands for.

    Args:
        inputs: An image or video file, a folder (its images, without its subfolders, by name), a glob pattern, an image as an array of
            uint8 of shape (H, W, 3) in BGR order as OpenCV reads it, or a list of these.

    Raises:
        FileNotFoundError: If a file does not exist, a folder has no images or a pattern matches nothing.
        TypeError: If an input is none of these.
        ValueError: If an array is not an image.
    """
    if isinstance(inputs, np.ndarray):
        return [_checked(inputs)]
    if isinstance(inputs, (list, tuple)):
        return [item for each in inputs for item in resolve(each)]
    if not isinstance(inputs, (str, Path)):
        raise TypeError(
            f'input of type {type(inputs).__name__}; give a path, an array (H, W, 3) in BGR or a list of them'
        )
    path = Path(inputs).expanduser()
    if path.is_file():
        return [path]
    suffixes = ' '.join(IMAGE_SUFFIXES)
    if path.is_dir():
        found = sorted(p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())
        if not found:
            raise FileNotFoundError(f'folder {path} has no images ({suffixes}); give another folder or a pattern')
        return found
    if glob.has_magic(str(path)):
        known = IMAGE_SUFFIXES + VIDEO_SUFFIXES
        found = sorted(p for p in map(Path, glob.glob(str(path), recursive=True)) if p.suffix.lower() in known)
        if not found:
            raise FileNotFoundError(f'pattern {path} matches no image ({suffixes}) and no video; check it')
        return found
    raise FileNotFoundError(f'input {inputs} does not exist; give an image, a video, a folder or a pattern')


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
            yield str(item), _read(item)


def image_size(path: Path) -> tuple[int, int] | None:
    """Width and height by an image's header, as they are stored: a photo taken with the camera turned may be read the other way round.

    Returns:
        None if the header cannot be read.
    """
    from PIL import Image

    # Nothing is decoded here, and our own limits have messages of their own.
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with Image.open(path) as opened:
            return opened.size
    except (OSError, SyntaxError, ValueError):
        return None
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def is_video(item: Path | np.ndarray) -> bool:
    """Whether an item holds many images."""
    return isinstance(item, Path) and item.suffix.lower() in VIDEO_SUFFIXES


def _checked(image: np.ndarray) -> np.ndarray:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(
            f'array of shape {image.shape} and dtype {image.dtype} is not an image; give uint8 of shape (H, W, 3) in BGR order'
        )
    return image


def _read(path: Path) -> np.ndarray:
    import cv2

    try:
        # imdecode, as imread cannot open every file name on every system; colours and EXIF orientation as in training.
        image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        image, reason = None, f' ({" ".join(str(error.err or error).split())})'
    else:
        reason = ''
    if image is None:
        raise ValueError(
            f'{path} is not an image that OpenCV can read{reason}; it may be broken, leave it out or replace it'
        )
    return image


def _frames(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    import cv2

    video = cv2.VideoCapture(str(path))
    try:
        number = 0
        while True:
            more, frame = video.read()
            if not more:
                break
            yield f'{path}#{number:06d}', frame
            number += 1
    finally:
        video.release()
    if number == 0:
        raise ValueError(f'{path} is not a video that OpenCV can read; convert it, for example to .mp4')
