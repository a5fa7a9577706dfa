"""A config and a checkpoint to a model that is ready to predict."""

from __future__ import annotations

from pathlib import Path
from textwrap import shorten

import numpy as np
from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS, init_default_scope
from torch import Tensor, nn

from ..colors import distinct_colors
from ..engine.config import _datasets, find_path, replace_sync_bn
from ..weights import WeightsError, check_finite, compare, read_checkpoint, safe_reading
from ..weights.files import state_dict_of


def load_model(
    cfg: Config, checkpoint: str | Path, *, config_name: str = 'the config', trust: bool | None = None
) -> tuple[nn.Module, dict]:
    """Build the model of a config and fill it with a checkpoint, wholly.

    Args:
        cfg: The config, changed in place: SyncBN becomes BN.
        checkpoint: The checkpoint file of a training with this config.
        config_name: What messages call the config.
        trust: Let checkpoints run code; only those whose maker you know. By default as :func:`mmlska.weights.safe_reading` says, else no.

    Returns:
        The model in evaluation mode, and what its data set says: ``classes`` and ``palette`` (RGB).

    Raises:
        FileNotFoundError: If there is no such checkpoint.
        WeightsError: If the file cannot be read.
        ValueError: If the checkpoint belongs to another model than the config's.
    """
    path = find_path(checkpoint)
    if path is None or not path.is_file():
        raise FileNotFoundError(
            f'checkpoint {checkpoint} does not exist; a training leaves its own in its work directory'
        )
    file = read_checkpoint(path, trust=trust)
    state_dict = state_dict_of(file)
    strange = next((name for name, value in state_dict.items() if not isinstance(value, Tensor)), None)
    if strange is not None:
        raise WeightsError(f'{path} holds no tensor under {strange!r}; give a checkpoint')
    check_finite(state_dict, str(path))
    saved = file.content.get('meta')
    saved = saved if isinstance(saved, dict) else {}
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    replace_sync_bn(cfg)
    with safe_reading(trust):
        model = MODELS.build(cfg.model)
    _check_fits(model, state_dict, saved, checkpoint, config_name)
    model.load_state_dict(state_dict, strict=False)
    meta = _dataset_meta(cfg, saved, num_classes(model))
    return model.eval(), meta


def num_classes(model: nn.Module) -> int:
    """The number of classes that a detector or segmentor tells apart."""
    head = getattr(model, 'decode_head', None) or getattr(model, 'bbox_head', None) or model.roi_head.bbox_head
    return head[-1].num_classes if isinstance(head, nn.ModuleList) else head.num_classes


def _check_fits(model: nn.Module, state_dict: dict, meta: dict, checkpoint: str | Path, config_name: str) -> None:
    coverage = compare(state_dict, model.state_dict())
    # A training may save modules that prediction lacks, such as an auxiliary head; inside a module everything has to fit.
    own = {name.split('.')[0] for name in model.state_dict()}
    left_over = [name for name in coverage.unexpected if name.split('.')[0] in own]
    if not (coverage.missing or coverage.mismatched or left_over):
        return
    name = meta.get('experiment_name')
    trained = f', it was saved by {name}' if name and isinstance(name, str) else ''
    raise ValueError(
        f'checkpoint {checkpoint} does not fit {config_name}: {coverage.matched} of {coverage.total} tensors fit{trained}; '
        f'give the config that it was trained with ({shorten(coverage.describe(), 300, placeholder=" ...")})'
    )


def _dataset_meta(cfg: Config, meta: dict, count: int) -> dict:
    """Classes and palette: those the checkpoint was trained with, else the config's, else numbers."""
    dataset = next(_datasets(cfg, 'test'), {})
    with DATASETS.switch_scope_and_registry(cfg.get('default_scope')) as registry:
        dataset_class = registry.get(dataset['type']) if dataset.get('type') else None
    for found in (meta.get('dataset_meta'), dataset.get('metainfo'), getattr(dataset_class, 'METAINFO', None)):
        # MMEngine 0.x wrote CLASSES
        found = {str(key).lower(): value for key, value in found.items()} if isinstance(found, dict) else {}
        classes = found.get('classes')
        if isinstance(classes, (list, tuple)) and len(classes) == count and all(isinstance(c, str) for c in classes):
            break
    else:
        found = dict(classes=[f'class {i}' for i in range(count)])
    palette = found.get('palette')
    if not isinstance(palette, (list, tuple)) or len(palette) != count or not all(map(_is_colour, palette)):
        palette = distinct_colors(count)
    return dict(classes=tuple(found['classes']), palette=[tuple(map(int, colour)) for colour in palette])


def _is_colour(value: object) -> bool:
    return (
        isinstance(value, (list, tuple))
        and len(value) == 3
        and all(isinstance(v, (int, np.integer)) and 0 <= v < 256 for v in value)
    )
