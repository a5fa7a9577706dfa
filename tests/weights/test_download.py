"""Downloads: once, whole, and of the right file."""

from __future__ import annotations

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch

from mmlska.weights import WeightsError, file_sha256, read_checkpoint, save_weights
from mmlska.weights.download import fetch, read_fetched


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
