"""Weight files are read without running code; what is wrong with a file is named; writes are whole."""

from __future__ import annotations

import os
import pickle

import pytest
import torch
from evil_files import Evaluated, Payload

from mmlska.weights import UnsafeFileError, WeightsError, check_finite, read_checkpoint, save_weights


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


@pytest.mark.filterwarnings('ignore:Detected pickle protocol')
@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'', 'is empty; copy or download it again'),
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
