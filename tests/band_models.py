"""Configs and checkpoints of tiny models that read images of several bands or one, on the sets of band_sets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from error_models import small_config
from mmengine.registry import MODELS, init_default_scope

from mmlska.engine.config import load_config, replace_sync_bn
from mmlska.engine.launch import prepare
from mmlska.own_data.adapt_config import use_own_data


def band_config(base: str, root: Path, folder: Path, bands: Sequence[int] = ()) -> Path:
    """The config of a tiny model as ``mmlska train --data`` adapts it to the set in ``root``; ``base`` is one of error_models."""
    folder.mkdir(parents=True, exist_ok=True)
    config = small_config(base, root, folder)
    cfg = load_config(str(config))
    prepare(cfg, str(config), work_dir=str(folder / 'adapted'), launcher='none', seed=0)
    use_own_data(cfg, str(root), bands=bands)
    path = folder / 'banded.py'
    cfg.dump(str(path))
    return path


def band_model(base: str, root: Path, folder: Path, bands: Sequence[int] = ()) -> tuple[Path, Path]:
    """Such a config and a checkpoint of random weights."""
    config = band_config(base, root, folder, bands)
    cfg = load_config(str(config))
    init_default_scope(cfg.default_scope)
    replace_sync_bn(cfg)
    cfg.model.backbone.pop('init_cfg', None)
    torch.manual_seed(0)
    checkpoint = config.with_suffix('.pth')
    torch.save({'meta': {}, 'state_dict': MODELS.build(cfg.model).state_dict()}, checkpoint)
    return config, checkpoint
