"""Whether the images that pipelines give fit the model: one sample of each split goes through its pipeline and the preprocessor.

Only what fails there is looked at, so images that a model takes are never refused.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import MODELS, init_default_scope
from torch import Tensor

from ..log import log
from ..text import counted
from .config_parts import datasets_of
from .image_reading import each_step, step_name
from .model_checks import refuses_channels


def check_inputs(cfg: Config, samples: Mapping[str, Any]) -> None:
    """Make sure that the images of a detector's or segmentor's data have the channels that it takes.

    Args:
        cfg: The config.
        samples: A sample of each split as its pipeline gives it; None where none can be read.

    Raises:
        ValueError: If not; it names the split and the settings that fit.
    """
    if cfg.get('default_scope') not in ('mmdet', 'mmseg') or 'backbone' not in cfg.model:
        return
    init_default_scope(cfg.default_scope)
    fitting: dict[str, int] = {}
    for split, sample in samples.items():
        image = _image_of(sample)
        if image is None:
            continue
        given = len(image)
        if fault := _fault_of(cfg, sample, image):
            raise ValueError(f'{split} data: its pipeline gives images of {fault}; {_fix(cfg, given, fitting)}')
        fitting[split] = given


def warn_of_readers(cfg: Config) -> None:
    """Log what :func:`differing_readers` finds."""
    if text := differing_readers(cfg):
        log(text, logging.WARNING)


def differing_readers(cfg: Config) -> str | None:
    """A line where validation or test read photos otherwise than the training: turned, or in other colours."""
    wanted = _reading(cfg, 'train')
    for split in ('val', 'test'):
        found = _reading(cfg, split)
        if wanted and found and found != wanted:
            return (
                f'the train data reads photos with color_type={wanted!r}, the {split} data with color_type={found!r}: what EXIF data turn, '
                'or colours, may differ; set the same in LoadImageFromFile of both pipelines'
            )
    return None


def _reading(cfg: Config, split: str) -> str | None:
    """How a split reads photos: the ``color_type`` of its loader."""
    for dataset in datasets_of(cfg, split):
        for step in each_step(dataset.get('pipeline') or ()):
            if step_name(step) == 'LoadImageFromFile':
                return step.get('color_type', 'color')  # which LoadImageFromFile takes where it says nothing
    return None


def _image_of(sample: Any) -> Tensor | None:
    """The image (C, H, W) of a sample, the first of several views."""
    found = sample.get('inputs') if isinstance(sample, dict) else None
    while isinstance(found, (list, tuple)) and found:
        found = found[0]
    return found if isinstance(found, Tensor) and found.dim() == 3 else None


def _fault_of(cfg: Config, sample: dict, image: Tensor) -> str | None:
    """What is wrong with the channels of an image, for a message; None where the model takes it."""
    settings = cfg.model.get('data_preprocessor') or cfg.get('data_preprocessor') or {}
    given, mean = len(image), settings.get('mean')
    has, takes = counted(given, 'channel'), cfg.model.backbone.get('in_channels', 3)
    normalised = image[None]
    if 'type' in settings:
        try:
            preprocessor = MODELS.build(settings)
        except Exception:  # the model's own error explains it
            return None
        views = isinstance(sample['inputs'], (list, tuple))
        samples = sample.get('data_samples')
        batch = [dict(inputs=image, data_samples=samples[0] if views and samples else samples)]
        try:
            normalised = preprocessor(pseudo_collate(batch), False)['inputs']
        except Exception:  # these channels do not pass; other errors are the run's to say
            turns = settings.get('bgr_to_rgb') or settings.get('rgb_to_bgr')
            if mean is not None and len(mean) not in (1, given):
                return f'{has}, and model.data_preprocessor.mean has {counted(len(mean), "value")}'
            return f'{has}, and model.data_preprocessor.bgr_to_rgb takes 3' if turns and given != 3 else None
    channels = normalised.shape[1] if isinstance(normalised, Tensor) and normalised.dim() == 4 else takes
    if channels == takes or not refuses_channels(cfg, channels):
        return None
    return f'{has}, and model.backbone.in_channels is {takes}'


def _fix(cfg: Config, given: int, fitting: Mapping[str, int]) -> str:
    """What to set for images of so many channels.

    Args:
        cfg: The config.
        given: The channels of the images.
        fitting: Those of the splits whose images the model takes.
    """
    for split, channels in fitting.items():
        if channels != given:
            return f'the {split} data gives {channels}: let LoadImageFromFile, or LoadBands, have the same settings in both pipelines'
    grey = "color_type='grayscale' in LoadImageFromFile of every pipeline"
    options = f' and --cfg-options {" ".join(_for_grey(cfg))}'.removesuffix(' and --cfg-options ')
    if given == 1:
        return f'for grey images set {grey}{options}; for colours leave color_type out'
    if given == 3 and cfg.model.backbone.get('in_channels') == 1:
        return f'for grey images set {grey}{options}; for colours set model.backbone.in_channels=3 and three values of mean and std'
    return f'set model.backbone.in_channels={given}, and {given} values of mean and std in model.data_preprocessor'


def _for_grey(cfg: Config) -> list[str]:
    """What a model of grey images needs and this config has otherwise; mean and deviation are those of ImageNet in grey."""
    settings = cfg.model.get('data_preprocessor') or {}
    place, found = 'model.data_preprocessor', []
    if len(settings.get('mean') or (0,)) > 1:
        found += [f'{place}.mean=[117.0]', f'{place}.std=[57.5]']
    found += [f'{place}.{key}=False' for key in ('bgr_to_rgb', 'rgb_to_bgr') if settings.get(key)]
    return found if cfg.model.backbone.get('in_channels') == 1 else [*found, 'model.backbone.in_channels=1']
