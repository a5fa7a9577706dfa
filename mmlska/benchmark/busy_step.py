"""The steps of one training in a fresh process, timed: ``python -m mmlska.benchmark.busy_step CONFIG SECONDS``.

OpenMP reads its environment once in a process, so each setting needs one of its own; :mod:`mmlska.benchmark.busy` starts them.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from contextlib import suppress
from typing import NoReturn

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ..engine.config import load_config
from ..engine.launch import build_train_runner, prepare

#: Steps that are not counted: in the first ones memory is allocated and kernels are chosen.
WARM_UP = 2
#: Steps that are counted at least, however long they take.
LEAST = 3
_ENDLESS = 10**9


class _Enough(Exception):
    """Ends a training whose steps are timed."""


class _Timer(Hook):
    """Milliseconds from the end of a step to that of the next, its data and hooks included, as the log's ``time`` has them."""

    priority = 'LOWEST'

    def __init__(self, seconds: float) -> None:
        self.seconds, self.times = seconds, []
        self._seen, self._last = 0, 0.0

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Count a step.

        Raises:
            _Enough: When the time is over.
        """
        now = time.perf_counter()
        self._seen += 1
        if self._seen > WARM_UP:
            self.times.append((now - self._last) * 1e3)
        self._last = now
        if len(self.times) >= LEAST and sum(self.times) >= self.seconds * 1e3:
            raise _Enough


def make_runner(config: str, folder: str) -> Runner:
    """A training as ``mmlska train`` starts it, without validation and checkpoints and without an end.

    Args:
        config: Config file, whose data are there.
        folder: Its work dir.

    Raises:
        FileNotFoundError: If config or data are missing.
        ValueError: If a setting does not fit this machine.
    """
    cfg = load_config(config)
    for key in {'max_epochs', 'max_iters'} & set(cfg.train_cfg):
        cfg.train_cfg[key] = _ENDLESS
    cfg.train_cfg.val_interval = _ENDLESS
    cfg.default_hooks.checkpoint.interval = _ENDLESS
    prepare(cfg, config, work_dir=folder, launcher='none', seed=0)
    return build_train_runner(cfg)


def step_times(runner: Runner, seconds: float) -> list[float]:
    """Train for so long and return the milliseconds of each step: at least three, after two that are not timed."""
    timer = _Timer(seconds)
    runner.register_hook(timer)
    with suppress(_Enough):
        runner.train()
    return timer.times


def main(config: str, seconds: str) -> NoReturn:
    """Print threads and times as one line of JSON; status 2 and one line on stderr for a mistake in the settings."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            runner = make_runner(config, folder)
        except (OSError, ValueError) as error:
            print(' '.join(str(error).split()), file=sys.stderr)
            sys.exit(2)
        times = step_times(runner, float(seconds))
    print(json.dumps(dict(threads=torch.get_num_threads(), times=times)))
    sys.exit()


if __name__ == '__main__':
    main(*sys.argv[1:])
