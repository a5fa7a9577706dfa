"""What trainings left in work directories, and where the next one goes."""

from pathlib import Path

import pytest

from mmlska.engine.work_dir import Origin, check_unused, holds_run, last_checkpoint, next_run, runs_of, trained_files


def leave_run(work_dir: Path, checkpoint: str = 'epoch_2.pth') -> Path:
    """What a training leaves, moved from another machine."""
    work_dir.mkdir()
    (work_dir / checkpoint).touch()
    (work_dir / 'recipe.py').touch()
    (work_dir / 'last_checkpoint').write_text(f'/elsewhere/{work_dir.name}/{checkpoint}')
    return work_dir


def test_files_of_a_training(tmp_path):
    run = leave_run(tmp_path / 'run')
    assert trained_files(run) == (run / 'recipe.py', run / 'epoch_2.pth')
    (run / 'other.py').touch()
    assert trained_files(run) is None  # which of the two is not known
    (run / 'epoch_2.pth').unlink()
    assert last_checkpoint(run) is None
    assert last_checkpoint(tmp_path / 'nothing') is None


def test_the_next_training_takes_the_first_free_folder(tmp_path):
    first = tmp_path / 'run'
    assert (runs_of(first), next_run(first)) == ([], first)
    (first / '20260101_000000').mkdir(parents=True)  # the log of a test
    assert not holds_run(first)
    first.rename(tmp_path / 'tested')
    leave_run(first)
    leave_run(tmp_path / 'run_2')
    leave_run(tmp_path / 'run_4')  # no run of this series: there is no third
    assert runs_of(first) == [tmp_path / 'run_2', first]
    assert next_run(first) == tmp_path / 'run_3'


def test_checkpoints_of_nobody_knows_whom_are_kept(tmp_path):
    (tmp_path / 'epoch_1.pth').write_bytes(b'weights')
    with pytest.raises(
        FileExistsError, match='holds checkpoints of a training of unknown data; give another --work-dir'
    ):
        check_unused(tmp_path, Origin('a.py', ''))
