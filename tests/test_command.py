"""The command `mmlska`: what it lists, what starts at once, what it completes, and what it says of a mistake."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import mmlska_command
from mmlska import catalog, command_line
from mmlska.commands import completion
from mmlska.engine.config import find_config, load_config
from mmlska.engine.resume import resume_command

ROOT = Path(__file__).resolve().parents[1]
ALONE = """
import sys

class Blocker:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.split('.')[0] in {blocked!r}:
            raise ModuleNotFoundError(f'No module named {{name!r}}', name=name)

sys.meta_path.insert(0, Blocker)
import mmlska_command
mmlska_command.main()
"""


def fresh(*words: str, blocked=(), cwd: Path = ROOT) -> subprocess.CompletedProcess:
    """Run the command in a new process that cannot import some packages."""
    command = [sys.executable, '-c', ALONE.format(blocked=blocked), *words]
    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def refuse(capsys, monkeypatch, *words: str) -> str:
    """Run the command in this process, where it must end with status 2; return what it said."""
    monkeypatch.setattr(sys, 'argv', ['/usr/bin/mmlska', *words])
    with pytest.raises(SystemExit) as end:
        mmlska_command.main()
    assert end.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(
    'words', [(), ('--help',), ('--version',), ('configs',), ('configs', '--names'), ('doctor', '-h')]
)
def test_what_only_tells_does_not_wait_for_torch(words, tmp_path):
    done = fresh(*words, blocked=('torch', 'mmengine', 'numpy'), cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, '')
    assert done.stdout.strip()


def test_help_lists_every_command_and_each_is_there(capsys, monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['mmlska', '--help'])
    mmlska_command.main()
    listed = re.findall(r'(?m)^  ([a-z-]+)  ', capsys.readouterr().out)
    assert listed == list(mmlska_command.COMMANDS)
    files = {path.stem for path in (ROOT / 'mmlska/commands').glob('*.py')} - {'__init__'}
    assert {name.replace('-', '_') for name in listed} == files
    for name in files:
        module = importlib.import_module(f'mmlska.commands.{name}')
        assert callable(module.main)
        assert module.make_parser().format_usage()


@pytest.mark.parametrize(
    ('words', 'line'),
    [
        (['trian'], "mmlska: error: there is no command 'trian'; did you mean train? (mmlska --help has the list)"),
        (['xyzzy'], "mmlska: error: there is no command 'xyzzy'; give one of the list (mmlska --help has the list)"),
        (['train'], 'mmlska train: error: the following arguments are required: config'),
        (
            ['train', 'x', '--sed', '0'],
            'mmlska train: error: unrecognized arguments: --sed 0; did you mean --seed? (--help lists the options)',
        ),
        (
            ['check', 'mask_rcn_van_lska_b'],
            'mmlska check: error: config mask_rcn_van_lska_b does not exist; did you mean mask_rcnn_van_lska_b or ',
        ),
        (['check', 'no_such_thing'], 'mmlska check: error: no_such_thing is not a folder; give the one that '),
        (['make-scenes', '--size', '0'], 'mmlska make-scenes: error: '),
        (
            ['train', 'mask_rcn_van_lska_b'],
            'mmlska train: error: config mask_rcn_van_lska_b does not exist; did you mean mask_rcnn_van_lska_b or ',
        ),
        (
            ['erf', 'no_such_thing'],
            'mmlska erf: error: config no_such_thing does not exist; see the folder configs or ',
        ),
    ],
)
def test_a_mistake_is_one_line_that_begins_as_typed(words, line, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    error = refuse(capsys, monkeypatch, *words)
    assert error.strip().splitlines()[-1].startswith(line)
    assert 'Traceback' not in error
    assert not any(tmp_path.iterdir())


def test_a_reader_may_leave_before_the_end():
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, 'w') as closed:
        done = subprocess.run(
            [sys.executable, '-m', 'mmlska_command', 'configs'], cwd=ROOT, stdout=closed, stderr=subprocess.PIPE
        )
    assert (done.returncode, done.stderr) == (141, b'')


def test_ctrl_c_is_one_line(tmp_path):
    command = [sys.executable, '-m', 'mmlska_command', 'make-scenes', 'out', '--train', '100000', '--size', '32']
    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
    options = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    # A shell makes what it runs in the background, as this test perhaps, ignore the signal.
    options.update(cwd=tmp_path, env=environment, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    with subprocess.Popen(command, **options) as process:
        assert process.stdout.readline().startswith('100/')  # it is at work
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        assert process.stderr.read() == 'mmlska make-scenes: interrupted\n'
    assert process.returncode == 130


def test_without_mmengine_every_command_says_what_to_install():
    for command in ('train', 'make-scenes'):
        done = fresh(command, 'x', blocked=('mmengine',))
        assert done.returncode == 2
        assert done.stderr.startswith(f"mmlska {command}: error: No module named 'mmengine'\n")
        assert 'fix it with: pip install onedl-mmengine' in done.stderr


def test_a_missing_package_is_named():
    done = fresh('erf', 'x', blocked=('matplotlib',))
    assert done.returncode == 2
    assert "mmlska erf: error: No module named 'matplotlib'" in done.stderr


def test_how_a_run_is_recorded_and_continued(monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['/home/me/mmlska/tools/train.py', 'a b.py', '--resume', '--seed', '0'])
    assert command_line.program_name() == 'train.py'
    assert command_line.recorded_command() == "python tools/train.py 'a b.py' --resume --seed 0"
    assert resume_command('none') == "python /home/me/mmlska/tools/train.py 'a b.py' --seed 0 --resume"
    for folder in ('mmlska tools', 'mmlska'):  # which is no command
        monkeypatch.setattr(sys, 'argv', [f'{folder} x/train.py', 'a b.py'])
        assert command_line.recorded_command() == "python tools/train.py 'a b.py'"
    monkeypatch.setattr(sys, 'argv', ['mmlska train', 'a b.py', '--seed', '0'])
    assert command_line.program_name() == 'mmlska train'
    assert command_line.recorded_command() == "mmlska train 'a b.py' --seed 0"
    assert resume_command('none') == "mmlska train 'a b.py' --seed 0 --resume"


def test_configs_are_listed_once_with_what_they_cost():
    files, costs = catalog.config_files(), catalog.config_costs()
    assert {path.relative_to(ROOT / 'configs').as_posix() for path in files.values()} == {
        path.relative_to(ROOT / 'configs').as_posix()
        for path in (ROOT / 'configs').rglob('*.py')
        if '_base_' not in path.parts
    }
    assert len({path.stem for path in files.values()}) == len(files)
    assert set(costs) == {path.stem for path in files.values()}
    rows = [line.split() for line in catalog.listing().splitlines()]
    assert ['mask_rcnn_van_lska_t', '23.81', 'M', '186.1', 'G', '1280x800'] in rows
    assert ['van_lska_t_imagenet', '4.03', 'M', '0.8', 'G', '224x224'] in rows
    assert len(rows) == len(files) + 1


def test_a_config_is_found_by_its_name_where_there_is_no_such_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own = ROOT / 'configs/demo/upernet_van_lska_t_scenes.py'
    for name in ('upernet_van_lska_t_scenes', 'demo/upernet_van_lska_t_scenes', 'upernet_van_lska_t_scenes.py'):
        assert find_config(name) == own
    (tmp_path / 'upernet_van_lska_t_scenes').mkdir()  # as a work directory of that name
    assert load_config('upernet_van_lska_t_scenes').filename == str(own)
    (tmp_path / 'upernet_van_lska_t_scenes.py').write_text('mine = 1')
    assert load_config('upernet_van_lska_t_scenes.py').mine == 1
    for name in ('_base_/default_runtime', 'demo', '', '../configs/fpn_van_lska_t', 'scenes'):
        assert find_config(name) is None
    assert catalog.nearest_names('fpn_van_lska_x')[0] in ('fpn_van_lska_t', 'fpn_van_lska_s', 'fpn_van_lska_b')


BASH = """
mmlska() {{ {python} -m mmlska_command "$@"; }}
source completion
COMP_WORDS=(mmlska {words})
COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
_mmlska
echo "${{COMPREPLY[@]}}"
"""


@pytest.fixture(scope='module')
def options():
    return {name: completion.options_of(name) for name in mmlska_command.COMMANDS}


@pytest.mark.parametrize(
    ('words', 'offered'),
    [
        ('tr', 'train'),
        ('train --pre', '--pretrained'),
        ('predict --no-ov', '--no-overlays'),
        ('test demo/upernet', 'demo/upernet_van_lska_t_dubai demo/upernet_van_lska_t_scenes'),
        ('train no_such', ''),  # bash continues with names of files
    ],
)
@pytest.mark.skipif(not shutil.which('bash'), reason='no bash')
def test_bash_completes(words, offered, options, tmp_path):
    (tmp_path / 'completion').write_text(completion.script('bash', mmlska_command.COMMANDS, options))
    code = BASH.format(python=sys.executable, words=words)
    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
    done = subprocess.run(
        ['bash', '-c', code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert (done.stdout.strip(), done.stderr) == (offered, '')


def test_the_options_of_a_command_are_those_of_its_help(options):
    assert {'--dtype', '--amp', '--channels-last', '--no-channels-last', '--data', '--help'} <= set(options['train'])
    assert '--local-rank' not in options['train']  # which launchers give, not people
    assert options['completion'] == ['--help']


@pytest.mark.parametrize('shell', ['zsh', 'fish'])
def test_the_scripts_of_other_shells_have_every_option(shell, options, tmp_path):
    """Read by the shell itself where it is installed; what both can say is read by bash too."""
    script = completion.script(shell, mmlska_command.COMMANDS, options)
    for name, words in options.items():
        lines = (
            [f"from {name}' -l {word[2:]}\n" for word in words]
            if shell == 'fish'
            else [f"{name}) known='{' '.join(words)}'"]
        )
        assert [line for line in lines if line not in f'{script}\n'] == []
    (tmp_path / 'script').write_text(script)
    for program in filter(shutil.which, ('bash', shell)):
        subprocess.run([program, '-n', tmp_path / 'script'], check=True)


@pytest.mark.skipif(not shutil.which('bash'), reason='no bash')
def test_each_line_for_fish_is_one_command_with_its_text(options, tmp_path):
    """fish and bash quote the words of these lines alike."""
    (tmp_path / 'script').write_text(completion.script('fish', mmlska_command.COMMANDS, options))
    code = 'complete() { printf "%s\t" "$@"; echo; }; source ./script'
    done = subprocess.run(['bash', '-c', code], cwd=tmp_path, capture_output=True, text=True, check=True)
    said = [line.split('\t')[:-1] for line in done.stdout.splitlines()]
    texts = {words[words.index('-a') + 1]: words[-1] for words in said if '-d' in words}
    assert texts == mmlska_command.COMMANDS
    assert len(said) == 1 + sum(1 + len(words) for words in options.values())


@pytest.mark.parametrize(('words', 'offered'), [('tr', ['train']), ('predict --no-ov', ['--no-overlays'])])
@pytest.mark.skipif(not shutil.which('fish'), reason='no fish')
def test_fish_completes(words, offered, options, tmp_path):
    (tmp_path / 'script').write_text(completion.script('fish', mmlska_command.COMMANDS, options))
    code = f'source script; complete -C "mmlska {words}"'
    environment = {**os.environ, 'HOME': str(tmp_path), 'XDG_CONFIG_HOME': str(tmp_path)}
    done = subprocess.run(
        ['fish', '-c', code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert [line.split('\t')[0] for line in done.stdout.splitlines()] == offered
