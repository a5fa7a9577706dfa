"""Settings that the class which is built from them does not take: refused before anything is built, with the nearest name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterator
from difflib import get_close_matches
from importlib.util import find_spec
from typing import NamedTuple

import mmengine.registry as registries
from mmengine.config import Config
from mmengine.registry import Registry
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, TestLoop, ValLoop, set_random_seed
from torch.utils.data import DataLoader

from ..models.migration import ARGUMENTS, equivalent_of_type, refuse_arguments
from ..models.van_lska import VAN_LSKA
from .config_parts import parts_of

# How much alike names have to be: to refuse one that may be right, and to name one instead of one that is wrong.
_NEAR, _SIMILAR, _NEAR_TYPE = 0.85, 0.6, 0.8
#: The registries of what is built from a top-level setting and the dicts in it.
_REGISTRIES = dict(
    custom_hooks=('HOOKS',),
    default_hooks=('HOOKS',),
    log_processor=('LOG_PROCESSORS',),
    model=('MODELS', 'TASK_UTILS'),
    optim_wrapper=('OPTIM_WRAPPERS', 'OPTIMIZERS'),
    param_scheduler=('PARAM_SCHEDULERS',),
    test_cfg=('LOOPS',),
    test_dataloader=('DATASETS', 'DATA_SAMPLERS', 'TRANSFORMS'),
    test_evaluator=('METRICS', 'EVALUATOR'),
    train_cfg=('LOOPS',),
    train_dataloader=('DATASETS', 'DATA_SAMPLERS', 'TRANSFORMS'),
    val_cfg=('LOOPS',),
    val_dataloader=('DATASETS', 'DATA_SAMPLERS', 'TRANSFORMS'),
    val_evaluator=('METRICS', 'EVALUATOR'),
    visualizer=('VISUALIZERS', 'VISBACKENDS'),
)
# What MMEngine and the builders take out of a dict before they build the class.
_TAKEN_OUT = dict(
    custom_hooks=('priority',),
    default_hooks=('priority',),
    optim_wrapper=('constructor', 'optimizer', 'paramwise_cfg'),
    param_scheduler=('convert_to_iter_based',),
    train_cfg=('by_epoch',),
)
# Their dicts are built in other ways than by a registry alone, which takes out keys such as requires_grad first.
_OTHERWISE = ('_cfg', '_cfgs', 'roi_layer', 'plugins')
_LOOPS = ('train_cfg', 'val_cfg', 'test_cfg')
_PARAMWISE = (
    *('base_lr', 'bias_decay_mult', 'bias_lr_mult', 'bypass_duplicate', 'custom_keys', 'dcn_offset_lr_mult'),
    *('dwconv_decay_mult', 'flat_decay_mult', 'norm_decay_mult'),
)
_CLIP = ('type', 'max_norm', 'norm_type', 'error_if_nonfinite', 'foreach', 'clip_value')


# Their parts are those of another library.
_FOREIGN = ('Albu', 'mmdet.Albu', 'mmseg.Albu')
# Names of earlier versions that classes still take.
_OLD_NAMES = ('deformable_groups',)


class _Known(NamedTuple):
    """The names that a class takes, and whether it may take others."""

    names: Collection[str]
    open: bool


def check_keys(cfg: Config) -> None:
    """Make sure that the classes of a config take the settings that it gives them.

    A class with ``**kwargs`` may do anything with them; of those only what is nearly a name of a class above it is refused.

    Raises:
        ValueError: If a setting is unknown; the message has the nearest one. If a backbone is of another VAN implementation.
    """
    scope = cfg.get('default_scope')
    known_scope = scope is None or find_spec(scope) is not None  # MMEngine warns of others at each look-up
    for top, wanted in _REGISTRIES.items() if known_scope else ():
        parts = cfg.get(top)
        for place, part in _dicts(parts, top) if isinstance(parts, (dict, list)) else ():
            if 'type' in part:
                found = _class_of(part, wanted, scope)
                if found is None:
                    _check_type(part, place, wanted, scope)
                elif known := _names_of(found):
                    others = _check_backbone(found, part, place)
                    # A head may take a key of its loss out before it builds that; nothing takes one of the backbone.
                    known = known._replace(open=not others and (known.open or top == 'model'))
                    _check(part, place, known, (*_TAKEN_OUT.get(top, ()), *others))


def settle_other_words(cfg: Config) -> None:
    """Take out of a model what other versions have for nothing, and refuse a backbone of another implementation of VAN.

    Every tool reads configs through this; the rest of the model's settings is for :func:`check_keys`, or for its classes.

    Raises:
        ValueError: For such a backbone, and for weights by ``pretrained``; the message says what to write.
    """
    model, scope = cfg.get('model'), cfg.get('default_scope')
    for place, part in list(parts_of(model, 'model')) if isinstance(model, dict) else ():
        advice = equivalent_of_type(part)
        if advice and _class_of(part, ('MODELS',), scope if scope and find_spec(scope) else None) is None:
            raise ValueError(f'{place}.type={part["type"]!r} is not here; write {advice}')
        if 'backbone' in part and 'pretrained' in part:
            weights = part['pretrained']
            if weights in (None, False, ''):
                del part['pretrained']
            elif isinstance(part['backbone'], dict) and part['backbone'].get('type') == 'VAN_LSKA':
                raise ValueError(
                    f'{place}.pretrained={weights!r} is not read; write '
                    f"{place}.backbone.init_cfg=dict(type='Pretrained', checkpoint={weights!r})"
                )


def check_plain_keys(cfg: Config) -> None:
    """Make sure that dicts which MMEngine reads by names, without building a class of them, have names that it knows.

    Raises:
        ValueError: If one has another; the message has the nearest one.
    """
    for place, known in _plain_dicts(cfg):
        part = _part(cfg, place)
        if isinstance(part, dict):
            _check(part, place, known, ())


def _check(part: dict, place: str, known: _Known, taken_out: Collection[str]) -> None:
    names = {*known.names, *taken_out}
    for key in part:
        if key in names or key in ('type', '_scope_', '_delete_'):
            continue
        if known.open and (key in _OLD_NAMES or str(key).rstrip('0123456789') in names):  # loss_cls2 beside loss_cls
            continue
        near = get_close_matches(str(key), names, n=1, cutoff=_NEAR if known.open else _SIMILAR)
        if near or not known.open:
            kind = f'{part["type"]} takes no {key}' if 'type' in part else f'there is no {key}'
            hint = f'did you mean {near[0]}?' if near else f'it takes {_listed(names)}'
            raise ValueError(f'setting {place}.{key}: {kind}; {hint}')


def _listed(names: Collection[str]) -> str:
    shown = sorted(names)
    return ', '.join(shown[:12]) + (', ...' if len(shown) > 12 else '')


def _check_type(part: dict, place: str, wanted: tuple[str, ...], scope: str | None) -> None:
    kind = part['type']
    if '.' in str(kind):  # of another package, whose names are not all known
        return
    known: set[str] = set()
    for name in wanted:
        root: Registry = getattr(registries, name)
        with root.switch_scope_and_registry(part.get('_scope_') or scope) as registry:
            while registry is not None:
                known |= set(registry.module_dict)
                registry = registry.parent
    if near := get_close_matches(str(kind), known, n=1, cutoff=_NEAR_TYPE):
        raise ValueError(f'{place}.type={kind!r} is not known; did you mean {near[0]}?')
    if place == 'optim_wrapper.optimizer':
        raise ValueError(f'{place}.type={kind!r} is not known; give AdamW, SGD or another name of torch.optim')


def _check_backbone(found: Callable, part: dict, place: str) -> Collection[str]:
    """The arguments of other implementations of VAN that this part may have; those that it must not have are refused."""
    if not (inspect.isclass(found) and issubclass(found, VAN_LSKA)):
        return ()
    try:
        refuse_arguments({name: part[name] for name in part if name in ARGUMENTS})
    except TypeError as error:
        raise ValueError(f'{place}: {error}') from error
    return ARGUMENTS


def _dicts(node: dict | list | tuple, place: str) -> Iterator[tuple[str, dict]]:
    """The dicts below a setting, with their places."""
    if isinstance(node, dict):
        yield place, node
        if node.get('type') in _FOREIGN:
            return
    for key, value in node.items() if isinstance(node, dict) else enumerate(node):
        otherwise = isinstance(key, str) and key.endswith(_OTHERWISE) and key not in _LOOPS
        if isinstance(value, (dict, list, tuple)) and not otherwise:
            yield from _dicts(value, f'{place}.{key}')


def takes(part: dict, name: str, registry: str, scope: str | None) -> bool:
    """Whether the class of a part of a config is known to take a setting.

    Args:
        part: A dict with ``type``.
        name: The setting.
        registry: The name of the registry of MMEngine that has the class.
        scope: The scope of the config.
    """
    found = _class_of(part, (registry,), scope)
    known = _names_of(found) if found else None
    return known is not None and name in known.names


def _class_of(part: dict, wanted: tuple[str, ...], scope: str | None) -> Callable | None:
    kind = part['type']
    if not isinstance(kind, str):
        return kind if callable(kind) else None
    for name in wanted:
        root: Registry = getattr(registries, name)
        with root.switch_scope_and_registry(part.get('_scope_') or scope) as registry:
            if found := registry.get(kind):
                return found
    return None


def _names_of(found: Callable) -> _Known | None:
    """What a class or function takes; None if that cannot be known."""
    functions = (
        [found]
        if not inspect.isclass(found)
        else [c.__dict__['__init__'] for c in found.__mro__ if '__init__' in c.__dict__]
    )
    names: set[str] = set()
    for i, function in enumerate(functions):
        try:
            parameters = inspect.signature(function).parameters.values()
        except (TypeError, ValueError):  # some are written in C
            return None
        kinds = {parameter.kind for parameter in parameters}
        names |= {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)} - {'self'}
        if inspect.Parameter.VAR_KEYWORD not in kinds:
            # MMEngine's classes hand them to the class above.
            inherited = i > 0 and not found.__module__.startswith('mmengine.')
            return _Known(names, open=inherited)
    # The class keeps what it does not name for itself.
    return _Known(names, open=True) if names else None


def _plain_dicts(cfg: Config) -> Iterator[tuple[str, _Known]]:
    """The dicts that MMEngine reads by names without building a class of them, with those names."""
    for split in ('train', 'val', 'test'):
        loader = (*inspect.signature(DataLoader).parameters, 'num_batch_per_epoch')
        yield f'{split}_dataloader', _Known(loader, open=False)
    for top, loops in (
        ('train_cfg', (EpochBasedTrainLoop, IterBasedTrainLoop)),
        ('val_cfg', (ValLoop,)),
        ('test_cfg', (TestLoop,)),
    ):
        if 'type' not in (cfg.get(top) or {'type': None}):
            names = {name for loop in loops for name in inspect.signature(loop).parameters}
            yield top, _Known({*names, 'by_epoch'}, open=False)
    yield 'randomness', _Known(inspect.signature(set_random_seed).parameters, open=False)
    yield 'env_cfg', _Known(('cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit'), open=True)
    yield 'env_cfg.mp_cfg', _Known(('mp_start_method', 'opencv_num_threads'), open=True)
    yield 'auto_scale_lr', _Known(('enable', 'base_batch_size'), open=True)
    yield 'optim_wrapper.clip_grad', _Known(_CLIP, open=True)
    yield 'optim_wrapper.paramwise_cfg', _Known(_PARAMWISE, open=True)
    for split in ('train', 'val', 'test'):
        yield f'{split}_dataloader.dataset.filter_cfg', _Known(('filter_empty_gt', 'min_size'), open=True)


def _part(cfg: Config, place: str):
    node = cfg
    for key in place.split('.'):
        node = node.get(key) if isinstance(node, (dict, Config)) else None
    return node
