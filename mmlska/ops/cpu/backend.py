"""The CPU backend: C++ kernels for channels_last maps (ops.cpp), as PyTorch operators that torch.compile and autograd understand."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ...native import problem_of
from .. import reference
from ..autograd import all_four, register
from ..context import Pair
from ..fallback import fall_back

PROBLEM = problem_of(f'{__package__}._kernels', version=6)  # that of ops.cpp for which this file is written
NAME = 'cpu'
MIXES = False
_DTYPES = (torch.float32, torch.bfloat16, torch.float64)
_MAX_TAPS = 63


def supports(device_type: str, dtype: torch.dtype) -> bool:
    """Tell whether the kernels are correct there."""
    return device_type == 'cpu' and dtype in _DTYPES


def pays(op: str, x: Tensor) -> bool:
    """Tell whether the kernels beat plain PyTorch for the layout of x.

    They want channels_last. For LSKA they win even when a contiguous map is converted there and back; the 3x3 is too little work for that.
    """
    return op == 'lska_attention' or x.is_contiguous(memory_format=torch.channels_last)


def lska_attention(
    x: Tensor, h0: Pair, v0: Pair, h1: Pair | None, v1: Pair | None, pointwise: Pair, dilation: int, gelu: bool = False
) -> Tensor:
    """See :func:`mmlska.ops.lska_attention`."""
    h0, v0 = _equally_long(h0, v0)
    h1, v1 = (h1, v1) if h1 is None else _equally_long(h1, v1)
    one_dimensional = all_four(x, h0, v0, h1, v1)
    if max(max(t.shape[1:]) for t in one_dimensional[::2]) > _MAX_TAPS:
        fall_back(
            (NAME, _MAX_TAPS),
            f'the C++ kernels take up to {_MAX_TAPS}; choose a smaller or a dilated kernel',
            f'lska_attention with more than {_MAX_TAPS} taps',
        )
        return reference.lska_attention(x, h0, v0, h1, v1, pointwise, dilation, gelu)
    parameters = (*one_dimensional, *pointwise)
    if _wants_gradients(x, *parameters):
        out, _ = torch.ops.mmlska_cpu.lska_training(_channels_last(x), *parameters, dilation, gelu)
    else:
        out = torch.ops.mmlska_cpu.lska_inference(_channels_last(x), *parameters, dilation, gelu)
    return _like(out, x)


def mlp(x: Tensor, expand: Pair | None, depthwise: Pair, pointwise: Pair | None) -> Tensor:
    """See :func:`mmlska.ops.mlp`."""
    operators = torch.ops.mmlska_cpu
    if expand is not None and pointwise is None:
        x, expand = F.conv2d(x, *expand), None
    if pointwise is None:
        out = operators.depthwise_gelu(_channels_last(x), *depthwise)
    elif expand is None:
        out = operators.depthwise_gelu_pointwise(_channels_last(x), *depthwise, *pointwise)
    else:
        parameters = (*expand, *depthwise, *pointwise)
        if _wants_gradients(x, *parameters):
            out, _ = operators.mlp_training(_channels_last(x), *parameters)
        else:
            out = operators.mlp_inference(_channels_last(x), *parameters)
    return _like(out, x)


def _wants_gradients(*tensors: Tensor) -> bool:
    return torch.is_grad_enabled() and any(t.requires_grad for t in tensors)


def _equally_long(horizontal: Pair, vertical: Pair) -> tuple[Pair, Pair]:
    """The same kernels, of which the shorter one has zeros at both ends: the operators take two of one length."""
    (h, h_bias), (v, v_bias) = horizontal, vertical
    missing = (h.shape[3] - v.shape[2]) // 2
    if missing > 0:
        v = F.pad(v, (0, 0, missing, missing))
    elif missing < 0:
        h = F.pad(h, (-missing, -missing))
    return (h, h_bias), (v, v_bias)


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def _like(out: Tensor, x: Tensor) -> Tensor:
    """Give the output the memory format that PyTorch's own convolution would give it."""
    return out if x.is_contiguous(memory_format=torch.channels_last) else out.contiguous()


# Those of ops.cpp.
_OPERATORS = (
    'lska_inference', 'lska_training', 'lska_backward', 'depthwise_gelu', 'depthwise_gelu_backward',
    'depthwise_gelu_pointwise', 'depthwise_gelu_pointwise_backward', 'mlp_inference', 'mlp_training', 'mlp_backward',
)  # fmt: skip

if PROBLEM is None:
    # Maps are channels_last on both sides of every operator, and so is what is kept.
    register('mmlska_cpu', _OPERATORS, lambda x: torch.channels_last, torch.channels_last)
