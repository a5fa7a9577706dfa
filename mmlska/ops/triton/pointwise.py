"""The 1x1 convolution, with a multiplication before or after it: kernels, launches, settings. Importing this file imports triton.

**The 1x1 and the multiplication are one kernel** (``pointwise``), so that the attention map is never written: forward reads x and writes
the chain's result, then reads both and writes the output. x and the chain's result are kept for backward. The same kernel runs the 1x1s of
an MLP: on an H100 cuDNN and cuBLAS take 1.4 to 3.4 times as long to make a wide map (`tune` in docs/results/gpu_check_h100_{1,2}.json).
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .dot import dot
from .launch import Plan, ceil_div, flat_strides, launch, power_of_two, precision, settings_of

# Warps below and from a block of 128. Of the gradients, pixels up to a block of outputs, and above: scaled, three maps are staged, and with
# fewer pixels of each more programs fit on a multiprocessor. On an H100 (`tune` in docs/results/gpu_check_h100_{1,2}.json; the first one
# calls pointwise_after mix), us at the four stages of VAN-B at 512x512, bf16, batch 16: pointwise_after with a block of 64 37, 21, 16, 10,
# of 128 37, 25, 20, 10.
SETTINGS = {
    'pointwise': dict(block=128, inner=32, pixels=(128, 64), warps=(4, 8), stages=3, on={9: dict(inner=64)}),
    'pointwise_before': dict(block=128, inner=32, pixels=(128, 64), warps=(4, 8), stages=3),
    'pointwise_after': dict(block=64, inner=64, pixels=(128, 64), warps=(4, 8), stages=3),
    'pointwise_gradient': dict(block=64, pixels=((64, 32), (64, 32)), warps=4, stages=3, programs=512),
    'pointwise_gradient_scaled': dict(block=64, pixels=((64, 32), (32, 32)), warps=4, stages=3, programs=512),
}
settings = settings_of(SETTINGS)


# ---- kernels ----


@triton.jit
def pointwise(
    weight, bias, x, factor, out, inputs, outputs, pixels, stride_o, stride_i,
    xn, xc, xp, fn, fc, fp, on, oc, op,
    BIASED: tl.constexpr, BEFORE: tl.constexpr, AFTER: tl.constexpr,
    BLOCK_O: tl.constexpr, BLOCK_I: tl.constexpr, BLOCK_P: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """``weight @ x``, plus ``bias`` if BIASED; x is multiplied by ``factor`` if BEFORE, the sum if AFTER."""
    blocks_o, blocks_p = tl.cdiv(outputs, BLOCK_O), tl.cdiv(pixels, BLOCK_P)
    pid = tl.program_id(0)
    o = pid % blocks_o * BLOCK_O + tl.arange(0, BLOCK_O)
    p = (pid // blocks_o % blocks_p).to(tl.int64) * BLOCK_P + tl.arange(0, BLOCK_P)
    n = (pid // (blocks_o * blocks_p)).to(tl.int64)
    result = tl.zeros([BLOCK_O, BLOCK_P], tl.float32)
    for i0 in range(0, inputs, BLOCK_I):
        i = i0 + tl.arange(0, BLOCK_I)
        inside = (i < inputs)[:, None] & (p < pixels)[None, :]
        w = tl.load(
            weight + o[:, None] * stride_o + i[None, :] * stride_i,
            mask=(o < outputs)[:, None] & (i < inputs)[None, :], other=0.0,
        )  # fmt: skip
        wide = i[:, None].to(tl.int64)
        part = tl.load(x + n * xn + wide * xc + p[None, :] * xp, mask=inside, other=0.0)
        if BEFORE:
            scale = tl.load(factor + n * fn + wide * fc + p[None, :] * fp, mask=inside, other=0.0)
            part = (part.to(tl.float32) * scale.to(tl.float32)).to(part.dtype)
        result = dot(w.to(part.dtype), part, result, PRECISION)
    inside = (o < outputs)[:, None] & (p < pixels)[None, :]
    wide = o[:, None].to(tl.int64)
    if BIASED:
        result += tl.load(bias + o, mask=o < outputs, other=0.0).to(tl.float32)[:, None]
    if AFTER:
        result *= tl.load(factor + n * fn + wide * fc + p[None, :] * fp, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + n * on + wide * oc + p[None, :] * op, result.to(out.dtype.element_ty), mask=inside)


@triton.jit
def pointwise_gradient(
    grad, factor, x, weight_grad, bias_grad, inputs, outputs, pixels, chunks, per_split, one,
    gn, gc, gp, fn, fc, fp, xn, xc, xp,
    SCALED: tl.constexpr, BLOCK_O: tl.constexpr, BLOCK_I: tl.constexpr, BLOCK_P: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """One split's share of the gradients of a 1x1: ``grad @ x^T`` and the sum of ``grad``, multiplied by ``factor`` first if SCALED.

    ``one`` is 1.0, which the compiler does not know. It makes the product take grad from registers. If both the product and the sum read
    it from shared memory, Triton 3.6 overwrites it there while the tensor cores still read: wrong results now and then on an H100.
    """
    blocks_o, blocks_i, blocks_p = tl.cdiv(outputs, BLOCK_O), tl.cdiv(inputs, BLOCK_I), tl.cdiv(pixels, BLOCK_P)
    pid = tl.program_id(0)
    block_i = pid % blocks_i
    o = pid // blocks_i % blocks_o * BLOCK_O + tl.arange(0, BLOCK_O)
    i = block_i * BLOCK_I + tl.arange(0, BLOCK_I)
    split = pid // (blocks_i * blocks_o)
    wide_o, wide_i = o[:, None].to(tl.int64), i[None, :].to(tl.int64)
    result, total = tl.zeros([BLOCK_O, BLOCK_I], tl.float32), tl.zeros([BLOCK_O], tl.float32)
    for chunk in range(split * per_split, tl.minimum(chunks, split * per_split + per_split)):
        n = tl.cast(chunk // blocks_p, tl.int64)
        p = tl.cast(chunk % blocks_p, tl.int64) * BLOCK_P + tl.arange(0, BLOCK_P)
        inside = (o < outputs)[:, None] & (p < pixels)[None, :]
        g = tl.load(grad + n * gn + wide_o * gc + p[None, :] * gp, mask=inside, other=0.0)
        if SCALED:
            f = tl.load(factor + n * fn + wide_o * fc + p[None, :] * fp, mask=inside, other=0.0)
            g = (g.to(tl.float32) * f.to(tl.float32)).to(g.dtype)
        else:
            g = (g.to(tl.float32) * one).to(g.dtype)
        inside = (p < pixels)[:, None] & (i < inputs)[None, :]
        part = tl.load(x + n * xn + wide_i * xc + p[:, None] * xp, mask=inside, other=0.0)
        result = dot(g, part, result, PRECISION)
        total += tl.sum(g.to(tl.float32), 1)
    line = split.to(tl.int64) * outputs + o
    inside = (o < outputs)[:, None] & (i < inputs)[None, :]
    tl.store(weight_grad + line[:, None] * inputs + i[None, :], result, mask=inside)
    tl.store(bias_grad + line, total, mask=o < tl.where(block_i == 0, outputs, 0))


# ---- launches ----


def launch_pointwise(
    weight: Tensor,
    bias: Tensor | None,
    x: Tensor,
    out: Tensor,
    before: Tensor | None = None,
    after: Tensor | None = None,
) -> Tensor:
    """``after * (weight @ (before * x) + bias)``, without what is None; weight is (out channels, in channels), of any strides."""
    n, inputs, h, w = x.shape
    outputs, factor = weight.shape[0], after if before is None else before

    def plan() -> Plan:
        kind = 'pointwise' if factor is None else 'pointwise_after' if before is None else 'pointwise_before'
        chosen, wide = settings(kind, x), x.element_size() == 4
        block_o, block_p = min(max(power_of_two(outputs), 16), chosen['block']), chosen['pixels'][wide]
        block_i = min(max(power_of_two(inputs), 16), 32 if wide else chosen['inner'])
        numbers = inputs, outputs, h * w, *weight.stride(), *flat_strides(x)
        constants = dict(
            BIASED=bias is not None, BEFORE=before is not None, AFTER=after is not None,
            BLOCK_O=block_o, BLOCK_I=block_i, BLOCK_P=block_p,
            PRECISION=precision(x), num_warps=chosen['warps'][block_o >= 128], num_stages=chosen['stages'],
        )  # fmt: skip
        numbers = *numbers, *flat_strides(x if factor is None else factor), *flat_strides(out)
        return Plan((n * ceil_div(outputs, block_o) * ceil_div(h * w, block_p),), numbers, constants)

    formats = x.stride(), weight.stride(), factor if factor is None else factor.stride(), out.stride()
    launch(pointwise, (x.shape, outputs, before is None, formats), (weight, bias, x, factor, out), plan)
    return out


def launch_pointwise_gradient(grad: Tensor, x: Tensor, factor: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Gradients of weight and bias of ``factor * (weight @ x + bias)``, in float32; the factor may be None."""
    (n, inputs, h, w), outputs = x.shape, grad.shape[1]
    chosen = settings('pointwise_gradient' if factor is None else 'pointwise_gradient_scaled', x)
    block_o, block_i = (min(max(power_of_two(c), 16), chosen['block']) for c in (outputs, inputs))
    block_p = chosen['pixels'][outputs > chosen['block']][x.element_size() == 4]
    blocks, chunks = ceil_div(outputs, block_o) * ceil_div(inputs, block_i), n * ceil_div(h * w, block_p)
    per_split = ceil_div(chunks, min(chunks, ceil_div(chosen['programs'], blocks)))
    splits = ceil_div(chunks, per_split)
    weight = x.new_empty(splits, outputs, inputs, dtype=torch.float32)
    bias = x.new_empty(splits, outputs, dtype=torch.float32)

    def plan() -> Plan:
        numbers = inputs, outputs, h * w, chunks, per_split, 1.0, *flat_strides(grad)
        numbers = *numbers, *flat_strides(grad if factor is None else factor), *flat_strides(x)
        constants = dict(
            SCALED=factor is not None, BLOCK_O=block_o, BLOCK_I=block_i, BLOCK_P=block_p, PRECISION=precision(x),
            num_warps=chosen['warps'], num_stages=chosen['stages'],
        )  # fmt: skip
        return Plan((splits * blocks,), numbers, constants)

    formats = x.stride(), grad.stride(), factor if factor is None else factor.stride()
    launch(pointwise_gradient, (x.shape, outputs, formats), (grad, factor, x, weight, bias), plan)
    return weight.sum(0), bias.sum(0)
