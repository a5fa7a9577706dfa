"""Training with weights, gradients and optimizer spread over two processes, with gloo on CPU."""

import json
import subprocess
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from small_run import ROOT, own_names, write_config
from test_distributed import environment

from mmlska.engine import checks, fsdp
from mmlska.engine.checks import check_fsdp
from mmlska.engine.config import load_config
from mmlska.engine.launch import build_test_runner, prepare
from mmlska.engine.training_options import use_training_options
from mmlska.weights import use_safe_reader

DRIVER = Path(__file__).with_name('fsdp_runs.py')
# Two ways to train differ in the last digit, and nothing here blows that up, whatever the weights: norms that do not depend on the
# batch and have more than the two numbers of a group in a map of one pixel, activations without a kink, an optimizer with a large eps.
SEGMENTOR = """
_base_ = 'small.py'
parts = dict(norm_cfg=dict(type='GN', num_groups=4, requires_grad=True), act_cfg=dict(type='GELU'))
model = dict(
    backbone=dict(norm_cfg=parts['norm_cfg']), decode_head=dict(pool_scales=(2, 3, 6), **parts), auxiliary_head=parts
)
optim_wrapper = dict(optimizer=dict(lr=1e-3, eps=1e-4))
train_dataloader = dict(batch_size=1, num_workers=0, persistent_workers=False)
val_dataloader = dict(batch_size=1, num_workers=0, persistent_workers=False)
train_cfg = dict(val_begin=100)
default_hooks = dict(checkpoint=dict(interval=3, save_best=None, max_keep_ckpts=-1))
param_scheduler = []
"""
DETECTOR = """
_base_ = {base!r}
model = dict(
    backbone=dict(arch=dict(_delete_=True, embed_dims=[8] * 4, depths=[1] * 4, ffn_ratios=[2] * 4), k_size=7),
    neck=dict(in_channels=[8] * 4),
)
train_dataloader = dict(batch_size=1, num_workers=0, persistent_workers=False)
val_dataloader = dict(batch_size=1, num_workers=0, persistent_workers=False)
train_cfg = dict(max_epochs=1)
optim_wrapper = dict(optimizer=dict(eps=1e-4))
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(save_best=None))
"""


@pytest.fixture(scope='module')
def runs(scenes, tmp_path_factory) -> Path:
    """The folder with what all runs left."""
    if not checks._has_fully_shard():
        pytest.skip('needs torch 2.8 or later')
    if torch.cuda.device_count() == 1:
        pytest.skip('needs two GPUs or none')
    folder = tmp_path_factory.mktemp('fsdp')
    write_config(scenes, folder)
    (folder / 'segmentor.py').write_text(SEGMENTOR)
    base = str(ROOT / 'configs/demo/mask_rcnn_van_lska_t_scenes.py')
    (folder / 'detector.py').write_text(DETECTOR.format(base=base))
    # Initial weights for all: the heads' are drawn before or after the first worker is seeded, which depends on MMEngine's version.
    cfg = load_config(str(folder / 'segmentor.py'))
    init_default_scope(cfg.default_scope)
    torch.manual_seed(1)  # no pixel of the validation lies between two classes then, where the last digit would decide
    model = MODELS.build(cfg.model).state_dict()
    backbone = {name: tensor for name, tensor in model.items() if name.startswith('backbone.')}
    torch.save({name.removeprefix('backbone.'): tensor for name, tensor in backbone.items()}, folder / 'backbone.pth')
    torch.save({name: tensor for name, tensor in model.items() if name not in backbone}, folder / 'heads.pth')
    env = environment()
    command = ['torchrun', '--nproc_per_node', '2', '--master_port', env['MASTER_PORT'], str(DRIVER)]
    command += [str(folder / 'segmentor.py'), str(folder / 'detector.py'), f'{scenes}/', str(folder)]
    done = subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def checkpoint(folder: Path, name: str = 'iter_6.pth') -> dict:
    return torch.load(folder / name, weights_only=False)


def log(folder: Path) -> list[dict]:
    lines = next(folder.glob('*/vis_data/scalars.json')).read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if 'time' not in k and k != 'memory'} for line in lines]


def distance(first: dict, second: dict) -> float:
    assert first.keys() == second.keys()
    return max(
        float((tensor - second[name]).abs().max()) for name, tensor in first.items() if tensor.is_floating_point()
    )


def same(first, second) -> bool:
    return first.keys() == second.keys() and all(torch.equal(tensor, second[name]) for name, tensor in first.items())


@pytest.mark.slow
def test_trains_as_distributed_data_parallel_does(runs):
    with_fsdp, without = log(runs / 'fsdp'), log(runs / 'ddp')
    assert len(with_fsdp) == 8  # six steps, two validations
    assert [line.keys() for line in with_fsdp] == [line.keys() for line in without]
    assert 'grad_norm' in with_fsdp[-2]
    assert 'mIoU' in with_fsdp[-1]
    for line, expected in zip(with_fsdp, without):
        assert line == pytest.approx(expected, rel=1e-5)
    weights = checkpoint(runs / 'fsdp')['state_dict']
    assert distance(weights, checkpoint(runs / 'ddp')['state_dict']) <= 1e-5
    assert distance(weights, checkpoint(runs / 'fsdp', 'iter_3.pth')['state_dict']) > 1e-4


@pytest.mark.slow
def test_each_process_holds_half_of_the_weights_and_of_the_optimizer(runs):
    shares = [json.loads((runs / f'shares_{rank}.json').read_text()) for rank in (0, 1)]
    for what in ('weights', 'optimizer'):
        own, whole = [share[what]['own'] for share in shares], shares[0][what]['whole']
        assert sum(own) == whole > 0
        assert max(own) / whole < 0.52


