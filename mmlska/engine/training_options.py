"""What the options of ``mmlska train`` change in a config."""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from pathlib import Path

from mmengine.config import Config

from ..text import counted
from .config import add_hook

#: By the name of the option, which is that of the package.
_LOGGERS = dict(tensorboard='TensorboardVisBackend', wandb='WandbVisBackend')


def add_training_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that :func:`use_training_options` takes."""
    parser.add_argument(
        '--pretrained',
        metavar='CHECKPOINT',
        help="start the backbone from a file, a URL or the package's mmlska://NAME; 'none': from scratch; by default as the config says",
    )
    parser.add_argument(
        '--ema',
        nargs='?',
        type=float,
        const=0.0002,
        metavar='MOMENTUM',
        help='validate and save an average of the weights; the new weights count MOMENTUM in it, 0.0002 if none is given',
    )
    parser.add_argument('--accumulate', type=int, metavar='N', help='update the weights every N steps')
    parser.add_argument('--clip-grad', type=float, metavar='NORM', help='clip the gradients to this norm')
    parser.add_argument('--zero1', action='store_true', help='spread the state of the optimizer over the processes')
    parser.add_argument(
        '--fsdp', action='store_true', help='spread weights, gradients and optimizer over the processes'
    )
    parser.add_argument('--tensorboard', action='store_true', help='log for TensorBoard too')
    parser.add_argument('--wandb', action='store_true', help='log to Weights & Biases too')


def use_training_options(
    cfg: Config,
    *,
    pretrained: str | None = None,
    ema: float | None = None,
    accumulate: int | None = None,
    clip_grad: float | None = None,
    zero1: bool = False,
    fsdp: bool = False,
    loggers: tuple[str, ...] = (),
) -> None:
    """Change in ``cfg`` what the options of :func:`add_training_options` say; ``loggers`` are any of 'tensorboard' and 'wandb'.

    See :func:`mmlska.engine.checks.check_fsdp` for what can't go with ``fsdp``.

    Raises:
        FileNotFoundError: If the checkpoint is no file.
        ValueError: If a value is out of range or does not fit the config, or a logger's package is missing.
    """
    if pretrained is not None:
        _use_pretrained(cfg, pretrained)
    if ema is not None:
        if not 0 < ema < 1:
            raise ValueError(f'--ema {ema} is out of range; give a momentum above 0 and below 1, such as 0.0002')
        add_hook(cfg, 'EMAHook', ema_type='ExponentialMovingAverage', momentum=ema, update_buffers=True)
    if accumulate is not None:
        if accumulate < 1:
            raise ValueError(f'--accumulate {accumulate} is out of range; give 1 or more steps per update')
        cfg.optim_wrapper.accumulative_counts = accumulate
    if clip_grad is not None:
        if not 0 < clip_grad < float('inf'):
            raise ValueError(f'--clip-grad {clip_grad} is out of range; give a norm above 0, such as 10')
        cfg.optim_wrapper.clip_grad = dict(max_norm=clip_grad)
    if zero1:
        _use_zero1(cfg)
    if fsdp:
        add_hook(cfg, 'FSDPHook')
    for logger in loggers:
        _use_logger(cfg, logger)


def _use_pretrained(cfg: Config, checkpoint: str) -> None:
    backbone = cfg.model.get('backbone')
    if backbone is None:
        raise ValueError(f'--pretrained {checkpoint} needs a backbone and the model {cfg.model.get("type")} has none')
    if checkpoint != 'none' and '://' not in checkpoint and not Path(checkpoint).is_file():
        raise FileNotFoundError(
            f"--pretrained {checkpoint} does not exist; give a file, a URL, mmlska://NAME, or 'none' to start from scratch"
        )
    configured = backbone.get('init_cfg')
    if checkpoint == 'none':
        backbone.init_cfg = None
    else:
        # Another checkpoint, but adapt= and strict= as the config has them.
        options = configured if isinstance(configured, dict) and configured.get('type') == 'Pretrained' else {}
        backbone.init_cfg = dict(options, type='Pretrained', checkpoint=checkpoint)
        if backbone.get('in_channels', 3) != 3:
            adapt_channels(backbone.init_cfg)


def adapt_channels(init_cfg: dict) -> None:
    """Let an ``init_cfg`` of type 'Pretrained' load weights of another number of input channels."""
    given = init_cfg.get('adapt') or ()
    names = [given] if isinstance(given, str) else list(given)
    if 'in_channels' not in names:
        init_cfg['adapt'] = [*names, 'in_channels']


def _use_zero1(cfg: Config) -> None:
    if cfg.get('launcher', 'none') == 'none':
        raise ValueError('--zero1 needs several processes; start with tools/dist_train.sh, or leave it out')
    optimizer = cfg.optim_wrapper.optimizer
    if optimizer.type != 'Zero1Optimizer':
        cfg.optim_wrapper.optimizer = dict(optimizer, type='Zero1Optimizer', optimizer_type=optimizer.type)


def _use_logger(cfg: Config, name: str) -> None:
    if not find_spec(name):
        raise ValueError(f'--{name} needs the package {name}; run: pip install {name}')
    backend, backends = _LOGGERS[name], cfg.visualizer.get('vis_backends') or []
    if all(b.get('type') != backend for b in backends):
        cfg.visualizer.vis_backends = [*backends, dict(type=backend)]


def effective_batch(cfg: Config, processes: int) -> str:
    """Say the effective batch of a run, and the one that its recipe is for.

    Example:
        >>> cfg = Config(dict(train_dataloader=dict(batch_size=2), optim_wrapper=dict(accumulative_counts=2)))
        >>> effective_batch(cfg, 4)
        'effective batch 16 (2 images x 4 processes x 2 steps)'
    """
    images, steps = cfg.train_dataloader.batch_size, cfg.optim_wrapper.get('accumulative_counts', 1)
    factors = (counted(images, 'image'), counted(processes, 'process', 'processes'), counted(steps, 'step'))
    line = f'effective batch {images * processes * steps} ({" x ".join(factors)})'
    scale = cfg.get('auto_scale_lr') or {}
    if 'base_batch_size' not in scale:
        return line
    base = scale['base_batch_size']
    factor = images * processes * steps / base
    line += f', the recipe is for {base:g}'
    if scale.get('enable'):
        return f'{line}: learning rate x {factor:g}'
    return line if factor == 1 else f'{line}: consider --auto-scale-lr (learning rate x {factor:g})'
