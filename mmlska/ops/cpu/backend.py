"""The CPU backend: C++ kernels for channels_last maps (ops.cpp), as PyTorch operators that torch.compile and autograd understand."""

from __future__ import annotations

from importlib import import_module

import torch
import torch.nn.functional as F
from torch import Tensor

from .. import autograd as library
from .. import reference
from ..checks import Pair
from ..context import is_differentiated

_SCHEMAS = 5  # that of ops.cpp for which this file is written
_FIX = 'with a C++ compiler, `pip install --no-build-isolation .` (or `-e .`) in the mmlska repository builds them'

try:
    _kernels = import_module('._kernels', __package__)  # loading it registers torch.ops.mmlska_cpu
except ImportError as error:
    PROBLEM = f'the C++ kernels are not there ({error}); {_FIX}'
else:
    # A checkout that was updated without a new build still has the old file.
    PROBLEM = None if _kernels.SCHEMAS == _SCHEMAS else f'the C++ kernels are those of another version; {_FIX}'

NAME = 'cpu'
MIXES = False
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
    h0, v0 = _equally_long(h0, v0)
    h1, v1 = (h1, v1) if h1 is None else _equally_long(h1, v1)
    one_dimensional = library.all_four(x, h0, v0, h1, v1)
    if max(max(t.shape[1:]) for t in one_dimensional[::2]) > _MAX_TAPS:
        library.fall_back(
            (NAME, _MAX_TAPS),
            f'the C++ kernels take up to {_MAX_TAPS}; choose a smaller or a dilated kernel',
            f'lska_attention with more than {_MAX_TAPS} taps',
        )
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
        if pointwise is not None:
            parameters = (*expand, weight, bias, *pointwise)
            if torch.is_grad_enabled() and any(t.requires_grad for t in (x, *parameters)):
                out, _ = torch.ops.mmlska_cpu.mlp_training(_channels_last(x), *parameters)
            else:
                out = torch.ops.mmlska_cpu.mlp_inference(_channels_last(x), *parameters)
            return _like(out, x)
        x = F.conv2d(x, *expand)
    if pointwise is None:
        out = torch.ops.mmlska_cpu.depthwise_gelu(_channels_last(x), weight, bias)
    else:
        out = torch.ops.mmlska_cpu.depthwise_gelu_pointwise(_channels_last(x), weight, bias, *pointwise)
    return _like(out, x)


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


def _flat_mlp(x: Tensor, ew: Tensor, eb: Tensor, weight: Tensor, bias: Tensor, pw: Tensor, pb: Tensor) -> Tensor:
    """The reference with the arguments of the operators."""
    return reference.depthwise_gelu(x, weight, bias, (pw, pb), (ew, eb))


def _mlp_setup(ctx, inputs, output) -> None:
    ctx.save_for_backward(*inputs, output[1])
    ctx.set_materialize_grads(False)


def _mlp_backward(ctx, grad, _):
    *inputs, wide = ctx.saved_tensors
    if grad is None:
        return (None,) * len(inputs)
    with library.without_autocast(grad):
        if is_differentiated(grad):
            return tuple(reference.differentiable_grads(_flat_mlp, inputs, grad))
        x, ew, _, weight, bias, pw, _ = inputs
        return tuple(torch.ops.mmlska_cpu.mlp_backward(grad, x, wide, ew, weight, bias, pw))


def _register_mlp() -> None:
    """The operators that the other backends do not have; see :func:`library.register`."""

    def new_map(x, channels):
        return library.new_map(x, channels, torch.channels_last)

    def like(parameter):
        return torch.empty_like(parameter, memory_format=torch.contiguous_format)

    fake = {
        'mlp_inference': lambda x, ew, eb, weight, bias, pw, pb: new_map(x, pw.shape[0]),
        'mlp_training': lambda x, ew, eb, weight, bias, pw, pb: (new_map(x, pw.shape[0]), new_map(x, ew.shape[0])),
        'mlp_backward': lambda grad, x, wide, ew, weight, bias, pw: [
            new_map(x, x.shape[1]),
            *map(like, (ew, bias, weight, bias, pw)),
            pw.new_empty(pw.shape[0]),
        ],
    }
    library.register_shapes('mmlska_cpu', fake)
    torch.library.register_autograd('mmlska_cpu::mlp_training', _mlp_backward, setup_context=_mlp_setup)


if PROBLEM is None:
    # Maps are channels_last on both sides of every operator; what is kept is the 1x1's output.
    library.register('mmlska_cpu', lambda x: torch.channels_last, torch.channels_last)
    _register_mlp()
