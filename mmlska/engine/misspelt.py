"""Names of settings that are nearly those that a config, or the class that is built from it, knows: MMEngine adds any name."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from difflib import get_close_matches

from mmengine.config import Config

from ..text import shown
from .inheritance import READ

# mask_head and mask_iou_head are two things.
_NEAR_PART, _NEAR_KEY, _NEAR_TOP = 0.9, 0.8, 0.75
# Their keys are names of parameters or of a user's own.
_FREE = ('custom_keys', 'metainfo', 'data_prefix', 'custom_imports', 'meta', 'type_mapping')
# known_keys.check_plain_keys knows all of theirs.
_KNOWN = ('paramwise_cfg', 'clip_grad', 'filter_cfg', 'env_cfg', 'mp_cfg', 'randomness')
_PIPELINES = ('train_pipeline', 'val_pipeline', 'test_pipeline')


def refuse_misspelt_options(cfg: Config, options: dict) -> None:
    """Raise ValueError for an option at the top level, or of a part of the model, whose name is nearly that of one.

    The last part of a dotted key is looked at by :func:`refuse_misspelt_keys` and :mod:`mmlska.engine.known_keys`.
    """
    for option in options:
        *folders, last = option.split('.')
        top, *parts = folders or [last]
        _refuse_near(f'setting {option}', top, {*cfg, *_PIPELINES, *READ}, _NEAR_TOP)
        node = cfg.get(top) if top == 'model' else None
        for name in parts:
            if not isinstance(node, dict):
                break
            _refuse_near(f'setting {option}', name, set(node), _NEAR_PART)
            node = node.get(name)


def refuse_impossible_options(cfg: Config, options: dict) -> None:
    """Raise ValueError for an option that goes through what has no parts, or beyond the end of a list."""
    for option in options:
        node, place = cfg, ''
        for key in option.split('.'):
            if isinstance(node, (list, tuple)):
                if not key.isdigit() or int(key) >= len(node):
                    raise ValueError(
                        f'setting {option}: {place} is a list of {len(node)}; write its number, from 0 on, after {place}.'
                    )
                node = node[int(key)]
            elif isinstance(node, (dict, Config)):
                if key not in node:
                    break
                node = node[key]
            elif node is not None:
                raise ValueError(f'setting {option}: {place} is {shown(node)} and has no parts; set {place} itself')
            place = f'{place}.{key}' if place else key


def refuse_misspelt_keys(cfg: Config, earlier: Sequence[Config]) -> None:
    """Raise ValueError for a key that a config adds to a dict without ``type`` and that is nearly one of the keys which were there."""
    for before in earlier:
        for key, value in cfg.items():
            if isinstance(before.get(key), dict):
                _refuse_added(value, before[key], key)


def _refuse_added(now, before, place: str) -> None:
    if isinstance(now, list) and isinstance(before, list) and len(now) == len(before):
        for i, pair in enumerate(zip(now, before)):
            _refuse_added(*pair, f'{place}.{i}')
    if not isinstance(now, dict) or not isinstance(before, dict) or place.rpartition('.')[2] in (*_FREE, *_KNOWN):
        return
    for key, value in now.items():
        if key in before:
            _refuse_added(value, before[key], f'{place}.{key}')
        elif 'type' not in now and not (isinstance(value, dict) and 'type' in value):
            _refuse_near(f'setting {place}.{key}', str(key), [str(name) for name in before if name in now], _NEAR_KEY)


def _refuse_near(what: str, name: str, known: Collection[str], cutoff: float) -> None:
    if name not in known and (near := get_close_matches(name, known, n=1, cutoff=cutoff)):
        raise ValueError(f'{what}: the config has no {name}; did you mean {near[0]}?')
