"""The GPU backend: Triton kernels (triton_kernels.py, triton_depthwise.py) as PyTorch operators, and outside of compiled graphs as autograd
functions, which cost the CPU less.

**The depthwise chain runs on the tensor cores, in one pass.** A GPU moves a 16-bit map at about a trillion elements a second. To sum up
to 22 taps for each of them outside the tensor cores takes longer than that; so does fetching each pixel once for every tap, from whatever
cache; and four convolutions one after the other are four trips through memory. But along an axis of fixed length a convolution is
a product with a banded matrix, and the zeros that padding puts between two convolutions fit into the product of their matrices:
``A = V1 @ V0`` for the rows, ``B = H1 @ H0`` for the columns (dilated after dense). Without biases horizontal and vertical convolutions
commute, so the whole chain is ``A @ X @ B^T`` for each image and channel: two products of matrices that fit on the chip (128 x 128 in
stage 1 of a 512 x 512 image), one read, one write, in a time that does not depend on the kernel's size. The biases add a separable
field, with ``ones = H1 @ 1``:

    ones(j) * (b_h0 * (A @ 1)(i) + b_v0 * (V1 @ 1)(i)) + b_h1 * (V1 @ 1)(i) + b_v1

``band_matrices`` makes A and B of the taps in every call; they are small next to a batch of maps. A larger image is cut into tiles, each of
which reads what its band reaches. The gradient of the input is the same kernel with A and B transposed. The gradient of A is
``G @ (X @ B^T)^T``, on the tensor cores again (``band_gradient``; that of B by symmetry), and those of the taps are sums along its
diagonals (``tap_gradient``).

**The 1x1 and the multiplication are one kernel** (``pointwise``), so that the attention map is never written: forward reads x and writes
the chain's result, then reads both and writes the output. x and the chain's result are kept for backward. The same kernel runs the 1x1s of
an MLP: on an H100 cuDNN and cuBLAS take 1.4 to 3.4 times as long to make a wide map (`tune` in docs/results/gpu_check_h100_{1,2}.json).

**The 3x3 and GELU** have 9 taps only, for which plain arithmetic is enough: a program walks down the rows with its neighbourhood in
registers.

The chain wants whole planes: a channels_last map is copied for it, so on a GPU the contiguous format, PyTorch's default, is the faster one
for LSKA. A NaN or an infinity spreads within its tile, not only as far as the kernel reaches. Sums are in float32, and float32 maps are
multiplied as three tf32 products, which is as exact as float32. No sum is atomic: the same input gives the same bits.
"""

from __future__ import annotations

from importlib.util import find_spec
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import Tensor

from .. import autograd as library
from .. import reference
from ..checks import Pair
from ..context import is_eager
from .checks import checked
from .errors import fix_of, is_refusal, lost_a_race
from .launch import (
    INTERPRETED,
    Taps,
    axes_of,
    dense,
    dense_format,
    launch_band_gradient,
    launch_bands,
    launch_chain,
    launch_depthwise,
    launch_parameter_gradient,
    launch_pointwise,
    launch_pointwise_gradient,
    launch_tap_gradient,
    new_map,
)

NAME = 'triton'
# The kernels read float32 weights beside 16-bit maps, so autocast need not convert them in every step.
MIXES = True
_DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def _missing() -> str | None:
    try:
        return None if find_spec('triton') else 'triton is not installed; `pip install triton` brings it'
    except (ImportError, ValueError) as error:
        return f'triton cannot be imported ({error}); `pip install --force-reinstall triton` fixes that'


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
        call = _EAGER.lska_training if is_eager(x) else torch.ops.mmlska_triton.lska_training
        return call(dense(x), *parameters, dilation, gelu)[0]
    call = _OPERATORS.lska_inference if is_eager(x) else torch.ops.mmlska_triton.lska_inference
    return call(dense(x), *parameters, dilation, gelu)


def depthwise_gelu(
    x: Tensor, weight: Tensor, bias: Tensor, pointwise: Pair | None = None, expand: Pair | None = None
) -> Tensor:
    """See :func:`mmlska.ops.depthwise_gelu`."""
    calls = _EAGER if is_eager(x) else torch.ops.mmlska_triton
    x = dense(x) if expand is None else calls.pointwise(dense(x), *expand)
    if pointwise is None:
        return calls.depthwise_gelu(x, weight, bias)
    return calls.depthwise_gelu_pointwise(x, weight, bias, *pointwise)


