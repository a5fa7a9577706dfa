"""What a config takes from the files in its ``_base_``, where MMEngine has used a variable before the user's file can change it.

MMEngine runs a base on its own and merges the user's file into the result. A variable of the base, such as ``data_root`` or
``train_pipeline``, has gone into the data loaders by then: with another value in the user's file it would change nothing.
"""

from __future__ import annotations

import ast
import copy
import inspect
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from mmengine.config import Config
from mmengine.fileio import load
from mmengine.runner import Runner

from ..catalog import home
from ..text import shown
from .config_parts import setting_at
from .config_text import literal

#: Top-level settings that are read by their names; every other one is a variable, of use in the file itself alone.
READ = {
    *inspect.signature(Runner).parameters,
    *('data_root', 'data_help', 'held_out', 'dataset', 'tta_model', 'tta_pipeline', 'custom_imports', 'auto_scale_lr'),
    *('find_unused_parameters', 'model_wrapper_cfg', 'sync_bn', 'compile', 'runner_type', 'strategy'),
}
# Variables and settings that other configs have at the top, and what they are here.
_ELSEWHERE = dict(
    auto_resume='resume, or start with --resume',
    base_lr='optim_wrapper.optimizer.lr',
    batch_size='train_dataloader.batch_size',
    checkpoint_config='default_hooks.checkpoint',
    class_names='metainfo=dict(classes=...) in each data set',
    classes='metainfo=dict(classes=...) in each data set',
    crop_size='crop_size of RandomCrop in the training pipeline, and size of model.data_preprocessor',
    cudnn_benchmark='env_cfg.cudnn_benchmark',
    data='train_dataloader, val_dataloader and test_dataloader',
    dataset_type='type in each data set',
    epochs='train_cfg.max_epochs',
    evaluation='val_evaluator, and train_cfg.val_interval',
    fp16="optim_wrapper.type='AmpOptimWrapper', or leave it out and start with --dtype bf16 (or fp16, on a GPU)",
    img_scale='scale of the Resize steps in each pipeline',
    img_size='scale of the Resize steps in each pipeline',
    image_size='scale of the Resize steps in each pipeline',
    img_norm_cfg='mean and std of model.data_preprocessor',
    learning_rate='optim_wrapper.optimizer.lr',
    load_path='load_from',
    log_config='default_hooks.logger',
    log_interval='default_hooks.logger.interval',
    lr='optim_wrapper.optimizer.lr',
    lr_config='param_scheduler',
    max_epoch='train_cfg.max_epochs',
    max_iter='train_cfg.max_iters, or start with --epochs N',
    metainfo='metainfo in each data set',
    num_epochs='train_cfg.max_epochs',
    num_iters='train_cfg.max_iters, or start with --epochs N',
    num_workers='train_dataloader.num_workers',
    optimizer='optim_wrapper.optimizer',
    optimizer_config='optim_wrapper',
    pretrained='model.backbone.init_cfg, or start with --pretrained CHECKPOINT',
    resume_from='resume, or start with --resume CHECKPOINT',
    runner='train_cfg: type, and max_epochs or max_iters; or start with --epochs N',
    samples_per_gpu='train_dataloader.batch_size',
    save_epoch_intervals='default_hooks.checkpoint.interval',
    save_interval='default_hooks.checkpoint.interval',
    seed='randomness.seed, or start with --seed N',
    test_pipeline='pipeline in the data sets of val_dataloader and test_dataloader',
    total_epochs='train_cfg.max_epochs',
    total_iters='train_cfg.max_iters, or start with --epochs N',
    train_batch_size_per_gpu='train_dataloader.batch_size',
    train_num_workers='train_dataloader.num_workers',
    train_pipeline='train_dataloader.dataset.pipeline',
    val_interval='train_cfg.val_interval',
    weight_decay='optim_wrapper.optimizer.weight_decay',
    workflow='train_cfg.val_interval, for validation is not a step of training here',
    workers_per_gpu='train_dataloader.num_workers',
)
# Values of those settings that ask for what is so anyway.
_SAME = dict(workflow=[('train', 1)], fp16={})
# Settings of MMCV 1, for MMDetection 2 and MMSegmentation 0, and what tells them from a variable of the same name.
_OF_MMCV_1 = dict(
    checkpoint_config=('interval',),
    data=('samples_per_gpu', 'workers_per_gpu', 'train', 'val', 'test'),
    evaluation=('interval', 'metric'),
    fp16=('loss_scale',),
    log_config=('interval', 'hooks'),
    lr_config=('policy',),
    optimizer=('type',),
    optimizer_config=('grad_clip', 'type'),
    runner=('type',),
)
_NEAR = 0.75
_NAMED = 3  # places that a message names


