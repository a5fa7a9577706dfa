"""Very small detectors and segmentors: texts of configs, and config and checkpoint files with random weights."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from torch import nn

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'
DEMOS = {
    'mask_rcnn': 'demo/mask_rcnn_van_lska_t_scenes.py',
    'retinanet': 'demo/retinanet_van_lska_t_scenes.py',
    'upernet': 'demo/upernet_van_lska_t_scenes.py',
    'fpn': 'fpn_van_lska_t.py',
}
_ARCH = 'arch=dict(_delete_=True, embed_dims=[8] * 4, depths=[1] * 4, ffn_ratios=[2] * 4), k_size=7'
#: Texts of configs that train in seconds.
TINY_MASK_RCNN = f"""
_base_ = {str(CONFIGS / DEMOS['mask_rcnn'])!r}
model = dict(backbone=dict({_ARCH}), neck=dict(in_channels=[8] * 4))
"""
TINY_UPERNET = f"""
_base_ = {str(CONFIGS / DEMOS['upernet'])!r}
model = dict(
    data_preprocessor=dict(size=(96, 96)),
    backbone=dict({_ARCH}),
    decode_head=dict(in_channels=[8] * 4, channels=8),
    auxiliary_head=dict(in_channels=8, channels=8),
)
train_dataloader = dict(batch_size=2)
"""


class TinyModel(NamedTuple):
    config: Path
    checkpoint: Path


def save_tiny(name: str, folder: Path, scenes: Path) -> TinyModel:
    """Write config and checkpoint of one of DEMOS in its smallest form."""
    cfg = Config.fromfile(CONFIGS / DEMOS[name])
    model = cfg.model
    model.backbone.update(arch=dict(embed_dims=[8] * 4, depths=[1] * 4, ffn_ratios=[2] * 4), k_size=7)
    if 'neck' in model:
        model.neck.update(in_channels=[8] * 4)
    if name == 'upernet':
        model.decode_head.update(in_channels=[8] * 4, channels=16)
        model.auxiliary_head.update(in_channels=8, channels=16)
    if name == 'fpn':
        model.neck.update(out_channels=16)
        model.decode_head.update(in_channels=[16] * 4, channels=16, num_classes=6)
        semantic = Config.fromfile(CONFIGS / DEMOS['upernet'])
        for key in ('test_dataloader', 'test_evaluator', 'metainfo', 'data_root'):
            cfg[key] = semantic[key]
    if name == 'retinanet':
        model.test_cfg.update(score_thr=0.2, nms_pre=100, max_per_img=30)
    if name == 'mask_rcnn':
        model.test_cfg.rcnn.update(score_thr=0.1, max_per_img=30)
    if name in ('upernet', 'retinanet'):  # sizes other than the image's, as with real data
        resize = dict(type='Resize', scale=(160, 112), keep_ratio=True)
        steps = [step for step in cfg.test_dataloader.dataset.pipeline if step.type != 'Resize']
        cfg.test_dataloader.dataset.pipeline = [steps[0], resize, *steps[1:]]
    cfg.test_pipeline = cfg.test_dataloader.dataset.pipeline  # where mmseg's own inference looks
    cfg.data_root = f'{scenes}/'
    cfg.test_dataloader.dataset.data_root = cfg.data_root
    if 'ann_file' in cfg.test_evaluator:
        cfg.test_evaluator.ann_file = cfg.data_root + 'annotations/instances_validation.json'

    torch.manual_seed(0)
    init_default_scope(cfg.default_scope)
    for norm in ('backbone', 'decode_head'):
        if norm in model and 'norm_cfg' in model[norm]:
            model[norm].norm_cfg = dict(type='BN')
    net = MODELS.build(model)
    with torch.no_grad():
        for module_name, module in net.named_modules():
            if isinstance(module, nn.BatchNorm2d):  # as after a training, so that folding has something to do
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
            if module_name.endswith(('retina_cls', 'fc_cls', 'conv_seg', 'conv_logits')):
                # random weights as initialised give every class the same score; these tell them apart
                nn.init.normal_(module.weight, std=0.05 if 'retina' in module_name else 0.5)
    meta = dict(dataset_meta=dict(cfg.metainfo), experiment_name=f'tiny_{name}', epoch=1)
    folder.mkdir(parents=True, exist_ok=True)
    paths = TinyModel(folder / f'tiny_{name}.py', folder / f'tiny_{name}.pth')
    cfg.dump(paths.config)
    torch.save(dict(meta=meta, state_dict=net.state_dict()), paths.checkpoint)
    return paths
