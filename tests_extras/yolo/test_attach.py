"""LSKA added to a finished model: nothing changes at first, everything is kept, and training goes on with it."""

import importlib
import json
from copy import deepcopy

import pytest
import torch
from ultralytics import YOLO

import mmlska.yolo as lska_yolo
from mmlska.models import LSKAPlugin
from mmlska.yolo import record
from tests_extras.helpers import QUICK, fresh


@pytest.mark.parametrize('name', ['yolov8n', 'yolo11n', 'yolo11n-seg'])
@pytest.mark.parametrize('place', [*lska_yolo.PLACES, 'all'])
@torch.no_grad()
def test_outputs_are_equal_to_the_last_bit(name, place):
    model = with_statistics(YOLO(f'{name}.yaml'))
    x, stock = torch.rand(2, 3, 64, 96), {k: v.clone() for k, v in model.model.state_dict().items()}
    before = flat(model.model(x))
    lska_yolo.attach(model, lska_yolo.PLACES if place == 'all' else place, k_size=23)
    after = flat(model.model(x))
    assert len(before) == len(after)
    assert all(torch.equal(a, b) for a, b in zip(before, after))
    now = model.model.state_dict()
    assert all(torch.equal(now[k], v) for k, v in stock.items())
    new = [m for m in model.model.modules() if isinstance(m, LSKAPlugin)]
    assert new
    for m in new:
        m.layer_scale.fill_(0.5)
    assert not torch.equal(flat(model.model(x))[0], before[0])  # it is in the way of the map, and not only beside it


def with_statistics(model):
    """Without BatchNorm statistics of real maps, those of a random model vanish and every image gets the same answer."""
    norms = [m for m in model.model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    torch.manual_seed(0)
    for m in norms:
        m.momentum = 1.0
    with torch.no_grad():
        model.model.train()(torch.rand(4, 3, 64, 64))
    for m in norms:
        m.momentum = 0.03
    model.model.eval()
    return model


def flat(out):
    """Every tensor of a model's output."""
    if isinstance(out, torch.Tensor):
        return [out]
    parts = out.values() if isinstance(out, dict) else out
    return [t for part in parts if part is not None for t in flat(part)]


def test_fused_outputs_are_those_of_the_stock_model():
    model, x = with_statistics(YOLO('yolo11n.yaml')).model, torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        stock = deepcopy(model).fuse(verbose=False)(x)[0]
        assert torch.equal(lska_yolo.attach(model, 'sppf').fuse(verbose=False)(x)[0], stock)


@pytest.mark.parametrize(
    ('where', 'k_size', 'message'),
    [
        ({'tail'}, 11, 'choose among bottleneck, sppf, neck, head'),
        ([], 11, 'choose among bottleneck, sppf, neck, head'),
        ('sppf', 12, 'k_size=12 cannot be split'),
    ],
)
def test_wrong_arguments(where, k_size, message):
    model = YOLO('yolo11n.yaml')
    with pytest.raises(ValueError, match=message):
        lska_yolo.attach(model, where, k_size)
    assert not any(isinstance(m, LSKAPlugin) for m in model.model.modules())


def test_models_that_cannot_take_it():
    with pytest.raises(TypeError, match='model must be YOLO'):
        lska_yolo.attach(torch.nn.Conv2d(3, 3, 1))
    model = YOLO('yolo11n.yaml')
    lska_yolo.attach(model, 'sppf')
    with pytest.raises(ValueError, match="there is LSKA at 'sppf' already"):
        lska_yolo.attach(model, 'sppf')
    lska_yolo.attach(model, 'head')  # another place is free
    with pytest.raises(ValueError, match='the model is fused for inference'):
        lska_yolo.attach(YOLO('yolo11n.yaml').model.fuse(verbose=False))


def test_an_unregistered_ultralytics_refuses_the_record():
    model = lska_yolo.attach(YOLO('yolo11n.yaml'), {'sppf', 'neck'}, 23)
    names = [row[2] for row in model.model.yaml['backbone'] + model.model.yaml['head']]
    assert names.count('SPPF + LSKA(sppf 23)') == 1
    assert names.count('C3k2 + LSKA(neck 23)') == 4
    lska_yolo.unregister()
    with pytest.raises(KeyError, match=r'SPPF \+ LSKA'):
        type(model.model)(model.model.yaml, verbose=False)
    lska_yolo.register()
    assert type(model.model)(model.model.yaml, verbose=False).state_dict().keys() == model.model.state_dict().keys()


def test_files_saved_before_find_the_hooks_where_they_were():
    """A .pt file of Ultralytics names functions by their module."""
    module = importlib.import_module('mmlska.yolo.attach')
    assert (module._attend_output, module._attend_inputs) == (record._attend_output, record._attend_inputs)


RESUME = """
import json, sys
from ultralytics import YOLO
from mmlska.yolo import register
from mmlska.yolo.trainers import DetectionTrainer

model = YOLO(sys.argv[1])
loaded = {k: v.sum().item() for k, v in model.model.state_dict().items() if 'layer_scale' in k}
model.train(resume=True, trainer=DetectionTrainer)
scales = {k: v.sum().item() for k, v in model.model.state_dict().items() if 'layer_scale' in k}
print(json.dumps(dict(loaded=loaded, scales=scales, epoch=model.trainer.epoch)))
"""


@pytest.mark.slow
def test_training_keeps_it_and_a_fresh_process_resumes(yolo_data, tmp_path):
    torch.manual_seed(0)
    model = lska_yolo.attach(YOLO('yolo11n.yaml'), {'sppf', 'head'})
    stop_after_one = lambda trainer: setattr(trainer, 'stop', True)  # noqa: E731
    model.add_callback('on_train_epoch_end', stop_after_one)
    # A training that was stopped after one of two epochs, without the last validation, which takes the optimizer out of last.pt.
    model.add_callback('on_model_save', lambda t: (tmp_path / 'stopped.pt').write_bytes(t.last.read_bytes()))
    model.train(data=str(yolo_data), project=str(tmp_path), name='a', exist_ok=True, **{**QUICK, 'epochs': 2})
    trained = {k: v for k, v in model.model.state_dict().items() if 'layer_scale' in k}
    assert len(trained) == 4
    assert all(v.abs().sum() > 0 for v in trained.values())  # the attention was in the model that trained
    report = json.loads(fresh('-c', RESUME, tmp_path / 'stopped.pt', cwd=tmp_path).splitlines()[-1])
    assert report['epoch'] == 1
    assert set(report['loaded']) == set(report['scales']) == set(trained)
    assert report['loaded'] != report['scales']
