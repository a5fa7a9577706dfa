"""Ultralytics' .pt files are read without running anything: no canary appears, unless the file is trusted."""

import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from ultralytics import YOLO
from ultralytics.nn import tasks

from mmlska import yolo as lska_yolo
from mmlska.weights import UnsafeFileError, WeightsError
from mmlska.yolo import files
from mmlska.yolo.ablation import build

ROOT = Path(__file__).resolve().parents[2]


class Payload:
    """Pickles as a call."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.fixture(scope='module')
def stock(tmp_path_factory):
    """A file as Ultralytics saves it."""
    path = tmp_path_factory.mktemp('stock') / 'yolo11n.pt'
    YOLO('yolo11n.yaml').save(str(path))
    return path


def network():
    return YOLO('yolo11n.yaml').model


def _top(path, payload):
    torch.save(payload, path)


def _beside(path, payload):
    torch.save(dict(model=network(), train_args=payload), path)


def _inside(path, payload):
    model = network()
    model.criterion = payload
    torch.save(dict(model=model), path)


def _legacy(path, payload):
    torch.save(dict(model=network(), date=payload), path, _use_new_zipfile_serialization=False)


def _as_hook(path, payload):
    model = network()
    model.model[0]._forward_hooks[0] = payload
    torch.save(dict(ema=model), path)


CALLS = {
    'load_yolo': lambda path: lska_yolo.load_yolo(path),
    'transfer': lambda path: lska_yolo.transfer(YOLO('yolo11n-lska-sppf.yaml'), path),
    'transfer of a str': lambda path: lska_yolo.transfer(YOLO('yolo11n-lska-sppf.yaml'), str(path)),
    'build': lambda path: build(str(path), 'sppf', 11),
    'build stock': lambda path: build(str(path), 'stock', 11),
}


@pytest.mark.parametrize('call', CALLS)
def test_no_file_runs_code(tmp_path, call):
    lska_yolo.register()
    for write in (_top, _beside, _inside, _legacy, _as_hook):
        path, canary = tmp_path / f'{write.__name__}.pt', tmp_path / f'{write.__name__}.ran'
        write(path, Payload(os.system, f'touch {canary}'))
        with pytest.raises(UnsafeFileError, match=r'\.pt asks for posix.system and might run code.*--trust-checkpoint'):
            CALLS[call](path)
        assert not canary.exists(), write.__name__


@pytest.mark.parametrize('suffix', ['.PT', '.pth', ''])
def test_no_suffix_leads_around_the_reader(tmp_path, suffix):
    path, canary = tmp_path / f'evil{suffix}', tmp_path / 'ran'
    _beside(path, Payload(os.system, f'touch {canary}'))
    with pytest.raises(UnsafeFileError):
        build(str(path), 'stock', 11)
    assert not canary.exists()


def test_what_is_trusted_runs(tmp_path):
    for number, call in enumerate(
        (lska_yolo.load_yolo, lambda p, trust: lska_yolo.transfer(YOLO('yolo11n.yaml'), p, trust=trust))
    ):
        path, canary = tmp_path / f'{number}.pt', tmp_path / f'{number}.ran'
        _beside(path, Payload(os.system, f'touch {canary}'))
        with pytest.raises(Exception):  # noqa: B017, PT011 (what Ultralytics makes of an exit status as arguments)
            call(path, trust=True)
        assert canary.exists()


def test_functions_of_ultralytics_are_not_called(tmp_path):
    """What is known by name is not made: not even Ultralytics' own reader of such files."""
    inner, path, canary = tmp_path / 'inner.pt', tmp_path / 'outer.pt', tmp_path / 'ran'
    _top(inner, Payload(os.system, f'touch {canary}'))
    evil = dict(nc=1, activation=f'[open({str(canary)!r}, "w"), torch.nn.SiLU()][1]', backbone=[], head=[])
    for payload in (Payload(tasks.torch_safe_load, str(inner)), Payload(tasks.DetectionModel, evil)):
        _beside(path, payload)
        assert lska_yolo.load_yolo(path).task == 'detect'
        _inside(path, payload)
        assert lska_yolo.load_yolo(path).task == 'detect'
    assert not canary.exists()


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda d, code: d.update(activation=code), "with the activation '__import__"),
        (
            lambda d, code: d['backbone'].__setitem__(0, [-1, 1, 'torch_safe_load', ['evil.pt']]),
            "layer 'torch_safe_load'",
        ),
        (lambda d, code: d['head'].append([-1, 1, 'TorchVision', [1000, 'vgg11', 'DEFAULT']]), "layer 'TorchVision'"),
        (lambda d, code: d['backbone'].__setitem__(1, [-1, 1000, 'Conv', [64, 3, 2]]), 'repeats a layer 1000'),
        (lambda d, code: d['backbone'].__setitem__(1, [-1, 1, 'Conv', [60_000, 3, 2]]), 'other tensors than those'),
        (lambda d, code: d['backbone'].append([-1, 1, 'nn.functional', []]), "layer 'nn.functional'"),
        (lambda d, code: d.update(scales={'n': [11, 1, 1]}), 'with the scale'),
        (lambda d, code: d.update(nc=10**9), 'YAML with'),
        (lambda d, code: d['head'].append([-1, 1, 5, []]), 'describes no network'),
        (lambda d, code: d['head'].append([-1, 1, 'Conv + LSKA(sppf x)', []]), 'describes no network'),
        (lambda d, code: d['head'].append([-1, 1, 'Conv + LSKA(sppf)', []]), 'describes no network'),
        (lambda d, code: d.update(backbone=None), 'no YAML of a network'),
    ],
    ids=[
        *('activation', 'reader', 'download', 'repeats', 'width', 'module', 'scale', 'number'),
        *('no name', 'no size', 'no kernel', 'nothing'),
    ],
)
def test_the_yaml_in_a_file_is_data_as_well(tmp_path, change, message):
    """Training builds a model again from it, by a parser that evaluates and calls."""
    canary, path, model = tmp_path / 'ran', tmp_path / 'yaml.pt', network()
    change(model.yaml, f'__import__("os").system("touch {canary}")')
    torch.save(dict(model=model), path)
    with pytest.raises(WeightsError, match=f'yaml.pt .*{message}.*, so it was not read') as info:
        lska_yolo.load_yolo(path)
    assert not canary.exists()
    assert '\n' not in str(info.value)


