"""scripts/run_study.py as a maintainer runs it."""

import importlib
import json
import sys
from pathlib import Path

import cv2
import pytest
from error_models import SEGMENTOR, small_config

from mmlska.datasets.scenes import write_scenes

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow(80)
def test_study_runs_one_model_and_does_not_run_it_again(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv('MMLSKA_DATA', raising=False)
    monkeypatch.setenv('OMP_NUM_THREADS', '1')
    monkeypatch.setenv('PYTHONPATH', str(ROOT))
    monkeypatch.syspath_prepend(str(ROOT / 'scripts'))
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
