"""tools/make_scenes.py."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

TOOL = Path(__file__).parents[2] / 'tools' / 'make_scenes.py'


def run_tool(*args, cwd):
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join(path for path in sys.path if path)}
    return subprocess.run(
        [sys.executable, str(TOOL), *args], cwd=cwd, env=environment, capture_output=True, text=True, timeout=120
    )


def test_tool_writes_scenes_and_preview(tmp_path):
    options = 'out --train 2 --val 1 --size 40x56 --classes 3 --difficulty easy --conflict --seed 7 --preview look.png'
    done = run_tool(*options.split(), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[:2] == ['3/3 scenes', f'Written to {tmp_path / "out"}']
    parameters = json.loads((tmp_path / 'out/scenes.json').read_text())['parameters']
    assert parameters == {
        'num_train': 2,
        'num_val': 1,
        'size': [40, 56],
        'num_classes': 3,
        'difficulty': 'easy',
        'texture': 'conflict',
        'seed': 7,
    }
    sheet = cv2.imread(str(tmp_path / 'look.png'))
    assert sheet.shape == (4 * (7 * 40 + 2), 4 * (7 * 56 + 2), 3)
    assert (sheet == 255).all(2).sum() > 1000  # the outlines and the labels
    assert sorted(path.name for path in tmp_path.glob('[!.]*')) == ['look.png', 'out']


def test_tool_fails_in_one_line_without_traceback(tmp_path):
    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mine/notes.txt').write_text('text')
    done = run_tool('mine', cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, '')
    message = f'{tmp_path / "mine"} holds more than scenes, which even --overwrite keeps; use another folder'
    assert done.stderr == f'make_scenes.py: error: {message}\n'


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        ('--classes 9', 'num_classes 9 is impossible; use 1 to 8'),
        ('--size big', "argument --size: invalid size value: 'big' (--help lists the options)"),
        ('--size 40x16', 'size 16 is impossible; use 32 or more'),
        ('--train 0 --val 0', 'num_train and num_val are both 0; use at least one image'),
        ('--shape 9', 'unrecognized arguments: --shape 9 (--help lists the options)'),
        ('--sizes 9', 'unrecognized arguments: --sizes 9; did you mean --size? (--help lists the options)'),
    ],
)
def test_tool_rejects_impossible_arguments(tmp_path, monkeypatch, capsys, args, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'argv', ['make_scenes.py', 'out', *args.split()])
    with pytest.raises(SystemExit) as caught:
        runpy.run_path(str(TOOL), run_name='__main__')
    assert caught.value.code == 2
    assert capsys.readouterr() == ('', f'make_scenes.py: error: {message}\n')
    assert list(tmp_path.iterdir()) == []
