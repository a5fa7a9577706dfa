"""Training and testing from Python: the same as by the commands, and nothing is overwritten."""

import json
import logging
import subprocess
import sys
from pathlib import Path

import own_sets
import pytest
import torch
from tiny_models import TINY_MASK_RCNN, TINY_UPERNET

import mmlska
from mmlska.engine.config import load_config
from mmlska.engine.tiling import tiles_of

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """The working directory, with a config of each kind and a folder of labelled photos for it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        logging, 'raiseExceptions', False
    )  # loggers of earlier runs in this process have closed streams
    (tmp_path / 'detector.py').write_text(TINY_MASK_RCNN)
    (tmp_path / 'segmentor.py').write_text(TINY_UPERNET)
    own_sets.simple(tmp_path / 'pets')
    own_sets.mask_set(tmp_path / 'stripes')
    return tmp_path


def weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    return mmlska.weights.read_checkpoint(checkpoint).content['state_dict']


@pytest.mark.slow(60)
def test_a_detector_trains_predicts_and_measures_on_a_folder(here, capsys):
    model = mmlska.load('detector.py')
    metrics = model.train(data='pets', epochs=1, seed=0)
    assert {'coco/bbox_mAP', 'coco/segm_mAP'} <= set(metrics)
    run = here / 'work_dirs/detector_pets'
    assert model.checkpoint.parent == run
    assert model.config == run / 'detector.py'
    assert model.names == {0: 'cat', 1: 'dog'}
    assert len(model.predict('pets/images')) == 4
    assert model.test() == model.val() == metrics  # of the weights that it has now
    assert 'Average Precision' not in capsys.readouterr().out  # pycocotools' table
    for name, tensor in model.module.state_dict().items():
        assert torch.equal(tensor, weights(model.checkpoint)[name]), name

    before = {file: file.read_bytes() for file in run.glob('*.pth')}
    model.train(data='pets', epochs=1, seed=0, cfg_options={'optim_wrapper.optimizer.lr': 0.0})
    assert model.checkpoint.parent == here / 'work_dirs/detector_pets_2'
    assert {file: file.read_bytes() for file in run.glob('*.pth')} == before
    first = weights(here / 'work_dirs/detector_pets/epoch_1.pth')
    again = weights(here / 'work_dirs/detector_pets_2/epoch_1.pth')
    for name in ('backbone.patch_embed1.projection.weight', 'roi_head.bbox_head.fc_cls.weight'):
        assert torch.equal(again[name], first[name]), name  # it started from the weights it had, and learned nothing
    assert mmlska.load(here / 'work_dirs/detector_pets').names == model.names


@pytest.mark.slow(60)
def test_trains_as_the_command_does(here):
    options = ['--data', 'pets', '--epochs', '1', '--seed', '0', '--work-dir', 'command', '--clip-grad', '5']
    done = subprocess.run(
        [sys.executable, str(ROOT / 'tools/train.py'), 'detector.py', *options],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    model = mmlska.load('detector.py')
    model.train(data='pets', epochs=1, seed=0, work_dir='python', clip_grad=5)
    for name, tensor in weights(here / 'command/epoch_1.pth').items():
        assert torch.equal(tensor, weights(here / 'python/epoch_1.pth')[name]), name


@pytest.mark.slow(60)
def test_a_segmentor_trains_and_resumes(here, capsys):
    model = mmlska.load('segmentor.py')
    settings = {'default_hooks.logger.interval': 1}
    metrics = model.train(data='stripes', epochs=1, seed=0, work_dir='run', cfg_options=settings)
    assert 'mIoU' in metrics
    assert 'data ' in capsys.readouterr().out  # what was made of the folder
    assert set(model.predict('stripes/images/0.jpg').areas) <= set(model.names.values())
    with pytest.raises(ValueError, match='work_dir run holds a training; give another, or resume=True to continue it'):
        model.train(data='stripes', work_dir='run')
    longer = {**settings, 'train_cfg.max_iters': 4}
    model.train(data='stripes', epochs=2, seed=0, work_dir='run', resume=True, cfg_options=longer)
    logs = sorted((here / 'run').glob('*/vis_data/scalars.json'))
    steps = [[json.loads(line).get('iter') for line in log.read_text().splitlines()] for log in logs]
    first, second = ([step for step in each if step] for each in steps)
    assert first[0] == 1
    assert second[0] == first[-1] + 1  # it continued
    assert model.checkpoint.parent == here / 'run'


@pytest.mark.slow(30)
def test_a_model_trained_on_tiles_predicts_them(here):
    model = mmlska.load('detector.py')
    metrics = model.train(data='pets', epochs=1, seed=0, tile=48, overlap=8, keep_anchors=True, report=False)
    assert tiles_of(load_config(str(model.config))) == (48, 8)
    assert model.test() == metrics
    plain, named, whole = (
        [(box.tolist(), score) for box, score in zip(result.boxes, result.scores)]
        for result in (
            model.predict('pets/images/0.png', score_thr=0.0, **tile)
            for tile in ({}, dict(tile=48, overlap=8), dict(tile=0))
        )
    )
    assert plain == named != whole

    with pytest.raises(ValueError, match='overlap=40 must be 0 to 16, a third of tile=48'):
        model.train(data='pets', epochs=1, overlap=40, work_dir='refused')
    generator = load_config(str(model.config)).model.rpn_head.anchor_generator
    model.train(data='pets', epochs=1, seed=0, work_dir='second', report=False)
    second = load_config(str(model.config))
    assert tiles_of(second) == (48, 8), 'weights continue in the tiles that they have learnt'
    assert second.model.rpn_head.anchor_generator == generator


@pytest.mark.parametrize(
    ('arguments', 'kind', 'message'),
    [
        (dict(val_fraction=0.3), ValueError, 'val_fraction go with data; give a folder'),
        (dict(keep_anchors=True), ValueError, 'keep_anchors go with data; give a folder'),
        (dict(data='pets', overlap=9), ValueError, '--overlap 9 is that of tiles; give --tile N too'),
        (dict(data='pets', tile=20), ValueError, 'tile=20 must be at least 32 pixels'),
        (dict(epochs=3), FileNotFoundError, 'train data not found'),
        (dict(data='nowhere'), FileNotFoundError, 'nowhere is not a folder'),
        (dict(data='stripes'), ValueError, 'stripes'),
        (dict(data='pets', ema=2.0), ValueError, 'ema 2.0 is out of range'),
        (dict(), FileNotFoundError, 'train data not found'),
    ],
)
def test_wrong_settings_leave_nothing_behind(arguments, kind, message, here):
    (here / 'detector.py').write_text(TINY_MASK_RCNN + "data_root = 'nothing/'\n")
    model = mmlska.load('detector.py')
    with pytest.raises(kind, match=message):
        model.train(**arguments)
    assert not [path for path in (here / 'work_dirs').rglob('*') if path.name == 'training.lock']


def test_a_test_of_no_split(here):
    with pytest.raises(ValueError, match="split='train' is unknown; choose 'test' or 'val'"):
        mmlska.load('detector.py').test(split='train')
