"""A training that is killed again and again ends where an uninterrupted one does, bit for bit."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
EPOCHS = 12  # of four steps
DRIVER = Path(__file__).with_name('kill_driver.py')
# Flips, drop path and the random samples of both heads draw on the generators that have to continue where they were.
CONFIG = """
_base_ = {base!r}
data_root = {root!r}
train_dataloader = dict(batch_size=1, dataset=dict(data_root=data_root))
val_dataloader = test_dataloader = dict(batch_size=2, dataset=dict(data_root=data_root))
val_evaluator = test_evaluator = dict(ann_file=data_root + 'annotations/instances_validation.json')
model = dict(
    backbone=dict(
        arch=dict(_delete_=True, embed_dims=[8] * 4, depths=[1] * 4, ffn_ratios=[2] * 4), k_size=7, drop_path_rate=0.3
    ),
    neck=dict(in_channels=[8] * 4),
)
train_cfg = dict(max_epochs={epochs}, val_interval=4)
default_hooks = dict(
    logger=dict(interval=1), checkpoint=dict(by_epoch=False, interval=2, max_keep_ckpts=2, save_best='coco/bbox_mAP')
)
"""


def write_config(scenes: Path, folder: Path, epochs: int) -> Path:
    base = str(ROOT / 'configs/demo/mask_rcnn_van_lska_t_scenes.py')
    path = folder / 'small.py'
    path.write_text(CONFIG.format(base=base, root=f'{scenes}/', epochs=epochs))
    return path


def final(work_dir: Path) -> dict:
    return torch.load(work_dir / f'iter_{4 * EPOCHS}.pth', weights_only=False)


@pytest.mark.slow(60)
def test_twenty_kills_change_nothing(scenes, tmp_path):
    config = write_config(scenes, tmp_path, epochs=EPOCHS)
    environment = dict(os.environ, OMP_NUM_THREADS='1', PYTHONPATH=str(ROOT))
    command = [sys.executable, str(DRIVER), str(config), str(tmp_path), '20', '7']
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280, check=False)
    logs = ''.join(p.read_text()[-3000:] for p in tmp_path.glob('*.log'))
    assert done.returncode == 0, done.stderr + logs
    result = json.loads(done.stdout.splitlines()[-1])
    print(result)
    assert (result['whole'], result['killed']) == (0, 0), logs
    assert result['kills'] == 20
    assert result['damaged'] == []
    assert result['during_save'] >= 3
    whole, killed = final(tmp_path / 'whole'), final(tmp_path / 'killed')
    assert whole['meta']['iter'] == killed['meta']['iter'] == 4 * EPOCHS
    assert whole['state_dict'].keys() == killed['state_dict'].keys()
    different = [n for n, t in whole['state_dict'].items() if not torch.equal(t, killed['state_dict'][n])]
    assert different == []
    moments = [c['optimizer']['state'] for c in (whole, killed)]
    assert all(torch.equal(moments[0][i]['exp_avg'], moments[1][i]['exp_avg']) for i in moments[0])
