"""Reading a config: where its file is found, what it says about data, evaluators and hooks.

Nothing here imports mmdet or mmseg: their classes are named in the configs and found by MMEngine's registry.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from mmengine.config import Config

from ..catalog import home, named_config, nearest_names
from ..log import log
from ..weights.manifest import MANIFEST_SCHEME, fetch_published
from .config_parts import datasets_of, evaluators_of, parts_of
from .config_text import SafeConfig
from .evaluator_files import follow_data, left_behind
from .inheritance import base_settings, earlier_values, has_own_root, is_own, source_of, use_variables, values_in_parts
from .known_keys import settle_other_words
from .misspelt import refuse_impossible_options, refuse_misspelt_keys, refuse_misspelt_options


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
    """Read a config file with ``--cfg-options``; see :func:`read_config`."""
    return read_config(path, cfg_options)[0]


def read_config(path: str, cfg_options: dict | None = None) -> tuple[Config, list[str]]:
    """Read a config file, apply ``--cfg-options``, and let what the user sets reach what the files in ``_base_`` made of it.

    That is the ``data_root`` of data sets and evaluators, other variables, and the labels that an evaluator compares with.

    Args:
        path: The file, relative to the working directory or to the repository, or the name of a config of the package.
        cfg_options: Settings by dotted key, as MMEngine's ``Config.merge_from_dict`` takes them.

    Returns:
        The config, and lines to print about what follows the user's settings.

    Raises:
        FileNotFoundError: If there is no such file and no such name; the message has the nearest names.
        ValueError: If the file is not a config that MMEngine can read, or a setting has no effect and is nearly one that has.
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
    options, source = cfg_options or {}, source_of(found)
    base = base_settings(source) if is_own(found) else None
    refuse_misspelt_options(cfg, options)
    earlier = [Config.fromfile(found, import_custom_modules=False)] if options else []
    earlier += [base] if base is not None else []
    roots = {cfg.get('data_root'), *earlier_values(source, 'data_root')} - {None}
    roots -= {value for option, value in options.items() if option.endswith('.data_root')}
    refuse_impossible_options(cfg, options)
    cfg.merge_from_dict(copy.deepcopy(options))  # MMEngine takes _delete_ out of what it merges
    refuse_misspelt_keys(cfg, earlier)
    lines = use_variables(cfg, source, options)
    lines += _spread_data_root(cfg, roots, values_in_parts(source, 'data_root'), said='data_root' in options)
    if has_own_root(source):
        cfg.pop('data_help', None)
    settle_other_words(cfg)
    _settle_workers(cfg)
    _settle_sizes(cfg)
    return cfg, [*lines, *follow_data(cfg, earlier), *left_behind(cfg, base)]


def _settle_workers(cfg: Config) -> None:
    """Take out of data loaders without workers what is for workers alone: torch refuses it."""
    for split in ('train', 'val', 'test'):
        loader = cfg.get(f'{split}_dataloader')
        if isinstance(loader, dict) and loader.get('num_workers') == 0:
            loader['persistent_workers'] = False
            for name in ('prefetch_factor', 'multiprocessing_context'):
                loader.pop(name, None)


def _settle_sizes(cfg: Config) -> None:
    """Make sizes in pipelines tuples, as the steps ask for: JSON, YAML and ``--cfg-options`` have lists."""
    for name in [name for name in cfg if name.endswith(('_dataloader', '_pipeline'))]:
        if not isinstance(cfg[name], (dict, list)):
            continue
        for _, step in parts_of(cfg[name], name):
            for key in ('scale', 'scales', 'crop_size', 'img_scale', 'size'):
                if 'type' in step and isinstance(step.get(key), list):
                    step[key] = _as_size(step[key])


def _as_size(value: list) -> tuple | list:
    if len(value) == 2 and all(isinstance(side, (int, float)) for side in value):
        return tuple(value)
    return [_as_size(item) if isinstance(item, list) else item for item in value]


def _check_data_variable() -> None:
    """MMEngine puts the value of this variable into a string literal of the config as it is."""
    value = os.environ.get('MMLSKA_DATA', '')
    if not value.isprintable() or set(value) & set('\'"\\{}'):
        raise ValueError(
            f'MMLSKA_DATA={value!r} has a quote, a backslash, a brace or a control character, which no config can hold; '
            f'rename the folder or give a link to it'
        )


def _spread_data_root(cfg: Config, roots: set[str], own: Mapping[str, set[str]], said: bool) -> list[str]:
    """Make the top-level ``data_root`` the one place to set it, relative to the working directory or to the repository.

    Args:
        roots: What it is in the config and in the files below it: data sets and evaluators have one of these.
        own: Those that the user's own file gives to data sets, by its settings: these stay.
        said: Whether the command line says it, and no line has to.

    Returns:
        Lines to print.
    """
    if not cfg.get('data_root'):
        return []
    replaced = set()
    # A path that does not exist is left as written, for checks.check_data() to name.
    root = f'{str(find_path(cfg.data_root) or cfg.data_root).rstrip("/")}/'
    for split in ('train', 'val', 'test'):
        written_roots = roots - (own.get(f'{split}_dataloader', set()) - {cfg.data_root})
        for dataset in datasets_of(cfg, split):
            if dataset.get('data_root') in written_roots:
                replaced.add(dataset.data_root)
                _without_root(dataset, cfg.data_root, root)
        for evaluator in evaluators_of(cfg, split):
            # CocoMetric takes a whole path where the datasets take one below data_root.
            file = evaluator.get('ann_file') or ''
            folders = (f'{written.rstrip("/")}/' for written in written_roots)
            below = max((folder for folder in folders if file.startswith(folder)), key=len, default=None)
            if below:
                evaluator.ann_file = root + file.removeprefix(below)
    others = ' and '.join(sorted(replaced - {cfg.data_root}))
    cfg.data_root = root
    return [f'data_root={root} takes the place of {others} in data sets and evaluators'] if others and not said else []


def _without_root(dataset: dict, written: str, root: str) -> None:
    """Give a data set its ``data_root``, and take that off names which have it already: ``ann_file=data_root + 'train.json'``."""
    folder, prefixes = f'{written.rstrip("/")}/', dataset.get('data_prefix')
    for part, names in ((dataset, ('ann_file',)), (prefixes, tuple(prefixes) if isinstance(prefixes, dict) else ())):
        for key in names:
            name = part.get(key)
            if isinstance(name, str) and name.startswith(folder) and not (Path(root) / name).exists():
                part[key] = name.removeprefix(folder)
    dataset['data_root'] = root


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
