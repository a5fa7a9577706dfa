"""Add LSKA to a trained Ultralytics model in place, without changing what it computes until it is trained on."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from copy import deepcopy

from torch import Tensor, nn
from ultralytics.engine.model import Model
from ultralytics.nn.modules import SPPF, Bottleneck, C2f, Detect
from ultralytics.utils import LOGGER

from ..designs import kernel_ladder
from ..models.plugin import LSKAPlugin
from .configs import PLACES
from .modules import DEFAULT_K_SIZE
from .registration import register

_RECORD = re.compile(r'(?P<stock>.+?) \+ LSKA\((?P<entries>.*)\)')
Record = dict[int, dict[str, int]]  # layer, to place, to kernel


def attach(model: nn.Module, where: Iterable[str] = ('sppf',), k_size: int = DEFAULT_K_SIZE) -> nn.Module:
    """Add ``x + layer_scale * LSKA(x)`` at some places of a model, in place.

    The layer scale starts at 0, so that the sum is x to the last bit and the model computes what it did; its own gradient is not 0,
    so the first training step moves it, and LSKA learns from the second on. (A map with infinities, as fp16 may overflow to, would
    become NaN: 0 times infinity is no number.) Every stock tensor stays under its name. The model's YAML, which Ultralytics builds
    from again when it trains, records what was added: ``SPPF`` becomes ``SPPF + LSKA(sppf 11)``. An unregistered Ultralytics refuses
    that row with a KeyError instead of dropping the attention silently.

    Args:
        model: ``YOLO(...)``, :func:`mmlska.yolo.load_yolo` of a file that others made, or its ``.model``; detection, segmentation,
            pose or oriented boxes of YOLOv8 and YOLO11.
        where: Some of 'sppf', 'neck', 'bottleneck', 'head': after the SPPF; after each block of the neck; after each bottleneck of
            the backbone's last two stages; on each map that the head reads.
        k_size: Extent of LSKA in pixels of the feature map.

    Returns:
        The model.

    Raises:
        ValueError: If a place is unknown, not in this model or taken already, or the model is fused for inference.
        TypeError: If the model is not one that Ultralytics built from a YAML.
    """
    places = [where] if isinstance(where, str) else sorted(set(where))
    unknown = [place for place in places if place not in PLACES]
    if unknown or not places:
        raise ValueError(f'where={where!r}: choose among {", ".join(PLACES)}')
    kernel_ladder(k_size)
    network = _network(model)
    if network.is_fused():
        raise ValueError(
            'the model is fused for inference; load the checkpoint again and attach before predict() or fuse()'
        )
    rows = deepcopy([*network.yaml['backbone'], *network.yaml['head']])
    _, record = split_record(network.yaml)
    added: Record = {}
    for place in places:
        layers = _layers_at(network, place)
        if not layers:
            raise ValueError(f'this model has no place {place!r}: LSKA goes {PLACES[place]}')
        taken = [i for i in layers if place in record.get(i, {})]
        if taken:
            raise ValueError(f'there is LSKA at {place!r} already (layer {taken[0]})')
        for i in layers:
            added.setdefault(i, {})[place] = k_size
    register()
    before = set(network.state_dict())
    apply_record(network.model, added)
    for i, entries in added.items():
        stock = rows[i][2].split(' + ')[0]
        entries = {**record.get(i, {}), **entries}
        rows[i][2] = f'{stock} + LSKA({", ".join(f"{place} {k}" for place, k in entries.items())})'
    depth = len(network.yaml['backbone'])
    network.yaml = {**network.yaml, 'backbone': rows[:depth], 'head': rows[depth:]}
    if model is not network:
        model.predictor = None  # it holds the model as it was
        # Without a checkpoint, train() of Ultralytics would build the file's stock YAML anew.
        model.ckpt = model.ckpt or {'model': network}
    kept = len(before & set(network.state_dict()))
    LOGGER.log(logging.INFO, f'LSKA({k_size}) at {", ".join(places)}: {kept}/{len(before)} stock tensors kept')
    return model


def split_record(d: dict) -> tuple[dict, Record]:
    """Split a model dict into the stock one and the record of what was attached."""
    depth, rows, record = len(d['backbone']), [], {}
    for i, (f, n, m, args) in enumerate([*d['backbone'], *d['head']]):
        found = _RECORD.fullmatch(m)
        if found:
            entries = (entry.rsplit(' ', 1) for entry in found['entries'].split(', '))
            m, record[i] = found['stock'], {place: int(k) for place, k in entries}
        rows.append([f, n, m, args])
    return ({**d, 'backbone': rows[:depth], 'head': rows[depth:]}, record) if record else (d, record)


def apply_record(layers: nn.Sequential, record: Record) -> None:
    """Put the attention of a record into stock layers."""
    for i, entries in record.items():
        for place, k_size in entries.items():
            if place == 'head':
                head = layers[i]
                channels = [branch[0].conv.in_channels for branch in head.cv2]
                _add(head, nn.ModuleList(LSKAPlugin(c, k_size) for c in channels))
                head.register_forward_pre_hook(_attend_inputs)
            else:
                inside = place == 'bottleneck'
                for block in [m for m in layers[i].modules() if isinstance(m, Bottleneck)] if inside else [layers[i]]:
                    _add(block, LSKAPlugin(block.cv2.conv.out_channels, k_size))
                    block.register_forward_hook(_attend_output)


def _add(block: nn.Module, attention: nn.Module) -> None:
    like = next(block.parameters())
    block.lska_plugin = attention.to(like.device, like.dtype).train(block.training)
    block.np = sum(p.numel() for p in block.parameters())  # Ultralytics' count of the layer


# Hooks, and not a new forward: Ultralytics' fuse() replaces forwards, and hooks of module level pickle and copy with the model.
def _attend_output(module: nn.Module, args: tuple, output: Tensor) -> Tensor:
    return module.lska_plugin(output)


def _attend_inputs(module: nn.Module, args: tuple) -> tuple:
    return ([lska(x) for lska, x in zip(module.lska_plugin, args[0])], *args[1:])


def _network(model: nn.Module) -> nn.Module:
    network = model.model if isinstance(model, Model) else model
    if not isinstance(getattr(network, 'yaml', None), dict):
        raise TypeError(f"model must be YOLO('...') or its .model, got {type(model).__name__}")
    return network


def _layers_at(network: nn.Module, place: str) -> list[int]:
    depth = len(network.yaml['backbone'])
    blocks = [i for i, layer in enumerate(network.model) if isinstance(layer, C2f)]
    return {
        'sppf': [i for i, layer in enumerate(network.model) if isinstance(layer, SPPF)],
        'bottleneck': [i for i in blocks if i < depth][-2:],
        'neck': [i for i in blocks if i >= depth],
        'head': [i for i, layer in enumerate(network.model) if isinstance(layer, Detect)],
    }[place]
