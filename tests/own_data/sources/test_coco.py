"""COCO files as people have them, through mmdet's data set and pipeline."""

import json
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from own_sets import (
    MASK_RCNN,
    RETINANET,
    SIZE,
    adapt,
    annotation,
    build,
    coco,
    everything,
    image,
    instances,
    mask,
    photo,
    simple,
    turned_set,
)
from PIL import Image

from mmlska.own_data import check_annotations
from mmlska.own_data.annotations import AnnotationFile
from mmlska.own_data.data_folder import DataFolder
from mmlska.own_data.sources import find_source
from mmlska.own_data.sources.coco import _merge_classes


def layout_official(root):
    for split, count in (('train', 3), ('val', 2)):
        images = [image(i, f'{i:012d}.jpg') for i in range(count)]
        for entry in images:
            photo(root / f'{split}2017' / entry['file_name'])
        labels = [annotation(i + 1, i, 1) for i in range(count)]
        coco(root / f'annotations/instances_{split}2017.json', images, labels)
        (root / f'annotations/captions_{split}2017.json').write_text('{"images": [], "annotations": []}')


def layout_roboflow(root):
    for split, count in (('train', 3), ('valid', 2), ('test', 1)):
        images = [image(i, f'{i}.jpg') for i in range(count)]  # the same names in every split
        for entry in images:
            photo(root / split / entry['file_name'])
        labels = [annotation(i, i, 1) for i in range(count)]
        path = root / split / '_annotations.coco.json'
        coco(path, images, labels, categories=((0, 'animals'), (1, 'cat')))
        content = json.loads(path.read_text())
        content['categories'][1]['supercategory'] = 'animals'
        path.write_text(json.dumps(content))


def layout_sub_folders(root):
    images = [image(i, f'day {i}/photo.jpg') for i in range(5)]
    for entry in images:
        photo(root / 'images' / entry['file_name'])
    coco(root / 'all.json', images, [annotation(i + 1, i, 1) for i in range(5)])


def layout_foreign_paths(root):
    for i in range(5):
        photo(root / f'imgs/{i}.jpg')
    images = [image(i, f'C:\\Users\\me\\imgs\\{i}.jpg') for i in range(5)]
    coco(root / 'labels.json', images, [annotation(i + 1, i, 1) for i in range(5)])


def layout_with_label_maps(root):
    """As make-scenes writes: in annotations/ lie label maps of the photos' names, too."""
    for i in range(5):
        photo(root / f'images/{i}.png')
        mask(root / f'annotations/{i}.png', np.ones((60, 80)))
    images = [image(i, f'{i}.png') for i in range(5)]
    coco(root / 'annotations/instances.json', images, [annotation(i + 1, i, 1) for i in range(5)])


def layout_several_files(root):
    for part in range(2):
        images = [image(i, f'{part}_{i}.jpg') for i in range(2 + part)]
        for entry in images:
            photo(root / entry['file_name'])
        labels = [annotation(i + 1, i, 5 + part) for i in range(2 + part)]
        coco(root / f'part{part}.json', images, labels, categories=((5 + part, 'cat'),))


@pytest.mark.parametrize(
    'layout',
    [
        layout_official,
        layout_roboflow,
        layout_sub_folders,
        layout_foreign_paths,
        layout_with_label_maps,
        layout_several_files,
    ],
)
def test_layouts(layout, tmp_path):
    root = tmp_path / 'my data'
    layout(root)
    before = {path: path.read_bytes() for path in root.rglob('*') if path.is_file()}
    cfg, lines = adapt(MASK_RCNN, root, tmp_path / 'work', val_fraction=0.4)
    train, val = build(cfg), build(cfg, 'val')
    sizes = [len(train.dataset) if hasattr(train, 'dataset') else len(train), len(val)]
    assert sizes == [3, 2]
    assert train[0]['inputs'].shape[0] == 3
    assert val[1]['data_samples'].metainfo['ori_shape'] == SIZE[::-1]
    assert val.metainfo['classes'][0] == 'cat'
    assert len({built.get_data_info(i)['img_path'] for built in (build(cfg), val) for i in range(len(built))}) == 5
    assert all(len(labels) == 1 for labels in instances(cfg, 'val').values())
    if layout is layout_roboflow:
        assert val.metainfo['classes'] == ('cat',)
        assert len(build(cfg, 'test')) == 1
        assert cfg.test_evaluator.ann_file.endswith('test.json')
        assert {Path(val.get_data_info(i)['img_path']).parent.name for i in range(2)} == {'valid'}
    if layout in (layout_official, layout_roboflow):
        assert 'as the folder splits them' in lines[0]
    assert {path: path.read_bytes() for path in root.rglob('*') if path.is_file()} == before


