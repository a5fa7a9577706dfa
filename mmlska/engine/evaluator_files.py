"""The labels that an evaluator compares with and those of its data set: they have to be the same."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from mmengine.config import Config, ConfigDict

from .config_parts import datasets_of, evaluators_of

_MASKS = ('mask', 'panoptic', 'seg', 'ins')  # in keys and types of models that predict masks


def follow_data(cfg: Config, earlier: Sequence[Config]) -> list[str]:
    """Let evaluators that have the labels of an ``earlier`` config compare with those of the data set that has taken its place.

    Returns:
        Lines to print.
    """
    lines = []
    for split in ('val', 'test'):
        wanted = _labels(cfg, split)
        for place, evaluator in _evaluators(cfg, split):
            named = evaluator['ann_file']
            if wanted is None or _same(named, wanted):
                continue
            for before in earlier:
                inherited = [known['ann_file'] for _, known in _evaluators(before, split)]
                if _named_below(named, inherited) and not _same(_labels(before, split) or '', wanted):
                    evaluator['ann_file'] = wanted
                    lines.append(f'{place}.ann_file={wanted}, as the data set; it was {named}')
                    break
    # One dict may be both evaluators.
    return list(dict.fromkeys(lines))


def left_behind(cfg: Config, base: Config | None) -> list[str]:
    """Say that data are still those of the base, where others were replaced: by ``data_root``, or those of validation; lines to print."""
    if base is None:
        return []
    root = base.get('data_root')
    stay = [
        split
        for split in ('train', 'val', 'test')
        for d in datasets_of(cfg, split)
        if root and d.get('data_root') == root
    ]
    if stay and os.path.realpath(cfg.get('data_root') or root) != os.path.realpath(root):
        named = ' and '.join(dict.fromkeys(stay))
        return [f'{named} data stay in {root}, where the base has them; set data_root in their data sets for others']
    if not _places(base, 'test') == _places(base, 'val') != _places(cfg, 'val'):
        return []
    if _places(cfg, 'test') == _places(cfg, 'val') or not _is_as_in(cfg, base):
        return []
    old, new = (', '.join(filter(None, place)) for place in (_places(cfg, 'test')[0], _places(cfg, 'val')[0]))
    return [
        f'test_dataloader has the data of the base still ({old}); add test_dataloader = val_dataloader to test on {new}'
    ]


def _places(cfg: Config, split: str) -> list[tuple[str, ...]]:
    """Where the data sets of a split are."""
    return [
        (str(d.get('data_root') or ''), str(d.get('ann_file') or ''), *map(str, (d.get('data_prefix') or {}).values()))
        for d in datasets_of(cfg, split)
    ]


def _is_as_in(cfg: Config, base: Config) -> bool:
    """Whether the test data have the names of the base, below any ``data_root``."""
    return bool(_places(cfg, 'test') and _places(cfg, 'val')) and [place[1:] for place in _places(cfg, 'test')] == [
        place[1:] for place in _places(base, 'test')
    ]


def _named_below(named: str, inherited: list[str]) -> bool:
    """Whether a file is one of those inherited, which may have been relative to another folder."""
    return any(
        _same(named, file) or os.path.normpath(named).endswith(f'/{os.path.normpath(file)}') for file in inherited
    )


def check_evaluators(cfg: Config, splits: Sequence[str]) -> None:
    """Make sure that evaluators compare with the labels of their data set, and with what the model predicts.

    Raises:
        ValueError: If one does not.
    """
    for split in splits:
        wanted = _labels(cfg, split)
        for place, evaluator in _evaluators(cfg, split):
            if wanted is not None and not _same(evaluator['ann_file'], wanted):
                raise ValueError(
                    f'{place}.ann_file is {evaluator["ann_file"]} and the data set of {split}_dataloader has {wanted}; '
                    f'set both to the same file, or leave ann_file out of the evaluator'
                )
        for evaluator in evaluators_of(cfg, split):
            metrics = evaluator.get('metric') or ()
            metrics = [metrics] if isinstance(metrics, str) else metrics
            coco = evaluator.get('type') == 'CocoMetric' and cfg.get('model')
            if coco and 'segm' in metrics and not _predicts_masks(cfg.model):
                raise ValueError(
                    f"{split}_evaluator.metric has 'segm' and the model {cfg.model.get('type')} predicts no masks; "
                    f"set {split}_evaluator.metric='bbox'"
                )


def _predicts_masks(model: dict | None) -> bool:
    """Whether a model has a mask head, or anything in its config speaks of masks where there is no setting of that name."""
    parts = list(_parts(model))
    heads = [part['mask_head'] for part in parts if 'mask_head' in part]
    if heads:
        return any(head is not None for head in heads)
    names = [str(name).lower() for part in parts for name in (part.get('type'), *part)]
    return any(word in name for name in names for word in _MASKS)


def _parts(node) -> Iterator[dict]:
    if isinstance(node, dict):
        yield node
    for value in node.values() if isinstance(node, dict) else node if isinstance(node, (list, tuple)) else ():
        yield from _parts(value)


def _evaluators(cfg: Config, split: str) -> list[tuple[str, ConfigDict]]:
    """The evaluators of a split that name a file of the kind which its data set has, with their places."""
    found, several = evaluators_of(cfg, split), isinstance(cfg.get(f'{split}_evaluator'), list)
    panoptic = any('Panoptic' in str(dataset.get('type')) for dataset in datasets_of(cfg, split))
    return [
        (f'{split}_evaluator.{i}' if several else f'{split}_evaluator', evaluator)
        for i, evaluator in enumerate(found)
        if isinstance(evaluator.get('ann_file'), str) and ('Panoptic' in str(evaluator.get('type'))) == panoptic
    ]


def _labels(cfg: Config, split: str) -> str | None:
    """The file with the labels of a split; None where there is not exactly one, or some of its images are left out."""
    datasets = list(datasets_of(cfg, split))
    name = datasets[0].get('ann_file') if len(datasets) == 1 and not datasets[0].get('indices') else None
    if not isinstance(name, str) or not name.endswith('.json') or '://' in name:
        return None
    return str(Path(datasets[0].get('data_root') or '', name))


def _same(first: str, second: str) -> bool:
    return os.path.realpath(first) == os.path.realpath(second)
