"""What files of torch and pickles may hold, and what of it is read."""

from __future__ import annotations

import pickle
from argparse import Namespace
from collections import OrderedDict

import numpy as np
import pytest
import torch
from evil_files import Reduced
from mmengine.logging import HistoryBuffer

from mmlska.weights import UnsafeFileError, WeightsError, read_checkpoint
from mmlska.weights.checkpoint_file import read_pickle_file


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
