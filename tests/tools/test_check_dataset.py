"""tools/check_dataset.py and training with --data, as a user runs them."""

import json
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(Path(__file__).parent), str(ROOT / 'tests/own_data')]
from own_sets import MASK_RCNN, SIZE, UPERNET, annotation, coco, image, mask, photo, simple  # noqa: E402
from test_own_data_masks import folder, stripes  # noqa: E402
from test_train_test import ARCH, ok, run  # noqa: E402

from mmlska.engine.config import load_config  # noqa: E402
from mmlska.own_data.check_folder import check_config, check_folder  # noqa: E402
from mmlska.own_data.contact_sheet import write_sheet  # noqa: E402
from mmlska.own_data.repair import _copy_image, write_mended  # noqa: E402
from mmlska.own_data.use import read_coco, read_masks  # noqa: E402
from mmlska.weights import read_checkpoint  # noqa: E402


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


COCO_FINDINGS = [
    ('error', 'missing image', '2.png'),
    ('error', 'image that can not be decoded', '3.png'),
    ('error', 'size in the json unlike the image', r'4.png (99x60, not 80x60)'),
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


def bad_masks(root: Path) -> Path:
    folder(root, count=6)
    (root / 'classes.json').write_text('["a", "b", "c", "d"]')
    mask(root / 'masks/1.png', stripes([0, 9]))
    mask(root / 'masks/2.png', stripes([0, 1], (40, 60)))
    (root / 'masks/3.png').write_bytes(b'no image')
    (root / 'images/4.jpg').write_bytes(b'no image')
    mask(root / 'masks/5.png', stripes([255]))
    photo(root / 'images/6.jpg')
    return root


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
    root = folder(tmp_path / 'd', count=3)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (600, 600, 3), np.uint8)).save(root / 'masks/1.png')
    found = {f.kind: f.places for f in check_folder(str(root)).report.findings if f.level == 'error'}
    assert found == {'mask that is a photo': ['1.png']}
    with pytest.raises(ValueError, match='1.png has more than 262144 colours, so it is a photo; give the masks$'):
        read_masks(root, None)


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


def test_masks_of_a_config(tmp_path):
    report = check_config(load_config(config_of_masks(folder(tmp_path / 'd', (0, 1, 2))))).report
    found = {f.kind: f for f in report.findings}
    assert len(found['mask values beyond the 2 classes'].places) == 4
    assert set(found['num_classes unlike the 2 classes of the data'].places) == {
        'model.decode_head.num_classes=6',
        'model.auxiliary_head.num_classes=6',
    }


def test_one_mask_in_colours_among_index_masks(tmp_path):
    root = folder(tmp_path / 'd', (0, 1), count=3)
    picture = Image.open(root / 'masks/1.png').convert('RGB')
    picture.putpixel((0, 0), (0, 0, 1))
    picture.save(root / 'masks/1.png')
    checked = check_config(load_config(config_of_masks(root)))
    assert write_sheet(str(tmp_path / 'a.png'), None, checked.pairs, checked.labels) == 3
    write_mended(str(tmp_path / 'new'), checked.root, None, checked.pairs, checked.labels)
    shares = [np.mean(np.asarray(Image.open(tmp_path / f'new/masks/{i}.png')) == 1) for i in range(3)]
    assert shares == [0.5, 1 / 4800, 0.5]  # by the packed colour, as the report counts them


def test_a_mended_copy_of_coco_files_is_sound(bad, tmp_path):
    before = {path: path.read_bytes() for path in bad.rglob('*') if path.is_file()}
    checked = check_folder(str(bad))
    lines = write_mended(str(tmp_path / 'new'), bad, checked.files, checked.pairs, checked.labels)
    assert lines[0] == 'instances_all.json: 4 images, 5 annotations'
    assert 'left out: 2 images' in lines[-1]
    assert '1 mask size unlike the image' in lines[-1]
    assert check_folder(str(tmp_path / 'new')).report.errors == 0
    assert {path: path.read_bytes() for path in bad.rglob('*') if path.is_file()} == before
    assert read_coco(tmp_path / 'new').classes == ['cat', 'dog', 'cow']
    with pytest.raises(FileExistsError, match='exists already; give a folder that is not there'):
        write_mended(str(tmp_path / 'new'), bad, checked.files, checked.pairs, checked.labels)
    with pytest.raises(ValueError, match='lies inside the data'):
        write_mended(str(bad / 'new'), bad, checked.files, checked.pairs, checked.labels)


