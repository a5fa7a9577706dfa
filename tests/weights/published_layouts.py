"""The published checkpoints' names and shapes, written out from their code a second time; nothing here imports mmlska.

Every tensor is a row: its name in classification files, its name in detection and segmentation files, its shape.
"""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

ARCHS = {
    't': ([32, 64, 160, 256], [3, 3, 5, 2], [8, 8, 4, 4]),
    's': ([64, 128, 320, 512], [2, 2, 4, 2], [8, 8, 4, 4]),
    'b': ([64, 128, 320, 512], [3, 3, 12, 3], [8, 8, 4, 4]),
    'l': ([64, 128, 320, 512], [3, 5, 27, 3], [8, 8, 4, 4]),
    'small': ([8, 12, 16, 24], [1, 2, 1, 1], [2, 2, 2, 2]),
}
SMALL = dict(embed_dims=[8, 12, 16, 24], depths=[1, 2, 1, 1], ffn_ratios=[2, 2, 2, 2])
# first pair, dilated pair, dilation
KERNELS = {7: (3, 3, 2), 11: (3, 5, 2), 23: (5, 7, 3), 35: (5, 11, 3), 41: (5, 13, 3), 53: (5, 17, 3)}
Row = tuple[str, str, tuple[int, ...]]


def norm(cls: str, det: str, dim: int) -> list[Row]:
    vectors = [(f'{cls}.{leaf}', f'{det}.{leaf}', (dim,)) for leaf in ('weight', 'bias', 'running_mean', 'running_var')]
    return [*vectors, (f'{cls}.num_batches_tracked', f'{det}.num_batches_tracked', ())]


def conv(cls: str, det: str, *shape: int) -> list[Row]:
    return [(f'{cls}.weight', f'{det}.weight', shape), (f'{cls}.bias', f'{det}.bias', shape[:1])]


def gate(cls: str, det: str, dim: int, k_size: int, attention: str) -> list[Row]:
    k0, k1, _ = KERNELS[k_size]
    if attention == 'lska':
        rows = conv(f'{cls}.conv0h', f'{det}.DW_conv_h', dim, 1, 1, k0)
        rows += conv(f'{cls}.conv0v', f'{det}.DW_conv_v', dim, 1, k0, 1)
        rows += conv(f'{cls}.conv_spatial_h', f'{det}.DW_D_conv_h', dim, 1, 1, k1)
        rows += conv(f'{cls}.conv_spatial_v', f'{det}.DW_D_conv_v', dim, 1, k1, 1)
    elif attention == 'lka':
        rows = conv(f'{cls}.conv0', f'{det}.DW_conv', dim, 1, k0, k0)
        rows += conv(f'{cls}.conv_spatial', f'{det}.DW_D_conv', dim, 1, k1, k1)
    elif attention == 'lska_trivial':
        rows = conv(f'{cls}.conv0h', f'{det}.DW_conv_h', dim, 1, 1, k_size)
        rows += conv(f'{cls}.conv0v', f'{det}.DW_conv_v', dim, 1, k_size, 1)
    else:
        rows = conv(f'{cls}.conv0', f'{det}.DW_conv', dim, 1, k_size, k_size)
    return rows + conv(f'{cls}.conv1', f'{det}.conv1', dim, dim, 1, 1)


def tensor_rows(arch: str, k_size: int = 23, attention: str = 'lska', in_channels: int = 3) -> list[Row]:
    """All tensors of a backbone."""
    rows, channels = [], in_channels
    for i, (dim, depth, ratio) in enumerate(zip(*ARCHS[arch]), start=1):
        kernel = 7 if i == 1 else 3
        rows += conv(f'patch_embed{i}.proj', f'patch_embed{i}.projection', dim, channels, kernel, kernel)
        rows += norm(f'patch_embed{i}.norm', f'patch_embed{i}.norm', dim)
        for j in range(depth):
            cls, det, hidden = f'block{i}.{j}', f'blocks{i}.{j}', dim * ratio
            rows += [(f'{cls}.layer_scale_{n}', f'{det}.layer_scale_{n}', (dim,)) for n in (1, 2)]
            rows += norm(f'{cls}.norm1', f'{det}.norm1', dim)
            rows += conv(f'{cls}.attn.proj_1', f'{det}.attn.proj_1', dim, dim, 1, 1)
            unit = 'attn.spatial_gating_unit'
            rows += gate(f'{cls}.{unit}', f'{det}.{unit}', dim, k_size, attention)
            rows += conv(f'{cls}.attn.proj_2', f'{det}.attn.proj_2', dim, dim, 1, 1)
            rows += norm(f'{cls}.norm2', f'{det}.norm2', dim)
            rows += conv(f'{cls}.mlp.fc1', f'{det}.mlp.fc1', hidden, dim, 1, 1)
            rows += conv(f'{cls}.mlp.dwconv.dwconv', f'{det}.mlp.dwconv', hidden, 1, 3, 3)
            rows += conv(f'{cls}.mlp.fc2', f'{det}.mlp.fc2', dim, hidden, 1, 1)
        rows += conv(f'norm{i}', f'norm{i}', dim)
        channels = dim
    return rows


