"""In an environment with torch and numpy alone the networks run, and what needs MMEngine says so."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Only Python's own modules, torch with what it requires, numpy and this package can be imported: the rest seems not to be installed.
ALONE = """
import importlib.metadata, re, sys

ALLOWED = {'torch', 'torchgen', 'numpy', 'mmlska', *sys.stdlib_module_names, *sys.builtin_module_names}
distributions, seen = ['torch'], set()
while distributions:
    name = distributions.pop()
    if name not in seen:
        seen.add(name)
        try:
            found = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        lines = [line for line in found.requires or [] if 'extra ==' not in line]
        distributions += [re.match(r'[\\w.-]+', line)[0] for line in lines]
owners = importlib.metadata.packages_distributions()
normal = {re.sub('[-_.]+', '-', name).lower() for name in seen}
ALLOWED |= {top for top, names in owners.items() if {re.sub('[-_.]+', '-', n).lower() for n in names} & normal}


class Blocker:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.split('.')[0] not in ALLOWED and not name.startswith('_'):
            raise ModuleNotFoundError(f'No module named {name!r}', name=name)


sys.meta_path.insert(0, Blocker)
assert not {'mmengine', 'mmcv', 'yaml', 'safetensors', 'cv2', 'PIL'} & ALLOWED, ALLOWED
"""

NETWORKS = """
import torch
from mmlska import LSKA, VAN_LSKA, van_lska_tiny

for module in (LSKA(8, 23), VAN_LSKA('t', k_size=7), van_lska_tiny(num_classes=5)):
    x = torch.rand(2, 8 if isinstance(module, LSKA) else 3, 64, 64, requires_grad=True)
    out = module(x)
    out = out[-1] if isinstance(out, tuple) else out
    (out * torch.rand_like(out)).sum().backward()  # the sum over channels alone is constant after a LayerNorm
    assert x.grad.abs().sum() > 0
    assert all(p.grad is not None for p in module.parameters() if not isinstance(module, VAN_LSKA))
assert VAN_LSKA.__module__ == 'mmlska.models.van_lska'
"""

WEIGHTS = """
import logging, torch
from mmlska import van_lska_tiny
from mmlska.models import fold_for_inference
from mmlska.weights import inspect_state_dict, safe_reading, save_weights

records = []
handler = logging.Handler()
handler.emit = lambda record: records.append(record.getMessage())
logging.getLogger('mmlska').addHandler(handler)
logging.getLogger('mmlska').setLevel(logging.INFO)

model = van_lska_tiny(num_classes=5, k_size=7)
file = save_weights(model.state_dict(), 'tiny.pth')
with safe_reading():
    again = van_lska_tiny(num_classes=5, k_size=7, pretrained=str(file)).eval()
assert records and all('452/452 tensors loaded' in text for text in records), records
x = torch.rand(1, 3, 64, 64)
torch.testing.assert_close(again(x), model.eval()(x))
torch.testing.assert_close(fold_for_inference(again)(x), again(x), rtol=1e-4, atol=1e-4)
assert inspect_state_dict(model.state_dict()).attention == 'lska'
try:
    van_lska_tiny(pretrained='mmlska://van_lska_t_k23_tiny_imagenet')
except ImportError as error:
    assert 'pip install' in str(error), error
else:
    raise AssertionError('a manifest without PyYAML')
"""

# A checkpoint of MMEngine holds its record of the losses, in which nobody looks here.
MMENGINE_CHECKPOINT = """
from mmlska.weights import read_checkpoint

file = read_checkpoint({path!r})
assert list(file.content['state_dict']) == ['a'], file.content
"""

REFUSALS = """
import mmlska
from mmlska import VAN_LSKA


def message(function):
    try:
        function()
    except ImportError as error:
        return str(error)
    raise AssertionError('no error')


assert message(lambda: mmlska.engine).startswith("No module named 'mmengine'")
assert 'pip install onedl-mmengine' in message(lambda: mmlska.engine)
assert 'pip install onedl-mmengine' in message(lambda: mmlska.load('mask_rcnn_van_lska_t'))
text = message(lambda: VAN_LSKA('t', init_cfg=dict(type='Pretrained', checkpoint='x.pth')))
assert 'pip install onedl-mmengine' in text and '\\n' not in text, text
try:
    mmlska.engines
except AttributeError as error:
    assert str(error) == "module 'mmlska' has no attribute 'engines'"
from mmlska import *
"""


def run_alone(code: str, cwd: Path) -> None:
    code = f'import sys\nsys.path.insert(0, {str(ROOT)!r})\n{ALONE}\n{code}\nprint("done")'
    done = subprocess.run(
        [sys.executable, '-c', code], cwd=cwd, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == 'done'


@pytest.mark.parametrize('code', [NETWORKS, WEIGHTS, REFUSALS], ids=['networks', 'weights', 'refusals'])
def test_runs_with_torch_and_numpy_alone(code, tmp_path):
    run_alone(code, tmp_path)


def test_reads_checkpoints_of_mmengine(tmp_path):
    torch = pytest.importorskip('torch')
    logging = pytest.importorskip('mmengine.logging')
    record = logging.HistoryBuffer([1.0, 2.0], [1, 1])
    torch.save(dict(message_hub=dict(loss=record), state_dict=dict(a=torch.ones(2))), tmp_path / 'epoch_1.pth')
    run_alone(MMENGINE_CHECKPOINT.format(path=str(tmp_path / 'epoch_1.pth')), tmp_path)
