"""What backbones cost: the four attention designs over kernel sizes, by closed forms and as they run, beside other backbones.

Multiply-adds are those of convolutions and matrix products, one multiply-add counted as one. Norms, activations, additions and the
multiplication by the attention map are not counted, nor are biases.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from itertools import product

import torch
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from ..cost import count, latency
from ..designs import DESIGNS, van_cost
from ..engine.hooks import to_channels_last
from ..models.van_lska import VAN_LSKA
from ..torchvision_cpu import mend_torchvision

#: What is counted of a backbone: the column of tables and charts, the entry of a row, its unit and digits.
COLUMNS = {
    'parameters, M': ('parameters', 1e6, 2),
    'FLOPs, G': ('flops', 1e9, 2),
    'activations, M': ('activations', 1e6, 1),
    'peak memory, MB': ('peak_memory', 1e6, 1),
    'latency, ms': ('latency', 1e-3, 1),
}

#: The backbones that the papers compare with: the package that has them and their config.
OTHERS: dict[str, tuple[str, dict]] = {
    'ResNet-50': ('mmdet', dict(type='ResNet', depth=50)),
    'Swin-T': (
        'mmdet',
        dict(type='SwinTransformer', embed_dims=96, depths=(2, 2, 6, 2), num_heads=(3, 6, 12, 24), window_size=7),
    ),
    'PVTv2-B2': ('mmdet', dict(type='PyramidVisionTransformerV2', embed_dims=64, num_layers=[3, 4, 6, 3])),
    'ConvNeXt-T': (
        'mmpretrain',
        dict(type='ConvNeXt', arch='tiny', out_indices=(0, 1, 2, 3), gap_before_final_norm=False),
    ),
    'MSCAN-T': (
        'mmseg',
        dict(type='MSCAN', embed_dims=[32, 64, 160, 256], mlp_ratios=[8, 8, 4, 4], depths=[3, 3, 5, 2]),
    ),
    'MSCAN-B': (
        'mmseg',
        dict(type='MSCAN', embed_dims=[64, 128, 320, 512], mlp_ratios=[8, 8, 4, 4], depths=[3, 3, 12, 3]),
    ),
}


def build_other(name: str) -> nn.Module | None:
    """One of ``OTHERS`` in eval mode, or None where its package is not installed."""
    scope, cfg = OTHERS[name]
    if importlib.util.find_spec(scope) is None:
        return None
    mend_torchvision()  # which any of them imports where it is installed
    importlib.import_module(f'{scope}.models')
    init_default_scope(scope)
    if scope == 'mmseg':
        cfg = dict(cfg, norm_cfg=dict(type='BN'))  # its default is for several GPUs
    module = MODELS.build(cfg)
    module.eval()  # returns None in some of them
    return module


def _latency(module: nn.Module, shape: Sequence[int]) -> float:
    """Median seconds of one inference, on the GPU if there is one, else on the CPU in channels_last."""
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    if device == 'cpu':
        to_channels_last(module)
    return latency(module.to(device), torch.rand(*shape, device=device))


def compare_designs(
    archs: Sequence[str],
    k_sizes: Sequence[int],
    shape: Sequence[int] = (1, 3, 224, 224),
    *,
    attentions: Sequence[str] = tuple(DESIGNS),
    timed: bool = False,
) -> list[dict]:
    """Count VAN_LSKA of every arch, design and kernel size.

    Returns:
        A row for each: arch, attention, k_size, the fields of :class:`mmlska.cost.Cost`, 'closed_form' with the same counts by formula, and
        'latency' in seconds if ``timed``.

    Raises:
        ValueError: If an arch, a design or a kernel size does not exist.
    """
    rows = []
    for arch, attention, k_size in product(archs, attentions, k_sizes):
        with torch.device('meta'):  # no memory for its weights
            network = VAN_LSKA(arch, k_size, attention)
        cost = count(network, shape)
        formula = van_cost(arch, attention, k_size, *shape[2:])
        row = dict(arch=arch, attention=attention, k_size=k_size, **cost._asdict(), closed_form=formula._asdict())
        if timed:
            row['latency'] = _latency(VAN_LSKA(arch, k_size, attention).eval(), shape)
        rows.append(row)
    return rows


def compare_others(shape: Sequence[int] = (1, 3, 224, 224), *, timed: bool = False) -> list[dict]:
    """Count the backbones of other papers; one whose package is missing has a 'missing' entry instead of counts."""
    rows = []
    for name, (scope, _) in OTHERS.items():
        module = build_other(name)
        if module is None:
            rows.append(dict(name=name, missing=f'{scope} is not installed'))
            continue
        seconds = dict(latency=_latency(module, shape)) if timed else {}
        rows.append(dict(name=name, package=scope, **count(module, shape)._asdict(), **seconds))
    return rows
