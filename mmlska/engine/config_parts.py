"""The data sets and evaluators of a config, wherever they stand in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mmengine.config import Config, ConfigDict


def datasets_of(cfg: Config, split: str) -> Iterator[ConfigDict]:
    """The datasets of 'train', 'val' or 'test', those inside wrappers such as RepeatDataset or ConcatDataset too."""
    pending = [(cfg.get(f'{split}_dataloader') or {}).get('dataset')]
    while pending:
        dataset = pending.pop(0)
        if dataset is None:
            continue
        inner = [dataset[key] for key in ('dataset', 'datasets') if key in dataset]
        if inner:
            pending[:0] = [d for item in inner for d in (item if isinstance(item, (list, tuple)) else [item])]
        else:
            yield dataset


def evaluators_of(cfg: Config, split: str) -> list[ConfigDict]:
    """The evaluators of a split, 'train', 'val' or 'test'."""
    evaluators = cfg.get(f'{split}_evaluator') or []
    return evaluators if isinstance(evaluators, list) else [evaluators]


def parts_of(node, path: str) -> Iterator[tuple[str, dict]]:
    """Every dict in a part of a config, and its place."""
    if isinstance(node, dict):
        yield path, node
    for key, value in node.items() if isinstance(node, dict) else enumerate(node):
        if isinstance(value, (dict, list, tuple)):
            yield from parts_of(value, f'{path}.{key}')


def setting_at(cfg: Config, place: str, default: Any = None) -> Any:
    """The value of a setting by its dotted key, in which lists are numbered; ``default`` where the config does not have it."""
    node: Any = cfg
    for key in place.split('.'):
        try:
            node = node[int(key)] if isinstance(node, (list, tuple)) else node[key]
        except (LookupError, TypeError, ValueError, AttributeError):
            return default
    return node


def heads(model: dict) -> list[tuple[str, dict]]:
    """The parts of a model's config with ``num_classes``, by their place; region proposals know objects from background only."""
    parts = parts_of(model, 'model')
    return [(path, part) for path, part in parts if 'num_classes' in part and 'rpn_head' not in path.split('.')]


def leaves(key: str, value: object) -> Iterator[tuple[str, object]]:
    """The single settings below a part of a config, by their dotted keys; ``key`` is that of the part, '' for the whole.

    Example:
        >>> dict(leaves('', dict(optimizer=dict(lr=1), hooks=[dict(type='A')], sizes=[1, 2])))
        {'optimizer.lr': 1, 'hooks.0.type': 'A', 'sizes': [1, 2]}
    """
    if isinstance(value, dict) and value:
        items = value.items()
    elif isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        items = enumerate(value)
    else:
        yield key, value
        return
    for name, item in items:
        yield from leaves(f'{key}.{name}' if key else str(name), item)
