"""The lock of a work directory; what trainings make of it is in tests/security/test_two_runs.py."""

import errno
import io
import logging
import os

import pytest
from mmengine.logging import MMLogger

from mmlska.engine import lock
from mmlska.engine.lock import LOCK_NAME, lock_work_dir, unlock_work_dir


@pytest.mark.parametrize('kind', ['link', 'folder', 'pipe'])
def test_a_lock_overwrites_nothing(tmp_path, kind):
    victim, path = tmp_path / 'victim', tmp_path / 'work' / LOCK_NAME
    victim.write_text('mine')
    path.parent.mkdir()
    dict(link=lambda: path.symlink_to(victim), folder=path.mkdir, pipe=lambda: os.mkfifo(path))[kind]()
    with pytest.raises(
        FileExistsError, match='training.lock is not a regular file, so the work directory cannot be locked; delete it'
    ):
        lock_work_dir(path.parent)
    assert victim.read_text() == 'mine'


def test_a_lock_leaves_no_folder_behind(tmp_path):
    lock_work_dir(tmp_path / 'a/b')
    lock_work_dir(tmp_path / 'a/../a/b')
    assert (tmp_path / 'a/b' / LOCK_NAME).read_text().startswith(f'process {os.getpid()} on ')
    unlock_work_dir(tmp_path / 'a/b')
    assert not list(tmp_path.iterdir())
    lock_work_dir(tmp_path / 'a/b')
    (tmp_path / 'a/log').touch()
    unlock_work_dir(tmp_path / 'a/b')
    assert [p.name for p in tmp_path.rglob('*')] == ['a', 'log']


def test_a_file_system_without_locks_is_used_with_a_warning(tmp_path, monkeypatch):
    def no_locks(*_) -> None:
        raise OSError(errno.ENOLCK, 'No locks available')

    monkeypatch.setattr(lock.fcntl, 'lockf', no_locks)
    said = io.StringIO()
    handler = logging.StreamHandler(said)
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    for folder in (tmp_path, tmp_path / 'new/work'):
        lock_work_dir(folder)
        assert f'work_dir {folder} cannot be locked (No locks available); make sure that no other' in said.getvalue()
        unlock_work_dir(folder)
    logger.removeHandler(handler)
    assert list(tmp_path.iterdir()) == []
