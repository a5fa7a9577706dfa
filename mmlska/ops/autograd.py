"""What every fused backend tells PyTorch of its operators: shapes for torch.compile and gradients for autograd.

The operators of a backend are ``torch.ops.NAMESPACE``'s: lska_inference, lska_training (which also returns the one intermediate map that is
kept), lska_backward, depthwise_gelu, depthwise_gelu_pointwise and their backward operators, with the schemas of csrc/ops.cpp.
The C++ backend alone has mlp_inference and mlp_training, the MLP with the 1x1 before its 3x3; the Triton backend alone pointwise, a 1x1.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Hashable
from functools import wraps
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import Tensor

from . import reference
from .checks import Pair
from .context import is_differentiated

_warned: set[Hashable] = set()


def strict() -> bool:
    """Tell whether the environment asks for an error where plain PyTorch would replace faster kernels."""
    return os.environ.get('MMLSKA_STRICT', '0').lower() in ('1', 'true', 'on', 'yes', 'y')


def fall_back(key: Hashable, problem: str, what: str = '') -> None:
    """Say once for each key that plain PyTorch replaces faster kernels.

    Args:
        key: What falls back.
        problem: The reason and the next step.
        what: What falls back, in words; everything if it is empty.

    Raises:
        RuntimeError: Each time, if ``MMLSKA_STRICT=1`` is set.
    """
    text = f'mmlska.ops runs {what + " " if what else ""}in plain PyTorch, which is slower: {problem}'
    if strict():
        raise RuntimeError(f'{text}; MMLSKA_STRICT=1 asks for an error')
    if key not in _warned:
        _warned.add(key)
        warnings.warn(text, stacklevel=4)


# What torch.compiler.assume_constant_result sets, without its import of torch._dynamo: torch.compile calls the function while it traces,
# since a warning in the graph would break it in two.
fall_back._dynamo_marked_constant = True


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
        'pointwise': lambda x, weight, bias: map_like(x, weight.shape[0]),
        'pointwise_backward': lambda grad, *inputs: new_grads(*inputs),
        'depthwise_gelu': lambda x, weight, bias: map_like(x),
        'depthwise_gelu_backward': lambda grad, *inputs: new_grads(*inputs),
        'depthwise_gelu_pointwise': lambda x, weight, bias, pw, pb: map_like(x, pw.shape[0]),
        'depthwise_gelu_pointwise_backward': lambda grad, *inputs: [
            *new_grads(*inputs),
            inputs[3].new_empty(inputs[3].shape[0]),
        ],
    }
    ops = getattr(torch.ops, namespace)
    register_shapes(namespace, {name: function for name, function in fake.items() if hasattr(ops, name)})
    for name, (setup, backward) in _gradients(ops).items():
        if hasattr(ops, name):
            torch.library.register_autograd(f'{namespace}::{name}', backward, setup_context=setup)


def register_shapes(namespace: str, fake: dict[str, Callable]) -> None:
    """Register the functions that make an operator's results without values, for tensors that have none."""

    def on_one_device(name: str, function: Callable) -> Callable:
        @wraps(function)
        def call(*inputs):
            devices = {t.device for t in inputs if isinstance(t, Tensor)}
            if len(devices) > 1:  # else a tensor on meta would let the result of the others go without values
                raise RuntimeError(f'{namespace}: the inputs of {name} are on {", ".join(sorted(map(str, devices)))}')
            return function(*inputs)

        return call

    for name, function in fake.items():
        torch.library.register_fake(f'{namespace}::{name}')(on_one_device(name, function))


def _gradients(calls) -> dict[str, tuple[Callable, Callable]]:
    """What each differentiable operator keeps for its backward pass, and that pass, by the backward operators among ``calls``."""

    def lska_backward(ctx, grad, _):
        *inputs, kept = ctx.saved_tensors
        if grad is None:
            return (None,) * 13
        with without_autocast(grad):
            if is_differentiated(grad):
                return *reference.differentiable_grads(flat_lska(ctx.dilation, ctx.gelu), inputs, grad), None, None
            x, *parameters = inputs
            return *calls.lska_backward(grad, x, kept, *parameters, ctx.dilation, ctx.gelu), None, None

    def depthwise_gelu_backward(ctx, grad):
        inputs = ctx.saved_tensors
        with without_autocast(grad):
            if is_differentiated(grad):
                return tuple(reference.differentiable_grads(flat_depthwise_gelu, inputs, grad))
            if len(inputs) == 3:
                return tuple(calls.depthwise_gelu_backward(grad, *inputs))
            return tuple(calls.depthwise_gelu_pointwise_backward(grad, *inputs[:4]))

    def pointwise_backward(ctx, grad):
        inputs = ctx.saved_tensors
        with without_autocast(grad):
            if is_differentiated(grad):
                return tuple(reference.differentiable_grads(flat_pointwise, inputs, grad))
            return tuple(calls.pointwise_backward(grad, *inputs))

    return {
        'lska_training': (_lska_setup, lska_backward),
        'depthwise_gelu': (_keep_inputs, depthwise_gelu_backward),
        'depthwise_gelu_pointwise': (_keep_inputs, depthwise_gelu_backward),
        'pointwise': (_keep_inputs, pointwise_backward),
    }


def eager(calls) -> SimpleNamespace:
    """The differentiable operators as plain autograd functions: what torch.library does around one takes longer than a small map."""

    def function(name: str, setup: Callable, backward: Callable) -> Callable[..., Tensor]:
        def forward(ctx, *inputs):
            output = getattr(calls, name)(*inputs)
            setup(ctx, inputs, output)
            if isinstance(output, tuple):
                ctx.mark_non_differentiable(*output[1:])
            return output

        kind = (torch.autograd.Function,)
        return type(name, kind, dict(forward=staticmethod(forward), backward=staticmethod(backward))).apply

    return SimpleNamespace(**{name: function(name, *parts) for name, parts in _gradients(calls).items()})


def _lska_setup(ctx, inputs, output) -> None:
    *tensors, ctx.dilation, ctx.gelu = inputs
    # The one intermediate that is kept; the backward pass computes the others again.
    ctx.save_for_backward(*tensors, output[1])
    ctx.set_materialize_grads(False)


def _keep_inputs(ctx, inputs, output) -> None:
    ctx.save_for_backward(*inputs)


def flat_lska(dilation: int, gelu: bool) -> Callable[..., Tensor]:
    """The reference with the arguments of the operators."""

    def twin(x, h0w, h0b, v0w, v0b, h1w, h1b, v1w, v1b, pw, pb):
        pairs = alike_pairs(x, h0w, h0b, v0w, v0b, h1w, h1b, v1w, v1b, pw, pb)
        return reference.lska_attention(x, *pairs, dilation, gelu)

    return twin


def flat_depthwise_gelu(x: Tensor, weight: Tensor, bias: Tensor, *pointwise: Tensor) -> Tensor:
    """The reference with the arguments of the operators."""
    first, *last = alike_pairs(x, weight, bias, *pointwise)
    return reference.depthwise_gelu(x, *first, *last)


def flat_pointwise(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A 1x1 convolution with the arguments of the operator."""
    return F.conv2d(x, *alike_pairs(x, weight, bias)[0])


def alike_pairs(x: Tensor, *flat: Tensor) -> list[Pair]:
    """Weights and biases in the dtype of x, which PyTorch's convolutions ask for, in pairs."""
    alike = [t.to(x.dtype) for t in flat]
    return list(zip(alike[::2], alike[1::2]))
