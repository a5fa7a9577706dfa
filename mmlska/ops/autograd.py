"""What every fused backend tells PyTorch of its operators (schemas.py): shapes for torch.compile and gradients for autograd."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import Tensor

from . import reference
from .context import Pair, is_differentiated
from .schemas import SCHEMAS


def register(
    namespace: str,
    names: Sequence[str],
    map_format: Callable[[Tensor], torch.memory_format],
    kept_format: torch.memory_format,
) -> None:
    """Define a backend's operators, with their shapes and their gradients.

    Maps have the memory format that ``map_format`` says for an operator's input; the intermediate one of the training has ``kept_format``.
    """
    shapes, gradients = _shapes(map_format, kept_format), _gradients(getattr(torch.ops, namespace))
    for name in names:
        # An error if a C++ function that is registered for it has another signature.
        torch.library.define(f'{namespace}::{name}', SCHEMAS[name])
        torch.library.register_fake(f'{namespace}::{name}')(_on_one_device(namespace, name, shapes[name]))
        if name in gradients:
            setup, backward = gradients[name]
            torch.library.register_autograd(f'{namespace}::{name}', backward, setup_context=setup)


def eager(calls: SimpleNamespace) -> SimpleNamespace:
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

    found = {name: parts for name, parts in _gradients(calls).items() if hasattr(calls, name)}
    return SimpleNamespace(**{name: function(name, *parts) for name, parts in found.items()})


# ---- shapes ----


def _shapes(map_format: Callable[[Tensor], torch.memory_format], kept_format: torch.memory_format) -> dict:
    """The functions that make an operator's results without values, for tensors that have none."""

    def new(x, channels=None, memory_format=None):
        shape = (x.shape[0], channels or x.shape[1], *x.shape[2:])
        form = memory_format or map_format(x)
        return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=form)

    def grads(x, *parameters):
        return [new(x), *(torch.empty_like(p, memory_format=torch.contiguous_format) for p in parameters)]

    def bias_of(weight):
        return weight.new_empty(weight.shape[0])

    return {
        'lska_inference': lambda x, *_: new(x),
        'lska_training': lambda x, *_: (new(x), new(x, memory_format=kept_format)),
        'lska_backward': lambda grad, x, kept, *rest: grads(x, *rest[:-2]),
        'depthwise_gelu': lambda x, weight, bias: new(x),
        'depthwise_gelu_backward': lambda grad, *inputs: grads(*inputs),
        'depthwise_gelu_pointwise': lambda x, weight, bias, pw, pb: new(x, pw.shape[0]),
        'depthwise_gelu_pointwise_backward': lambda grad, *inputs: [*grads(*inputs), bias_of(inputs[-1])],
        'mlp_inference': lambda x, ew, eb, weight, bias, pw, pb: new(x, pw.shape[0]),
        'mlp_training': lambda x, ew, eb, w, b, pw, pb: (new(x, pw.shape[0]), new(x, ew.shape[0], kept_format)),
        'mlp_backward': lambda grad, x, wide, ew, w, b, pw: [*grads(x, ew, b, w, b, pw), bias_of(pw)],
        'pointwise': lambda x, weight, bias: new(x, weight.shape[0]),
        'pointwise_backward': lambda grad, *inputs: grads(*inputs),
    }


def _on_one_device(namespace: str, name: str, function: Callable) -> Callable:
    @wraps(function)
    def call(*inputs):
        devices = {t.device for t in inputs if isinstance(t, Tensor)}
        if len(devices) > 1:  # else a tensor on meta would let the result of the others go without values
            raise RuntimeError(f'{namespace}: the inputs of {name} are on {", ".join(sorted(map(str, devices)))}')
        return function(*inputs)

    return call


# ---- gradients ----


