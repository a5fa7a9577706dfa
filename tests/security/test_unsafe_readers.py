"""No file that is read as weights or predictions runs code, whoever reads it: no canary appears, unless the file is trusted."""

from __future__ import annotations

import subprocess
import sys
import threading
from contextlib import suppress

import pytest
import torch
from error_models import SEGMENTOR, small_model
from evil_files import CHECKPOINTS, PREDICTIONS, Payload, Reduced, predictions, write_zip
from mmengine.model import PretrainedInit
from mmengine.runner import CheckpointLoader
from mmengine.runner.checkpoint import _load_checkpoint
from torch import nn

from mmlska import VAN_LSKA
from mmlska.analysis.predictions import read_predictions
from mmlska.engine.config import load_config
from mmlska.engine.launch import build_test_runner, build_train_runner, prepare
from mmlska.infer import Predictor
from mmlska.infer.model import build_model
from mmlska.models.classifier import van_lska_tiny
from mmlska.weights import UnsafeFileError, WeightsError, checkpoint_file, load_weights, read_checkpoint, safe_reading
from mmlska.weights.checkpoint_file import read_outline
from mmlska.weights.convert import convert_file


@pytest.fixture(autouse=True)
def no_command_line(monkeypatch):
    """As in a library: no test before has called use_safe_reader()."""
    monkeypatch.setattr(checkpoint_file, '_trust_everywhere', None)


@pytest.fixture(scope='module')
def config(scenes, tmp_path_factory):
    return small_model(SEGMENTOR, scenes, tmp_path_factory.mktemp('small'))[0]


def prepared(config, folder):
    cfg = load_config(str(config))
    prepare(cfg, str(config), work_dir=str(folder / 'work'), launcher='none', seed=0)
    return cfg


def start_training(config, path, folder):
    cfg = prepared(config, folder)
    cfg.load_from = str(path)
    build_train_runner(cfg).load_or_resume()


def start_a_part(config, path, folder):
    """A part of a config's model that starts from a file, through MMEngine's own initialiser."""
    with safe_reading():
        model = build_model(load_config(str(config)))
        model.decode_head.init_cfg = dict(type='Pretrained', checkpoint=str(path))
        model.decode_head.init_weights()


CALLS = {
    'build_model': lambda config, path, folder: build_model(load_config(str(config)), str(path)),
    'build_test_runner': lambda config, path, folder: build_test_runner(prepared(config, folder), str(path)).test(),
    'build_train_runner': start_training,
    'init_cfg of a part': start_a_part,
    'Predictor': lambda config, path, folder: Predictor(str(config), path),
    'load_weights': lambda config, path, folder: load_weights(VAN_LSKA('t'), str(path)),
    'van_lska_tiny': lambda config, path, folder: van_lska_tiny(pretrained=str(path)),
    'convert_file': lambda config, path, folder: convert_file(path, folder / 'out.safetensors'),
    'read_outline': lambda config, path, folder: read_outline(path),
}


@pytest.mark.parametrize('call', CALLS)
def test_no_checkpoint_runs_code(config, tmp_path, call):
    for name, write in CHECKPOINTS.items():
        canary, path = tmp_path / f'{name}.ran', tmp_path / name
        write(path, Payload(canary))
        with pytest.raises(WeightsError, match=r'asks for posix.system and might run code|neither a torch nor') as info:
            CALLS[call](config, path, tmp_path)
        assert not canary.exists(), name
        assert '\n' not in str(info.value)
        assert str(path) in str(info.value)


def test_a_training_reads_all_parts_so(config, tmp_path):
    canary, path = tmp_path / 'ran', tmp_path / 'part.pth'
    CHECKPOINTS['zip.pth'](path, Payload(canary))
    cfg = prepared(config, tmp_path)
    cfg.model.decode_head.init_cfg = dict(type='Pretrained', checkpoint=str(path))
    with pytest.raises(UnsafeFileError, match='part.pth asks for posix.system'):
        build_train_runner(cfg).train()
    assert not canary.exists()


@pytest.mark.parametrize(
    'call',
    [
        lambda config, path, folder: build_model(load_config(str(config)), str(path), trust=True),
        lambda config, path, folder: build_test_runner(prepared(config, folder), str(path), trust=True).test(),
        lambda config, path, folder: Predictor(str(config), path, trust=True),
        lambda config, path, folder: read_checkpoint(path, trust=True),
        lambda config, path, folder: convert_file(path, folder / 'out.safetensors', trust=True),
    ],
    ids=['build_model', 'build_test_runner', 'Predictor', 'read_checkpoint', 'convert_file'],
)
def test_what_is_trusted_runs(config, tmp_path, call):
    canary, path = tmp_path / 'ran', tmp_path / 'mine.pth'
    CHECKPOINTS['in_meta.pth'](path, Payload(canary))
    with suppress(ValueError):  # it holds no weights of this model
        call(config, path, tmp_path)
    assert canary.exists()


