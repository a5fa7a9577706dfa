"""The CPU backend: C++ kernels for channels_last maps (csrc/), as PyTorch operators that torch.compile and autograd understand."""

from __future__ import annotations

from importlib import import_module

import torch
from torch import Tensor

from . import reference
from .checks import Pair

_SCHEMAS = 2  # that of csrc/ops.cpp for which this file is written
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
    if h1 is None:
        identity = x.new_ones(x.shape[1], 1, 1, 1), x.new_zeros(x.shape[1])
        h1, v1 = identity, identity
    if max(h0[0].shape[3], v0[0].shape[2], h1[0].shape[3], v1[0].shape[2]) > _MAX_TAPS:
        return reference.lska_attention(x, h0, v0, h1, v1, pointwise, dilation, gelu)
    parameters = (*h0, *v0, *h1, *v1, *pointwise)
    if torch.is_grad_enabled() and any(t.requires_grad for t in (x, *parameters)):
        out, _ = torch.ops.mmlska_cpu.lska_training(_channels_last(x), *parameters, dilation, gelu)
    else:
        out = torch.ops.mmlska_cpu.lska_inference(_channels_last(x), *parameters, dilation, gelu)
    return _like(out, x)


def depthwise_gelu(x: Tensor, weight: Tensor, bias: Tensor, pointwise: Pair | None = None) -> Tensor:
    """See :func:`mmlska.ops.depthwise_gelu`."""
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


def _register() -> None:
    """Shapes for torch.compile and gradients for autograd. Maps are channels_last on both sides of every operator."""

    def new_map(x):
        return torch.empty_like(x, memory_format=torch.channels_last)

    def new_grads(x, *parameters):
        return [new_map(x), *(torch.empty_like(p, memory_format=torch.contiguous_format) for p in parameters)]

    def new_map_of(x, channels):
        return x.new_empty(x.shape[0], channels, *x.shape[2:]).contiguous(memory_format=torch.channels_last)

    register_fake, register_autograd = torch.library.register_fake, torch.library.register_autograd
    register_fake('mmlska_cpu::lska_inference')(lambda x, *_: new_map(x))
    register_fake('mmlska_cpu::lska_training')(lambda x, *_: (new_map(x), new_map(x)))
    register_fake('mmlska_cpu::lska_backward')(
        lambda grad, x, attn, *rest: [
            new_map(x),
            *(torch.empty_like(p, memory_format=torch.contiguous_format) for p in rest[:-2]),
        ]
    )
    register_fake('mmlska_cpu::depthwise_gelu')(lambda x, weight, bias: new_map(x))
    register_fake('mmlska_cpu::depthwise_gelu_backward')(lambda grad, x, weight, bias: new_grads(x, weight, bias))
    register_fake('mmlska_cpu::depthwise_gelu_pointwise')(lambda x, weight, bias, pw, pb: new_map_of(x, pw.shape[0]))
    register_fake('mmlska_cpu::depthwise_gelu_pointwise_backward')(
        lambda grad, x, weight, bias, pw: [*new_grads(x, weight, bias, pw), pw.new_empty(pw.shape[0])]
    )
    register_autograd('mmlska_cpu::lska_training', _lska_backward, setup_context=_lska_setup)
    for op in ('depthwise_gelu', 'depthwise_gelu_pointwise'):
        register_autograd(f'mmlska_cpu::{op}', _depthwise_gelu_backward, setup_context=_depthwise_gelu_setup)


def _lska_setup(ctx, inputs, output) -> None:
    *tensors, ctx.dilation, ctx.gelu = inputs
    # The 1x1's output is the one intermediate that is kept; the backward pass computes the four depthwise ones again.
    ctx.save_for_backward(*tensors, output[1])
    ctx.set_materialize_grads(False)


def _lska_backward(ctx, grad, _):
    *inputs, attn = ctx.saved_tensors
    if grad is None:
        return (None,) * 13
    if torch.is_grad_enabled():  # someone differentiates this gradient too

        def twin(x, h0w, h0b, v0w, v0b, h1w, h1b, v1w, v1b, pw, pb):
            pairs = (h0w, h0b), (v0w, v0b), (h1w, h1b), (v1w, v1b), (pw, pb)
            return reference.lska_attention(x, *pairs, ctx.dilation, ctx.gelu)

        return *reference.differentiable_grads(twin, inputs, grad), None, None
    x, *parameters = inputs
    return *torch.ops.mmlska_cpu.lska_backward(grad, x, attn, *parameters, ctx.dilation, ctx.gelu), None, None


def _depthwise_gelu_setup(ctx, inputs, output) -> None:
    ctx.save_for_backward(*inputs)


def _depthwise_gelu_backward(ctx, grad):
    inputs = ctx.saved_tensors
    if torch.is_grad_enabled():

        def twin(x, weight, bias, *pointwise):
            return reference.depthwise_gelu(x, weight, bias, pointwise or None)

        return tuple(reference.differentiable_grads(twin, inputs, grad))
    if len(inputs) == 3:
        return tuple(torch.ops.mmlska_cpu.depthwise_gelu_backward(grad, *inputs))
    return tuple(torch.ops.mmlska_cpu.depthwise_gelu_pointwise_backward(grad, *inputs[:4]))


if PROBLEM is None:
    _register()
