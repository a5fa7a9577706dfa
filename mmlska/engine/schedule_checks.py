"""Whether a training has steps at all, and schedules and batches that go with their number."""

from __future__ import annotations

import logging
from contextlib import suppress

from mmengine.config import Config
from mmengine.dist import get_world_size
from mmengine.runner import Runner

from ..log import log
from ..text import counted
from .continuing import counts_epochs
from .label_checks import WITHOUT_VALIDATION
from .model_checks import trains_with_batch


def check_schedule(cfg: Config) -> None:
    """Make sure that the length of a training and its schedules can be.

    Raises:
        ValueError: If the length or the distance of validations is below 1, or a schedule ends before it begins.
    """
    train_cfg = cfg.get('train_cfg') or {}
    for name in ('max_epochs', 'max_iters', 'val_interval'):
        count = train_cfg.get(name, 1)
        if not isinstance(count, (int, float)) or count < 1 or count != int(count):
            never = f', or {WITHOUT_VALIDATION}' if name == 'val_interval' else ''
            raise ValueError(f'train_cfg.{name}={count!r} is impossible; use a whole number of 1 or more{never}')
    by_epoch = 'max_iters' not in train_cfg
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
