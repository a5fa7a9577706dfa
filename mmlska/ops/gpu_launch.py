"""How the GPU backend launches its Triton kernels: block sizes, grids, memory. See gpu.py.

Block sizes are functions of shape and dtype, never of measurements, so that a result does not depend on what ran before.
"""

from __future__ import annotations

import os
from typing import NamedTuple

import torch
from torch import Tensor

# Triton reads the same variable when it is imported: its interpreter runs the kernels on the CPU, for tests.
INTERPRETED = os.environ.get('TRITON_INTERPRET', '0').lower() in ('1', 'true', 'on', 'yes', 'y')
# Enough programs to fill a large GPU; a constant, so that the order of a sum does not depend on the machine.
_PROGRAMS = 512


def dense_format(x: Tensor) -> torch.memory_format:
    last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    return torch.channels_last if last else torch.contiguous_format


def dense(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=dense_format(x))


def new_map(x: Tensor, like: Tensor | None = None) -> Tensor:
    """An uninitialised map of x's shape; contiguous, or in the memory format of another."""
    return torch.empty_like(x, memory_format=torch.contiguous_format if like is None else dense_format(like))


def _flat_strides(x: Tensor) -> tuple[int, int, int]:
    """Strides of a dense (N, C, H, W) as (N, C, H * W)."""
    n, c, h, w = x.shape
    return (c * h * w, 1, c) if dense_format(x) == torch.channels_last else (c * h * w, h * w, 1)


def _power(value: int) -> int:
    return 1 << max(value - 1, 0).bit_length()


