"""The options of tools/train.py."""

import json
import re

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import MODELS
from small_run import own_names, runner_of, same, weights_of, write_config

from mmlska.engine.config import load_config
from mmlska.engine.launch import build_train_runner, prepare
from mmlska.engine.training_options import effective_batch, use_training_options


@pytest.fixture(scope='module')
def config(scenes, tmp_path_factory):
    return write_config(scenes, tmp_path_factory.mktemp('config'))


def trained(config, folder, options, resume=None, change=None):
    cfg = load_config(config, {**own_names(), **(change or {})})
    prepare(cfg, config, work_dir=str(folder), launcher='none', seed=0, deterministic=True)
    use_training_options(cfg, **options)
    runner = build_train_runner(cfg, resume=resume)
    runner.train()
    return runner


def scalars(folder) -> list[dict]:
    lines = next(folder.glob('*/vis_data/scalars.json')).read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if 'time' not in k and k != 'memory'} for line in lines]


def test_the_same_seed_gives_the_same_log(config, tmp_path):
    for name in ('first', 'second'):
        runner_of(config, tmp_path / name).train()
    first, second = (scalars(tmp_path / name) for name in ('first', 'second'))
    assert len(first) == 8  # six steps, two validations
    assert first == second
    runner_of(config, tmp_path / 'other', seed=1).train()
    assert scalars(tmp_path / 'other') != first


def test_average_accumulation_and_clipping_reach_the_run_and_survive_a_resume(config, tmp_path):
    options = dict(ema=0.1, accumulate=2, clip_grad=0.5, loggers=('tensorboard',))
    whole = trained(config, tmp_path / 'whole', options)
    assert whole.optim_wrapper._accumulative_counts == 2
    assert whole.optim_wrapper.clip_grad_kwargs == {'max_norm': 0.5}
    assert list((tmp_path / 'whole').glob('*/vis_data/events.out.tfevents*'))
    saved = torch.load(tmp_path / 'whole/iter_6.pth', weights_only=False)
    name = 'decode_head.conv_seg.weight'
    assert torch.equal(saved['ema_state_dict'][f'module.{name}'], whole.model.state_dict()[name])
    assert not torch.equal(saved['state_dict'][name], whole.model.state_dict()[name])
    trained(config, tmp_path / 'part', options)
    for file in (tmp_path / 'part').glob('iter_6.pth*'):
        file.unlink()
    resumed = trained(config, tmp_path / 'part', options, resume='auto')
    assert same(weights_of(resumed), weights_of(whole))


def test_effective_batch_and_learning_rate(config, tmp_path):
    cfg = load_config(config)
    cfg.optim_wrapper.accumulative_counts = 2
    assert (
        effective_batch(cfg, 3)
        == 'effective batch 12 (2 images x 3 processes x 2 steps), the recipe is for 6: consider '
        '--auto-scale-lr (learning rate x 2)'
    )
    options = {'optim_wrapper.accumulative_counts': 2, 'train_cfg.max_iters': 1, 'param_scheduler': []}
    runner = runner_of(config, tmp_path, options, auto_scale_lr=True)
    runner.train()
    assert runner.optim_wrapper.get_lr()['lr'][0] == pytest.approx(6e-3 * 4 / 6)
    assert (
        'effective batch 4 (2 images x 1 process x 2 steps), the recipe is for 6: learning rate x 0.666667'
        in next(tmp_path.glob('*/*.log')).read_text()
    )


def test_the_backbone_starts_from_the_weights_that_are_named(config, tmp_path):
    cfg = load_config(config)
    other = MODELS.build(cfg.model.backbone)
    torch.save(other.state_dict(), tmp_path / 'other.pth')
    options = dict(pretrained=str(tmp_path / 'other.pth'))
    runner = trained(
        config, tmp_path / 'run', options, change={'train_cfg.max_iters': 1, 'optim_wrapper.optimizer.lr': 0.0}
    )
    expected = dict(other.named_parameters())
    found = dict(runner.model.backbone.named_parameters())
    assert expected.keys() == found.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_what_pretrained_does_to_a_config(config):
    cfg = load_config(config)
    cfg.model.backbone.init_cfg = dict(type='Pretrained', checkpoint='old.pth', adapt='k_size')
    use_training_options(cfg, pretrained='mmlska://new')
    assert cfg.model.backbone.init_cfg == dict(type='Pretrained', checkpoint='mmlska://new', adapt='k_size')
    use_training_options(cfg, pretrained='none')
    assert cfg.model.backbone.init_cfg is None
    with pytest.raises(
        FileNotFoundError, match='--pretrained away.pth does not exist; give a file, a URL, mmlska://NAME'
    ):
        use_training_options(cfg, pretrained='away.pth')
    del cfg.model.backbone
    with pytest.raises(ValueError, match='--pretrained none needs a backbone and the model EncoderDecoder has none'):
        use_training_options(cfg, pretrained='none')


class TimeLeft(Hook):
    """Collects each step's time and the time left that is logged with it."""

    priority = 'LOW'

    def __init__(self):
        self.seen = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        hub = runner.message_hub
        self.seen.append((hub.get_scalar('train/time').current(), hub.get_info('eta')))


@pytest.mark.parametrize('by_epoch', [False, True])
def test_the_time_left_is_the_mean_step_times_the_steps_left(by_epoch, config, tmp_path):
    options = {}
    if by_epoch:
        options = {
            'train_cfg': dict(_delete_=True, type='EpochBasedTrainLoop', max_epochs=3, val_interval=9),
            'train_dataloader.sampler.type': 'DefaultSampler',
            'default_hooks.checkpoint.save_best': None,
            'param_scheduler': [],
        }
    runner = runner_of(config, tmp_path, options)
    watch = TimeLeft()
    runner.register_hook(watch)
    runner.train()
    assert len(watch.seen) == 6
    times = [time for time, _ in watch.seen]
    for done, (_, eta) in enumerate(watch.seen, 1):
        assert eta == pytest.approx(sum(times[:done]) / done * (6 - done))
    log = next(tmp_path.glob('*/*.log')).read_text()
    assert len(re.findall(r'(?:Iter|Epoch)\(train\).* eta: \d+:\d\d:\d\d', log)) == 6
