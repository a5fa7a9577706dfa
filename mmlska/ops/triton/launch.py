"""How the GPU backend launches its Triton kernels: block sizes, grids, memory. See gpu.py.

Block sizes are functions of shape, dtype and GPU generation, never of measurements, so that a result does not depend on what ran before.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

# Triton reads the same variable when it is imported: its interpreter runs the kernels on the CPU, for tests.
INTERPRETED = os.environ.get('TRITON_INTERPRET', '0').lower() in ('1', 'true', 'on', 'yes', 'y')

# What a program takes on, by kernel. `tile`, `step`, `pixels` are (16 bit, 32 bit) numbers. `warps` and `stages`, of the pipeline of loads,
# are Triton's; a sum is split among so many `programs`, a constant, so that its order does not depend on the machine.
_SETTINGS: dict[str, dict] = {
    # One warp for each `per_warp` elements of a tile; `maxnreg` limits the registers of a tile of 128 x 128.
    'chain': dict(tile=(128, 64), step=(64, 32), per_warp=1024, max_warps=8, maxnreg=None, stages=3),
    # Warps below and from a block of 128.
    'pointwise': dict(block=128, inner=32, pixels=(128, 64), warps=(4, 8), stages=3),
    'pointwise_before': dict(block=128, inner=32, pixels=(128, 64), warps=(4, 8), stages=3),
    'pointwise_after': dict(block=64, inner=64, pixels=(128, 64), warps=(4, 8), stages=3),
    # Pixels up to a block of outputs, and above. Scaled, three maps are staged: with fewer pixels of each, more programs fit on a
    # multiprocessor.
    'pointwise_gradient': dict(block=64, pixels=((64, 32), (64, 32)), warps=4, stages=3, programs=512),
    'pointwise_gradient_scaled': dict(block=64, pixels=((64, 32), (32, 32)), warps=4, stages=3, programs=512),
    # Warps up to a block of 64 and above.
    'band_gradient': dict(warps=(2, 4), stages=3, programs=512),
    'depthwise': dict(elements=512, rows=32, warps=4),
    'depthwise_backward': dict(elements=512, rows=32, warps=4),
}
# What differs on a generation, NVIDIA's major compute capability.
_BY_GENERATION: dict[int, dict[str, dict]] = {
    # An H100 (`tune` in docs/results/gpu_check_h100_{1,2}.json; the first one calls pointwise_after mix), us at the four stages of VAN-B
    # at 512x512, bf16, batch 16. chain: 128 registers 60, no limit 71 (stage 1: two programs fit on a multiprocessor).
    # pointwise_after: a block of 64 37, 21, 16, 10, of 128 37, 25, 20, 10. band_gradient: 2 warps 27, 20, 20 in stages 2 to 4, 4 warps
    # 38, 39, 23. depthwise: 512 elements 331, 174, 72, 32, 1024 elements 373, 197, 90, 43. Other generations take those too, above.
    9: {'chain': dict(maxnreg=128), 'pointwise': dict(inner=64)},
}


def settings(kernel: str, x: Tensor) -> dict:
    """The launch settings of a kernel on the GPU that holds x."""
    return _settings(kernel, _generation(x))


@cache
def _settings(kernel: str, generation: int) -> dict:
    return {**_SETTINGS[kernel], **_BY_GENERATION.get(generation, {}).get(kernel, {})}


def dense_format(x: Tensor) -> torch.memory_format:
    last = not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last else torch.contiguous_format


def dense(x: Tensor) -> Tensor:
    return x if x.is_contiguous() else x.contiguous(memory_format=dense_format(x))


def new_map(x: Tensor, like: Tensor | None = None, channels: int | None = None) -> Tensor:
    """An uninitialised map of x's size; contiguous, or in the memory format of another."""
    shape = x.shape if channels is None else (x.shape[0], channels, *x.shape[2:])
    form = torch.contiguous_format if like is None else dense_format(like)
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=form)


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
    return 0 if INTERPRETED else _generation_of(x.device.index)


@cache
def _generation_of(device: int) -> int:
    return 0 if torch.version.hip else torch.cuda.get_device_capability(device)[0]


def _precision(x: Tensor) -> str:
    """Of the tensor cores' modes for float32 the exact one; 16-bit products ignore it."""
    if INTERPRETED:
        return 'interpreter'
    return 'ieee' if _generation(x) < 8 else 'tf32x3'