@pytest.mark.parametrize('kind', PREDICTIONS)
def test_no_predictions_run_code(config, tmp_path, kind):
    canary, path = tmp_path / 'ran', tmp_path / 'pred.pkl'
    predictions(kind, path, canary)
    with pytest.raises(UnsafeFileError, match=r'pred.pkl asks for \S+ and might run code.*--trust-checkpoint') as info:
        read_predictions(prepared(config, tmp_path), path)
    assert not canary.exists()
    assert '\n' not in str(info.value)
    with pytest.raises((ValueError, AttributeError, TypeError)):
        read_predictions(prepared(config, tmp_path), path, trust=True)
    assert canary.exists()


def test_what_a_config_names_is_read_like_all_others(tmp_path):
    canary, path = tmp_path / 'ran', tmp_path / 'resnet.pth'
    CHECKPOINTS['zip.pth'](path, Payload(canary))
    with safe_reading():
        for address in (str(path), path.as_uri()):
            for prefix in (None, 'backbone.'):
                with pytest.raises(UnsafeFileError):
                    PretrainedInit(address, prefix)(nn.Linear(2, 2))
        with pytest.raises(WeightsError, match='s3://bucket/w.pth has the scheme s3'):
            _load_checkpoint('s3://bucket/w.pth')
        with pytest.raises(WeightsError, match='open-mmlab://nothing is not in the list of open-mmlab'):
            _load_checkpoint('open-mmlab://nothing')
    assert not canary.exists()


def test_mmengine_stays_as_it_is_for_others(tmp_path):
    path = tmp_path / 'numbers.pth'
    torch.save({1: torch.zeros(2)}, path)
    read = []

    def reads():
        read.append(_load_checkpoint(str(path)))

    with safe_reading():
        with pytest.raises(WeightsError, match='has 1 where names of tensors should be'):
            reads()
        thread = threading.Thread(target=reads)
        thread.start()
        thread.join()
    reads()
    assert [list(content) for content in read] == [[1], [1]]
    CheckpointLoader.register_scheme('mmlska-test://', lambda name, map_location: dict(state_dict={}), force=True)
    try:
        with safe_reading():
            assert _load_checkpoint('mmlska-test://own') == dict(state_dict={})
    finally:
        del CheckpointLoader._schemes['mmlska-test://']


# Not one of these is code; each made the process end, or changed what it shares, where pickles of numpy and tuples are taken as they are.
def _nested_keys():
    inner = b')' + b'\x85' * 1_000_000
    return b'\x80\x02}' + inner + b'K\x01s.'


def _numpy_with_flags(flags):
    dtype = (
        b'cnumpy\ndtype\nX\x02\0\0\0i8\x89\x88\x87R(K\x03X\x01\0\0\0<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK'
        + flags
        + b'tb'
    )
    array = b'cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85X\x01\0\0\0b\x87R'
    return b'\x80\x02}X\x01\0\0\0a' + array + b'(K\x01K\x04\x85' + dtype + b'\x89](K\x01K\x02K\x03K\x04etbs.'


def _poisoned_history():
    history = b'cmmengine.logging.history_buffer\nHistoryBuffer\n)\x81'
    return b'\x80\x02' + history + b'}X\x12\0\0\0statistics_methods}X\x04\0\0\0meanK\x05ssb.'


@pytest.mark.parametrize(
    'content',
    [
        _nested_keys(),
        _numpy_with_flags(b'\x3f'),
        _numpy_with_flags(b'\x01'),
        _poisoned_history(),
        b'\x80\x02' + b'R' * 9,
    ],
    ids=['nested keys', 'flags of numpy', 'objects of numpy', 'statistics', 'empty stack'],
)
def test_no_pickle_ends_or_changes_the_process(tmp_path, content):
    path = write_zip(tmp_path / 'odd.pth', content, {})
    code = (
        'import sys\nfrom mmengine.logging import HistoryBuffer\nfrom mmlska.weights import WeightsError, read_checkpoint\n'
        'try:\n    content = read_checkpoint(sys.argv[1]).content\nexcept WeightsError as error:\n    print(error)\n'
        'assert HistoryBuffer([1.0], [1]).statistics("mean") == 1.0\nprint("alive")'
    )
    done = subprocess.run(
        [sys.executable, '-c', code, str(path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr[-500:]
    assert done.stdout.endswith('alive\n')
    assert 'odd.pth' in done.stdout


def test_the_globals_that_others_allow_change_nothing(tmp_path):
    """torch's own list is one for the whole process."""
    canary, path = tmp_path / 'ran', tmp_path / 'w.pth'
    torch.save(dict(meta=Reduced(exec, f'open({str(canary)!r}, "w").close()')), path)
    torch.serialization.add_safe_globals([exec])
    try:
        with pytest.raises(UnsafeFileError, match='asks for builtins.exec'):
            read_checkpoint(path)
    finally:
        torch.serialization.clear_safe_globals()
    assert not canary.exists()
