"""The config of a recipe on a folder of one's own: every part of it, and what stops it."""

from pathlib import Path

import numpy as np
import pytest
from own_sets import (
    COLORS,
    MASK_RCNN,
    RETINANET,
    SIZE,
    UPERNET,
    adapt,
    build,
    coco,
    instances,
    mask,
    mask_labels,
    mask_set,
    overlay,
    photo,
    simple,
    stripes,
    turned_set,
)
from PIL import Image

from mmlska.own_data.adapt_config import own_work_dir
from mmlska.own_data.check import check_folder


def test_classes_reach_every_part_of_the_config(tmp_path):
    cfg, lines = adapt(MASK_RCNN, simple(tmp_path / 'my photos'), tmp_path / 'work')
    assert cfg.model.roi_head.bbox_head.num_classes == cfg.model.roi_head.mask_head.num_classes == 2
    assert 'num_classes' not in cfg.model.rpn_head
    for split in ('train', 'val', 'test'):
        built = build(cfg, split)
        assert built.metainfo['classes'] == ('cat', 'dog')
        assert len(built.metainfo['palette']) == 2
    assert cfg.val_evaluator.ann_file == str(tmp_path / 'work/data/val.json')
    assert '4 images, 2 classes (cat, dog), 6 annotations; 3 train, 1 val' in lines[0]
    sample = build(cfg)[0]['data_samples'].gt_instances
    assert len(sample.masks) == len(sample.bboxes) == len(sample.labels)


def test_every_head_of_a_cascade_gets_the_classes(tmp_path):
    cfg, _ = adapt('configs/cascade_mask_rcnn_van_lska_t.py', simple(tmp_path / 'd'), tmp_path / 'work')
    assert [head.num_classes for head in cfg.model.roi_head.bbox_head] == [2, 2, 2]
    assert cfg.model.roi_head.mask_head.num_classes == 2


@pytest.mark.parametrize('size', [SIZE, SIZE[::-1]])
def test_pictures_show_photos_as_they_were_read(size, tmp_path):
    root = turned_set(tmp_path / 'd', [size] * 2)
    cfg, _ = adapt(RETINANET, root, tmp_path / 'work')
    picture = overlay(cfg, tmp_path / 'show')
    assert picture.shape == (size[1], 2 * size[0], 3)
    photo = np.asarray(
        Image.open(root / 'images/0.jpg' if (tmp_path / 'show/0.png').is_file() else root / 'images/1.jpg')
    )
    photo = photo if size == SIZE else np.rot90(photo, -1)  # 0x0112 = 6: a quarter turn to the right
    corner = picture[-15:, -20:].astype(int)  # where nothing is drawn
    assert np.abs(corner - photo[-15:, -20:]).mean() < 20


def test_a_config_without_validation_trains_without(tmp_path):
    none = dict(val_dataloader=None, val_cfg=None, val_evaluator=None)
    cfg, lines = adapt(MASK_RCNN, simple(tmp_path / 'data'), tmp_path / 'work', none)
    assert (cfg.val_dataloader, cfg.val_evaluator) == (None, None)
    assert build(cfg).metainfo['classes'] == build(cfg, 'test').metainfo['classes'] == ('cat', 'dog')
    assert 'the config has no val_dataloader: 1 val images are not used' in lines
    with pytest.raises(ValueError, match='the config has no data set in train_dataloader; give one'):
        adapt(MASK_RCNN, tmp_path / 'data', tmp_path / 'other', dict(train_dataloader=None))
    with pytest.raises(ValueError, match='the config has no data set in train_dataloader; give one'):
        adapt(UPERNET, mask_set(tmp_path / 'masks'), tmp_path / 'other', dict(train_dataloader=None))
    assert not (tmp_path / 'other').exists()


