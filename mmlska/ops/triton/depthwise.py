"""The 3x3 depthwise convolution with GELU: its kernel, launch and settings. Importing this file imports triton.

Nine taps are few enough for plain arithmetic. A program walks down a strip of rows for BLOCK_C channels and BLOCK_W columns with the nine
neighbours of its outputs in registers: each row is loaded three times, shifted by a column, instead of nine times.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .launch import Plan, ceil_div, dense_format, launch, new_map, power_of_two, settings_of, strides

# On an H100 (`tune` in docs/results/gpu_check_h100_1.json), us at the four stages of VAN-B at 512x512, bf16, batch 16: 512 elements 331,
# 174, 72, 32, 1024 elements 373, 197, 90, 43.
SETTINGS = {
    'depthwise': dict(elements=512, rows=32, warps=4),
    'depthwise_backward': dict(elements=512, rows=32, warps=4),
}
settings = settings_of(SETTINGS)


# ---- the kernel ----


@triton.jit
def _row(base, i, height, stride, mid, step, mine, has_left, has_right):
    """Row i at the columns of the outputs and one to the left and right of them, zero outside the image."""
    i = tl.zeros([1, 1], tl.int64) + i
    row = base + i * stride + mid
    inside = (i >= 0) & (i < height)
    return (
        tl.load(row - step, mask=has_left & inside, other=0.0),
        tl.load(row, mask=mine & inside, other=0.0),
        tl.load(row + step, mask=has_right & inside, other=0.0),
    )


@triton.jit
def _floats(a, b, c):
    return a.to(tl.float32), b.to(tl.float32), c.to(tl.float32)


@triton.jit
def _tap(weight, c, known, T: tl.constexpr, FLIPPED: tl.constexpr):
    return tl.load(weight + c * 9 + (8 - T if FLIPPED else T), mask=known, other=0.0).to(tl.float32)[:, None]


@triton.jit
def _taps(weight, c, known, T: tl.constexpr, FLIPPED: tl.constexpr):
    """Tap T and the two after it."""
    return (
        _tap(weight, c, known, T, FLIPPED),
        _tap(weight, c, known, T + 1, FLIPPED),
        _tap(weight, c, known, T + 2, FLIPPED),
    )


@triton.jit
def _erf_half(y):
    """The normal distribution's share below y: GELU is y times it."""
    return 0.5 * (1.0 + tl.erf(y * 0.7071067811865476))


