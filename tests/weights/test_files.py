"""Weight files are read without running code; what is wrong with a file is named; writes are whole."""

from __future__ import annotations

import os
import pickle
import threading
from argparse import Namespace
from collections import OrderedDict
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch
from evil_files import Evaluated, Payload, Reduced
from mmengine.logging import HistoryBuffer
from mmengine.runner.checkpoint import _load_checkpoint

from mmlska.weights import (
    UnsafeFileError,
    WeightsError,
    check_finite,
    checkpoint_file,
    file_sha256,
    read_checkpoint,
    save_weights,
    use_safe_reader,
)
from mmlska.weights.checkpoint_file import read_pickle_file
from mmlska.weights.download import fetch, read_fetched


@pytest.fixture
def mmengine_reader():
    """Undo what use_safe_reader() says to the process."""
    before = checkpoint_file._trust_everywhere
    yield
    checkpoint_file._trust_everywhere = before


@pytest.mark.parametrize('zipped', [True, False])
@pytest.mark.parametrize(('payload', 'wanted'), [(Payload, 'posix.system'), (Evaluated, 'builtins.eval')])
def test_a_malicious_file_does_not_run(tmp_path, payload, wanted, zipped):
    proof, path = tmp_path / 'proof', tmp_path / 'bad.pth'
    torch.save(
        dict(state_dict={'norm1.bias': torch.zeros(2)}, meta=payload(proof)),
        path,
        _use_new_zipfile_serialization=zipped,
    )
    with pytest.raises(UnsafeFileError, match=f'bad.pth asks for {wanted} .*--trust-checkpoint') as info:
        read_checkpoint(path)
    assert info.value.global_name == wanted
    assert '\n' not in str(info.value)
    assert not proof.exists()
    read_checkpoint(path, trust=True)
    assert proof.exists()


def test_getattr_is_open_for_the_statistics_of_the_history_only(tmp_path):
    torch.save(dict(meta=Reduced(getattr, HistoryBuffer, '__init__')), tmp_path / 'hole.pth')
    with pytest.raises(UnsafeFileError, match='asks for builtins.getattr'):
        read_checkpoint(tmp_path / 'hole.pth')


def test_sets_that_do_not_change_are_read(tmp_path):
    for protocol in (2, 4):
        torch.save(dict(state_dict={}, meta=frozenset('ab')), tmp_path / 'w.pth', pickle_protocol=protocol)
        assert read_checkpoint(tmp_path / 'w.pth').content['meta'] == {'a', 'b'}


@pytest.mark.parametrize(
    ('value', 'protocol', 'what'), [(torch.ones(2, dtype=torch.complex64).conj(), 5, 'metadata'), (7, 0, 'opcode DICT')]
)
def test_a_whole_file_is_not_called_damaged(tmp_path, value, protocol, what):
    torch.save(dict(state_dict=value), tmp_path / 'w.pth', pickle_protocol=protocol)
    with pytest.raises(WeightsError, match=f'w.pth has .*{what}.*, which is not read here; save it anew') as info:
        read_checkpoint(tmp_path / 'w.pth')
    assert 'damaged' not in str(info.value)


def test_mmengines_reader_is_replaced_on_request(tmp_path, mmengine_reader):
    proof, path, good = tmp_path / 'proof', tmp_path / 'bad.pth', tmp_path / 'good.safetensors'
    torch.save(dict(meta=Payload(proof)), path)
    save_weights({'a': torch.ones(2)}, good)
    use_safe_reader()
    with pytest.raises(UnsafeFileError):
        _load_checkpoint(str(path))
    assert not proof.exists()
    assert _load_checkpoint(str(good), map_location='cpu')['a'].eq(1).all()
    use_safe_reader(trust=True)
    _load_checkpoint(str(path))
    assert proof.exists()


