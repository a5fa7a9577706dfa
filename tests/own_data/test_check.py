"""What a check finds in folders and in the data sets of a config."""

import numpy as np
import pytest
from own_sets import MASK_RCNN, ROOT, annotation, bad_coco, bad_masks, coco, config_of_masks, image, mask_set, simple
from PIL import Image

from mmlska.engine.config import load_config
from mmlska.own_data.check import check_config, check_folder
from mmlska.own_data.sources import require_source

COCO_FINDINGS = [
    ('error', 'missing image', '2.png'),
    ('error', 'image that can not be decoded', '3.png'),
    ('error', 'size in the labels unlike the image', r'4.png (99x60, not 80x60)'),
    ('error', 'annotation id 0, which pycocotools counts as unmatched', '0.png (annotation 0)'),
    ('warning', 'box partly outside the image', '0.png (annotation 1)'),
    ('error', 'box outside the image', '0.png (annotation 2)'),
    ('error', 'box of zero area', '0.png (annotation 3)'),
    ('error', 'unknown category id', '0.png (annotation 4)'),
    ('error', 'unknown image id', 'all.json (annotation 5)'),
    ('error', 'annotation id used twice', '6 in all.json'),
    ('error', 'mask size unlike the image', '1.png (annotation 7): [80, 60], not [60, 80]'),
    ('warning', 'image with crowds only', '4.png'),
    ('warning', 'image without annotations', '5.png'),
    ('warning', 'class without annotations', 'cow'),
]


@pytest.fixture(scope='module')
def bad(tmp_path_factory):
    return bad_coco(tmp_path_factory.mktemp('bad') / 'my set')


@pytest.mark.parametrize('finding', COCO_FINDINGS, ids=[kind for _, kind, _ in COCO_FINDINGS])
def test_findings_of_coco_files(finding, bad):
    level, kind, place = finding
    found = {f.kind: f for f in check_folder(str(bad)).report.findings}
    assert kind in found, sorted(found)
    assert found[kind].level == level
    assert place in found[kind].places


def test_a_sound_set_has_no_findings(tmp_path):
    report = check_folder(str(simple(tmp_path / 'd'))).report
    assert report.findings == []
    assert report.classes == {'cat': 4, 'dog': 2}
    assert report.in_images == {'cat': 4, 'dog': 2}
    assert sum(row[2] for row in report.histogram()) == 6


def test_boxes_against_the_anchors_of_a_config(tmp_path):
    cfg = load_config('configs/mask_rcnn_van_lska_t.py')
    report = check_folder(str(simple(tmp_path / 'd')), cfg=cfg).report
    assert report.anchor_sizes == [32, 64, 128, 256, 512]
    assert min(report.box_sizes) > 250  # 20 px at 80x60, resized to 1067x800
    root = simple(tmp_path / 'small')
    coco(
        root / 'all.json', [image(i, f'{i}.png') for i in range(4)], [annotation(i, i, 1, (5, 5, 1, 1)) for i in (1, 2)]
    )
    report = check_folder(str(root), cfg=cfg).report
    assert any('boxes under half the smallest anchor (32 px)' in f.kind for f in report.findings)


def test_class_names_of_a_config_must_match_to_the_letter(tmp_path):
    root = simple(tmp_path / 'd', categories=((1, 'Cat'), (2, 'bird')))
    (tmp_path / 'c.py').write_text(f"""
_base_ = {str(ROOT / MASK_RCNN)!r}
data_root = {f'{root}/'!r}
dataset = dict(type='CocoDataset', data_root=data_root, metainfo=dict(classes=('cat', 'dog')), ann_file='all.json',
               data_prefix=dict(img='images/'))
train_dataloader = dict(dataset=dict(dataset=dict(**dataset, _delete_=True, pipeline=[])))
val_dataloader = test_dataloader = dict(dataset=dict(**dataset, _delete_=True, pipeline=[]))
""")
    report = check_config(load_config(str(tmp_path / 'c.py'))).report
    found = {f.kind: f for f in report.findings}
    names = found['0 of 6 annotations match the classes of the config']
    assert names.level == 'error'
    assert names.places == ["'Cat' is 'cat' in the config; 'bird' not in the config"]
    assert 'model.roi_head.bbox_head.num_classes=3' in found['num_classes unlike the 2 classes of the data'].places


def test_findings_of_masks(tmp_path):
    checked = check_folder(str(bad_masks(tmp_path / 'd')))
    found = {(f.level, f.kind): f.places for f in checked.report.findings}
    assert found == {
        ('error', 'mask values beyond the 4 classes'): ['1.png (9 in 2400 pixels)'],
        ('error', 'mask size unlike the image'): ['2.png (40x60, image 80x60)'],
        ('error', 'mask that can not be decoded'): ['3.png'],
        ('error', 'image that can not be decoded'): ['4.jpg'],
        ('warning', 'mask without a labelled pixel'): ['5.png'],
        ('warning', 'image without a mask'): ['6.jpg'],
        ('warning', 'class without pixels'): ['d'],
    }


def test_a_mask_that_is_a_photo_is_named(tmp_path):
    root = mask_set(tmp_path / 'd', count=3)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (600, 600, 3), np.uint8)).save(root / 'masks/1.png')
    found = {f.kind: f.places for f in check_folder(str(root)).report.findings if f.level == 'error'}
    assert found == {'mask that is a photo': ['1.png']}
    with pytest.raises(ValueError, match='1.png has more than 262144 colours, so it is a photo; give the masks$'):
        require_source(root, 'mmseg').read()


def test_masks_of_a_config(tmp_path):
    report = check_config(load_config(config_of_masks(mask_set(tmp_path / 'd', (0, 1, 2))))).report
    found = {f.kind: f for f in report.findings}
    assert len(found['mask values beyond the 2 classes'].places) == 4
    assert set(found['num_classes unlike the 2 classes of the data'].places) == {
        'model.decode_head.num_classes=6',
        'model.auxiliary_head.num_classes=6',
    }


def test_the_photos_this_project_is_shown_on(shared_data):
    assert check_folder(str(shared_data('fruits_nuts'))).report.classes == {'date': 71, 'fig': 41, 'hazelnut': 53}
