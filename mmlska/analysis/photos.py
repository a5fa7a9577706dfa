"""Models and photos for the analyses: from a config, a checkpoint and a folder to tensors."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS, init_default_scope
from mmengine.runner import load_checkpoint
from torch import Tensor, nn

from ..engine.config import _datasets, check_data, find_path, replace_sync_bn
from ..images import read_photo, square
from ..weights import safe_reading


def build_model(cfg: Config, checkpoint: str | None = None, seed: int = 0, *, trust: bool | None = None) -> nn.Module:
    """Build the model of a config in eval mode, with the weights of a checkpoint or with random ones.

    Args:
        cfg: Config of an mmdet or mmseg model.
        checkpoint: A checkpoint of the whole model; None leaves the random weights.
        seed: Seed of the random weights; the random numbers of the caller stay as they were.
        trust: Let checkpoints run code; only those whose maker you know. By default as :func:`mmlska.weights.safe_reading` says, else no.

    Raises:
        FileNotFoundError: If there is no such checkpoint.
        WeightsError: If it cannot be read.
    """
    with safe_reading(trust):
        return _build_model(cfg, checkpoint, seed)


def _build_model(cfg: Config, checkpoint: str | None, seed: int) -> nn.Module:
    init_default_scope(cfg.default_scope)
    replace_sync_bn(cfg)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = MODELS.build(cfg.model)
        if checkpoint is None:
            model.backbone.init_cfg = None  # a pretrained file would not be random weights
            with _quiet():
                model.backbone.init_weights()
    if checkpoint is not None:
        path = find_path(checkpoint)
        if path is None or not path.is_file():
            raise FileNotFoundError(f'checkpoint {checkpoint} does not exist; a training leaves its own in work_dirs')
        load_checkpoint(model, str(path), map_location='cpu')
    return model.eval()


@contextmanager
def _quiet() -> Iterator[None]:
    """MMEngine reports every tensor that it initialises."""
    before = logging.root.manager.disable
    logging.disable(logging.INFO)
    try:
        yield
    finally:
        logging.disable(before)


def dataset_photos(cfg: Config, split: str) -> list[Path]:
    """The images of a config's 'val' or 'test' data.

    Raises:
        FileNotFoundError: If the data are missing.
        ValueError: If the config has no such data.
    """
    check_data(cfg, (split,))
    init_default_scope(cfg.default_scope)
    built = [DATASETS.build(dict(dataset, pipeline=[])) for dataset in _datasets(cfg, split)]
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