@triton.jit
def depthwise(
    x, weight, bias, grad, out, activation, weight_grad, channels, height, width, strips, rows,
    xn, xc, xh, xw, gn, gc, gh, gw,
    GELU: tl.constexpr, BACKWARD: tl.constexpr, ACTIVATION: tl.constexpr, FLIPPED: tl.constexpr,
    BLOCK_C: tl.constexpr, BLOCK_W: tl.constexpr,
):  # fmt: skip
    """``gelu(conv(x) + bias)``, or without GELU ``conv(x)``; out and activation have the strides of x, grad has its own.

    BACKWARD: ``out`` becomes the gradient of the convolution's output, ``weight_grad`` this program's share of the ten sums of a
    channel, and with ACTIVATION the activation is written again. FLIPPED turns the kernel round, for the gradient of x.
    """
    blocks_w, blocks_c = tl.cdiv(width, BLOCK_W), tl.cdiv(channels, BLOCK_C)
    pid = tl.program_id(0)
    w = pid % blocks_w * BLOCK_W + tl.arange(0, BLOCK_W)[None, :]
    first = pid // blocks_w % strips * rows
    block_c = pid // (blocks_w * strips) % blocks_c
    n = (pid // (blocks_w * strips * blocks_c)).to(tl.int64)
    c = block_c * BLOCK_C + tl.arange(0, BLOCK_C)
    known = c < channels
    wide, mine = c[:, None].to(tl.int64), known[:, None] & (w < width)
    mid = wide * xc + w * xw
    has_left, has_right = mine & (w >= 1), mine & (w + 1 < width)
    w0, w1, w2 = _taps(weight, c, known, 0, FLIPPED)
    w3, w4, w5 = _taps(weight, c, known, 3, FLIPPED)
    w6, w7, w8 = _taps(weight, c, known, 6, FLIPPED)
    b = tl.zeros([BLOCK_C, 1], tl.float32)
    if GELU:
        b = tl.load(bias + c, mask=known, other=0.0).to(tl.float32)[:, None]

    base = x + n * xn
    a0, a1, a2 = _row(base, first - 1, height, xh, mid, xw, mine, has_left, has_right)
    x0, x1, x2 = _floats(a0, a1, a2)
    a0, a1, a2 = _row(base, first, height, xh, mid, xw, mine, has_left, has_right)
    x3, x4, x5 = _floats(a0, a1, a2)
    a0, a1, a2 = _row(base, first + 1, height, xh, mid, xw, mine, has_left, has_right)
    if BACKWARD:
        grads = grad + n * gn + wide * gc + w * gw
        g = tl.load(grads + tl.cast(first, tl.int64) * gh, mask=mine, other=0.0)
        zero = tl.zeros_like(x0)
        s0, s1, s2, s3, s4, s5, s6, s7, s8, s9 = zero, zero, zero, zero, zero, zero, zero, zero, zero, zero
    for i in range(first, tl.minimum(height, first + rows)):
        x6, x7, x8 = _floats(a0, a1, a2)
        # What the next round needs is on its way while this one computes.
        a0, a1, a2 = _row(base, i + 2, height, xh, mid, xw, mine, has_left, has_right)
        if BACKWARD:
            upstream = g.to(tl.float32)
            following = tl.zeros([1, 1], tl.int64) + i + 1
            g = tl.load(grads + following * gh, mask=mine & (following < height), other=0.0)
        y = x0 * w0 + x1 * w1 + x2 * w2 + x3 * w3 + x4 * w4 + x5 * w5 + x6 * w6 + x7 * w7 + x8 * w8 + b
        target = n * xn + tl.cast(i, tl.int64) * xh + mid
        if BACKWARD:
            share = _erf_half(y)
            if ACTIVATION:
                tl.store(activation + target, (y * share).to(activation.dtype.element_ty), mask=mine)
            d = upstream * (share + y * 0.3989422804014327 * tl.exp(-0.5 * y * y))
            tl.store(out + target, d.to(out.dtype.element_ty), mask=mine)
            s0, s1, s2, s3, s4 = s0 + d * x0, s1 + d * x1, s2 + d * x2, s3 + d * x3, s4 + d * x4
            s5, s6, s7, s8, s9 = s5 + d * x5, s6 + d * x6, s7 + d * x7, s8 + d * x8, s9 + d
        else:
            if GELU:
                y = y * _erf_half(y)
            tl.store(out + target, y.to(out.dtype.element_ty), mask=mine)
        x0, x1, x2, x3, x4, x5 = x3, x4, x5, x6, x7, x8
    if BACKWARD:
        share_id = (n * strips + pid // blocks_w % strips) * blocks_w + pid % blocks_w
        line = weight_grad + (share_id * channels + c) * 10
        tl.store(line, tl.sum(s0, 1), mask=known)
        tl.store(line + 1, tl.sum(s1, 1), mask=known)
        tl.store(line + 2, tl.sum(s2, 1), mask=known)
        tl.store(line + 3, tl.sum(s3, 1), mask=known)
        tl.store(line + 4, tl.sum(s4, 1), mask=known)
        tl.store(line + 5, tl.sum(s5, 1), mask=known)
        tl.store(line + 6, tl.sum(s6, 1), mask=known)
        tl.store(line + 7, tl.sum(s7, 1), mask=known)
        tl.store(line + 8, tl.sum(s8, 1), mask=known)
        tl.store(line + 9, tl.sum(s9, 1), mask=known)


# ---- its launch ----


def launch_depthwise(
    x: Tensor, weight: Tensor, bias: Tensor | None, grad: Tensor | None = None, activation: Tensor | None = None
) -> tuple[Tensor, Tensor | None]:
    """``gelu(conv(x) + bias)``, without a bias the transposed convolution, or, with grad, what the backward pass needs.

    That is the gradient of the convolution's output and each program's share of the sums for weight and bias, (shares, C, 10).
    """
    n, c, h, w = x.shape
    chosen = settings('depthwise' if grad is None else 'depthwise_backward', x)
    # What fits into the registers, along the axis first that is dense in memory.
    elements, rows = chosen['elements'], chosen['rows']
    if dense_format(x) == torch.channels_last:
        block_c = min(power_of_two(c), 64)
        block_w = min(power_of_two(w), elements // block_c)
    else:
        block_w = min(power_of_two(w), 128)
        block_c = min(power_of_two(c), elements // block_w)
    strips, blocks_w = ceil_div(h, rows), ceil_div(w, block_w)
    out = new_map(x, like=x)
    shares = None if grad is None else x.new_empty(n * strips * blocks_w, c, 10, dtype=torch.float32)

    def plan() -> Plan:
        numbers = c, h, w, strips, rows, *strides(x), *strides(grad if grad is not None else x)
        constants = dict(
            GELU=bias is not None, BACKWARD=grad is not None, ACTIVATION=activation is not None, FLIPPED=bias is None,
            BLOCK_C=block_c, BLOCK_W=block_w, num_warps=chosen['warps'],
        )  # fmt: skip
        return Plan((n * ceil_div(c, block_c) * strips * blocks_w,), numbers, constants)

    formats = x.stride(), grad if grad is None else grad.stride()
    launch(depthwise, (x.shape, formats), (x, weight.contiguous(), bias, grad, out, activation, shares), plan)
    return out, shares
