"""The weights that come with the package: files, entries, documents, and the accuracy that the entry states."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mmlska import VAN_LSKA
from mmlska.engine.config import load_config
from mmlska.weights import file_sha256, read_checkpoint, shipped_entries
from mmlska.weights.manifest import FILES

ROOT = Path(__file__).resolve().parents[2]
ENTRIES = shipped_entries()
each_entry = pytest.mark.parametrize('entry', ENTRIES, ids=lambda entry: entry['name'])


def test_k23_is_among_them_and_no_file_is_without_entry():
    assert {'van_lska_t_k23_tiny_imagenet', 'van_lska_t_k23_tiny_imagenet_112'} <= {entry['name'] for entry in ENTRIES}
    assert sorted(entry['file'] for entry in ENTRIES) == sorted(path.name for path in FILES.glob('*.safetensors'))


@each_entry
def test_the_file_is_small_whole_and_fits(entry):
    path = FILES / entry['file']
    assert path.stat().st_size < 8.5e6
    assert file_sha256(path) == entry['sha256']
    assert entry['sha256'][:8] in entry['file']
    assert 'research' in entry['licence']
    init_cfg = dict(type='Pretrained', checkpoint=f'mmlska://{entry["name"]}', strict=True)
    backbone = VAN_LSKA(entry['arch'], k_size=entry['k_size'], attention=entry['attention'], init_cfg=init_cfg)
    backbone.init_weights()
    source = read_checkpoint(path).content
    for name, tensor in backbone.state_dict().items():
        assert torch.isfinite(tensor).all(), name
        assert torch.equal(tensor, source[f'backbone.{name}'].to(tensor.dtype)), name


@each_entry
def test_log_curve_and_page_are_those_of_the_entry(entry):
    log = json.loads((ROOT / entry['log']).read_text())
    assert log['entry'] == entry
    every = load_config(str(ROOT / entry['config'])).train_cfg.val_interval
    measured = {key: [epoch for epoch, _ in log['curve'][key]] for key in ('loss', 'top1')}
    assert measured['loss'] == list(range(1, entry['epochs'] + 1))
    assert measured['top1'] == list(range(every, entry['epochs'] + 1, every))
    # The file is the last epoch's in half precision. One training saw larger photos when it was measured on the way.
    other_size = 'test_size' in log.get('recipe', {}).get('model', {}).get('data_preprocessor', {})
    assert log['curve']['top1'][-1][1] == pytest.approx(entry['top1'], abs=1 if other_size else 0.2)
    assert (ROOT / f'docs/{entry["name"]}.png').is_file()
    page = (ROOT / 'docs/pretraining.md').read_text()
    assert re.search(rf'`{entry["name"]}`.*\b{entry["top1"]}\b.*\b{entry["top5"]}\b', page)


@pytest.mark.slow(30)
@each_entry
def test_the_tool_finds_the_accuracy_of_the_entry(entry, shared_data, tmp_path):
    command = ['tools/test.py', entry['config'], f'mmlska://{entry["name"]}', '--work-dir', str(tmp_path)]
    if options := entry.get('options'):
        command += ['--cfg-options', *(f'{key}={value}' for key, value in options.items())]
    environment = dict(os.environ, MMLSKA_DATA=str(shared_data('tiny_imagenet').resolve().parent))
    subprocess.run([sys.executable, *command], cwd=ROOT, env=environment, check=True, capture_output=True)
    found = json.loads(next(tmp_path.glob('*/*.json')).read_text())
    assert found['accuracy/top1'] == pytest.approx(entry['top1'], abs=0.1)
    assert found['accuracy/top5'] == pytest.approx(entry['top5'], abs=0.1)
