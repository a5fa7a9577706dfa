"""Steps of a data pipeline for images of any number of channels and any depth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from mmengine.registry import TRANSFORMS

from ..bands import BandReader


@TRANSFORMS.register_module()
class LoadBands:
    """Load an image of any number of channels; stands where ``LoadImageFromFile`` would.

    Args:
        channels: How many channels the images have.
        dtype: NumPy's name of the type of their values, such as 'uint16'.
        fill: A value for each channel, which pixels without a finite one get; by default 0.
        shown: Which channels, from 1, are red, green and blue in pictures; by default the first three, or the first.
        as_stored: Do not turn images as their EXIF data say.

    Raises:
        ValueError: If there are not as many values to fill as channels, or there are no such channels to show.
    """

    def __init__(
        self,
        channels: int,
        dtype: str,
        fill: Sequence[float] = (),
        shown: Sequence[int] = (),
        as_stored: bool = False,
    ) -> None:
        self.reader = BandReader(channels, dtype, fill, shown, as_stored)

    def __call__(self, results: dict) -> dict:
        """Add ``img``, (H, W, C), uint8 or float32, and its size to the results.

        Raises:
            FileNotFoundError: If there is no such file.
            ImageError: If it holds other pixels, is damaged or too large.
        """
        image = self.reader.read(results['img_path'])
        results.update(img=image, img_shape=image.shape[:2], ori_shape=image.shape[:2])
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self.reader.pixels})'


@TRANSFORMS.register_module()
class BandDistortion:
    """Change brightness and contrast of all channels alike, each half of the time: ``PhotoMetricDistortion`` for any channels.

    Args:
        mean: The mean of each channel, around which the contrast changes.
        std: The standard deviation of each channel, which brightness counts in.
        brightness: The most that is added or taken away, in standard deviations.
        contrast: The least and the most contrast.
    """

    def __init__(
        self,
        mean: Sequence[float],
        std: Sequence[float],
        brightness: float = 0.5,
        contrast: tuple[float, float] = (0.5, 1.5),
    ) -> None:
        self.mean, self.std = np.array(mean, np.float32), np.array(std, np.float32)
        self.brightness, self.contrast = brightness, contrast

    def __call__(self, results: dict) -> dict:
        """Replace ``img`` (H, W, C), of one channel also (H, W), by the changed one in float32."""
        added, factor = 0.0, 1.0
        # numpy's global generator, as mmcv's steps use it: it is seeded for each sample.
        if np.random.rand() < 0.5:  # noqa: NPY002
            added = np.random.uniform(-self.brightness, self.brightness)  # noqa: NPY002
        if np.random.rand() < 0.5:  # noqa: NPY002
            factor = np.random.uniform(*self.contrast)  # noqa: NPY002
        image = results['img']
        values = image.reshape(*image.shape[:2], -1).astype(np.float32)
        changed = (values - self.mean) * np.float32(factor) + self.mean + self.std * np.float32(added)
        results['img'] = changed.reshape(image.shape)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(brightness={self.brightness}, contrast={self.contrast})'