def test_one_class_and_chinese_names(tmp_path):
    root = tmp_path / '数据 集'
    images = [image(i, f'照片 {i}.jpg') for i in range(3)]
    for entry in images:
        photo(root / '图片' / entry['file_name'])
    coco(root / '标注.json', images, [annotation(i + 1, i, 1) for i in range(3)], categories=((1, '苹果'),))
    cfg, lines = adapt(MASK_RCNN, root, tmp_path / 'work')
    assert '1 class (苹果)' in lines[0]
    assert build(cfg).metainfo['classes'] == ('苹果',)
    build(cfg, 'val')[0]
    # The dumped config is the one to repeat the run with.
    cfg.dump(tmp_path / 'dumped.py')
    again = Config.fromfile(tmp_path / 'dumped.py')
    assert again.train_dataloader.to_dict() == cfg.train_dataloader.to_dict()
    assert build(again).metainfo['classes'] == ('苹果',)


def test_category_ids_with_gaps_and_in_any_order(tmp_path):
    root = simple(tmp_path / 'd', count=3)
    labels = [annotation(i, i, c) for i, c in enumerate((90, 0, 7))]  # id 0 for an annotation and for a category
    coco(root / 'all.json', [image(i, f'{i}.png') for i in range(3)], labels, ((90, 'z'), (0, 'a'), (7, 'm')))
    cfg, lines = adapt(MASK_RCNN, root, tmp_path / 'work')
    classes = build(cfg).metainfo['classes']
    assert classes == ('a', 'm', 'z')
    assert {name: classes[labels[0][0]] for name, labels in everything(cfg).items()} == {
        '0.png': 'z',
        '1.png': 'a',
        '2.png': 'm',
    }
    written = [json.loads((tmp_path / f'work/data/{s}.json').read_text()) for s in ('train', 'val')]
    assert min(a['id'] for part in written for a in part['annotations']) == 1


def test_classes_in_two_spellings_are_one(tmp_path):
    root = simple(tmp_path / 'd', categories=((1, 'Traffic Light'), (2, 'traffic_light')))
    cfg, lines = adapt(MASK_RCNN, root, tmp_path / 'work')
    assert build(cfg).metainfo['classes'] == ('Traffic Light',)
    assert "'traffic_light' and 'Traffic Light' are taken for one class" in lines
    assert cfg.model.roi_head.bbox_head.num_classes == 1


def test_crowds_and_empty_images(tmp_path):
    root = simple(tmp_path / 'd', count=4)
    labels = [annotation(1, 0, 1), annotation(2, 1, 1), annotation(3, 2, 1, iscrowd=1)]
    coco(root / 'all.json', [image(i, f'{i}.png') for i in range(4)], labels)
    cfg, _ = adapt(MASK_RCNN, root, tmp_path / 'work')
    assert everything(cfg)['2.png'][0][2] == 1
    assert everything(cfg)['3.png'] == []
    for split in ('train', 'val'):
        built = build(cfg, split)
        for i in range(len(built)):
            sample = built[i]['data_samples']
            assert len(sample.gt_instances.labels) + len(sample.ignored_instances.labels) <= 1
    # A recipe that leaves out images without annotations counts the others.
    cfg, _ = adapt(RETINANET, root, tmp_path / 'work', epochs=1)
    assert all(instances(cfg, 'train').values())


