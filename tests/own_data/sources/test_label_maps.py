"""Segmentors on the labels of detectors: outlines drawn into label maps."""

from pathlib import Path

import numpy as np
import pytest
from own_sets import UPERNET, adapt, annotation, build, coco, image, photo, simple
from PIL import Image

from mmlska.own_data.check import check_folder
from mmlska.own_data.contact_sheet import write_sheet
from mmlska.own_data.label_drawing import draw_index
from mmlska.own_data.sources import find_source, require_source


def maps(cfg, split: str) -> dict[str, np.ndarray]:
    """The label maps that the data set of a split hands out, by the name of the image."""
    built = build(cfg, split)
    return {
        Path(built.get_data_info(i)['img_path']).name: np.asarray(Image.open(built.get_data_info(i)['seg_map_path']))
        for i in range(len(built))
    }


def test_outlines_become_label_maps(tmp_path):
    cfg, lines = adapt(UPERNET, simple(tmp_path / 'd'), tmp_path / 'work')
    assert '4 images, 3 classes (background, cat, dog), 6 annotations drawn into label maps; 3 train, 1 val' in lines[0]
    assert cfg.model.decode_head.num_classes == 3
    drawn = {**maps(cfg, 'train'), **maps(cfg, 'val')}
    assert sorted(drawn) == ['0.png', '1.png', '2.png', '3.png']
    expected = np.zeros((60, 80), np.uint8)
    expected[10:40, 10:50] = 1
    assert (drawn['0.png'] == expected).all()
    expected[20:40, 50:70] = 2
    assert (drawn['1.png'] == expected).all()
    sample = build(cfg, 'train')[0]  # the whole pipeline reads them
    assert sample['data_samples'].gt_sem_seg.data.shape[1:] == sample['inputs'].shape[1:]
    assert set(sample['data_samples'].gt_sem_seg.data.unique().tolist()) <= {0, 1, 2, 255}


def test_order_and_what_is_no_label():
    def square(left, side, **more):
        return annotation(1, 1, 1, (left, 0, side, side), **more)

    bare = {'bbox': [0, 0, 9, 2]}
    index = draw_index([(1, square(0, 2)), (0, square(0, 4)), (0, square(6, 3, iscrowd=1)), (0, bare)], (10, 5), [1, 2])
    assert index.tolist() == [
        [2, 2, 1, 1, 255, 255, 255, 255, 255, 0],
        [2, 2, 1, 1, 255, 255, 255, 255, 255, 0],
        [1, 1, 1, 1, 0, 0, 255, 255, 255, 0],
        [1, 1, 1, 1, 0, 0, 0, 0, 0, 0],
        [0] * 10,
    ]


def test_a_class_called_background_is_the_background(tmp_path):
    labels = require_source(simple(tmp_path / 'd', categories=((1, 'Background'), (2, 'dog'))), 'mmseg').read()
    assert labels.classes == ['Background', 'dog']


def test_boxes_alone_are_refused(tmp_path):
    for i in range(2):
        photo(tmp_path / 'd' / f'{i}.jpg')
    bare = [annotation(i + 1, i, 1, segmentation=[]) for i in range(2)]
    coco(tmp_path / 'd/a.json', [image(i, f'{i}.jpg') for i in range(2)], bare)
    with pytest.raises(ValueError, match='the 2 annotations to train on in .* have boxes without masks, which Enc'):
        adapt(UPERNET, tmp_path / 'd', tmp_path / 'work')
    assert not (tmp_path / 'work').exists()


def test_masks_come_first_and_checks_and_pictures_work(tmp_path):
    from mmlska.engine.config import load_config

    root = simple(tmp_path / 'd')
    assert type(find_source(root, 'mmseg')).__name__ == 'LabelMapSource'
    checked = check_folder(str(root), cfg=load_config(UPERNET))
    assert checked.report.errors == 0
    assert write_sheet(tmp_path / 'sheet.png', checked.source) == 4
    for i in range(4):
        (root / 'masks').mkdir(exist_ok=True)
        Image.fromarray(np.full((60, 80), i % 2, np.uint8)).save(root / 'masks' / f'{i}.png')
    source = find_source(root, 'mmseg')
    assert (source.name, type(source).__name__, source.also) == ('masks', 'MaskSource', [])
    assert find_source(root, 'mmseg', label_format='coco').read().classes == ['background', 'cat', 'dog']