@pytest.mark.slow
def test_checkpoints_are_those_of_any_training(runs):
    saved, other = checkpoint(runs / 'fsdp'), checkpoint(runs / 'ddp')
    shapes, expected = ({n: (t.shape, t.dtype, type(t)) for n, t in c['state_dict'].items()} for c in (saved, other))
    assert shapes == expected
    assert saved['state_dict']._metadata == other['state_dict']._metadata
    states, expected = (
        {n: {k: (v.shape, type(v)) for k, v in s.items()} for n, s in c['optimizer']['state'].items()}
        for c in (saved, other)
    )
    assert states == expected
    assert len(states) == sum(len(group['params']) for group in saved['optimizer']['param_groups'])
    assert saved['optimizer']['param_groups'] == other['optimizer']['param_groups']

    config = next((runs / 'fsdp').glob('*.py'))  # as the training wrote it
    cfg = load_config(str(config), own_names())
    init_default_scope(cfg.default_scope)
    MODELS.build(cfg.model).load_state_dict(saved['state_dict'], strict=True)
    use_safe_reader()
    prepare(cfg, str(config), work_dir=str(runs / 'test'), launcher='none', seed=0)
    metrics = build_test_runner(cfg, str(runs / 'fsdp/iter_6.pth')).test()
    assert metrics['mIoU'] == pytest.approx(log(runs / 'fsdp')[-1]['mIoU'], abs=0.05)


@pytest.mark.slow
def test_a_resumed_run_ends_as_one_that_was_never_stopped(runs):
    """Resumed between two steps whose gradients add up."""
    saved = checkpoint(runs / 'fsdp', 'iter_3.pth')
    trained = {n for n in saved['state_dict'] if not n.endswith(('_tracked', 'running_mean', 'running_var'))}
    assert saved['gradients'].keys() == trained
    assert all(type(gradient) is torch.Tensor for gradient in saved['gradients'].values())
    whole, resumed = checkpoint(runs / 'fsdp'), checkpoint(runs / 'fsdp_resumed')
    assert same(resumed['state_dict'], whole['state_dict'])
    for number, state in whole['optimizer']['state'].items():
        assert same(resumed['optimizer']['state'][number], state)
    assert 'gradients' not in whole


@pytest.mark.slow
def test_resumes_from_a_training_without_and_the_reverse(runs):
    expected = checkpoint(runs / 'ddp')['state_dict']
    for name in ('fsdp_from_ddp', 'ddp_from_fsdp'):
        assert [line['step'] for line in log(runs / name)] == [5, 6]
        assert distance(checkpoint(runs / name)['state_dict'], expected) <= 1e-5


@pytest.mark.slow
def test_a_detector_with_bfloat16_recomputed_blocks_and_a_frozen_stage(runs):
    with_fsdp, without = log(runs / 'detector'), log(runs / 'detector_ddp')
    assert len(with_fsdp) == 3
    assert 'coco/segm_mAP_50' in with_fsdp[-1]
    assert 'grad_norm' in with_fsdp[0]
    assert with_fsdp[0] == pytest.approx(without[0], rel=1e-5)
    for line, expected in zip(with_fsdp[1:], without[1:]):
        assert line == pytest.approx(expected, rel=1e-3, abs=1e-3)


@pytest.mark.slow
def test_what_stops_a_training_says_so(runs):
    for rank in (0, 1):
        diverged = (runs / f'diverged_{rank}.txt').read_text()
        assert diverged.startswith('the loss is not finite at iteration 2')
        assert 'first non-finite output: not searched for with --fsdp' in diverged or ': the weight ' in diverged
        memory = (runs / f'memory_{rank}.txt').read_text()
        assert "the backbone's activations" in memory


def config_of(**changes) -> Config:
    optimizer = dict(type='AdamW', lr=1e-3)
    return Config(dict(launcher='pytorch', optim_wrapper=dict(type='OptimWrapper', optimizer=optimizer), **changes))


@pytest.mark.parametrize(
    ('changes', 'options', 'message'),
    [
        (dict(launcher='none'), {}, '--fsdp needs several processes; start with tools/dist_train.sh, or leave it out'),
        ({}, dict(zero1=True), '--fsdp spreads the state of the optimizer too; leave out --zero1'),
        ({}, dict(ema=0.1), r'--fsdp cannot average the weights; leave out --ema \(EMAHook in custom_hooks\)'),
        (
            {'custom_hooks': [dict(type='ChannelsLastHook')]},
            {},
            '--fsdp cannot spread channels_last weights; leave out --channels-last',
        ),
        ({'optim_wrapper.type': 'AmpOptimWrapper'}, {}, '--fsdp cannot train with loss scaling; use --dtype bf16'),
    ],
)
def test_what_it_does_not_go_with(changes, options, message):
    cfg = config_of()
    cfg.merge_from_dict(changes)
    use_training_options(cfg, fsdp=True, **options)
    with pytest.raises(ValueError, match=message):
        check_fsdp(cfg)


def test_an_old_torch_is_refused(monkeypatch):
    cfg = config_of()
    use_training_options(cfg, fsdp=True)
    monkeypatch.setattr(checks, '_has_fully_shard', lambda: True)
    check_fsdp(cfg)
    monkeypatch.setattr(checks, '_has_fully_shard', lambda: False)
    with pytest.raises(ValueError, match='--fsdp needs torch 2.8 or later and this is .*; update it, or use --zero1'):
        check_fsdp(cfg)


def test_a_parameter_of_one_number_is_refused():
    model = torch.nn.Module()
    model.scale = torch.nn.Parameter(torch.tensor(1.0))
    with pytest.raises(ValueError, match=r'--fsdp cannot spread a parameter of one number \(scale\); use --zero1'):
        fsdp.shard(model, 'cpu')
