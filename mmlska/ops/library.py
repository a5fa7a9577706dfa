"""What every fused backend tells PyTorch of its operators: shapes for torch.compile and gradients for autograd.

The operators of a backend are ``torch.ops.NAMESPACE``'s: lska_inference, lska_training (which also returns the one intermediate map that is
kept), lska_backward, depthwise_gelu, depthwise_gelu_pointwise and their backward operators, with the schemas of csrc/ops.cpp.
The C++ backend alone has mlp_inference and mlp_training, the MLP with the 1x1 before its 3x3.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from . import reference
from .checks import Pair

_warned: set[str] = set()


def warn_once(backend: str, problem: str) -> None:
    """Say once in a process that a backend which would be the fastest cannot be used, and what mends that."""
    if backend not in _warned:
        _warned.add(backend)
        warnings.warn(f'mmlska.ops runs in plain PyTorch, which is slower: {problem}', stacklevel=4)


def all_four(x: Tensor, h0: Pair, v0: Pair, h1: Pair | None, v1: Pair | None) -> tuple[Tensor, ...]:
    """Weights and biases of the four 1-D convolutions; a design without the second pair gets taps of 1."""
    if h1 is None:
        h1 = v1 = x.new_ones(x.shape[1], 1, 1, 1), x.new_zeros(x.shape[1])
    return (*h0, *v0, *h1, *v1)


def new_map(x: Tensor, channels: int, memory_format: torch.memory_format) -> Tensor:
    """A map of the size of x without values."""
    shape = (x.shape[0], channels, *x.shape[2:])
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=memory_format)


def without_autocast(x: Tensor) -> torch.autocast:
    """For a backward pass, which may run inside autocast: that would lower the operands of its matrix products."""
    return torch.autocast(x.device.type, enabled=False)


def register(
    namespace: str, map_format: Callable[[Tensor], torch.memory_format], kept_format: torch.memory_format
) -> None:
    """Register the shapes and the gradients of a backend's operators.

    Args:
        namespace: That of its operators.
        map_format: The memory format of an operator's maps, given that of its input.
        kept_format: The memory format of the intermediate map that lska_training returns.
    """

    def map_like(x, channels=None):
        return new_map(x, channels or x.shape[1], map_format(x))

    def new_grads(x, *parameters):
        return [map_like(x), *(torch.empty_like(p, memory_format=torch.contiguous_format) for p in parameters)]

    fake = {
        'lska_inference': lambda x, *_: map_like(x),
        'lska_training': lambda x, *_: (map_like(x), torch.empty_like(x, memory_format=kept_format)),
        'lska_backward': lambda grad, x, kept, *rest: new_grads(x, *rest[:-2]),
        'depthwise_gelu': lambda x, weight, bias: map_like(x),
        'depthwise_gelu_backward': lambda grad, *inputs: new_grads(*inputs),
        'depthwise_gelu_pointwise': lambda x, weight, bias, pw, pb: map_like(x, pw.shape[0]),
        'depthwise_gelu_pointwise_backward': lambda grad, *inputs: [
            *new_grads(*inputs),
            inputs[3].new_empty(inputs[3].shape[0]),
        ],
    }
    for name, function in fake.items():
        torch.library.register_fake(f'{namespace}::{name}')(function)
    ops = getattr(torch.ops, namespace)

    def lska_backward(ctx, grad, _):
        *inputs, kept = ctx.saved_tensors
        if grad is None:
            return (None,) * 13
        with without_autocast(grad):
            if torch.is_grad_enabled():  # someone differentiates this gradient too
                return *reference.differentiable_grads(flat_lska(ctx.dilation, ctx.gelu), inputs, grad), None, None
            x, *parameters = inputs
            return *ops.lska_backward(grad, x, kept, *parameters, ctx.dilation, ctx.gelu), None, None

    def depthwise_gelu_backward(ctx, grad):
        inputs = ctx.saved_tensors
        with without_autocast(grad):
            if torch.is_grad_enabled():
                return tuple(reference.differentiable_grads(flat_depthwise_gelu, inputs, grad))
            if len(inputs) == 3:
                return tuple(ops.depthwise_gelu_backward(grad, *inputs))
            return tuple(ops.depthwise_gelu_pointwise_backward(grad, *inputs[:4]))

    torch.library.register_autograd(f'{namespace}::lska_training', lska_backward, setup_context=_lska_setup)
    for name in ('depthwise_gelu', 'depthwise_gelu_pointwise'):
        torch.library.register_autograd(
            f'{namespace}::{name}', depthwise_gelu_backward, setup_context=_depthwise_gelu_setup
        )


def _lska_setup(ctx, inputs, output) -> None:
    *tensors, ctx.dilation, ctx.gelu = inputs
    # The one intermediate that is kept; the backward pass computes the others again.
    ctx.save_for_backward(*tensors, output[1])
    ctx.set_materialize_grads(False)


def _depthwise_gelu_setup(ctx, inputs, output) -> None:
    ctx.save_for_backward(*inputs)


def flat_lska(dilation: int, gelu: bool) -> Callable[..., Tensor]:
    """The reference with the arguments of the operators."""

    def twin(x, h0w, h0b, v0w, v0b, h1w, h1b, v1w, v1b, pw, pb):
        pairs = (h0w, h0b), (v0w, v0b), (h1w, h1b), (v1w, v1b), (pw, pb)
        return reference.lska_attention(x, *pairs, dilation, gelu)

    return twin


def flat_depthwise_gelu(x: Tensor, weight: Tensor, bias: Tensor, *pointwise: Tensor) -> Tensor:
    """The reference with the arguments of the operators."""
    return reference.depthwise_gelu(x, weight, bias, pointwise or None)
