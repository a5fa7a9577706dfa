"""Where a resumed training continues: its place in passes over the data, and the learning rate of its own schedule.

A checkpoint counts iterations, which mean less data or more of it where the batch or the data set changed; and MMEngine takes the length of
the schedules from the checkpoint, so that a longer training would go on with the rate at which the shorter one ended.
"""

from __future__ import annotations

import logging
import math
import warnings
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import get_world_size
from mmengine.hooks import EarlyStoppingHook
from mmengine.optim import _ParamScheduler
from mmengine.registry import HOOKS
from mmengine.runner import IterBasedTrainLoop, Runner

from ..log import log
from ..text import counted
from ..weights.checkpoint_file import read_outline

_PACE = 'steps_of_pass'
# What a scheduler counts while it runs; all else is what its config says.
_PROGRESS = ('last_step', '_global_step', '_last_value', 'verbose')


def counts_epochs(runner: Runner) -> bool:
    """Whether a training counts epochs, or iterations alone."""
    return not isinstance(runner.train_loop, IterBasedTrainLoop)


def steps_of_pass(runner: Runner) -> float | None:
    """Steps in which a training goes through its data once; None where that is not known."""
    loader = runner.train_dataloader
    try:
        if counts_epochs(runner):
            return float(len(loader))
        batch = runner.cfg.train_dataloader.batch_size
        return len(loader.dataset) / (batch * get_world_size()) or None
    except (AttributeError, TypeError):  # a loader or data set without a length
        return None


def passes(runner: Runner, iteration: int) -> float | None:
    """How often a training has gone through its data after so many iterations; None where that is not known."""
    steps = steps_of_pass(runner)
    return iteration / steps if steps else None


def note_pace(runner: Runner) -> None:
    """Write into the checkpoints of a training what its iterations mean."""
    if steps := steps_of_pass(runner):
        runner.message_hub.update_info(_PACE, steps)


def place_of(runner: Runner, meta: dict, info: dict) -> tuple[int, int]:
    """The epoch and iteration from which this training continues; in its own iterations, which may differ from the checkpoint's.

    Args:
        meta: The ``meta`` of the checkpoint.
        info: The ``runtime_info`` of its ``message_hub``.
    """
    epoch, iteration = meta['epoch'], meta['iter']
    old, new = info.get(_PACE), steps_of_pass(runner)
    if not old or not new or old == new:
        return epoch, iteration
    if not counts_epochs(runner):
        return epoch, math.floor(iteration / old * new + 1e-6)
    begun = min(max(iteration - epoch * old, 0), old)
    return epoch, int(epoch * new + math.floor(begun / old * new + 1e-6))


def check_length_left(runner: Runner, checkpoint: str | Path) -> str | None:
    """A line for a training that has all of its length already; None for one that has something left.

    Raises:
        ValueError: If it is longer already than it should become.
    """
    content = read_outline(checkpoint)
    epoch, iteration = place_of(runner, content['meta'], content['message_hub']['runtime_info'])
    by_epoch = counts_epochs(runner)
    done, length = (epoch, runner.max_epochs) if by_epoch else (iteration, runner.max_iters)
    if done < length:
        return None
    has, asked = _length(runner, done), _length(runner, length)
    more = f'for more give --epochs above {math.ceil(done if by_epoch else passes(runner, done) or done)}'
    if done > length:
        raise ValueError(
            f'--resume: the training in {checkpoint} has {has} already and this one would have {asked}: nothing to train; '
            f'{more}, or start anew in another --work-dir'
        )
    return f'--resume: the training is finished, it has its {has} already: nothing to train; {more}'


def _length(runner: Runner, count: int) -> str:
    if counts_epochs(runner):
        return counted(count, 'epoch')
    seen = passes(runner, count)
    return counted(count, 'iteration') + (f' ({seen:.3g} epochs)' if seen else '')


def _steps(number: float) -> str:
    return f'{number:.6g} {"iteration" if number == 1 else "iterations"}'


def planned_schedules(runner: Runner) -> list[dict[str, Any]]:
    """What the config of a training says of each of its schedules, before a checkpoint is loaded over them."""
    schedules = runner.param_schedulers
    return [s.state_dict() for s in schedules] if _are_built(schedules) else []


def _are_built(schedules: object) -> bool:
    return isinstance(schedules, list) and all(isinstance(s, _ParamScheduler) for s in schedules)


