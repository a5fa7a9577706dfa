"""Mean and standard deviation of the channels of a set of images, for their normalisation."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ..bands import BandReader
from ..images import ImageError
from ..text import counted
from .report import first_of

_VALUES = 1 << 18  # of each image, of which the mean and the deviation are computed
_WHOLE = 1 << 24  # pixels of an image that is read whole for them
_WINDOW, _WINDOWS = 256, 8  # of a larger one so many windows of this side in each direction
_DIGITS = 6
_KEPT = 1000  # values of each image by which values far from the others are found
_FAR = 20  # times the range of most values


def statistics(paths: Iterable[Path], reader: BandReader) -> tuple[list[float], list[float], list[str]]:
    """Mean and standard deviation of each channel of some images.

    Pixels without a finite value do not count. A deviation of 0, of a channel with one value, is given as 1.

    Returns:
        Both, and lines on images that do not count, and on channels with one value alone or with values far from most of them.

    Raises:
        FileNotFoundError: If an image is missing.
    """
    count, total, squares = (np.zeros(reader.channels) for _ in range(3))
    low, high, some = np.full(reader.channels, np.inf), np.full(reader.channels, -np.inf), []
    broken, empty = [], []
    for path in paths:
        try:
            values = _sample(path, reader)
        except ImageError:  # which stops the training, or is passed over as its options say
            broken.append(path.name)
            continue
        finite = np.isfinite(values)
        if not finite.any():
            empty.append(path.name)
        low = np.minimum(low, np.where(finite, values, np.inf).min(axis=0))
        high = np.maximum(high, np.where(finite, values, -np.inf).max(axis=0))
        some.append(np.where(finite, values, np.nan)[:: max(len(values) // _KEPT, 1)])
        values = np.where(finite, values, 0.0)
        count += finite.sum(axis=0)
        total += values.sum(axis=0)
        squares += (values**2).sum(axis=0)
    mean = total / np.maximum(count, 1)
    std = np.sqrt(np.maximum(squares / np.maximum(count, 1) - mean**2, 0.0))
    flat = std <= 1e-6 * np.maximum(np.abs(mean), 1e-6)
    std[flat] = 1.0
    notes = [f'channel {channel} has one value alone' for channel in np.flatnonzero(flat) + 1]
    for names, what in ((broken, 'that cannot be read'), (empty, 'without a finite value')):
        if names:
            notes.append(f'the normalisation leaves out {counted(len(names), "image")} {what}: {first_of(names)}')
    if some:
        notes += _far_values(np.concatenate(some), low, high)
    return _rounded(mean), _rounded(std), notes


def _far_values(values: np.ndarray, low: np.ndarray, high: np.ndarray) -> list[str]:
    """Lines on channels in which a few values lie so far from the others that they may stand for pixels without data."""
    notes = []
    for channel in range(values.shape[1]):
        finite = values[np.isfinite(values[:, channel]), channel]
        first, last = np.percentile(finite, (5, 95)) if finite.size else (0.0, 0.0)
        room = _FAR * (last - first)
        if room and (low[channel] < first - room or high[channel] > last + room):
            notes.append(
                f'channel {channel + 1} has values from {low[channel]:.4g} to {high[channel]:.4g}, most of them from {first:.4g} to '
                f'{last:.4g}; if the far ones are pixels without data, name them in the GDAL nodata tag, or make them NaN'
            )
    return notes


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