@pytest.mark.parametrize('kind', ['polygon', 'flat polygon', 'points', 'runs', 'compressed'])
def test_kinds_of_masks(kind, tmp_path):
    from pycocotools import mask as coco_mask

    pixels = np.zeros(SIZE[::-1], np.uint8)
    pixels[10:40, 10:50] = 1
    compressed = coco_mask.encode(np.asfortranarray(pixels))
    compressed['counts'] = compressed['counts'].decode()
    flat = pixels.ravel(order='F')
    edges = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff([0, *edges, flat.size]).tolist()
    polygon = [10, 10, 50, 10, 50, 40, 10, 40]
    segmentation = {
        'polygon': [polygon],
        'flat polygon': polygon,
        'points': [[polygon[i : i + 2] for i in range(0, 8, 2)]],
        'runs': dict(size=[60, 80], counts=runs),
        'compressed': compressed,
    }[kind]
    root = simple(tmp_path / 'd', count=2)
    labels = [annotation(i + 1, i, 1, segmentation=segmentation) for i in range(2)]
    for entry in labels:
        del entry['bbox'], entry['area']  # they follow from the mask
    coco(root / 'all.json', [image(i, f'{i}.png') for i in range(2)], labels)
    cfg, _ = adapt(MASK_RCNN, root, tmp_path / 'work')

    val = build(cfg, 'val')
    assert val.get_data_info(0)['instances'][0]['bbox'] == [10, 10, 50, 40]
    masks = val[0]['data_samples'].gt_instances.masks.masks
    assert len(masks) == 1
    share = masks.mean()
    assert abs(share - pixels.mean()) < 0.01
    from mmdet.registry import METRICS

    metric = METRICS.build(cfg.val_evaluator)
    assert metric._coco_api.anns[1]['area'] == pytest.approx(1200, rel=0.05)


def test_boxes_without_masks(tmp_path):
    root = simple(tmp_path / 'd')
    content = json.loads((root / 'all.json').read_text())
    for entry in content['annotations']:
        entry['segmentation'] = []
    (root / 'all.json').write_text(json.dumps(content))
    with pytest.raises(
        ValueError, match=r'6 annotations .* boxes without masks, which MaskRCNN needs; .*retinanet_van'
    ):
        adapt(MASK_RCNN, root, tmp_path / 'work')
    cfg, _ = adapt(RETINANET, root, tmp_path / 'work')
    assert 'masks' not in build(cfg)[0]['data_samples'].gt_instances
    # The retina net of the scenes has a pipeline with masks.
    cfg, _ = adapt('configs/demo/retinanet_van_lska_t_scenes.py', root, tmp_path / 'work')
    assert 'masks' not in build(cfg)[0]['data_samples'].gt_instances


def test_some_boxes_without_masks_are_ignored(tmp_path):
    root = simple(tmp_path / 'd')
    content = json.loads((root / 'all.json').read_text())
    del content['annotations'][0]['segmentation']
    (root / 'all.json').write_text(json.dumps(content))
    cfg, lines = adapt(MASK_RCNN, root, tmp_path / 'work')
    assert '1 of 6 annotations have no mask: their boxes are ignored, not learned' in lines
    assert everything(cfg)['0.png'][0][2] == 1
    build(cfg)[0]


def test_kinds_of_photos(tmp_path):
    root = tmp_path / 'd'
    photo(root / 'images/gray.png', mode='L')
    photo(root / 'images/alpha.png', mode='RGBA')
    deep = (np.arange(60 * 80).reshape(60, 80) * 13).astype(np.uint16)
    Image.fromarray(deep).save(root / 'images/deep.png')
    photo(root / 'images/deep.tif')
    exif = Image.Exif()
    exif[0x0112] = 6
    photo(root / 'images/turned.jpg', exif=exif)
    names = ['gray.png', 'alpha.png', 'deep.png', 'deep.tif', 'turned.jpg']
    # The size of the turned one is that of the viewers: 60 wide, 80 high.
    images = [image(i, name, (60, 80) if name == 'turned.jpg' else SIZE) for i, name in enumerate(names)]
    coco(root / 'all.json', images, [annotation(i + 1, i, 1) for i in range(5)])
    cfg, _ = adapt(MASK_RCNN, root, tmp_path / 'work', val_fraction=0.4)
    for split in ('train', 'val'):
        built = build(cfg, split)
        for i in range(min(len(built), 5)):
            sample = built[i]
            assert sample['inputs'].shape[0] == 3
            assert sample['inputs'].float().std() > 5
    labelled = everything(cfg)
    assert set(labelled) == set(names)
    cfg, lines = adapt(MASK_RCNN, root, tmp_path / 'work')
    assert not any('EXIF' in line for line in lines)


