"""A prepared config to the one that trains on a user's folder with the options of a training: for the command and for Python."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmengine.config import Config

from ..engine.lock import unlock_work_dir
from ..engine.processes import claim_work_dir
from ..engine.training_options import use_training_options
from .adapt_config import use_own_data


def use_data_and_options(
    cfg: Config, data: str | None = None, own: Mapping[str, Any] | None = None, **options: Any
) -> list[str]:
    """Set in ``cfg`` what a training reads and how it trains.

    Args:
        cfg: A config that went through :func:`mmlska.engine.launch.prepare`; changed in place.
        data: A folder to train on; see :func:`mmlska.own_data.adapt_config.use_own_data`. The work directory is then locked for this
            process. None for the data sets of the config.
        own: Options of ``use_own_data``.
        **options: Those of :func:`mmlska.engine.training_options.use_training_options`.

    Returns:
        Lines to print about the data; none without ``data``.

    Raises:
        FileNotFoundError: If the folder, an image, the palette or a checkpoint is missing.
        ValueError: If the data cannot be used, another training uses the work directory, or an option does not fit.
    """
    if data is None:
        use_training_options(cfg, **options)
        return []
    claim_work_dir(cfg)  # before the first file is written there
    try:
        lines = use_own_data(cfg, data, **(own or {}))
        use_training_options(cfg, **options)
    except BaseException:
        unlock_work_dir(cfg.work_dir)
        raise
    return lines