def _gradients(calls) -> dict[str, tuple[Callable, Callable]]:
    """What each differentiable operator keeps for its backward pass, and that pass, by the backward operators among ``calls``."""

    def mlp_backward(grad, wide, x, ew, eb, weight, bias, pw, pb):
        return calls.mlp_backward(grad, x, wide, ew, weight, bias, pw)

    # Each with the same in plain PyTorch. What is kept besides the inputs comes after the gradient.
    return {
        'lska_training': _gradient(flat_lska, lambda grad, kept, x, *rest: calls.lska_backward(grad, x, kept, *rest)),
        'depthwise_gelu': _gradient(
            flat_depthwise_gelu, lambda grad, *inputs: calls.depthwise_gelu_backward(grad, *inputs)
        ),
        'depthwise_gelu_pointwise': _gradient(
            flat_depthwise_gelu, lambda grad, *inputs: calls.depthwise_gelu_pointwise_backward(grad, *inputs[:-1])
        ),
        'mlp_training': _gradient(flat_mlp, mlp_backward),
        'pointwise': _gradient(flat_pointwise, lambda grad, *inputs: calls.pointwise_backward(grad, *inputs)),
    }


def _gradient(twin: Callable[..., Tensor], fused: Callable) -> tuple[Callable, Callable]:
    def setup(ctx, inputs, output):
        tensors = [t for t in inputs if isinstance(t, Tensor)]
        ctx.count, ctx.rest = len(tensors), inputs[len(tensors) :]
        # The one intermediate that is kept; the backward pass computes the others again.
        ctx.save_for_backward(*tensors, *(output[1:] if isinstance(output, tuple) else ()))
        ctx.set_materialize_grads(False)

    def backward(ctx, grad, *_):
        saved = ctx.saved_tensors  # once: activation checkpointing allows no second look
        inputs, kept = saved[: ctx.count], saved[ctx.count :]
        without = (None,) * len(ctx.rest)
        if grad is None:
            return (None,) * ctx.count + without
        # Autocast, inside of which a backward pass may run, would lower the operands of its matrix products.
        with torch.autocast(grad.device.type, enabled=False):
            if is_differentiated(grad):
                plain = reference.differentiable_grads(lambda *tensors: twin(*tensors, *ctx.rest), inputs, grad)
                return *plain, *without
            return *fused(grad, *kept, *inputs, *ctx.rest), *without

    return setup, backward


# ---- the reference with the arguments of the operators ----


def all_four(x: Tensor, h0: Pair, v0: Pair, h1: Pair | None, v1: Pair | None) -> tuple[Tensor, ...]:
    """Weights and biases of the four 1-D convolutions; a design without the second pair gets taps of 1."""
    if h1 is None:
        h1 = v1 = x.new_ones(x.shape[1], 1, 1, 1), x.new_zeros(x.shape[1])
    return (*h0, *v0, *h1, *v1)


def alike_pairs(x: Tensor, *flat: Tensor) -> list[Pair]:
    """Weights and biases in the dtype of x, which PyTorch's convolutions ask for, in pairs."""
    alike = [t.to(x.dtype) for t in flat]
    return list(zip(alike[::2], alike[1::2]))


def flat_lska(x: Tensor, *inputs: Tensor | int) -> Tensor:
    """The reference of lska_inference."""
    *flat, dilation, gelu = inputs
    return reference.lska_attention(x, *alike_pairs(x, *flat), dilation, gelu)


def flat_depthwise_gelu(x: Tensor, *flat: Tensor) -> Tensor:
    """The reference of depthwise_gelu and depthwise_gelu_pointwise."""
    depthwise, *pointwise = alike_pairs(x, *flat)
    return reference.mlp(x, None, depthwise, *(pointwise or [None]))


def flat_mlp(x: Tensor, *flat: Tensor) -> Tensor:
    """The reference of mlp_inference."""
    return reference.mlp(x, *alike_pairs(x, *flat))


def flat_pointwise(x: Tensor, *flat: Tensor) -> Tensor:
    """The reference of pointwise."""
    return F.conv2d(x, *alike_pairs(x, *flat)[0])
