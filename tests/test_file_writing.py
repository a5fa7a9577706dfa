"""mmlska.files: whole files or none, links and special files left alone, paths that stay inside."""

from __future__ import annotations

import hashlib
import os
import socket
from pathlib import Path

import pytest

from mmlska.files import file_sha256, is_inside, write_atomically, write_bytes, write_text


def test_writes_and_replaces_with_the_mode_of_open(tmp_path):
    path = tmp_path / 'new/folder/a.json'
    assert write_text(path, 'ä\n') == path
    assert path.read_bytes() == 'ä\n'.encode()
    (tmp_path / 'plain').write_text('')
    assert path.stat().st_mode == (tmp_path / 'plain').stat().st_mode
    write_bytes(str(path), b'second')
    assert path.read_bytes() == b'second'
    assert file_sha256(path) == hashlib.sha256(b'second').hexdigest()
    assert os.listdir(path.parent) == ['a.json']


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = write_text(tmp_path / 'a.txt', 'old')

    def fail(name: str) -> None:
        Path(name).write_text('half')
        raise OSError('disk full')

    with pytest.raises(OSError, match='disk full'):
        write_atomically(path, fail)
    assert path.read_text() == 'old'
    assert os.listdir(tmp_path) == ['a.txt']


def test_the_temporary_file_has_the_suffix_and_no_name_to_guess(tmp_path):
    names = []
    for _ in range(2):
        write_atomically(tmp_path / 'a.png', lambda name: names.append(Path(name)))
    assert names[0] != names[1]
    assert {(name.parent, name.suffix) for name in names} == {(tmp_path, '.png')}


def special(kind: str, path: Path) -> object:
    if kind == 'link':
        path.symlink_to(path.with_name('target'))
    elif kind == 'dangling link':
        path.symlink_to('nowhere')
    elif kind == 'folder':
        path.mkdir()
    elif kind == 'pipe':
        os.mkfifo(path)
    else:
        server = socket.socket(socket.AF_UNIX)
        server.bind(str(path))
        return server
    return None


@pytest.mark.parametrize('kind', ['link', 'dangling link', 'folder', 'pipe', 'socket'])
def test_what_is_no_regular_file_is_not_replaced(tmp_path, kind, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the name of a socket must be short
    canary = tmp_path / 'target'
    canary.write_text('mine')
    kept = special(kind, Path('out'))
    before = os.lstat('out')
    with pytest.raises(FileExistsError, match=r'^out is (a link|a folder|not a regular file), .* name another file$'):
        write_text('out', 'x')
    assert os.lstat('out') == before
    assert canary.read_text() == 'mine'
    assert sorted(os.listdir()) == ['out', 'target']
    del kept


def test_inside_is_decided_after_links_and_dots(tmp_path):
    root, other = tmp_path / 'data', tmp_path / 'data2'
    (root / 'sub').mkdir(parents=True)
    other.mkdir()
    (root / 'out').symlink_to(other)
    (root / 'within').symlink_to('sub')
    (tmp_path / 'door').symlink_to(root)
    assert is_inside(root / 'sub/a.png', root)
    assert is_inside(root, root)
    assert is_inside(root / 'within/a.png', tmp_path / 'door')
    for name in ('../data2/a.png', 'out/a.png', 'sub/../../x', '/etc/passwd', 'x\0y'):
        assert not is_inside(root / name, root), name
    assert not is_inside(other, root)


@pytest.mark.skipif(not Path('/proc/self').is_dir(), reason='no /proc, in which nobody can make files')
def test_a_file_that_cannot_be_made_is_named_itself():
    with pytest.raises(OSError, match='/proc/a.json') as refused:
        write_text('/proc/a.json', '{}')
    assert refused.value.filename == '/proc/a.json'
