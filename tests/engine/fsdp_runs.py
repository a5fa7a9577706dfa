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
from mmlska.engine.fsdp import own_share
from mmlska.engine.guards import TrainingError, memory_advice
from mmlska.engine.launch import build_train_runner, prepare
from mmlska.engine.options import use_training_options
from mmlska.weights import use_safe_reader

SEGMENTOR, DETECTOR, DATA, FOLDER = sys.argv[1:]
FOLDER = Path(FOLDER)


def build(name, config=SEGMENTOR, change=None, resume=None, dtype='fp32', **options):
    cfg = load_config(config, {**own_names(), 'data_root': DATA, **(change or {})})
    prepare(
        cfg,
        config,
        work_dir=str(FOLDER / name),
        launcher='pytorch',
        seed=0,
        deterministic=True,
        channels_last=False,
    )
    use_training_options(cfg, **options)
    return build_train_runner(cfg, resume=resume, dtype=dtype)


def train(name, **options):
    runner = build(name, **options)
    runner.train()
    barrier()
    return runner


def resume(checkpoint, name, **options):
    """Go on from a checkpoint of another run."""
    if runner_rank() == 0:
        (FOLDER / name).mkdir()
        shutil.copy(FOLDER / checkpoint, FOLDER / name)
    barrier()
    train(name, resume='auto', **options)


def runner_rank() -> int:
    return torch.distributed.get_rank()


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
    # The third step is the first of two whose gradients add up: the checkpoint of FSDP behind it holds those of all processes.
    options = dict(clip_grad=0.5, accumulate=2, pretrained=str(FOLDER / 'backbone.pth'))
    validate, every_second = {'train_cfg.val_begin': 0}, {'default_hooks.checkpoint.interval': 2}
    train('ddp', change=validate | every_second, **options)
    runner = train('fsdp', change=validate, fsdp=True, **options)
    (FOLDER / f'shares_{runner.rank}.json').write_text(json.dumps(held(runner)))
    batch = dict(inputs=[torch.empty(3, 96, 96)] * 2)
    message = memory_advice(runner, batch, RuntimeError('DefaultCPUAllocator: not enough memory'))
    (FOLDER / f'memory_{runner.rank}.txt').write_text(message)

    resume('fsdp/iter_3.pth', 'fsdp_resumed', change=every_second, fsdp=True, **options)
    resume('ddp/iter_4.pth', 'fsdp_from_ddp', fsdp=True, **options)
    resume('fsdp_resumed/iter_4.pth', 'ddp_from_fsdp', **options)

    # Blocks computed again in the backward pass, weights that are not trained, and a norm that torch leaves spread.
    change = {'model.backbone.with_cp': True, 'model.backbone.frozen_stages': 0}
    change['optim_wrapper.clip_grad'] = dict(max_norm=0.1, norm_type='inf')
    train('detector_ddp', config=DETECTOR, change=change, dtype='bf16')
    train('detector', config=DETECTOR, change=change, dtype='bf16', fsdp=True)

    try:
        train('diverged', change={'optim_wrapper.optimizer.lr': 1e30}, fsdp=True)
    except TrainingError as error:
        (FOLDER / f'diverged_{runner.rank}.txt').write_text(str(error))


if __name__ == '__main__':
    main()
