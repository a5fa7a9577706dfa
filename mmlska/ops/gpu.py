"""The GPU backend: Triton kernels (triton_kernels.py, triton_depthwise.py) as PyTorch operators.

**The depthwise chain runs on the tensor cores, in one pass.** A GPU moves a 16-bit map at about a trillion elements a second. To sum up
to 22 taps for each of them outside the tensor cores takes longer than that; so does fetching each pixel once for every tap, from whatever
cache; and four convolutions one after the other are four trips through memory. But along an axis of fixed length a convolution is
a product with a banded matrix, and the zeros that padding puts between two convolutions fit into the product of their matrices:
``A = V1 @ V0`` for the rows, ``B = H1 @ H0`` for the columns (dilated after dense). Without biases horizontal and vertical convolutions
commute, so the whole chain is ``A @ X @ B^T`` for each image and channel: two products of matrices that fit on the chip (128 x 128 in
stage 1 of a 512 x 512 image), one read, one write, in a time that does not depend on the kernel's size. The biases add a separable
field, with ``ones = H1 @ 1``:

    ones(j) * (b_h0 * (A @ 1)(i) + b_v0 * (V1 @ 1)(i)) + b_h1 * (V1 @ 1)(i) + b_v1

``band_matrix`` makes A and B of the taps in every call; they are small next to a batch of maps. A larger image is cut into tiles, each of
which reads what its band reaches. The gradient of the input is the same kernel with A and B transposed. The gradient of A is
``G @ (X @ B^T)^T``, on the tensor cores again (``band_gradient``; that of B by symmetry), and those of the taps are sums along its
diagonals (``tap_gradient``).

**The 1x1 and the multiplication are one kernel** (``mix``), so that the attention map is never written: forward reads x and writes the
chain's result, then reads both and writes the output. x and the chain's result are kept for backward.

**The 3x3 and GELU** have 9 taps only, for which plain arithmetic is enough: a program walks down the rows with its neighbourhood in
registers. The 1x1 after it is a matrix product of PyTorch's.

The chain wants whole planes: a channels_last map is copied for it, so on a GPU the contiguous format, PyTorch's default, is the faster one
for LSKA. A NaN or an infinity spreads within its tile, not only as far as the kernel reaches. Sums are in float32, and float32 maps are
multiplied as three tf32 products, which is as exact as float32. No sum is atomic: the same input gives the same bits.
"""

from __future__ import annotations

from importlib.util import find_spec

import torch
import torch.nn.functional as F
from torch import Tensor

from . import library, reference
from .checks import Pair
from .gpu_launch import (
    INTERPRETED,
    axes_of,
    dense,
    dense_format,
    launch_band,
    launch_band_gradient,
    launch_chain,
    launch_depthwise,
    launch_mix,
    launch_mix_gradient,
    launch_tap_gradient,
    new_map,
)

NAME = 'triton'
_DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def _missing() -> str | None:
    try:
        return None if find_spec('triton') else 'triton is not installed; `pip install triton` brings it'
    except (ImportError, ValueError) as error:
        return f'triton cannot be imported ({error}); `pip install --force-reinstall triton` mends that'


PROBLEM = _missing()


def supports(op: str, device_type: str, dtype: torch.dtype) -> bool:
    """Tell whether the kernels are correct there."""
    return (device_type == 'cuda' or (device_type == 'cpu' and INTERPRETED)) and dtype in _DTYPES


def pays(op: str, x: Tensor) -> bool:
    """Tell whether the kernels are faster: on every GPU, and never in the interpreter."""
    return x.is_cuda


def lska_attention(
    x: Tensor,
    h0: Pair,
    v0: Pair,
    h1: Pair | None,
    v1: Pair | None,
    pointwise: Pair,
    dilation: int,
    gelu: bool = False,
) -> Tensor:
    """See :func:`mmlska.ops.lska_attention`."""
    parameters = (*library.all_four(x, h0, v0, h1, v1), *pointwise)
    if torch.is_grad_enabled() and any(t.requires_grad for t in (x, *parameters)):
        return torch.ops.mmlska_triton.lska_training(dense(x), *parameters, dilation, gelu)[0]
    return torch.ops.mmlska_triton.lska_inference(dense(x), *parameters, dilation, gelu)


def depthwise_gelu(
    x: Tensor, weight: Tensor, bias: Tensor, pointwise: Pair | None = None, expand: Pair | None = None
) -> Tensor:
    """See :func:`mmlska.ops.depthwise_gelu`."""
    x = x if expand is None else F.conv2d(x, *expand)
    if pointwise is None:
        return torch.ops.mmlska_triton.depthwise_gelu(dense(x), weight, bias)
    return torch.ops.mmlska_triton.depthwise_gelu_pointwise(dense(x), weight, bias, *pointwise)


# ---- operators ----


