"""Reading a config: where its file is found, what it says about data, evaluators and hooks.

Nothing here imports mmdet or mmseg: their classes are named in the configs and found by MMEngine's registry.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path

import torch
from mmengine.config import Config, ConfigDict
from mmengine.runner import Runner

from ..catalog import home, named_config, nearest_names
from ..log import log
from ..weights.manifest import MANIFEST_SCHEME, fetch_published
from .config_text import SafeConfig

# Names that are read where a config has them, beside those of MMEngine's Runner.
_TOP_LEVEL = ('data_root', 'tta_model', 'tta_pipeline', 'train_pipeline', 'val_pipeline', 'test_pipeline')


def search_roots() -> list[Path]:
    """Folders that relative paths of configs and data are looked up in: where the user is, then the checkout or the wheel."""
    return [Path.cwd(), home()]


def find_path(path: str | Path) -> Path | None:
    """Return ``path`` as found under one of :func:`search_roots`, or None."""
    return next((root / path for root in search_roots() if (root / path).exists()), None)


def find_config(path: str | Path) -> Path | None:
    """The file of a config: one under :func:`search_roots`, or one of the package's own by its name; None if there is neither.

    Example:
        >>> find_config('mask_rcnn_van_lska_t') == find_config('configs/mask_rcnn_van_lska_t.py')
        True
    """
    found = find_path(path)
    return found if found is not None and found.is_file() else named_config(str(path))


def find_checkpoint(checkpoint: str) -> Path:
    """The file of a checkpoint: one under :func:`search_roots`, or 'mmlska://NAME' of the manifest, fetched if it is not here yet.

    Raises:
        FileNotFoundError: If there is no such file.
        WeightsError: As :func:`mmlska.weights.manifest.fetch_published`.
    """
    if checkpoint.startswith(MANIFEST_SCHEME):
        return fetch_published(checkpoint.removeprefix(MANIFEST_SCHEME))
    return find_checkpoint_file(checkpoint)


def find_checkpoint_file(checkpoint: str | Path) -> Path:
    """The file of a checkpoint under one of :func:`search_roots`.

    Raises:
        FileNotFoundError: If there is none.
    """
    found = find_path(checkpoint)
    if found is None or not found.is_file():
        problem = 'does not exist' if found is None else 'is a folder'
        raise FileNotFoundError(f'checkpoint {checkpoint} {problem}; a training leaves its own in its work directory')
    return found


def load_config(path: str, cfg_options: dict | None = None) -> Config:
    """Read a config file, apply ``--cfg-options`` and spread its ``data_root`` over its datasets.

    Args:
        path: The file, relative to the working directory or to the repository, or the name of a config of the package.
        cfg_options: Settings by dotted key, as MMEngine's ``Config.merge_from_dict`` takes them.

    Raises:
        FileNotFoundError: If there is no such file and no such name; the message has the nearest names.
        ValueError: If the file is not a config that MMEngine can read.
    """
    found = find_config(path)
    if found is None:
        near = nearest_names(str(path))
        problem = 'is a folder' if find_path(path) else 'does not exist'
        hint = f'; did you mean {" or ".join(near)}?' if near else ';'
        raise FileNotFoundError(
            f'config {path} {problem}{hint} see the folder configs or `mmlska configs` for those there are'
        )
    if found.suffix not in ('.py', '.json', '.yml', '.yaml'):
        raise ValueError(f'config {path} is no .py, .json or .yml file; give one such as those in the folder configs')
    _check_data_variable()
    try:
        cfg = SafeConfig.of(Config.fromfile(found))
    except SyntaxError as error:
        raise ValueError(f'config {path} is not valid Python: line {error.lineno}: {error.msg}') from error
    except Exception as error:  # a config is a program and may raise anything
        raise ValueError(f'config {path} cannot be read: {type(error).__name__}: {error}; correct that line') from error
    written_root = cfg.get('data_root')
    _refuse_misspelt(cfg, cfg_options or {})
    cfg.merge_from_dict(cfg_options or {})
    _spread_data_root(cfg, written_root)
    _settle_workers(cfg)
    return cfg


def _settle_workers(cfg: Config) -> None:
    """Take out of data loaders without workers what is for workers alone: torch refuses it."""
    for split in ('train', 'val', 'test'):
        loader = cfg.get(f'{split}_dataloader')
        if isinstance(loader, dict) and loader.get('num_workers') == 0:
            loader['persistent_workers'] = False
            for name in ('prefetch_factor', 'multiprocessing_context'):
                loader.pop(name, None)


def _refuse_misspelt(cfg: Config, options: dict) -> None:
    """Raise ValueError for a top-level setting, or a part of the model, whose name is nearly that of one: MMEngine adds any name.

    The last part of a dotted key is not looked at below the top: most classes take more than a config sets, and refuse what they do
    not know.
    """
    for option in options:
        *folders, last = option.split('.')
        top, *parts = folders or [last]
        _refuse_near(option, top, {*cfg, *_TOP_LEVEL, *inspect.signature(Runner).parameters}, cutoff=0.75)
        node = cfg.get(top) if top == 'model' else None
        for name in parts:
            if not isinstance(node, dict):
                break
            _refuse_near(option, name, set(node), cutoff=0.9)  # mask_head and mask_iou_head are two things
            node = node.get(name)


def _refuse_near(option: str, name: str, known: set[str], cutoff: float) -> None:
    if name not in known and (near := get_close_matches(name, known, n=1, cutoff=cutoff)):
        raise ValueError(f'setting {option}: the config has no {name}; did you mean {near[0]}?')


def _check_data_variable() -> None:
    """MMEngine puts the value of this variable into a string literal of the config as it is."""
    value = os.environ.get('MMLSKA_DATA', '')
    if not value.isprintable() or set(value) & set('\'"\\{}'):
        raise ValueError(
            f'MMLSKA_DATA={value!r} has a quote, a backslash, a brace or a control character, which no config can hold; '
            f'rename the folder or give a link to it'
        )


def _spread_data_root(cfg: Config, written_root: str | None) -> None:
    """Make the top-level ``data_root`` the one place to set it, relative to the working directory or to the repository."""
    if not cfg.get('data_root'):
        return
    found = find_path(cfg.data_root)
    # A path that does not exist is left as written, for checks.check_data() to name.
    root = str(found) + '/' if found else cfg.data_root
    for split in ('train', 'val', 'test'):
        for dataset in datasets_of(cfg, split):
            if dataset.get('data_root') == written_root:
                dataset.data_root = root
        for evaluator in evaluators_of(cfg, split):
            # CocoMetric takes a whole path where the datasets take one below data_root.
            if evaluator.get('ann_file', '').startswith(written_root):
                evaluator.ann_file = root + evaluator.ann_file.removeprefix(written_root)
    cfg.data_root = root


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


def heads(model: dict) -> list[tuple[str, dict]]:
    """The parts of a model's config with ``num_classes``, by their place; region proposals know objects from background only."""
    parts = parts_of(model, 'model')
    return [(path, part) for path, part in parts if 'num_classes' in part and 'rpn_head' not in path.split('.')]


