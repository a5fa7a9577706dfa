"""What ``--cfg-options`` set beside ``--data`` and ``--epochs``: it is kept, or refused where the data or the length say another thing."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config

from ..engine.config import load_config
from ..engine.config_parts import heads, leaves, setting_at
from ..engine.inheritance import READ, base_settings, is_own, source_of
from ..engine.label_checks import some
from ..engine.schedule_checks import check_lengths, is_by_epoch
from ..text import shown
from .config_edits import DROPPED, KEPT_OF_DATASETS

_IN_DATASET = re.compile(r'(?:train|val|test)_dataloader\.dataset(?:\.dataset|\.datasets\.\d+)*\.(.+)')
_LABELS = re.compile(r'(?:val|test)_evaluator(?:\.\d+)?\.ann_file')
# Compared with the length and the data in other ways.
_ELSEWHERE = re.compile(r'train_cfg\.|param_scheduler\b|default_hooks\.\w+\.interval$|data_root$')
_ABSENT = object()


class Length(NamedTuple):
    """How long settings make a training, in epochs or, of a loop that counts those, iterations."""

    value: int
    recipe: int  # what the schedules of the config are made for


def places_of(settings: Mapping[str, Any] | None) -> dict[str, Any]:
    """Each single setting of ``--cfg-options`` with its whole dotted key, also of those that are given as dicts."""
    return dict(leaves('', dict(settings))) if settings else {}


def length_of(cfg: Config, settings: Mapping[str, Any] | None) -> Length | None:
    """The length of a training that settings give it, by ``train_cfg`` or by a variable of its recipe; None if they give it none.

    Args:
        cfg: A config that was read with the settings.
        settings: Those of ``--cfg-options``, by dotted key.

    Raises:
        ValueError: If the length is impossible.
    """
    if not settings or not cfg.filename or not cfg.get('train_cfg'):
        return None
    name, value = _counted_in(cfg), length_in(cfg)
    said = f'train_cfg.{name}' in places_of(settings)
    without = {
        key: item
        for key, item in settings.items()
        if key != f'train_cfg.{name}' and (said or key.partition('.')[0] in READ)
    }
    if isinstance(whole := without.get('train_cfg'), dict):
        without['train_cfg'] = {key: item for key, item in whole.items() if key != name}
    recipe = load_config(cfg.filename, without).train_cfg.get(name)
    if value is None or not said and value == recipe:
        return None
    check_lengths(cfg.train_cfg)
    return Length(int(value), int(recipe or value) if said else int(value))


def length_in(cfg: Config) -> int | None:
    """The epochs, or iterations, of the training of a config."""
    return cfg.train_cfg.get(_counted_in(cfg))


def take_length(cfg: Config, length: Length, epochs: int | None) -> tuple[dict[str, int], list[str]]:
    """Take a length that settings give a training out of its config, which gets back that of its recipe.

    Args:
        epochs: Those of ``--epochs``, if it is given: of a loop that counts iterations they are the length.

    Returns:
        The length as ``epochs`` or ``iterations``, and lines to print.

    Raises:
        ValueError: If ``--epochs`` says other epochs.
    """
    by_epoch, name = is_by_epoch(cfg), _counted_in(cfg)
    if by_epoch and epochs not in (None, length.value):
        raise ValueError(
            f'--epochs {epochs} and train_cfg.{name}={length.value} of --cfg-options are two lengths; give one of them'
        )
    cfg.train_cfg[name] = length.recipe
    if by_epoch or epochs is None:
        return {'epochs' if by_epoch else 'iterations': length.value}, []
    return dict(epochs=epochs), [
        f'--epochs {epochs} says how long training is, and not train_cfg.{name}={length.value} of --cfg-options'
    ]


def other_length(cfg: Config, before: int) -> list[str]:
    """A line where ``--data`` gave a training another length than the user's own config sets, which had ``before``."""
    name, file = _counted_in(cfg), Path(cfg.filename or '')
    now = cfg.train_cfg[name]
    base = base_settings(source_of(file)) if now != before and file.is_file() and is_own(file) else None
    if base is None or (base.get('train_cfg') or {}).get(name) == before:
        return []
    option = f'--epochs {before}' if is_by_epoch(cfg) else f'--cfg-options train_cfg.{name}={before}'
    return [f'train_cfg.{name}={before} of {file.name} became {now}, to fit the number of images; {option} keeps it']


def _counted_in(cfg: Config) -> str:
    return 'max_epochs' if is_by_epoch(cfg) else 'max_iters'


def check_beside_data(cfg: Config, settings: Mapping[str, Any] | None, data: str, classes: Sequence[str]) -> None:
    """Make sure that settings say nothing else of the data than the folder that a training takes.

    Args:
        cfg: The config that the settings are in.
        settings: Those of ``--cfg-options``, by dotted key.
        data: The folder of ``--data``.
        classes: Its classes.

    Raises:
        ValueError: If one does.
    """
    counts = {f'{place}.num_classes' for place, _ in heads(cfg.model)}
    for place, value in places_of(settings).items():
        within = _IN_DATASET.fullmatch(place)
        key = within[1] if within else place
        given = f'setting {place}={shown(value)}'
        if place in counts or place == 'num_classes':
            if value != len(classes):
                raise ValueError(f'{given}: {data} has {some(classes)}; leave it out, as --data sets it')
        elif key in ('classes', 'metainfo.classes'):
            if not isinstance(value, (list, tuple)) or tuple(value) != tuple(classes):
                raise ValueError(
                    f'{given}: {data} has {some(classes)}, and --data trains on all of them; leave it out, or name the data and some '
                    'of their classes in a config of your own and train that without --data'
                )
        elif key == 'data_root':
            if not isinstance(value, (str, Path)) or os.path.realpath(value) != os.path.realpath(data):
                raise ValueError(f'{given}: the data are those of --data {data}; give one of the two')
        elif _LABELS.fullmatch(place) or _is_replaced(key, bool(within)):
            raise ValueError(
                f'{given}: --data {data} sets this itself; leave it out, or name the data in a config of your own and train that '
                'without --data'
            )


def _is_replaced(key: str, in_dataset: bool) -> bool:
    """Whether ``--data`` puts something of its own in the place of a setting: most of a data set, and names of data at the top."""
    first = key.partition('.')[0]
    return first not in KEPT_OF_DATASETS if in_dataset else first in DROPPED


def values_of(cfg: Config, settings: Mapping[str, Any] | None) -> dict[str, Any]:
    """What a config has at the places of settings, but for those of its length and its data sets."""
    places = [place for place in places_of(settings) if not _ELSEWHERE.match(place)]
    within = ((place, _IN_DATASET.fullmatch(place)) for place in places)
    # What --data replaces agrees with the data here.
    own = [place for place, found in within if not (found and _is_replaced(found[1], True))]
    return {place: copy.deepcopy(setting_at(cfg, place, _ABSENT)) for place in own}


def overruled(cfg: Config, before: Mapping[str, Any]) -> list[str]:
    """A line for each setting that has another value than :func:`values_of` said before ``--data`` changed the config."""
    lines = []
    for place, value in before.items():
        now = setting_at(cfg, place, _ABSENT)
        if value is _ABSENT or place.partition('.')[0] in DROPPED or now == value:
            continue
        wrapped = '.dataset.dataset' in place or '.datasets.' in place  # --data takes data sets out of these
        if now is not _ABSENT:
            lines.append(f'--data sets {place}={shown(now)}, not {shown(value)} of --cfg-options')
        elif not wrapped:
            lines.append(f'setting {place}={shown(value)} has no effect: --data takes that part out of the config')
    return lines