# ---- launching ----


class Plan(NamedTuple):
    """How a kernel is launched: all but its tensors, which are its first parameters."""

    grid: tuple[int, ...]
    numbers: tuple[int | float, ...]  # the parameters after the tensors
    constants: dict[str, Any]  # those known at compile time, and Triton's options


# Compiled launchers with their numbers and constants. The key holds all that they depend on.
_compiled: dict[tuple, tuple[Callable, list]] = {}


# Some 30 MB; a data set of photos of a thousand sizes needs more, and then plans anew from time to time.
_KEPT = 20_000


@cache
def _keeps_kernels() -> bool:
    """Tell whether this Triton's compiled kernels take all arguments in order, as they do from 3.3 on."""
    import triton

    return not INTERPRETED and tuple(map(int, triton.__version__.split('.')[:2])) >= (3, 3)


def launch(kernel, case: tuple, tensors: tuple[Tensor | None, ...], plan: Callable[[], Plan]) -> None:
    """Launch a kernel on tensors as planned.

    Plans, and what Triton does before each of its launches, take longer on the CPU than a small map on the GPU. So both are done once.

    Args:
        kernel: Triton's.
        case: All that the plan is made of but dtypes.
        tensors: The first arguments.
        plan: Makes the plan.
    """
    pointers = [None if t is None else t.data_ptr() for t in tensors]
    key = id(kernel), tensors[0].get_device(), case, *[t if t is None else t.dtype for t in tensors]
    known = _compiled.get(key)
    # Memory of PyTorch's own is aligned; for a view into the middle of some Triton compiles another kernel.
    aligned = not any(pointer is not None and pointer % 16 for pointer in pointers)
    if known is not None and aligned:
        # Addresses, since the launcher asks the driver about every tensor.
        run, rest = known
        run(*pointers, *rest)
        return
    grid, numbers, constants = plan()
    compiled = kernel[grid](*tensors, *numbers, **constants)
    if aligned and _keeps_kernels():
        if len(_compiled) >= _KEPT:
            _compiled.clear()
        names = kernel.arg_names[len(tensors) + len(numbers) :]
        _compiled[key] = compiled[grid + (1,) * (3 - len(grid))], [*numbers, *(constants[name] for name in names)]


# ---- LSKA: the depthwise chain ----


class Axis(NamedTuple):
    """One axis of a map: how it is cut into tiles, and the sizes of its two kernels."""

    length: int
    k0: int
    k1: int
    dilation: int
    block: int
    step: int
    vertical: bool

    @property
    def radius(self) -> int:
        return self.k0 // 2 + self.k1 // 2 * self.dilation

    @property
    def tiles(self) -> int:
        return _ceil(self.length, self.block)

    @property
    def lines(self) -> int:
        return self.tiles * self.block

    @property
    def extent(self) -> int:
        """Columns that are stored of each row of the banded matrix."""
        band = min(self.block + 2 * self.radius + self.step - 1, self.length)
        return _ceil(band, self.step) * self.step

    @property
    def tiling(self) -> dict:
        return dict(BLOCK=self.block, RADIUS=self.radius, STEP=self.step)


class Taps(NamedTuple):
    """The weights of the four 1-D kernels, contiguous."""

    h0: Tensor
    v0: Tensor
    h1: Tensor
    v1: Tensor


def axes_of(x: Tensor, taps: Taps, dilation: int) -> tuple[Axis, Axis]:
    """The vertical and the horizontal axis."""
    # From that size on, only the middle taps lie inside; in numbers as large as a dilation may be, a kernel's indices would overflow.
    dilation = min(dilation, max(x.shape[2:]))
    chosen, wide = settings('chain', x), x.element_size() == 4
    tile, step = chosen['tile'][wide], chosen['step'][wide]
    return (
        _axis(x.shape[2], taps.v0.shape[2], taps.v1.shape[2], dilation, tile, step, True),
        _axis(x.shape[3], taps.h0.shape[3], taps.h1.shape[3], dilation, tile, step, False),
    )


@cache
def _axis(length: int, k0: int, k1: int, dilation: int, tile: int, step: int, vertical: bool) -> Axis:
    block = min(max(_power(length), 16), tile)
    return Axis(length, k0, k1, dilation, block, min(block, step), vertical)


