"""Trains small models in several processes, with FSDP and without: torchrun fsdp_runs.py SEGMENTOR DETECTOR DATA FOLDER.

One program for all runs: starting processes takes longer than a run. Each run leaves its log and checkpoints in FOLDER/NAME;
FOLDER/shares_RANK.json has what a process held of the weights and of the optimizer's state.
"""

import json
import shutil
import sys
from pathlib import Path

import torch
from mmengine.dist import barrier
from small_run import own_names

from mmlska.engine.config import load_config
from mmlska.engine.errors import TrainingError
from mmlska.engine.fsdp import own_share
from mmlska.engine.launch import build_train_runner, prepare
from mmlska.engine.memory import memory_advice
from mmlska.engine.training_options import use_training_options
from mmlska.weights import use_safe_reader


class Runs:
    """Makes runs on one data set, each in a folder of its own."""

    def __init__(self, segmentor: str, detector: str, data: str, folder: str) -> None:
        self.segmentor, self.detector, self.data, self.folder = segmentor, detector, data, Path(folder)

    def build(self, name, config=None, change=None, resume=None, dtype='fp32', **options):
        config = config or self.segmentor
        cfg = load_config(config, {**own_names(), 'data_root': self.data, **(change or {})})
        prepare(
            cfg,
            config,
            work_dir=str(self.folder / name),
            launcher='pytorch',
            seed=0,
            deterministic=True,
            channels_last=False,
        )
        use_training_options(cfg, **options)
        return build_train_runner(cfg, resume=resume, dtype=dtype)

    def train(self, name, **options):
        runner = self.build(name, **options)
        runner.train()
        barrier()
        return runner

    def resume(self, checkpoint, name, **options):
        """Continue from a checkpoint of another run."""
        if torch.distributed.get_rank() == 0:
            (self.folder / name).mkdir()
            shutil.copy(self.folder / checkpoint, self.folder / name)
        barrier()
        self.train(name, resume='auto', **options)


def held(runner) -> dict:
    parameters = list(runner.model.parameters())
    states = [
        state[name] for state in runner.optim_wrapper.optimizer.state.values() for name in state if name != 'step'
    ]
    tensors = dict(weights=parameters, optimizer=states)
    return {
        name: dict(own=sum(own_share(t).numel() for t in these), whole=sum(t.numel() for t in these))
        for name, these in tensors.items()
    }


def main() -> None:
    torch.set_num_threads(1)
    use_safe_reader()
    runs = Runs(*sys.argv[1:])
    folder = runs.folder
    # The third step is the first of two whose gradients add up: the checkpoint of FSDP behind it holds those of all processes.
    options = dict(clip_grad=0.5, accumulate=2, pretrained=str(folder / 'backbone.pth'))
    every_second = {'default_hooks.checkpoint.interval': 2}
    validate = {'train_cfg.val_begin': 0, 'load_from': str(folder / 'heads.pth')}
    runs.train('ddp', change=validate | every_second, **options)
    runner = runs.train('fsdp', change=validate, fsdp=True, **options)
    (folder / f'shares_{runner.rank}.json').write_text(json.dumps(held(runner)))
    batch = dict(inputs=[torch.empty(3, 96, 96)] * 2)
    message = memory_advice(runner, batch, RuntimeError('DefaultCPUAllocator: not enough memory'))
    (folder / f'memory_{runner.rank}.txt').write_text(message)

    runs.resume('fsdp/iter_3.pth', 'fsdp_resumed', change=every_second, fsdp=True, **options)
    runs.resume('ddp/iter_4.pth', 'fsdp_from_ddp', fsdp=True, **options)
    runs.resume('fsdp_resumed/iter_4.pth', 'ddp_from_fsdp', **options)

    # Blocks computed again in the backward pass, weights that are not trained, and a norm that torch leaves spread.
    change = {'model.backbone.with_cp': True, 'model.backbone.frozen_stages': 0}
    change['optim_wrapper.clip_grad'] = dict(max_norm=0.1, norm_type='inf')
    runs.train('detector_ddp', config=runs.detector, change=change, dtype='bf16')
    runs.train('detector', config=runs.detector, change=change, dtype='bf16', fsdp=True)

    try:
        runs.train('diverged', change={'optim_wrapper.optimizer.lr': 1e30}, fsdp=True)
    except TrainingError as error:
        (folder / f'diverged_{runner.rank}.txt').write_text(str(error))


if __name__ == '__main__':
    main()
