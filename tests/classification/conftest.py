"""A packed set of small generated photos and a config that trains a very small network on it."""

from pathlib import Path

import pytest
from packed_photos import photos, write_packed

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope='session')
def packed(tmp_path_factory) -> Path:
    """Four classes with eight training and four validation photos each, as sheets of two rows; lossless, so pixels can be compared."""
    root = tmp_path_factory.mktemp('packed')
    write_packed(root, photos, train=8, val=4, quality=101)
    return root


SMALL = """
_base_ = {base!r}
data_root = {root!r}
model = dict(
    backbone=dict(
        arch=dict(_delete_=True, embed_dims=[8] * 4, depths=[1] * 4, ffn_ratios=[2] * 4), k_size=7, drop_path_rate=0.2
    ),
    num_classes=4,
    image_size=32,
)
train_dataloader = dict(batch_size=8, dataset=dict(data_root=data_root, tile=32))
val_dataloader = dict(batch_size=6, dataset=dict(data_root=data_root, tile=32))
test_dataloader = val_dataloader
val_evaluator = dict(topk=(1, 5))
test_evaluator = val_evaluator
train_cfg = dict(max_epochs=2, val_interval=1)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=True, begin=0, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', by_epoch=True, begin=1, end=2, eta_min=1e-5, convert_to_iter_based=True),
]
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(max_keep_ckpts=3))
"""


@pytest.fixture(scope='session')
def small_config(packed, tmp_path_factory) -> Path:
    """Path of the config: all that makes training random is on."""
    path = tmp_path_factory.mktemp('config') / 'small.py'
    base = str(ROOT / 'configs/pretrain_van_lska_t_tiny_imagenet.py')
    path.write_text(SMALL.format(base=base, root=f'{packed}/'))
    return path
