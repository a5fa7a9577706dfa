"""Ultralytics through mmlska.yolo asks no other host: in a process that notes every look-up and connection."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ..helpers import QUICK, ROOT

USE = """
import mmlska.yolo
from mmlska.yolo.data import fingerprint
from mmlska.yolo.trainers import DetectionTrainer
from ultralytics import YOLO

fingerprint({data!r})
mmlska.yolo.register()
model = YOLO('yolo11n-lska-sppf.yaml')
settings = dict({quick!r}, data={data!r}, plots=True)
model.train(trainer=DetectionTrainer, project={runs!r}, **settings)
model.val(data={data!r}, imgsz=64, device='cpu', workers=0, project={runs!r})
model.predict({images!r}, imgsz=64, device='cpu', save=True, project={runs!r})
"""


def notes_of(code: str, folder: Path, **environment: str) -> str:
    """Run code as a user would, with settings of Ultralytics that are new, and return what it asked."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(('YOLO_', 'PYTEST_'))}
    kept.update(PYTHONPATH=str(ROOT), YOLO_CONFIG_DIR=str(folder / 'settings'), **environment)
    (folder / 'settings').mkdir()
    command = [sys.executable, str(ROOT / 'tests/security/network_canary.py'), str(folder / 'notes'), code]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=kept, cwd=folder)
    assert result.returncode == 0, result.stderr[-3000:]
    return (folder / 'notes').read_text() if (folder / 'notes').exists() else ''


def test_importing_asks_no_host(tmp_path):
    assert notes_of('import mmlska.yolo', tmp_path) == ''


def test_who_sets_the_variable_keeps_the_choice(tmp_path):
    notes = notes_of('import mmlska.yolo', tmp_path, YOLO_OFFLINE='false')
    assert 'getaddrinfo' in notes


@pytest.mark.slow(12)
def test_training_and_prediction_ask_no_host(yolo_data, tmp_path):
    paths = dict(data=str(yolo_data), images=str(yolo_data.parent / 'images/val'), runs=str(tmp_path / 'runs'))
    code = USE.format(**paths, quick=QUICK)
    assert notes_of(code, tmp_path) == ''
    assert list(tmp_path.glob('runs/**/best.pt'))
