"""What the front doors ask of their arguments. What an operator asks of its inputs is in cpu/checks.inl and triton/checks.py."""

from __future__ import annotations

from torch import Tensor

from .context import FLOATS, Pair, is_eager

# Pixels that a dilated kernel may span: sizes and paddings of a convolution are 32-bit numbers in some of PyTorch's own kernels.
_MAX_SPAN = 2**30


def check_lska_attention(
    x: Tensor, h0: Pair, v0: Pair, h1: Pair | None, v1: Pair | None, pointwise: Pair, dilation: int
) -> None:
    """Raise a TypeError or ValueError that names the first argument of :func:`lska_attention` that does not fit."""
    _check_map(x)
    if (h1 is None) != (v1 is None):
        raise ValueError('h1 and v1 must both be given, or both be None for the design without dilated kernels')
    if isinstance(dilation, bool) or not isinstance(dilation, int):
        raise TypeError(f'dilation must be an int, got {dilation!r} of type {type(dilation).__name__}')
    if dilation < 1:
        raise ValueError(f'dilation={dilation} must be 1 or more')
    for name, pair, long_axis in (('h0', h0, 3), ('v0', v0, 2), ('h1', h1, 3), ('v1', v1, 2)):
        if pair is None and name in ('h1', 'v1'):
            continue
        weight, bias = _check_pair(name, pair)
        _check_depthwise(name, weight, x, long_axis)
        _check_bias(name, bias, x.shape[1])
    taps = 1 if h1 is None else max(h1[0].shape[3], v1[0].shape[2])
    if dilation > (most := most_dilation(taps)):
        raise ValueError(f'dilation={dilation} is too large for kernels of {taps} taps; it must be {most} or less')
    weight, bias = _check_pair('pointwise', pointwise)
    channels = x.shape[1]
    if tuple(weight.shape) != (channels, channels, 1, 1):
        raise ValueError(
            f'pointwise weight has shape {tuple(weight.shape)}; it must be ({channels}, {channels}, 1, 1), as x has {channels} channels'
        )
    _check_bias('pointwise', bias, channels)


def check_mlp(x: Tensor, expand: Pair | None, depthwise: Pair, pointwise: Pair | None) -> None:
    """Raise a TypeError or ValueError that names the first argument of :func:`mlp` that does not fit."""
    _check_map(x)
    weight, bias = _check_pair('depthwise', depthwise)
    channels, source = x.shape[1], 'x'
    if expand is not None:
        _check_pointwise('expand', expand, channels, 'x')
        channels, source = expand[0].shape[0], 'the output of expand'
    if tuple(weight.shape) != (channels, 1, 3, 3):
        raise ValueError(
            f'depthwise weight has shape {tuple(weight.shape)}; it must be ({channels}, 1, 3, 3), as {source} has {channels} channels'
        )
    _check_bias('depthwise', bias, channels, source)
    if pointwise is not None:
        _check_pointwise('pointwise', pointwise, channels, source)


def check_alike(x: Tensor, autocast: bool, **pairs: Pair | None) -> None:
    """Raise if a weight or bias has another device or dtype than x (autocast takes any that it lowers), or no memory."""
    in_memory = is_eager(x)
    for name, pair in pairs.items():
        for part, tensor in zip(('weight', 'bias'), pair or ()):
            if in_memory and lacks_memory(tensor):
                raise RuntimeError(_lacking(f'{name} {part}', tensor))
            right = tensor.dtype == x.dtype or (autocast and tensor.dtype in FLOATS)
            if not right or tensor.device != x.device:
                raise ValueError(
                    f'{name} {part} is {tensor.dtype} on {tensor.device} but x is {x.dtype} on {x.device}; '
                    f'convert one of them or run under torch.autocast'
                )


def _check_map(x: Tensor) -> None:
    if not isinstance(x, Tensor):
        raise TypeError(f'x must be a Tensor, got {type(x).__name__}')
    if x.dim() != 4:
        raise ValueError(f'x has shape {tuple(x.shape)}; it must be (N, C, H, W)')
    if not x.is_floating_point():
        raise TypeError(f'x has dtype {x.dtype}; it must be of floating point: convert it with x.float()')
    if is_eager(x) and lacks_memory(x):
        raise RuntimeError(_lacking('x', x))


def lacks_memory(tensor: Tensor) -> bool:
    """Tell whether the storage is too small for the shape, as where FSDP has emptied it. PyTorch itself reads beyond it."""
    count = tensor.numel()
    if count and not tensor.is_contiguous():
        count = 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride()))
    return count > 0 and tensor.untyped_storage().nbytes() < (tensor.storage_offset() + count) * tensor.element_size()


def _lacking(name: str, tensor: Tensor) -> str:
    return f'the memory of {name}, of shape {tuple(tensor.shape)}, was freed or cut; it must hold the values'


def _check_pair(name: str, pair: Pair) -> Pair:
    if not isinstance(pair, tuple) or len(pair) != 2 or not all(isinstance(t, Tensor) for t in pair):
        raise TypeError(f'{name} must be a pair (weight, bias) of Tensors, got {_describe(pair)}')
    return pair


def _describe(value) -> str:
    if isinstance(value, (tuple, list)):
        return f'{type(value).__name__} of ({", ".join(type(v).__name__ for v in value)})'
    return type(value).__name__


def _check_depthwise(name: str, weight: Tensor, x: Tensor, long_axis: int) -> None:
    wanted = [x.shape[1], 1, 1, 1]
    if weight.dim() == 4:
        wanted[long_axis] = weight.shape[long_axis]
    if list(weight.shape) != wanted or weight.shape[long_axis] % 2 == 0:
        shape = '(C, 1, 1, k)' if long_axis == 3 else '(C, 1, k, 1)'
        raise ValueError(
            f'{name} weight has shape {tuple(weight.shape)}; it must be {shape} with C = {x.shape[1]}, the channels of x, and k odd'
        )


def most_dilation(taps: int) -> int:
    """The largest dilation that is possible for kernels of so many taps."""
    return _MAX_SPAN // max(taps - 1, 1)


def _check_pointwise(name: str, pair: Pair, channels: int, source: str) -> None:
    weight, bias = _check_pair(name, pair)
    if weight.dim() != 4 or tuple(weight.shape[1:]) != (channels, 1, 1) or bias.shape != weight.shape[:1]:
        raise ValueError(
            f'{name} has weight and bias of shapes {tuple(weight.shape)} and {tuple(bias.shape)}; '
            f'they must be (C2, {channels}, 1, 1) and (C2,), as {source} has {channels} channels'
        )


def _check_bias(name: str, bias: Tensor, channels: int, source: str = 'x') -> None:
    if tuple(bias.shape) != (channels,):
        raise ValueError(
            f'{name} bias has shape {tuple(bias.shape)}; it must be ({channels},), as {source} has {channels} channels'
        )