def has_hook(cfg: Config, kind: str) -> bool:
    """Whether the ``custom_hooks`` of a config have a hook of this type."""
    return any(hook.get('type') == kind for hook in cfg.get('custom_hooks', []))


def add_hook(cfg: Config, kind: str, **options) -> None:
    """Add a hook to ``custom_hooks``, in the place of one of this type that is there: a config dumped by an earlier run has it."""
    remove_hooks(cfg, kind)
    cfg.custom_hooks = [*cfg.custom_hooks, dict(type=kind, **options)]


def remove_hooks(cfg: Config, *kinds: str) -> None:
    """Take the hooks of these types out of ``custom_hooks``."""
    cfg.custom_hooks = [hook for hook in cfg.get('custom_hooks', []) if hook.get('type') not in kinds]


def replace_sync_bn(cfg: Config) -> None:
    """Turn SyncBN into BN in the model's config where SyncBN can't work: in one process, or without GPUs."""
    if cfg.get('launcher', 'none') != 'none' and torch.cuda.is_available():
        return
    if replace_type(cfg.model, 'SyncBN', 'BN'):
        log('SyncBN needs several GPU processes: using BN')


def replace_type(node, old: str, new: str) -> int:
    """Replace ``type=old`` everywhere below ``node``; return how often."""
    if isinstance(node, (list, tuple)):
        return sum(replace_type(item, old, new) for item in node)
    if not isinstance(node, dict):
        return 0
    count = sum(replace_type(value, old, new) for value in node.values())
    if node.get('type') == old:
        node['type'] = new
        count += 1
    return count
