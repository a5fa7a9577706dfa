"""Fit the schedule of a recipe to the size of another data set."""

from __future__ import annotations

import math
import os
from collections.abc import Collection

from mmengine.config import Config

from ..engine.schedule_checks import is_by_epoch
from ..text import counted

# A network learns nothing in fewer steps, however small the data.
MIN_ITERATIONS = 600
# A pass over a small set takes less time than a validation or a checkpoint; at least so many steps lie between two of them.
_MIN_INTERVAL = 50
# What a segmentor's recipe of iterations becomes without --epochs; 160k iterations of ADE20K in batches of 16 are 127.
_SEG_EPOCHS = 100
# Settings of a schedule that count its epochs or iterations.
_COUNTS = ('begin', 'end', 'T_max', 'total_iters', 'total_steps', 'step_size', 'milestones', 'periods')


def scale_schedule(
    cfg: Config, images: int, epochs: int | None, iterations: int | None = None, fixed: Collection[str] = ()
) -> str:
    """Set the length of the training, in place; the learning rate keeps its course over that length.

    Steps of the learning rate stay at their share of the run (8/12 and 11/12 of it for COCO's 12 epochs); the warm-up keeps its
    iterations, up to a tenth of the run. Validation, checkpoints and log lines come as often per run as before.

    Args:
        cfg: A config whose ``train_dataloader`` holds the batch size of one process.
        images: Number of training images.
        epochs: How often training sees each image; None for what the recipe says (a segmentor's counts iterations: 100 times, no
            longer than the recipe), and then at least 600 iterations.
        iterations: The length of a training that counts iterations, in the place of ``epochs``.
        fixed: Dotted keys of settings, such as 'train_cfg.val_interval' and 'param_scheduler.0.end', that keep the values which the
            user gave them. Epochs of a schedule become the iterations of so many passes.

    Returns:
        A line that says how long training is.

    Raises:
        ValueError: As :func:`check_length`.
    """
    check_length(cfg, epochs)
    batch = cfg.train_dataloader.batch_size * _processes(cfg)
    by_epoch, recipe = _recipe(cfg)
    if by_epoch:
        per_pass = _steps_of_pass(cfg, images, batch)
        length = epochs or math.ceil(max(recipe * per_pass, MIN_ITERATIONS) / per_pass)
        total, passes = length * per_pass, float(length)
        shortest = math.ceil(_MIN_INTERVAL / per_pass)
    else:
        per_pass = math.ceil(images / batch)
        total = iterations or math.ceil((epochs or _SEG_EPOCHS) * images / batch)
        total = max(min(total, recipe), MIN_ITERATIONS) if (epochs or iterations) is None else total
        length, passes = total, float(f'{total * batch / images:.3g}')
        shortest = _MIN_INTERVAL
    scale_schedulers(cfg, total, per_pass, fixed)
    cfg.train_cfg['max_epochs' if by_epoch else 'max_iters'] = length
    share = length / recipe
    hooks = cfg.default_hooks
    for place, part in (
        ('train_cfg.val_interval', cfg.train_cfg),
        ('default_hooks.checkpoint.interval', hooks.checkpoint),
    ):
        key = place.rpartition('.')[2]
        if place not in fixed:
            part[key] = min(max(round(part.get(key, 1) * share), shortest), length)
    if 'default_hooks.logger.interval' not in fixed:
        hooks.logger.interval = max(min(hooks.logger.get('interval', 50), total // (length if by_epoch else 20)), 1)
    return f'{counted(total, "iteration")}, {passes:g} {"pass" if passes == 1 else "passes"} over the images'


def _steps_of_pass(cfg: Config, images: int, batch: int) -> int:
    """Steps in which an epoch goes through the images; the batches of a step hold ``batch`` of them."""
    loader = cfg.train_dataloader
    # The second place is that of the config which a training leaves.
    if loader.get('drop_last') or (loader.get('batch_sampler') or {}).get('drop_last'):
        return max(images // batch, 1)
    return math.ceil(images / batch)


def use_each_image_once(cfg: Config) -> None:
    """Take the training data out of RepeatDataset, in place, so that an epoch is one pass over the images."""
    holder = cfg.train_dataloader
    while isinstance(inner := holder.get('dataset'), dict):
        if inner.get('type') == 'RepeatDataset':
            holder.dataset = inner.dataset
        else:
            holder = inner


def check_length(cfg: Config, epochs: int | None) -> None:
    """Raise ValueError if ``epochs`` or the batch size is below 1."""
    if epochs is not None and epochs < 1:
        raise ValueError(f'--epochs {epochs} is impossible; use 1 or more')
    batch = cfg.train_dataloader.batch_size
    if batch < 1:
        raise ValueError(f'train_dataloader.batch_size {batch} is impossible; use 1 or more')


def _processes(cfg: Config) -> int:
    if cfg.get('launcher', 'none') == 'none':
        return 1
    return int(os.environ.get('WORLD_SIZE') or os.environ.get('SLURM_NTASKS') or 1)


def _recipe(cfg: Config) -> tuple[bool, int]:
    """Whether the training of a config counts epochs, and how many of them, or of iterations, it has."""
    by_epoch = is_by_epoch(cfg)
    return by_epoch, cfg.train_cfg.max_epochs if by_epoch else cfg.train_cfg.max_iters


def scale_schedulers(cfg: Config, total: int, per_pass: int = 1, fixed: Collection[str] = ()) -> None:
    """Express the schedulers in iterations of a training that has ``total``, before ``train_cfg`` changes its length.

    Args:
        per_pass: Iterations in a pass over the images.
        fixed: See :func:`scale_schedule`.
    """
    schedulers = cfg.get('param_scheduler') or []
    schedulers = schedulers if isinstance(schedulers, list) else [schedulers]
    counts_epochs, recipe = _recipe(cfg)
    # Iterations of a recipe of epochs, where its schedulers count them.
    ends = [s.end for s in schedulers if not s.get('by_epoch', True) and 'end' in s]
    warm_ups = {s.end: min(s.end, max(total // 10, 1)) for s in schedulers if _is_warm_up(s, recipe, counts_epochs)}
    several = isinstance(cfg.get('param_scheduler'), list)
    for number, scheduler in enumerate(schedulers):
        in_epochs = scheduler.get('by_epoch', True)
        place = f'param_scheduler.{number}' if several else 'param_scheduler'
        kept = {key: scheduler[key] for key in _COUNTS if key in scheduler and f'{place}.{key}' in fixed}
        if _is_warm_up(scheduler, recipe, counts_epochs):
            scheduler.end = kept.get('end', warm_ups[scheduler.end])
            continue
        length = recipe if in_epochs == counts_epochs else max(ends, default=recipe)

        def scaled(value: int, length: int = length) -> int:
            return max(round(value * total / length), 1) if value else 0

        begin = scheduler.get('begin', 0)
        scheduler.begin = warm_ups[begin] if not counts_epochs and begin in warm_ups else scaled(begin)
        scheduler.end = scaled(scheduler.get('end', length))
        for key in ('T_max', 'total_iters', 'total_steps', 'step_size'):
            if key in scheduler:
                scheduler[key] = scaled(scheduler[key])
        for key in ('milestones', 'periods'):
            if key in scheduler:
                scheduler[key] = [scaled(value) for value in scheduler[key]]
        unit = per_pass if in_epochs else 1
        for key, value in kept.items():
            scheduler[key] = [step * unit for step in value] if isinstance(value, (list, tuple)) else value * unit
        scheduler.by_epoch = False
        scheduler.pop('convert_to_iter_based', None)
    # Those to which a very short training leaves no step.
    cfg.param_scheduler = [s for s in schedulers if s.get('begin', 0) < s.get('end', total)]


def _is_warm_up(scheduler: dict, recipe: int, counts_epochs: bool) -> bool:
    """Whether a scheduler raises the rate over some first iterations."""
    rising = scheduler.get('type') in ('LinearLR', 'ConstantLR') and not scheduler.get('by_epoch', True)
    at_start = scheduler.get('begin', 0) == 0 and 'end' in scheduler
    return rising and at_start and (counts_epochs or scheduler.end < recipe / 2)
