"""Trains ten steps of a segmentor and saves its weights: python two_processes.py CONFIG OUT LAUNCHER IMAGES [zero1]."""

import sys

import torch

from mmlska.engine.config import load_config
from mmlska.engine.guards import bare_model
from mmlska.engine.launch import build_train_runner, prepare
from mmlska.engine.options import use_training_options


def main() -> None:
    config, out, launcher, images, *options = sys.argv[1:]
    torch.set_num_threads(1)
    cfg = load_config(config, {'train_dataloader.batch_size': int(images)})
    prepare(cfg, config, work_dir=f'{out}_work', launcher=launcher, seed=0)
    use_training_options(cfg, zero1='zero1' in options)
    runner = build_train_runner(cfg)
    runner.train()
    if runner.rank == 0:
        torch.save(bare_model(runner).state_dict(), out)


if __name__ == '__main__':
    main()