def test_what_mmengine_and_timm_put_beside_weights_is_read(tmp_path):
    history = HistoryBuffer([1.0, 2.0], [1, 1])
    content = dict(
        meta=dict(epoch=3, cfg='a = 1', seed=None, dataset_meta=dict(classes=('a', 'b'), palette=[(1, 2, 3)])),
        state_dict=OrderedDict(a=torch.ones(2)),
        message_hub=dict(
            log_scalars=OrderedDict(loss=history), runtime_info=OrderedDict(iter=3), resumed_keys=OrderedDict(iter=True)
        ),
        optimizer=dict(
            state={0: dict(step=torch.tensor(3.0))}, param_groups=[dict(lr=0.1, betas=(0.9, 0.999), params=[0])]
        ),
        numbers=[np.float64(0.5), np.int64(3), np.arange(3, dtype=np.uint8), np.float32(1), np.bool_(True)],
        args=Namespace(model='van_tiny', lr=1e-3),
    )
    torch.save(content, tmp_path / 'full.pth')
    read = read_checkpoint(tmp_path / 'full.pth').content
    assert read['message_hub']['log_scalars']['loss'].mean() == 1.5
    assert read['args'].model == 'van_tiny'
    assert read['numbers'][:2] == [0.5, 3]
    assert read['meta'] == content['meta']


@pytest.mark.parametrize('protocol', [2, 4, 5])
def test_arrays_of_every_protocol(tmp_path, protocol):
    whole = np.arange(24, dtype='>f4').reshape(2, 3, 4)
    arrays = dict(plain=whole, columns=np.asfortranarray(whole), part=whole[:, ::2], none=whole[:0], one=np.array(3))
    (tmp_path / 'a.pkl').write_bytes(pickle.dumps(arrays, protocol))
    read = read_pickle_file(tmp_path / 'a.pkl', max_steps=1000)
    for name, array in arrays.items():
        assert read[name].dtype == array.dtype
        np.testing.assert_array_equal(read[name], array)


def test_an_array_is_not_longer_than_its_content(tmp_path):
    lie = pickle.dumps(np.arange(3.0), 5).replace(b'K\x03\x85', b'K\x04\x85')
    (tmp_path / 'a.pkl').write_bytes(lie)
    with pytest.raises(WeightsError, match='has an array that is larger or smaller than its content'):
        read_pickle_file(tmp_path / 'a.pkl', max_steps=1000)


def test_files_of_older_numpy_name_other_modules(tmp_path):
    torch.save(dict(n=np.float64(0.5), a=np.arange(3.0)), tmp_path / 'new.pth', _use_new_zipfile_serialization=False)
    data = (tmp_path / 'new.pth').read_bytes()
    assert b'numpy._core.multiarray' in data
    (tmp_path / 'old.pth').write_bytes(data.replace(b'numpy._core.multiarray', b'numpy.core.multiarray'))
    assert read_checkpoint(tmp_path / 'old.pth').content['n'] == 0.5


@pytest.mark.filterwarnings('ignore:Detected pickle protocol')
@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'', 'is empty; download it again'),
        (
            b'\n<!DOCTYPE html><html><body>Sign in</body></html>',
            'is a web page, not a checkpoint; use the direct download link',
        ),
        (b'<html>', 'is a web page'),
        (b'version https://git-lfs.github.com/spec/v1\noid sha256:00', 'is a Git LFS pointer.*run git lfs pull'),
        (b'weights', 'is neither a torch nor a safetensors file'),
        (b'PK\x03\x04 and no more', 'is truncated or damaged'),
        (b'\x80\x02}q\x00(X', 'is truncated or damaged'),
        ((1 << 20).to_bytes(8, 'little') + b'{"a":', 'is truncated or damaged'),
        (pickle.dumps([1, 2]), 'is truncated or damaged, or no checkpoint'),
    ],
)
def test_what_is_no_checkpoint_is_said(tmp_path, content, message):
    path = tmp_path / 'weights.pth'
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=f'weights.pth {message}') as info:
        read_checkpoint(path)
    assert '\n' not in str(info.value)


@pytest.mark.parametrize('name', ['w.pth', 'w.safetensors'])
@pytest.mark.parametrize('share', [0.03, 0.5, 0.99])
def test_a_truncated_download(tmp_path, name, share):
    path = save_weights({'a': torch.randn(40, 40)}, tmp_path / name)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(WeightsError, match='is truncated or damaged'):
        read_checkpoint(path)


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match='no checkpoint file .*nothing.pth'):
        read_checkpoint(tmp_path / 'nothing.pth')
    with pytest.raises(FileNotFoundError, match='no checkpoint file'):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize('bad', [float('nan'), float('inf')])
def test_weights_that_are_no_numbers(bad):
    good = {'n': torch.tensor(3), 'a': torch.ones(2), 'b': torch.ones(2)}
    check_finite(good, 'file.pth')
    good['b'][1] = bad
    with pytest.raises(WeightsError, match='file.pth holds NaN or infinity in b; the training diverged'):
        check_finite(good, 'file.pth')