ERRORS = {
    'no folder': ('nowhere', FileNotFoundError, 'nowhere is not a folder'),
    'nothing there': (
        lambda root: root.mkdir(),
        ValueError,
        'no labels for a detector in .*: looked for coco, .*; there is no image either; see',
    ),
    'labels for a segmentor': (
        lambda root: (photo(root / 'images/a.jpg'), mask(root / 'masks/a.png', stripes([0, 1]))),
        ValueError,
        'no labels for a detector in .*: looked for coco, .*; there are labels as masks, of which --instances takes the pieces for'
        ' objects; see',
    ),
    'broken json': (
        lambda root: (root.mkdir(), (root / 'a.json').write_text('{"images": [')),
        ValueError,
        'a.json is not valid JSON',
    ),
    'missing image': (
        lambda root: (simple(root) / 'images/2.png').unlink(),
        FileNotFoundError,
        'names 1 of 4 images that are not below .*: 2.png',
    ),
    'broken image': (lambda root: (simple(root) / 'images/2.png').write_text('x'), ValueError, '2.png is not an image'),
    'no categories': (lambda root: simple(root, categories=()), ValueError, 'has no "categories"'),
    'image no object': (
        lambda root: (root.mkdir(), (root / 'a.json').write_text('{"images": ["a.jpg"], "annotations": []}')),
        ValueError,
        r'entry 0 of "images" in .*a.json is \'a.jpg\': it must be an object such as {"id": 1, "file_name": "a.jpg"',
    ),
    'annotation no object': (
        lambda root: (root.mkdir(), (root / 'a.json').write_text('{"images": [], "annotations": [{}, 1]}')),
        ValueError,
        r'entry 1 of "annotations" in .*a.json is 1: it must be an object',
    ),
    'labels of no image': (
        lambda root: [coco(root / f'{split}.json', [], []) for split in ('train', 'val')],
        ValueError,
        'the labels of .* name no image to train on; label some, or run mmlska check',
    ),
    'one image': (lambda root: simple(root, count=1), ValueError, '1 labelled image is too few'),
}


@pytest.mark.parametrize('case', ERRORS)
def test_errors_name_the_file_and_the_way_out(case, tmp_path):
    make, kind, message = ERRORS[case]
    root = tmp_path / 'data'
    if callable(make):
        make(root)
    else:
        root = Path(make)
    with pytest.raises(kind, match=message):
        adapt(MASK_RCNN, root, tmp_path / 'work')
    assert not (tmp_path / 'work/data').exists()


def test_impossible_options(tmp_path):
    root = simple(tmp_path / 'd')
    with pytest.raises(ValueError, match='--val-fraction 1.5 is impossible'):
        adapt(MASK_RCNN, root, tmp_path / 'work', val_fraction=1.5)
    with pytest.raises(ValueError, match='--epochs 0 is impossible'):
        adapt(MASK_RCNN, root, tmp_path / 'work', epochs=0)
    with pytest.raises(ValueError, match='train_dataloader.batch_size 0 is impossible'):
        adapt(MASK_RCNN, root, tmp_path / 'work', {'train_dataloader.batch_size': 0})
    with pytest.raises(ValueError, match='--palette is for segmentors'):
        adapt(MASK_RCNN, root, tmp_path / 'work', palette='x.json')
    assert not (tmp_path / 'work').exists()


def test_the_conversion_of_nuclei_in_the_docs(tmp_path, monkeypatch):
    text = (Path(__file__).resolve().parents[2] / 'docs/own_data.md').read_text()
    for split, count in (('train', 2), ('val', 1)):
        for i in range(count):
            folder = tmp_path / f'data/dsb2018_nuclei/{split}/{i}'
            photo(folder / f'images/{"a" * (i + 1) + split}.png', mode='RGBA')
            for k in range(2):
                pixels = np.zeros(SIZE[::-1], np.uint8)
                pixels[5:15, 20 * k : 20 * k + 10] = 255
                (folder / 'masks').mkdir(exist_ok=True)
                Image.fromarray(pixels).save(folder / f'masks/{k}.png')
    monkeypatch.chdir(tmp_path)
    exec(text.split('```python\n')[1].split('```')[0], {})
    root = tmp_path / 'data/dsb2018_nuclei'
    assert check_folder(str(root)).report.findings == []
    cfg, lines = adapt(MASK_RCNN, root, tmp_path / 'work')
    assert '3 images, 1 class (nucleus), 6 annotations; 2 train, 1 val' in lines[0]
    assert instances(cfg)['aval.png'] == [(0, [0, 5, 10, 15], 0), (0, [20, 5, 30, 15], 0)]


