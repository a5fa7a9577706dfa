"""The models that the page offers: those a user names, or those that trainings have left."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..analysis.photos import require_photos
from ..engine.config import load_config
from ..engine.image_reading import band_reader
from ..engine.work_dir import trained_files
from ..infer import Predictor

#: Config and checkpoint of a model.
Files = tuple[str | Path, str | Path]
_NEED = 'the page takes'


def find_trained(work_dirs: str | Path) -> dict[str, Files]:
    """Find the detectors and segmentors of photos that trainings have left: config and last checkpoint by the name of the folder, sorted.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If there are only those of images with other channels or more bits, which the page does not take.
    """
    found, others = {}, []
    for note in sorted(Path(work_dirs).glob('*/last_checkpoint')):
        files = trained_files(note.parent)
        cfg = _predicts_images(files[0]) if files else None
        if cfg is not None and band_reader(cfg) is None:
            found[note.parent.name] = files
        elif cfg is not None:
            others.append(cfg)
    if others and not found:
        require_photos(others[0], _NEED)
    if not found:
        raise FileNotFoundError(
            f'no trained detector or segmentor in {work_dirs}; train one first (mmlska train), name another folder '
            f'(--work-dirs), or give --model NAME CONFIG CHECKPOINT'
        )
    return found


def _predicts_images(config: Path) -> Any:
    """The config of a detector or segmentor; None if it is of another kind of training, which may stand beside them."""
    try:
        cfg = load_config(str(config))
    except ValueError:
        return None
    heads = {'bbox_head', 'roi_head', 'decode_head'} & set(cfg.get('model', {}))
    return cfg if cfg.get('default_scope') in ('mmdet', 'mmseg') and heads else None


class Models:
    """Predictors by name, each loaded on a device (see :class:`mmlska.infer.Predictor`) when it is first asked for, and kept."""

    def __init__(self, files: Mapping[str, Files], device: str = 'auto') -> None:
        self._files, self._device = dict(files), device
        self._loaded: dict[str, Predictor] = {}

    @property
    def names(self) -> list[str]:
        """Names of all models, loaded or not."""
        return list(self._files)

    def __getitem__(self, name: str) -> Predictor:
        """The predictor of a name.

        Raises:
            FileNotFoundError: If its config or checkpoint do not exist.
            ValueError: If the checkpoint is of another model than the config's, or the model reads no photos.
        """
        if name not in self._loaded:
            config, checkpoint = self._files[name]
            cfg = load_config(str(config))
            require_photos(cfg, _NEED)
            predictor = Predictor(cfg, checkpoint, device=self._device)
            predictor(np.zeros((64, 64, 3), np.uint8))  # what only the first image costs is no latency of the model
            self._loaded[name] = predictor
        return self._loaded[name]
