"""What stands between images of any number of channels and a model of mmdet or mmseg."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.model import BaseDataPreprocessor
from mmengine.registry import MODELS


@MODELS.register_module()
class BandsPreprocessor(BaseDataPreprocessor):
    """Another preprocessor for any number of channels, where its own normalisation knows one or three.

    Args:
        wraps: The other preprocessor, such as 'mmdet.DetDataPreprocessor'.
        mean: The mean of each channel.
        std: The standard deviation of each channel.
        non_blocking: Do not wait for a GPU.
        **options: Those of the other preprocessor, such as ``pad_size_divisor``.

    Shape:
        ``inputs``, images (C, H, W) of one batch, to (N, C, H', W'), normalised and padded with 0.

    Raises:
        ValueError: If there are not as many means as deviations, or an image has another number of channels.
    """

    def __init__(
        self, wraps: str, mean: Sequence[float], std: Sequence[float], non_blocking: bool = False, **options: Any
    ) -> None:
        super().__init__(non_blocking)
        if len(mean) != len(std):
            raise ValueError(f'mean has {len(mean)} values and std {len(std)}; give one of each for each channel')
        for name, values in (('mean', mean), ('std', std)):
            self.register_buffer(name, torch.tensor(values, dtype=torch.float32).view(-1, 1, 1), persistent=False)
        self.wrapped = MODELS.build(dict(type=wraps, **options))

    def forward(self, data: dict, training: bool = False) -> dict:
        """Normalise the images of a batch, and pad them to one size."""
        data = self.cast_data(data)
        images = [self._normalised(image) for image in data['inputs']]
        return self.wrapped(dict(data, inputs=images), training)

    def _normalised(self, image: torch.Tensor) -> torch.Tensor:
        if len(image) != len(self.mean):
            raise ValueError(f'an image has {len(image)} channels, and the model takes {len(self.mean)}')
        return (image.float() - self.mean) / self.std