def _ceil(a: int, b: int) -> int:
    return -(-a // b)


def _generation(x: Tensor) -> int:
    """NVIDIA's major compute capability (8: Ampere, 9: Hopper); 0 elsewhere."""
    return 0 if INTERPRETED or torch.version.hip else torch.cuda.get_device_capability(x.device)[0]


def _precision(x: Tensor) -> str:
    if INTERPRETED:
        return 'interpreter'
    return (
        'ieee' if _generation(x) < 8 else 'tf32x3'
    )  # of the tensor cores' modes for float32 the exact one; 16-bit products ignore it


class Axis(NamedTuple):
    """One axis of a map: how it is cut into tiles, and its two kernels."""

    length: int
    taps0: Tensor
    taps1: Tensor
    dilation: int
    block: int
    step: int
    vertical: bool

    @property
    def k0(self) -> int:
        return self.taps0.shape[1]

    @property
    def k1(self) -> int:
        return self.taps1.shape[1]

    @property
    def radius(self) -> int:
        return self.k0 // 2 + self.k1 // 2 * self.dilation

    @property
    def tiles(self) -> int:
        return _ceil(self.length, self.block)

    @property
    def extent(self) -> int:
        """Columns that are stored of each row of the banded matrix."""
        band = min(self.block + 2 * self.radius + self.step - 1, self.length)
        return _ceil(band, self.step) * self.step

    @property
    def tiling(self) -> dict:
        return dict(BLOCK=self.block, RADIUS=self.radius, STEP=self.step)


def _axis(length: int, taps0: Tensor, taps1: Tensor, dilation: int, vertical: bool) -> Axis:
    wide = taps0.element_size() == 4
    block = min(max(_power(length), 16), 64 if wide else 128)
    flat = [t.reshape(t.shape[0], -1).contiguous() for t in (taps0, taps1)]
    return Axis(length, *flat, dilation, block, min(block, 32 if wide else 64), vertical)


class Band(NamedTuple):
    matrix: Tensor  # (C, tiles * block, extent), in the dtype of the maps
    ones: Tensor  # (C, tiles * block): the matrix times ones; not filled if transposed
    dilated: Tensor  # the dilated kernel's matrix times ones, likewise


def launch_band(axis: Axis, transposed: bool = False) -> Band:
    from .triton_kernels import band_matrix

    c, lines = axis.taps0.shape[0], axis.tiles * axis.block
    matrix = axis.taps0.new_empty(c, lines, axis.extent)
    ones, dilated = (axis.taps0.new_empty(c, lines, dtype=torch.float32) for _ in range(2))
    rows = 16
    band_matrix[c, lines // rows](
        axis.taps0, axis.taps1, matrix, ones, dilated, axis.length, axis.extent,
        K0=axis.k0, K1=axis.k1, DILATION=axis.dilation, TERMS=min(axis.k1, (axis.k0 - 1) // axis.dilation + 1),
        TRANSPOSED=transposed, **axis.tiling, ROWS=rows, num_warps=4,
    )  # fmt: skip
    return Band(matrix, ones, dilated)


def axes_of(x: Tensor, h0w, v0w, h1w, v1w, dilation: int) -> tuple[Axis, Axis]:
    """The vertical and the horizontal axis."""
    return _axis(x.shape[2], v0w, v1w, dilation, True), _axis(x.shape[3], h0w, h1w, dilation, False)


def launch_chain(x: Tensor, ver: Axis, hor: Axis, along: Band, across: Band, biases=None, extra=None) -> Tensor:
    from .triton_kernels import chain

    n, c, h, w = x.shape
    out = new_map(x)
    # For a whole tile the compiler takes 190 registers, with which one program fits on a multiprocessor; with a second one, loads hide.
    limit = dict(maxnreg=128) if ver.block * hor.block == 128 * 128 and _generation(x) >= 9 else {}
    chain[n * c * ver.tiles * hor.tiles,](
        x, out, extra, across.matrix, along.matrix, across.dilated, along.ones, along.dilated, *(biases or [None] * 4),
        n, c, h, w, ver.extent, hor.extent,
        BIASED=biases is not None, ADD=extra is not None, BLOCK_H=ver.block, BLOCK_W=hor.block,
        RADIUS_H=ver.radius, RADIUS_W=hor.radius, STEP_H=ver.step, STEP_W=hor.step, PRECISION=_precision(x),
        num_warps=min(max(ver.block * hor.block // 1024, 1), 8), **limit,
    )  # fmt: skip
    return out


def launch_mix(weight: Tensor, bias: Tensor | None, x: Tensor, factor: Tensor, out: Tensor) -> Tensor:
    """``factor * (weight @ x + bias)``, or ``weight @ (factor * x)`` without a bias."""
    from .triton_kernels import mix

    n, c, h, w = x.shape
    block_o, block_p = min(max(_power(c), 16), 128), 64 if x.element_size() == 4 else 128
    mix[n * _ceil(c, block_o) * _ceil(h * w, block_p),](
        weight, bias, x, factor, out, c, h * w, *weight.stride(),
        *_flat_strides(x), *_flat_strides(factor), *_flat_strides(out),
        BEFORE=bias is None, BLOCK_O=block_o, BLOCK_I=min(block_o, 32), BLOCK_P=block_p,
        PRECISION=_precision(x), num_warps=8 if block_o == 128 else 4,
    )  # fmt: skip
    return out


def launch_mix_gradient(grad: Tensor, factor: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of weight and bias of ``factor * (weight @ x + bias)``, in float32."""
    from .triton_kernels import mix_gradient

    n, c, h, w = x.shape
    block, block_p = min(max(_power(c), 16), 64), 32 if x.element_size() == 4 else 64
    blocks, chunks = _ceil(c, block) ** 2, n * _ceil(h * w, block_p)
    per_split = _ceil(chunks, min(chunks, _ceil(_PROGRAMS, blocks)))
    splits = _ceil(chunks, per_split)
    weight, bias = (x.new_empty(splits, c, *shape, dtype=torch.float32) for shape in ((c,), ()))
    mix_gradient[splits * blocks,](
        grad, factor, x, weight, bias, c, h * w, chunks, per_split,
        *_flat_strides(grad), *_flat_strides(factor), *_flat_strides(x),
        BLOCK_O=block, BLOCK_I=block, BLOCK_P=block_p, PRECISION=_precision(x), num_warps=4,
    )  # fmt: skip
    return weight.sum(0), bias.sum(0)


def launch_band_gradient(
    x: Tensor, grad: Tensor, axis: Axis, other: Axis, other_matrix: Tensor, weights: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """Shares of the gradient of an axis's matrix, and of the sums of grad's lines with two weights, from some of the images each."""
    from .triton_kernels import band_gradient

    n, c, h, w = x.shape
    strides = (w, 1) if axis.vertical else (1, w)
    lines, programs = axis.tiles * axis.block, c * axis.tiles * (axis.extent // axis.step)
    images = _ceil(n, min(n, _ceil(_PROGRAMS, programs)))
    splits = _ceil(n, images)
    matrix_grad = x.new_empty(splits, c, lines, axis.extent, dtype=torch.float32)
    sums = x.new_empty(splits, c, lines, 2, dtype=torch.float32)
    band_gradient[splits * programs,](
        x, grad, other_matrix, *weights, matrix_grad, sums, n, c, axis.length, other.length, *strides,
        axis.extent, other.extent, images,
        **axis.tiling, CHUNK=axis.step, OTHER_BLOCK=other.block, OTHER_RADIUS=other.radius, OTHER_STEP=other.step,
        WIDTH=other.step, PRECISION=_precision(x), num_warps=4,
    )  # fmt: skip
    return matrix_grad, sums


def launch_tap_gradient(axis: Axis, matrix_grad: Tensor, sums: Tensor, bias_a, bias_b, bias_on_matrix=None):
    """Gradients of the two kernels of an axis, in float32."""
    from .triton_kernels import tap_gradient

    splits, c = sums.shape[:2]
    pairs = sums.new_empty(c, axis.k1, axis.k0 + 1)
    tap_gradient[c, axis.k1](
        matrix_grad, sums, bias_on_matrix, bias_a, bias_b, pairs, c, axis.length, axis.extent, splits,
        K0=axis.k0, K1=axis.k1, K0_PADDED=_power(axis.k0), DILATION=axis.dilation,
        HAS_BIAS=bias_on_matrix is not None, **axis.tiling, ROWS=min(axis.block, 64), num_warps=4,
    )  # fmt: skip
    both, alone = pairs[..., :-1], pairs[..., -1]
    taps0, taps1 = axis.taps0.float(), axis.taps1.float()
    return (both * taps1[:, :, None]).sum(1), (both * taps0[:, None, :]).sum(2) + alone


def launch_depthwise(
    x: Tensor, weight: Tensor, bias: Tensor | None, grad: Tensor | None = None, activation: Tensor | None = None
) -> tuple[Tensor, Tensor | None]:
    """``gelu(conv(x) + bias)``, without a bias the transposed convolution, or, with grad, what the backward pass needs.

    That is the gradient of the convolution's output and each program's share of the sums for weight and bias, (shares, C, 10).
    """
    from .triton_depthwise import depthwise

    n, c, h, w = x.shape
    # What fits into the registers, along the axis first that is dense in memory.
    elements = 1024 if grad is None else 512
    if dense_format(x) == torch.channels_last:
        block_c = min(_power(c), 64)
        block_w = min(_power(w), elements // block_c)
    else:
        block_w = min(_power(w), 128)
        block_c = min(_power(c), elements // block_w)
    rows = 32
    strips, blocks_w = _ceil(h, rows), _ceil(w, block_w)
    out = new_map(x, like=x)
    shares = None if grad is None else x.new_empty(n * strips * blocks_w, c, 10, dtype=torch.float32)
    depthwise[n * _ceil(c, block_c) * strips * blocks_w,](
        x, weight.contiguous(), bias, grad, out, activation, shares, c, h, w, strips, rows,
        *_strides(x), *_strides(grad if grad is not None else x),
        GELU=bias is not None, BACKWARD=grad is not None, ACTIVATION=activation is not None, FLIPPED=bias is None,
        BLOCK_C=block_c, BLOCK_W=block_w, num_warps=4,
    )  # fmt: skip
    return out, shares


def _strides(x: Tensor) -> tuple[int, ...]:
    """Strides of a dense map as its memory format has them: those of an axis of length 1 may be anything."""
    n, c, h, w = x.shape
    return (c * h * w, 1, w * c, c) if dense_format(x) == torch.channels_last else (c * h * w, h * w, w, 1)
