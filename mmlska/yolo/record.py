"""What :func:`mmlska.yolo.attach` added, as the model's YAML records it: read from its rows, and put into stock layers."""

from __future__ import annotations

import re

from torch import Tensor, nn
from ultralytics.nn.modules import Bottleneck

from ..models.plugin import LSKAPlugin

_RECORD = re.compile(r'(?P<stock>.+?) \+ LSKA\((?P<entries>.*)\)')
Record = dict[int, dict[str, int]]  # layer, to place, to kernel


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
