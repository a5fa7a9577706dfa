"""Masks of one object that two programs wrote: white in some files, 1 in others."""

import json
from pathlib import Path

import numpy as np
import pytest
from own_sets import UPERNET, adapt, build
from PIL import Image

from mmlska.own_data.check import check_folder

SIDE = 40


def mask_set(root: Path, kinds: list[tuple[str, int]]) -> Path:
    """A photo and a mask for each mode and value of the object, which covers a quarter."""
    rng = np.random.default_rng(0)
    for number, (mode, value) in enumerate(kinds):
        for folder in ('images', 'masks'):
            (root / folder).mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (SIDE, SIDE, 3), np.uint8)).save(root / f'images/{number}.png')
        mask = np.zeros((SIDE, SIDE), np.uint8)
        mask[10:30, 10:30] = value
        Image.fromarray(mask).convert(mode).save(root / f'masks/{number}.png')
    return root


MIXED = {
    'half and half': [('L', 255)] * 3 + [('L', 1)] * 3,
    'one of them': [('L', 1)] * 5 + [('L', 255)],
    'white in colours': [('RGB', 255)] * 3 + [('L', 1)] * 3,
}


@pytest.mark.parametrize('name', MIXED)
def test_white_and_one_are_one_class(name, command, tmp_path):
    root = mask_set(tmp_path / 'd', MIXED[name])
    ended = command('check', root)
    assert ended.code == 0, ended
    count = len(MIXED[name])
    assert f'foreground {400 * count} 25.0% {count}' in ' '.join(ended.out.split())
    assert 'masks have white where others have 1; both are one class: ' in ended.out

    cfg, lines = adapt(UPERNET, root, tmp_path / 'work')
    assert any('masks have white where others have 1' in line for line in lines)
    for split in ('train', 'val'):
        data = build(cfg, split)
        for index in range(len(data)):
            labels = np.unique(np.asarray(Image.open(data.get_data_info(index)['seg_map_path'])))
            assert labels.tolist() == [0, 1]


def test_a_corrected_copy_has_one_value(command, tmp_path):
    root = mask_set(tmp_path / 'd', MIXED['white in colours'])
    assert command('check', root, '--fix', tmp_path / 'fixed').code == 0
    masks = [np.asarray(Image.open(file)) for file in sorted((tmp_path / 'fixed').rglob('masks/**/*.png'))]
    assert len(masks) == 6
    assert all(np.array_equal(mask, masks[0]) and mask.sum() == 400 for mask in masks)


@pytest.mark.parametrize(
    'kinds',
    [
        [('L', 255)] * 4,
        [('L', 1)] * 4,
        [('1', 255)] * 2 + [('L', 255)] * 2,
        [('L', 1)] * 2 + [('L', 2)] * 2 + [('L', 255)] * 2,
    ],
)
def test_other_sets_are_read_as_before(kinds, tmp_path):
    report = check_folder(str(mask_set(tmp_path / 'd', kinds))).report
    assert 'where others have 1' not in report.text()


def test_a_border_that_is_no_label_stays_none(tmp_path):
    root = mask_set(tmp_path / 'd', [('L', 1)] * 3 + [('L', 255)])
    mask = np.array(Image.open(root / 'masks/0.png'))
    mask[9] = 255
    Image.fromarray(mask).save(root / 'masks/0.png')
    report = check_folder(str(root)).report
    assert 'where others have 1' not in report.text()
    assert report.classes['foreground'] == 3 * 400


def test_a_config_that_reads_the_files_is_told(command, tmp_path):
    root = mask_set(tmp_path / 'd', MIXED['half and half'])
    (root / 'classes.json').write_text(json.dumps([{'name': 'background'}, {'name': 'foreground'}]))
    pipeline = "[dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'), dict(type='PackSegInputs')]"
    dataset = (
        f"dict(_delete_=True, type='BaseSegDataset', data_root={str(root)!r}, data_prefix=dict(img_path='images', seg_map_path='masks'), "
        f"img_suffix='.png', metainfo=dict(classes=('background', 'foreground'), palette=[[0, 0, 0], [9, 9, 9]]), pipeline={pipeline})"
    )
    config = tmp_path / 'own.py'
    loaders = '\n'.join(f'{split}_dataloader = dict(dataset={dataset})' for split in ('train', 'val', 'test'))
    config.write_text(
        f'_base_ = {str(Path(UPERNET).resolve())!r}\n{loaders}\n'
        'model = dict(decode_head=dict(num_classes=2), auxiliary_head=dict(num_classes=2))\n'
    )
    ended = command('check', config)
    assert ended.code == 1, ended
    assert 'error: 3 x mask with white where others have 1; white is no label here: 0.png' in ended.out


@pytest.mark.parametrize('value', [2, 3])
def test_a_value_of_a_few_pixels_may_be_a_slip(value, command, tmp_path):
    root = mask_set(tmp_path / 'd', [('L', 1)] * 6)
    mask = np.array(Image.open(root / 'masks/4.png'))
    mask[0, :2] = value
    Image.fromarray(mask).save(root / 'masks/4.png')
    said = (
        f'the value {value} has 2 pixels in 1 of 6 masks, such as 4.png, and is a class; paint it over if it is a slip'
    )
    assert f'warning: 1 x classes: {said}' in command('check', root).out
    assert any(said in line for line in adapt(UPERNET, root, tmp_path / 'work')[1])
    (root / 'classes.json').write_text(json.dumps(['ground', 'roof', 'car', 'tree'][: value + 1]))
    assert 'slip' not in command('check', root).out
