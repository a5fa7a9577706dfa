"""The front doors: check the arguments, choose the backend, call it.

A backend is a module with ``NAME``, ``PROBLEM`` (None, or why this installation cannot use it and what would fix that), ``MIXES`` (does
it take float32 weights beside 16-bit maps), ``supports(device_type, dtype)`` (is it correct there), ``pays(op, x)`` (is it faster than
the next one for this layout; not asked of the reference) and one function for each front door, with its arguments. To add one, write its
file and list it in ``_BACKENDS``.

Where plain PyTorch replaces a backend that would be faster, a warning tells once why and what to do: for one shape and dtype if these are
the reason, else for the backend. With ``MMLSKA_STRICT=1`` in the environment each such fallback is a RuntimeError instead. One reason is a
transform that the kernels have no rule for: derivatives in forward mode, vmap and the other transforms of torch.func.
"""

from __future__ import annotations

import sys

import torch
from torch import Tensor

from . import reference
from .checks import check_alike, check_lska_attention, check_mlp
from .context import FLOATS, Pair, is_transformed
from .cpu import backend as cpu_backend
from .fallback import fall_back
from .triton import backend as triton_backend

# Fastest first; the reference takes whatever is left.
_BACKENDS = {backend.NAME: backend for backend in (triton_backend, cpu_backend, reference)}
_NO_RULE = 'no rule for forward-mode derivatives, vmap and other transforms of torch.func'


def lska_attention(
    x: Tensor,
    h0: Pair,
    v0: Pair,
    h1: Pair | None,
    v1: Pair | None,
    pointwise: Pair,
    dilation: int,
    *,
    gelu: bool = False,
    backend: str | None = None,
) -> Tensor:
    """Multiply a map by its large separable kernel attention: four 1-D depthwise convolutions and a 1x1, all biased and zero-padded.

    Kept for the backward pass: x and the attention.

    Equivalent to::

        C = x.shape[1]
        x = F.gelu(x) if gelu else x
        t = F.conv2d(x, *h0, padding=(0, (k0 - 1) // 2), groups=C)
        t = F.conv2d(t, *v0, padding=((k0 - 1) // 2, 0), groups=C)
        t = F.conv2d(t, *h1, padding=(0, dilation * (k1 - 1) // 2), dilation=dilation, groups=C)
        t = F.conv2d(t, *v1, padding=(dilation * (k1 - 1) // 2, 0), dilation=dilation, groups=C)
        return x * F.conv2d(t, *pointwise)

    Args:
        x: (N, C, H, W), any size, any strides; the output has its memory format.
        h0: Weight (C, 1, 1, k0) and bias (C,) of the first horizontal kernel, k0 odd.
        v0: Weight (C, 1, k0, 1) and bias (C,) of the first vertical kernel.
        h1: Weight (C, 1, 1, k1) and bias (C,) of the dilated horizontal kernel, k1 odd; None for the design without dilated kernels.
        v1: Weight (C, 1, k1, 1) and bias (C,) of the dilated vertical kernel; None together with ``h1``.
        pointwise: Weight (C, C, 1, 1) and bias (C,).
        dilation: Dilation of ``h1`` and ``v1`` in pixels; they may span up to 2^30.
        gelu: Apply the exact GELU to x first; then x is kept as it was before.
        backend: One of :func:`available_backends`; None takes the fastest that is correct for device, dtype and layout.

    Raises:
        TypeError: If an argument is not a Tensor, a pair of Tensors, or an int where one is needed.
        ValueError: If shapes, dtypes or devices do not fit together, or ``backend`` cannot run this input.
        RuntimeError: If the memory of a tensor was freed or cut.

    Source: LSKA paper, arXiv 2309.01439, figure 2 (d).

    Example:
        >>> x = torch.rand(1, 8, 13, 17)
        >>> def pair(*shape):
        ...     return torch.rand(shape), torch.rand(8)
        >>> h0, v0, h1, v1 = pair(8, 1, 1, 5), pair(8, 1, 5, 1), pair(8, 1, 1, 7), pair(8, 1, 7, 1)
        >>> lska_attention(x, h0, v0, h1, v1, pair(8, 8, 1, 1), 3, backend='reference').shape
        torch.Size([1, 8, 13, 17])
    """
    if stays_plain(x) and backend is None:
        return reference.lska_attention(x, h0, v0, h1, v1, pointwise, dilation, gelu)
    check_lska_attention(x, h0, v0, h1, v1, pointwise, dilation)
    low = autocast_dtype(x)
    # Autocast lowers the convolutions only: a float32 x stays float32 in the multiplication, which no fused kernel does.
    if low is not None and x.dtype != low:
        if _choose('lska_attention', x, backend, low) is not reference:
            fall_back(
                ('lska_attention', x.device.type, x.dtype, low),
                f'autocast keeps the product with x in {x.dtype}; pass x.to({low})',
                f'lska_attention of {x.dtype} under autocast to {low}',
            )
        return reference.lska_attention(x, h0, v0, h1, v1, pointwise, dilation, gelu)
    check_alike(x, low is not None, h0=h0, v0=v0, h1=h1, v1=v1, pointwise=pointwise)
    chosen = _choose('lska_attention', x, backend, x.dtype, (h0, v0, h1, v1, pointwise))
    if not chosen.MIXES:
        h0, v0, h1, v1, pointwise = (_lowered(pair, low) for pair in (h0, v0, h1, v1, pointwise))
    return chosen.lska_attention(x, h0, v0, h1, v1, pointwise, dilation, gelu)


