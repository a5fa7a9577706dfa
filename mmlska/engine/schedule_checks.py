"""Whether a training has steps at all, and schedules and batches that go with their number."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from mmengine.config import Config
from mmengine.dist import get_world_size
from mmengine.runner import Runner

from ..log import log
from ..text import counted
from .continuing import counts_epochs
from .label_checks import WITHOUT_VALIDATION
from .model_checks import trains_with_batch

# Samplers that go on for ever: a pass over the data would never end.
_ENDLESS = ('InfiniteSampler', 'MultiSourceSampler', 'GroupMultiSourceSampler')
# The settings of ``train_cfg`` that may say how long a training is.
_LENGTHS = ('max_epochs', 'max_iters')


def is_by_epoch(cfg: Config) -> bool:
    """Whether the training of a config counts epochs, or iterations alone; the loop has another name in a config that a training left."""
    return cfg.train_cfg.get('by_epoch', 'max_iters' not in cfg.train_cfg)


def check_unit(cfg: Config) -> None:
    """Raise ValueError for a length in epochs beside one in iterations: the loop takes one of them."""
    train_cfg = cfg.get('train_cfg') or {}
    if any(train_cfg.get(name) is None for name in _LENGTHS):
        return
    iterations = 'Iter' in str(train_cfg.get('type', '')) or train_cfg.get('by_epoch') is False
    used, unused, unit = ('max_iters', 'max_epochs', 'iterations') if iterations else (*_LENGTHS, 'epochs')
    raise ValueError(
        f'train_cfg.{unused}={train_cfg[unused]}: this training counts {unit} and has {used}={train_cfg[used]}; '
        f'set train_cfg.{used} alone (in a file by train_cfg=dict(_delete_=True, type=..., {used}=N, val_interval=N)), '
        'or give --epochs N'
    )


def settle_samplers(cfg: Config, splits: Sequence[str]) -> None:
    """Give the data of these splits a sampler that ends where a pass over them has to end, and say so.

    MMEngine would count the batches of the first epoch, or of the validation, for ever.

    Raises:
        ValueError: If the sampler mixes sources, which none that ends does.
    """
    for split in splits:
        loader = cfg.get(f'{split}_dataloader') or {}
        if split == 'train' and not is_by_epoch(cfg):
            continue
        for key in ('sampler', 'batch_sampler'):
            given = loader.get(key) or {}
            kind = str(given.get('type')).rpartition('.')[2]
            if kind not in _ENDLESS:
                continue
            place, why = (
                f'{split}_dataloader.{key}',
                'the training counts epochs' if split == 'train' else 'a validation has to end',
            )
            if kind != 'InfiniteSampler':
                raise ValueError(
                    f'{place}.type={kind} never ends and {why}; train by iterations: '
                    "train_cfg=dict(_delete_=True, type='IterBasedTrainLoop', max_iters=N, val_interval=N)"
                )
            order = {} if split == 'train' else dict(shuffle=False)
            loader[key] = dict(given, type='DefaultSampler', **order)
            log(f'{place}.type=DefaultSampler: {why}, and {kind} never ends')


def check_lengths(train_cfg: Mapping[str, Any]) -> None:
    """Raise ValueError for a length, or a distance of validations, that is no whole number of 1 or more."""
    for name in (*_LENGTHS, 'val_interval'):
        count = train_cfg.get(name, 1)
        if not isinstance(count, (int, float)) or not math.isfinite(count) or count < 1 or count != int(count):
            never = f', or {WITHOUT_VALIDATION}' if name == 'val_interval' else ''
            raise ValueError(f'train_cfg.{name}={count!r} is impossible; use a whole number of 1 or more{never}')


def check_schedule(cfg: Config) -> None:
    """Make sure that the length of a training and its schedules can be.

    Raises:
        ValueError: If the length or the distance of validations is below 1, or a schedule ends before it begins.
    """
    train_cfg = cfg.get('train_cfg') or {}
    check_lengths(train_cfg)
    by_epoch = 'max_iters' not in train_cfg
    saves = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    if not by_epoch and saves.get('by_epoch', True) and saves.get('interval', -1) > 0:
        log(
            'default_hooks.checkpoint counts epochs and the training iterations: there is one checkpoint, at the end; set '
            'default_hooks.checkpoint.by_epoch=False and default_hooks.checkpoint.interval=N for one every N iterations',
            logging.WARNING,
        )
    length = train_cfg.get('max_epochs' if by_epoch else 'max_iters')
    for number, scheduler in enumerate(_schedulers(cfg)):
        unit = 'epochs' if scheduler.get('by_epoch', True) else 'iterations'
        own_length = length if (unit == 'epochs') == by_epoch else None
        begin, end = scheduler.get('begin', 0), scheduler.get('end')
        if isinstance(begin, int) and isinstance(end, int) and end <= begin:
            has = f' and the training has {length}' if own_length else ''
            raise ValueError(
                f'param_scheduler.{number} ({scheduler.get("type")}) begins at {begin} {unit} and ends at {end}{has}; '
                f'set --cfg-options param_scheduler.{number}.begin and .end, or give --epochs, which fits them'
            )


def _schedulers(cfg: Config) -> list[dict]:
    schedulers = cfg.get('param_scheduler') or []
    schedulers = schedulers if isinstance(schedulers, (list, tuple)) else [schedulers]
    return [scheduler for scheduler in schedulers if isinstance(scheduler, dict)]


def check_batches(runner: Runner, cfg: Config) -> None:
    """Make sure that the built training has batches which it can train on; warn of one that is too short to learn.

    Raises:
        ValueError: If ``drop_last`` leaves nothing, or BatchNorm cannot train on the last batch of an epoch.
    """
    loader, batch = runner.train_dataloader, cfg.train_dataloader.get('batch_size')
    if counts_epochs(runner) and hasattr(loader, 'batch_sampler'):
        images = -(-len(loader.dataset) // get_world_size())
        if len(loader) == 0:
            raise ValueError(
                f'train data: {counted(images, "image")} make no batch of {batch}, and drop_last leaves them out; set --cfg-options '
                f'train_dataloader.batch_size={images} or smaller, or train_dataloader.drop_last=False'
            )
        with suppress(TypeError):  # samplers need not know how many they draw
            images = len(loader.batch_sampler.sampler)
        left = images % batch
        dropped = getattr(loader.batch_sampler, 'drop_last', False)
        if left == 1 and batch > 1 and not dropped and not trains_with_batch(cfg, 1):
            raise ValueError(
                f'train data: the last batch of an epoch has 1 of {images} images, on which BatchNorm cannot train; '
                'set --cfg-options train_dataloader.drop_last=True, or another train_dataloader.batch_size'
            )
    total = runner.max_iters
    if total == 1:
        log(
            'this training has one iteration in all, in which a model learns nothing; give more --epochs, or more images',
            logging.WARNING,
        )
    for number, scheduler in enumerate(_schedulers(cfg)):
        warm_up = scheduler.get('type') in ('LinearLR', 'ConstantLR') and not scheduler.get('by_epoch', True)
        end = scheduler.get('end')
        if warm_up and scheduler.get('begin', 0) == 0 and isinstance(end, int) and end > total > 1:
            log(
                f'the warm-up (param_scheduler.{number}) takes {end} iterations and the training has {total}, so the learning rate '
                f'stays below its value; give --epochs, which fits it, or param_scheduler.{number}.end={max(total // 10, 1)}',
                logging.WARNING,
            )