@pytest.mark.parametrize(
    'content', [b'', b'PK\x03\x04', b'\x80\x02', pickle.dumps(3, 2)], ids=['empty', 'zip', 'cut', 'number']
)
def test_what_is_no_model(tmp_path, content):
    (tmp_path / 'w.pt').write_bytes(content)
    with pytest.raises(WeightsError, match=r'w\.pt '):
        lska_yolo.load_yolo(tmp_path / 'w.pt')
    torch.save(dict(model=3), tmp_path / 'w.pt')
    with pytest.raises(WeightsError, match='holds no model of Ultralytics'):
        lska_yolo.load_yolo(tmp_path / 'w.pt')
    with pytest.raises(FileNotFoundError, match=r'nothing\.pt do not exist'):
        lska_yolo.load_yolo(tmp_path / 'nothing.pt')


@pytest.mark.parametrize('name', ['yolo11n', 'yolov8n', 'yolo11n-seg', 'yolov8n-pose', 'yolo11n-obb', 'yolo11n-cls'])
def test_a_stock_file_is_read_whole(tmp_path, name):
    path = tmp_path / f'{name}.pt'
    stock = YOLO(f'{name}.yaml')
    stock.ckpt = {'train_args': dict(imgsz=64, data='evil.yaml')}
    stock.save(str(path))
    by_ultralytics, ours = YOLO(str(path)), lska_yolo.load_yolo(path)
    assert (ours.task, ours.names) == (by_ultralytics.task, by_ultralytics.names)
    assert ours.overrides['imgsz'] == by_ultralytics.overrides['imgsz'] == 64
    assert (ours.model.args['imgsz'], ours.model.args['data']) == (64, None)
    exported = Path(ours.export(format='torchscript', imgsz=32))
    assert exported == path.with_suffix('.torchscript')
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        wanted, found = (first(model.model.float().eval()(x)) for model in (by_ultralytics, ours))
    assert torch.equal(found, wanted)


def test_ultralytics_own_weights_are_downloaded_by_their_names(tmp_path, monkeypatch, stock):
    asked = []

    def download(path):
        asked.append(path)
        return shutil.copy(stock, path)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(files, 'attempt_download_asset', download)
    assert build('yolo11n.pt', 'stock', 11).task == 'detect'
    assert build('yolo11n.pt', 'stock', 11).task == 'detect'
    assert asked == [Path('yolo11n.pt')]
    with pytest.raises(FileNotFoundError, match=r'mine\.pt do not exist'):
        build('mine.pt', 'stock', 11)


def first(output):
    return output if isinstance(output, torch.Tensor) else first(output[0])


def test_an_attached_model_is_read_as_it_was_saved(tmp_path):
    model = lska_yolo.attach(YOLO('yolo11n.yaml'), 'sppf')
    model.save(str(tmp_path / 'attached.pt'))
    found = lska_yolo.load_yolo(tmp_path / 'attached.pt').model.state_dict()
    wanted = YOLO(str(tmp_path / 'attached.pt')).model.state_dict()
    assert list(found) == list(wanted)
    assert all(torch.equal(found[k].float(), wanted[k].float()) for k in wanted)


def test_the_command_line(tmp_path):
    path, canary = tmp_path / 'evil.pt', tmp_path / 'ran'
    _beside(path, Payload(os.system, f'touch {canary}'))
    (tmp_path / 'a').mkdir()
    Image.new('RGB', (32, 32)).save(tmp_path / 'a/photo.png')
    (tmp_path / 'data.yaml').write_text(f'path: {tmp_path}\ntrain: a\nval: a\nnames: {{0: a}}\n')
    done = subprocess.run(
        [sys.executable, ROOT / 'tools/yolo_ablate.py', 'data.yaml', '--base', path, '--out', tmp_path / 'out.json'],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2, done.stderr[-500:]
    assert 'yolo_ablate.py: error: ' in done.stderr
    assert 'asks for posix.system' in done.stderr
    assert 'Traceback' not in done.stderr
    assert not canary.exists()