def mlp(
    x: Tensor, expand: Pair | None, depthwise: Pair, pointwise: Pair | None, *, backend: str | None = None
) -> Tensor:
    """Apply the MLP of a block: a 1x1 convolution, a biased, zero-padded 3x3 depthwise one, the exact GELU, a 1x1. Either 1x1 may be None.

    A fused backend makes few rows of the wide maps in between at a time. Kept for the backward pass is the input of the depthwise kernel
    alone, and x if there is a 1x1 before it.

    Equivalent to::

        x = x if expand is None else F.conv2d(x, *expand)
        y = F.gelu(F.conv2d(x, *depthwise, padding=1, groups=x.shape[1]))
        return y if pointwise is None else F.conv2d(y, *pointwise)

    Args:
        x: (N, C, H, W), any size, any strides; the output has its memory format. With ``expand``, (N, C0, H, W).
        expand: Weight (C, C0, 1, 1) and bias (C,) of the 1x1 convolution before the depthwise kernel.
        depthwise: Weight (C, 1, 3, 3) and bias (C,).
        pointwise: Weight (C2, C, 1, 1) and bias (C2,) of the 1x1 convolution after the GELU.
        backend: One of :func:`available_backends`; None takes the fastest that is correct for device, dtype and layout.

    Raises:
        TypeError: If an argument is not a Tensor or a pair of Tensors.
        ValueError: If shapes, dtypes or devices do not fit together, or ``backend`` cannot run this input.
        RuntimeError: If the memory of a tensor was freed or cut.

    Source: VAN paper, arXiv 2202.09741, section 3.3 (the block's MLP).

    Example:
        >>> x, depthwise = torch.rand(1, 8, 13, 17), (torch.rand(32, 1, 3, 3), torch.rand(32))
        >>> expand, pointwise = (torch.rand(32, 8, 1, 1), torch.rand(32)), (torch.rand(8, 32, 1, 1), torch.rand(8))
        >>> mlp(x, expand, depthwise, pointwise, backend='reference').shape
        torch.Size([1, 8, 13, 17])
    """
    if stays_plain(x) and backend is None:
        return reference.mlp(x, expand, depthwise, pointwise)
    check_mlp(x, expand, depthwise, pointwise)
    low = autocast_dtype(x)
    x = x if low is None else x.to(low)
    check_alike(x, low is not None, expand=expand, depthwise=depthwise, pointwise=pointwise)
    chosen = _choose('mlp', x, backend, x.dtype, (expand, depthwise, pointwise))
    if not chosen.MIXES:
        expand, depthwise, pointwise = (_lowered(pair, low) for pair in (expand, depthwise, pointwise))
    return chosen.mlp(x, expand, depthwise, pointwise)


