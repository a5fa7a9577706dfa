"""A resumed training has the learning rates of its own schedule, at its place in passes over the data."""

import copy
from types import SimpleNamespace

import pytest
import torch
from mmengine.optim import (
    ConstantLR,
    CosineAnnealingLR,
    CosineAnnealingMomentum,
    LinearLR,
    MultiStepLR,
    OneCycleLR,
    PolyLR,
    StepLR,
)
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop

from mmlska.engine.continuing import (
    ResumableEarlyStoppingHook,
    check_length_left,
    continue_training,
    place_of,
    planned_schedules,
)

STEPS = dict(by_epoch=False)


def runner_of(make, by_epoch=True, images=8, batch=2, iteration=0, epoch=0, rate=0.1):
    """What a runner has when it resumes, with the schedules that ``make(optimizer)`` builds."""
    loop = object.__new__(EpochBasedTrainLoop if by_epoch else IterBasedTrainLoop)
    loop._epoch, loop._iter = epoch, iteration
    weights = [torch.nn.Parameter(torch.zeros(1)) for _ in range(3)]
    groups = [dict(params=[w], lr=rate * factor) for w, factor in zip(weights, (1, 0.1, 1))]
    optimizer = torch.optim.AdamW(groups, lr=rate)
    dataset = list(range(images))
    return SimpleNamespace(
        train_loop=loop,
        iter=iteration,
        epoch=epoch,
        optim_wrapper=optimizer,
        param_schedulers=make(optimizer),
        train_dataloader=torch.utils.data.DataLoader(dataset, batch_size=batch),
        cfg=SimpleNamespace(train_dataloader=SimpleNamespace(batch_size=batch)),
        message_hub=SimpleNamespace(runtime_info={}),
    )


def walked(runner, iterations: int):
    """The same runner after so many iterations of four-step epochs."""
    for done in range(1, iterations + 1):
        runner.optim_wrapper.step()
        for schedule in runner.param_schedulers:
            if not schedule.by_epoch or done % 4 == 0:
                schedule.step()
    runner.train_loop._iter = runner.iter = iterations
    runner.train_loop._epoch = runner.epoch = iterations // 4
    return runner


