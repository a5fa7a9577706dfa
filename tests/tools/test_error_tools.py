"""tools/browse_errors.py and tools/shape_bias.py as a user runs them."""

import json
import re
import subprocess

import cv2
import pytest
from error_models import DETECTOR, SEGMENTOR, conflicting_scenes, small_model
from test_train_test import ok, run


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
