"""Ultralytics' .pt files, which are pickled models, read without running anything that they ask for.

Of a file only the YAML, the tensors and the names of the classes are taken; the network is built anew from the YAML, by
Ultralytics' own parser. That parser calls what a YAML names and evaluates its ``activation``, so the YAML is checked first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from ultralytics import YOLO
from ultralytics.nn import tasks
from ultralytics.utils import DEFAULT_CFG_DICT
from ultralytics.utils.downloads import GITHUB_ASSETS_NAMES, attempt_download_asset

from ..weights import MissingCheckpoint, WeightsError, read_checkpoint
from ..weights.checkpoint_file import is_trusted
from ..weights.pickle_machine import Inert
from ..weights.torch_file import inert, known
from .record import split_record
from .registration import register

# Where the classes of a pickled model live; none is made, so nothing of them can run.
_INERT = ('ultralytics.', 'torch.nn.modules.', 'torchvision.transforms.', 'mmlska.', 'pathlib.', 'builtins.getattr')
#: The networks of each task, and a stock YAML of it.
_TASKS = dict(
    detect=('DetectionModel', 'yolo11n.yaml'),
    segment=('SegmentationModel', 'yolo11n-seg.yaml'),
    pose=('PoseModel', 'yolo11n-pose.yaml'),
    obb=('OBBModel', 'yolo11n-obb.yaml'),
    classify=('ClassificationModel', 'yolo11n-cls.yaml'),
)
_MAX_MODULES = 100_000
_MAX_ROWS, _MAX_REPEATS, _MAX_SCALE, _MAX_NUMBER, _MAX_TEXT, _MAX_IMAGE = 500, 100, 10, 2**16, 200, 2**13
_ACTIVATION = re.compile(
    r'(?:torch\.)?nn\.(\w+)\((?:(?:\w+=)?(?:-?\d+(?:\.\d+)?(?:e-?\d+)?|True|False)(?:, *|(?=\))))*\)'
)


def load_yolo(path: str | Path, *, trust: bool | None = None) -> YOLO:
    """Read a .pt file of Ultralytics, ready to train or predict.

    Args:
        path: The file.
        trust: Read it by Ultralytics, which runs what it asks for; only for files whose maker you know. By default as
            :func:`mmlska.weights.safe_reading` says, else no.

    Raises:
        MissingCheckpoint: If there is no such file.
        UnsafeFileError: If the file asks for anything that no model of Ultralytics has.
        WeightsError: If it is damaged, or its YAML is not that of a network whose tensors it holds.
    """
    path = _existing(path)
    if is_trusted(trust):
        return YOLO(str(path))
    network = load_network(path, trust=False)
    model = YOLO(_TASKS[network.task][1], task=network.task)  # any of that task; its network is replaced
    model.model, model.ckpt = network, {'model': network}
    # Not `data`, which Ultralytics keeps too: validation would read and run what it names.
    model.overrides = dict(model=str(path), task=network.task, imgsz=network.args['imgsz'])
    model.cfg, model.ckpt_path, model.model_name = None, str(path), str(path)
    return model


def load_network(path: str | Path, *, trust: bool | None = None) -> nn.Module:
    """Read the network of a .pt file of Ultralytics, in evaluation mode; arguments and errors as for :func:`load_yolo`."""
    path = _existing(path)
    if is_trusted(trust):
        return tasks.load_checkpoint(str(path))[0]
    content = read_checkpoint(path, trust=False, lookup=_lookup).content
    model = (content.get('ema') or content.get('model')) if isinstance(content, dict) else None
    kinds = {f'ultralytics.nn.tasks.{name}': task for task, (name, _) in _TASKS.items()}
    if not isinstance(model, Inert) or model.name not in kinds or not isinstance(model.state, dict):
        raise WeightsError(
            f'{path} holds no model of Ultralytics for {", ".join(_TASKS)}; give a .pt file that it saved'
        )
    try:
        network = _build(kinds[model.name], model.state, dict(_tensors(model)))
    except WeightsError as error:
        raise WeightsError(f'{path} {error}, so it was not read; give a .pt file that Ultralytics saved') from error
    train_args = content.get('train_args')
    size = train_args.get('imgsz') if isinstance(train_args, dict) else None
    network.args = {**DEFAULT_CFG_DICT, 'model': str(path), 'task': network.task}
    network.args |= {'imgsz': size} if type(size) is int and 0 < size <= _MAX_IMAGE else {}
    network.pt_path = str(path)  # exported files go beside it
    return network.eval()


def _existing(path: str | Path) -> Path:
    """The file; one of the names of Ultralytics' own weights is downloaded, as ``YOLO(name)`` does it."""
    path = Path(path)
    if not path.is_file() and path.name in GITHUB_ASSETS_NAMES:
        path = Path(attempt_download_asset(path))
    if not path.is_file():
        raise MissingCheckpoint(f'weights {path} do not exist; give a .pt file of Ultralytics')
    return path


def _lookup(name: str) -> Any:
    return inert(name) if name.startswith(_INERT) else known(name)


