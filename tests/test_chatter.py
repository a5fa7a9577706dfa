"""What is left out at the console, and what stays as the program has it."""

import subprocess
import sys
import warnings

import pytest

from mmlska.chatter import WARNINGS, without_known_chatter


def test_warnings_that_are_known_are_left_out_and_a_users_filters_stay(capsys):
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter('always')
        with without_known_chatter():
            print('creating index...')
            warnings.warn(f'{WARNINGS[0]} in the next version', stacklevel=1)
            for _ in range(2):
                warnings.warn('something else', stacklevel=1)
    assert [str(warning.message) for warning in shown] == ['something else'] * 2
    assert capsys.readouterr().out == ''
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        with without_known_chatter(), pytest.raises(UserWarning, match='something else'):
            warnings.warn('something else', stacklevel=1)


def run(code: str) -> subprocess.CompletedProcess:
    """In a process of its own: pytest shows warnings its own way."""
    return subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=False)


def test_a_command_shows_each_other_warning_once_in_one_line():
    done = run("""
import warnings
from mmlska.chatter import WARNINGS, without_chatter
with without_chatter():
    warnings.warn(WARNINGS[0])
    for _ in range(2):
        warnings.warn('something' + chr(10) + '  else')
    print('creating index...')
    print('done')
""")
    assert (done.stdout, done.stderr) == ('done\n', 'warning: something else\n')


@pytest.mark.parametrize('closed', [False, True])
def test_standard_error_is_left_out_and_comes_back(closed):
    done = run(f"""
import os
from mmlska.chatter import without_stderr
if {closed}:
    os.close(2)
with without_stderr():
    os.system('echo from a child >&2')
if not {closed}:
    os.write(2, b'afterwards')
print('done')
""")
    assert (done.returncode, done.stdout) == (0, 'done\n')
    assert 'from a child' not in done.stderr
    assert done.stderr.endswith('afterwards') != closed