# ---- operators ----


# What Triton cannot compile or start: the reason and the next step, by operator and inputs.
_refused: dict[tuple, str] = {}


def _run(op: str, inputs: tuple[Tensor | int, ...], fused, plain):
    """The kernels' result, or plain PyTorch's where Triton cannot compile or start them for these inputs, or for none here.

    Each is tried once. Other errors, those of the GPU among them, are raised: plain PyTorch would hide them or fail too.

    Args:
        op: The operator in words.
        inputs: The map, and the other inputs on which a kernel depends.
        fused: Launches the kernels.
        plain: Computes the same in plain PyTorch.
    """
    x = inputs[0]

    def key() -> tuple:
        return op, x.device, x.dtype, dense_format(x), *(t.shape if isinstance(t, Tensor) else t for t in inputs)

    if PROBLEM is None and not (_refused and key() in _refused):
        try:
            if not x.is_cuda or x.device.index == torch.cuda.current_device():
                return fused()
            with torch.cuda.device_of(x):  # Triton launches on the current one
                return fused()
        except Exception as error:
            if lost_a_race(error):
                return fused()
            if INTERPRETED or not _remember(error, key()):
                raise
            _tell(key())  # here, so that the traceback of the error of MMLSKA_STRICT has this one in it
    else:
        _tell(key())
    return plain()


def _tell(key: tuple) -> None:
    if PROBLEM is not None:
        return library.fall_back(NAME, PROBLEM)
    op, device, dtype, _, shape, *_ = key
    return library.fall_back(key, _refused[key], f'{op} of a map of shape {tuple(shape)} and {dtype} on {device}')


def _remember(error: Exception, key: tuple) -> bool:
    """Note what an error says of these inputs or of the whole installation; False if it says nothing of them."""
    global PROBLEM
    # The last line tells most, except the command that repeats a failure of ptxas.
    lines = [line for line in str(error).splitlines() if line.strip() and not line.startswith('Repro command')]
    reason = f'{type(error).__name__}: {lines[-1].strip()}' if lines else type(error).__name__
    if is_refusal(error):
        smaller = 'OutOfResources' in reason and key[2] == torch.float32
        step = 'float16 or bfloat16 needs less' if smaller else '`pip install -U triton` may fix that'
        _refused[key] = f'the Triton kernels do not compile or fit ({reason}); {step}, else please report this line'
        return True
    step = fix_of(error)
    if step is not None:
        PROBLEM = f'the Triton kernels do not compile or start here ({reason}); {step}'
    return step is not None


def _lska_forward(
    x, h0w, h0b, v0w, v0b, h1w, h1b, v1w, v1b, pw, pb, dilation: int, gelu: bool
) -> tuple[Tensor, Tensor]:
    x = F.gelu(dense(x)) if gelu else dense(x)

    def fused():
        if x.numel() == 0:
            return new_map(x, like=x), new_map(x)
        taps = Taps(*(t.contiguous() for t in (h0w, v0w, h1w, v1w)))
        ver, hor = axes_of(x, taps, dilation)
        biases = tuple(b.contiguous() for b in (h0b, v0b, h1b, v1b))
        kept = launch_chain(x.contiguous(), ver, hor, launch_bands(x, taps, ver, hor), biases)
        return launch_pointwise(pw.flatten(1), pb.contiguous(), kept, new_map(x, like=x), after=x), kept

    def plain():
        *pairs, last = library.alike_pairs(x, h0w, h0b, v0w, v0b, h1w, h1b, v1w, v1b, pw, pb)
        kept = reference.depthwise_chain(x, *pairs, dilation)
        return (x * F.conv2d(kept, *last)).contiguous(memory_format=dense_format(x)), kept.contiguous()

    return _run('lska_attention', (x, h0w, v0w, h1w, v1w, pw, dilation), fused, plain)


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
        taps = Taps(*(t.contiguous() for t in (h0w, v0w, h1w, v1w)))
        biases = tuple(b.contiguous() for b in (h0b, v0b, h1b, v1b))
        ver, hor = axes_of(x, taps, dilation)
        bands = launch_bands(x, taps, ver, hor, transposed=True)
        through_x = launch_pointwise(pw.flatten(1), pb.contiguous(), kept, new_map(x), after=g)
        chain_grad = launch_pointwise(pw.flatten(1).t(), None, x, new_map(x), before=g)
        pw_grad, pb_grad = launch_pointwise_gradient(g, kept, factor=x)
        x_grad = launch_chain(chain_grad, ver, hor, bands, extra=through_x)
        a_grad, sums = launch_band_gradient(planes, chain_grad, ver, hor, bands)
        b_grad, b_sums = launch_band_gradient(planes, chain_grad, hor, ver, bands)
        pairs_v = launch_tap_gradient(ver, a_grad, sums, biases[1], biases[2], bias_on_matrix=biases[0])
        pairs_h = launch_tap_gradient(hor, b_grad, b_sums, biases[0], biases[1])
        found = launch_parameter_gradient(ver, hor, pairs_v, pairs_h, sums, bands, taps, biases)
        x_grad = x_grad.contiguous(memory_format=dense_format(x))
        x_grad = torch.ops.aten.gelu_backward(x_grad, before) if gelu else x_grad
        return [x_grad, *found, pw_grad.reshape(pw.shape).to(pw.dtype), pb_grad.to(pb.dtype)]

    def plain():
        return _plain_grads(library.flat_lska(dilation, gelu), (before, *parameters), grad)

    return _run('the gradient of lska_attention', (x, h0w, v0w, h1w, v1w, pw, dilation), fused, plain)


