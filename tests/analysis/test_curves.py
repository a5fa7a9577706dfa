"""Curves of training runs."""

import json
import runpy
import sys
from pathlib import Path

import cv2
import pytest

from mmlska.analysis.curves import draw_curves, read_scalars

ROOT = Path(__file__).resolve().parents[2]


def log(folder, stamp, entries, end=''):
    path = folder / stamp / 'vis_data/scalars.json'
    path.parent.mkdir(parents=True)
    path.write_text('\n'.join(json.dumps(entry) for entry in entries) + '\n' + end)
    return path


def test_a_resumed_run_is_one_curve(tmp_path):
    log(tmp_path, '1', [dict(step=s, iter=s, loss=s + 0.5, lr=0.1, time=9.0) for s in (1, 2, 3)], end='{"step": 4, "lo')
    log(tmp_path, '2', [dict(step=s, loss=10.0 * s) for s in (3, 4)] + [dict(step=4, mIoU=33.0)])
    curves = read_scalars(tmp_path)
    assert curves['loss'] == ([1, 2, 3, 4], [1.5, 2.5, 30.0, 40.0])
    assert curves['mIoU'] == ([4], [33.0])
    assert set(curves) == {'loss', 'lr', 'mIoU'}


def test_the_picture_has_a_panel_for_each_name(tmp_path):
    runs = {'a': dict(loss=([1, 2], [3.0, 2.0])), 'b': dict(loss=([1, 2], [4.0, 1.0]), lr=([1], [0.1]))}
    height, width = cv2.imread(str(draw_curves(runs, tmp_path / 'new/curves.png'))).shape[:2]
    assert (height, width) == (432, 1200)
    (tmp_path / 'empty.json').touch()
    with pytest.raises(ValueError, match='empty.json has logged nothing to draw; give the work directory'):
        read_scalars(tmp_path / 'empty.json')
    with pytest.raises(ValueError, match='no run has logged mAP; choose from loss, lr'):
        draw_curves(runs, tmp_path / 'none.png', ['mAP'])
    assert not (tmp_path / 'none.png').exists()


def test_the_tool(tmp_path, monkeypatch, capsys):
    log(tmp_path / 'run', '1', [dict(step=s, loss=1.0 / s) for s in (1, 2, 3)])
    monkeypatch.setattr(sys, 'argv', ['plot_logs.py', str(tmp_path / 'run'), '--out', str(tmp_path / 'c.png')])
    runpy.run_path(str(ROOT / 'tools/plot_logs.py'), run_name='__main__')
    assert capsys.readouterr().out == f'picture: {tmp_path}/c.png\n'
    monkeypatch.setattr(sys, 'argv', ['plot_logs.py', str(tmp_path / 'none')])
    with pytest.raises(SystemExit):
        runpy.run_path(str(ROOT / 'tools/plot_logs.py'), run_name='__main__')
    assert capsys.readouterr().err.startswith(f'plot_logs.py: error: no log in {tmp_path}/none; give a work directory')
