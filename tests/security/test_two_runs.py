"""Trainings that share a work directory, that save nothing, and that resume among rubbish: none damages another, none deceives."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mmlska.engine.lock import LOCK_NAME
from mmlska.engine.resume import find_resumable, why_not_resumable
from mmlska.files import file_sha256

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / 'tests/engine'))

from small_run import write_config  # noqa: E402

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
    assert 'warning: default_hooks.checkpoint is off: this training saves no checkpoint' in runs['none']['output']
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


def test_a_training_started_anew_is_the_one_to_continue(runs, folder):
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
