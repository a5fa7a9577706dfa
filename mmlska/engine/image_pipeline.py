"""The test pipeline of a config for images that are read already."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from typing import Any

import cv2
import numpy as np
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope

from ..images import ImageError
from .config_parts import datasets_of
from .image_reading import step_name

_META_KEYS = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'pad_shape', 'scale_factor', 'padding_size')


class ImagePipeline:
    """The steps of a test pipeline after those that read files.

    Args:
        steps: The steps, the last of which packs.
    """

    def __init__(self, steps: Sequence[Callable]) -> None:
        *before, pack = steps
        pack = copy(pack)
        pack.meta_keys = _META_KEYS  # without what only labels bring
        self._steps = Compose([*before, pack])

    @classmethod
    def of(cls, cfg: Config) -> ImagePipeline:
        """That of a config of mmdet or mmseg.

        Raises:
            ValueError: If the config has none.
        """
        dataset = next(datasets_of(cfg, 'test'), {})
        steps = [step for step in dataset.get('pipeline') or () if not step_name(step).startswith('Load')]
        if not steps or not step_name(steps[-1]).startswith('Pack'):
            raise ValueError(
                f'{cfg.filename} has no test pipeline that ends by packing; give a config with test_dataloader'
            )
        init_default_scope(cfg.default_scope)
        return cls(Compose([dict(step) for step in steps]).transforms)

    def __call__(self, name: str, image: np.ndarray, index: int) -> dict[str, Any]:
        """``inputs`` and ``data_samples`` of one image.

        Args:
            name: Its path, '' for none.
            image: As the model's pipeline takes it, (H, W, C).
            index: Its number, for messages and as ``img_id``.

        Raises:
            ImageError: If the resizing would leave nothing of it.
        """
        shape = image.shape[:2]
        try:
            return self._steps(
                dict(img=image, img_shape=shape, ori_shape=shape, img_path=name, img_id=index, scale_factor=(1.0, 1.0))
            )
        except cv2.error as error:
            if 'inv_scale' not in str(error):  # what OpenCV says to a size of 0
                raise
            raise ImageError(
                f'image {name or index} has {shape[1]}x{shape[0]} pixels, of whose shorter side the resizing of the test pipeline '
                f'leaves none; crop the image or pad that side'
            ) from error


def as_batch(packed: list[dict[str, Any]]) -> dict[str, list]:
    """What :class:`ImagePipeline` gave of several images, as a model's ``test_step`` takes it."""
    return {key: [item[key] for item in packed] for key in ('inputs', 'data_samples')}