def available_backends(device: str | torch.device = 'cpu', dtype: torch.dtype = torch.float32) -> list[str]:
    """Name the backends that can run the operators on a device and dtype here, fastest first.

    Example:
        >>> available_backends('cpu', torch.float32)[-1]
        'reference'
    """
    kind = torch.device(device).type
    return [name for name, b in _BACKENDS.items() if b.PROBLEM is None and b.supports(kind, dtype)]


def stays_plain(x: Tensor) -> bool:
    """Tell whether a recorder is at work (jit.trace, ONNX, torch.export, fx) whose product must consist of PyTorch's own operators."""
    return _is_recording() or isinstance(x, torch.fx.Proxy)


def _is_recording() -> bool:
    if torch.jit.is_tracing() or torch.jit.is_scripting() or torch.compiler.is_exporting():
        return True
    # torch.export(strict=True) of torch 2.7 sets no flag, but the compiler that it uses knows.
    thread = getattr(sys.modules.get('torch._dynamo.symbolic_convert'), 'tls', None)
    return getattr(getattr(thread, 'current_tx', None), 'export', False)


# Called while torch.compile traces: before torch 2.13 its own answer to is_exporting is True, in ordinary compiled code too.
_is_recording._dynamo_marked_constant = True


def _choose(op: str, x: Tensor, name: str | None, dtype: torch.dtype, pairs: tuple[Pair | None, ...] = ()):
    """The backend of that name, or the fastest one, for a map like x in this dtype and these parameters."""
    device_type = x.device.type
    transformed = is_transformed(x, pairs)
    if name is not None:
        if name not in _BACKENDS:
            names = ', '.join(map(repr, _BACKENDS))
            raise ValueError(f'backend={name!r} is unknown; choose one of {names}, or None for the fastest')
        chosen = _BACKENDS[name]
        if chosen.PROBLEM is not None:
            raise ValueError(f'backend={name!r} cannot be used here: {chosen.PROBLEM}')
        if not chosen.supports(device_type, dtype):
            usable = ', '.join(map(repr, available_backends(device_type, dtype)))
            raise ValueError(f'backend={name!r} does not run {dtype} on {device_type}; choose one of {usable}')
        if transformed and chosen is not reference:
            raise ValueError(f"backend={name!r} has {_NO_RULE}; leave backend out, or choose 'reference'")
        return chosen
    if transformed:
        if available_backends(device_type, dtype)[0] != reference.NAME:
            fall_back((op, 'transformed'), f'the kernels have {_NO_RULE}', f'transforms of {op}')
        return reference
    for candidate in _BACKENDS.values():
        if candidate is not reference and candidate.pays(op, x):
            if not candidate.supports(device_type, dtype):
                others = [d for d in FLOATS if candidate.supports(device_type, d)]
                if others and candidate.PROBLEM is None:
                    names = ', '.join(map(str, others))
                    problem = f'there is no kernel for that dtype; use one of {names}'
                    fall_back((op, device_type, dtype), problem, f'{op} of {dtype} on {device_type}')
            elif candidate.PROBLEM is None:
                return candidate
            else:
                fall_back(candidate.NAME, candidate.PROBLEM)
    return reference


def autocast_dtype(x: Tensor) -> torch.dtype | None:
    """The dtype to which autocast would lower a convolution of x, or None."""
    kind = x.device.type
    # Autocast never touches float64 and does not know meta tensors.
    if x.is_meta or x.dtype == torch.float64 or not torch.is_autocast_enabled(kind):
        return None
    return torch.get_autocast_dtype(kind)


def _lowered(pair: Pair | None, dtype: torch.dtype | None) -> Pair | None:
    return pair if pair is None or dtype is None else (pair[0].to(dtype), pair[1].to(dtype))