class Source(NamedTuple):
    """A config file: its code, what it assigns at the top, what it reads, and the files in its ``_base_`` by their names there."""

    path: Path
    tree: ast.Module
    assigned: frozenset[str]
    read: frozenset[str]
    bases: dict[str, Source | None]

    def all(self) -> Iterator[Source]:
        """This file and those below it, the user's first."""
        yield self
        for base in self.bases.values():
            yield from base.all() if base else ()


def source_of(path: Path) -> Source | None:
    """Read a config file and its bases; None for one that names its bases in another way than by paths, or itself."""
    try:
        text = path.read_text(encoding='utf-8')
        if path.suffix != '.py':
            text = '\n'.join(f'{name} = {literal(value)}' for name, value in load(path).items())
        tree = ast.parse(text)
    except (OSError, ValueError, SyntaxError):
        return None
    # MMEngine puts in what is true of this file and of no copy.
    if 'fileDirname' in text or 'fileBasename' in text or 'read_base' in text:
        return None
    assigned = {target.id: node.value for node, target in _assignments(tree)}
    read = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    named = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}  # {{_base_.name}}
    try:
        names = ast.literal_eval(assigned.pop('_base_')) if '_base_' in assigned else []
    except ValueError:
        return None
    bases = {name: None if '::' in name else source_of(path.parent / name) for name in _listed(names)}
    return Source(path, tree, frozenset(assigned), frozenset(read | named), bases)


def _listed(names: str | list[str]) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


def _assignments(tree: ast.Module) -> Iterator[tuple[ast.Assign, ast.Name]]:
    for node in tree.body:
        for target in node.targets if isinstance(node, ast.Assign) else ():
            if isinstance(target, ast.Name):
                yield node, target


def base_settings(source: Source | None) -> Config | None:
    """What the files in ``_base_`` set together; None for a file without any."""
    if source is None or not source.bases:
        return None
    empty = ast.Module([node for node, target in _assignments(source.tree) if target.id == '_base_'], [])
    with TemporaryDirectory() as folder:
        return _read(_written(source._replace(tree=empty), {}, {}, Path(folder)))


def earlier_values(source: Source | None, name: str) -> list[Any]:
    """The values that a top-level setting has in a file and in those below it; none where the first that sets it hands it on itself.

    That is to a key of the same name: ``dict(data_root=data_root)``. What else reads it, such as ``data_root + 'train.json'``, does not
    tell whether the files below should keep their own.
    """
    files = [file for file in (source.all() if source else ()) if name in file.assigned]
    if files and any(_reads(value, name) for _, value in _keyed(files[0], name)):
        return []
    return [value for file in files if (value := _read(file.path).get(name)) is not None]


def has_own_root(source: Source | None) -> bool:
    """Whether the user's own file says where the data are, and how to get the data of the file below it is of no use."""
    first = next((file for file in (source.all() if source else ()) if 'data_root' in file.assigned), None)
    return first is not None and is_own(first.path) and 'data_help' not in first.assigned


def values_in_parts(source: Source | None, name: str) -> dict[str, set[str]]:
    """The texts that a file with bases gives to a key of this name, by the setting whose dicts have it: ``dict(data_root='...')``."""
    found: dict[str, set[str]] = {}
    for setting, value in _keyed(source, name) if source and source.bases else ():
        texts = found.setdefault(setting, set())
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            texts.add(value.value)
    return found


