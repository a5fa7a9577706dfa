"""tools/check_dataset.py and training with --data, as a user runs them."""

import base64
import json
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from own_sets import MASK_RCNN, ROOT, UPERNET, bad_coco, mask_set, simple
from test_train_test import ARCH, ok, run  # noqa: E402

from mmlska.own_data.convert import convert_labels
from mmlska.weights import read_checkpoint


@pytest.fixture(scope='module')
def bad(tmp_path_factory):
    return bad_coco(tmp_path_factory.mktemp('bad') / 'my set')


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


def _labelme_with_photos_within(root: Path) -> None:
    """Outlines whose photos lie in the label files alone."""
    simple(root.with_name('coco'), count=6, categories=((5, '猫'), (9, '犬')))
    convert_labels(str(root.with_name('coco')), 'labelme', str(root))
    for file in root.glob('*.json'):
        content = json.loads(file.read_text())
        photo = root / content['imagePath']
        content['imageData'] = base64.b64encode(photo.read_bytes()).decode()
        file.write_text(json.dumps(content))
        photo.unlink()


# What a folder holds, and of how many classes.
SETS = {
    'labelme': (MASK_RCNN, _labelme_with_photos_within, 2),
    'masks': (UPERNET, lambda root: mask_set(root, [[60, 16, 152], [226, 169, 41]], count=6), 2),
    'outlines': (UPERNET, lambda root: simple(root, count=6), 3),
}


@pytest.mark.slow
@pytest.mark.parametrize('case', SETS)
def test_training_on_own_data_can_be_repeated_without_the_flag(case, tmp_path):
    config, make, classes = SETS[case]
    (tmp_path / 'small.py').write_text(f'_base_ = {str(ROOT / config)!r}\n{SMALL[config]}\n')
    data = tmp_path / 'my photos'
    make(data)
    common = ['--seed', 0, '--deterministic', '--cfg-options', 'default_hooks.logger.interval=1']
    output = ok(
        run('train.py', 'small.py', '--no-report', '--data', data, '--epochs', 2, '--check', *common, cwd=tmp_path)
    )
    assert '0 errors' in output
    assert f'6 images, {classes} classes' in output
    work = tmp_path / 'work_dirs/small_my photos'
    assert (work / 'data').is_dir()
    checkpoint = work / (work / 'last_checkpoint').read_text().split('/')[-1]
    output = ok(run('test.py', work / 'small.py', checkpoint, '--work-dir', 'test', cwd=tmp_path))
    assert ('coco/segm_mAP' if config == MASK_RCNN else 'mIoU') in output
    ok(run('train.py', work / 'small.py', '--no-report', '--work-dir', 'again', *common, cwd=tmp_path))
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
    for option in ('--palette=x.json', '--val-fraction=0.1'):
        line = refused('train.py', MASK_RCNN, option, cwd=tmp_path)
        assert '--val-fraction, --bands, --keep-anchors, --format, --instances and --palette go with --data' in line
