"""What a user reads of a wrong setting."""

import errno

import pytest

from mmlska.cli.errors import user_errors
from mmlska.engine.errors import TrainingError


@pytest.fixture(autouse=True)
def started(monkeypatch):
    monkeypatch.setattr('sys.argv', ['tools/tool.py', 'config.py'])


def line_of(error: Exception, capsys, **options) -> str:
    with pytest.raises(SystemExit) as end, user_errors(**options):
        raise error
    assert end.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ('error', 'line'),
    [
        (ValueError('--size 3 is\n  too small'), '--size 3 is too small'),
        (KeyError('no such name; give another'), 'no such name; give another'),
        (FileNotFoundError('a.pth does not exist'), 'a.pth does not exist'),
        (
            PermissionError(errno.EACCES, 'Permission denied', 'closed/out\n.json'),
            r'closed/out\n.json: Permission denied; correct this path, or name another',
        ),
        (OSError(errno.ENOSPC, 'No space left on device'), '[Errno 28] No space left on device'),
        (
            TypeError("__init__() got an unexpected keyword argument 'k_sise'"),
            "__init__() got an unexpected keyword argument 'k_sise'; correct the name of this setting or leave it out",
        ),
    ],
)
def test_a_wrong_setting_is_one_line(error, line, capsys):
    assert line_of(error, capsys) == f'tool.py: error: {line}\n'


def test_a_missing_package_is_named_whatever_the_kinds(capsys):
    told = line_of(ImportError("No module named 'gradio'"), capsys, kinds=(ValueError,))
    assert told.startswith("tool.py: error: No module named 'gradio'\n")
    assert 'mmlska doctor' in told


def test_other_errors_and_debug_keep_the_traceback():
    with pytest.raises(RuntimeError, match='a defect'), user_errors():
        raise RuntimeError('a defect')
    with pytest.raises(KeyError, match='late'), user_errors(kinds=(ValueError,)):
        raise KeyError('late')
    for error in (ValueError('wrong'), ImportError('missing')):
        with pytest.raises(type(error)), user_errors(debug=True):
            raise error


def test_advice_of_this_package_stays_as_it_is(capsys):
    advice = (
        'out of memory at iteration 3; these would be 3.0 GiB with train_dataloader.batch_size=1 and --accumulate 2'
    )
    assert line_of(TrainingError(advice), capsys, kinds=(TrainingError,)) == f'tool.py: error: {advice}\n'
