"""The CPU backend: C++ kernels for channels_last maps (csrc/), as PyTorch operators that torch.compile and autograd understand."""

from __future__ import annotations

from importlib import import_module

import torch
import torch.nn.functional as F
from torch import Tensor

from . import library, reference
from .checks import Pair

_SCHEMAS = 3  # that of csrc/ops.cpp for which this file is written
_MEND = 'with a C++ compiler, `pip install --no-build-isolation .` (or `-e .`) in the mmlska repository builds them'

try:
    _cpu = import_module('._cpu', __package__)  # loading it registers torch.ops.mmlska_cpu
except ImportError as error:
    PROBLEM = f'the C++ kernels are not there ({error}); {_MEND}'
else:
    # A checkout that was updated without a new build still has the old file.
    PROBLEM = None if _cpu.SCHEMAS == _SCHEMAS else f'the C++ kernels are those of another version; {_MEND}'

NAME = 'cpu'
_DTYPES = (torch.float32, torch.bfloat16, torch.float64)
_MAX_TAPS = 63


def supports(op: str, device_type: str, dtype: torch.dtype) -> bool:
    """Tell whether the kernels are correct there."""
    return device_type == 'cpu' and dtype in _DTYPES


def pays(op: str, x: Tensor) -> bool:
    """Tell whether the kernels beat plain PyTorch for the layout of x.

    They want channels_last. For LSKA they win even when a contiguous map is converted there and back; the 3x3 is too little work for that.
    """
    return op == 'lska_attention' or x.is_contiguous(memory_format=torch.channels_last)


def lska_attention(
    x: Tensor,
    h0: Pair,
    v0: Pair,
    h1: Pair | None,
    v1: Pair | None,
    pointwise: Pair,
    dilation: int,
    gelu: bool = False,
) -> Tensor:
    """See :func:`mmlska.ops.lska_attention`."""
    one_dimensional = library.all_four(x, h0, v0, h1, v1)
    if max(max(t.shape[1:]) for t in one_dimensional[::2]) > _MAX_TAPS:
        return reference.lska_attention(x, h0, v0, h1, v1, pointwise, dilation, gelu)
    parameters = (*one_dimensional, *pointwise)
    if torch.is_grad_enabled() and any(t.requires_grad for t in (x, *parameters)):
        out, _ = torch.ops.mmlska_cpu.lska_training(_channels_last(x), *parameters, dilation, gelu)
    else:
        out = torch.ops.mmlska_cpu.lska_inference(_channels_last(x), *parameters, dilation, gelu)
    return _like(out, x)


def depthwise_gelu(
    x: Tensor, weight: Tensor, bias: Tensor, pointwise: Pair | None = None, expand: Pair | None = None
) -> Tensor:
    """See :func:`mmlska.ops.depthwise_gelu`."""
    if expand is not None:
        tensors = (x, *expand, weight, bias, *(pointwise or ()))
        if pointwise is not None and not (torch.is_grad_enabled() and any(t.requires_grad for t in tensors)):
            return _like(torch.ops.mmlska_cpu.mlp_inference(_channels_last(x), *tensors[1:]), x)
        x = F.conv2d(x, *expand)  # the backward pass wants its output as a whole
    if pointwise is None:
        out = torch.ops.mmlska_cpu.depthwise_gelu(_channels_last(x), weight, bias)
    else:
        out = torch.ops.mmlska_cpu.depthwise_gelu_pointwise(_channels_last(x), weight, bias, *pointwise)
    return _like(out, x)


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def _like(out: Tensor, x: Tensor) -> Tensor:
    """Give the output the memory format that PyTorch's own convolution would give it."""
    return out if x.is_contiguous(memory_format=torch.channels_last) else out.contiguous()


if PROBLEM is None:
    # Maps are channels_last on both sides of every operator; what is kept is the 1x1's output.
    library.register('mmlska_cpu', lambda x: torch.channels_last, torch.channels_last)
    torch.library.register_fake('mmlska_cpu::mlp_inference')(
        lambda x, *rest: library.new_map(x, rest[4].shape[0], torch.channels_last)
    )