def values(name: str, shape: tuple[int, ...], device: str, generator: torch.Generator) -> Tensor:
    if device == 'meta':
        return torch.empty(shape, device='meta')
    if name.endswith('num_batches_tracked'):
        return torch.tensor(7)
    if name.endswith('running_var'):
        return torch.rand(shape, generator=generator) + 0.5
    fan = max(torch.Size(shape[1:]).numel(), 1)
    return torch.randn(shape, generator=generator) / (fan**0.5 if len(shape) > 1 else 3)


@cache
def _tensors(
    arch: str, k_size: int, attention: str, in_channels: int, device: str
) -> tuple[list[Row], dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(len(arch) + k_size)
    rows = tensor_rows(arch, k_size, attention, in_channels)
    return rows, {det: values(det, shape, device, generator) for _, det, shape in rows}


def published(
    layout: str,
    arch: str = 'small',
    k_size: int = 23,
    attention: str = 'lska',
    in_channels: int = 3,
    device: str = 'cpu',
) -> tuple[dict, dict[str, Tensor]]:
    """A checkpoint as it is published, and the same tensors by detection names."""
    rows, tensors = _tensors(arch, k_size, attention, in_channels, device)
    dim = ARCHS[arch][0][-1]
    if layout == 'classification':  # as timm's training script saves it
        weights = {f'module.{cls}': tensors[det] for cls, det, _ in rows}
        weights.update({'module.head.weight': torch.zeros(1000, dim), 'module.head.bias': torch.zeros(1000)})
        return dict(epoch=300, arch='van', state_dict=weights, version=2), dict(tensors)
    if layout == 'mmpretrain':
        weights = {f'backbone.{det}': tensor for det, tensor in tensors.items()}
        weights.update({'head.fc.weight': torch.zeros(1000, dim), 'head.fc.bias': torch.zeros(1000)})
        return dict(meta={}, state_dict=weights), dict(tensors)
    if layout == 'detector':
        weights = {f'backbone.{det}': tensor for det, tensor in tensors.items()}
        weights['neck.lateral_convs.0.conv.weight'] = torch.zeros(4, dim, 1, 1)
        weights['bbox_head.retina_cls.bias'] = torch.zeros(720)
        return dict(meta={}, state_dict=weights), dict(tensors)
    return dict(tensors), dict(tensors)


def features(weights: dict[str, Tensor], x: Tensor, k_size: int) -> list[Tensor]:
    """The published classification network in evaluation, from its own names: the four stages' outputs."""
    dilation = KERNELS[k_size][2]

    def bn(x: Tensor, name: str) -> Tensor:
        p = {leaf: weights[f'{name}.{leaf}'] for leaf in ('running_mean', 'running_var', 'weight', 'bias')}
        return F.batch_norm(x, **p)

    def cv(x: Tensor, name: str, **options) -> Tensor:
        return F.conv2d(x, weights[f'{name}.weight'], weights[f'{name}.bias'], **options)

    def dw(x: Tensor, name: str, d: int = 1) -> Tensor:
        padding = tuple(d * (k - 1) // 2 for k in weights[f'{name}.weight'].shape[2:])
        return cv(x, name, padding=padding, dilation=d, groups=x.shape[1])

    outs, stage = [], 1
    while f'patch_embed{stage}.proj.weight' in weights:
        x = cv(x, f'patch_embed{stage}.proj', stride=4 if stage == 1 else 2, padding=3 if stage == 1 else 1)
        x, block = bn(x, f'patch_embed{stage}.norm'), 0
        while f'block{stage}.{block}.layer_scale_1' in weights:
            name = f'block{stage}.{block}'
            y = bn(x, f'{name}.norm1')
            u = F.gelu(cv(y, f'{name}.attn.proj_1'))
            a, g = u, f'{name}.attn.spatial_gating_unit'
            for part in ('0h', '0v', '0', '_spatial_h', '_spatial_v', '_spatial'):
                if f'{g}.conv{part}.weight' in weights:
                    a = dw(a, f'{g}.conv{part}', dilation if 'spatial' in part else 1)
            y = y + cv(u * cv(a, f'{g}.conv1'), f'{name}.attn.proj_2')
            x = x + weights[f'{name}.layer_scale_1'][:, None, None] * y
            y = dw(cv(bn(x, f'{name}.norm2'), f'{name}.mlp.fc1'), f'{name}.mlp.dwconv.dwconv')
            x = x + weights[f'{name}.layer_scale_2'][:, None, None] * cv(F.gelu(y), f'{name}.mlp.fc2')
            block += 1
        p = weights[f'norm{stage}.weight'], weights[f'norm{stage}.bias']
        x = F.layer_norm(x.permute(0, 2, 3, 1), x.shape[1:2], *p, 1e-6).permute(0, 3, 1, 2)
        outs.append(x)
        stage += 1
    return outs
