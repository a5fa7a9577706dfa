"""The gradients of LSKA's chain for its taps and biases; that for its input is the chain itself, transposed. See chain.py.

Importing this file imports triton.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .chain import Axis, Bands, Taps, first_input
from .dot import dot
from .launch import Plan, ceil_div, launch, power_of_two, precision, settings_of

# Warps up to a block of 64 and above. On an H100, us at the four stages of VAN-B as in chain.py: 2 warps 27, 20, 20 in stages 2 to 4,
# 4 warps 38, 39, 23.
SETTINGS = {'band_gradient': dict(warps=(2, 4), stages=3, programs=512)}
settings = settings_of(SETTINGS)


# ---- kernels ----


@triton.jit
def band_gradient(
    x, grad, other, weights, matrix_grad, sums, batch, channels, length, breadth, stride_l, stride_b,
    extent, other_extent, images,
    DILATED_AND_ONES: tl.constexpr, BLOCK: tl.constexpr, RADIUS: tl.constexpr, STEP: tl.constexpr, CHUNK: tl.constexpr,
    OTHER_BLOCK: tl.constexpr, OTHER_RADIUS: tl.constexpr, OTHER_STEP: tl.constexpr, WIDTH: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """The gradient of one axis's banded matrix, ``grad @ (x @ other^T)^T`` over some images, and two weighted sums of grad's lines.

    The axis has ``length`` and ``stride_l``; ``other`` is the matrix of the axis across it, ``weights`` its two responses to ones, which
    weight the sums; with DILATED_AND_ONES these are the second response and 1.
    """
    tiles, chunks = tl.cdiv(length, BLOCK), extent // CHUNK
    pid = tl.program_id(0)
    chunk = pid % chunks
    tile = pid // chunks % tiles
    c = (pid // (chunks * tiles) % channels).to(tl.int64)
    split = pid // (chunks * tiles) // channels

    i = tile * BLOCK + tl.arange(0, BLOCK)
    p = first_input(tile, BLOCK, RADIUS, STEP) + chunk * CHUNK + tl.arange(0, CHUNK)
    at_j, at_q = tl.arange(0, WIDTH), tl.arange(0, OTHER_STEP)
    breadth_padded = tl.cdiv(breadth, OTHER_BLOCK) * OTHER_BLOCK
    i_offset, p_offset = i[:, None].to(tl.int64) * stride_l, p[None, :].to(tl.int64) * stride_l
    result = tl.zeros([BLOCK, CHUNK], tl.float32)
    sum_a, sum_b = tl.zeros([BLOCK], tl.float32), tl.zeros([BLOCK], tl.float32)
    for n in range(split * images, tl.minimum(batch, split * images + images)):
        plane = (tl.cast(n, tl.int64) * channels + c) * length * breadth
        for j0 in range(0, breadth, WIDTH):
            other_tile = j0 // OTHER_BLOCK
            first = first_input(other_tile, OTHER_BLOCK, OTHER_RADIUS, OTHER_STEP)
            line = c * breadth_padded + j0 + at_j
            t = tl.zeros([WIDTH, CHUNK], tl.float32)
            for q in range(first, tl.minimum(breadth, (other_tile + 1) * OTHER_BLOCK + OTHER_RADIUS), OTHER_STEP):
                taps = tl.load(other + line[:, None] * other_extent + (q - first + at_q)[None, :])
                inside = (q + at_q < breadth)[:, None] & (p < length)[None, :]
                part = tl.load(
                    x + plane + (q + at_q)[:, None].to(tl.int64) * stride_b + p_offset, mask=inside, other=0.0
                )
                t = dot(taps, part, t, PRECISION)
            inside = (i < length)[:, None] & (j0 + at_j < breadth)[None, :]
            g = tl.load(grad + plane + i_offset + (j0 + at_j)[None, :].to(tl.int64) * stride_b, mask=inside, other=0.0)
            result = dot(g, t.to(g.dtype), result, PRECISION)
            second = tl.load(weights + tl.cast(channels, tl.int64) * breadth_padded + line)[None, :]
            if DILATED_AND_ONES:
                sum_a += tl.sum(g.to(tl.float32) * second, 1)
                sum_b += tl.sum(g.to(tl.float32), 1)
            else:
                sum_a += tl.sum(g.to(tl.float32) * tl.load(weights + line)[None, :], 1)
                sum_b += tl.sum(g.to(tl.float32) * second, 1)
    line = (split.to(tl.int64) * channels + c) * tiles * BLOCK + i
    local = chunk * CHUNK + tl.arange(0, CHUNK)
    tl.store(matrix_grad + line[:, None] * extent + local[None, :], result)
    tl.store(sums + 2 * line, sum_a, mask=i < tl.where(chunk == 0, tiles * BLOCK, 0))
    tl.store(sums + 2 * line + 1, sum_b, mask=i < tl.where(chunk == 0, tiles * BLOCK, 0))


@triton.jit
def tap_gradient(
    matrix_grad, sums, bias_on_matrix, bias_a, bias_b, out, channels, length, extent, splits,
    K0: tl.constexpr, K1: tl.constexpr, K0_PADDED: tl.constexpr, DILATION: tl.constexpr, HAS_BIAS: tl.constexpr,
    BLOCK: tl.constexpr, RADIUS: tl.constexpr, STEP: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """From the gradient of M = M1 @ M0: ``out[c, t, s]``, what the product of taps t and s receives, and in ``out[c, t, K0]`` what tap t
    receives through M1's response to ones."""
    c, t = tl.program_id(0).to(tl.int64), tl.program_id(1)
    s = tl.arange(0, K0_PADDED)
    a, b = tl.load(bias_a + c).to(tl.float32), tl.load(bias_b + c).to(tl.float32)
    lines = tl.cdiv(length, BLOCK) * BLOCK
    pairs, alone = tl.zeros([K0_PADDED], tl.float32), 0.0
    for i0 in range(0, length, ROWS):
        i = i0 + tl.arange(0, ROWS)
        m = i + (t - K1 // 2) * DILATION
        valid = (i < length) & (m >= 0) & (m < length)
        p = m[:, None] + s[None, :] - K0 // 2
        inside = valid[:, None] & (p >= 0) & (p < length) & (s < K0)[None, :]
        local = p - first_input(i0 // BLOCK, BLOCK, RADIUS, STEP)
        for split in range(splits):
            line = (tl.cast(split, tl.int64) * channels + c) * lines + i
            sum_a = tl.load(sums + 2 * line, mask=valid, other=0.0)
            sum_b = tl.load(sums + 2 * line + 1, mask=valid, other=0.0)
            value = tl.load(matrix_grad + line[:, None] * extent + local, mask=inside, other=0.0)
            if HAS_BIAS:  # the matrix is applied to a map that holds this bias too
                value += tl.where(inside, (tl.load(bias_on_matrix + c).to(tl.float32) * sum_a)[:, None], 0.0)
            pairs += tl.sum(value, 0)
            alone += tl.sum(a * sum_a + b * sum_b, 0)
    line = (c * K1 + t) * (K0 + 1)
    tl.store(out + line + s, pairs, mask=s < K0)
    tl.store(out + line + K0, alone)


@triton.jit
def parameter_gradient(
    pairs_v, pairs_h, line_sums, along_sums, v0, v1, h0, h1,
    h0_grad, h0_bias, v0_grad, v0_bias, h1_grad, h1_bias, v1_grad, v1_bias, channels, lines, splits,
    K0: tl.constexpr, K1: tl.constexpr, K0H: tl.constexpr, K1H: tl.constexpr,
    K0_PADDED: tl.constexpr, K1_PADDED: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """A channel's gradients of the four kernels and their biases."""
    c = tl.program_id(0).to(tl.int64)
    _two_kernels(pairs_v, v0, v1, v0_grad, v1_grad, c, K0, K1, K0_PADDED, K1_PADDED)
    _two_kernels(pairs_h, h0, h1, h0_grad, h1_grad, c, K0H, K1H, K0_PADDED, K1_PADDED)
    with_ones, with_dilated = tl.zeros([ROWS], tl.float32), tl.zeros([ROWS], tl.float32)
    plain_dilated, plain = tl.zeros([ROWS], tl.float32), tl.zeros([ROWS], tl.float32)
    for start in range(0, lines, ROWS):
        i = start + tl.arange(0, ROWS)
        ones = tl.load(along_sums + c * lines + i)
        dilated = tl.load(along_sums + (tl.cast(channels, tl.int64) + c) * lines + i)
        for split in range(splits):
            line = 2 * ((tl.cast(split, tl.int64) * channels + c) * lines + i)
            weighted, alone = tl.load(line_sums + line), tl.load(line_sums + line + 1)
            with_ones += weighted * ones
            with_dilated += weighted * dilated
            plain_dilated += alone * dilated
            plain += alone
    tl.store(h0_bias + c, tl.sum(with_ones, 0).to(h0_bias.dtype.element_ty))
    tl.store(v0_bias + c, tl.sum(with_dilated, 0).to(v0_bias.dtype.element_ty))
    tl.store(h1_bias + c, tl.sum(plain_dilated, 0).to(h1_bias.dtype.element_ty))
    tl.store(v1_bias + c, tl.sum(plain, 0).to(v1_bias.dtype.element_ty))


@triton.jit
def _two_kernels(
    pairs, taps0, taps1, grad0, grad1, c,
    K0: tl.constexpr, K1: tl.constexpr, K0_PADDED: tl.constexpr, K1_PADDED: tl.constexpr,
):  # fmt: skip
    t, s = tl.arange(0, K1_PADDED), tl.arange(0, K0_PADDED)
    line = (c * K1 + t) * (K0 + 1)
    both = tl.load(pairs + line[:, None] + s[None, :], mask=(t < K1)[:, None] & (s < K0)[None, :], other=0.0)
    w0 = tl.load(taps0 + c * K0 + s, mask=s < K0, other=0.0).to(tl.float32)
    w1 = tl.load(taps1 + c * K1 + t, mask=t < K1, other=0.0).to(tl.float32)
    alone = tl.load(pairs + line + K0, mask=t < K1, other=0.0)
    first, second = tl.sum(both * w1[:, None], 0), tl.sum(both * w0[None, :], 1) + alone
    tl.store(grad0 + c * K0 + s, first.to(grad0.dtype.element_ty), mask=s < K0)
    tl.store(grad1 + c * K1 + t, second.to(grad1.dtype.element_ty), mask=t < K1)


# ---- launches ----


def launch_band_gradient(x: Tensor, grad: Tensor, axis: Axis, other: Axis, bands: Bands) -> tuple[Tensor, Tensor]:
    """Shares of the gradient of an axis's matrix, and of the sums of grad's lines with two weights, from some of the images each.

    The weights are, for the vertical axis, the horizontal dilated kernel's response to ones and 1; for the horizontal axis the vertical
    matrix's and dilated kernel's responses.
    """
    n, c, h, w = x.shape
    chosen = settings('band_gradient', x)
    matrix, weights = (bands.across, bands.across_sums) if axis.vertical else (bands.along, bands.along_sums)
    programs = c * axis.tiles * (axis.extent // axis.step)
    images = ceil_div(n, min(n, ceil_div(chosen['programs'], programs)))
    splits = ceil_div(n, images)
    matrix_grad = x.new_empty(splits, c, axis.lines, axis.extent, dtype=torch.float32)
    sums = x.new_empty(splits, c, axis.lines, 2, dtype=torch.float32)

    def plan() -> Plan:
        strides = (w, 1) if axis.vertical else (1, w)
        numbers = n, c, axis.length, other.length, *strides, axis.extent, other.extent, images
        constants = dict(
            DILATED_AND_ONES=axis.vertical, **axis.tiling, CHUNK=axis.step, OTHER_BLOCK=other.block,
            OTHER_RADIUS=other.radius, OTHER_STEP=other.step, WIDTH=other.step, PRECISION=precision(x),
            num_warps=chosen['warps'][axis.block > 64], num_stages=chosen['stages'],
        )  # fmt: skip
        return Plan((splits * programs,), numbers, constants)

    launch(band_gradient, (n, c, axis, other), (x, grad, matrix, weights, matrix_grad, sums), plan)
    return matrix_grad, sums


def launch_tap_gradient(
    axis: Axis, matrix_grad: Tensor, sums: Tensor, bias_a: Tensor, bias_b: Tensor, bias_on_matrix: Tensor | None = None
) -> Tensor:
    """What each product of two taps of an axis receives, and each dilated tap alone: (C, k1, k0 + 1), in float32."""
    splits, c = sums.shape[:2]
    pairs = sums.new_empty(c, axis.k1, axis.k0 + 1)

    def plan() -> Plan:
        constants = dict(
            K0=axis.k0, K1=axis.k1, K0_PADDED=power_of_two(axis.k0), DILATION=axis.dilation,
            HAS_BIAS=bias_on_matrix is not None, **axis.tiling, ROWS=min(axis.block, 64), num_warps=4,
        )  # fmt: skip
        return Plan((c, axis.k1), (c, axis.length, axis.extent, splits), constants)

    launch(tap_gradient, (c, splits, axis), (matrix_grad, sums, bias_on_matrix, bias_a, bias_b, pairs), plan)
    return pairs


def launch_parameter_gradient(
    ver: Axis, hor: Axis, pairs_v: Tensor, pairs_h: Tensor, sums: Tensor, bands: Bands, taps: Taps, biases: tuple
) -> list[Tensor]:
    """Gradients of the weights and biases h0, v0, h1, v1 from :func:`launch_tap_gradient` of both axes and the vertical sums."""
    splits, c = sums.shape[:2]
    found = [torch.empty_like(t) for pair in zip(taps, biases) for t in pair]

    def plan() -> Plan:
        constants = dict(
            K0=ver.k0, K1=ver.k1, K0H=hor.k0, K1H=hor.k1, K0_PADDED=power_of_two(max(ver.k0, hor.k0)),
            K1_PADDED=power_of_two(max(ver.k1, hor.k1)), ROWS=min(ver.block, 64), num_warps=1,
        )  # fmt: skip
        return Plan((c,), (c, ver.lines, splits), constants)

    tensors = pairs_v, pairs_h, sums, bands.along_sums, taps.v0, taps.v1, taps.h0, taps.h1, *found
    launch(parameter_gradient, (c, splits, ver, hor), tensors, plan)
    return found
