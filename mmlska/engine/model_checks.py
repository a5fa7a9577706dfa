"""Whether the parts of a model fit each other, before anything is written: they run on torch's meta device, which computes nothing.

Only what fails there is looked at, so a model that trains is never refused.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from torch import Tensor, nn

from ..weights.checkpoint_file import read_outline
from .config_parts import heads
from .label_checks import classes_of, some

_SIDE = 512  # of images where a config does not say it
_ONE_VALUE = 'Expected more than 1 value per channel'
_CHANNELS = re.compile(r'to have (\d+) channels, but got (\d+) channels')


class _Unfit(Exception):
    """Why a part of a model cannot run on what the part before it gives."""


class _Part(NamedTuple):
    place: str  # in the config
    module: nn.Module


def check_model(cfg: Config, *, trains: bool = True) -> None:
    """Make sure that necks and heads take the maps that come to them, and that the batch is large enough for them.

    Args:
        cfg: A config; those of other models than detectors and segmentors are left alone.
        trains: Whether the model is to be trained, with the batch of the config.

    Raises:
        ValueError: If not; it names the setting and the value that fits.
    """
    batch = (cfg.get('train_dataloader') or {}).get('batch_size') if trains else None
    if trains:
        _check_ignored_labels(cfg)
    try:
        _run(cfg, batch if isinstance(batch, int) and batch > 0 else 2)
    except _Unfit as error:
        # Some tools, such as predict, have no --cfg-options.
        raise ValueError(str(error) if trains else str(error).replace('set --cfg-options ', 'set ')) from error


def _check_ignored_labels(cfg: Config) -> None:
    """Cross-entropy over classes takes a whole number alone; others, such as that of a sigmoid, do without."""
    for place, head in heads(cfg.model) if cfg.get('default_scope') == 'mmseg' else ():
        losses = head.get('loss_decode') or dict(type='CrossEntropyLoss')
        losses = losses if isinstance(losses, (list, tuple)) else [losses]
        plain = [loss for loss in losses if loss.get('type') == 'CrossEntropyLoss' and not loss.get('use_sigmoid')]
        if plain and not isinstance(label := head.get('ignore_index', 255), int):
            raise ValueError(
                f'{place}.ignore_index={label!r} is no label; use a whole number, such as 255, or leave it out'
            )


def trains_with_batch(cfg: Config, batch: int) -> bool:
    """Whether a model can train on so many images at a time; BatchNorm cannot on maps of one pixel of a single image."""
    try:
        _run(cfg, batch)
    except _Unfit:
        return False
    return True


def refuses_channels(cfg: Config, channels: int) -> bool:
    """Whether the backbone of a config fails at images of so many channels."""
    part = _built('model.backbone', cfg.model.backbone)
    try:
        if part is not None:
            part.module(torch.empty(2, channels, *_image_size(cfg), device='meta'))
    except Exception as error:  # whatever else it fails at is said elsewhere
        return bool(_CHANNELS.search(str(error))) or 'set in_channels' in str(error)
    return False


def _run(cfg: Config, batch: int) -> None:
    with warnings.catch_warnings():  # mmseg's on its own defaults, which the run itself shows
        warnings.simplefilter('ignore')
        _run_parts(cfg, batch)


def _run_parts(cfg: Config, batch: int) -> None:
    model = cfg.model
    if cfg.get('default_scope') not in ('mmdet', 'mmseg') or 'backbone' not in model:
        return
    init_default_scope(cfg.default_scope)
    images = torch.empty(batch, model.backbone.get('in_channels', 3), *_image_size(cfg), device='meta')
    backbone = _built('model.backbone', model.backbone)
    maps = None if backbone is None else _through(backbone, model.backbone, images, '')
    before = 'the backbone'
    for place, part in _listed(model, 'neck'):
        maps = _next(place, part, maps, before)
        before = 'the neck'
    if maps is None:
        return
    for key in ('decode_head', 'auxiliary_head', 'rpn_head', 'bbox_head'):
        for place, part in _listed(model, key):
            if key != 'decode_head' or '.0' in place or isinstance(model[key], dict):  # later ones take results too
                _next(place, part, maps, before)
    if 'roi_head' in model:
        _check_roi_head(model.roi_head, maps)


def _listed(model: dict, key: str) -> list[tuple[str, dict]]:
    parts = model.get(key)
    if isinstance(parts, dict):
        return [(f'model.{key}', parts)]
    return [(f'model.{key}.{number}', part) for number, part in enumerate(parts or ())]


def _image_size(cfg: Config) -> tuple[int, int]:
    """Height and width of the images that a training crops or pads to."""
    preprocessor = cfg.model.get('data_preprocessor') or cfg.get('data_preprocessor') or {}
    size = preprocessor.get('size')
    return tuple(size) if isinstance(size, Sequence) and len(size) == 2 else (_SIDE, _SIDE)


def _built(place: str, settings: dict) -> _Part | None:
    """A part of a model; None where it cannot be built alone, which the model's own error explains better, if it is one."""
    settings = {key: value for key, value in settings.items() if key != 'init_cfg'}
    for device in ('meta', 'cpu'):  # some parts compute while they are built
        try:
            with torch.random.fork_rng(devices=[]), torch.device(device):
                return _Part(place, MODELS.build(settings).to('meta').train())
        except Exception:  # whatever classes of others raise
            continue
    return None


def _next(place: str, settings: dict, maps: tuple[Tensor, ...] | None, before: str) -> tuple[Tensor, ...] | None:
    part = None if maps is None else _built(place, settings)
    return None if part is None else _through(part, settings, maps, before)


