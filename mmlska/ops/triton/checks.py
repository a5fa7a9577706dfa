"""What the operators of the Triton backend ask of their inputs: anyone may call one without the front door."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

import torch
from torch import Tensor

from ..checks import lacks_memory, most_dilation
from ..context import is_transformed

_DTYPES = (torch.float32, torch.float16, torch.bfloat16)
# A tensor and the shape that it must have, by its name in the schema. A word stands for a size that can be none.
Shapes = dict[str, tuple[Tensor, tuple]]


def checked(name: str, operator: Callable) -> Callable:
    """The operator, which raises a RuntimeError that names the first input that does not fit."""
    expected = _EXPECTED[name]

    @wraps(operator)
    def call(*inputs):
        x = inputs[1 if name.endswith('_backward') else 0]
        if x.dim() != 4 or x.shape[1] == 0:
            raise RuntimeError(
                f'mmlska_triton: x has shape {tuple(x.shape)}; it must be (N, C, H, W) with C of 1 or more'
            )
        _check_values('x', x, x)
        for label, (tensor, shape) in expected(*inputs).items():
            if tuple(tensor.shape) != shape:
                raise RuntimeError(f'mmlska_triton: {label} has shape {tuple(tensor.shape)}; it must be {shape}')
            _check_values(label, tensor, x)
        return operator(*inputs)

    return call


def _check_values(label: str, tensor: Tensor, x: Tensor) -> None:
    # The kernels read parameters of any of the dtypes beside a map, but maps of one.
    fits = tensor.dtype in _DTYPES and (tensor.dtype == x.dtype or label not in ('grad', 'kept'))
    if not fits or tensor.device != x.device or tensor.layout != torch.strided:
        raise RuntimeError(
            f'mmlska_triton: {label} is {tensor.dtype} ({tensor.layout}) on {tensor.device} beside x of {x.dtype} on {x.device}; '
            f'it must be dense, on the same device, and one of {", ".join(map(str, _DTYPES))}; maps must be of one dtype'
        )
    if lacks_memory(tensor):
        raise RuntimeError(f'mmlska_triton: the memory of {label}, of shape {tuple(tensor.shape)}, was freed or cut')
    if is_transformed(tensor):
        raise RuntimeError(
            f'mmlska_triton: {label} has a tangent, and the kernels have no forward-mode derivative; mmlska.ops, or plain PyTorch, has one'
        )


def _taps(weight: Tensor, axis: int) -> int | str:
    odd = weight.dim() == 4 and weight.shape[axis] % 2 == 1
    return weight.shape[axis] if odd else 'an odd number'


def _outputs(weight: Tensor) -> int | str:
    return weight.shape[0] if weight.dim() == 4 and weight.shape[0] > 0 else '1 or more'


def _lska(x, h0w, h0b, v0w, v0b, h1w, h1b, v1w, v1b, pw, pb, dilation: int, gelu: bool) -> Shapes:
    c = x.shape[1]
    shapes = dict(
        h0w=(h0w, (c, 1, 1, _taps(h0w, 3))), h0b=(h0b, (c,)), v0w=(v0w, (c, 1, _taps(v0w, 2), 1)), v0b=(v0b, (c,)),
        h1w=(h1w, (c, 1, 1, _taps(h1w, 3))), h1b=(h1b, (c,)), v1w=(v1w, (c, 1, _taps(v1w, 2), 1)), v1b=(v1b, (c,)),
        pw=(pw, (c, c, 1, 1)), pb=(pb, (c,)),
    )  # fmt: skip
    most = most_dilation(max((taps for taps in (_taps(h1w, 3), _taps(v1w, 2)) if isinstance(taps, int)), default=1))
    if not 1 <= dilation <= most:
        raise RuntimeError(f'mmlska_triton: dilation is {dilation}; it must be from 1 to {most}')
    return shapes


def _lska_backward(grad: Tensor, x: Tensor, kept: Tensor, *rest) -> Shapes:
    shape = tuple(x.shape)
    return dict(grad=(grad, shape), kept=(kept, shape), **_lska(x, *rest))


def _depthwise_gelu(x: Tensor, weight: Tensor, bias: Tensor) -> Shapes:
    c = x.shape[1]
    return dict(weight=(weight, (c, 1, 3, 3)), bias=(bias, (c,)))


def _depthwise_gelu_backward(grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor) -> Shapes:
    return dict(grad=(grad, tuple(x.shape)), **_depthwise_gelu(x, weight, bias))


def _depthwise_gelu_pointwise(x: Tensor, weight: Tensor, bias: Tensor, pw: Tensor, pb: Tensor) -> Shapes:
    outputs = _outputs(pw)
    return dict(pw=(pw, (outputs, x.shape[1], 1, 1)), pb=(pb, (outputs,)), **_depthwise_gelu(x, weight, bias))


def _depthwise_gelu_pointwise_backward(grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor, pw: Tensor) -> Shapes:
    (n, c, h, w), outputs = x.shape, _outputs(pw)
    return dict(pw=(pw, (outputs, c, 1, 1)), grad=(grad, (n, outputs, h, w)), **_depthwise_gelu(x, weight, bias))


def _pointwise(x: Tensor, weight: Tensor, bias: Tensor) -> Shapes:
    outputs = _outputs(weight)
    return dict(weight=(weight, (outputs, x.shape[1], 1, 1)), bias=(bias, (outputs,)))


def _pointwise_backward(grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor) -> Shapes:
    n, _, h, w = x.shape
    return dict(**_pointwise(x, weight, bias), grad=(grad, (n, _outputs(weight), h, w)))


_EXPECTED: dict[str, Callable[..., Shapes]] = {
    'lska_inference': _lska,
    'lska_training': _lska,
    'lska_backward': _lska_backward,
    'depthwise_gelu': _depthwise_gelu,
    'depthwise_gelu_backward': _depthwise_gelu_backward,
    'depthwise_gelu_pointwise': _depthwise_gelu_pointwise,
    'depthwise_gelu_pointwise_backward': _depthwise_gelu_pointwise_backward,
    'pointwise': _pointwise,
    'pointwise_backward': _pointwise_backward,
}
