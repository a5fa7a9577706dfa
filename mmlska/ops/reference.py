"""The operators in plain PyTorch: the definition of correct for every other backend, and what runs where none of them can."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .context import Pair

NAME = 'reference'
MIXES = False
PROBLEM = None


def supports(device_type: str, dtype: torch.dtype) -> bool:
    """Plain PyTorch runs everything."""
    return True


def lska_attention(
    x: Tensor, h0: Pair, v0: Pair, h1: Pair | None, v1: Pair | None, pointwise: Pair, dilation: int, gelu: bool = False
) -> Tensor:
    """See :func:`mmlska.ops.lska_attention`."""
    x = F.gelu(x) if gelu else x
    return x * F.conv2d(depthwise_chain(x, h0, v0, h1, v1, dilation), *pointwise)


def depthwise_chain(x: Tensor, h0: Pair, v0: Pair, h1: Pair | None, v1: Pair | None, dilation: int) -> Tensor:
    """The depthwise convolutions of :func:`mmlska.ops.lska_attention`."""
    x = _depthwise(_depthwise(x, h0), v0)
    return x if h1 is None else _depthwise(_depthwise(x, h1, dilation), v1, dilation)


def mlp(x: Tensor, expand: Pair | None, depthwise: Pair, pointwise: Pair | None) -> Tensor:
    """See :func:`mmlska.ops.mlp`."""
    x = x if expand is None else F.conv2d(x, *expand)
    x = F.gelu(_depthwise(x, depthwise))
    return x if pointwise is None else F.conv2d(x, *pointwise)


def differentiable_grads(op: Callable[..., Tensor], inputs: Sequence[Tensor], grad: Tensor) -> list[Tensor | None]:
    """Gradients of ``op(*inputs)`` as a graph of their own: what a fused backward hands over to when it is differentiated itself."""
    with torch.enable_grad():
        wanted = [t for t in inputs if t.requires_grad]
        grads = iter(torch.autograd.grad(op(*inputs), wanted, grad, create_graph=True))
    return [next(grads) if t.requires_grad else None for t in inputs]


def _depthwise(x: Tensor, pair: Pair, dilation: int = 1) -> Tensor:
    weight, bias = pair
    padding = [dilation * (k - 1) // 2 for k in weight.shape[2:]]
    return F.conv2d(x, weight, bias, padding=padding, dilation=dilation, groups=x.shape[1])
