"""A download that ends early is not kept, one that was kept damaged says so, and a digest is that of the bytes that are read."""

from __future__ import annotations

import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch

from mmlska.weights import WeightsError, file_sha256, load_pretrained, manifest, read_checkpoint, save_weights
from mmlska.weights.download import fetch
from mmlska.weights.load import read_location


class Server(ThreadingHTTPServer):
    """Serves one file, of it ``sent`` bytes; ``promises`` is the length in the header, None for none."""

    content, sent, promises = b'', 0, None
    requests = 0


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests += 1
        self.send_response(200)
        if self.server.promises is not None:
            self.send_header('Content-Length', str(self.server.promises))
        self.end_headers()
        self.wfile.write(self.server.content[: self.server.sent])

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'home'))
    path = save_weights({'a': torch.rand(60_000)}, tmp_path / 'source.pth')
    with Server(('127.0.0.1', 0), Handler) as server:
        server.content = path.read_bytes()
        server.sent = server.promises = len(server.content)
        server.address = f'http://127.0.0.1:{server.server_port}/weights.pth'
        threading.Thread(target=server.serve_forever).start()
        yield server
        server.shutdown()


def kept(tmp_path):
    return [p.name for p in (tmp_path / 'home').rglob('*') if p.is_file()]


def test_a_cut_download_is_not_kept(server, tmp_path):
    server.sent = 100_000
    with pytest.raises(
        WeightsError, match=r'cannot download .*ended after 100,000 of \d+,\d+ bytes; download it by hand'
    ):
        fetch(server.address)
    assert kept(tmp_path) == []
    server.sent = len(server.content)
    assert fetch(server.address).read_bytes() == server.content
    assert read_location(server.address).content['state_dict']['a'].shape == (60_000,)
    assert server.requests == 2


def test_a_cut_download_of_unknown_length_says_what_to_delete(server, tmp_path):
    server.sent, server.promises = 100_000, None
    with pytest.raises(
        WeightsError, match='is truncated or damaged.*kept from a download, delete it to have it'
    ) as info:
        read_location(server.address)
    (name,) = kept(tmp_path)
    assert name in str(info.value)
    assert '\n' not in str(info.value)


def test_what_was_kept_damaged_says_so(server, tmp_path):
    path = fetch(server.address)
    path.write_bytes(path.read_bytes()[:100_000])  # as an earlier version left it
    with pytest.raises(WeightsError, match=f'{path.name} is truncated.*delete it to have it fetched again'):
        read_location(server.address)
    path.unlink()
    assert read_location(server.address).path == path


def test_published_weights_that_were_kept_damaged_say_so(server, monkeypatch):
    entry = {**manifest.find_entry('lska_t_in1k'), 'url': server.address, 'sha256': None}
    monkeypatch.setattr(manifest, 'find_entry', lambda name: entry)
    path = fetch(server.address)
    path.write_bytes(path.read_bytes()[:100_000])
    for read in (lambda: load_pretrained('lska_t_in1k'), lambda: read_location('mmlska://lska_t_in1k')):
        with pytest.raises(WeightsError, match=f'{path.name} is truncated.*delete it to have it fetched again'):
            read()


def test_another_file_is_not_kept(server, tmp_path):
    address = server.address.replace('weights', 'weights-0123abcd')
    with pytest.raises(WeightsError, match=r'is not the file that was published: its SHA-256 is \w{64}, not 0123abcd'):
        fetch(address)
    assert kept(tmp_path) == []


def test_the_digest_is_that_of_the_bytes_that_are_read(tmp_path):
    path = save_weights({'a': torch.ones(2)}, tmp_path / 'w.pth')
    digest = file_sha256(path)
    assert read_checkpoint(path, sha256=digest).sha256 == digest
    save_weights({'a': torch.zeros(2)}, path)  # another file in its place, after it was looked at
    with pytest.raises(
        WeightsError, match=rf'w.pth is not the file that was published: its SHA-256 is \w+, not {digest}'
    ):
        read_checkpoint(path, sha256=digest)


def test_weights_of_the_package_that_were_changed_between_finding_and_reading(tmp_path, monkeypatch):
    entry, *_ = manifest.shipped_entries()
    path = tmp_path / entry['file']
    shutil.copy(manifest.FILES / manifest.SHIPPED, tmp_path)
    monkeypatch.setattr(manifest, 'FILES', tmp_path)
    save_weights({'a': torch.zeros(2)}, path)
    assert len(entry['sha256']) == 64
    with pytest.raises(WeightsError, match='is not the file that was published'):
        load_pretrained(entry['name'])
