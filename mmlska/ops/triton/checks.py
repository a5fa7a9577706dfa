"""What the operators of the Triton backend ask of their inputs: anyone may call one without the front door."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import Tensor

from ..checks import lacks_memory, most_dilation
from ..context import FLOATS, is_transformed
from ..schemas import input_names


def checked(name: str, operator: Callable) -> Callable:
    """The operator, which raises a RuntimeError that names the first input that does not fit."""
    names = input_names(name)

    @wraps(operator)
    def call(*inputs):
        named = dict(zip(names, inputs))
        x = named['x']
        if x.dim() != 4 or x.shape[1] == 0:
            raise RuntimeError(
                f'mmlska_triton: x has shape {tuple(x.shape)}; it must be (N, C, H, W) with C of 1 or more'
            )
        for label, shape in {'x': tuple(x.shape), **_shapes(name, named)}.items():
            tensor = named.get(label)
            if tensor is None:
                continue
            if tuple(tensor.shape) != shape:
                raise RuntimeError(f'mmlska_triton: {label} has shape {tuple(tensor.shape)}; it must be {shape}')
            _check_values(label, tensor, x)
        if 'dilation' in named:
            dilation, most = named['dilation'], most_dilation(max(named['h1w'].shape[3], named['v1w'].shape[2]))
            if not 1 <= dilation <= most:
                raise RuntimeError(f'mmlska_triton: dilation is {dilation}; it must be from 1 to {most}')
        return operator(*inputs)

    return call


def _shapes(name: str, inputs: dict[str, Any]) -> dict[str, tuple]:
    """The shapes that inputs must have beside x, by their names in the schema; a word stands where no size that it has is right."""
    n, c, h, w = inputs['x'].shape
    if name.startswith('lska'):
        outputs = c
        shapes = dict.fromkeys(('h0b', 'v0b', 'h1b', 'v1b'), (c,))
        shapes |= {k: (c, 1, 1, _taps(inputs[k], 3)) for k in ('h0w', 'h1w')}
        shapes |= {k: (c, 1, _taps(inputs[k], 2), 1) for k in ('v0w', 'v1w')}
    elif name.startswith('pointwise'):
        outputs = _outputs(inputs['weight'])
        shapes = dict(weight=(outputs, c, 1, 1), bias=(outputs,))
    else:
        outputs = _outputs(inputs['pw']) if 'pw' in inputs else c
        shapes = dict(weight=(c, 1, 3, 3), bias=(c,))
    return shapes | dict(pw=(outputs, c, 1, 1), pb=(outputs,), grad=(n, outputs, h, w), kept=(n, c, h, w))


def _taps(weight: Tensor, axis: int) -> int | str:
    odd = weight.dim() == 4 and weight.shape[axis] % 2 == 1
    return weight.shape[axis] if odd else 'an odd number'


def _outputs(weight: Tensor) -> int | str:
    return weight.shape[0] if weight.dim() == 4 and weight.shape[0] > 0 else '1 or more'


def _check_values(label: str, tensor: Tensor, x: Tensor) -> None:
    # The kernels read parameters of any of the dtypes beside a map, but maps of one.
    fits = tensor.dtype in FLOATS and (tensor.dtype == x.dtype or label not in ('grad', 'kept'))
    if not fits or tensor.device != x.device or tensor.layout != torch.strided:
        raise RuntimeError(
            f'mmlska_triton: {label} is {tensor.dtype} ({tensor.layout}) on {tensor.device} beside x of {x.dtype} on {x.device}; '
            f'it must be dense, on the same device, and one of {", ".join(map(str, FLOATS))}; maps must be of one dtype'
        )
    if lacks_memory(tensor):
        raise RuntimeError(f'mmlska_triton: the memory of {label}, of shape {tuple(tensor.shape)}, was freed or cut')
    if is_transformed(tensor):
        raise RuntimeError(
            f'mmlska_triton: {label} has a tangent, and the kernels have no forward-mode derivative; mmlska.ops, or plain PyTorch, has one'
        )
