"""Add LSKA to a trained Ultralytics model in place, without changing what it computes until it is trained on."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from copy import deepcopy

from torch import nn
from ultralytics.engine.model import Model
from ultralytics.nn.modules import SPPF, C2f, Detect
from ultralytics.utils import LOGGER

from ..designs import kernel_ladder
from .configs import PLACES
from .modules import DEFAULT_K_SIZE
from .record import (
    Record,
    _attend_inputs,  # noqa: F401 (in .pt files that were saved before, these two are looked up here)
    _attend_output,  # noqa: F401
    apply_record,
    split_record,
)
from .registration import register


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
