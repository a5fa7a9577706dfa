"""The operators, each made of launches of kernels. Importing this file imports triton; backend.py says where the kernels cannot run.

Maps come dense or not, weights of any strides and of any dtype that the kernels read. No sum is atomic: the same input gives the same bits.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .chain import Taps, axes_of, launch_bands, launch_chain
from .chain_gradient import launch_band_gradient, launch_parameter_gradient, launch_tap_gradient
from .depthwise import launch_depthwise
from .launch import dense, dense_format, new_map
from .pointwise import launch_pointwise, launch_pointwise_gradient


def lska_training(
    x, h0w, h0b, v0w, v0b, h1w, h1b, v1w, v1b, pw, pb, dilation: int, gelu: bool
) -> tuple[Tensor, Tensor]:
    """The output and the chain's result."""
    x = F.gelu(dense(x)) if gelu else dense(x)
    taps = Taps(*(t.contiguous() for t in (h0w, v0w, h1w, v1w)))
    ver, hor = axes_of(x, taps, dilation)
    biases = tuple(b.contiguous() for b in (h0b, v0b, h1b, v1b))
    kept = launch_chain(x.contiguous(), ver, hor, launch_bands(x, taps, ver, hor), biases)
    return launch_pointwise(pw.flatten(1), pb.contiguous(), kept, new_map(x, like=x), after=x), kept


def lska_inference(*inputs) -> Tensor:
    return lska_training(*inputs)[0]


def lska_backward(
    grad, x, kept, h0w, h0b, v0w, v0b, h1w, h1b, v1w, v1b, pw, pb, dilation: int, gelu: bool
) -> list[Tensor]:
    before, kept, g = dense(x), kept.contiguous(), dense(grad)
    x = F.gelu(before) if gelu else before  # one cheap pass, so that its result need not be kept
    taps = Taps(*(t.contiguous() for t in (h0w, v0w, h1w, v1w)))
    biases = tuple(b.contiguous() for b in (h0b, v0b, h1b, v1b))
    ver, hor = axes_of(x, taps, dilation)
    bands = launch_bands(x, taps, ver, hor, transposed=True)
    through_x = launch_pointwise(pw.flatten(1), pb.contiguous(), kept, new_map(x), after=g)
    chain_grad = launch_pointwise(pw.flatten(1).t(), None, x, new_map(x), before=g)
    pw_grad, pb_grad = launch_pointwise_gradient(g, kept, factor=x)
    x_grad = launch_chain(chain_grad, ver, hor, bands, extra=through_x)
    planes = x.contiguous()
    a_grad, sums = launch_band_gradient(planes, chain_grad, ver, hor, bands)
    b_grad, b_sums = launch_band_gradient(planes, chain_grad, hor, ver, bands)
    pairs_v = launch_tap_gradient(ver, a_grad, sums, biases[1], biases[2], bias_on_matrix=biases[0])
    pairs_h = launch_tap_gradient(hor, b_grad, b_sums, biases[0], biases[1])
    found = launch_parameter_gradient(ver, hor, pairs_v, pairs_h, sums, bands, taps, biases)
    x_grad = x_grad.contiguous(memory_format=dense_format(x))
    x_grad = torch.ops.aten.gelu_backward(x_grad, before) if gelu else x_grad
    return [x_grad, *found, pw_grad.reshape(pw.shape).to(pw.dtype), pb_grad.to(pb.dtype)]


def depthwise_gelu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return launch_depthwise(dense(x), weight, bias.contiguous())[0]


def depthwise_gelu_backward(grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor) -> list[Tensor]:
    inner, shares = launch_depthwise(dense(x), weight, bias.contiguous(), dense(grad))
    return [launch_depthwise(inner, weight, None)[0], *_taps_and_bias(shares, weight, bias)]


def depthwise_gelu_pointwise(x: Tensor, weight: Tensor, bias: Tensor, pw: Tensor, pb: Tensor) -> Tensor:
    return pointwise(depthwise_gelu(x, weight, bias), pw, pb)


def depthwise_gelu_pointwise_backward(
    grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor, pw: Tensor
) -> list[Tensor]:
    x, g = dense(x), dense(grad)
    activation = new_map(x, like=x)
    inner = launch_pointwise(pw.flatten(1).t(), None, g, new_map(x, like=x))
    inner, shares = launch_depthwise(x, weight, bias.contiguous(), inner, activation)
    pw_grad, pb_grad = launch_pointwise_gradient(g, activation)
    found = pw_grad.reshape(pw.shape).to(pw.dtype), pb_grad.to(pw.dtype)
    return [launch_depthwise(inner, weight, None)[0], *_taps_and_bias(shares, weight, bias), *found]


def _taps_and_bias(shares: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    total = shares.sum(0)
    # Copies: results of an operator must not share memory.
    weight_grad = torch.empty_like(weight, memory_format=torch.contiguous_format)
    return weight_grad.copy_(total[:, :9].reshape(weight.shape)), torch.empty_like(bias).copy_(total[:, 9])


def pointwise(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A 1x1 convolution."""
    x = dense(x)
    return launch_pointwise(weight.flatten(1), bias.contiguous(), x, new_map(x, like=x, channels=weight.shape[0]))


def pointwise_backward(grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor) -> list[Tensor]:
    x, g = dense(x), dense(grad)
    weight_grad, bias_grad = launch_pointwise_gradient(g, x)
    x_grad = launch_pointwise(weight.flatten(1).t(), None, g, new_map(x, like=x))
    return [x_grad, weight_grad.reshape(weight.shape).to(weight.dtype), bias_grad.to(bias.dtype)]