def _tensors(model: Inert) -> Iterator[tuple[str, Tensor]]:
    """The state dict of a model that was not made."""
    waiting, seen = [('', model)], 0
    while waiting:
        prefix, module = waiting.pop()
        seen += 1
        state = module.state if isinstance(module, Inert) and isinstance(module.state, dict) else {}
        parts = [state.get(kind) or {} for kind in ('_parameters', '_buffers', '_modules')]
        if seen > _MAX_MODULES or not all(isinstance(part, dict) for part in parts):
            raise WeightsError('holds something that is no network')
        passing = state.get('_non_persistent_buffers_set') or ()
        for name, value in [*parts[0].items(), *parts[1].items()]:
            if isinstance(value, Tensor) and name not in passing:
                yield f'{prefix}{name}', value
        waiting += [(f'{prefix}{name}.', child) for name, child in parts[2].items()]


def _build(task: str, state: dict, tensors: dict[str, Tensor]) -> nn.Module:
    yaml = state.get('yaml')
    register()  # rows with LSKA
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    try:
        check_yaml(yaml)
        channels = yaml.get('channels') or yaml.get('ch') or 3
        with torch.device('meta'):  # without memory, until it is known that the tensors of the file explain it
            layers, _ = tasks.parse_model(deepcopy(yaml), channels, verbose=False)
        if shapes != {f'model.{name}': tensor.shape for name, tensor in layers.state_dict().items()}:
            raise WeightsError('holds other tensors than those of the network in its YAML (is it fused?)')
        network = getattr(tasks, _TASKS[task][0])(deepcopy(yaml), ch=channels, verbose=False)
        network.load_state_dict(tensors)
    except WeightsError:
        raise
    except Exception as error:  # Ultralytics' parser raises errors of many types
        raise WeightsError(f'has a YAML that describes no network ({str(error)[:200]})') from error
    names = state.get('names')
    if isinstance(names, dict) and all(type(k) is int and type(v) is str for k, v in names.items()):
        network.names = names
    network.task = task
    return network


def check_yaml(yaml: Any) -> None:
    """Raise WeightsError unless a YAML names nothing but layers, in numbers that a network may have."""
    _check_plain(yaml)
    if not isinstance(yaml, dict) or not all(isinstance(yaml.get(part), list) for part in ('backbone', 'head')):
        raise WeightsError('holds no YAML of a network')
    rows = [*yaml['backbone'], *yaml['head']]
    if len(rows) > _MAX_ROWS or not all(isinstance(row, list) and len(row) == 4 for row in rows):
        raise WeightsError('has a YAML whose rows are no layers')
    act = yaml.get('activation')
    found = _ACTIVATION.fullmatch(act) if isinstance(act, str) else None
    if act and (found is None or not _is_layer(getattr(nn, found[1], None))):
        raise WeightsError(f'has a YAML with the activation {act!r}, which might run code')
    scales = yaml.get('scales') or {}
    if not isinstance(scales, dict):
        raise WeightsError(f'has a YAML with the scales {scales!r}')
    multiples = [yaml.get(f'{kind}_multiple') or 1 for kind in ('depth', 'width')]
    for scale in [multiples, *scales.values()]:
        if not isinstance(scale, list) or not all(
            isinstance(x, int | float) and 0 < x <= _MAX_SCALE for x in scale[:2]
        ):
            raise WeightsError(f'has a YAML with the scale {scale!r}')
    for _, repeats, name, _ in [*split_record(yaml)[0]['backbone'], *split_record(yaml)[0]['head']]:
        if not isinstance(repeats, int) or not 1 <= repeats <= _MAX_REPEATS:
            raise WeightsError(f'has a YAML that repeats a layer {repeats!r} times')
        layer = getattr(nn, name[3:], None) if re.fullmatch(r'nn\.\w+', str(name)) else vars(tasks).get(str(name))
        if not _is_layer(layer):
            raise WeightsError(f'has a YAML with the layer {name!r}, which is none of Ultralytics, torch.nn or mmlska')


def _is_layer(value: Any) -> bool:
    """Whether a name stands for a layer that only computes; TorchVision downloads."""
    modules = ('torch.nn.modules.', 'ultralytics.nn.modules.', 'mmlska.')
    return (
        isinstance(value, type)
        and issubclass(value, nn.Module)
        and value.__module__.startswith(modules)
        and value.__name__ != 'TorchVision'
    )


def _check_plain(value: Any) -> None:
    """Raise WeightsError unless a value is made of dicts, lists, texts and numbers, none of them large."""
    waiting, seen = [value], 0
    while waiting:
        item = waiting.pop()
        seen += 1
        if isinstance(item, dict):
            waiting += [*item.keys(), *item.values()]
        elif isinstance(item, list | tuple):
            waiting += item
        elif isinstance(item, bool | None):
            continue
        elif isinstance(item, str):
            good = len(item) <= _MAX_TEXT or item.endswith(('.yaml', '.yml'))
        elif isinstance(item, int | float):
            good = item == float('inf') or -_MAX_NUMBER <= item <= _MAX_NUMBER
        else:
            good = False
        if seen > _MAX_MODULES or (not isinstance(item, dict | list | tuple) and not good):
            raise WeightsError(f'has a YAML with {str(item)[:40]!r} in it')
