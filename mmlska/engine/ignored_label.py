"""The label of pixels that do not count, which heads, data sets, metrics, padding and steps of pipelines each have a setting for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mmengine.config import Config

from .config_parts import datasets_of, parts_of
from .image_reading import step_name
from .known_keys import takes

#: What it is in OpenMMLab where nothing else is said.
IGNORED = 255
# What steps of pipelines call it, where they fill pixels with it or leave them out; it is 255 there where nothing else is said.
_STEPS = dict(
    GenerateEdge='ignore_index',
    LoadColorAnnotations='ignore_index',
    RandomCrop='ignore_index',
    RandomMosaic='seg_pad_val',
    RandomRotate='seg_pad_val',
)


def ignored_label(cfg: Config) -> int:
    """The label that the head of a segmentor ignores, the last of several."""
    head = cfg.get('model', {}).get('decode_head') if cfg.get('default_scope') == 'mmseg' else None
    head = head[-1] if isinstance(head, (list, tuple)) and head else head
    label = head.get('ignore_index', IGNORED) if isinstance(head, dict) else IGNORED
    return label if isinstance(label, int) else IGNORED


def spread_ignored_label(cfg: Config) -> None:
    """Let all parts of a config ignore the label that the head of its segmentor ignores, where they have none of their own but 255."""
    label = ignored_label(cfg)
    if label != IGNORED:
        use_ignored_label(cfg, label, IGNORED)


def use_ignored_label(cfg: Config, label: int, before: int) -> None:
    """Let all parts of the config of a segmentor ignore a label that ignore another one so far; a third one stays.

    Padding gets the label too: heads would learn any other one, or fail at it.

    Args:
        cfg: The config, changed in place.
        label: The label.
        before: What they ignore so far.
    """
    heads = list(_heads(cfg))
    for head in heads:
        if 'ignore_index' in head or takes(head, 'ignore_index', 'MODELS', cfg.default_scope):
            _replace(head, 'ignore_index', label, before)
    for preprocessor in (cfg.model.get('data_preprocessor'), cfg.get('data_preprocessor')):
        if preprocessor and (
            'wraps' in preprocessor or takes(preprocessor, 'seg_pad_val', 'MODELS', cfg.default_scope)
        ):
            _replace(preprocessor, 'seg_pad_val', label, before)
    for split in ('train', 'val', 'test'):
        for dataset in datasets_of(cfg, split):
            if takes(dataset, 'ignore_index', 'DATASETS', cfg.default_scope):
                _replace(dataset, 'ignore_index', label, before)
        if 0 <= label <= IGNORED:  # label maps have 8 bits
            for _, part in parts_of(cfg.get(f'{split}_dataloader') or {}, ''):
                _replace_in_step(part, label, before, cfg.default_scope)
        if any(label < head.get('num_classes', 0) for head in heads):  # a class that is not learned may be evaluated
            continue
        evaluators = cfg.get(f'{split}_evaluator') or []
        for evaluator in evaluators if isinstance(evaluators, (list, tuple)) else [evaluators]:
            if evaluator.get('type') in ('IoUMetric', 'mmseg.IoUMetric'):
                _replace(evaluator, 'ignore_index', label, before)


def _heads(cfg: Config) -> Iterator[dict]:
    for key in ('decode_head', 'auxiliary_head'):
        found = cfg.model.get(key) or ()
        yield from [found] if isinstance(found, dict) else found


def _replace(part: dict, key: str, label: int, before: int) -> None:
    if part.get(key, IGNORED) == before:
        part[key] = label


def _replace_in_step(step: dict, label: int, before: int, scope: str) -> None:
    name = step_name(step) if 'type' in step else ''
    if name == 'Pad':
        value = step.get('pad_val', {})
        value = dict(value) if isinstance(value, dict) else dict(img=value)
        value.setdefault('img', 0)
        _replace(value, 'seg', label, before)
        if value.get('seg') == label:
            step['pad_val'] = value
    elif (key := _STEPS.get(name)) and takes(step, key, 'TRANSFORMS', scope):
        _replace(step, key, label, before)


def ignored_by(dataset: Any) -> int:
    """The label that a data set of mmseg, or the one inside it, ignores."""
    while not hasattr(dataset, 'ignore_index'):
        inner = getattr(dataset, 'dataset', None) or next(iter(getattr(dataset, 'datasets', None) or ()), None)
        if inner is None:
            return IGNORED
        dataset = inner
    return dataset.ignore_index
