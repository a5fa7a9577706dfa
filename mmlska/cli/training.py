"""The options of a training, and the config that they describe."""

from __future__ import annotations

import argparse
import copy
import os
import sys
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ..engine.config import load_config
from ..engine.config_parts import setting_at
from ..engine.tiling import tiles_of
from ..engine.training_options import add_training_options
from ..engine.work_dir import check_unused, origin_of, work_dir_for
from ..own_data.adapt_config import own_work_dir
from ..own_data.anchors import names_anchors, take_anchors_of_run
from ..own_data.check import Checked, check_config, check_folder
from ..own_data.training import use_data_and_options
from ..text import shown
from .labels import LABEL_OPTIONS, add_label_options, label_options
from .options import add_bands, add_overwrite, add_tiles
from .runner import prepared_config, runner_parser

TILE_OPTIONS = ('tile', 'overlap')


def training_parser() -> argparse.ArgumentParser:
    """The options of a training."""
    parser = runner_parser('Train a detector, segmentor or classifier.')
    add = parser.add_argument
    resume = 'continue from a checkpoint, by default the furthest in the work dir that verifies'
    add('--resume', nargs='?', const='auto', metavar='CHECKPOINT', help=resume)
    add('--auto-scale-lr', action='store_true', help='scale the learning rate to the batch size')
    skip = 'continue past up to N training images that cannot be read'
    add('--skip-bad-images', type=int, default=0, metavar='N', help=skip)
    add('--epochs', type=int, help='how often training sees each image; by default as the recipe')
    add_tiles(
        parser,
        'train and evaluate on overlapping tiles of N pixels, which are not resized: for small objects in large images',
    )
    add('--no-report', action='store_true', help='write no report.html into the work dir')
    add_overwrite(parser, 'train in a work dir that holds checkpoints of another config or other data')
    add_training_options(parser)
    group = parser.add_argument_group('own data')
    add = group.add_argument
    data = 'train on the images and labels in a folder; see docs/own_data.md'
    add('--data', metavar='DIR', help=data)
    add_label_options(group)
    add_bands(group)
    add('--val-fraction', type=float, help='share held out where DIR has no split of its own; by default 0.2')
    keep = 'leave the anchors as the config has them; by default they are chosen by the sizes of the objects'
    add('--keep-anchors', action='store_true', help=keep)
    check = 'list what is wrong with the data first, and stop if there are errors'
    add('--check', action='store_true', help=check)
    return parser


def parse_training() -> argparse.Namespace:
    """Read the options of a training from the command line."""
    parser = training_parser()
    args = parser.parse_args()
    if not args.data and not _own_options(args).keys() <= {'epochs', *TILE_OPTIONS}:
        parser.error(
            f'--val-fraction, --bands, --keep-anchors, {LABEL_OPTIONS} go with --data DIR; give it, or leave them out'
        )
    if args.fsdp and args.channels_last is None:  # the default without a GPU, and nothing that FSDP can spread
        args.channels_last = False
    return args


def training_config(args: argparse.Namespace) -> Config:
    """The config that the options of :func:`parse_training` describe, ready for a runner.

    The process of rank 0 prints what ``--check`` found and what was made of ``--data``.

    Raises:
        FileNotFoundError: If there is no such config, or no such data.
        ImportError: See :func:`mmlska.engine.launch.prepared_config`.
        SystemExit: With status 1, if ``--check`` found errors.
        ValueError: If a setting is out of range or does not fit the environment, or the data cannot be used.
    """
    first = os.environ.get('RANK', '0') == '0'
    cfg = prepared_config(args, work_dir=_work_dir(args, note=first))
    if args.check:
        checked = _check(args, cfg) if args.data else check_config(cfg)
        if first:
            print(checked.report.text(), flush=True)
        if checked.report.errors:
            sys.exit(1)
    options = {name: getattr(args, name) for name in ('pretrained', 'ema', 'accumulate', 'clip_grad', 'zero1', 'fsdp')}
    loggers = tuple(name for name in ('tensorboard', 'wandb') if getattr(args, name))
    if args.resume and args.data and not _keeps_anchors(args):
        args.keep_anchors = take_anchors_of_run(cfg, args.config)
    given = _given(cfg, args)
    lines = use_data_and_options(cfg, args.data or None, _own_options(args), loggers=loggers, **options)
    lines += _replaced(cfg, args, given)
    if first and lines:
        print(*lines, sep='\n', flush=True)
    return cfg


def _given(cfg: Config, args: argparse.Namespace) -> dict[str, Any]:
    """The settings of ``--cfg-options`` as they are now; those in lists are left out, whose numbers may change."""
    options = [key for key in args.cfg_options or () if not any(part.isdigit() for part in key.split('.'))]
    return {key: _plain(copy.deepcopy(setting_at(cfg, key))) for key in options}


def _replaced(cfg: Config, args: argparse.Namespace, given: dict[str, Any]) -> list[str]:
    """Lines about settings of ``--cfg-options`` that other options have replaced."""
    lines = []
    for key, value in given.items():
        by = '--data' if args.data else 'another option'
        if args.epochs is not None and key.startswith(('train_cfg', 'param_scheduler')):
            by = '--epochs'
        if (now := _plain(setting_at(cfg, key))) != value:
            other = 'its own' if now is None else shown(now)
            lines.append(f'--cfg-options {key}={shown(value)} has no effect: {by} sets {other}')
    return lines


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _work_dir(args: argparse.Namespace, *, note: bool) -> str:
    """The work directory: that which is named, without checkpoints of other trainings; or by default one for this config and data."""
    cfg = load_config(args.config, args.cfg_options)
    origin = origin_of(cfg, args.data)
    resume = bool(args.resume or cfg.get('resume'))
    named = args.work_dir or (None if args.data else cfg.get('work_dir'))
    if named:
        if not resume and not args.overwrite:
            check_unused(named, origin)
        return named
    first = own_work_dir(args.config, args.data)
    chosen = work_dir_for(first, origin, resume=resume)
    if note and chosen != Path(first):
        print(f'{first} holds a training of another config or other data; the work dir of this one is {chosen}')
    return str(chosen)


def _check(args: argparse.Namespace, cfg: Config) -> Checked:
    tiled = args.tile is not None or tiles_of(cfg) is not None
    return check_folder(args.data, cfg=cfg, tiled=tiled, keep_anchors=_keeps_anchors(args), **label_options(args))


def _keeps_anchors(args: argparse.Namespace) -> bool:
    return args.keep_anchors or bool(args.data and names_anchors(args.cfg_options))


def _own_options(args: argparse.Namespace) -> dict:
    """The options of :func:`mmlska.own_data.adapt_config.use_own_data` that were given."""
    given = {
        name: value for name in ('val_fraction', 'epochs', *TILE_OPTIONS) if (value := getattr(args, name)) is not None
    }
    switches = dict(bands=args.bands, keep_anchors=_keeps_anchors(args))
    return {**given, **label_options(args), **{name: value for name, value in switches.items() if value}}
