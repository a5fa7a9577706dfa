"""tools/browse_errors.py, tools/shape_bias.py and scripts/run_study.py as a user runs them."""

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
from error_models import DETECTOR, SEGMENTOR, conflicting_scenes, small_config, small_model

from mmlska.datasets.scenes import write_scenes

ROOT = Path(__file__).resolve().parents[2]


def run(tool: str, *args, cwd: Path) -> subprocess.CompletedProcess:
    """Run a tool from another folder than the repository."""
    environment = dict(os.environ, OMP_NUM_THREADS='1', PYTHONPATH=str(ROOT))
    environment.pop('MMLSKA_DATA', None)
    command = [sys.executable, str(ROOT / 'tools' / tool), *map(str, args)]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False)


def ok(result: subprocess.CompletedProcess) -> str:
    assert result.returncode == 0, (result.stdout + result.stderr)[-3000:]
    return result.stdout


def refused(result: subprocess.CompletedProcess) -> str:
    """The one line that a wrong setting leads to."""
    assert result.returncode == 2
    assert 'Traceback' not in result.stderr
    return result.stderr.strip().splitlines()[-1]


@pytest.mark.slow
def test_browse_errors_of_a_checkpoint(scenes, tmp_path):
    config, checkpoint = small_model(DETECTOR, scenes, tmp_path)
    output = ok(run('browse_errors.py', config, checkpoint, '--score-thr', 0, '--out', 'gallery', cwd=tmp_path))
    data = json.loads((tmp_path / 'gallery/errors.json').read_text())
    reported = float(re.search(r'bbox_mAP_50: ([\d.]+)', output)[1])
    assert data['value'] == pytest.approx(100 * reported, abs=0.06)
    assert f'{data["counts"]["background"]:8} background' in output
    assert sum(data['counts'].values()) > 10
    picture = cv2.imread(str(tmp_path / 'gallery/images/00000.jpg'))
    assert picture.shape == (96, 96, 3)
    assert picture.std() > 5
    assert 'index.html' in output
    again = run('browse_errors.py', config, checkpoint, '--out', 'gallery', cwd=tmp_path)
    assert 'holds a gallery; use --overwrite or another folder' in refused(again)


@pytest.mark.slow
def test_shape_bias_compares_models_and_warns(scenes, tmp_path):
    models = [small_model(SEGMENTOR, scenes, tmp_path, 7), small_model(SEGMENTOR, scenes, tmp_path, 11)]
    models.append(small_model(DETECTOR, scenes, tmp_path, 7))
    conflicting_scenes(tmp_path)
    (tmp_path / 'human.csv').write_text('imagename,object_response\ncat1-truck3.png,cat\ndog1-car3.png,car\n')
    pairs = [str(part) for pair in models for part in pair]
    names = ['--names', 'K = 7', 'K = 11', 'boxes', 'human']
    args = ['--data', 'conflict', '--score-thr', 0, '--decisions', 'human.csv', '--out', 'bias', *names]
    result = run('shape_bias.py', *pairs, *args, cwd=tmp_path)
    output = ok(result)
    saved = json.loads((tmp_path / 'bias/shape_bias.json').read_text())['models']
    assert list(saved) == ['K = 7', 'K = 11', 'boxes', 'human']
    assert saved['human']['shape_bias'] == 0.5
    assert saved['human']['warning'] is None
    assert '| human | 50.0 | 9.5 to 90.5 | 1 | 1 | 0 | 0 |' in output
    assert result.stderr.count("textures 'random', never those of the class: the result means nothing") == 3
    assert cv2.imread(str(tmp_path / 'bias/shape_bias.png')).std() > 5
    assert 'holds no scenes; make them:' in refused(run('shape_bias.py', *pairs, cwd=tmp_path))


@pytest.mark.slow
def test_wrong_arguments_of_shape_bias(tmp_path):
    assert 'give pairs of CONFIG and CHECKPOINT' in refused(run('shape_bias.py', 'a.py', cwd=tmp_path))