def test_classes_of_masks_reach_every_part_of_the_config(tmp_path):
    root = mask_set(tmp_path / 'my photos')
    (root / 'classes.txt').write_text('Straße\n道路\nwater\n', encoding='utf-8')
    cfg, lines = adapt(UPERNET, root, tmp_path / 'work')
    assert cfg.model.decode_head.num_classes == cfg.model.auxiliary_head.num_classes == 3
    for split in ('train', 'val', 'test'):
        assert build(cfg, split).metainfo['classes'] == ('Straße', '道路', 'water')
        assert len(build(cfg, split).metainfo['palette']) == 3
    assert '4 images, 3 classes (Straße, 道路, water), index masks; 3 train, 1 val' in lines[0]
    assert mask_labels(cfg) == [0, 1, 2]


def test_pictures_with_masks_show_photos_as_they_were_read(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    root = mask_set(tmp_path / 'd', count=2)
    for i in range(2):
        photo(root / f'images/{i}.jpg', exif=exif)
    cfg, _ = adapt(UPERNET, root, tmp_path / 'work')
    assert overlay(cfg, tmp_path / 'show').shape == (60, 160, 3)


def test_errors_about_masks_name_the_file_and_the_way_out(tmp_path):
    empty = tmp_path / 'empty'
    empty.mkdir()
    with pytest.raises(
        ValueError, match='no labels for a segmentor in .*: looked for .*, masks; put images into images/'
    ):
        adapt(UPERNET, empty, tmp_path / 'work')
    root = mask_set(tmp_path / 'd')
    with pytest.raises(
        ValueError, match='there are labels as masks, of which --instances takes the pieces for objects'
    ):
        adapt(MASK_RCNN, root, tmp_path / 'work')
    with pytest.raises(FileNotFoundError, match='palette nothing.json does not exist'):
        adapt(UPERNET, root, tmp_path / 'work', palette='nothing.json')
    (tmp_path / 'p.json').write_text('{"a": [9, 9, 9], "b": [8, 8, 8]}')
    with pytest.raises(ValueError, match='no pixel of the masks has a colour of the palette'):
        adapt(UPERNET, mask_set(tmp_path / 'c', COLORS), tmp_path / 'work', palette=str(tmp_path / 'p.json'))
    (root / 'classes.json').write_text('["a"]')
    with pytest.raises(ValueError, match='0.png holds the value 2 but there are 1 class names, for 0 to 0'):
        adapt(UPERNET, root, tmp_path / 'work')
    (root / 'classes.json').unlink()
    mask(root / 'masks/1.png', stripes([0, 1], (40, 60)))
    with pytest.raises(ValueError, match='1.png is 40x60 and its image 80x60, like 1 of 4; write a corrected copy'):
        adapt(UPERNET, root, tmp_path / 'work')
    (root / 'masks/1.png').write_bytes(b'x')
    with pytest.raises(ValueError, match='1.png is not an image that can be read; save it as PNG'):
        adapt(UPERNET, root, tmp_path / 'work')
    with pytest.raises(ValueError, match='the masks hold one class'):
        adapt(UPERNET, mask_set(tmp_path / 'e', (0,)), tmp_path / 'work')
    for i in range(2):
        photo(tmp_path / f'f/images/{i}.jpg')
        photo(tmp_path / f'f/masks/{i}.jpg')
    with pytest.raises(ValueError, match='they are photos, or saved as JPEG; save them as PNG, or give --palette'):
        adapt(UPERNET, tmp_path / 'f', tmp_path / 'work')


def test_a_circle_of_links_is_no_folder(tmp_path):
    (tmp_path / 'a').symlink_to(tmp_path / 'b')
    (tmp_path / 'b').symlink_to(tmp_path / 'a')
    assert own_work_dir('configs/x.py', str(tmp_path / 'a')).startswith('work_dirs/x_')
    with pytest.raises(FileNotFoundError, match='a is not a folder; give the one that holds'):
        adapt(MASK_RCNN, tmp_path / 'a', tmp_path / 'work')