def _run(x: Tensor, fused, plain):
    """The kernels' result, or plain PyTorch's where this GPU or installation cannot compile or start them, and never try again."""
    global PROBLEM
    if PROBLEM is None:
        try:
            with torch.cuda.device_of(x):  # Triton launches on the current one
                return fused()
        except Exception as error:
            if INTERPRETED or isinstance(error, torch.OutOfMemoryError):
                raise
            reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
            PROBLEM = (
                f'the Triton kernels do not compile or start here ({type(error).__name__}: {reason}); they need a C compiler, '
                'Python headers and a triton made for this torch: `pip install -U triton`'
            )
    library.warn_once(NAME, PROBLEM)
    return plain()


def _lska_forward(
    x, h0w, h0b, v0w, v0b, h1w, h1b, v1w, v1b, pw, pb, dilation: int, gelu: bool
) -> tuple[Tensor, Tensor]:
    x = F.gelu(dense(x)) if gelu else dense(x)

    def fused():
        if x.numel() == 0:
            return new_map(x, like=x), new_map(x)
        ver, hor = axes_of(x, h0w, v0w, h1w, v1w, dilation)
        kept = launch_chain(
            x.contiguous(), ver, hor, launch_band(ver), launch_band(hor), [b.contiguous() for b in (h0b, v0b, h1b, v1b)]
        )
        return launch_mix(pw.flatten(1), pb.contiguous(), kept, x, new_map(x, like=x)), kept

    def plain():
        kept = reference.depthwise_chain(x, (h0w, h0b), (v0w, v0b), (h1w, h1b), (v1w, v1b), dilation)
        return (x * F.conv2d(kept, pw, pb)).contiguous(memory_format=dense_format(x)), kept.contiguous()

    return _run(x, fused, plain)


def _lska_backward(
    grad, x, kept, h0w, h0b, v0w, v0b, h1w, h1b, v1w, v1b, pw, pb, dilation: int, gelu: bool
) -> list[Tensor]:
    parameters = (h0w, h0b, v0w, v0b, h1w, h1b, v1w, v1b, pw, pb)
    before, kept = dense(x), kept.contiguous()
    x = F.gelu(before) if gelu else before  # one cheap pass, so that its result need not be kept

    def fused():
        if x.numel() == 0:
            return [new_map(x, like=x), *(torch.zeros_like(p) for p in parameters)]
        g, planes = dense(grad), x.contiguous()
        ver, hor = axes_of(x, h0w, v0w, h1w, v1w, dilation)
        along, across = launch_band(ver), launch_band(hor)
        through_x = launch_mix(pw.flatten(1), pb.contiguous(), kept, g, new_map(x))
        chain_grad = launch_mix(pw.flatten(1).t(), None, x, g, new_map(x))
        pw_grad, pb_grad = launch_mix_gradient(g, x, kept)
        x_grad = launch_chain(chain_grad, ver, hor, launch_band(ver, True), launch_band(hor, True), extra=through_x)

        weights = across.dilated, torch.ones_like(across.dilated)
        a_grad, a_sums = launch_band_gradient(planes, chain_grad, ver, hor, across.matrix, weights)
        weights = along.ones, along.dilated
        b_grad, b_sums = launch_band_gradient(planes, chain_grad, hor, ver, along.matrix, weights)
        v0_grad, v1_grad = launch_tap_gradient(ver, a_grad, a_sums, v0b, h1b, bias_on_matrix=h0b)
        h0_grad, h1_grad = launch_tap_gradient(hor, b_grad, b_sums, h0b, v0b)
        with_ones, plain_sum = a_sums.sum(0).unbind(2)
        found = (
            h0_grad, (with_ones * along.ones).sum(1), v0_grad, (with_ones * along.dilated).sum(1),
            h1_grad, (plain_sum * along.dilated).sum(1), v1_grad, plain_sum.sum(1), pw_grad, pb_grad,
        )  # fmt: skip
        found = [f.reshape(p.shape).to(p.dtype) for f, p in zip(found, parameters)]
        x_grad = x_grad.contiguous(memory_format=dense_format(x))
        return [torch.ops.aten.gelu_backward(x_grad, before) if gelu else x_grad, *found]

    return _run(x, fused, lambda: _plain_grads(library.flat_lska(dilation, gelu), (before, *parameters), grad))


def _depthwise_gelu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    x = dense(x)

    def fused():
        return new_map(x, like=x) if x.numel() == 0 else launch_depthwise(x, weight, bias.contiguous())[0]

    return _run(x, fused, lambda: reference.depthwise_gelu(x, weight, bias).contiguous(memory_format=dense_format(x)))