@pytest.mark.slow(80)
def test_study_runs_one_model_and_does_not_run_it_again(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv('MMLSKA_DATA', raising=False)
    monkeypatch.setenv('OMP_NUM_THREADS', '1')
    monkeypatch.setenv('PYTHONPATH', str(ROOT))
    monkeypatch.syspath_prepend(str(ROOT / 'tools'))
    study = importlib.import_module('run_study')
    config, results = small_config(SEGMENTOR, tmp_path / 'study/class', tmp_path), tmp_path / 'study.json'
    args = ['lska_k7', '--config', config, '--data', tmp_path / 'study', '--scenes', 4, 2]
    args += ['--work-dir', tmp_path / 'work', '--results', results, '--seeds', 0]
    page, figure = tmp_path / 'study.md', tmp_path / 'study.png'
    page.write_text('<!-- study table -->\n<!-- end -->\n')
    drawn = ['--readme', page, '--figure', figure]
    monkeypatch.setattr(sys, 'argv', ['run_study.py', *map(str, [*args, '3', '--runs', '1', *drawn])])
    study.main()
    saved = json.loads(results.read_text())
    assert list(saved) == ['lska_k7_seed0']  # the run of seed 3 is left for the next time
    entry = saved['lska_k7_seed0']
    assert set(entry['metrics']) == {'mIoU, class textures', 'mIoU, conflict textures'}
    assert entry['shape_bias']['warning'] is None
    objects = json.loads((tmp_path / 'study/conflict/annotations/instances_validation.json').read_text())['annotations']
    assert sum(entry['shape_bias'][key] for key in ('shape', 'texture', 'other', 'none')) == len(objects)
    assert len(entry['commands']) == 7
    assert 0 < entry['robustness']['mPC'] < entry['metrics']['mIoU, class textures'] * 2
    assert len(entry['robustness']['corruptions']) == 15
    assert {c['share'] for c in entry['receptive_field']['trained']} == {0.2, 0.3, 0.5, 0.99}
    assert entry['cost']['input_shape'] == [128, 128]
    assert '| `lska_k7` | 1 |' in page.read_text()
    assert cv2.imread(str(figure)).std() > 10
    assert {'date', 'hardware', 'versions', 'train_minutes', 'k_size', 'attention', 'seed'} <= set(entry)
    assert Path(entry['checkpoint']).is_file()
    assert '| `lska_k7` | 1 |' in capsys.readouterr().out

    monkeypatch.setattr(sys, 'argv', ['run_study.py', *map(str, args)])
    monkeypatch.setattr(study, 'run_model', None)  # would fail if called
    study.main()
    assert '| `lska_k7` | 1 |' in capsys.readouterr().out
    assert json.loads(results.read_text()) == saved

    cost = entry.pop('cost')  # as if it had stopped before the last measurement
    results.write_text(json.dumps({'lska_k7_seed0': entry}))
    monkeypatch.undo()
    monkeypatch.setenv('PYTHONPATH', str(ROOT))
    monkeypatch.setattr(sys, 'argv', ['run_study.py', *map(str, args)])
    study.main()
    assert json.loads(results.read_text())['lska_k7_seed0']['cost'] == cost
    results.write_text('{"half')
    with pytest.raises(SystemExit):
        study.main()
    assert 'study.json is no results file' in capsys.readouterr().err


def test_the_scenes_of_the_study_differ_in_their_paint_alone(tmp_path):
    for texture in ('class', 'conflict'):
        write_scenes(tmp_path / texture, num_train=0, num_val=3, size=64, texture=texture)
    masks, images = (
        [
            [(tmp_path / t / kind / f'validation/{i:06d}.png').read_bytes() for i in range(3)]
            for t in ('class', 'conflict')
        ]
        for kind in ('annotations', 'images')
    )
    assert masks[0] == masks[1]
    assert images[0] != images[1]
