"""What stops a step says so in one line: a data worker that died, wherever the training is at that moment, or an operator."""

import multiprocessing
import os
import re
import signal
import threading

from mmengine.hooks import Hook
from mmengine.registry import TRANSFORMS
from small_run import message_of, runner_of
from torch.utils.data import DataLoader

from mmlska.engine.config import load_config
from mmlska.engine.loops import _dead_workers


@TRANSFORMS.register_module()
class CrashingDecoder:
    """A decoder that takes its process with it."""

    def __call__(self, results):
        if results['img_path'].endswith('000002.png'):
            os.kill(os.getpid(), signal.SIGKILL)
        return results


def test_a_worker_that_dies_names_its_file(config, tmp_path):
    pipeline = [dict(type='CrashingDecoder'), *load_config(config).train_dataloader.dataset.pipeline]
    options = {'train_dataloader.num_workers': 1, 'train_dataloader.dataset.pipeline': pipeline}
    message = message_of(runner_of(config, tmp_path, options))
    assert re.match(r'a data worker \(process \d+\) died while it read \S+training/000002.png', message)


class KillWorkers(Hook):
    """Kill the data workers between two steps."""

    def after_train_iter(self, runner, *args, **kwargs):
        for worker in multiprocessing.active_children():
            worker.kill()
            worker.join()


def test_a_worker_that_dies_during_a_step_or_a_hook(config, tmp_path):
    runner = runner_of(config, tmp_path, {'train_dataloader.num_workers': 1})
    runner.register_hook(KillWorkers())
    assert re.match(r'a data worker \(process \d+\) died', message_of(runner))


def test_a_broken_connection_waits_for_the_news_of_its_worker():
    batches = iter(DataLoader(range(100), num_workers=1))
    next(batches)
    pid = batches._workers[0].pid
    threading.Timer(0.2, os.kill, (pid, signal.SIGKILL)).start()
    assert _dead_workers(ConnectionResetError(104, 'Connection reset by peer')) == [pid]


def test_another_lost_connection_is_no_dead_worker(monkeypatch):
    monkeypatch.setattr('mmlska.engine.loops._SECONDS_TO_SIGCHLD', 0)
    assert _dead_workers(ConnectionResetError(104, 'Connection reset by peer')) == []


def test_an_operator_that_is_not_deterministic_is_named(config, tmp_path):
    runner = runner_of(config, tmp_path)

    def refuse(*_):
        raise RuntimeError(
            'nll_loss2d does not have a deterministic implementation, but you set ...'
        )  # torch's words on a GPU

    runner.model.backbone.norm4.register_forward_hook(refuse)
    message = message_of(runner)
    assert message.startswith('--deterministic cannot be kept: nll_loss2d has no deterministic implementation here')
