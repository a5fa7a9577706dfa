"""The label of pixels that do not count, which heads, data sets and metrics each have a setting for."""

from __future__ import annotations

from typing import Any

from mmengine.config import Config

from .config_parts import datasets_of
from .known_keys import takes

#: What it is in OpenMMLab where nothing else is said.
IGNORED = 255


def spread_ignored_label(cfg: Config) -> None:
    """Let the data sets and metrics of a segmentor ignore the label that its head ignores, where they have no setting of their own."""
    head = cfg.get('model', {}).get('decode_head') if cfg.get('default_scope') == 'mmseg' else None
    head = head[-1] if isinstance(head, (list, tuple)) and head else head
    label = head.get('ignore_index', IGNORED) if isinstance(head, dict) else IGNORED
    if label == IGNORED or not isinstance(label, int):
        return
    for split in ('train', 'val', 'test'):
        for dataset in datasets_of(cfg, split):
            if takes(dataset, 'ignore_index', 'DATASETS', cfg.default_scope):
                dataset.setdefault('ignore_index', label)
        if label < head.get('num_classes', 0):  # a class that is not learned may still be evaluated
            continue
        evaluators = cfg.get(f'{split}_evaluator') or []
        for evaluator in evaluators if isinstance(evaluators, (list, tuple)) else [evaluators]:
            if evaluator.get('type') in ('IoUMetric', 'mmseg.IoUMetric'):
                evaluator.setdefault('ignore_index', label)


def ignored_by(dataset: Any) -> int:
    """The label that a data set of mmseg, or the one inside it, ignores."""
    while not hasattr(dataset, 'ignore_index'):
        inner = getattr(dataset, 'dataset', None) or next(iter(getattr(dataset, 'datasets', None) or ()), None)
        if inner is None:
            return IGNORED
        dataset = inner
    return dataset.ignore_index
