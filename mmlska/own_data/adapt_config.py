"""Change the config of a recipe in place for other data: classes, data sets, evaluators, pipelines."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mmengine.config import Config, ConfigDict

from .sources.masks import Labels


def set_num_classes(node, count: int) -> None:
    """Set ``num_classes`` in every head below ``node``; region proposals know objects from background only."""
    if isinstance(node, (list, tuple)):
        for item in node:
            set_num_classes(item, count)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key != 'rpn_head':
                set_num_classes(value, count)
        if 'num_classes' in node:
            node['num_classes'] = count


def leaves(dataset: ConfigDict) -> list[ConfigDict]:
    """The data sets inside wrappers such as RepeatDataset or ConcatDataset."""
    inner = dataset.get('datasets') or ([dataset['dataset']] if 'dataset' in dataset else None)
    return [dataset] if inner is None else [leaf for item in inner for leaf in leaves(item)]


def set_datasets(cfg: Config, root: Path, make: Callable[[str], dict], parts: dict) -> None:
    for split in ('train', 'val', 'test'):
        source = split if split in parts else 'val'
        old = leaves(cfg[f'{split}_dataloader'].dataset)[0]
        # Config's own dicts are copied: val and test often share them.
        kept = {key: old[key] for key in ('pipeline', 'filter_cfg', 'test_mode', 'backend_args') if key in old}
        new = make(source)
        for dataset in new.get('datasets', [new]):
            dataset.update(data_root=f'{root}/', **kept)
        loader = dict(cfg[f'{split}_dataloader'], dataset=new)
        cfg[f'{split}_dataloader'] = loader
    cfg.data_root = f'{root}/'
    for key in ('data_help', 'metainfo', 'classes', 'palette', 'held_out', 'dataset'):
        cfg.pop(key, None)


def set_evaluators(cfg: Config, split: str, ann_file: str) -> None:
    evaluators = cfg[f'{split}_evaluator']
    evaluators = [dict(e) for e in (evaluators if isinstance(evaluators, list) else [evaluators])]
    for evaluator in evaluators:
        if evaluator['type'] == 'CocoMetric':
            evaluator['ann_file'] = ann_file
    cfg[f'{split}_evaluator'] = evaluators if len(evaluators) > 1 else evaluators[0]


def each_transform(cfg: Config, kind: str, change: Callable[[dict], None]) -> None:
    """Change the transforms of one type in every pipeline, those of test-time augmentation too."""

    def visit(node) -> None:
        if isinstance(node, (list, tuple)):
            for item in node:
                visit(item)
        elif isinstance(node, dict):
            for value in node.values():
                visit(value)
            if node.get('type') == kind:
                change(node)

    for key in (
        'train_dataloader',
        'val_dataloader',
        'test_dataloader',
        'tta_pipeline',
        'train_pipeline',
        'test_pipeline',
    ):
        visit(cfg.get(key))


def set_mask_reader(cfg: Config, labels: Labels) -> None:
    """Make every pipeline read the masks as ``labels`` says."""
    reader = dict(type='LoadAnnotations') if labels.plain else dict(type='LoadColorAnnotations', palette=labels.colors)

    def replace(transform: dict) -> None:
        transform.clear()
        transform.update(reader)

    for old in ('LoadAnnotations', 'LoadColorAnnotations'):
        each_transform(cfg, old, replace)


def wants_masks(cfg: Config) -> bool:
    return bool((cfg.model.get('roi_head') or {}).get('mask_head') or cfg.model.get('mask_head'))
