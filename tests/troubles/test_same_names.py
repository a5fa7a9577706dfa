"""Trainings whose configs or data folders have one name: none overwrites the checkpoints of another."""

from __future__ import annotations

import json
import logging
import shutil
import sys
from pathlib import Path

import own_sets
import pytest

import mmlska
from mmlska.engine.config import load_config
from mmlska.engine.work_dir import ORIGIN, Origin, origin_of, work_dir_for

sys.path.append(str(Path(__file__).resolve().parents[1] / 'engine'))

from small_run import own_names, write_config  # noqa: E402

SHORT = ['train_cfg.max_iters=1', 'train_cfg.val_interval=100', 'default_hooks.checkpoint.interval=1']


@pytest.fixture
def config(scenes, tmp_path) -> Path:
    (tmp_path / 'first').mkdir()
    return Path(write_config(scenes, tmp_path / 'first'))


@pytest.fixture
def train(command, tmp_path):
    def run(*args):
        names = [f'{name}={value}' for name, value in own_names().items()]
        options = ['--no-report', '--seed', 0, '--cfg-options', *SHORT, *names]
        return command('train', *args, *options, cwd=tmp_path)

    return run


def checkpoints(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob('*.pth')}


@pytest.mark.slow(20)
def test_data_folders_of_one_name(config, train, tmp_path):
    for name in ('a', 'b'):
        own_sets.mask_set(tmp_path / name / 'data')
    assert train(config, '--data', 'a/data', '--epochs', 1).code == 0
    run = tmp_path / 'work_dirs/small_data'
    before = checkpoints(run)
    assert list(before)
    assert json.loads((run / ORIGIN).read_text())['data'] == str(tmp_path / 'a/data')

    ended = train(config, '--data', 'b/data', '--epochs', 1)
    assert ended.code == 0
    assert (
        'work_dirs/small_data holds a training of another config or other data; the work dir of this one is '
        in ended.out
    )
    assert checkpoints(run) == before
    other = tmp_path / 'work_dirs/small_data_2'
    assert str(tmp_path / 'b/data/') in (other / 'small.py').read_text()

    ended = train(config, '--data', 'b/data', '--epochs', 1, '--resume')
    assert ended.code == 0
    assert '--resume continues from work_dirs/small_data_2/' in ended.out + ended.err


@pytest.mark.slow(20)
def test_configs_of_one_name_and_a_work_dir_that_is_named(config, train, tmp_path, refused):
    assert train(config).code == 0
    before = checkpoints(tmp_path / 'work_dirs/small')
    (tmp_path / 'second').mkdir()
    second = shutil.copy(config, tmp_path / 'second/small.py')
    assert train(second).code == 0
    assert checkpoints(tmp_path / 'work_dirs/small') == before
    assert checkpoints(tmp_path / 'work_dirs/small_2')

    named = ['train', second, '--work-dir', 'work_dirs/small', '--no-report']
    line = refused(*named, cwd=tmp_path)
    assert f'work_dir work_dirs/small holds checkpoints of a training of {config} on ' in line
    assert '; give another --work-dir, or --overwrite' in line
    assert checkpoints(tmp_path / 'work_dirs/small') == before
    assert train(*named[1:4], '--overwrite').code == 0
    assert checkpoints(tmp_path / 'work_dirs/small') != before
    # From the config that a training left, in its work directory as always.
    assert train('work_dirs/small/small.py').code == 0
    assert not (tmp_path / 'work_dirs/small_3').exists()


def left(folder: Path, origin: Origin | None = None, data: str = '/gone') -> Path:
    """What a training leaves; without ``origin`` one of an earlier version."""
    folder.mkdir(parents=True)
    (folder / 'small.py').write_text(f"train_dataloader = dict(dataset=dict(data_root='{data}/'))\n")
    (folder / 'iter_1.pth').touch()
    if origin is not None:
        (folder / ORIGIN).write_text(json.dumps(origin._asdict()))
    return folder


def test_which_work_dir_is_chosen(tmp_path):
    for name in ('a/data', 'b/data', 'configs'):
        (tmp_path / name).mkdir(parents=True)
    config = tmp_path / 'configs/small.py'
    config.touch()
    mine, other = (Origin(str(config), str(tmp_path / name / 'data')) for name in 'ab')
    first = tmp_path / 'run'
    assert work_dir_for(first, mine) == first
    left(first, other)
    assert work_dir_for(first, mine) == tmp_path / 'run_2'
    assert work_dir_for(first, other) == first
    left(tmp_path / 'run_3', mine)
    left(tmp_path / 'run_x', mine)
    assert work_dir_for(first, mine) == work_dir_for(first, mine, resume=True) == tmp_path / 'run_3'
    assert work_dir_for(first, Origin(str(config), str(tmp_path)), resume=True) == tmp_path / 'run_2'


def test_work_dirs_of_earlier_versions(tmp_path):
    """They are continued where they can be meant, and never written over."""
    for name in ('a/data', 'b/data'):
        (tmp_path / name).mkdir(parents=True)
    mine, other = (Origin(str(tmp_path / 'small.py'), str(tmp_path / name / 'data')) for name in 'ab')
    first = left(tmp_path / 'run', data=mine.data)
    assert work_dir_for(first, mine, resume=True) == first
    assert work_dir_for(first, mine) == tmp_path / 'run_2'
    assert work_dir_for(first, other, resume=True) == tmp_path / 'run_2'


def test_a_project_that_was_moved_continues(tmp_path):
    (tmp_path / 'new').mkdir()
    old = Origin(str(tmp_path / 'old/small.py'), str(tmp_path / 'old/data'))
    new = Origin(str(tmp_path / 'new/small.py'), str(tmp_path / 'new/data'))
    first = left(tmp_path / 'run', old)
    assert work_dir_for(first, new, resume=True) == first
    assert work_dir_for(first, new) == tmp_path / 'run_2'


def test_a_model_is_loaded_from_a_training_of_its_own_config(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(logging, 'raiseExceptions', False)
    (tmp_path / 'second').mkdir()
    shutil.copy(config, tmp_path / 'second/small.py')
    run = left(tmp_path / 'work_dirs/small', origin_of(load_config(str(config))))
    (run / 'last_checkpoint').write_text('iter_1.pth')
    assert mmlska.load('second/small.py').checkpoint is None
