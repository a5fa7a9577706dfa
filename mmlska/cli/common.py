"""What the command lines share."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

from mmengine.config import Config, DictAction

from ..environment import import_advice


class _Settings(DictAction):
    """MMEngine's action, with a message for a word that is no setting."""

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        for word in values:
            if '=' not in word:
                parser.error(f'--cfg-options: {word} is no setting; write KEY=VALUE')
        super().__call__(parser, namespace, values, option_string)


def runner_parser(description: str) -> argparse.ArgumentParser:
    """A parser with the options that training and testing share; OpenMMLab's names."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument('config', help='config file, such as configs/mask_rcnn_van_lska_b.py')
    parser.add_argument('--work-dir', help='folder for logs and checkpoints; by default work_dirs/<config name>')
    parser.add_argument(
        '--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none', help='how processes are started'
    )
    parser.add_argument('--seed', type=int, help='seed of all random numbers')
    parser.add_argument('--deterministic', action='store_true', help='only deterministic algorithms')
    parser.add_argument(
        '--channels-last',
        action=argparse.BooleanOptionalAction,
        help='memory format of the model; by default channels_last without a GPU',
    )
    parser.add_argument(
        '--dtype',
        '--amp',
        choices=['fp32', 'bf16', 'fp16'],
        default='fp32',
        help='mixed precision: type of convolutions and matrix products',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=_Settings,
        metavar='KEY=VALUE',
        help='override settings of the config by dotted key',
    )
    parser.add_argument(
        '--trust-checkpoint', action='store_true', help='read checkpoint files that run code of their own when loaded'
    )
    parser.add_argument('--debug', action='store_true', help='show the traceback of a wrong setting')
    # torch.distributed.launch of older PyTorch passes this; torchrun sets the variable itself.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)
    return parser


def prepared_config(args: argparse.Namespace, *, work_dir: str | None = None, seed: int | None = None) -> Config:
    """The config that the options of ``runner_parser`` describe, ready for a runner.

    Args:
        args: What ``runner_parser`` parsed.
        work_dir: Taken where ``--work-dir`` is not given.
        seed: Taken where ``--seed`` is not given.

    Raises:
        FileNotFoundError: If there is no such config.
        ImportError: If mmdet or mmseg, whose model the config trains, cannot be imported or refuses the installed mmcv.
        ValueError: If a setting is out of range or does not fit the environment.
    """
    from ..engine.config import load_config
    from ..engine.launch import prepare
    from ..weights import use_safe_reader

    # Where the launcher passed the rank as an argument only.
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    use_safe_reader(trust=args.trust_checkpoint)
    cfg = load_config(args.config, args.cfg_options)
    prepare(
        cfg,
        args.config,
        work_dir=args.work_dir or work_dir,
        launcher=args.launcher,
        seed=seed if args.seed is None else args.seed,
        deterministic=args.deterministic,
        channels_last=args.channels_last,
    )
    _import_models(cfg.get('default_scope'))
    return cfg


def _import_models(scope: str | None) -> None:
    """Import mmdet's or mmseg's models: MMEngine hides an import that fails and finds them missing in its registry later."""
    if scope in ('mmdet', 'mmseg'):
        try:
            import_module(f'{scope}.models')
        except AssertionError as error:  # of the versions of mmcv and mmengine that they know
            raise ImportError(str(error)) from error


_SETTING_ERRORS = (
    OSError,  # no such file, no permission, a name that is too long, a full disk
    KeyError,
    TypeError,
    ValueError,
)


@contextmanager
def user_errors(
    program: str, debug: bool = False, kinds: tuple[type[Exception], ...] = _SETTING_ERRORS
) -> Iterator[None]:
    """Print a wrong setting as one line and exit with status 2 instead of a traceback.

    The default kinds are for the preparation of a run; what goes wrong later is not the user's mistake and keeps its traceback,
    but for wrong weights, which are read late.
    """
    try:
        yield
    except ImportError as error:
        if debug:
            raise
        print(f'{program}: error: {import_advice(error)}', file=sys.stderr)
        sys.exit(2)
    except kinds as error:
        if debug:
            raise
        message = error.args[0] if isinstance(error, KeyError) and error.args else error
        if 'unexpected keyword argument' in str(message):  # Python's words for a setting that a class does not have
            message = f'{message}; correct the name of this setting or leave it out'
        print(f'{program}: error: ' + ' '.join(str(message).split()), file=sys.stderr)
        sys.exit(2)


@contextmanager
def interruptions(launcher: str) -> Iterator[None]:
    """Print how to continue after SIGTERM or Ctrl-C, and exit with the status that shells give to that signal."""
    from ..engine.errors import Interrupted
    from ..engine.resume import resume_command

    try:
        yield
    except Interrupted as stop:
        if os.environ.get('RANK', '0') == '0':
            print(f'{stop}; continue with: {resume_command(launcher)}', file=sys.stderr)
        sys.exit(128 + stop.signum)
