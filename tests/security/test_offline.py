"""Nothing here asks another host by itself: in a process that notes every look-up and connection. For Ultralytics see tests_extras."""

import os
import socket
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

CANARY = Path(__file__).with_name('network_canary.py')
PREDICT = """
import numpy as np
import mmlska.analysis.gallery, mmlska.benchmark.contenders, mmlska.own_data.adapt_config, mmlska.export, mmlska.classification
from mmlska.infer import Predictor
from mmlska.weights.manifest import fetch_published

config, checkpoint = {model!r}
assert len(Predictor(config, checkpoint, device='cpu')(np.zeros((64, 64, 3), np.uint8))) == 1
assert fetch_published('van_lska_t_k23_tiny_imagenet').is_file()
"""
PAGE = """
import http.client, os, threading, time
from mmlska.app.models import Models
from mmlska.app.page import Page
from mmlska.app.serve import serve

def visit():
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            connection = http.client.HTTPConnection('127.0.0.1', {port}, timeout=20)
            connection.request('GET', '/')
            page = connection.getresponse().read()
            time.sleep(1)  # what a thread of Gradio might ask
            os._exit(0 if b'gradio' in page else 3)
        except ConnectionError:
            time.sleep(0.2)
    os._exit(4)

threading.Thread(target=visit, daemon=True).start()
serve(Page(Models(dict(tiny={model!r}), device='cpu')), '127.0.0.1', {port})
"""


def notes_of(code: str, folder: Path) -> str:
    """Run code as a user would, without what switches reports off, and return what it asked."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(('GRADIO_', 'HF_', 'PYTEST_'))}
    command = [sys.executable, str(CANARY), str(folder / 'notes'), code]
    result = subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, env=kept, cwd=CANARY.parents[2]
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return (folder / 'notes').read_text() if (folder / 'notes').exists() else ''


def test_the_canary_notes_what_is_asked(tmp_path):
    code = 'import urllib.request as u\ntry: u.urlopen("http://example.org")\nexcept OSError: pass'
    assert notes_of(code, tmp_path) == 'getaddrinfo example.org\n'


@pytest.mark.slow(12)
def test_imports_predictions_and_shipped_weights_ask_no_host(tiny_models, tmp_path):
    model = tuple(map(str, tiny_models['mask_rcnn']))
    assert notes_of(PREDICT.format(model=model), tmp_path) == ''


@pytest.mark.slow(12)
@pytest.mark.skipif(find_spec('gradio') is None, reason='no Gradio; pip install -r requirements/app.txt')
def test_the_page_asks_no_host(tiny_models, tmp_path):
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    assert notes_of(PAGE.format(model=tuple(map(str, tiny_models['upernet'])), port=port), tmp_path) == ''
