"""Tiny data sets in the layouts that people have, for the tests of training on one's own data."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from mmengine.structures import InstanceData
from PIL import Image

from mmlska.engine.config import load_config
from mmlska.engine.evaluation_options import use_overlays
from mmlska.engine.launch import prepare
from mmlska.own_data.use import use_own_data

MASK_RCNN = 'configs/demo/mask_rcnn_van_lska_t_fruits.py'
RETINANET = 'configs/retinanet_van_lska_t.py'
UPERNET = 'configs/demo/upernet_van_lska_t_dubai.py'
SIZE = (80, 60)  # width, height


def photo(path: Path, size=SIZE, mode='RGB', **options) -> None:
    """Write a picture of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(len(path.name))
    channels = {'RGB': (3,), 'RGBA': (4,), 'L': ()}[mode]
    Image.fromarray(rng.integers(0, 255, (size[1], size[0], *channels), np.uint8), mode).save(path, **options)


def image(number: int, name: str, size=SIZE) -> dict:
    return dict(id=number, file_name=name, width=size[0], height=size[1])


def annotation(number: int, image_id, category_id, box=(10, 10, 40, 30), **more) -> dict:
    x, y, w, h = box
    polygon = [x, y, x + w, y, x + w, y + h, x, y + h]
    entry = dict(id=number, image_id=image_id, category_id=category_id, bbox=list(box), area=w * h, iscrowd=0)
    return {**entry, 'segmentation': [polygon], **more}


def coco(path: Path, images, annotations, categories=((1, 'cat'), (2, 'dog'))) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    named = [dict(id=i, name=name) for i, name in categories]
    path.write_text(json.dumps(dict(images=images, annotations=annotations, categories=named)), encoding='utf-8')


def simple(root: Path, count=4, categories=((1, 'cat'), (2, 'dog'))) -> Path:
    """One json and images/ with a cat on each image and a dog on every second."""
    images, annotations = [], []
    first, second = [number for number, _ in categories] or (1, 2)
    for i in range(count):
        photo(root / f'images/{i}.png')
        images.append(image(i, f'{i}.png'))
        annotations.append(annotation(len(annotations) + 1, i, first))
        if i % 2:
            annotations.append(annotation(len(annotations) + 1, i, second, (50, 20, 20, 20)))
    coco(root / 'all.json', images, annotations, categories)
    return root


def adapt(config: str, root: Path, work: Path, **options):
    """The config adapted to a folder, and the lines printed."""
    cfg = load_config(config)
    prepare(cfg, config, work_dir=str(work), launcher='none', seed=0)
    return cfg, use_own_data(cfg, str(root), **options)


def build(cfg, split='train'):
    """The real data set of a split."""
    from mmengine.registry import DATASETS, init_default_scope

    init_default_scope(cfg.default_scope)
    return DATASETS.build(cfg[f'{split}_dataloader'].dataset)


def overlay(cfg, folder: Path) -> np.ndarray:
    """The picture of ``tools/test.py --show-dir`` for the first test image, (H, 2 * W, 3) RGB, without predictions of a detector."""
    from mmengine.registry import HOOKS, VISUALIZERS

    sample = build(cfg, 'test')[0]['data_samples']
    if 'gt_instances' in sample:
        sample.gt_instances.bboxes = sample.gt_instances.bboxes.tensor  # as the model's preprocessor does
        sample.pred_instances = InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0), scores=torch.zeros(0))
    else:
        sample.pred_sem_seg = sample.gt_sem_seg.clone()
    use_overlays(cfg, str(folder))
    visualizer = VISUALIZERS.build(dict(cfg.visualizer, name=str(folder), vis_backends=[]))
    visualizer.dataset_meta = build(cfg, 'test').metainfo
    HOOKS.build(cfg.custom_hooks[-1]).after_test_iter(SimpleNamespace(visualizer=visualizer), 0, outputs=[sample])
    return np.asarray(Image.open(next(folder.glob('*.png'))).convert('RGB'))


def mask(path: Path, array, mode=None, palette=None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(np.asarray(array, np.uint8), mode)
    if palette is not None:
        picture.putpalette([v for color in palette for v in color])
    picture.save(path)
