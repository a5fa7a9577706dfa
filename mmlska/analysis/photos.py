"""Photos, and the images of models that read others, for the analyses: from a config or a folder to tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from ..bands import BandReader
from ..engine.checks import check_data
from ..engine.config_parts import datasets_of
from ..engine.image_reading import band_reader
from ..images import read_photo, square


def dataset_photos(cfg: Config, split: str) -> list[Path]:
    """The images of a config's 'val' or 'test' data.

    Raises:
        FileNotFoundError: If the data are missing.
        ValueError: If the config has no such data.
    """
    check_data(cfg, (split,))
    init_default_scope(cfg.default_scope)
    built = [DATASETS.build(dict(dataset, pipeline=[])) for dataset in datasets_of(cfg, split)]
    if not built:
        raise ValueError(f'the config has no {split}_dataloader; name a folder with --images')
    return [Path(data.get_data_info(i)['img_path']) for data in built for i in range(len(data))]


def require_photos(cfg: Config, need: str) -> None:
    """Raise ValueError if the model of a config reads images of other channels or more bits, where ``need`` takes photos."""
    reader = band_reader(cfg)
    if reader is not None:
        raise ValueError(
            f'the model reads {reader.pixels}, and {need} photos of 8 bits in colours; use a model that was trained on such photos'
        )


def model_input(model: nn.Module, image: np.ndarray) -> Tensor:
    """Normalise an image, and pad it, as the model's config says.

    Args:
        model: A detector or segmentor.
        image: (H, W, 3) uint8, BGR; for a model of ``LoadBands`` (H, W, C), uint8 or float32, as its reader gives it.

    Returns:
        (1, C, H', W').

    Raises:
        ValueError: If the model takes another number of channels.
    """
    mean = getattr(model.data_preprocessor, 'mean', None)
    # One mean may stand for all channels.
    if mean is not None and len(mean) not in (1, image.shape[2]):
        raise ValueError(
            f'an image has {image.shape[2]} channels, and the model takes {len(mean)}; give images as those of its training'
        )
    pixels = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
    # mmseg's notes its padding in the sample.
    return model.data_preprocessor(dict(inputs=[pixels], data_samples=[BaseDataElement()]))['inputs']


def square_inputs(
    model: nn.Module,
    paths: Sequence[Path],
    size: int,
    reader: BandReader | None = None,
    as_stored: bool = False,
) -> Iterator[Tensor]:
    """Yield each image as a normalised square (1, C, size, size).

    ``reader`` is the model's, None for photos in colours, which are read ``as_stored`` or as their EXIF data turn them.

    Raises:
        FileNotFoundError: If there is no such file.
        ImageError: If it cannot be read, or is no image for the reader.
    """
    for path in paths:
        image = read_photo(path, as_stored=as_stored) if reader is None else reader.read(path)
        yield model_input(model, in_fours(partial(square, size=size), image))


def in_fours(scale: Callable[[np.ndarray], np.ndarray], image: np.ndarray) -> np.ndarray:
    """Scale an (H, W, C) image by a function for four channels at most, which is what OpenCV averages areas of."""
    parts = [scale(np.ascontiguousarray(image[..., first : first + 4])) for first in range(0, image.shape[2], 4)]
    # It drops the axis of one channel.
    return np.concatenate([part.reshape(*part.shape[:2], -1) for part in parts], axis=2)