def _keyed(source: Source, name: str) -> Iterator[tuple[str, ast.AST]]:
    """What a file gives to keys of a name within its settings, each with the setting."""
    for statement, target in _assignments(source.tree):
        for node in ast.walk(statement.value):
            pairs = [(node.arg, node.value)] if isinstance(node, ast.keyword) else []
            if isinstance(node, ast.Dict):
                pairs = [(getattr(key, 'value', None), value) for key, value in zip(node.keys, node.values)]
            yield from ((target.id, value) for key, value in pairs if key == name)


def _reads(node: ast.AST, name: str) -> bool:
    return any(name in (getattr(part, 'id', ''), getattr(part, 'attr', '')) for part in ast.walk(node))


def _read(path: Path) -> Config:
    return Config.fromfile(path, import_custom_modules=False)


def is_own(path: Path) -> bool:
    """Whether a config is the user's, and not one that comes with the package."""
    return not path.resolve().is_relative_to((home() / 'configs').resolve())


def use_variables(cfg: Config, source: Source | None, options: Mapping[str, Any]) -> list[str]:
    """Let variables that the user's file or ``options`` set take effect in the files below, where those use them.

    A variable that the user's file reads itself is its own affair.

    Args:
        cfg: The config with ``options`` in it; changed in place.
        source: Its file.
        options: Settings by dotted key.

    Returns:
        Lines to print about what follows a variable, and about what has no effect.

    Raises:
        ValueError: If a variable has no effect, and its name says what it was meant for.
    """
    own = {name: cfg[name] for name in dict.fromkeys(option.partition('.')[0] for option in options) if name in cfg}
    files = list(source.all()) if source else []
    for file in files:
        for name in file.assigned - file.read if file.bases else ():
            above = files[: files.index(file)]
            if not any(name in other.assigned | other.read for other in above) and name in cfg:
                own.setdefault(name, cfg[name])
    own |= _old_settings(cfg, source)
    changed = {name: value for name, value in own.items() if name not in READ}
    if not changed:
        return []
    places: list[str] = []
    if source and any(name in file.assigned for file in files[0 if options else 1 :] for name in changed):
        anew = _read_anew(source, changed, set(changed) & set(_tops(options)))
        anew.merge_from_dict(copy.deepcopy(dict(options)))
        for key, value in anew.items():
            if key not in changed and value != cfg.get(key):
                places += _differences(cfg.get(key), value, key)
                cfg[key] = value
    lines, used = [], _used_names(source, changed, places, options)
    if places:
        lines.append(f'set by {" and ".join(used)}: {_named(places)}')
    for name in changed:
        if name not in used and not (source and name in source.read):
            lines += _without_effect(cfg, name, changed[name])
    return lines


def _old_settings(cfg: Config, source: Source | None) -> dict[str, Any]:
    """The settings of MMCV 1 in a file without ``_base_``, whose other variables are its own affair."""
    if source is None or source.bases:
        return {}
    found = {name: cfg.get(name) for name in sorted(source.assigned - source.read) if name in _OF_MMCV_1}
    return {
        name: value
        for name, value in found.items()
        if isinstance(value, dict)
        and set(value) & set(_OF_MMCV_1[name])
        and not (name == 'optimizer' and 'optim_wrapper' in cfg)
    }


def _named(places: list[str]) -> str:
    rest = len(places) - _NAMED
    return ', '.join(places[:_NAMED]) + (f' and {rest} more' if rest > 0 else '')


def _tops(options: Mapping[str, Any]) -> list[str]:
    return [option.partition('.')[0] for option in options]


def _read_anew(source: Source, variables: Mapping[str, Any], everywhere: set[str]) -> Config:
    """Read a config with other values of variables in the files below it; in the file itself too for those ``everywhere``."""
    here = {name: value for name, value in variables.items() if name in everywhere}
    with TemporaryDirectory() as folder:
        try:
            return _read(_written(source, variables, here, Path(folder)))
        except Exception as error:  # a config is a program and may raise anything
            given = ', '.join(f'{name}={shown(value)}' for name, value in variables.items())
            raise ValueError(
                f'{source.path.name} cannot be read with {given}: {type(error).__name__}: {error}; give such a value as before'
            ) from error


