"""Training by MMEngine's Runner as the tools start it: resumed, in two processes, in low precision, and tested."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.registry import MODELS
from pretraining_runs import configured, train

from mmlska.classification.publish import learning_curve
from mmlska.engine.config import load_config
from mmlska.engine.errors import TrainingError
from mmlska.engine.evaluation_options import use_overlays, use_predictions
from mmlska.engine.launch import build_test_runner, build_train_runner
from mmlska.weights import read_checkpoint

ROOT = Path(__file__).resolve().parents[2]


def tensors(node, path=''):
    """All tensors of a checkpoint by their path in it."""
    if isinstance(node, torch.Tensor):
        yield path, node
    elif isinstance(node, (dict, list, tuple)):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from tensors(value, f'{path}/{key}')


@pytest.mark.parametrize('within_an_epoch', [False, True])
def test_resumed_training_equals_an_uninterrupted_one_bit_for_bit(small_config, trained, tmp_path, within_an_epoch):
    checkpoint = trained / 'epoch_1.pth'
    if within_an_epoch:  # of four iterations
        saving = {'default_hooks.checkpoint.by_epoch': False, 'default_hooks.checkpoint.interval': 6}
        train(small_config, tmp_path / 'part', **saving)
        checkpoint = tmp_path / 'part/iter_6.pth'
    train(small_config, tmp_path, resume=str(checkpoint))
    parts = ('state_dict', 'ema_state_dict', 'optimizer')
    first, whole, resumed = (
        dict(tensors({k: read_checkpoint(file).content[k] for k in parts}))
        for file in (trained / 'epoch_1.pth', trained / 'epoch_2.pth', tmp_path / 'epoch_2.pth')
    )
    assert len(whole) > 300
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(t, resumed[name]) for name, t in whole.items())
    weight = 'state_dict/backbone.blocks1.0.mlp.fc1.weight'
    assert not torch.equal(whole[f'/{weight}'], first[f'/{weight}'])
    assert not torch.equal(whole[f'/{weight}'], whole[f'/ema_{weight.replace("backbone", "module.backbone")}'])


TWO = """
_base_ = {base!r}
# Without what differs between processes: random numbers and statistics of the batch. SGD, as AdamW divides rounding by rounding.
model = dict(
    data_preprocessor=dict(crop_scale=None, jitter=0.0, erase_prob=0.0, mixup=0.0, cutmix=0.0),
    backbone=dict(norm_cfg=dict(_delete_=True, type='GN', num_groups=1), drop_path_rate=0.0),
)
optim_wrapper = dict(optimizer=dict(_delete_=True, type='SGD', lr=0.005, momentum=0.9))
"""


@pytest.mark.slow
def test_two_processes_equal_one_with_twice_the_batch(small_config, tmp_path):
    (tmp_path / 'two.py').write_text(TWO.format(base=str(small_config)))
    environment = dict(os.environ, OMP_NUM_THREADS='1', MASTER_PORT='29581')
    environment['PATH'] = f'{Path(sys.executable).parent}:{os.environ["PATH"]}'
    halved = ['--cfg-options', 'train_dataloader.batch_size=4']
    for command in (
        [sys.executable, ROOT / 'tools/train.py', 'two.py', '--work-dir', 'one'],
        ['bash', ROOT / 'tools/dist_train.sh', 'two.py', '2', '--work-dir', 'two', *halved],
    ):
        result = subprocess.run(
            list(map(str, command)), cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=280
        )
        assert result.returncode == 0, result.stderr[-3000:]
    one, two = (read_checkpoint(tmp_path / name / 'epoch_2.pth').content['state_dict'] for name in ('one', 'two'))
    first = read_checkpoint(tmp_path / 'one/epoch_1.pth').content['state_dict']
    moved = max((t - first[name]).abs().max().item() for name, t in one.items())
    apart = max((t - two[name]).abs().max().item() for name, t in one.items())
    assert moved > 1e-3
    assert apart < 1e-5


@pytest.mark.parametrize('deploy', [False, True])
def test_test_gives_the_accuracy_of_the_averaged_weights(small_config, trained, tmp_path, deploy):
    cfg = configured(small_config, tmp_path)
    runner = build_test_runner(cfg, str(trained / 'epoch_2.pth'), out=str(tmp_path / 'out.pkl'), deploy=deploy)
    found = runner.test()
    assert found['accuracy/top1'] == pytest.approx(learning_curve(trained)['top1'][-1][1])
    predicted = pickle.loads((tmp_path / 'out.pkl').read_bytes())
    model = MODELS.build(cfg.model).eval()
    model.load_state_dict(read_checkpoint(trained / 'epoch_2.pth').content['state_dict'])
    batch = runner.test_dataloader.dataset.__getitems__(range(16))
    expected = model.test_step(batch)
    for sample, other in zip(predicted, expected):
        torch.testing.assert_close(sample['scores'], other['scores'].detach(), rtol=1e-4, atol=1e-4)


def test_a_loss_that_is_not_finite_stops(small_config, tmp_path):
    runner = build_train_runner(configured(small_config, tmp_path))
    runner.model.head.register_forward_hook(lambda _, __, logits: logits / 0)
    with pytest.raises(TrainingError, match='for a batch of 8 images; first non-finite output: head'):
        runner.train()


def test_low_precision_trains(small_config, tmp_path):
    runner = train(small_config, tmp_path, dtype='bf16', **{'train_cfg.max_epochs': 1, 'param_scheduler': None})
    assert runner.model.extract_feat(torch.rand(2, 3, 32, 32))[0].dtype == torch.float32
    assert all(p.dtype == torch.float32 and p.isfinite().all() for p in runner.model.parameters())


def test_options_that_a_classifier_has_not(small_config, tmp_path):
    cfg = load_config(str(small_config))
    with pytest.raises(ValueError, match='--show-dir draws boxes and masks, which a classifier has not'):
        use_overlays(cfg, 'pictures')
    with pytest.raises(ValueError, match=r'--out folder is not possible with this model; give a .pkl file'):
        use_predictions(cfg, 'folder')
    use_predictions(cfg, str(tmp_path / 'out.pkl'))
    assert cfg.test_evaluator[-1]['type'] == 'DumpResults'


def test_three_iterations_on_the_photos_themselves(shared_data, tmp_path):
    part = {f'{split}_dataloader.dataset.num_classes': 8 for split in ('train', 'val')}
    part['train_dataloader.dataset.photos_per_class'] = 48
    part['val_dataloader.dataset.photos_per_class'] = 5
    config = ROOT / 'configs/pretrain_van_lska_t_tiny_imagenet_cpu.py'
    options = {'train_cfg.max_epochs': 1, 'param_scheduler': None, 'default_hooks.checkpoint': None}
    options['optim_wrapper.optimizer.lr'] = 1e-4
    runner = train(config, tmp_path, **part, **options, data_root=f'{shared_data("tiny_imagenet")}/')
    assert runner.iter == 3
    assert len(runner.val_dataloader.dataset) == 40
    assert all(p.isfinite().all() for p in runner.model.parameters())