SCHEDULES = {
    'steps': lambda o, n: [LinearLR(o, 0.001, begin=0, end=n // 10, **STEPS), MultiStepLR(o, [n // 2, n - 4], **STEPS)],
    'cosine': lambda o, n: [CosineAnnealingLR(o, n, end=n, **STEPS)],
    'poly': lambda o, n: [ConstantLR(o, 0.5, end=2, **STEPS), PolyLR(o, eta_min=0.0, begin=2, end=n, **STEPS)],
    'epochs': lambda o, n: [StepLR(o, n // 12, gamma=0.3), LinearLR(o, 0.1, end=4, **STEPS)],
    'one cycle': lambda o, n: [OneCycleLR(o, 0.2, total_steps=n, **STEPS)],
    'momentum': lambda o, n: [CosineAnnealingMomentum(o, n, eta_min=0.5, end=n, **STEPS), PolyLR(o, end=n, **STEPS)],
}


@pytest.mark.parametrize('name', SCHEDULES)
def test_a_longer_run_has_the_rates_of_the_longer_schedule(name):
    short = walked(runner_of(lambda o: SCHEDULES[name](o, 24)), 20)
    whole = walked(runner_of(lambda o: SCHEDULES[name](o, 48)), 20)
    resumed = runner_of(lambda o: SCHEDULES[name](o, 48), iteration=20, epoch=5)
    planned = copy.deepcopy(planned_schedules(resumed))
    resumed.optim_wrapper.load_state_dict(copy.deepcopy(short.optim_wrapper.state_dict()))
    for schedule, saved in zip(resumed.param_schedulers, short.param_schedulers):
        schedule.load_state_dict(copy.deepcopy(saved.state_dict()))
    assert resumed.optim_wrapper.param_groups[0]['lr'] != whole.optim_wrapper.param_groups[0]['lr']
    continue_training(resumed, planned)
    for steps in (20, 0):  # there, and later
        for ours, theirs in zip(resumed.optim_wrapper.param_groups, whole.optim_wrapper.param_groups):
            assert [ours['lr'], *ours['betas']] == pytest.approx([theirs['lr'], *theirs['betas']], rel=1e-9)
        for ours, theirs in zip(resumed.param_schedulers, whole.param_schedulers):
            assert ours.state_dict() == theirs.state_dict() | dict(base_values=ours.base_values)
        for schedule in [s for run in (resumed, whole) for s in run.param_schedulers if not s.by_epoch] * steps:
            schedule.step()


def test_the_same_schedule_stays_as_it_was_saved():
    run = walked(runner_of(lambda o: SCHEDULES['steps'](o, 24)), 10)
    planned = copy.deepcopy(planned_schedules(runner_of(lambda o: SCHEDULES['steps'](o, 24))))
    run.optim_wrapper.param_groups[0]['lr'] = 0.123  # what a hook has set, say
    continue_training(run, planned)
    assert run.optim_wrapper.param_groups[0]['lr'] == 0.123


def test_another_learning_rate_of_the_config_counts():
    make = lambda o: [PolyLR(o, end=24, **STEPS)]  # noqa: E731
    short, resumed = walked(runner_of(make), 12), runner_of(make, iteration=12, epoch=3, rate=0.01)
    planned = copy.deepcopy(planned_schedules(resumed))
    resumed.optim_wrapper.load_state_dict(short.optim_wrapper.state_dict())
    resumed.param_schedulers[0].load_state_dict(short.param_schedulers[0].state_dict())
    continue_training(resumed, planned)
    assert resumed.optim_wrapper.param_groups[0]['lr'] == pytest.approx(0.1 * short.optim_wrapper.param_groups[0]['lr'])


@pytest.mark.parametrize(
    ('by_epoch', 'saved', 'place'),
    [
        (True, dict(epoch=3, iter=30, pace=10.0), (3, 12)),  # ten steps an epoch were larger data or smaller batches
        (True, dict(epoch=1, iter=2, pace=2.0), (1, 4)),
        (True, dict(epoch=3, iter=35, pace=10.0), (3, 14)),  # within an epoch
        (True, dict(epoch=3, iter=12, pace=4.0), (3, 12)),
        (True, dict(epoch=3, iter=30, pace=None), (3, 30)),  # of an older version
        (False, dict(epoch=0, iter=30, pace=10.0), (0, 12)),
        (False, dict(epoch=0, iter=30, pace=2.5), (0, 48)),
    ],
)
def test_iterations_are_converted_by_passes(by_epoch, saved, place):
    runner = runner_of(lambda _: [], by_epoch=by_epoch)  # four steps a pass
    info = {} if saved['pace'] is None else dict(steps_of_pass=saved['pace'])
    assert place_of(runner, saved, info) == place


def test_a_conversion_makes_older_checkpoints_older(monkeypatch):
    runner = runner_of(lambda _: [], iteration=30, epoch=3)
    runner.message_hub.runtime_info |= dict(steps_of_pass=10.0, run_started=1.0, iter_validated=30)
    continue_training(runner, [])
    assert runner.train_loop.iter == 12
    assert runner.message_hub.runtime_info == dict(steps_of_pass=10.0, iter_validated=12)


def test_length_that_is_left(tmp_path):
    file = tmp_path / 'epoch_3.pth'
    content = dict(meta=dict(epoch=3, iter=12), message_hub=dict(runtime_info=dict(steps_of_pass=4.0)))
    torch.save(content, file)
    runner = runner_of(lambda _: [])
    runner.max_epochs = 4
    assert check_length_left(runner, file) is None
    runner.max_epochs = 3
    assert check_length_left(runner, file).startswith('--resume: the training is finished, it has its 3 epochs already')
    runner.max_epochs = 2
    with pytest.raises(
        ValueError, match='has 3 epochs already and this one would have 2 epochs: nothing to train; for'
    ):
        check_length_left(runner, file)


def test_patience_is_continued():
    hub = SimpleNamespace(runtime_info={})
    hub.update_info = hub.runtime_info.__setitem__
    logger = SimpleNamespace(info=lambda _: None)
    loop = SimpleNamespace(stop_training=False)
    runner = SimpleNamespace(message_hub=hub, _resume=False, logger=logger, train_loop=loop)
    hook = ResumableEarlyStoppingHook(monitor='coco/bbox_mAP', patience=2)
    hook.before_train(runner)
    for score in (0.5, 0.4):
        hook.after_val_epoch(runner, {'coco/bbox_mAP': score})
    runner._resume, later = True, ResumableEarlyStoppingHook(monitor='coco/bbox_mAP', patience=2)
    later.before_train(runner)
    later.after_val_epoch(runner, {'coco/bbox_mAP': 0.45})
    assert loop.stop_training