def _written(source: Source, below: Mapping[str, Any], here: Mapping[str, Any], folder: Path) -> Path:
    """Write a copy of a config with other values of variables ``here`` and in the files ``below``."""
    tree = ast.parse(ast.unparse(source.tree))
    for node, target in _assignments(tree):
        if target.id == '_base_':
            paths = [
                name
                if '::' in name
                else str(_written(base, below, below, folder) if base else (source.path.parent / name).resolve())
                for name, base in source.bases.items()
            ]
            node.value = ast.parse(literal(paths), mode='eval').body
        elif target.id in here:
            node.value = ast.parse(literal(here[target.id]), mode='eval').body
    file = folder / f'{len(list(folder.iterdir()))}.py'
    file.write_text(ast.unparse(ast.fix_missing_locations(tree)), encoding='utf-8')
    return file


def _differences(old: Any, new: Any, place: str) -> list[str]:
    """The dotted keys at which two settings differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        return [found for key in new for found in _differences(old.get(key), new[key], f'{place}.{key}')]
    if (
        isinstance(old, list)
        and isinstance(new, list)
        and len(old) == len(new)
        and all(isinstance(x, dict) for x in new)
    ):
        return [found for i, pair in enumerate(zip(old, new)) for found in _differences(*pair, f'{place}.{i}')]
    return [place] if old != new else []


def _used_names(source: Source | None, changed: Mapping, places: list[str], options: Mapping) -> list[str]:
    """The variables on which something depends."""
    if len(changed) == 1 or not places:
        return list(changed) if places else []
    plain = _read(source.path)
    used = []
    for name, value in changed.items():
        alone = _read_anew(source, {name: value}, {name} & set(_tops(options)))
        if any(alone.get(key) != plain.get(key) for key in alone.keys() - {name}):
            used.append(name)
    return used


def _without_effect(cfg: Config, name: str, value: Any) -> list[str]:
    """Refuse, or tell, a variable that nothing uses; nothing where the config has its value all the same."""
    if value is None or value == _SAME.get(name) or _holds(cfg, name, value):
        return []
    what = f'setting {name}={shown(value)}'
    near = [] if name.endswith('_pipeline') else get_close_matches(name, READ, n=1, cutoff=_NEAR)
    if name in _ELSEWHERE:
        raise ValueError(f'{what} has no effect: nothing in the config uses it; set {_ELSEWHERE[name]}')
    places = list(_places(cfg, name))
    if places and (
        name == 'num_classes' or all(setting_at(cfg, place) == setting_at(cfg, places[0]) for place in places)
    ):
        raise ValueError(f'{what} has no effect: nothing in the config uses it; set {_named(places)}')
    if near:
        raise ValueError(f'{what} has no effect: the config has no {name}; did you mean {near[0]}?')
    return [f'{what} has no effect: nothing in the config uses it']


def _places(node: Any, name: str, place: str = '') -> Iterator[str]:
    """The dotted keys below the top that end in a name."""
    items = node.items() if isinstance(node, (dict, Config)) else enumerate(node)
    for key, value in items:
        here = f'{place}.{key}' if place else str(key)
        if key == name and place:
            yield here
        if isinstance(value, (dict, list, tuple)) and (place or key in READ):
            yield from _places(value, name, here)


def _holds(cfg: Config, name: str, value: Any) -> bool:
    """Whether the settings that a run reads have a value: at a place of this name, or anywhere if it is text, a list or a dict."""
    if any(setting_at(cfg, place) == value for place in _places(cfg, name)):
        return True
    return (
        isinstance(value, (str, list, tuple, dict))
        and len(value) > 0
        and any(_contains(cfg[key], value) for key in cfg if key in READ)
    )


def _contains(node: Any, value: Any) -> bool:
    if node == value:
        return True
    items = node.values() if isinstance(node, dict) else node if isinstance(node, (list, tuple)) else ()
    return any(_contains(item, value) for item in items)
