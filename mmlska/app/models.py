"""The models that the page offers: those a user names, or those that trainings have left."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ..engine.config import load_config
from ..engine.work_dir import trained_files
from ..infer import Predictor

#: Config and checkpoint of a model.
Files = tuple[str | Path, str | Path]


def find_trained(work_dirs: str | Path) -> dict[str, Files]:
    """Find the detectors and segmentors that trainings have left: config and last checkpoint by the name of the folder, sorted.

    Raises:
        FileNotFoundError: If there is none.
    """
    found = {}
    for note in sorted(Path(work_dirs).glob('*/last_checkpoint')):
        files = trained_files(note.parent)
        if files and _predicts_images(files[0]):
            found[note.parent.name] = files
    if not found:
        raise FileNotFoundError(
            f'no trained detector or segmentor in {work_dirs}; train one first (mmlska train), name another folder '
            f'(--work-dirs), or give --model NAME CONFIG CHECKPOINT'
        )
    return found


def _predicts_images(config: Path) -> bool:
    """Whether a config is of a detector or segmentor; another kind of training may stand beside them."""
    try:
        cfg = load_config(str(config))
    except ValueError:
        return False
    heads = {'bbox_head', 'roi_head', 'decode_head'} & set(cfg.get('model', {}))
    return cfg.get('default_scope') in ('mmdet', 'mmseg') and bool(heads)


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
            ValueError: If the checkpoint is of another model than the config's.
        """
        if name not in self._loaded:
            predictor = Predictor(*self._files[name], device=self._device)
            predictor(np.zeros((64, 64, 3), np.uint8))  # what only the first image costs is no latency of the model
            self._loaded[name] = predictor
        return self._loaded[name]
