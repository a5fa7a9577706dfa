"""A prepared config to the one that trains on a user's folder with the options of a training: for the command and for Python."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ..engine.checks import check_data
from ..engine.lock import unlock_work_dir
from ..engine.model_checks import check_model
from ..engine.processes import claim_work_dir
from ..engine.tiling import training_tiles, use_tiles
from ..engine.training_options import use_training_options
from ..images import is_image
from .adapt_config import use_own_data
from .folder import LABEL_SUFFIXES, find_folder, walk
from .schedule import scale_schedule, use_each_image_once
from .tile_counts import tile_line, training_samples


def use_data_and_options(
    cfg: Config, data: str | None = None, own: Mapping[str, Any] | None = None, **options: Any
) -> list[str]:
    """Set in ``cfg`` what a training reads and how it trains.

    Args:
        cfg: A config that went through :func:`mmlska.engine.launch.prepare`; changed in place.
        data: A folder to train on; see :func:`mmlska.own_data.adapt_config.use_own_data`. The work directory is then locked for this
            process. None for the data sets of the config.
        own: Options of ``use_own_data``; ``epochs``, ``tile`` and ``overlap`` without ``data`` too.
        **options: Those of :func:`mmlska.engine.training_options.use_training_options`.

    Returns:
        Lines to print about the data and the length of the training.

    Raises:
        FileNotFoundError: If the folder, an image, the palette or a checkpoint is missing.
        ValueError: If the data cannot be used, another training uses the work directory, or an option does not fit.
    """
    if data is None:
        lines = _use_length(cfg, **(own or {}))
        use_training_options(cfg, **options)
        return lines
    check_model(cfg)  # before anything is written
    _refuse_work_dir_of_data(cfg.work_dir, data)
    claim_work_dir(cfg)  # before the first file is written there
    try:
        lines = use_own_data(cfg, data, **(own or {}))
        use_training_options(cfg, **options)
    except BaseException:
        unlock_work_dir(cfg.work_dir)
        raise
    return lines


def _refuse_work_dir_of_data(work_dir: str, data: str) -> None:
    """Raise ValueError if the work directory is a folder of the data: their files and those of the training would be mixed."""
    root, work = find_folder(data), Path(work_dir).resolve()
    if root is None:
        return
    mixed = root == work or root.is_relative_to(work / 'data')
    if not mixed and work.is_relative_to(root):
        below = (path for path in walk(root) if path.is_relative_to(work))
        mixed = any(is_image(path) or path.suffix.lower() in LABEL_SUFFIXES for path in below)
    if mixed:
        raise ValueError(
            f'--work-dir {work_dir} holds data of --data {data}, which the files of a training would be mixed with; leave it out, or '
            'give a new folder'
        )


def _use_length(
    cfg: Config, epochs: int | None = None, tile: int | None = None, overlap: int | None = None
) -> list[str]:
    """Set in how many tiles and how often a training sees each image of the data set of its config."""
    asked = tile is not None or overlap is not None
    tiles = training_tiles(cfg, tile, overlap) if asked else None
    lines = use_tiles(cfg, tiles) if tiles else []
    if epochs is None and not asked:
        return lines
    check_data(cfg, ('train',))
    if epochs is not None:
        use_each_image_once(cfg)
    built = training_samples(cfg)
    lines += tile_line(built)
    return lines if epochs is None else [*lines, scale_schedule(cfg, len(built), epochs)]