def _through(part: _Part, settings: dict, given: Any, before: str) -> tuple[Tensor, ...] | None:
    """What a part makes of what the part before it gives; None where torch's meta device cannot tell.

    Raises:
        _Unfit: If it fails for what is given.
    """
    try:
        levels = getattr(getattr(part.module, 'prior_generator', None), 'num_levels', None)
        if levels is not None and levels != len(given):
            raise _Unfit(
                f'{part.place} has anchors for {levels} maps (anchor_generator.strides) and {before} gives {len(given)}; '
                f'give it {len(given)} strides, or set num_outs of the neck to {levels}'
            )
        made = part.module(given)
    except _Unfit:
        raise
    except NotImplementedError:  # an operator that torch's meta device does not have
        return None
    except Exception as error:
        if _ONE_VALUE in str(error) and any(isinstance(m, nn.SyncBatchNorm) for m in part.module.modules()):
            return None  # it counts the values of all processes
        if _ONE_VALUE in str(error):
            batch = given.shape[0] if isinstance(given, Tensor) else given[0].shape[0]
            raise _Unfit(
                f'{part.place} ({settings["type"]}) cannot train with train_dataloader.batch_size={batch}: its BatchNorm gets one value '
                f'a channel; set --cfg-options train_dataloader.batch_size={batch + 1}, or another norm such as '
                f"{part.place}.norm_cfg=dict(type='GN', num_groups=8)"
            ) from error
        if not isinstance(given, Tensor) and (reason := _why_unfit(part, settings, given, before, error)):
            raise _Unfit(reason) from error
        return None
    return tuple(made) if isinstance(made, (tuple, list)) and all(isinstance(m, Tensor) for m in made) else None


def _why_unfit(part: _Part, settings: dict, maps: Sequence[Tensor], before: str, error: Exception) -> str | None:
    channels = [int(each.shape[1]) for each in maps]
    gives = f'{before} gives {len(channels)} maps of {channels} channels'
    index = settings.get('in_index')
    for number in index if isinstance(index, (list, tuple)) else [index]:
        if isinstance(number, int) and not -len(channels) <= number < len(channels):
            return f'{part.place}.in_index={index} asks for a map that is not there: {gives}; number them from 0'
    if index is None:
        index = list(range(len(channels))) if isinstance(settings.get('in_channels'), (list, tuple)) else -1
    fits = [channels[number] for number in index] if isinstance(index, (list, tuple)) else channels[index]
    has = settings.get('in_channels')
    has = list(has) if isinstance(has, (list, tuple)) else has
    if has is not None and has != fits:
        fewer = before == 'the backbone' and isinstance(has, list) and len(channels) < len(has)
        stages = f', or model.backbone.out_indices to {len(has)} stages' if fewer else ''
        return f'{part.place}.in_channels={has} does not fit: {gives}; set --cfg-options {_setting(part.place, fits)}{stages}'
    if match := _CHANNELS.search(str(error)):
        return f'{part.place} ({settings["type"]}) takes {match[1]} channels and gets {match[2]}: {gives}; correct its channels'
    return None


def _setting(place: str, value: object) -> str:
    return f'{place}.in_channels={str(value).replace(" ", "")}'


def _check_roi_head(roi_head: dict, maps: Sequence[Tensor]) -> None:
    """The extractor and the heads of a two-stage detector, by what their settings say."""
    channels = int(maps[0].shape[1])
    for key in ('bbox_roi_extractor', 'mask_roi_extractor'):
        for place, extractor in _listed(roi_head, key):
            place = place.replace('model.', 'model.roi_head.')
            out, strides = extractor.get('out_channels'), extractor.get('featmap_strides') or ()
            if out is not None and out != channels:
                raise _Unfit(
                    f'{place}.out_channels={out} does not fit: the neck gives maps of {channels} channels; set it to that'
                )
            if len(strides) > len(maps):
                raise _Unfit(
                    f'{place}.featmap_strides has {len(strides)} and the neck gives {len(maps)} maps; leave out the last ones'
                )
    for key in ('bbox_head', 'mask_head'):
        for place, head in _listed(roi_head, key):
            if head.get('in_channels') not in (None, channels) and 'bbox_roi_extractor' in roi_head:
                place = place.replace('model.', 'model.roi_head.')
                raise _Unfit(
                    f'{place}.in_channels={head["in_channels"]} does not fit: the neck gives maps of {channels} channels; '
                    f'set --cfg-options {_setting(place, channels)}'
                )


def check_resumed(cfg: Config, checkpoint: str | Path) -> None:
    """Make sure that a checkpoint to resume is one of this model and these classes.

    Raises:
        ValueError: If not.
    """
    if cfg.get('default_scope') not in ('mmdet', 'mmseg'):
        return
    content = read_outline(checkpoint)
    fix = f'resume with its own settings, or start anew from its weights in another --work-dir by --cfg-options load_from={checkpoint}'
    meta = content['meta'].get('dataset_meta')
    before, now = (meta or {}).get('classes') if isinstance(meta, dict) else None, classes_of(cfg)
    if before and now and tuple(before) != tuple(now):
        raise ValueError(f'--resume: {checkpoint} was trained on {some(before)}, this config has {some(now)}; {fix}')
    saved = {name.removeprefix('module.'): tuple(t.shape) for name, t in content['state_dict'].items()}
    for key in ('backbone', 'neck', 'decode_head'):
        part = _built(f'model.{key}', cfg.model[key]) if isinstance(cfg.model.get(key), dict) else None
        for name, tensor in part.module.state_dict().items() if part else ():
            if saved.get(f'{key}.{name}') != tuple(tensor.shape):
                raise ValueError(
                    f'--resume: {checkpoint} is of another model: {key}.{name} has there '
                    f'{saved.get(f"{key}.{name}", "no value")} and here {tuple(tensor.shape)}; {fix}'
                )
