"""Does an exported file say what the model says? Compared on photos at several sizes, one of them odd, and as a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from ..bands import BandReader
from ..datasets.scenes import make_scene
from ..engine.config import find_path
from ..infer.sources import read_images, resolve

#: Height and width of the photos in the comparison.
SIZES = ((256, 256), (224, 320), (199, 333))

#: The largest difference that is allowed, relative to the largest value where that is above 1. int8 changes the model: it has none.
LIMITS = {'fp32': 1e-3, 'fp16': 5e-2, 'int8': float('inf')}

_PHOTOS = 'data/demo_photos'
_MOST = 4


@dataclass(frozen=True)
class Parity:
    """How far a file is from its model.

    Attributes:
        differences: By size of the photos, height and width, the largest difference.
        detections: Of RetinaNet, how many were compared; None for other models.
        source: Where the photos are from.
    """

    differences: dict[tuple[int, int], float]
    detections: int | None
    source: str

    @property
    def largest(self) -> float:
        """The largest difference of all."""
        return max(self.differences.values())

    def describe(self) -> str:
        """One line for people."""
        sizes = ', '.join(f'{width}x{height}: {value:.1e}' for (height, width), value in self.differences.items())
        extra = '' if self.detections is None else f'; {self.detections} detections compared'
        return f'largest difference {self.largest:.1e} ({sizes}) on {self.source}{extra}'


def read_photos(
    folder: str | Path | None, reader: BandReader | None = None, rule: dict | None = None
) -> tuple[list[np.ndarray], str]:
    """The photos to compare on, the first in a folder, by default data/demo_photos or generated scenes; and where they are from.

    Args:
        folder: The folder, or None.
        reader: How the model reads images that are no photos of 8 bits. Without a folder its images are made from photos, each channel
            from red, green or blue in turn, spread over its mean and two standard deviations on both sides.
        rule: The input rule, which the reader goes with.

    Returns:
        Images (H, W, 3) in BGR order, or (H, W, C) as the reader gives them; and a few words.
    """
    if folder and reader is not None:
        files = resolve(folder)[:_MOST]
        return [image for _, image in read_images(files, reader)], f'{len(files)} images of {folder}'
    found = folder or find_path(_PHOTOS)
    if found:
        files = resolve(found)[:_MOST]
        photos, source = [image for _, image in read_images(files)], f'{len(files)} photos of {folder or _PHOTOS}'
    else:
        settings = dict(split='training', size=256, num_classes=5, difficulty='hard', texture='random', seed=0)
        scenes = [make_scene(i, **settings) for i in range(2)]
        photos, source = [np.ascontiguousarray(scene.image[..., ::-1]) for scene in scenes], 'generated scenes'
    if reader is None:
        return photos, source
    count = f'{reader.channels} channel{"" if reader.channels == 1 else "s"}'
    return [_as_bands(photo, rule) for photo in photos], f'{source} made into {count}'


def _as_bands(photo: np.ndarray, rule: dict) -> np.ndarray:
    """A photo as an image of any channels, float32 (H, W, C): black is two standard deviations below a channel's mean."""
    mean, std = (np.array(rule[key], np.float32) for key in ('mean', 'std'))
    planes = photo[..., np.arange(len(mean)) % 3].astype(np.float32)
    return mean + std * (planes / np.float32(255 / 4) - 2)


def compare(
    run: Callable[[np.ndarray], Sequence[np.ndarray]],
    reference: Callable[[Tensor], Sequence[Tensor]],
    photos: Sequence[np.ndarray],
    rule: dict,
) -> dict[tuple[int, int], float]:
    """The largest difference at each size.

    Args:
        run: What the exported file gives for a batch (N, C, H, W).
        reference: What the model gives.
        photos: As :func:`read_photos` gives them; all of them make one batch.
        rule: The input rule, whose normalisation is used.

    Raises:
        ValueError: If the model's own outputs are not finite.
    """
    differences = {}
    for size in SIZES:
        batch = photo_batch(photos, size, rule)
        with torch.inference_mode():
            expected = [value.numpy() for value in reference(torch.from_numpy(batch))]
        if not all(np.isfinite(value).all() for value in expected):
            raise ValueError(
                "the model's own outputs hold NaN or infinity; its training has diverged, take another checkpoint"
            )
        differences[size] = max(difference(a, b) for a, b in zip(expected, run(batch), strict=True))
    return differences


def photo_batch(photos: Sequence[np.ndarray], size: tuple[int, int], rule: dict) -> np.ndarray:
    """Photos of one size, normalised, as (N, C, H, W)."""
    from .onnx_predictor import prepare

    plain = dict(rule, resize=None, pad_divisor=1)
    return np.concatenate([prepare(cv2.resize(photo, size[::-1]), plain)[0] for photo in photos])


def difference(expected: np.ndarray, actual: np.ndarray) -> float:
    """The largest difference, relative to the largest expected value where that is above 1; infinite for another shape.

    Example:
        >>> round(difference(np.array([1.0, 200.0]), np.array([1.0, 201.0])), 4)
        0.005
    """
    if expected.shape != actual.shape:
        return float('inf')
    if not expected.size:
        return 0.0
    largest = float(np.abs(expected.astype(np.float64) - actual).max() / max(1.0, float(np.abs(expected).max())))
    return largest if np.isfinite(largest) else float('inf')
