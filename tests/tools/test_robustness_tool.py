"""tools/test_robustness.py as a user runs it, on detection and segmentation."""

import json
import shutil

import cv2
import numpy as np
import pytest
from evidence import check_picture, small_model
from test_train_test import MASK_RCNN, UPERNET, ok, run

from mmlska.datasets.corruption import ALL_CORRUPTIONS

pytest.importorskip('imagecorruptions')


@pytest.fixture(scope='module')
def detector(scenes, tmp_path_factory):
    """A folder with a small Mask R-CNN of random weights."""
    cwd = tmp_path_factory.mktemp('robust_detector')
    small_model(MASK_RCNN, scenes, cwd)
    with open(cwd / 'small.py', 'a', encoding='utf-8') as config:
        config.write('\nmodel.update(test_cfg=dict(rcnn=dict(score_thr=0.0)))\n')  # random weights are sure of nothing
    return cwd


@pytest.fixture(scope='module')
def segmentor(scenes, tmp_path_factory):
    """A folder with a small UperNet of random weights."""
    cwd = tmp_path_factory.mktemp('robust_segmentor')
    small_model(UPERNET, scenes, cwd)
    return cwd


def conditions(output: str) -> list[str]:
    """The conditions that a run has tested, as it reports them."""
    lines = [line for line in output.splitlines() if ': mIoU ' in line or ': coco/bbox_mAP ' in line]
    return [line.split(':')[0].strip() for line in lines]


@pytest.mark.slow(45)
def test_segmentor_under_all_corruptions_twice_the_same(segmentor):
    args = ['test_robustness.py', 'small.py', 'small.pth', '--corruptions', 'all', '--severities', 3, '--subset', 1]
    output = ok(run(*args, '--out', 'first.json', cwd=segmentor))
    assert conditions(output) == ['clean', *(f'{name} 3' for name in ALL_CORRUPTIONS)]
    ok(run(*args, '--out', 'second.json', '--workers', 1, cwd=segmentor))
    first, second = ((segmentor / name).read_text() for name in ('first.json', 'second.json'))
    assert first == second
    content = json.loads(first)
    entry = content['summary']['metrics']['mIoU']
    standard = [entry['corruptions'][name] for name in ALL_CORRUPTIONS[:15]]
    assert entry['mPC'] == pytest.approx(sum(standard) / 15)
    assert entry['clean'] == content['results']['clean']['0']['mIoU']
    check_picture(segmentor / 'first.png', (600, 600), colors=20)
    check_picture(segmentor / 'first_samples.png', (300, 1500), colors=1000)

    seeded = ok(run(*args, '--out', 'third.json', '--seed', 5, '--corruptions', 'noise', cwd=segmentor))
    assert 'mPC' in seeded
    noise = [json.loads((segmentor / f).read_text())['results']['gaussian_noise'] for f in ('first.json', 'third.json')]
    assert noise[0] != noise[1]


@pytest.mark.slow(45)
def test_detector_resumes_and_compares(detector, scenes, refused):
    args = ['test_robustness.py', 'small.py', 'small.pth', '--subset', 1, '--out', 'r.json']
    output = ok(run(*args, '--corruptions', 'fog', '--severities', 1, cwd=detector))
    assert conditions(output) == ['clean', 'fog 1']
    more = ok(run(*args, '--corruptions', 'fog', 'contrast', '--severities', 1, 2, cwd=detector))
    assert conditions(more) == ['fog 2', 'contrast 1', 'contrast 2']
    again = ok(
        run(*args, '--corruptions', 'fog', 'contrast', '--severities', 1, 2, '--reference', 'r.json', cwd=detector)
    )
    assert conditions(again) == []
    summary = json.loads((detector / 'r.json').read_text())['summary']['metrics']
    assert set(summary) == {'coco/bbox_mAP', 'coco/segm_mAP'}
    assert summary['coco/bbox_mAP']['mCE'] == 1.0  # against itself
    check_picture(detector / 'r.png', (900, 200), colors=20)

    another = refused(*args[:3], '--out', 'r.json', '--seed', 1, cwd=detector)
    assert 'r.json holds results of another seed, subset; give another --out' in another

    # images of the same names are other data all the same; moved ones are not
    for folder, pixel in (('moved', None), ('other', 0)):
        copied = shutil.copytree(scenes, detector / folder)
        if pixel is not None:
            image = next((copied / 'images/validation').glob('*.png'))
            cv2.imwrite(str(image), np.full_like(cv2.imread(str(image)), pixel))
    corrupted = [*args, '--corruptions', 'fog', '--severities', 1]
    assert conditions(ok(run(*corrupted, '--cfg-options', 'data_root=moved/', cwd=detector))) == []
    another = refused(*corrupted, '--cfg-options', 'data_root=other/', cwd=detector)
    assert 'r.json holds results of another data_sha256; give another --out' in another
    another = refused(*corrupted, '--dtype', 'bf16', cwd=detector)
    assert 'r.json holds results of another dtype; give another --out' in another


@pytest.mark.slow
def test_small_images_are_named(scenes, segmentor, tmp_path, refused):
    for folder in ('images', 'annotations'):
        (tmp_path / folder / 'validation').mkdir(parents=True)
        mask = cv2.imread(str(scenes / folder / 'validation/000000.png'), cv2.IMREAD_UNCHANGED)[:31, :40]
        cv2.imwrite(str(tmp_path / folder / 'validation/tiny.png'), mask)
    args = ['test_robustness.py', 'small.py', 'small.pth', '--corruptions', 'fog', '--severities', 1]
    small = refused(*args, '--out', 'tiny.json', '--cfg-options', f'data_root={tmp_path}/', cwd=segmentor)
    assert 'tiny.png: image of 40x31 pixels is too small: corruptions need 32' in small
