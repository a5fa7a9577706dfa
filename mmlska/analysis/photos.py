"""Photos for the analyses: from a config or a folder to tensors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope
from torch import Tensor, nn

from ..engine.checks import check_data
from ..engine.config import datasets_of, find_path
from ..images import IMAGE_SUFFIXES, images_below, read_photo


def photos_in(folder: str | Path) -> list[Path]:
    """The image files in a folder and the folders below it, sorted.

    Raises:
        FileNotFoundError: If there is no such folder, or no image in it.
    """
    found = find_path(folder)
    photos = images_below(found) if found else []
    if not photos:
        raise FileNotFoundError(f'no images found in {folder}; name a folder of {", ".join(IMAGE_SUFFIXES)} files')
    return photos


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


def spread(items: Sequence, count: int) -> list:
    """At most ``count`` of the items, evenly spread.

    Raises:
        ValueError: If ``count`` is not positive.

    Example:
        >>> spread('abcdefgh', 3)
        ['a', 'd', 'f']
    """
    if count < 1:
        raise ValueError(f'{count} images are none; give a count of 1 or more')
    chosen = np.linspace(0, len(items), min(count, len(items)), endpoint=False).round().astype(int)
    return [items[i] for i in chosen]


def square(image: np.ndarray, size: int) -> np.ndarray:
    """Scale the shorter side of an (H, W, C) image to ``size`` pixels and cut the middle square out."""
    import cv2

    height, width = image.shape[:2]
    scale = size / min(height, width)
    height, width = max(size, round(height * scale)), max(size, round(width * scale))
    image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    top, left = (height - size) // 2, (width - size) // 2
    return image[top : top + size, left : left + size]


def model_input(model: nn.Module, image: np.ndarray) -> Tensor:
    """Normalise a (H, W, 3) uint8 BGR image, and pad it, as the model's config says: (1, 3, H', W')."""
    pixels = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
    return model.data_preprocessor(dict(inputs=[pixels]))['inputs']


def square_inputs(model: nn.Module, paths: Sequence[Path], size: int) -> Iterator[Tensor]:
    """Yield each photo as a normalised square (1, 3, size, size)."""
    for path in paths:
        yield model_input(model, square(read_photo(path), size))