class Bands(NamedTuple):
    """The banded matrices of both axes."""

    along: Tensor  # (1, C, lines, extent) of the vertical axis, in the dtype of the maps; with a second one transposed: (2, ...)
    across: Tensor  # of the horizontal axis
    along_sums: Tensor  # (2, C, lines): the matrix times ones, and the dilated kernel's matrix times ones, in float32
    across_sums: Tensor


def launch_bands(x: Tensor, taps: Taps, ver: Axis, hor: Axis, transposed: bool = False) -> Bands:
    """The matrices of x's axes, and transposed ones too if wanted."""
    from .chain import band_matrices

    c, ways, rows = x.shape[1], 1 + transposed, 16
    along, across = (x.new_empty(ways, c, axis.lines, axis.extent) for axis in (ver, hor))
    sums_v, sums_h = (x.new_empty(2, c, axis.lines, dtype=torch.float32) for axis in (ver, hor))

    def plan() -> Plan:
        numbers = c, ver.length, hor.length, ver.lines, hor.lines, ver.extent, hor.extent
        constants = dict(
            K0=ver.k0, K1=ver.k1, K0H=hor.k0, K1H=hor.k1, DILATION=ver.dilation, BLOCK_V=ver.block, BLOCK_H=hor.block,
            RADIUS_V=ver.radius, RADIUS_H=hor.radius, STEP_V=ver.step, STEP_H=hor.step, ROWS=rows, num_warps=4,
        )  # fmt: skip
        return Plan((c, (ver.lines + hor.lines) // rows, ways), numbers, constants)

    tensors = taps.v0, taps.v1, taps.h0, taps.h1, along, across, sums_v, sums_h
    launch(band_matrices, (c, ways, ver, hor), tensors, plan)
    return Bands(along, across, sums_v, sums_h)


def launch_chain(
    x: Tensor, ver: Axis, hor: Axis, bands: Bands, biases: tuple[Tensor, ...] | None = None, extra: Tensor | None = None
) -> Tensor:
    """The chain with its biases, or without them the transposed one plus ``extra``."""
    from .chain import chain

    n, c, h, w = x.shape
    out = new_map(x)
    along, across = (bands.along, bands.across) if biases else (bands.along[1], bands.across[1])

    def plan() -> Plan:
        chosen, tile = settings('chain', x), ver.block * hor.block
        limit = dict(maxnreg=chosen['maxnreg']) if chosen['maxnreg'] and tile == 128 * 128 else {}
        constants = dict(
            BIASED=biases is not None, ADD=extra is not None, BLOCK_H=ver.block, BLOCK_W=hor.block,
            RADIUS_H=ver.radius, RADIUS_W=hor.radius, STEP_H=ver.step, STEP_W=hor.step, PRECISION=_precision(x),
            num_warps=min(max(tile // chosen['per_warp'], 1), chosen['max_warps']), num_stages=chosen['stages'],
            **limit,
        )  # fmt: skip
        return Plan((n * c * ver.tiles * hor.tiles,), (n, c, h, w, ver.extent, hor.extent), constants)

    tensors = x, out, extra, across, along, bands.across_sums, bands.along_sums, *(biases or (None,) * 4)
    launch(chain, (n, c, ver, hor), tensors, plan)
    return out


def launch_band_gradient(x: Tensor, grad: Tensor, axis: Axis, other: Axis, bands: Bands) -> tuple[Tensor, Tensor]:
    """Shares of the gradient of an axis's matrix, and of the sums of grad's lines with two weights, from some of the images each.

    The weights are, for the vertical axis, the horizontal dilated kernel's response to ones and 1; for the horizontal axis the vertical
    matrix's and dilated kernel's responses.
    """
    from .chain import band_gradient

    n, c, h, w = x.shape
    chosen = settings('band_gradient', x)
    matrix, weights = (bands.across, bands.across_sums) if axis.vertical else (bands.along, bands.along_sums)
    programs = c * axis.tiles * (axis.extent // axis.step)
    images = _ceil(n, min(n, _ceil(chosen['programs'], programs)))
    splits = _ceil(n, images)
    matrix_grad = x.new_empty(splits, c, axis.lines, axis.extent, dtype=torch.float32)
    sums = x.new_empty(splits, c, axis.lines, 2, dtype=torch.float32)

    def plan() -> Plan:
        strides = (w, 1) if axis.vertical else (1, w)
        numbers = n, c, axis.length, other.length, *strides, axis.extent, other.extent, images
        constants = dict(
            DILATED_AND_ONES=axis.vertical, **axis.tiling, CHUNK=axis.step, OTHER_BLOCK=other.block,
            OTHER_RADIUS=other.radius, OTHER_STEP=other.step, WIDTH=other.step, PRECISION=_precision(x),
            num_warps=chosen['warps'][axis.block > 64], num_stages=chosen['stages'],
        )  # fmt: skip
        return Plan((splits * programs,), numbers, constants)

    launch(band_gradient, (n, c, axis, other), (x, grad, matrix, weights, matrix_grad, sums), plan)
    return matrix_grad, sums


def launch_tap_gradient(
    axis: Axis, matrix_grad: Tensor, sums: Tensor, bias_a: Tensor, bias_b: Tensor, bias_on_matrix: Tensor | None = None
) -> Tensor:
    """What each product of two taps of an axis receives, and each dilated tap alone: (C, k1, k0 + 1), in float32."""
    from .chain import tap_gradient

    splits, c = sums.shape[:2]
    pairs = sums.new_empty(c, axis.k1, axis.k0 + 1)

    def plan() -> Plan:
        constants = dict(
            K0=axis.k0, K1=axis.k1, K0_PADDED=_power(axis.k0), DILATION=axis.dilation,
            HAS_BIAS=bias_on_matrix is not None, **axis.tiling, ROWS=min(axis.block, 64), num_warps=4,
        )  # fmt: skip
        return Plan((c, axis.k1), (c, axis.length, axis.extent, splits), constants)

    launch(tap_gradient, (c, splits, axis), (matrix_grad, sums, bias_on_matrix, bias_a, bias_b, pairs), plan)
    return pairs


def launch_parameter_gradient(
    ver: Axis, hor: Axis, pairs_v: Tensor, pairs_h: Tensor, sums: Tensor, bands: Bands, taps: Taps, biases: tuple
) -> list[Tensor]:
    """Gradients of the weights and biases h0, v0, h1, v1 from :func:`launch_tap_gradient` of both axes and the vertical sums."""
    from .chain import parameter_gradient

    splits, c = sums.shape[:2]
    found = [torch.empty_like(t) for pair in zip(taps, biases) for t in pair]

    def plan() -> Plan:
        constants = dict(
            K0=ver.k0, K1=ver.k1, K0H=hor.k0, K1H=hor.k1, K0_PADDED=_power(max(ver.k0, hor.k0)),
            K1_PADDED=_power(max(ver.k1, hor.k1)), ROWS=min(ver.block, 64), num_warps=1,
        )  # fmt: skip
        return Plan((c,), (c, ver.lines, splits), constants)

    tensors = pairs_v, pairs_h, sums, bands.along_sums, taps.v0, taps.v1, taps.h0, taps.h1, *found
    launch(parameter_gradient, (c, splits, ver, hor), tensors, plan)
    return found


# ---- the 1x1 convolution ----


def launch_pointwise(
    weight: Tensor,
    bias: Tensor | None,
    x: Tensor,
    out: Tensor,
    before: Tensor | None = None,
    after: Tensor | None = None,
) -> Tensor:
    """``after * (weight @ (before * x) + bias)``, without what is None; weight is (out channels, in channels), of any strides."""
    from .chain import pointwise

    n, inputs, h, w = x.shape
    outputs, factor = weight.shape[0], after if before is None else before

    def plan() -> Plan:
        kind = 'pointwise' if factor is None else 'pointwise_after' if before is None else 'pointwise_before'
        chosen, wide = settings(kind, x), x.element_size() == 4
        block_o, block_p = min(max(_power(outputs), 16), chosen['block']), chosen['pixels'][wide]
        block_i = min(max(_power(inputs), 16), 32 if wide else chosen['inner'])
        numbers = inputs, outputs, h * w, *weight.stride(), *_flat_strides(x)
        constants = dict(
            BIASED=bias is not None, BEFORE=before is not None, AFTER=after is not None,
            BLOCK_O=block_o, BLOCK_I=block_i, BLOCK_P=block_p,
            PRECISION=_precision(x), num_warps=chosen['warps'][block_o >= 128], num_stages=chosen['stages'],
        )  # fmt: skip
        numbers = *numbers, *_flat_strides(x if factor is None else factor), *_flat_strides(out)
        return Plan((n * _ceil(outputs, block_o) * _ceil(h * w, block_p),), numbers, constants)

    formats = x.stride(), weight.stride(), factor if factor is None else factor.stride(), out.stride()
    launch(pointwise, (x.shape, outputs, before is None, formats), (weight, bias, x, factor, out), plan)
    return out


def launch_pointwise_gradient(grad: Tensor, x: Tensor, factor: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Gradients of weight and bias of ``factor * (weight @ x + bias)``, in float32; the factor may be None."""
    from .chain import pointwise_gradient

    (n, inputs, h, w), outputs = x.shape, grad.shape[1]
    chosen = settings('pointwise_gradient' if factor is None else 'pointwise_gradient_scaled', x)
    block_o, block_i = (min(max(_power(c), 16), chosen['block']) for c in (outputs, inputs))
    block_p = chosen['pixels'][outputs > chosen['block']][x.element_size() == 4]
    blocks, chunks = _ceil(outputs, block_o) * _ceil(inputs, block_i), n * _ceil(h * w, block_p)
    per_split = _ceil(chunks, min(chunks, _ceil(chosen['programs'], blocks)))
    splits = _ceil(chunks, per_split)
    weight = x.new_empty(splits, outputs, inputs, dtype=torch.float32)
    bias = x.new_empty(splits, outputs, dtype=torch.float32)

    def plan() -> Plan:
        numbers = inputs, outputs, h * w, chunks, per_split, 1.0, *_flat_strides(grad)
        numbers = *numbers, *_flat_strides(grad if factor is None else factor), *_flat_strides(x)
        constants = dict(
            SCALED=factor is not None, BLOCK_O=block_o, BLOCK_I=block_i, BLOCK_P=block_p, PRECISION=_precision(x),
            num_warps=chosen['warps'], num_stages=chosen['stages'],
        )  # fmt: skip
        return Plan((splits * blocks,), numbers, constants)

    formats = x.stride(), grad.stride(), factor if factor is None else factor.stride()
    launch(pointwise_gradient, (x.shape, outputs, formats), (grad, factor, x, weight, bias), plan)
    return weight.sum(0), bias.sum(0)


# ---- the 3x3 with GELU ----


def launch_depthwise(
    x: Tensor, weight: Tensor, bias: Tensor | None, grad: Tensor | None = None, activation: Tensor | None = None
) -> tuple[Tensor, Tensor | None]:
    """``gelu(conv(x) + bias)``, without a bias the transposed convolution, or, with grad, what the backward pass needs.

    That is the gradient of the convolution's output and each program's share of the sums for weight and bias, (shares, C, 10).
    """
    from .depthwise import depthwise

    n, c, h, w = x.shape
    chosen = settings('depthwise' if grad is None else 'depthwise_backward', x)
    # What fits into the registers, along the axis first that is dense in memory.
    elements, rows = chosen['elements'], chosen['rows']
    if dense_format(x) == torch.channels_last:
        block_c = min(_power(c), 64)
        block_w = min(_power(w), elements // block_c)
    else:
        block_w = min(_power(w), 128)
        block_c = min(_power(c), elements // block_w)
    strips, blocks_w = _ceil(h, rows), _ceil(w, block_w)
    out = new_map(x, like=x)
    shares = None if grad is None else x.new_empty(n * strips * blocks_w, c, 10, dtype=torch.float32)

    def plan() -> Plan:
        numbers = c, h, w, strips, rows, *_strides(x), *_strides(grad if grad is not None else x)
        constants = dict(
            GELU=bias is not None, BACKWARD=grad is not None, ACTIVATION=activation is not None, FLIPPED=bias is None,
            BLOCK_C=block_c, BLOCK_W=block_w, num_warps=chosen['warps'],
        )  # fmt: skip
        return Plan((n * _ceil(c, block_c) * strips * blocks_w,), numbers, constants)

    formats = x.stride(), grad if grad is None else grad.stride()
    launch(depthwise, (x.shape, formats), (x, weight.contiguous(), bias, grad, out, activation, shares), plan)
    return out, shares


def _strides(x: Tensor) -> tuple[int, ...]:
    """Strides of a dense map as its memory format has them: those of an axis of length 1 may be anything."""
    n, c, h, w = x.shape
    return (c * h * w, 1, w * c, c) if dense_format(x) == torch.channels_last else (c * h * w, h * w, w, 1)