def _depthwise_gelu_backward(grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor) -> list[Tensor]:
    x = dense(x)

    def fused():
        if x.numel() == 0:
            return [new_map(x, like=x), torch.zeros_like(weight), torch.zeros_like(bias)]
        inner, shares = launch_depthwise(x, weight, bias.contiguous(), dense(grad))
        return [launch_depthwise(inner, weight, None)[0], *_taps_and_bias(shares, weight, bias)]

    return _run(x, fused, lambda: _plain_grads(library.flat_depthwise_gelu, (x, weight, bias), grad))


def _taps_and_bias(shares: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    total = shares.sum(0)
    # Copies: results of an operator must not share memory.
    weight_grad = torch.empty_like(weight, memory_format=torch.contiguous_format).copy_(
        total[:, :9].reshape(weight.shape)
    )
    return weight_grad, torch.empty_like(bias).copy_(total[:, 9])


def _depthwise_gelu_pointwise(x: Tensor, weight: Tensor, bias: Tensor, pw: Tensor, pb: Tensor) -> Tensor:
    y = _matmul(pw.flatten(1), _depthwise_gelu(x, weight, bias)) + pb.view(1, -1, 1, 1)
    return y.contiguous(memory_format=dense_format(x))


def _matmul(weight: Tensor, x: Tensor) -> Tensor:
    """A 1x1 convolution in the memory format of x; cuDNN's would convert a contiguous map there and back."""
    if dense_format(x) == torch.channels_last:
        return F.linear(x.permute(0, 2, 3, 1), weight).permute(0, 3, 1, 2)
    y = torch.bmm(weight.expand(x.shape[0], -1, -1), x.flatten(2))
    return y.unflatten(2, x.shape[2:])


def _depthwise_gelu_pointwise_backward(grad, x, weight, bias, pw) -> list[Tensor]:
    x = dense(x)

    def fused():
        if x.numel() == 0:
            return [new_map(x, like=x), *(torch.zeros_like(t) for t in (weight, bias, pw)), pw.new_zeros(pw.shape[0])]
        activation, g = new_map(x, like=x), grad.contiguous(memory_format=dense_format(x))
        inner, shares = launch_depthwise(x, weight, bias.contiguous(), dense(_matmul(pw.flatten(1).t(), g)), activation)
        pw_grad = torch.bmm(g.flatten(2), activation.flatten(2).transpose(1, 2)).sum(0, dtype=torch.float32)
        pb_grad = g.sum((0, 2, 3), dtype=torch.float32)
        found = pw_grad.reshape(pw.shape).to(pw.dtype), pb_grad.to(pw.dtype)
        return [launch_depthwise(inner, weight, None)[0], *_taps_and_bias(shares, weight, bias), *found]

    def plain():
        return _plain_grads(library.flat_depthwise_gelu, (x, weight, bias, pw, pw.new_zeros(pw.shape[0])), grad)

    return _run(x, fused, plain)


def _plain_grads(twin, inputs: tuple[Tensor, ...], grad: Tensor) -> list[Tensor]:
    leaves = [t.detach().requires_grad_() for t in inputs]
    with torch.enable_grad():
        x_grad, *found = torch.autograd.grad(twin(*leaves), leaves, grad)
    return [x_grad.contiguous(memory_format=dense_format(inputs[0])), *(f.contiguous() for f in found)]


_LSKA = (
    'Tensor h0w, Tensor h0b, Tensor v0w, Tensor v0b, Tensor h1w, Tensor h1b, Tensor v1w, Tensor v1b, '
    'Tensor pw, Tensor pb, int dilation, bool gelu'
)
_OPERATORS = {
    'lska_inference': (f'(Tensor x, {_LSKA}) -> Tensor', lambda *inputs: _lska_forward(*inputs)[0]),
    'lska_training': (f'(Tensor x, {_LSKA}) -> (Tensor, Tensor)', _lska_forward),
    'lska_backward': (f'(Tensor grad, Tensor x, Tensor kept, {_LSKA}) -> Tensor[]', _lska_backward),
    'depthwise_gelu': ('(Tensor x, Tensor weight, Tensor bias) -> Tensor', _depthwise_gelu),
    'depthwise_gelu_backward': (
        '(Tensor grad, Tensor x, Tensor weight, Tensor bias) -> Tensor[]',
        _depthwise_gelu_backward,
    ),
    'depthwise_gelu_pointwise': (
        '(Tensor x, Tensor weight, Tensor bias, Tensor pw, Tensor pb) -> Tensor',
        _depthwise_gelu_pointwise,
    ),
    'depthwise_gelu_pointwise_backward': (
        '(Tensor grad, Tensor x, Tensor weight, Tensor bias, Tensor pw) -> Tensor[]',
        _depthwise_gelu_pointwise_backward,
    ),
}

for _name, (_schema, _function) in _OPERATORS.items():
    torch.library.define(f'mmlska_triton::{_name}', _schema)
    torch.library.impl(f'mmlska_triton::{_name}', ('cuda', 'cpu'))(_function)
library.register('mmlska_triton', dense_format, torch.contiguous_format)
