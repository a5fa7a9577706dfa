"""Photos that EXIF data turn: check, training and copies say the same about the way in which their labels count pixels."""

import json
from pathlib import Path

import numpy as np
import pytest
from own_sets import SIZE, UPERNET, adapt, annotation, coco, image, mask, photo, stripes, turned_set
from PIL import Image
from tiny_models import TINY_MASK_RCNN, TINY_UPERNET

from mmlska.images import read_photo
from mmlska.own_data.image_copies import copy_image

BOXES = 'configs/demo/retinanet_van_lska_t_small.py'
STORED, UPRIGHT = SIZE, SIZE[::-1]
UNTOLD = 'photo turned by EXIF data whose labels do not tell which way they count; taken as'


def exif(orientation: int) -> Image.Exif:
    data = Image.Exif()
    data[0x0112] = orientation
    return data


def masks_of(root: Path, sizes, photos=STORED, orientation=6) -> Path:
    """Photos of one size with masks of these."""
    for i, size in enumerate(sizes):
        photo(root / f'images/{i}.jpg', photos, exif=exif(orientation))
        mask(root / f'masks/{i}.png', stripes((0, 1, 2), size))
    return root


def yolo(root: Path, orientation: int, size=STORED) -> Path:
    for i in range(5):
        photo(root / f'images/{i}.jpg', size, exif=exif(orientation))
        label = root / f'labels/{i}.txt'
        label.parent.mkdir(exist_ok=True)
        label.write_text('0 0.5 0.3 0.4 0.2\n')
    (root / 'classes.txt').write_text('cat\n')
    return root


def test_masks_of_both_ways_are_an_error_of_check_too(tmp_path, command, refused):
    root = masks_of(tmp_path / 'my photos', [STORED, UPRIGHT] * 3)
    ended = command('check', root)
    assert ended.code == 1
    assert '3 x photo labelled as stored among others turned by EXIF: 0.jpg, 2.jpg, 4.jpg' in ended.out

    config = tmp_path / 'c.py'
    config.write_text(TINY_UPERNET)
    line = refused('train', config, '--data', root, '--work-dir', tmp_path / 'work')
    advice = line.partition('EXIF orientation: ')[2]
    assert advice == f"mmlska check '{root.resolve()}' --fix NEW_DIR"

    copy = tmp_path / 'copy'
    command('check', root, '--fix', copy)
    ended = command('check', copy)
    assert (ended.code, 'EXIF' in ended.out) == (0, False)
    assert [Image.open(copy / f'images/{i}.jpg').size for i in range(2)] == [STORED, UPRIGHT]


def test_files_of_which_one_counts_as_stored_are_an_error_of_check_too(tmp_path, command):
    for i in range(6):
        photo(tmp_path / f'd/images/{i}.jpg', exif=exif(6))
    for name, size, numbers in (('train', STORED, range(4)), ('val', UPRIGHT, range(4, 6))):
        images = [image(i, f'{i}.jpg', size) for i in numbers]
        coco(tmp_path / f'd/{name}.json', images, [annotation(i + 1, i, 1, (5, 5, 20, 20)) for i in numbers])
    ended = command('check', tmp_path / 'd')
    assert ended.code == 1
    assert 'photo labelled as stored among others turned by EXIF' in ended.out


def test_masks_as_stored_are_named(tmp_path, command):
    ended = command('check', masks_of(tmp_path / 'd', [STORED] * 4))
    assert ended.code == 0
    assert 'warning: 4 x photo labelled as stored, not as EXIF turns it' in ended.out
    ended = command('check', masks_of(tmp_path / 'e', [UPRIGHT] * 4))
    assert '0 errors, 0 warnings' in ended.out


@pytest.mark.parametrize('orientation', [2, 3, 6, 8])
def test_labels_that_do_not_tell_are_counted(orientation, tmp_path, command):
    root = yolo(tmp_path / 'd', orientation)
    ended = command('check', root)
    assert ended.code == 0
    assert f'warning: 5 x {UNTOLD} viewers show it' in ended.out
    _, lines = adapt(BOXES, root, tmp_path / 'work')
    assert any(line.startswith(f'5 x {UNTOLD} viewers show it') for line in lines)


@pytest.mark.parametrize(('size', 'orientation'), [((60, 60), 6), (STORED, 3), (STORED, 4)])
def test_masks_whose_size_does_not_tell_are_counted(size, orientation, tmp_path, command):
    root = masks_of(tmp_path / 'd', [size] * 4, size, orientation)
    assert f'4 x {UNTOLD} viewers show it' in command('check', root).out
    _, lines = adapt(UPERNET, root, tmp_path / 'work')
    assert any(UNTOLD in line for line in lines)


