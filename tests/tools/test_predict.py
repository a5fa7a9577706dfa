"""tools/predict.py as a user runs it."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

TOOL = Path(__file__).resolve().parents[2] / 'tools/predict.py'


def predict(model, *args, cwd):
    command = [sys.executable, TOOL, *args, '--config', model.config, '--checkpoint', model.checkpoint, '--out', 'out']
    return subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.slow
def test_folder_in_tiles_with_overlays(tiny_models, scenes, tmp_path):
    images = scenes / 'images/validation'
    options = ['--format', 'json', '--tile', 64, '--batch-size', 2, '--score-thr', 0.15]
    result = predict(tiny_models['mask_rcnn'], images, *options, cwd=tmp_path)
    assert result.returncode == 0, result.stderr[-2000:]
    assert 'predictions: 2 files in out' in result.stdout
    assert '2/2' in result.stderr
    found = json.loads((tmp_path / 'out/000000.json').read_text())
    assert found['instances']
    assert (found['height'], found['width']) == (96, 96)
    assert sorted(p.name for p in (tmp_path / 'out/overlays').iterdir()) == ['000000.png', '000001.png']


def test_errors_are_one_line(tiny_models, tmp_path, refused):
    cv2.imwrite(str(tmp_path / 'image.png'), np.zeros((9, 9, 3), np.uint8))
    (tmp_path / 'broken.png').write_bytes(b'nothing')
    wrong = tiny_models['retinanet']._replace(checkpoint=tiny_models['fpn'].checkpoint)
    for model, args, message in [
        (tiny_models['fpn'], ['broken.png'], 'broken.png is not an image that OpenCV can read'),
        (wrong, ['image.png'], 'tiny_fpn.pth does not fit tiny_retinanet.py'),
    ]:
        files = ['--config', model.config, '--checkpoint', model.checkpoint, '--out', 'out']
        assert message in refused('predict.py', *args, *files, cwd=tmp_path)  # not behind the progress bar
