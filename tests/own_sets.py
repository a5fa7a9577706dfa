"""Tiny data sets in the layouts that people have, for the tests of training on one's own data."""

import json
from pathlib import Path
from types import SimpleNamespace
from zlib import crc32

import numpy as np
import torch
from mmengine.structures import InstanceData
from PIL import Image

from mmlska.engine.config import load_config
from mmlska.engine.evaluation_options import use_overlays
from mmlska.engine.launch import prepare
from mmlska.own_data.adapt_config import use_own_data

MASK_RCNN = 'configs/demo/mask_rcnn_van_lska_t_fruits.py'
RETINANET = 'configs/retinanet_van_lska_t.py'
UPERNET = 'configs/demo/upernet_van_lska_t_dubai.py'
SIZE = (80, 60)  # width, height
COLORS = [[60, 16, 152], [226, 169, 41], [110, 193, 228]]
ROOT = Path(__file__).resolve().parents[1]


def photo(path: Path, size=SIZE, mode='RGB', **options) -> None:
    """Write a picture of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(crc32('/'.join(path.parts[-3:]).encode()))  # no two photos of a set are the same
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


def adapt(config: str, root: Path, work: Path, settings: dict | None = None, **options):
    """The config, with other ``settings``, adapted to a folder, and the lines printed."""
    cfg = load_config(config, settings)
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


def instances(cfg, split='val') -> dict[str, list[tuple[int, list[float], int]]]:
    """The labels that the data set of a split hands out, by the name of the image: class, box, whether ignored."""
    built = build(cfg, split)
    infos = [built.get_data_info(i) for i in range(len(built))]
    return {
        Path(info['img_path']).name: [(x['bbox_label'], x['bbox'], x['ignore_flag']) for x in info['instances']]
        for info in infos
    }


def everything(cfg) -> dict:
    return {**instances(cfg, 'train'), **instances(cfg, 'val')}


def turned_set(root: Path, sizes) -> Path:
    """Photos with EXIF data that turn them, labelled with these sizes."""
    exif = Image.Exif()
    exif[0x0112] = 6
    for i in range(len(sizes)):
        photo(root / f'images/{i}.jpg', exif=exif)
    images = [image(i, f'{i}.jpg', size) for i, size in enumerate(sizes)]
    coco(root / 'all.json', images, [annotation(i + 1, i, 1) for i in range(len(sizes))])
    return root


def stripes(values, size=SIZE) -> np.ndarray:
    """A mask with one upright stripe of each value."""
    columns = np.linspace(0, len(values) - 1e-6, size[0]).astype(int)
    return np.broadcast_to(np.asarray(values, np.uint8)[columns], (size[1], size[0], *np.shape(values)[1:])).copy()


def mask_set(root: Path, values=(0, 1, 2), count=4, mode=None, palette=None) -> Path:
    """images/ and masks/ with stripes of some values."""
    for i in range(count):
        photo(root / f'images/{i}.jpg')
        mask(root / f'masks/{i}.png', stripes(values), mode, palette)
    return root


def mask_labels(cfg, split='val') -> list[int]:
    """The labels from left to right that the data set hands out for its first image."""
    row = build(cfg, split)[0]['data_samples'].gt_sem_seg.data.numpy()[0, 30]
    return [int(v) for i, v in enumerate(row) if i == 0 or v != row[i - 1]]


def bad_coco(root: Path) -> Path:
    """A set with every mistake once."""
    simple(root, count=6)
    (root / 'images/2.png').unlink()
    (root / 'images/3.png').write_bytes((root / 'images/3.png').read_bytes()[:300])
    images = [image(i, f'{i}.png') for i in range(6)]
    images[4]['width'] = 99
    whole = dict(size=[80, 60], counts=[4800])
    labels = [
        annotation(0, 0, 1),
        annotation(1, 0, 2, (60, 40, 40, 10)),
        annotation(2, 0, 1, (100, 10, 20, 20)),
        annotation(3, 0, 1, (10, 10, 0, 20)),
        annotation(4, 0, 77),
        annotation(5, 99, 1),
        annotation(6, 1, 1),
        annotation(6, 1, 2),
        annotation(7, 1, 1, segmentation=whole),
        annotation(8, 4, 1, iscrowd=1),
        annotation(9, 2, 1),
    ]
    coco(root / 'all.json', images, labels, ((1, 'cat'), (2, 'dog'), (3, 'cow')))
    return root


def bad_masks(root: Path) -> Path:
    mask_set(root, count=6)
    (root / 'classes.json').write_text('["a", "b", "c", "d"]')
    mask(root / 'masks/1.png', stripes([0, 9]))
    mask(root / 'masks/2.png', stripes([0, 1], (40, 60)))
    (root / 'masks/3.png').write_bytes(b'no image')
    (root / 'images/4.jpg').write_bytes(b'no image')
    mask(root / 'masks/5.png', stripes([255]))
    photo(root / 'images/6.jpg')
    return root


def config_of_masks(root: Path) -> str:
    """A config for two classes that reads a folder of masks as it is."""
    path = root.parent / 'c.py'
    path.write_text(f"""
_base_ = {str(ROOT / 'configs/demo/upernet_van_lska_t_scenes.py')!r}
data_root = {f'{root}/'!r}
metainfo = dict(_delete_=True, classes=('a', 'b'), palette=[[0, 0, 0], [9, 9, 9]])
data = dict(data_root=data_root, metainfo=metainfo, img_suffix='.jpg', reduce_zero_label=False,
            data_prefix=dict(img_path='images', seg_map_path='masks'))
train_dataloader = val_dataloader = test_dataloader = dict(dataset=data)
""")
    return str(path)
