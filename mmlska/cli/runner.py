"""The options that training and testing share, and the config that they describe."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from mmengine.config import Config

from ..command_line import tool_parser
from ..engine import launch
from ..engine.errors import Interrupted
from ..engine.processes import LAUNCHERS
from ..engine.resume import resume_command
from ..weights import use_safe_reader
from .options import add_cfg_options, add_debug, add_dtype, add_trust_checkpoint


def runner_parser(description: str) -> argparse.ArgumentParser:
    """A parser with the options that training and testing share; OpenMMLab's names."""
    parser = tool_parser(description)
    parser.add_argument('config', help='config file, or its name in `mmlska configs`, such as mask_rcnn_van_lska_b')
    parser.add_argument('--work-dir', help='folder for logs and checkpoints; by default work_dirs/<config name>')
    parser.add_argument('--launcher', choices=['none', *LAUNCHERS], default='none', help='how processes are started')
    parser.add_argument('--seed', type=int, help='seed of all random numbers')
    parser.add_argument('--deterministic', action='store_true', help='only deterministic algorithms')
    parser.add_argument(
        '--channels-last',
        action=argparse.BooleanOptionalAction,
        help='memory format of the model; by default channels_last without a GPU',
    )
    add_dtype(parser)
    add_cfg_options(parser)
    add_trust_checkpoint(parser)
    add_debug(parser)
    parser.add_argument('--verbose', action='store_true', help="show MMEngine's whole log, which its file has anyway")
    # torch.distributed.launch of older PyTorch passes this; torchrun sets the variable itself.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)
    return parser


def prepared_config(args: argparse.Namespace, *, work_dir: str | None = None, seed: int | None = None) -> Config:
    """The config that the options of ``runner_parser`` describe, ready for a runner; ``work_dir`` and ``seed`` if they do not name theirs.

    For errors see :func:`mmlska.engine.launch.prepared_config`.
    """
    # Where the launcher passed the rank as an argument only.
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    use_safe_reader(trust=args.trust_checkpoint)
    return launch.prepared_config(
        args.config,
        args.cfg_options,
        work_dir=args.work_dir or work_dir,
        launcher=args.launcher,
        seed=seed if args.seed is None else args.seed,
        deterministic=args.deterministic,
        channels_last=args.channels_last,
        verbose=args.verbose,
    )


@contextmanager
def interruptions(launcher: str) -> Iterator[None]:
    """Print how to continue after SIGTERM or Ctrl-C, and exit with the status that shells give to that signal."""
    try:
        yield
    except Interrupted as stop:
        if os.environ.get('RANK', '0') == '0':
            print(f'{stop}; continue with: {resume_command(launcher)}', file=sys.stderr)
        sys.exit(128 + stop.signum)
