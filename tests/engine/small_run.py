"""A segmentor so small that a test can train it many times."""

import itertools
from pathlib import Path

import pytest
import torch
from mmengine.runner import Runner

from mmlska.engine.config import load_config
from mmlska.engine.errors import TrainingError
from mmlska.engine.launch import build_train_runner, prepare
from mmlska.weights import use_safe_reader

ROOT = Path(__file__).resolve().parents[2]
CONFIG = """
_base_ = {base!r}
data_root = {root!r}
model = dict(
    data_preprocessor=dict(size=(96, 96)),
    backbone=dict(
        arch=dict(_delete_=True, embed_dims=[8] * 4, depths=[1] * 4, ffn_ratios=[2] * 4), k_size=7, drop_path_rate=0.2
    ),
    decode_head=dict(in_channels=[8] * 4, channels=8),
    auxiliary_head=dict(in_channels=8, channels=8),
)
train_dataloader = dict(batch_size=2, dataset=dict(data_root=data_root))
val_dataloader = test_dataloader = dict(batch_size=2, dataset=dict(data_root=data_root))
train_cfg = dict(max_iters=6, val_interval=3)
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=2, max_keep_ckpts=2))
"""
_names = itertools.count()


def write_config(scenes: Path, folder: Path) -> str:
    """Write the config of a run of six iterations."""
    path = folder / 'small.py'
    base = str(ROOT / 'configs/demo/upernet_van_lska_t_scenes.py')
    path.write_text(CONFIG.format(base=base, root=f'{scenes}/'))
    return str(path)


def own_names() -> dict[str, str]:
    """Settings that keep runs in one process apart: MMEngine keeps loggers, messages and visualisers by name."""
    name = f'small_{next(_names)}'
    return {'experiment_name': name, 'visualizer.name': name}


def runner_of(config: str, work_dir: Path, options: dict | None = None, seed: int | None = 0, **kwargs) -> Runner:
    """The runner that tools/train.py would build."""
    use_safe_reader()
    cfg = load_config(config, {**own_names(), **(options or {})})
    prepare(cfg, config, work_dir=str(work_dir), launcher='none', seed=seed, deterministic=True)
    return build_train_runner(cfg, **kwargs)


def message_of(runner: Runner) -> str:
    """Train, and return what the training is stopped with: one line."""
    with pytest.raises(TrainingError) as caught:
        runner.train()
    assert '\n' not in str(caught.value)
    return str(caught.value)


def weights_of(runner: Runner) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in runner.model.state_dict().items()}


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(tensor, second[name]) for name, tensor in first.items())
