"""A config and a checkpoint to a model that is ready to predict."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS, init_default_scope
from torch import nn

from ..colors import distinct_colors
from ..engine.config import find_checkpoint_file, replace_sync_bn
from ..engine.config_parts import datasets_of
from ..engine.model_checks import check_model
from ..weights import load_whole_model, safe_reading


def load_model(cfg: Config, checkpoint: str | Path, *, trust: bool | None = None) -> tuple[nn.Module, dict]:
    """Build the model of a config and fill it with a checkpoint, wholly.

    Args:
        cfg: The config, changed in place: SyncBN becomes BN.
        checkpoint: The checkpoint file of a training with this config.
        trust: Let checkpoints run code; only those whose maker you know. By default as :func:`mmlska.weights.safe_reading` says, else no.

    Returns:
        The model in evaluation mode, and what its data set says: ``classes`` and ``palette`` (RGB).

    Raises:
        FileNotFoundError: If there is no such checkpoint.
        ValueError: If the parts of the model do not fit each other.
        WeightsError: If the file cannot be read, or belongs to another model than the config's.
    """
    path = find_checkpoint_file(checkpoint)
    model = _build(cfg, trust)
    saved = load_whole_model(model, path, _name(cfg), trust=trust)
    return model.eval(), dataset_meta(cfg, saved, num_classes(model))


def build_model(
    cfg: Config, checkpoint: str | Path | None = None, seed: int = 0, *, trust: bool | None = None
) -> nn.Module:
    """Build the model of a config in evaluation mode, filled wholly with a checkpoint or with random weights.

    For ``cfg``, ``trust`` and errors see :func:`load_model`. ``seed`` is that of the random weights; the random numbers of the caller stay
    as they were.
    """
    path = None if checkpoint is None else find_checkpoint_file(checkpoint)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _build(cfg, trust)
        if path is None:
            model.backbone.init_cfg = None  # a pretrained file would not be random weights
            with _quiet():
                model.backbone.init_weights()
    if path is not None:
        load_whole_model(model, path, _name(cfg), trust=trust)
    return model.eval()


def _name(cfg: Config) -> str:
    return Path(cfg.filename or 'the config').name


def _build(cfg: Config, trust: bool | None) -> nn.Module:
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    replace_sync_bn(cfg)
    check_model(cfg, trains=False)
    with safe_reading(trust):  # models may read a teacher's weights when they are built
        return MODELS.build(cfg.model)


@contextmanager
def _quiet() -> Iterator[None]:
    """MMEngine reports every tensor that it initialises."""
    before = logging.root.manager.disable
    logging.disable(logging.INFO)
    try:
        yield
    finally:
        logging.disable(before)


def num_classes(model: nn.Module) -> int:
    """The number of classes that a detector or segmentor tells apart."""
    head = getattr(model, 'decode_head', None) or getattr(model, 'bbox_head', None) or model.roi_head.bbox_head
    return head[-1].num_classes if isinstance(head, nn.ModuleList) else head.num_classes


def dataset_meta(cfg: Config, meta: dict, count: int) -> dict:
    """Names and colours (RGB) of the classes of a model: those the checkpoint was trained with, else the config's, else numbers.

    Args:
        cfg: The config.
        meta: What the checkpoint says of itself; {} without one.
        count: The number of classes.

    Returns:
        ``classes`` and ``palette``.
    """
    dataset = next(datasets_of(cfg, 'test'), {})
    with DATASETS.switch_scope_and_registry(cfg.get('default_scope')) as registry:
        dataset_class = registry.get(dataset['type']) if dataset.get('type') else None
    for found in (meta.get('dataset_meta'), dataset.get('metainfo'), getattr(dataset_class, 'METAINFO', None)):
        # MMEngine 0.x wrote CLASSES
        found = {str(key).lower(): value for key, value in found.items()} if isinstance(found, dict) else {}
        classes = found.get('classes')
        if isinstance(classes, (list, tuple)) and len(classes) == count and all(isinstance(c, str) for c in classes):
            break
    else:
        found = dict(classes=[f'class {i}' for i in range(count)])
    palette = found.get('palette')
    if not isinstance(palette, (list, tuple)) or len(palette) != count or not all(map(_is_colour, palette)):
        palette = distinct_colors(count)
    return dict(classes=tuple(found['classes']), palette=[tuple(map(int, colour)) for colour in palette])


def _is_colour(value: object) -> bool:
    return (
        isinstance(value, (list, tuple))
        and len(value) == 3
        and all(isinstance(v, (int, np.integer)) and 0 <= v < 256 for v in value)
    )
