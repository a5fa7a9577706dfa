"""A small COCO set of two classes, with configs of a tiny detector and a tiny segmentor that name it."""

from __future__ import annotations

import json
from pathlib import Path

from own_sets import annotation, coco, image, photo
from tiny_models import TINY_MASK_RCNN, TINY_UPERNET

DETECTOR = f"""{TINY_MASK_RCNN}
model['roi_head'] = dict(bbox_head=dict(fc_out_channels=16, num_classes=2), mask_head=dict(num_convs=1, num_classes=2))
data_root = 'set/'
metainfo = dict(classes=('cat', 'dog'))
_data = dict(ann_file='train.json', data_prefix=dict(img='images/'), data_root=data_root, metainfo=metainfo)
train_dataloader = dict(batch_size=2, dataset=_data)
val_dataloader = dict(dataset=dict(_data, ann_file='val.json'))
val_evaluator = dict(ann_file='set/val.json')
"""
IMAGES = [image(i, f'{i}.png') for i in range(4)]
LABELS = [annotation(i + 1, i, 1 + i % 2) for i in range(4)]


def write_two_class_set(root: Path, scenes: Path) -> None:
    """Write the set into ``set/``, ``det.py`` on it, and ``seg.py`` on these scenes."""
    for number in range(4):
        photo(root / f'set/images/{number}.png')
    coco(root / 'set/train.json', IMAGES, LABELS)
    coco(root / 'set/val.json', IMAGES[:2], LABELS[:2])
    (root / 'det.py').write_text(DETECTOR)
    where = f'data_root = {f"{scenes}/"!r}\ntrain_dataloader["dataset"] = val_dataloader = dict(data_root=data_root)\n'
    text = f'{TINY_UPERNET}{where}val_dataloader = test_dataloader = dict(dataset=val_dataloader)\n'
    (root / 'seg.py').write_text(f'{text}train_cfg = dict(max_iters=4, val_interval=4)\n')


def change(path: Path, **lists) -> None:
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | lists))
