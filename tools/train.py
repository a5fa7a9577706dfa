#!/usr/bin/env python
"""Train a detector or segmentor: tools/train.py configs/mask_rcnn_van_lska_t.py."""

from mmlska.cli import interruptions, runner_parser, set_local_rank, user_errors
from mmlska.engine.config import load_config
from mmlska.engine.guards import TrainingError
from mmlska.engine.launch import build_train_runner, prepare
from mmlska.engine.options import add_training_options, use_training_options
from mmlska.weights import WeightsError, use_safe_reader


def main() -> None:
    parser = runner_parser('Train a detector or segmentor.')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='go on from a checkpoint, by default the newest of the work dir that verifies',
    )
    parser.add_argument('--auto-scale-lr', action='store_true', help='scale the learning rate to the batch size')
    parser.add_argument(
        '--skip-bad-images', type=int, default=0, metavar='N', help='go on past up to N images that cannot be read'
    )
    add_training_options(parser)
    args = parser.parse_args()
    set_local_rank(args.local_rank)

    with user_errors('train.py', args.debug):
        use_safe_reader(trust=args.trust_checkpoint)
        cfg = load_config(args.config, args.cfg_options)
        prepare(
            cfg,
            args.config,
            work_dir=args.work_dir,
            launcher=args.launcher,
            seed=args.seed,
            deterministic=args.deterministic,
            channels_last=args.channels_last,
        )
        use_training_options(
            cfg,
            ema=args.ema,
            accumulate=args.accumulate,
            clip_grad=args.clip_grad,
            zero1=args.zero1,
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


if __name__ == '__main__':
    main()
