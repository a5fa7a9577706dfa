#!/usr/bin/env python
"""Train a detector or segmentor: tools/train.py configs/mask_rcnn_van_lska_t.py."""

from mmlska.cli import runner_parser, set_local_rank, user_errors
from mmlska.engine.config import load_config
from mmlska.engine.launch import build_train_runner, prepare
from mmlska.weights import WeightsError, use_safe_reader


def main() -> None:
    parser = runner_parser('Train a detector or segmentor.')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='go on from a checkpoint, by default the last of the work dir',
    )
    parser.add_argument('--auto-scale-lr', action='store_true', help='scale the learning rate to the batch size')
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
        runner = build_train_runner(cfg, resume=args.resume, dtype=args.dtype, auto_scale_lr=args.auto_scale_lr)
    with user_errors('train.py', args.debug, (WeightsError,)):
        runner.train()
    print(f'checkpoints and logs: {runner.work_dir}')


if __name__ == '__main__':
    main()
