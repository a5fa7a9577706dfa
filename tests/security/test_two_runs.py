"""Trainings that share a work directory, that save nothing, and that resume among rubbish: none damages another, none deceives."""

import errno
import io
import json
import logging
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.logging import MMLogger

from mmlska.engine import lock
from mmlska.engine.lock import LOCK_NAME, lock_work_dir, unlock_work_dir
from mmlska.engine.resume import find_resumable, why_not_resumable
from mmlska.files import file_sha256

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / 'tests/engine'))

from small_run import runner_of, write_config  # noqa: E402

DRIVER = Path(__file__).with_name('runs_driver.py')
IN_USE = 'is in use by process {pid} on '
NEXT_STEP = '; wait for it, stop it, or give another --work-dir'


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp('runs')


@pytest.fixture(scope='module')
def config(scenes, folder) -> str:
    return write_config(scenes, folder)


@pytest.fixture(scope='module')
def runs(scenes, folder, config) -> dict:
    """How each of the driver's runs ended."""
    environment = dict(os.environ, OMP_NUM_THREADS='1', PYTHONPATH=str(ROOT))
    command = [sys.executable, str(DRIVER), config, str(scenes), str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    print(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def last_line(run: dict) -> str:
    return run['output'].strip().splitlines()[-1]


@pytest.mark.slow(45)
@pytest.mark.parametrize('name', ['second', 'resumed', 'data', 0, 1])
def test_a_training_in_use_is_named_in_one_line(runs, name):
    refused = runs['ranks'][name] if isinstance(name, int) else runs[name]
    assert refused['code'] == 2
    (line,) = refused['output'].splitlines()
    assert line.startswith('train.py: error: work_dir ')
    assert IN_USE.format(pid=runs['pid']) in line
    assert line.endswith(NEXT_STEP)


def test_nothing_was_written_before_the_refusal(runs):
    assert runs['written'] == []


def test_a_test_beside_a_training_disturbs_nobody(runs):
    assert (runs['test']['code'], runs['killed']['code']) == (0, -9), runs['test']['output'][-2000:]
    assert 'mIoU' in runs['test']['output']


def test_a_killed_training_leaves_no_lock(runs, folder):
    assert runs['after']['code'] == 0, runs['after']['output'][-2000:]
    assert not (folder / 'shared' / LOCK_NAME).exists()
    assert not list((folder / 'shared').glob('.*'))  # what the killed one was writing


def test_nor_does_one_whose_child_lives_on(runs):
    assert [runs[name]['code'] for name in ('refused', 'garbled', 'taken')] == [1, 1, 0]
    assert 'is in use by process' in last_line(runs['refused'])
    said = last_line(runs['garbled'])
    assert said.isprintable()
    assert len(said) < 1000
    assert said.endswith(NEXT_STEP)


def test_of_two_that_start_at_once_one_trains(runs, folder):
    assert sorted(run['code'] for run in runs['at_once']) == [0, 2]
    for path in (folder / 'at_once').glob('*.pth'):
        assert path.stat().st_size > 100_000
        assert Path(f'{path}.sha256').read_text().split()[0] == file_sha256(path)
    assert why_not_resumable(folder / 'at_once/iter_2.pth') is None


def test_the_processes_of_one_training_share_the_lock(runs, folder):
    assert [run['code'] for run in runs['alone']] == [0, 0], runs['alone']
    assert why_not_resumable(folder / 'alone/iter_2.pth') is None


def test_settings_that_save_nothing_save_the_last_state(runs, folder):
    assert runs['rare']['code'] == 0
    assert why_not_resumable(folder / 'rare/iter_2.pth') is None


def test_the_best_checkpoint_alone_is_enough(runs, folder):
    assert runs['best']['code'] == 0
    assert [p.name for p in (folder / 'best').glob('*.pth')] == ['best_mIoU_iter_2.pth']


def test_a_training_told_to_save_nothing_says_so(runs, folder):
    assert runs['none']['code'] == 0
    assert 'WARNING - default_hooks.checkpoint is off: this training saves no checkpoint' in runs['none']['output']
    assert not list((folder / 'none').glob('*.pth'))


@pytest.mark.parametrize(
    ('name', 'said'),
    [
        ('full', r'iteration 2, .* iter_2.pth could not be saved: File too large, \d+ MiB are free in .*; make room, '),
        ('blocked', 'iteration 6, .* iter_6.pth could not be saved: .*iter_6.pth is a folder, .*; correct that, '),
    ],
)
def test_a_last_state_that_is_lost_is_an_error(runs, name, said):
    assert runs[name]['code'] == 2
    line = last_line(runs[name])
    assert line.startswith('train.py: error: the training ended at ')
    assert re.search(said, line), line
    assert line.endswith('then repeat what is missing with --resume')


def test_what_was_lost_is_repeated_from_the_one_before(runs):
    assert runs['unblocked']['code'] == 0
    assert '/iter_4.pth' in runs['unblocked']['output']


def test_a_training_started_anew_is_the_one_to_go_on_with(runs, folder):
    """The older one was further."""
    assert runs['anew']['code'] == 0
    assert sorted(p.name for p in (folder / 'blocked').glob('iter_*.pth')) == ['iter_2.pth', 'iter_4.pth', 'iter_6.pth']
    assert find_resumable(folder / 'blocked') == (folder / 'blocked/iter_2.pth', [])


def test_a_checkpoint_deletes_nothing_outside_the_work_dir(runs, folder):
    """It names the best one before it, and those that are outdated: the training deletes both kinds one day."""
    assert runs['others']['code'] == 0, runs['others']['output'][-2000:]
    assert (folder / 'victim').read_text() == 'mine'
    assert (folder / 'others/iter_7.pth').read_text() == 'theirs'
    assert sorted(p.name for p in (folder / 'others').glob('*6.pth')) == ['best_mIoU_iter_6.pth', 'iter_6.pth']


def test_resumes_among_rubbish(runs, folder):
    """The driver has spoiled the dates too."""
    done = runs['goes_on']
    assert done['code'] == 0, done['output'][-2000:]
    skipped = dict(re.findall(r'--resume skips \S+/(\w+).pth: (.*)', done['output']))
    assert skipped == dict(
        epoch_9='it is a link that leads nowhere',
        iter_6='it is a link that leads nowhere',
        iter_7='it is a folder',
        iter_8='it is no regular file',
        iter_9='iter_9.pth.sha256 holds no SHA-256; delete that file to have the checkpoint itself read',
    )
    assert f'--resume continues from {folder}/rubbish/iter_4.pth' in done['output']
    assert why_not_resumable(folder / 'rubbish/iter_6.pth') is None  # in the place of the link
    assert 'iter_4.pth' in runs['left']


@pytest.fixture
def work(runs, folder, tmp_path) -> Path:
    """A work directory with the checkpoints of four and of six iterations."""
    for name in ('iter_4.pth', 'iter_6.pth', 'iter_4.pth.sha256', 'iter_6.pth.sha256'):
        shutil.copy(folder / 'blocked' / name, tmp_path)
    assert find_resumable(tmp_path)[0].name == 'iter_6.pth'
    return tmp_path


def test_the_date_of_a_file_decides_nothing(work):
    for number, name in enumerate(['iter_6.pth', 'iter_4.pth']):
        os.utime(work / name, (2e9 + number, 2e9 + number))
    assert find_resumable(work) == (work / 'iter_6.pth', [])


def test_the_name_of_a_file_decides_nothing(work):
    for file in list(work.iterdir()):
        file.rename(work / file.name.replace('iter_4', 'epoch_99'))
    assert find_resumable(work)[0].name == 'iter_6.pth'


def spoil(make):
    """Put something else in the place of a file."""

    def change(path: Path) -> None:
        path.unlink()
        make(path)

    return change


def saved_without(*keys):
    def change(path: Path) -> None:
        content = torch.load(path, weights_only=False)
        for key in keys[:-1]:
            content = content[key]
        del content[keys[-1]]
        torch.save(content, path)
        Path(f'{path}.sha256').unlink()

    return change


NO_SHA256 = 'iter_6.pth.sha256 holds no SHA-256'
MAKERS = {
    'dangling link': spoil(lambda p: p.symlink_to('nowhere')),
    'circle of links': spoil(lambda p: p.symlink_to(p.name)),
    'folder': spoil(lambda p: p.mkdir()),
    'pipe': spoil(os.mkfifo),
    'empty': spoil(lambda p: p.touch()),
    'text': spoil(lambda p: p.write_text('iter 6')),
    'cut': lambda p: os.truncate(p, 5000),
    'no optimizer': saved_without('optimizer'),
}


@pytest.mark.parametrize('change', MAKERS.values(), ids=MAKERS)
def test_what_is_no_checkpoint_is_skipped(work, change):
    change(work / 'iter_6.pth')
    found, [(path, reason)] = find_resumable(work)
    assert (found.name, path.name) == ('iter_4.pth', 'iter_6.pth')
    assert reason == ' '.join(reason.split()) != ''


@pytest.mark.skipif(os.geteuid() == 0, reason='root reads everything')
@pytest.mark.parametrize('name', ['iter_6.pth', 'iter_6.pth.sha256'])
def test_what_may_not_be_read_is_skipped(work, name):
    (work / name).chmod(0)
    assert find_resumable(work)[0].name == 'iter_4.pth'


@pytest.mark.parametrize(
    ('change', 'reason'),
    [
        (lambda p: p.write_text('what is this'), NO_SHA256),
        (lambda p: p.write_bytes(bytes(range(256))), NO_SHA256),
        (lambda p: os.truncate(p, 1 << 40), NO_SHA256),
        (lambda p: p.write_text('a' * 63 + '  iter_6.pth'), NO_SHA256),
        (lambda p: p.write_text('a' * 64 + '  iter_6.pth'), 'its SHA-256 is not the one in iter_6.pth.sha256'),
        (spoil(lambda p: p.symlink_to('nowhere')), 'cannot be read (no regular file)'),
        (spoil(lambda p: p.mkdir()), 'cannot be read (no regular file)'),
        (spoil(os.mkfifo), 'cannot be read (no regular file)'),
    ],
    ids=['text', 'binary', 'a terabyte', 'too short', 'another', 'dangling link', 'folder', 'pipe'],
)
def test_a_checkpoint_with_a_checksum_that_is_none_is_skipped(work, change, reason):
    change(work / 'iter_6.pth.sha256')
    found, [(path, said)] = find_resumable(work)
    assert (found.name, path.name) == ('iter_4.pth', 'iter_6.pth')
    assert reason in said


def test_the_checksum_of_another_program_is_understood(work):
    file = work / 'iter_6.pth.sha256'
    file.write_text(file.read_text().upper().replace('  ', ' *'))
    assert find_resumable(work) == (work / 'iter_6.pth', [])


def test_weights_alone_are_not_resumed_by_name(config, folder, work):
    best = folder / 'best/best_mIoU_iter_2.pth'
    with pytest.raises(ValueError, match='it holds weights without the state of a training'):
        runner_of(config, work, resume=str(best))


def test_mmengines_own_setting_does_not_follow_last_checkpoint(config, work):
    (work / 'last_checkpoint').write_text('/etc/passwd')
    runner = runner_of(config, work, {'resume': True})
    unlock_work_dir(work)
    assert runner._load_from == str(work / 'iter_6.pth')


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
