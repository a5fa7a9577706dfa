"""Saving checkpoints, and resumed runs that end where uninterrupted ones do."""

import os
import resource
import signal
import subprocess

import pytest
import torch
from mmengine.hooks import Hook
from small_run import message_of, runner_of, same, weights_of

from mmlska.engine.errors import Interrupted


class At(Hook):
    """Do something before one iteration."""

    priority = 'VERY_HIGH'

    def __init__(self, iteration, action):
        self.iteration, self.action = iteration, action

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.iteration:
            self.action()


def names(folder) -> list[str]:
    return sorted(p.name for p in folder.glob('*.pth'))


def test_checkpoints_have_the_checksum_that_sha256sum_reads(whole):
    _, folder = whole
    assert names(folder)[-2:] == ['iter_4.pth', 'iter_6.pth']
    assert names(folder)[0].startswith('best_mIoU_iter_')
    for name in names(folder):
        done = subprocess.run(
            ['sha256sum', '-c', f'{name}.sha256'], cwd=folder, capture_output=True, text=True, check=False
        )
        assert done.stdout == f'{name}: OK\n'
    assert not list(folder.glob('.*'))  # no temporary files
    assert (folder / 'last_checkpoint').read_text() == str(folder / 'iter_6.pth')


@pytest.mark.parametrize('signum', [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_the_rest_is_as_if_nothing_had_happened(signum, config, whole, tmp_path):
    runner = runner_of(config, tmp_path)
    runner.register_hook(At(2, lambda: os.kill(os.getpid(), signum)))
    with pytest.raises(Interrupted, match=rf'{signum.name} at iteration 3: saved .*interrupted.pth') as caught:
        runner.train()
    assert caught.value.signum == signum
    assert names(tmp_path) == ['interrupted.pth', 'iter_2.pth']
    runner = runner_of(config, tmp_path, resume='auto')
    runner.train()
    assert same(weights_of(runner), whole[0])
    assert 'interrupted.pth' not in names(tmp_path)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_resumes_within_an_accumulation_and_without_a_seed(config, tmp_path):
    options = {'optim_wrapper.accumulative_counts': 2}
    runner = runner_of(config, tmp_path, options, seed=None)
    runner.register_hook(At(2, lambda: os.kill(os.getpid(), signal.SIGTERM)))
    with pytest.raises(Interrupted):
        runner.train()
    assert 'gradients' in torch.load(tmp_path / 'interrupted.pth', weights_only=False)
    resumed = runner_of(config, tmp_path, options, seed=None, resume='auto')
    resumed.train()
    again = runner_of(config, tmp_path / 'whole', options, seed=runner.seed)
    again.train()
    assert same(weights_of(resumed), weights_of(again))


def test_data_workers_change_nothing(config, whole, tmp_path):
    runner = runner_of(config, tmp_path, {'train_dataloader.num_workers': 2})
    runner.train()
    assert same(weights_of(runner), whole[0])


def test_a_full_disk_fails_the_save_not_the_run(config, whole, tmp_path):
    """The limit on the size of files stands in for the full disk: the same call fails with an error of the system."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(size):
        return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))

    runner = runner_of(config, tmp_path)
    runner.register_hook(At(2, limit(100_000)))
    runner.register_hook(At(5, limit(resource.RLIM_INFINITY)))
    try:
        runner.train()
    finally:
        limit(resource.RLIM_INFINITY)()
    log = next(tmp_path.glob('*/*.log')).read_text()
    assert 'iter_4.pth could not be saved: File too large' in log
    assert 'the training continues' in log
    assert [n for n in names(tmp_path) if n.startswith('iter')] == ['iter_2.pth', 'iter_6.pth']
    assert not list(tmp_path.glob('.*'))
    assert same(weights_of(runner), whole[0])


def test_a_failed_log_does_not_stop_a_run(config, tmp_path):
    runner = runner_of(config, tmp_path, {'train_cfg.max_iters': 2})
    backend = next(iter(runner.visualizer._vis_backends.values()))
    backend._init_env()
    backend._scalar_save_file = '/dev/full'
    runner.train()
    assert runner.iter == 2


class Measured(Hook):
    """Put metrics of its own in the place of those of a validation."""

    priority = 'VERY_HIGH'

    def __init__(self, values):
        self.values = iter(values)

    def after_val_epoch(self, runner, metrics=None):
        value = next(self.values)
        metrics.clear()
        metrics['coco/bbox_mAP'] = value


def test_a_metric_without_a_value_makes_no_best_checkpoint(config, tmp_path):
    settings = {'train_cfg.max_iters': 4, 'train_cfg.val_interval': 1, 'default_hooks.checkpoint.save_best': 'auto'}
    runner = runner_of(config, tmp_path, settings)
    runner.register_hook(Measured([float('nan'), -1.0, 0.2, -1.0]))
    runner.train()
    assert [name for name in names(tmp_path) if name.startswith('best')] == ['best_coco_bbox_mAP_iter_3.pth']


def test_a_best_checkpoint_by_a_metric_that_is_not_there(config, tmp_path):
    with pytest.raises(ValueError, match="save_best='coco/bbox_mAP' is no metric of the validation: IoUMetric"):
        runner_of(config, tmp_path, {'default_hooks.checkpoint.save_best': 'coco/bbox_mAP'})
    # As of an evaluator of which it is not known before.
    runner = runner_of(config, tmp_path, {'default_hooks.checkpoint.save_best': 'mIoU'})
    runner.register_hook(Measured([0.5] * 9))
    message = message_of(runner)
    assert 'save_best=mIoU is none of the metrics of the validation (coco/bbox_mAP); set it to one' in message