def test_a_mended_copy_turns_photos_as_they_are_labelled(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    root = tmp_path / 'd'
    for i in range(2):
        photo(root / f'images/{i}.jpg', exif=exif)
    coco(
        root / 'a.json', [image(0, '0.jpg'), image(1, '1.jpg', SIZE[::-1])], [annotation(i + 1, i, 1) for i in range(2)]
    )
    checked = check_folder(str(root))
    assert checked.report.errors == 1
    write_mended(str(tmp_path / 'new'), root, checked.files, checked.pairs, checked.labels)
    assert check_folder(str(tmp_path / 'new')).report.errors == 0
    assert cv2.imread(str(tmp_path / 'new/images/0.jpg')).shape == (60, 80, 3)
    assert cv2.imread(str(tmp_path / 'new/images/1.jpg')).shape == (80, 60, 3)


def test_a_copy_that_cannot_be_written_is_no_broken_image(tmp_path):
    photo(tmp_path / 'a.jpg')
    with pytest.raises(FileNotFoundError, match='no_folder'):
        _copy_image(tmp_path / 'a.jpg', tmp_path / 'no_folder/a.jpg', True)
    with pytest.raises(OSError, match='No space left'):
        _copy_image(tmp_path / 'a.jpg', Path('/dev/full'), True)


def test_a_mended_copy_of_masks_is_sound(tmp_path):
    root = bad_masks(tmp_path / 'd')
    checked = check_folder(str(root))
    lines = write_mended(str(tmp_path / 'new'), root, checked.files, checked.pairs, checked.labels)
    assert lines[0] == '3 pairs of image and mask, 4 classes'
    report = check_folder(str(tmp_path / 'new')).report
    assert report.errors == 0
    pairs, labels, _ = read_masks(tmp_path / 'new', None)
    assert labels.classes == ['a', 'b', 'c', 'd']
    assert {pair.image.name: sorted(pair.values) for pair in pairs}['1.jpg'] == [0, 255]


def test_contact_sheets_show_the_labels(tmp_path):
    root = simple(tmp_path / 'd')
    for i in range(4):  # black photos: what is bright is drawn
        Image.new('RGB', SIZE).save(root / f'images/{i}.png')
    checked = check_folder(str(root))
    assert write_sheet(str(tmp_path / 'a.png'), checked.files, checked.pairs, checked.labels) == 4
    sheet = cv2.imread(str(tmp_path / 'a.png'))
    assert sheet.shape == (324, 4 * 324, 3)
    red = (sheet[..., 2] > 90) & (sheet[..., 1] < 60)
    assert red.mean() > 0.1
    checked = check_folder(str(folder(tmp_path / 'e')))
    assert write_sheet(str(tmp_path / 'b.png'), checked.files, checked.pairs, checked.labels) == 4
    assert cv2.imread(str(tmp_path / 'b.png')) is not None
    shutil.rmtree(root / 'images')
    (root / 'images').mkdir()
    checked = check_folder(str(root))
    with pytest.raises(ValueError, match='no image can be drawn; the findings say why'):
        write_sheet(str(tmp_path / 'c.png'), checked.files, checked.pairs, checked.labels)


def test_the_command_and_its_exit_codes(bad, tmp_path):
    simple(tmp_path / 'good one')
    output = ok(run('check_dataset.py', 'good one', '--json', 'r/report.json', '--sheet', 's/sheet.png', cwd=tmp_path))
    assert '0 errors, 0 warnings' in output
    assert json.loads((tmp_path / 'r/report.json').read_text())['classes'] == {'cat': 4, 'dog': 2}
    assert (tmp_path / 's/sheet.png').is_file()
    result = run('check_dataset.py', bad, '--fix', 'mended', cwd=tmp_path)
    assert result.returncode == 1
    assert 'error: 1 x missing image: 2.png' in result.stdout
    assert (tmp_path / 'mended/annotations/instances_all.json').is_file()
    result = run('check_dataset.py', 'nowhere', cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.strip().endswith('give the one that holds the images and labels, or a config')


SMALL = {
    MASK_RCNN: f'model = dict(backbone=dict(arch={ARCH}), neck=dict(in_channels=[8] * 4))',
    UPERNET: f"""
model = dict(
    data_preprocessor=dict(size=(64, 64)),
    backbone=dict(arch={ARCH}),
    decode_head=dict(in_channels=[8] * 4),
    auxiliary_head=dict(in_channels=8),
)""",
}


@pytest.mark.slow
@pytest.mark.parametrize('config', [MASK_RCNN, UPERNET])
def test_training_on_own_data_can_be_repeated_without_the_flag(config, tmp_path):
    (tmp_path / 'small.py').write_text(f'_base_ = {str(ROOT / config)!r}\n{SMALL[config]}\n')
    data = tmp_path / 'my photos'
    if config == MASK_RCNN:
        simple(data, count=6, categories=((5, '猫'), (9, '犬')))
    else:
        folder(data, [[60, 16, 152], [226, 169, 41]], count=6)
    common = ['--seed', 0, '--deterministic', '--cfg-options', 'default_hooks.logger.interval=1']
    output = ok(run('train.py', 'small.py', '--data', data, '--epochs', 2, '--check', *common, cwd=tmp_path))
    assert '0 errors' in output
    assert '6 images, 2 classes' in output
    work = tmp_path / 'work_dirs/small_my photos'
    assert (work / 'data').is_dir()
    checkpoint = work / (work / 'last_checkpoint').read_text().split('/')[-1]
    output = ok(run('test.py', work / 'small.py', checkpoint, '--work-dir', 'test', cwd=tmp_path))
    assert ('coco/segm_mAP' if config == MASK_RCNN else 'mIoU') in output
    ok(run('train.py', work / 'small.py', '--work-dir', 'again', *common, cwd=tmp_path))
    paths = (checkpoint, tmp_path / 'again' / checkpoint.name)
    first, again = (read_checkpoint(path).content['state_dict'] for path in paths)
    assert first.keys() == again.keys()
    assert all(torch.equal(first[key], again[key]) for key in first)


def test_check_stops_a_training_on_bad_data(bad, tmp_path, refused):
    result = run('train.py', MASK_RCNN, '--data', bad, '--check', cwd=tmp_path)
    assert result.returncode == 1
    assert 'missing image: 2.png' in result.stdout
    assert not (tmp_path / 'work_dirs').exists()
    assert 'names 1 of 6 images that are not below' in refused('train.py', MASK_RCNN, '--data', bad, cwd=tmp_path)
    for option in ('--epochs=3', '--val-fraction=0.1'):
        line = refused('train.py', MASK_RCNN, option, cwd=tmp_path)
        assert '--val-fraction, --epochs and --palette go with --data' in line
