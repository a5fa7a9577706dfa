"""Pairs of image and mask: what values a mask file holds, and the class of each of its pixels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from ..bands import BandFile
from ..colors import pack_rgb
from ..engine.ignored_label import IGNORED
from ..images import ImageError, ImageTooLarge, open_image

_BAND = 4_000_000  # pixels that are counted at once
_MOST_VALUES = 1 << 18  # of one mask; what has more is a photo


class FractionsError(ValueError):
    """A mask of floats that are no classes, with one of these and what to do."""

    def __init__(self, mask: Path, value: float, fix: str) -> None:
        super().__init__(f'mask {mask} holds the value {value:g}, which is no class; {fix}')
        self.value, self.fix = value, fix


@dataclass
class MaskPair:
    """An image and its mask; filled by :func:`scan_one`."""

    image: Path
    mask: Path
    split: str | None
    size: tuple[int, int] = (0, 0)  # of the mask, width and height
    photo_size: tuple[int, int] | None = None  # what the mask is resized to, where the photo was resized by one factor
    indexed: bool = True  # one channel
    deep: bool = False  # more than 8 bits
    floats: bool = False
    lossy: bool = False  # a JPEG, which changes values
    wide: bool = False  # numbers of a type that only a copy can be trained on, such as float64 in TIFF
    renamed: bool = False  # the name of the file is not that of the photo, with an ending at most
    white: bool = False  # what is not 0 stands for 1, as in masks of one object; see :func:`mmlska.own_data.mask_white.join_white`
    values: dict[int, int] = field(default_factory=dict)  # index, or RGB packed into one number, -> pixels
    shown: dict[int, int] = field(default_factory=dict)  # index -> packed RGB that the file shows for it


@dataclass
class Labels:
    """What the masks of a set mean.

    ``values`` are the indices or packed colours of the classes, in order. Where ``plain`` is True an index is the class itself
    (less one if ``reduce_zero``); otherwise masks are read by their colours.
    """

    classes: list[str]
    values: list[int]
    palette: list[list[int]]  # for pictures
    plain: bool
    reduce_zero: bool = False
    notes: list[str] = field(default_factory=list)
    ids: bool = False  # each value is an object, none a class
    ignored: int = IGNORED  # the label of pixels without one, in which a head that a config names may differ

    @property
    def unlabelled(self) -> set[int]:
        """The values of a plain mask that stand for no label."""
        if not self.reduce_zero:
            return {self.ignored}
        # mmseg's reduce_zero_label makes 255 of both ends, and all others one less.
        return {0, IGNORED} if self.ignored == IGNORED else {self.ignored + 1} - {IGNORED}

    @property
    def allowed(self) -> set[int]:
        """The values that a plain mask may hold."""
        return {*self.values, *self.unlabelled}


def scan_one(pair: MaskPair) -> None:
    """Read one mask: its size, its kind and how many pixels each value has.

    Raises:
        ValueError: If it can't be read or is a photo; the message names it.
        FractionsError: If its values are no whole numbers.
    """
    values: Counter = Counter()
    pair.shown = {}
    fault = None
    try:
        with open_mask(pair.mask) as file:
            pair.size = file.size
            pair.wide = file.format is None
            pair.deep = file.mode.startswith(('I', 'F'))
            pair.floats = file.mode == 'F'
            pair.lossy = file.format == 'JPEG'
            pair.indexed = pair.deep or file.mode in ('1', 'L', 'P')
            for band in _bands(file):
                codes = np.asarray(band) if pair.indexed else pack_rgb(band.convert('RGB'))
                if pair.floats:
                    fault = _fault_of_floats(codes)
                    if fault:
                        break
                    codes = codes.astype(np.int64)
                found = _count(codes)
                values.update(found)
                if file.mode == 'P':
                    for value in found.keys() - pair.shown.keys():
                        y, x = np.unravel_index(np.argmax(codes == value), codes.shape)
                        pair.shown[value] = int(pack_rgb(band.crop((x, y, x + 1, y + 1)).convert('RGB'))[0, 0])
                if len(values) > _MOST_VALUES:
                    break
            full = 255 if file.mode == '1' else 1
    except ImageTooLarge as error:
        raise ValueError(f'mask {error}') from error
    except (ImageError, FileNotFoundError) as error:
        raise ValueError(f'mask {pair.mask} is not an image that can be read; save it as PNG') from error
    if fault:  # not raised above, where it would count as damage to the file
        raise FractionsError(pair.mask, *fault)
    if len(values) > _MOST_VALUES:
        raise ValueError(f'mask {pair.mask} has more than {_MOST_VALUES} colours, so it is a photo; give the masks')
    pair.values = dict(sorted(values.items()))
    if pair.indexed and not pair.shown:
        pair.shown = {value: min(value * full, 255) * 0x010101 for value in pair.values}


@contextmanager
def open_mask(path: Path) -> Iterator[Image.Image]:
    """Open a mask with Pillow; a TIFF file of one channel in numbers of a type that Pillow does not know becomes one of floats.

    Raises:
        FileNotFoundError: If there is no such file.
        ImageError: As :func:`mmlska.images.open_image`.
    """
    values = _wide_values(path) if path.suffix.lower() in ('.tif', '.tiff') else None
    if values is not None:
        yield Image.fromarray(values)
        return
    with open_image(path) as file:
        yield file


def _wide_values(path: Path) -> np.ndarray | None:
    """The numbers of a TIFF file as float32 (H, W); None where Pillow reads it, or nothing does."""
    try:
        with open_image(path):
            return None
    except ImageTooLarge:
        return None
    except (ImageError, FileNotFoundError):
        pass
    try:
        values = np.asarray(BandFile(path))
    except (ImageError, FileNotFoundError):
        return None
    return values[..., 0].astype(np.float32) if values.shape[2] == 1 else None


def ones_of(image: Image.Image) -> np.ndarray:
    """1 where a mask, or a strip of it, is not 0 or black: uint8 (H, W)."""
    indexed = image.mode in ('1', 'L', 'P') or image.mode.startswith(('I', 'F'))
    values = np.asarray(image) if indexed else pack_rgb(image.convert('RGB'))
    return (values != 0).astype(np.uint8)


def _fault_of_floats(values: np.ndarray) -> tuple[float, str] | None:
    """One of the floats that is no whole number, and what to do; None where all are."""
    odd = values[~np.isfinite(values) | (values != np.round(values)) | (np.abs(values) > _MOST_VALUES)]
    if not odd.size:
        return None
    if np.isfinite(odd[0]) and values.min() >= 0 and values.max() <= 1:
        fix = (
            'these are probabilities: save the class of each pixel, such as (mask > 0.5).astype("uint8") for one class'
        )
    else:
        fix = 'save the class of each pixel as uint8, 255 where there is none'
    return float(odd[0]), fix


def _bands(file: Image.Image) -> Iterator[Image.Image]:
    """An image in strips, as arrays of all pixels at once would take many times its size."""
    width, height = file.size
    step = max(_BAND // width, 1)
    for top in range(0, height, step):
        yield file.crop((0, top, width, min(top + step, height)))


def _count(array: np.ndarray) -> dict[int, int]:
    if array.dtype in (np.uint8, bool):  # much faster than sorting
        counts = np.bincount(array.ravel().view(np.uint8))
        values = np.flatnonzero(counts)
        counts = counts[values]
    else:
        values, counts = np.unique(array, return_counts=True)
    return dict(zip(values.tolist(), counts.tolist()))


def read_index(pair: MaskPair, labels: Labels) -> np.ndarray:
    """The mask of a pair as class indices, uint8 (H, W), 255 where there is no label.

    Raises:
        ImageError: If the mask can't be read.
    """
    with open_mask(pair.mask) as file:
        index = np.full(file.size[::-1], IGNORED, np.uint8)
        top = 0
        for band in _bands(file):
            if pair.white:
                values = ones_of(band)
            else:
                values = np.asarray(band) if labels.plain and pair.indexed else pack_rgb(band.convert('RGB'))
            part = index[top : top + len(values)]
            for number, value in enumerate(labels.values):
                part[values == value] = number
            top += len(values)
    if pair.photo_size:
        index = np.asarray(Image.fromarray(index).resize(pair.photo_size, Image.Resampling.NEAREST))
    return index


def read_values(pair: MaskPair, indexed: bool) -> np.ndarray:
    """The values of a mask as they are, int64 (H, W): indices, or packed colours.

    Raises:
        ImageError: If the mask can't be read.
    """
    with open_mask(pair.mask) as file:
        parts = [np.asarray(band) if indexed else pack_rgb(band.convert('RGB')) for band in _bands(file)]
    return np.concatenate(parts).astype(np.int64)


def seen_as(pair: MaskPair, indexed: bool) -> dict[int, int]:
    """The pixels of each value of a mask: of its indices, or of the packed colours that it shows."""
    if indexed or not pair.indexed:
        return pair.values
    found: Counter = Counter()
    for value, count in pair.values.items():
        found[pair.shown[value]] += count
    return found


def classes_in(pair: MaskPair, labels: Labels) -> Counter:
    """The pixels of each class, by index, in a mask; -1 counts those without a label."""
    place = {value: i for i, value in enumerate(labels.values)}
    found: Counter = Counter()
    for value, count in seen_as(pair, labels.plain).items():
        found[place.get(value, -1)] += count
    return found
