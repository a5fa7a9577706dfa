"""Inputs for the operator tests, and the way they are compared with the reference in float64."""

from __future__ import annotations

import torch
from torch import Tensor

from mmlska.ops import depthwise_gelu, lska_attention, reference

# k_size: taps of the first pair, taps of the dilated pair, dilation. 47 has a dilated kernel that no specialised loop covers.
LADDER = {7: (3, 3, 2), 11: (3, 5, 2), 23: (5, 7, 3), 35: (5, 11, 3), 41: (5, 13, 3), 47: (5, 15, 3), 53: (5, 17, 3)}
LAYOUTS = ('channels_last', 'contiguous', 'strided')
# Largest error of a tensor over its largest entry. bfloat16 has 8 bits: 2^-8 = 4e-3 for each rounding, of which a gradient sees a few.
# float16 has 11.
TOLERANCE = {torch.float64: 1e-12, torch.float32: 4e-6, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}


def make_map(
    shape: tuple[int, ...], dtype: torch.dtype, layout: str, seed: int = 0, device: str | torch.device = 'cpu'
) -> Tensor:
    """A map of random values in one of ``LAYOUTS``; 'strided' is dense in no memory format."""
    n, c, h, w = shape
    if layout == 'strided':
        return make_map((n, 2 * c, h, w + 1), dtype, 'contiguous', seed, device)[:, ::2, :, 1:]
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(device, dtype)
    return x.contiguous(memory_format=torch.channels_last) if layout == 'channels_last' else x


def make_pair(shape: tuple[int, ...], dtype: torch.dtype, seed: int) -> tuple[Tensor, Tensor]:
    """Weight and bias that keep values near 1 and that are all far from zero."""
    g = torch.Generator().manual_seed(seed)
    fan_in = shape[1] * shape[2] * shape[3]
    weight = torch.randn(shape, generator=g, dtype=torch.float64) / fan_in**0.5
    bias = torch.randn(shape[0], generator=g, dtype=torch.float64)
    return weight.to(dtype), bias.to(dtype)


def lska_tensors(c: int, k_size: int, dtype: torch.dtype) -> tuple[list[Tensor], int]:
    """The ten parameters of an LSKA, flat, and its dilation."""
    k0, k1, dilation = LADDER[k_size]
    shapes = [(c, 1, 1, k0), (c, 1, k0, 1), (c, 1, 1, k1), (c, 1, k1, 1), (c, c, 1, 1)]
    return [t for i, shape in enumerate(shapes) for t in make_pair(shape, dtype, 10 * k_size + i)], dilation


def as_pairs(flat: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
    return list(zip(flat[::2], flat[1::2]))


def outputs_and_grads(function, inputs: list[Tensor], grad: Tensor) -> list[Tensor]:
    """``function(*inputs)`` and the gradients of all inputs for this gradient of the output."""
    leaves = [t.detach().requires_grad_() for t in inputs]
    out = function(*leaves)
    return [out.detach(), *torch.autograd.grad(out, leaves, grad)]


def assert_close_to_reference(
    fused,
    twin,
    inputs: list[Tensor],
    layout: str = 'channels_last',
    out_channels: int | None = None,
    slack: float = 1,
) -> list[Tensor]:
    """Compare output and all gradients of a fused operator with its twin in float64; return the fused ones."""
    x = inputs[0]
    tolerance = slack * TOLERANCE[x.dtype]
    grad = make_map((x.shape[0], out_channels or x.shape[1], *x.shape[2:]), x.dtype, layout, seed=1, device=x.device)
    found = outputs_and_grads(fused, inputs, grad)
    wanted = outputs_and_grads(twin, [t.double() for t in inputs], grad.double())
    for i, (a, b) in enumerate(zip(found, wanted)):
        assert a.dtype == x.dtype
        assert a.shape == b.shape
        # A parameter's gradient sums N * H * W terms of size 1: where they cancel, their rounding errors do not.
        scale = max(b.abs().max().item(), 1e-6 if i < 2 else (x.numel() / x.shape[1]) ** 0.5)
        error = (a.double() - b).abs().max().item() / scale
        # Not `error > tolerance`: a NaN must fail.
        assert error <= tolerance, f'{"output" if i == 0 else f"gradient of input {i - 1}"}: error {error:.1e}'
    return found


def lska(x: Tensor, *flat_and_dilation, gelu=False, backend=None) -> Tensor:
    """The front door with flat parameters."""
    *flat, dilation = flat_and_dilation
    return lska_attention(x, *as_pairs(flat), dilation, gelu=gelu, backend=backend)


def lska_twin(x: Tensor, *flat_and_dilation, gelu=False) -> Tensor:
    *flat, dilation = flat_and_dilation
    return reference.lska_attention(x, *as_pairs(flat), dilation, gelu)


def mlp_tensors(c: int, dtype: torch.dtype, out_channels: int | None = None) -> list[Tensor]:
    """Weight and bias of the 3x3, and of the 1x1 if ``out_channels`` is given, flat."""
    pointwise = [] if out_channels is None else make_pair((out_channels, c, 1, 1), dtype, 6)
    return [*make_pair((c, 1, 3, 3), dtype, 5), *pointwise]


def mlp(x: Tensor, weight: Tensor, bias: Tensor, *pointwise: Tensor, backend=None) -> Tensor:
    """The front door with flat parameters."""
    return depthwise_gelu(x, weight, bias, pointwise=pointwise or None, backend=backend)


def mlp_twin(x: Tensor, weight: Tensor, bias: Tensor, *pointwise: Tensor) -> Tensor:
    return reference.depthwise_gelu(x, weight, bias, pointwise or None)
