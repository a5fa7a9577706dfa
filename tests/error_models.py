"""Tiny models with random weights on small scenes, for the tests of error analysis."""

from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

from mmlska.datasets.scenes import write_scenes
from mmlska.engine.config import replace_sync_bn

ROOT = Path(__file__).resolve().parents[1]
DETECTOR = 'configs/demo/retinanet_van_lska_t_scenes.py'
SEGMENTOR = 'configs/demo/study_fpn_van_lska_t_scenes.py'
SMALL = """
_base_ = {base!r}
data_root = {data!r}
model = dict(
    {model}
    backbone=dict(k_size={k_size}, arch=dict(_delete_=True, embed_dims=[8] * 4, depths=[1] * 4, ffn_ratios=[2] * 4)),
    neck=dict(in_channels=[8] * 4),
)
train_dataloader = dict(batch_size=2, dataset=dict(data_root=data_root))
val_dataloader = test_dataloader = dict(batch_size=1, dataset=dict(data_root=data_root))
{rest}
"""
PARTS = {
    # All boxes: those of an untrained detector have scores near 0.01.
    DETECTOR: dict(
        model='test_cfg=dict(score_thr=0.0),',
        rest="val_evaluator = test_evaluator = dict(ann_file=data_root + 'annotations/instances_validation.json')",
    ),
    SEGMENTOR: dict(
        model='',
        rest='train_cfg = dict(max_iters=2, val_interval=2)\ndefault_hooks = dict(checkpoint=dict(interval=2))',
    ),
}


def small_config(base: str, data: Path, folder: Path, k_size: int = 7) -> Path:
    """Write the config of a tiny model."""
    config = folder / f'{Path(base).stem.split("_van")[0]}_k{k_size}.py'
    config.write_text(SMALL.format(base=str(ROOT / base), data=f'{data}/', k_size=k_size, **PARTS[base]))
    return config


def small_model(base: str, data: Path, folder: Path, k_size: int = 7) -> tuple[Path, Path]:
    """Write the config of a tiny model and a checkpoint as a training on ``data`` would leave it, untrained."""
    config = small_config(base, data, folder, k_size)
    cfg = Config.fromfile(config)
    init_default_scope(cfg.default_scope)
    replace_sync_bn(cfg)
    torch.manual_seed(0)
    checkpoint = config.with_suffix('.pth')
    model = MODELS.build(cfg.model)
    torch.save({'meta': {'cfg': cfg.pretty_text}, 'state_dict': model.state_dict()}, checkpoint)
    return config, checkpoint


def conflicting_scenes(folder: Path) -> Path:
    """Make three scenes of 96 px whose textures are those of other classes."""
    root = folder / 'conflict'
    write_scenes(root, num_train=0, num_val=3, size=96, num_classes=5, texture='conflict')
    return root
