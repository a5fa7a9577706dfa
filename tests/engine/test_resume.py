"""What --resume continues from: which checkpoint of a work directory, and which never."""

import io
import logging
import os
import shutil
from pathlib import Path

import pytest
import torch
from mmengine.logging import MMLogger
from small_run import runner_of, same, weights_of

from mmlska.engine.lock import unlock_work_dir
from mmlska.engine.resume import find_resumable, why_not_resumable


def test_resume_takes_the_newest_that_verifies(config, whole, tmp_path):
    for number, name in enumerate(['iter_4.pth', 'iter_6.pth']):
        content = (whole[1] / name).read_bytes()
        if name == 'iter_6.pth':
            middle = len(content) // 2
            content = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        (tmp_path / name).write_bytes(content)
        (tmp_path / f'{name}.sha256').write_bytes((whole[1] / f'{name}.sha256').read_bytes())
        os.utime(tmp_path / name, (number, number))
    (tmp_path / 'iter_7.pth').write_bytes(content[:5000])
    torch.save(dict(state_dict={}), tmp_path / 'iter_8.pth')
    found, skipped = find_resumable(tmp_path)
    assert found == tmp_path / 'iter_4.pth'
    reasons = {path.name: reason for path, reason in skipped}
    assert list(reasons)[-1] == 'iter_6.pth'
    assert reasons['iter_6.pth'] == 'its SHA-256 is not the one in iter_6.pth.sha256'
    assert 'truncated or damaged' in reasons['iter_7.pth']
    assert reasons['iter_8.pth'] == 'it holds weights without the state of a training'
    said = io.StringIO()
    handler = logging.StreamHandler(said)
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    runner = runner_of(config, tmp_path, resume='auto')
    logger.removeHandler(handler)
    runner.train()
    assert same(weights_of(runner), whole[0])
    assert f'--resume skips {tmp_path}/iter_6.pth: its SHA-256' in said.getvalue()
    assert f'--resume continues from {tmp_path}/iter_4.pth' in said.getvalue()


def test_resume_from_nothing_and_from_damaged_files_only(config, tmp_path):
    assert find_resumable(tmp_path / 'none') == (None, [])
    (tmp_path / 'iter_2.pth').write_bytes(b'PK\x03\x04')
    with pytest.raises(ValueError, match=r'no checkpoint in .* that can be read \(iter_2.pth: .*another --work-dir'):
        runner_of(config, tmp_path, resume='auto')
    with pytest.raises(ValueError, match='truncated or damaged'):
        runner_of(config, tmp_path, resume=str(tmp_path / 'iter_2.pth'))


@pytest.fixture
def work(whole, tmp_path) -> Path:
    """A work directory with the checkpoints of four and of six iterations."""
    for name in ('iter_4.pth', 'iter_6.pth', 'iter_4.pth.sha256', 'iter_6.pth.sha256'):
        shutil.copy(whole[1] / name, tmp_path)
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


def test_weights_alone_are_not_resumed_by_name(config, whole, work):
    best = next(whole[1].glob('best_*.pth'))
    with pytest.raises(ValueError, match='it holds weights without the state of a training'):
        runner_of(config, work, resume=str(best))
    shutil.copy(best, work / 'weights.pth')  # without a checksum
    assert why_not_resumable(work / 'weights.pth') == 'it holds weights without the state of a training'


def test_mmengines_own_setting_does_not_follow_last_checkpoint(config, work):
    (work / 'last_checkpoint').write_text('/etc/passwd')
    runner = runner_of(config, work, {'resume': True})
    unlock_work_dir(work)
    assert runner._load_from == str(work / 'iter_6.pth')