def _depthwise_gelu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    x = dense(x)

    def fused():
        return new_map(x, like=x) if x.numel() == 0 else launch_depthwise(x, weight, bias.contiguous())[0]

    def plain():
        pair = library.alike_pairs(x, weight, bias)[0]
        return reference.depthwise_gelu(x, *pair).contiguous(memory_format=dense_format(x))

    return _run('depthwise_gelu', (x,), fused, plain)


def _depthwise_gelu_backward(grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor) -> list[Tensor]:
    x = dense(x)

    def fused():
        if x.numel() == 0:
            return [new_map(x, like=x), torch.zeros_like(weight), torch.zeros_like(bias)]
        inner, shares = launch_depthwise(x, weight, bias.contiguous(), dense(grad))
        return [launch_depthwise(inner, weight, None)[0], *_taps_and_bias(shares, weight, bias)]

    def plain():
        return _plain_grads(library.flat_depthwise_gelu, (x, weight, bias), grad)

    return _run('the gradient of depthwise_gelu', (x,), fused, plain)


def _taps_and_bias(shares: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    total = shares.sum(0)
    # Copies: results of an operator must not share memory.
    weight_grad = torch.empty_like(weight, memory_format=torch.contiguous_format).copy_(
        total[:, :9].reshape(weight.shape)
    )
    return weight_grad, torch.empty_like(bias).copy_(total[:, 9])


def _depthwise_gelu_pointwise(x: Tensor, weight: Tensor, bias: Tensor, pw: Tensor, pb: Tensor) -> Tensor:
    x = dense(x)

    def fused():
        if x.numel() == 0:
            return new_map(x, like=x, channels=pw.shape[0])
        y = launch_depthwise(x, weight, bias.contiguous())[0]
        return launch_pointwise(pw.flatten(1), pb.contiguous(), y, new_map(x, like=x, channels=pw.shape[0]))

    def plain():
        pair, last = library.alike_pairs(x, weight, bias, pw, pb)
        return reference.depthwise_gelu(x, *pair, last).contiguous(memory_format=dense_format(x))

    return _run('depthwise_gelu', (x, pw), fused, plain)


def _depthwise_gelu_pointwise_backward(grad, x, weight, bias, pw) -> list[Tensor]:
    x = dense(x)

    def fused():
        if x.numel() == 0:
            return [new_map(x, like=x), *(torch.zeros_like(t) for t in (weight, bias, pw)), pw.new_zeros(pw.shape[0])]
        activation, g = new_map(x, like=x), dense(grad)
        inner = launch_pointwise(pw.flatten(1).t(), None, g, new_map(x, like=x))
        inner, shares = launch_depthwise(x, weight, bias.contiguous(), inner, activation)
        pw_grad, pb_grad = launch_pointwise_gradient(g, activation)
        found = pw_grad.reshape(pw.shape).to(pw.dtype), pb_grad.to(pw.dtype)
        return [launch_depthwise(inner, weight, None)[0], *_taps_and_bias(shares, weight, bias), *found]

    def plain():
        return _plain_grads(library.flat_depthwise_gelu, (x, weight, bias, pw, pw.new_zeros(pw.shape[0])), grad)

    return _run('the gradient of depthwise_gelu', (x, pw), fused, plain)


def _pointwise(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A 1x1 convolution."""
    x = dense(x)

    def fused():
        out = new_map(x, like=x, channels=weight.shape[0])
        return out if x.numel() == 0 else launch_pointwise(weight.flatten(1), bias.contiguous(), x, out)

    def plain():
        pair = library.alike_pairs(x, weight, bias)[0]
        return F.conv2d(x, *pair).contiguous(memory_format=dense_format(x))

    return _run('a 1x1 convolution', (x, weight), fused, plain)


def _pointwise_backward(grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor) -> list[Tensor]:
    x = dense(x)

    def fused():
        if x.numel() == 0:
            return [new_map(x, like=x), torch.zeros_like(weight), torch.zeros_like(bias)]
        g = dense(grad)
        weight_grad, bias_grad = launch_pointwise_gradient(g, x)
        x_grad = launch_pointwise(weight.flatten(1).t(), None, g, new_map(x, like=x))
        return [x_grad, weight_grad.reshape(weight.shape).to(weight.dtype), bias_grad.to(bias.dtype)]

    def plain():
        return _plain_grads(library.flat_pointwise, (x, weight, bias), grad)

    return _run('the gradient of a 1x1 convolution', (x, weight), fused, plain)


def _plain_grads(twin, inputs: tuple[Tensor, ...], grad: Tensor) -> list[Tensor]:
    leaves = [t.detach().requires_grad_() for t in inputs]
    with torch.enable_grad():
        x_grad, *found = torch.autograd.grad(twin(*leaves), leaves, grad)
    return [x_grad.contiguous(memory_format=dense_format(inputs[0])), *(f.contiguous() for f in found)]


_LSKA = (
    'Tensor h0w, Tensor h0b, Tensor v0w, Tensor v0b, Tensor h1w, Tensor h1b, Tensor v1w, Tensor v1b, '
    'Tensor pw, Tensor pb, int dilation, bool gelu'
)
_SCHEMAS = {
    'lska_inference': f'(Tensor x, {_LSKA}) -> Tensor',
    'lska_training': f'(Tensor x, {_LSKA}) -> (Tensor, Tensor)',
    'lska_backward': f'(Tensor grad, Tensor x, Tensor kept, {_LSKA}) -> Tensor[]',
    'depthwise_gelu': '(Tensor x, Tensor weight, Tensor bias) -> Tensor',
    'depthwise_gelu_backward': '(Tensor grad, Tensor x, Tensor weight, Tensor bias) -> Tensor[]',
    'depthwise_gelu_pointwise': '(Tensor x, Tensor weight, Tensor bias, Tensor pw, Tensor pb) -> Tensor',
    'depthwise_gelu_pointwise_backward': '(Tensor grad, Tensor x, Tensor weight, Tensor bias, Tensor pw) -> Tensor[]',
    'pointwise': '(Tensor x, Tensor weight, Tensor bias) -> Tensor',
    'pointwise_backward': '(Tensor grad, Tensor x, Tensor weight, Tensor bias) -> Tensor[]',
}
_OPERATORS = SimpleNamespace(
    lska_inference=lambda *inputs: _lska_forward(*inputs)[0],
    lska_training=_lska_forward,
    lska_backward=_lska_backward,
    depthwise_gelu=_depthwise_gelu,
    depthwise_gelu_backward=_depthwise_gelu_backward,
    depthwise_gelu_pointwise=_depthwise_gelu_pointwise,
    depthwise_gelu_pointwise_backward=_depthwise_gelu_pointwise_backward,
    pointwise=_pointwise,
    pointwise_backward=_pointwise_backward,
)

for _name, _schema in _SCHEMAS.items():
    torch.library.define(f'mmlska_triton::{_name}', _schema)
    torch.library.impl(f'mmlska_triton::{_name}', ('cuda', 'cpu'))(checked(_name, getattr(_OPERATORS, _name)))
library.register('mmlska_triton', dense_format, torch.contiguous_format)
_EAGER = library.eager(_OPERATORS)
