"""Scenes as images of several bands in 16 bits, for trying and testing what reads such images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

_LOW, _STEP = 1000, 200  # value of black, and of each step of 8 bits
_CLASS, _BAND, _NOISE = 40, 5, 4  # steps between classes and between bands, and the deviation of the noise in steps


def band_image(colours: np.ndarray, labels: np.ndarray, bands: int, seed: int | Sequence[int]) -> np.ndarray:
    """A scene in 16 bits: one band is grey, three are its colours, and in each further one every class has its own brightness.

    Args:
        colours: The scene, (H, W, 3) uint8.
        labels: Its classes from 1, 0 elsewhere, (H, W).
        bands: Number of bands.
        seed: Of the noise in the further bands.

    Returns:
        (H, W, bands) uint16.

    Example:
        >>> image = band_image(np.zeros((48, 64, 3), np.uint8), np.zeros((48, 64), np.uint8), 5, seed=0)
        >>> image.shape, str(image.dtype)
        ((48, 64, 5), 'uint16')
    """
    colours, labels = colours.astype(np.float32), labels.astype(np.float32)
    planes = [colours.mean(axis=2)] if bands < 3 else [colours[..., i] for i in range(3)]
    rng = np.random.default_rng(seed)
    for band in range(bands - len(planes)):
        planes.append(_CLASS * labels + _BAND * band + rng.normal(0, _NOISE, labels.shape))
    return (np.stack(planes, axis=-1).clip(0, 255) * _STEP + _LOW).astype(np.uint16)


def write_bands(path: Path, image: np.ndarray) -> None:
    """Write an image (H, W, C) as a TIFF file in tiles of 256 pixels.

    Raises:
        ValueError: If tifffile is missing.
    """
    try:
        from tifffile import imwrite
    except ImportError as error:
        raise ValueError('images of several bands are written with tifffile; pip install "mmlska[bands]"') from error
    options = dict(photometric='minisblack', compression='zlib', tile=(256, 256))
    if image.shape[2] == 1:
        imwrite(path, image[..., 0], **options)
    else:
        imwrite(path, image, planarconfig='contig', **options)