def test_photos_labelled_as_stored_are_read_as_stored(tmp_path):
    cfg, lines = adapt(MASK_RCNN, turned_set(tmp_path / 'd', [SIZE] * 2), tmp_path / 'work')
    assert 'photos are labelled as stored: their EXIF orientation is ignored' in lines
    assert build(cfg, 'val')[0]['data_samples'].metainfo['ori_shape'] == (60, 80)
    cfg, lines = adapt(MASK_RCNN, turned_set(tmp_path / 'e', [SIZE[::-1]] * 2), tmp_path / 'work')
    assert build(cfg, 'val')[0]['data_samples'].metainfo['ori_shape'] == (80, 60)
    with pytest.raises(ValueError, match='0.jpg is labelled as it is stored, 1.jpg turned .* --fix NEW_DIR'):
        adapt(MASK_RCNN, turned_set(tmp_path / 'f', [SIZE, SIZE[::-1]]), tmp_path / 'work')


def test_what_training_can_not_use_is_left_out_and_counted(tmp_path):
    root = simple(tmp_path / 'd', count=2)
    bad = [
        annotation(10, 0, 1, (100, 10, 20, 20)),
        annotation(11, 0, 1, (10, 10, 0, 20)),
        annotation(12, 0, 77),
        annotation(13, 99, 1),
        annotation(14, 0, 1, segmentation=dict(size=[80, 60], counts=[800, 500, 3500])),  # width before height
        annotation(1, 0, 1, (70, 50, 20, 20)),  # half outside, and its id is used twice
    ]
    coco(root / 'all.json', [image(i, f'{i}.png') for i in range(2)], [annotation(1, 0, 1), annotation(2, 1, 1), *bad])
    cfg, lines = adapt(MASK_RCNN, root, tmp_path / 'work')
    assert lines[1].startswith('5 annotations left out: ')
    masks = 'mask size unlike the image'
    for reason in ('box outside the image', 'box of zero area', 'unknown category id', 'unknown image id', masks):
        assert f'1 {reason}' in lines[1]
    assert everything(cfg)['0.png'][1][1] == [70, 50, 80, 60]
    for split in ('train', 'val'):
        assert len(build(cfg, split)[0]['data_samples'].gt_instances) >= 1


class _Counted(dict):
    """A dict that counts how often all of it is gone through."""

    passes = 0

    def values(self):
        type(self).passes += 1
        return super().values()

    def items(self):
        type(self).passes += 1
        return super().items()

    def __iter__(self):
        type(self).passes += 1
        return super().__iter__()


@pytest.mark.parametrize('names', [('a', 'b', 'train'), ('train1', 'train2', 'train3')])
def test_many_files_of_one_folder_are_not_compared_with_each_other(names, tmp_path, monkeypatch):
    monkeypatch.setattr(_Counted, 'passes', 0)
    paths = [tmp_path / f'train/{name}_{number}.json' for name in names for number in range(20)]
    content = dict(images=[], annotations=[], categories=[])
    found = [AnnotationFile(path, 'train', content, _Counted({'a.jpg': path.with_suffix('.jpg')})) for path in paths]
    _merge_classes(DataFolder(tmp_path), found)
    assert _Counted.passes <= 3 * len(found)


def test_the_classes_of_many_files_are_gone_through_once(tmp_path, monkeypatch):
    monkeypatch.setattr(_Counted, 'passes', 0)
    for number in range(20):
        photo(tmp_path / f'{number}.png')
        coco(tmp_path / f'{number}.json', [image(number, f'{number}.png')], [annotation(1, number, 1)])
    source = find_source(tmp_path, 'mmdet')
    real = check_annotations.categories_of

    def categories_of(files):
        classes, mapping, notes = real(files)
        return classes, _Counted(mapping), notes

    monkeypatch.setattr(check_annotations, 'categories_of', categories_of)
    assert not source.check().errors
    assert _Counted.passes == 1