def test_a_square_photo_counts_as_the_others_do(tmp_path, command):
    root = masks_of(tmp_path / 'd', [STORED] * 4)
    photo(root / 'images/square.jpg', (60, 60), exif=exif(6))
    mask(root / 'masks/square.png', stripes((0, 1, 2), (60, 60)))
    ended = command('check', root, '--fix', tmp_path / 'copy')
    assert f'{UNTOLD} stored, like the others: square.jpg' in ended.out
    copied, before = (np.asarray(Image.open(r / 'images/square.jpg')).astype(int) for r in (tmp_path / 'copy', root))
    assert np.abs(copied - before).mean() < 10  # not turned


@pytest.mark.parametrize('orientation', range(2, 9))
@pytest.mark.parametrize('suffix', ['jpg', 'png'])
def test_copies_look_alike_without_exif_data(orientation, suffix, tmp_path):
    path, copy = tmp_path / f'a.{suffix}', tmp_path / f'b.{suffix}'
    ramp = np.add.outer(np.arange(60), np.arange(80) * 2).astype(np.uint8)
    Image.fromarray(np.stack([ramp, ramp // 2, 255 - ramp], -1)).save(path, exif=exif(orientation))
    for as_stored in (False, True):
        copy_image(path, copy, as_stored)
        seen = read_photo(copy)
        assert Image.open(copy).getexif().get(0x0112) is None
        wanted = read_photo(path, as_stored=as_stored)
        assert seen.shape == wanted.shape
        assert np.abs(seen.astype(int) - wanted).mean() < (4 if suffix == 'jpg' else 0.01)


def test_fix_turns_the_pixels(tmp_path, command):
    ended = command('check', yolo(tmp_path / 'd', 6), '--fix', tmp_path / 'copy')
    assert ended.code == 0
    ended = command('check', tmp_path / 'copy')
    assert '0 errors, 0 warnings' in ended.out
    assert Image.open(tmp_path / 'copy/images/0.jpg').size == UPRIGHT


@pytest.mark.parametrize(
    ('sizes', 'before', 'after'),
    [
        (UPRIGHT, 'color_ignore_orientation', 'color'),
        (UPRIGHT, 'grayscale_ignore_orientation', 'grayscale'),
        (STORED, 'grayscale', 'grayscale_ignore_orientation'),
        (STORED, 'color', 'color_ignore_orientation'),
    ],
)
def test_loaders_follow_the_labels_and_stay_grey(sizes, before, after, tmp_path):
    root = turned_set(tmp_path / 'd', [sizes] * 4)
    config = tmp_path / 'c.py'
    config.write_text(
        f'{TINY_MASK_RCNN}\nfrom_file = dict(type="LoadImageFromFile", color_type={before!r})\n'
        'pipeline = [from_file, dict(type="LoadAnnotations", with_bbox=True, with_mask=True), dict(type="PackDetInputs")]\n'
        'train_dataloader = val_dataloader = test_dataloader = dict(dataset=dict(pipeline=pipeline))\n'
    )
    cfg, _ = adapt(str(config), root, tmp_path / 'work')
    assert [cfg[f'{split}_dataloader'].dataset.pipeline[0].color_type for split in ('train', 'val', 'test')] == [
        after
    ] * 3


def test_pipelines_that_read_in_two_ways_are_named(tmp_path, command, scenes):
    config = tmp_path / 'c.py'
    config.write_text(
        f'{TINY_UPERNET}\ntrain_pipeline = [dict(type="LoadImageFromFile", color_type="color_ignore_orientation"), '
        'dict(type="LoadAnnotations", reduce_zero_label=True), dict(type="PackSegInputs")]\n'
        'train_dataloader["dataset"] = dict(pipeline=train_pipeline)\ntrain_cfg = dict(max_iters=1, val_interval=1)\n'
        f'data_root = {f"{scenes}/"!r}\n'
    )
    text = "color_type='color_ignore_orientation', the val data with color_type='color'"
    assert text in command('check', config).out
    ended = command('train', config, '--work-dir', tmp_path / 'work', '--no-report')
    assert ended.code == 0
    assert text in ended.err + ended.out


def test_loaders_turn_photos_whose_labels_do_not_tell(tmp_path):
    config = tmp_path / 'c.py'
    config.write_text(
        f'{TINY_MASK_RCNN}\nfrom_file = dict(type="LoadImageFromFile", color_type="color_ignore_orientation")\n'
        'pipeline = [from_file, dict(type="LoadAnnotations", with_bbox=True), dict(type="PackDetInputs")]\n'
        'train_dataloader = val_dataloader = test_dataloader = dict(dataset=dict(pipeline=pipeline))\n'
    )
    root = turned_set(tmp_path / 'd', [STORED] * 4)
    content = json.loads((root / 'all.json').read_text())
    content['images'] = [dict(id=one['id'], file_name=one['file_name']) for one in content['images']]
    (root / 'all.json').write_text(json.dumps(content))
    cfg, lines = adapt(str(config), root, tmp_path / 'work')
    assert 'taken as viewers show it' in '\n'.join(lines)
    assert cfg.train_dataloader.dataset.pipeline[0].color_type == 'color'
