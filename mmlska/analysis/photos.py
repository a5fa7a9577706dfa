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
from ..engine.config import datasets_of
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


def model_input(model: nn.Module, image: np.ndarray) -> Tensor:
    """Normalise a (H, W, 3) uint8 BGR image, and pad it, as the model's config says: (1, 3, H', W')."""
    pixels = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
    return model.data_preprocessor(dict(inputs=[pixels]))['inputs']


def square_inputs(model: nn.Module, paths: Sequence[Path], size: int) -> Iterator[Tensor]:
    """Yield each photo as a normalised square (1, 3, size, size)."""
    for path in paths:
        yield model_input(model, square(read_photo(path), size))
