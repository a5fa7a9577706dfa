"""Trains ten steps of a segmentor and saves its weights: python two_processes.py CONFIG OUT LAUNCHER IMAGES [zero1] [stop] [resume].

With ``stop`` the second process gets a SIGTERM in the third step, and each writes OUT.RANK with what it says about that.
"""

import os
import signal
import sys
from pathlib import Path

import torch
from mmengine.hooks import Hook

from mmlska.engine.config import load_config
from mmlska.engine.errors import Interrupted
from mmlska.engine.launch import build_train_runner, prepare
from mmlska.engine.processes import bare_model, leave_processes
from mmlska.engine.training_options import use_training_options
from mmlska.weights import use_safe_reader


class Stop(Hook):
    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if runner.iter == 2:
            os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    config, out, launcher, images, *options = sys.argv[1:]
    torch.set_num_threads(1)
    use_safe_reader()
    cfg = load_config(config, {'train_dataloader.batch_size': int(images)})
    prepare(cfg, config, work_dir=f'{out}_work', launcher=launcher, seed=0)
    use_training_options(cfg, zero1='zero1' in options)
    runner = build_train_runner(cfg, resume='auto' if 'resume' in options else None)
    if 'stop' in options and runner.rank == 1:
        runner.register_hook(Stop())
    try:
        runner.train()
    except Interrupted as stop:
        Path(f'{out}.{runner.rank}').write_text(str(stop))
        return
    if runner.rank == 0:
        torch.save(bare_model(runner).state_dict(), out)
    leave_processes()


if __name__ == '__main__':
    main()