@pytest.mark.parametrize('suffix', ['.pth', '.pt', '.safetensors'])
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_what_is_written_is_read(tmp_path, suffix, dtype):
    whole = torch.randn(1000, 8).to(dtype)
    path = save_weights({'a': whole[:3].T, 'n': torch.tensor(7)}, tmp_path / f'sub/w{suffix}', metadata={'arch': 't'})
    content = read_checkpoint(path).content
    content = content.get('state_dict', content)
    assert torch.equal(content['a'], whole[:3].T)
    assert content['a'].dtype == dtype
    assert content['n'].item() == 7
    assert path.stat().st_size < 4000  # not the storage behind the view
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = save_weights({'a': torch.ones(2)}, tmp_path / 'w.pth')
    before = path.read_bytes()
    with pytest.raises(AttributeError):
        save_weights({'a': 'no tensor'}, path)
    with pytest.raises((TypeError, AttributeError, pickle.PicklingError)):
        save_weights({'a': torch.ones(2)}, path, metadata={'f': lambda: 0})
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ['w.pth']
    with pytest.raises(ValueError, match=r"ends in '.bin'; choose .pth, .pt or .safetensors"):
        save_weights({}, tmp_path / 'w.bin')


@pytest.fixture
def served(tmp_path):
    """A folder and the address at which this machine serves it."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    folder = tmp_path / 'served'
    folder.mkdir()
    with ThreadingHTTPServer(('127.0.0.1', 0), partial(Quiet, directory=folder)) as server:
        threading.Thread(target=server.serve_forever).start()
        yield folder, f'http://127.0.0.1:{server.server_port}'
        server.shutdown()


def test_fetch_downloads_once_and_checks(served, tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'home'))
    folder, address = served
    source = save_weights({'a': torch.ones(2)}, folder / 'w.pth')
    sha256 = file_sha256(source)
    cached = fetch(f'{address}/w.pth', sha256=sha256[:8])
    assert cached.parent == tmp_path / 'home/hub/checkpoints'
    assert cached.read_bytes() == source.read_bytes()
    assert fetch(str(source)) == source
    moved = source.rename(folder / 'elsewhere.pth')
    assert fetch(f'{address}/w.pth', sha256=sha256) == cached  # from the cache
    named = moved.rename(folder / 'van-0123abcd.pth')
    with pytest.raises(WeightsError, match='van-0123abcd.pth is not the file that was published'):
        fetch(f'{address}/{named.name}')
    assert not (cached.parent / named.name).exists()
    with pytest.raises(WeightsError, match='cannot download http:.*download it by hand'):
        fetch(f'{address}/nothing.pth')
    with pytest.raises(WeightsError, match='has the scheme s3; download the file and give its path'):
        fetch('s3://bucket/w.pth')


def test_files_of_one_name_from_several_addresses_are_not_taken_for_each_other(served, tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'home'))
    folder, address = served
    for number in (1, 2):
        save_weights({'a': torch.full((2,), float(number))}, folder / f'run{number}/epoch_12.pth')
    found = [fetch(f'{address}/run{number}/epoch_12.pth') for number in (1, 2)]
    assert [read_checkpoint(path).content['state_dict']['a'][0] for path in found] == [1, 2]
    assert all(path.name.endswith('_epoch_12.pth') for path in found)
    (folder / 'run1/epoch_12.pth').unlink()
    assert fetch(f'{address}/run1/epoch_12.pth') == found[0]  # from the cache


def test_a_file_url_is_the_file_itself(tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'home'))
    path = tmp_path / 'a b/epoch_12.pth'
    for number in (1, 2):  # the second time another training has written it
        save_weights({'a': torch.full((2,), float(number))}, path)
        assert fetch(path.as_uri()) == path
        assert read_checkpoint(fetch(path.as_uri())).content['state_dict']['a'][0] == number
    assert not (tmp_path / 'home').exists()
    with pytest.raises(
        WeightsError, match='epoch_12.pth is not the file that was published: its SHA-256 is [0-9a-f]{64}, not 0123'
    ):
        read_fetched(path.as_uri(), sha256='0123')
    with pytest.raises(FileNotFoundError, match='no checkpoint file .*nothing.pth; check the path'):
        read_checkpoint(fetch((tmp_path / 'nothing.pth').as_uri()))
