"""Images of other channels or more bits than photos: what a set holds, and the config that trains on it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from mmengine.config import Config

from ..bands import GREY, BandReader, Pixels, check_bands, pixels_of
from ..engine.image_reading import show_bands
from ..engine.training_options import adapt_channels
from ..images import spread
from ..text import counted
from .config_edits import each_transform
from .report import ERROR, WARNING, Report, first_of

_IMAGES = 100  # whose values the normalisation is computed from
_VALUES = 1 << 18  # of each of them
_WHOLE = 1 << 24  # pixels of an image that is read whole for that
_WINDOW, _WINDOWS = 256, 8  # of a larger one, so many windows in each direction
_DIGITS = 6


def pixels_in(kinds: Mapping[Pixels, Sequence[str]]) -> tuple[Pixels | None, str]:
    """What a set of images is read as.

    Args:
        kinds: The names of the images of each kind.

    Returns:
        The pixels, None for photos in colours, and a note where images of several kinds are read as photos.

    Raises:
        ValueError: If they can be read as one neither as they are nor as photos.
    """
    if len(kinds) == 1:
        (only,) = kinds
        return (None if only.is_photo and only != GREY else only), ''
    if all(kind.is_photo for kind in kinds):
        return None, ''
    found = '; '.join(f'{len(names)} of {kind} ({first_of(list(names)[:1])})' for kind, names in sorted(kinds.items()))
    if all(kind.channels in (1, 3) and kind.dtype in ('uint8', 'uint16') and not kind.paged for kind in kinds):
        return None, f'images of several kinds are read as photos of 8 bits: {found}'
    raise ValueError(f'images of several kinds cannot be trained on together: {found}; give those of one kind')


def use_pixels(
    cfg: Config, images: Mapping[str, Sequence[Path]], bands: Sequence[int] = (), as_stored: bool = False
) -> list[str]:
    """Make a config read images of other channels or more bits than photos, if these are some.

    The first convolution gets their number of channels, and its pretrained weights are adapted; images are normalised by the mean and
    the standard deviation of the training images.

    Args:
        cfg: The config, changed in place.
        images: The images of each split, 'train' among them.
        bands: Which channels, from 1, are red, green and blue in pictures; by default the first three, or the first.
        as_stored: Images are not turned as their EXIF data say.

    Returns:
        Lines to print; none for photos.

    Raises:
        FileNotFoundError: If an image is missing.
        ValueError: If the images are of kinds that do not go together, cannot be read, or there are no such bands.
    """
    kinds: dict[Pixels, list[str]] = {}
    for path in (path for paths in images.values() for path in paths):
        kinds.setdefault(pixels_of(path), []).append(path.name)
    pixels, note = pixels_in(kinds)
    if pixels is None:
        show_bands(cfg, bands)  # refuses them, as the config reads photos
        return [note] if note else []
    check_bands(bands, pixels.channels)
    reader = BandReader(pixels.channels, pixels.dtype, as_stored=as_stored)
    used = spread(images['train'], _IMAGES)
    mean, std, constant = statistics(used, reader)
    _use_reader(cfg, reader, mean, std, bands)
    from_what = f'the mean {_shown(mean)} and deviation {_shown(std)} of {counted(len(used), "training image")}'
    lines = [f'pixels: {pixels}; normalised by {from_what}']
    if constant:
        lines.append(f'{counted(len(constant), "channel")} with one value alone: {", ".join(map(str, constant))}')
    changed = _use_channels(cfg, pixels.channels)
    return [*lines, *([changed] if changed else [])]


def statistics(paths: Iterable[Path], reader: BandReader) -> tuple[list[float], list[float], list[int]]:
    """Mean and standard deviation of each channel of some images, and the channels, from 1, that have one value alone.

    Pixels without a finite value do not count. A deviation of 0, of a channel with one value, is given as 1.

    Raises:
        FileNotFoundError: If an image is missing.
        ImageError: If one holds other pixels or is damaged.
    """
    count, total, squares = (np.zeros(reader.channels) for _ in range(3))
    for path in paths:
        values = _sample(path, reader)
        finite = np.isfinite(values)
        values = np.where(finite, values, 0.0)
        count += finite.sum(axis=0)
        total += values.sum(axis=0)
        squares += (values**2).sum(axis=0)
    mean = total / np.maximum(count, 1)
    std = np.sqrt(np.maximum(squares / np.maximum(count, 1) - mean**2, 0.0))
    flat = std <= 1e-6 * np.maximum(np.abs(mean), 1e-6)
    std[flat] = 1.0
    return _rounded(mean), _rounded(std), (np.flatnonzero(flat) + 1).tolist()


def _sample(path: Path, reader: BandReader) -> np.ndarray:
    """Some values of an image, evenly spread, (N, C) float64."""
    file = reader.open(path)
    height, width, _ = file.shape
    if height * width <= _WHOLE:
        parts = [file[:, :]]
    else:
        rows, columns = (np.linspace(0, side - _WINDOW, _WINDOWS).astype(int) for side in (height, width))
        parts = [file[y : y + _WINDOW, x : x + _WINDOW] for y in rows for x in columns]
    values = np.concatenate([part.reshape(-1, part.shape[2]) for part in parts])
    values = values[:: max(len(values) // _VALUES, 1)]
    if values.shape[1] != reader.channels:  # a photo in colours among grey ones
        values = reader.finish(values[None])[0]
    return values.astype(np.float64)


def _rounded(values: np.ndarray) -> list[float]:
    return [float(f'{value:.{_DIGITS}g}') for value in values]


def _shown(values: Sequence[float]) -> str:
    return f'[{", ".join(f"{value:.4g}" for value in values[:8])}{", ..." if len(values) > 8 else ""}]'


def _use_reader(cfg: Config, reader: BandReader, mean: list[float], std: list[float], bands: Sequence[int]) -> None:
    """Make every pipeline and the preprocessor of a config read images in this way."""
    loader = dict(type='LoadBands', channels=reader.channels, dtype=reader.dtype, fill=mean)
    loader.update({key: value for key, value in (('shown', list(bands)), ('as_stored', reader.as_stored)) if value})
    for kind, step in (
        ('LoadImageFromFile', loader),
        ('PhotoMetricDistortion', dict(type='BandDistortion', mean=mean, std=std)),
    ):
        each_transform(cfg, kind, lambda old, new=step: (old.clear(), old.update(new)))
    before = cfg.model.data_preprocessor
    kept = {
        key: value for key, value in before.items() if key not in ('type', 'mean', 'std', 'bgr_to_rgb', 'rgb_to_bgr')
    }
    wraps = before.type if '.' in before.type else f'{cfg.default_scope}.{before.type}'
    cfg.model.data_preprocessor = dict(type='BandsPreprocessor', wraps=wraps, mean=mean, std=std, **kept)


def _use_channels(cfg: Config, channels: int) -> str:
    """Give the backbone of a config another number of input channels; a line on what that does to pretrained weights."""
    backbone = cfg.model.backbone
    if backbone.get('in_channels', 3) == channels:
        return ''
    backbone.in_channels = channels
    init = backbone.get('init_cfg')
    if not isinstance(init, dict) or init.get('type') != 'Pretrained':
        return f'in_channels={channels}'
    adapt_channels(init)
    return f'in_channels={channels}: the first convolution of the pretrained weights is adapted'


def check_pixels(report: Report, wanted: Pixels | None = None) -> None:
    """Add to a report what is wrong with the pixels of the images that it counts.

    Args:
        report: The report.
        wanted: What a config reads; None for a training by ``--data``, which reads what is there.
    """
    kinds = report.pixels
    if not kinds:
        return
    if wanted is not None and not wanted.is_photo:
        for kind, names in kinds.items():
            if not kind.fits(wanted):
                for name in names:
                    report.add(ERROR, f'image of {kind}, where the config reads {wanted}', name)
        return
    try:
        pixels, note = pixels_in(kinds)
    except ValueError as error:
        report.add(ERROR, 'images of several kinds', str(error))
        return
    if note:
        report.add(WARNING, 'images of several kinds', note)
    if pixels is None or wanted is not None:
        for name in report.dim:
            report.add(WARNING, '16-bit image that is nearly black when read in 8 bits; stretch its values', name)
