"""A prepared config to the one that trains on a user's folder with the options of a training: for the command and for Python."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from typing import Any

from mmengine.config import Config

from ..engine.checks import check_data, check_parts
from ..engine.lock import unlock_work_dir
from ..engine.model_checks import check_model
from ..engine.processes import claim_work_dir, is_first
from ..engine.tiling import training_tiles, use_tiles
from ..engine.training_options import use_training_options
from ..engine.work_dir import OPTIONS, recorded_options
from ..images import is_image
from .adapt_config import use_own_data
from .command_settings import length_in, length_of, other_length, overruled, places_of, take_length, values_of
from .config_doubts import config_doubts
from .folder import LABEL_SUFFIXES, find_folder, walk
from .schedule import scale_schedule, use_each_image_once
from .tile_counts import tile_line, training_samples

_LENGTH_OPTIONS = ('epochs', 'iterations')
# What goes without ``--data`` too.
_WITHOUT_DATA = (*_LENGTH_OPTIONS, 'tile', 'overlap')


def use_data_and_options(
    cfg: Config,
    data: str | None = None,
    own: Mapping[str, Any] | None = None,
    *,
    settings: Mapping[str, Any] | None = None,
    resume: str | None = None,
    **options: Any,
) -> list[str]:
    """Set in ``cfg`` what a training reads and how it trains.

    Args:
        cfg: A config that went through :func:`mmlska.engine.launch.prepare`; changed in place.
        data: A folder to train on; see :func:`mmlska.own_data.adapt_config.use_own_data`. The work directory is then locked for this
            process. None for the data sets of the config.
        own: Options of ``use_own_data``; ``epochs``, ``tile`` and ``overlap`` without ``data`` too.
        settings: What ``--cfg-options`` set in ``cfg``, by dotted key: a length there counts as ``epochs``, other values stay.
        resume: 'auto' or a checkpoint, for a training that continues: options that are not given are those with which it began.
        **options: Those of :func:`mmlska.engine.training_options.use_training_options`.

    Returns:
        Lines to print about the data and the length of the training.

    Raises:
        FileNotFoundError: If the folder, an image, the palette or a checkpoint is missing.
        ValueError: If the data cannot be used, another training uses the work directory, or options or settings do not fit.
    """
    check_parts(cfg, 'train')
    own, lines = dict(own or {}), []
    length = length_of(cfg, settings)
    if resume is None and cfg.get('resume') and not cfg.get('load_from'):
        resume = 'auto'  # MMEngine's words for it
    if resume:
        own, options, lines = _as_it_began(
            cfg, resume, own, options, has_data=data is not None, has_length=length is not None
        )
    if length and (data is not None or 'epochs' in own):
        taken, said = take_length(cfg, length, own.pop('epochs', None))
        own, lines = own | taken, lines + said
    if began := own | {name: value for name, value in options.items() if value}:
        palette = own.get('palette')
        cfg[OPTIONS] = began | (dict(palette=os.path.abspath(palette)) if palette else {})
    if data is None:
        lines += _use_length(cfg, settings=settings, **own)
        use_training_options(cfg, **options)
        return [*lines, *(config_doubts(cfg) if is_first(cfg) else [])]  # the first alone prints them
    check_model(cfg)  # before anything is written
    refuse_work_dir_of_data(cfg.work_dir, data)
    claim_work_dir(cfg)  # before the first file is written there
    try:
        before, planned = values_of(cfg, settings), length_in(cfg)
        found = use_own_data(cfg, data, settings=settings, **own)
        chosen = [] if set(_LENGTH_OPTIONS) & set(own) else other_length(cfg, planned)
        lines = [*found[:1], *chosen, *lines, *found[1:], *overruled(cfg, before)]
        use_training_options(cfg, **options)
    except BaseException:
        unlock_work_dir(cfg.work_dir)
        raise
    return lines


def refuse_work_dir_of_data(work_dir: str, data: str) -> None:
    """Raise ValueError if the work directory is a folder of the data: their files and those of the training would be mixed."""
    root, work = find_folder(data), Path(work_dir).resolve()
    if root is None:
        return
    mixed = root in (work, work / 'data')
    if not mixed and work.is_relative_to(root):
        below = (path for path in walk(root) if path.is_relative_to(work))
        mixed = any(is_image(path) or path.suffix.lower() in LABEL_SUFFIXES for path in below)
    if mixed:
        raise ValueError(
            f'--work-dir {work_dir} holds data of --data {data}, which the files of a training would be mixed with; leave it out, or '
            'give a new folder'
        )


def _as_it_began(
    cfg: Config, resume: str, own: dict[str, Any], options: dict[str, Any], *, has_data: bool, has_length: bool
) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
    """The options of a training that continues, with those it began with where none are given, and a line that names these."""
    folder = cfg.work_dir if resume == 'auto' else Path(resume).parent
    given = own | {name: value for name, value in options.items() if value is not None}
    began = recorded_options(folder)
    if has_length or 'epochs' in given:
        began = {name: value for name, value in began.items() if name not in _LENGTH_OPTIONS}
    if not has_data:
        began = {name: value for name, value in began.items() if name in (*_WITHOUT_DATA, *options)}
    if 'tile' in given:  # the overlap goes with its tile
        began.pop('overlap', None)
    taken = {name: value for name, value in began.items() if name not in given}
    own = own | {name: value for name, value in taken.items() if name not in options}
    options = options | {name: value for name, value in taken.items() if name in options}
    more = '; --epochs N for more' if set(_LENGTH_OPTIONS) & set(taken) else ''
    line = f'--resume: {" ".join(_spelt(*item) for item in taken.items())}, as this training began{more}'
    return own, options, [line] if taken else []


def _spelt(name: str, value: Any) -> str:
    """An option as it is written on the command line."""
    if name == 'iterations':
        return f'train_cfg.max_iters={value}'
    option = '--format' if name == 'label_format' else f'--{name.replace("_", "-")}'
    values = value if isinstance(value, list) else [] if value is True else [value]
    return ' '.join([option, *(quote(str(item)) for item in values)])


def _use_length(
    cfg: Config,
    epochs: int | None = None,
    tile: int | None = None,
    overlap: int | None = None,
    iterations: int | None = None,
    settings: Mapping[str, Any] | None = None,
) -> list[str]:
    """Set in how many tiles and how often a training sees each image of the data set of its config."""
    asked = tile is not None or overlap is not None
    tiles = training_tiles(cfg, tile, overlap) if asked else None
    lines = use_tiles(cfg, tiles) if tiles else []
    scaled = epochs is not None or iterations is not None
    if not scaled and not asked:
        return lines
    check_data(cfg, ('train',))
    if scaled:
        use_each_image_once(cfg)
    built = training_samples(cfg)
    lines += tile_line(built)
    return [*lines, scale_schedule(cfg, len(built), epochs, iterations, places_of(settings))] if scaled else lines
