#!/usr/bin/env python
"""Train a detector, segmentor or classifier: tools/train.py configs/mask_rcnn_van_lska_t.py."""

import sys

try:
    import mmlska.cli  # noqa: F401
except ImportError as error:  # without MMEngine; the error says what fixes it
    print(f'train.py: error: {error}', file=sys.stderr)
    sys.exit(2)

from mmlska.cli.errors import user_errors
from mmlska.cli.runner import interruptions
from mmlska.cli.training import parse_training, training_config
from mmlska.engine.errors import TrainingError
from mmlska.engine.launch import build_train_runner
from mmlska.engine.processes import leave_processes
from mmlska.weights import WeightsError


def main() -> None:
    args = parse_training()
    with user_errors('train.py', args.debug):
        runner = build_train_runner(
            training_config(args),
            resume=args.resume,
            dtype=args.dtype,
            auto_scale_lr=args.auto_scale_lr,
            skip_bad_images=args.skip_bad_images,
        )
    with user_errors('train.py', args.debug, (WeightsError, TrainingError)), interruptions(args.launcher):
        runner.train()
    print(f'checkpoints and logs: {runner.work_dir}')
    leave_processes()


if __name__ == '__main__':
    main()
