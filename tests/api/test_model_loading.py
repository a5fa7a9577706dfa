"""What ``mmlska.load`` takes, and what it says about the rest."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import mmlska
from mmlska.api import Result
from mmlska.infer import Predictor

PIXELS = np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8)


@pytest.fixture
def left(tiny_models, tmp_path, monkeypatch) -> Path:
    """A folder with a config and, in work_dirs, what a training with it left."""
    monkeypatch.chdir(tmp_path)
    config, checkpoint = tiny_models['retinanet']
    run = tmp_path / 'work_dirs/tiny'
    run.mkdir(parents=True)
    for folder in (tmp_path, run):
        (folder / 'tiny.py').write_bytes(config.read_bytes())
    (run / 'epoch_1.pth').write_bytes(checkpoint.read_bytes())
    (run / 'last_checkpoint').write_text('/elsewhere/epoch_1.pth')
    return tmp_path


def test_a_checkpoint_is_found_by_its_work_directory(left):
    checkpoint = left / 'work_dirs/tiny/epoch_1.pth'
    for named in (['tiny.py'], ['work_dirs/tiny'], ['tiny.py', 'work_dirs/tiny'], ['work_dirs/tiny/tiny.py']):
        assert mmlska.load(*named).checkpoint.samefile(checkpoint), named
    (left / 'named.py').write_text(f'_base_ = "tiny.py"\nload_from = {str(checkpoint)!r}\n')
    assert mmlska.load('named.py').checkpoint == checkpoint


def test_a_start_with_other_classes_is_found_unfit_when_it_predicts(left):
    """To train from it is what such a config is for."""
    more = "load_from = 'work_dirs/tiny/epoch_1.pth'\nmodel = dict(bbox_head=dict(num_classes=2))\n"
    (left / 'fine.py').write_text(f"_base_ = 'tiny.py'\n{more}")
    model = mmlska.load('fine.py')
    with pytest.raises(ValueError, match='epoch_1.pth does not fit fine.py'):
        model.predict(PIXELS)


def test_a_folder_may_have_the_name_of_a_config(left):
    (left / 'retinanet_van_lska_t').mkdir()
    assert mmlska.load('retinanet_van_lska_t').config.name == 'retinanet_van_lska_t.py'


def test_a_model_tells_what_it_is(left, tiny_models):
    model = mmlska.load('tiny.py', device='cpu')
    assert repr(model) == f'Model(tiny, RetinaNet, {model.checkpoint}, on cpu)'
    assert model.names == dict(enumerate(['circle', 'square', 'triangle', 'star', 'ring']))
    saved = torch.load(tiny_models['retinanet'].checkpoint)['state_dict']
    assert not model.module.training
    for name, tensor in model.module.state_dict().items():  # not folded: as it was trained
        assert torch.equal(tensor, saved[name]), name


def test_a_model_without_weights(left):
    (left / 'work_dirs').rename(left / 'elsewhere')
    model = mmlska.load('tiny.py', device='cpu')
    assert repr(model) == 'Model(tiny, RetinaNet, no weights yet, on cpu)'
    assert model.names[4] == 'ring'
    assert model.module(torch.rand(1, 3, 64, 64), mode='tensor')
    message = r"tiny has no weights yet; train it by model.train\(data=DIR\), or give a checkpoint: mmlska.load\('tiny', CHECKPOINT"
    for use in (lambda: model.predict(PIXELS), model.test, model.export):
        with pytest.raises(ValueError, match=message):
            use()


@pytest.mark.parametrize(
    ('arguments', 'kind', 'message'),
    [
        (['mask_rcn_van_lska_t'], FileNotFoundError, 'did you mean mask_rcnn_van_lska_t'),
        (['tiny.py', 'nothing.pth'], FileNotFoundError, 'checkpoint nothing.pth does not exist'),
        (['.'], FileNotFoundError, 'is a folder without one config and a checkpoint; give a config'),
        (['tiny.py', 'work_dirs'], FileNotFoundError, 'work_dirs is a folder without a checkpoint; give a file'),
        (['retinanet_van_lska_s', 'work_dirs/tiny'], ValueError, 'epoch_1.pth does not fit retinanet_van_lska_s.py'),
    ],
)
def test_wrong_names_are_one_line(arguments, kind, message, left):
    with pytest.raises(kind, match=message) as caught:
        mmlska.load(*arguments)
    assert '\n' not in str(caught.value)


def test_wrong_devices_and_types(left):
    with pytest.raises(ValueError, match="device='tpu9' is not there; use 'auto' or 'cpu'"):
        mmlska.load('tiny.py', device='tpu9')
    with pytest.raises(ValueError, match="dtype='fp8' is unknown"):
        mmlska.load('tiny.py', dtype='fp8')


def test_a_classifier_predicts_nothing_here():
    model = mmlska.load('pretrain_van_lska_t_tiny_imagenet')
    for use in (lambda: model.module, lambda: model.names):
        with pytest.raises(ValueError, match='is a classifier, which can be trained and tested only; predict with'):
            use()


@pytest.mark.parametrize('name', ['retinanet', 'upernet'])
def test_predicts_what_the_predictor_predicts(name, tiny_models):
    model = mmlska.load(*tiny_models[name])
    (own,) = Predictor(*tiny_models[name], deploy=False)(PIXELS)
    result = model.predict(PIXELS)
    wanted, found = own.to_dict(0.3), result.to_dict()
    if name == 'upernet':
        np.testing.assert_array_equal(found.pop('mask'), wanted.pop('mask'))
    assert found == wanted
    assert repr(model(PIXELS)) == repr(result)  # the model itself is callable


def test_one_picture_gives_a_result_and_many_a_list(tiny_models, tmp_path):
    model = mmlska.load(*tiny_models['retinanet'], deploy=True)
    for name in ('a.png', 'b.png'):
        Image.fromarray(PIXELS[..., ::-1]).save(tmp_path / name)
    one = [model.predict(source) for source in (tmp_path / 'a.png', PIXELS, Image.open(tmp_path / 'a.png'))]
    assert all(isinstance(result, Result) for result in one)
    assert len({str(result.boxes.round(3)) for result in one}) == 1  # one order of channels
    for source, count in ((tmp_path, 2), (f'{tmp_path}/a*', 1), ([PIXELS, tmp_path], 3)):
        results = model.predict(source)
        assert isinstance(results, list)
        assert len(results) == count
    stream = model.predict(tmp_path, stream=True, batch_size=2)
    assert next(stream).path == str(tmp_path / 'a.png')
    assert [result.path for result in stream] == [str(tmp_path / 'b.png')]
    strict = model.predict(PIXELS, score_thr=0.9)
    assert len(one[0]) > 0
    assert len(strict) == (one[0].scores >= 0.9).sum()
    with pytest.raises(ValueError, match='nothing is downloaded here'):
        model.predict('https://host/photo.jpg')


@pytest.mark.slow(30)
def test_exports_beside_the_checkpoint(left):
    pytest.importorskip('onnxruntime', reason='no onnxruntime; pip install -r requirements/export.txt')
    exported = mmlska.load('tiny.py').export()
    assert exported.path.samefile(left / 'work_dirs/tiny/epoch_1.onnx')
    assert exported.kind == 'RetinaNet'
