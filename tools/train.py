#!/usr/bin/env python
"""Train a detector, segmentor or classifier: tools/train.py configs/mask_rcnn_van_lska_t.py."""

import os
import sys

try:
    import mmlska  # noqa: F401
except ImportError as error:  # without MMEngine; the error says what fixes it
    print(f'train.py: error: {error}', file=sys.stderr)
    sys.exit(2)

from mmlska.cli.common import interruptions, prepared_config, runner_parser, user_errors
from mmlska.engine.errors import TrainingError
from mmlska.engine.launch import build_train_runner
from mmlska.engine.processes import claim_work_dir, leave_processes
from mmlska.engine.training_options import add_training_options, use_training_options
from mmlska.own_data.check_folder import check_config, check_folder
from mmlska.own_data.use import own_work_dir, use_own_data
from mmlska.weights import WeightsError


def main() -> None:
    parser = runner_parser('Train a detector, segmentor or classifier.')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='continue from a checkpoint, by default the furthest in the work dir that verifies',
    )
    parser.add_argument('--auto-scale-lr', action='store_true', help='scale the learning rate to the batch size')
    parser.add_argument(
        '--skip-bad-images', type=int, default=0, metavar='N', help='continue past up to N images that cannot be read'
    )
    add_training_options(parser)
    own = parser.add_argument_group('own data')
    own.add_argument(
        '--data', metavar='DIR', help='train on the images and COCO files or masks in a folder; see docs/own_data.md'
    )
    own.add_argument(
        '--val-fraction', type=float, help='share held out where DIR has no split of its own; by default 0.2'
    )
    own.add_argument('--epochs', type=int, help='how often training sees each image; by default as the recipe')
    own.add_argument(
        '--palette', metavar='FILE', help='names and colours of the classes in masks; by default DIR/classes.json'
    )
    own.add_argument(
        '--check', action='store_true', help='list what is wrong with the data first, and stop if there are errors'
    )
    args = parser.parse_args()
    own_options = dict(val_fraction=args.val_fraction, epochs=args.epochs, palette=args.palette)
    own_options = {name: value for name, value in own_options.items() if value is not None}
    if own_options and not args.data:
        parser.error('--val-fraction, --epochs and --palette go with --data; without it use --cfg-options')

    if args.fsdp and args.channels_last is None:  # the default without a GPU, and nothing that FSDP can spread
        args.channels_last = False

    with user_errors('train.py', args.debug):
        cfg = prepared_config(args, work_dir=own_work_dir(args.config, args.data) if args.data else None)
        first = os.environ.get('RANK', '0') == '0'
        if args.check:
            checked = check_folder(args.data, cfg=cfg, palette=args.palette) if args.data else check_config(cfg)
            if first:
                print(checked.report.text(), flush=True)
            if checked.report.errors:
                sys.exit(1)
        if args.data:
            claim_work_dir(cfg)  # before the first file is written there
            lines = use_own_data(cfg, args.data, **own_options)
            if first:
                print(*lines, sep='\n', flush=True)
        use_training_options(
            cfg,
            pretrained=args.pretrained,
            ema=args.ema,
            accumulate=args.accumulate,
            clip_grad=args.clip_grad,
            zero1=args.zero1,
            fsdp=args.fsdp,
            loggers=tuple(name for name in ('tensorboard', 'wandb') if getattr(args, name)),
        )
        runner = build_train_runner(
            cfg,
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
