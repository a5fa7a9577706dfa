"""VAN-LSKA written a second time, from the papers' formulas, on plain tensors: what the tests compare the package with.

Nothing here imports mmlska. Parameters come as a dict of names to tensors, so gradients can be taken of every one.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# k_size: (first pair, dilated pair, dilation, padding of the dilated pair), from the LSKA paper.
LADDER = {
    7: (3, 3, 2, 2),
    11: (3, 5, 2, 4),
    23: (5, 7, 3, 9),
    35: (5, 11, 3, 15),
    41: (5, 13, 3, 18),
    53: (5, 17, 3, 24),
}

Params = dict[str, Tensor]


def conv_depthwise(x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int = 1) -> Tensor:
    """Depthwise convolution that keeps the size, by torch's own convolution."""
    padding = tuple(dilation * (k - 1) // 2 for k in weight.shape[2:])
    return F.conv2d(x, weight, bias, padding=padding, dilation=dilation, groups=x.shape[1])


def shifted_depthwise(x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int = 1) -> Tensor:
    """The same as a sum of shifted copies of the zero-padded image, one for each tap: no convolution is called."""
    (height, width), (rows, cols) = x.shape[2:], weight.shape[2:]
    pad_y, pad_x = dilation * (rows - 1) // 2, dilation * (cols - 1) // 2
    padded = F.pad(x, (pad_x, pad_x, pad_y, pad_y))
    out = torch.zeros_like(x)
    for i in range(rows):
        for j in range(cols):
            tap = weight[:, 0, i, j].reshape(1, -1, 1, 1)
            out = out + tap * padded[:, :, i * dilation : i * dilation + height, j * dilation : j * dilation + width]
    return out if bias is None else out + bias.reshape(1, -1, 1, 1)


def pointwise(x: Tensor, params: Params, name: str) -> Tensor:
    """A 1x1 convolution, written as the matrix product over channels that it is."""
    mixed = torch.einsum('oc,nchw->nohw', params[f'{name}.weight'][:, :, 0, 0], x)
    return mixed + params[f'{name}.bias'].reshape(1, -1, 1, 1)


def attention(
    design: str, k_size: int, params: Params, x: Tensor, prefix: str = '', depthwise=conv_depthwise
) -> Tensor:
    """One of the four designs; ``params`` holds the names below ``prefix``."""
    dilation = LADDER[k_size][2]
    steps = {
        'lska': [('DW_conv_h', 1), ('DW_conv_v', 1), ('DW_D_conv_h', dilation), ('DW_D_conv_v', dilation)],
        'lka': [('DW_conv', 1), ('DW_D_conv', dilation)],
        'lska_trivial': [('DW_conv_h', 1), ('DW_conv_v', 1)],
        'lka_trivial': [('DW_conv', 1)],
    }[design]
    attn = x
    for name, step in steps:
        attn = depthwise(attn, params[f'{prefix}{name}.weight'], params[f'{prefix}{name}.bias'], step)
    return x * pointwise(attn, params, f'{prefix}conv1')


def batch_norm(x: Tensor, params: Params, name: str, training: bool, eps: float = 1e-5) -> Tensor:
    """BatchNorm from its definition: biased batch statistics in training, running statistics otherwise."""
    if training:
        mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)
    else:
        mean, var = params[f'{name}.running_mean'], params[f'{name}.running_var']
    mean, var, weight, bias = (
        t.reshape(1, -1, 1, 1) for t in (mean, var, params[f'{name}.weight'], params[f'{name}.bias'])
    )
    return (x - mean) / (var + eps).sqrt() * weight + bias


def layer_norm(x: Tensor, params: Params, name: str, eps: float = 1e-6) -> Tensor:
    """LayerNorm over the channels of each pixel, from its definition."""
    centred = x - x.mean(1, keepdim=True)
    normed = centred / (centred.square().mean(1, keepdim=True) + eps).sqrt()
    return normed * params[f'{name}.weight'].reshape(1, -1, 1, 1) + params[f'{name}.bias'].reshape(1, -1, 1, 1)


def gelu(x: Tensor) -> Tensor:
    return x * 0.5 * (1 + torch.erf(x / 2**0.5))


def block(x: Tensor, params: Params, name: str, design: str, k_size: int, training: bool) -> Tensor:
    scale_1, scale_2 = (params[f'{name}.layer_scale_{i}'].reshape(1, -1, 1, 1) for i in (1, 2))
    unit = batch_norm(x, params, f'{name}.norm1', training)
    y = gelu(pointwise(unit, params, f'{name}.attn.proj_1'))
    y = attention(design, k_size, params, y, f'{name}.attn.spatial_gating_unit.')
    x = x + scale_1 * (pointwise(y, params, f'{name}.attn.proj_2') + unit)
    y = pointwise(batch_norm(x, params, f'{name}.norm2', training), params, f'{name}.mlp.fc1')
    y = gelu(conv_depthwise(y, params[f'{name}.mlp.dwconv.weight'], params[f'{name}.mlp.dwconv.bias']))
    return x + scale_2 * pointwise(y, params, f'{name}.mlp.fc2')


def van(params: Params, x: Tensor, depths: list[int], design: str, k_size: int, training: bool) -> list[Tensor]:
    """All stage outputs of a network without dropout and drop path."""
    outs = []
    for stage, depth in enumerate(depths, 1):
        embed = f'patch_embed{stage}'
        stride, padding = (4, 3) if stage == 1 else (2, 1)
        x = F.conv2d(x, params[f'{embed}.projection.weight'], params[f'{embed}.projection.bias'], stride, padding)
        x = batch_norm(x, params, f'{embed}.norm', training)
        for i in range(depth):
            x = block(x, params, f'blocks{stage}.{i}', design, k_size, training)
        x = layer_norm(x, params, f'norm{stage}')
        outs.append(x)
    return outs
