"""Single changes to the config of a recipe, in place: classes, data sets, pipelines."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path

from mmengine.config import Config, ConfigDict

from ..engine.config_parts import datasets_of, evaluators_of, parts_of

#: What other data sets keep of those in whose place they are put.
KEPT_OF_DATASETS = ('pipeline', 'filter_cfg', 'test_mode', 'backend_args')
#: Settings at the top that tell of the data of a recipe.
DROPPED = ('data_help', 'metainfo', 'classes', 'palette', 'held_out', 'dataset')


def first_dataset(cfg: Config, split: str) -> ConfigDict:
    """The data set of a split, or the first one where there are several; that inside wrappers such as RepeatDataset.

    Raises:
        ValueError: If the config has none.
    """
    dataset = next(datasets_of(cfg, split), None)
    if dataset is None:
        raise ValueError(f'the config has no data set in {split}_dataloader; give one whose pipeline can be used')
    return dataset


def set_datasets(cfg: Config, root: Path, datasets: dict[str, dict], metainfo: dict) -> None:
    """Put other data sets, by their split, into the data loaders; pipelines stay, and evaluators read the same annotations.

    A config without validation or test (``val_dataloader=None``) stays without.
    """
    for split in ('train', 'val', 'test'):
        if split != 'train' and not cfg.get(f'{split}_dataloader'):
            continue
        old = first_dataset(cfg, split)
        # Config's own dicts are copied: val and test often share them.
        kept = {key: old[key] for key in KEPT_OF_DATASETS if key in old}
        new = copy.deepcopy(datasets[split if split in datasets else 'val'])
        for dataset in new.get('datasets', [new]):
            dataset.update(data_root=f'{root}/', metainfo=metainfo, **kept)
        cfg[f'{split}_dataloader'] = dict(cfg[f'{split}_dataloader'], dataset=new)
        evaluators = [dict(e) for e in evaluators_of(cfg, split)]
        for evaluator in evaluators:
            if evaluator['type'] == 'CocoMetric':
                evaluator['ann_file'] = new['ann_file']
        if evaluators:
            cfg[f'{split}_evaluator'] = evaluators if isinstance(cfg[f'{split}_evaluator'], list) else evaluators[0]
    cfg.data_root = f'{root}/'
    for key in DROPPED:
        cfg.pop(key, None)


def each_transform(cfg: Config, kind: str, change: Callable[[dict], None]) -> None:
    """Change the transforms of one type in every pipeline, those of test-time augmentation too."""
    loaders = ('train_dataloader', 'val_dataloader', 'test_dataloader')
    for key in (*loaders, 'train_pipeline', 'test_pipeline', 'tta_pipeline'):
        for _, part in list(parts_of(cfg.get(key) or {}, key)):
            if part.get('type') == kind:
                change(part)


def set_mask_reader(cfg: Config, colors: Sequence[Sequence[int]] | None) -> None:
    """Make every pipeline read masks by these RGB colours of the classes; None where masks hold the classes themselves."""
    reader = dict(type='LoadAnnotations') if colors is None else dict(type='LoadColorAnnotations', palette=colors)

    def replace(transform: dict) -> None:
        transform.clear()
        transform.update(reader)

    for old in ('LoadAnnotations', 'LoadColorAnnotations'):
        each_transform(cfg, old, replace)


def wants_masks(cfg: Config) -> bool:
    """Whether a detector learns masks too."""
    return bool((cfg.model.get('roi_head') or {}).get('mask_head') or cfg.model.get('mask_head'))
