"""Packed sets of generated photos, and a config that trains a very small network on one."""

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
TILE = 32
COLOURS = np.array([[200, 40, 40], [40, 200, 40], [40, 40, 200], [180, 180, 40]])


SMALL = """
_base_ = {base!r}
data_root = {root!r}
model = dict(
    data_preprocessor=dict(size=40),  # photos of 32 px, enlarged as the real ones are
    backbone=dict(
        arch=dict(_delete_=True, embed_dims=[8] * 4, depths=[1] * 4, ffn_ratios=[2] * 4), k_size=7, drop_path_rate=0.2
    ),
    num_classes=4,
    image_size=40,
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


def photos(split: str, label: int, count: int) -> np.ndarray:
    """Tiles (count, TILE, TILE, 3) of one colour for each class, with noise."""
    rng = np.random.default_rng([label, split == 'train'])
    return (COLOURS[label] + rng.integers(-40, 40, (count, TILE, TILE, 3))).astype(np.uint8)


def write_packed(
    root: Path, tiles_of: Callable[[str, int, int], np.ndarray], train: int, val: int, quality: int
) -> None:
    """Write four classes of so many training and validation photos, as sheets of two rows; above quality 100 they are lossless."""
    names = [f'n{i}' for i in range(len(COLOURS))]
    (root / 'classes.json').write_text(json.dumps([dict(wnid=n, name=f'class {n}') for n in names]))
    for split, count in (('train', train), ('val', val)):
        (root / split).mkdir()
        for label, name in enumerate(names):
            tiles = tiles_of(split, label, count)
            sheet = np.concatenate([np.concatenate(row, 1) for row in tiles.reshape(2, -1, TILE, TILE, 3)])
            cv2.imwrite(str(root / split / f'{name}.webp'), sheet[..., ::-1], [cv2.IMWRITE_WEBP_QUALITY, quality])


def write_small_config(folder: Path, data: Path) -> Path:
    """Write the config for packed photos, with all that makes training random, and return its path."""
    path = folder / 'small.py'
    path.write_text(SMALL.format(base=str(ROOT / 'configs/pretrain_van_lska_t_tiny_imagenet.py'), root=f'{data}/'))
    return path