def continue_training(runner: Runner, planned: list[dict[str, Any]]) -> None:
    """Put a training whose checkpoint was just loaded at its place, with the learning rates of its own schedules there.

    Args:
        planned: What :func:`planned_schedules` said before.
    """
    info, loop = runner.message_hub.runtime_info, runner.train_loop
    before = loop.iter
    loop._epoch, loop._iter = place_of(runner, dict(epoch=loop.epoch, iter=before), info)
    pace = steps_of_pass(runner)
    if loop.iter != before or (pace and info.get(_PACE, pace) != pace):
        log(
            f'--resume: a pass over the data has {_steps(steps_of_pass(runner))} now and had {info[_PACE]:.6g}, as the data, '
            f'the batch size or the number of processes changed; iteration {before} becomes {loop.iter}',
            logging.WARNING,
        )
        if info.get('iter_validated') == before:
            info['iter_validated'] = loop.iter
        info.pop('run_started', None)  # its iterations do not compare with those of the checkpoints before
    if planned and (loop.iter != before or _differ(runner.param_schedulers, planned)):
        _replay(runner, planned)


def _differ(schedules: list[_ParamScheduler], planned: list[dict[str, Any]]) -> bool:
    return any(
        {k: v for k, v in schedule.state_dict().items() if k not in _PROGRESS}
        != {k: v for k, v in plan.items() if k not in _PROGRESS}
        for schedule, plan in zip(schedules, planned)
    )


def _replay(runner: Runner, planned: list[dict[str, Any]]) -> None:
    """Take the schedules of the config through the iterations that are done.

    On a stand-in for the optimizer with one group for each initial value: most of a model's hundreds of groups have the same.
    """
    schedules, groups = runner.param_schedulers, runner.optim_wrapper.param_groups
    for schedule, plan in zip(schedules, planned):
        schedule.__dict__.update(plan)
    if any(getattr(schedule, 'need_val_args', False) for schedule in schedules):
        return  # steps that depend on metrics cannot be repeated
    names = list(dict.fromkeys(schedule.param_name for schedule in schedules))
    for schedule in schedules:  # the config of this training decides where its rates begin
        for group, value in zip(groups, schedule.base_values):
            group[f'initial_{schedule.param_name}'] = value
    limits = [f'{kind}_{name}' for name in names for kind in ('initial', 'max', 'min')]
    keys = [tuple((limit, group[limit]) for limit in limits if limit in group) for group in groups]
    own = list(dict.fromkeys(keys))
    stand_in = torch.optim.SGD([dict(params=[torch.nn.Parameter(torch.zeros(1))]) for _ in own], lr=0.0)
    for group, key in zip(stand_in.param_groups, own):
        group.update(key, **{name: dict(key)[f'initial_{name}'] for name in names})
    used = [_moved(schedule, stand_in) for schedule in schedules]
    with warnings.catch_warnings():  # MMEngine's, that an optimizer makes no step
        warnings.simplefilter('ignore')
        _walk(used, runner)
    where = [own.index(key) for key in keys]
    for schedule, moved in zip(schedules, used):
        last = moved._last_value
        schedule.__dict__.update(last_step=moved.last_step, _global_step=moved._global_step)
        schedule._last_value = [last[number] for number in where]
    for group, number in zip(groups, where):
        for name in names:
            group[name] = stand_in.param_groups[number][name]
            if name == 'momentum' and 'betas' in group:
                group['betas'] = (group[name], *group['betas'][1:])


def _moved(schedule: _ParamScheduler, optimizer: torch.optim.Optimizer) -> _ParamScheduler:
    """A copy of a schedule at its beginning, on another optimizer."""
    copied = object.__new__(type(schedule))
    base_values = [group[f'initial_{schedule.param_name}'] for group in optimizer.param_groups]
    begin = dict(optimizer=optimizer, base_values=base_values, last_step=-1, _global_step=-1, use_betas=False)
    copied.__dict__.update(schedule.__dict__ | begin)
    copied.step()  # as a schedule does when it is built
    return copied


def _walk(schedules: list[_ParamScheduler], runner: Runner) -> None:
    """Step schedules as MMEngine does in the iterations and epochs that are done."""
    by_step = [schedule for schedule in schedules if not schedule.by_epoch]
    by_epoch = [schedule for schedule in schedules if schedule.by_epoch]
    steps = steps_of_pass(runner) if counts_epochs(runner) else None
    epochs = 0
    for iteration in range(1, runner.iter + 1):
        for schedule in by_step:
            schedule.step()
        while steps and by_epoch and epochs < min(iteration // steps, runner.epoch):
            epochs += 1
            for schedule in by_epoch:
                schedule.step()


@HOOKS.register_module()
class ResumableEarlyStoppingHook(EarlyStoppingHook):
    """MMEngine's EarlyStoppingHook, whose best score and patience a resumed training continues with."""

    def before_train(self, runner: Runner) -> None:
        """Take over what the checkpoint says."""
        if runner._resume and isinstance(kept := runner.message_hub.runtime_info.get('early_stopping'), dict):
            self.best_score, self.wait_count = kept['best_score'], kept['wait_count']

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Count a validation."""
        super().after_val_epoch(runner, metrics or {})
        state = dict(best_score=float(self.best_score), wait_count=self.wait_count)
        runner.message_hub.update_info('early_stopping', state)
