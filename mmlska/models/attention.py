"""The four large-kernel attention designs of the LSKA paper.

Paper: Large Separable Kernel Attention, arXiv 2309.01439, section 3 and figure 2; the two non-separable designs are those of
Visual Attention Network, arXiv 2202.09741, section 3.2.

All four map (N, C, H, W) to the same shape and multiply their input by the attention map that they make of it. They need nothing but
torch, so they can be used in any network. Parameter names are those of the published detection and segmentation checkpoints.

The two separable designs run as one fused operator (mmlska.ops), for which their convolutions only hold the parameters; see
:func:`runs_apart` for when they are called themselves.
"""

from __future__ import annotations

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from ..ops import lska_attention, stays_plain


class KernelLadder(NamedTuple):
    """How a kernel of extent ``k_size`` is made of a dense and a dilated depthwise kernel."""

    first: int
    dilated: int
    dilation: int

    @property
    def dilated_padding(self) -> int:
        """Padding that keeps the size in the dilated convolution, in pixels."""
        return self.dilation * (self.dilated - 1) // 2


def _split(k_size: int) -> KernelLadder | None:
    dilation = 2 if k_size <= 11 else 3
    first, dilated = 2 * dilation - 1, k_size // dilation
    fits = dilated >= 1 and dilated % 2 == 1 and k_size == first + (dilated - 1) * dilation
    return KernelLadder(first, dilated, dilation) if fits else None


def kernel_ladder(k_size: int) -> KernelLadder:
    """Split a large kernel into a dense first and a dilated second kernel.

    Args:
        k_size: Extent of the whole kernel in pixels: 7, 11, 23, 35, 41, 53 in the paper; every value of the same pattern works.

    Raises:
        TypeError: If ``k_size`` is not an int.
        ValueError: If ``k_size`` cannot be made by the pattern; the message lists the nearest ones that can.

    Source: LSKA paper, section 3.2; ``d = 2`` up to 11 and 3 above, first kernel ``2d - 1``, dilated kernel ``k_size // d``.

    Example:
        >>> kernel_ladder(23)
        KernelLadder(first=5, dilated=7, dilation=3)
        >>> kernel_ladder(24)
        Traceback (most recent call last):
            ...
        ValueError: k_size=24 cannot be split into a dense and a dilated kernel; the nearest that can are 17, 23, 29, 35
    """
    _check_int('k_size', k_size)
    ladder = _split(k_size)
    if ladder is None:
        nearest = _nearest(k_size, lambda k: _split(k) is not None)
        raise ValueError(
            f'k_size={k_size} cannot be split into a dense and a dilated kernel; the nearest that can are {nearest}'
        )
    return ladder


def _odd_kernel(k_size: int) -> int:
    """The trivial designs use the kernel in one piece: any odd extent keeps the size of the map."""
    _check_int('k_size', k_size)
    if k_size < 1 or k_size % 2 == 0:
        nearest = _nearest(k_size, lambda k: k % 2 == 1)
        raise ValueError(f'k_size={k_size} must be odd and positive; the nearest that are: {nearest}')
    return k_size


def _nearest(k_size: int, valid) -> str:
    """The two valid sizes on each side, in words for an error message."""
    below = [k for k in range(max(k_size - 40, 1), k_size) if valid(k)][-2:]
    start = max(k_size, 0) + 1
    above = [k for k in range(start, start + 40) if valid(k)][:2]
    return ', '.join(map(str, below + above))


def _check_int(name: str, value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f'{name} must be an int, got {value!r} of type {type(value).__name__}')


def _check_dim(dim: int) -> None:
    _check_int('dim', dim)
    if dim < 1:
        raise ValueError(f'dim={dim} must be the number of channels, 1 or more')


def _depthwise(dim: int, kernel: tuple[int, int], dilation: int = 1) -> nn.Conv2d:
    """A biased depthwise convolution that keeps the size of the map."""
    padding = tuple(dilation * (k - 1) // 2 for k in kernel)
    return nn.Conv2d(dim, dim, kernel, padding=padding, dilation=dilation, groups=dim)


def runs_apart(x: Tensor, *children: nn.Module) -> bool:
    """Tell whether children must be called one by one instead of fused into one operator.

    So it is when jit.trace, ONNX, torch.export or fx record PyTorch's own operators, when someone listens to a child with a hook, and
    when a convolution was replaced by a layer of another kind (quantisation, adapters).
    """
    if stays_plain(x):
        return True
    return any(map(has_hooks, children)) or not all(type(m) in (nn.Conv2d, nn.GELU) for m in children)


def has_hooks(module: nn.Module) -> bool:
    """Tell whether someone listens to a module, which must then be called as one."""
    return bool(
        module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
    )


def _pair(conv: nn.Conv2d) -> tuple[Tensor, Tensor]:
    return conv.weight, conv.bias


class LSKA(nn.Module):
    """Large Separable Kernel Attention: both depthwise kernels of LKA as cascaded 1-D kernels.

    ``x * conv1(DW_D_conv_v(DW_D_conv_h(DW_conv_v(DW_conv_h(x)))))``, every convolution biased and zero-padded.

    Args:
        dim: Channels of input and output.
        k_size: Extent of the receptive field in pixels; see :func:`kernel_ladder`.

    Shape:
        (N, dim, H, W) to (N, dim, H, W), any H and W.

    Raises:
        TypeError: If an argument is not an int.
        ValueError: If ``dim`` is not positive or ``k_size`` is not on the ladder.

    Source: LSKA paper, figure 2 (d).

    Example:
        >>> import torch
        >>> LSKA(64, 23)(torch.rand(1, 64, 13, 17)).shape
        torch.Size([1, 64, 13, 17])
    """

    def __init__(self, dim: int, k_size: int) -> None:
        super().__init__()
        _check_dim(dim)
        first, dilated, dilation = kernel_ladder(k_size)
        self.dim, self.k_size = dim, k_size
        self.DW_conv_h = _depthwise(dim, (1, first))
        self.DW_conv_v = _depthwise(dim, (first, 1))
        self.DW_D_conv_h = _depthwise(dim, (1, dilated), dilation)
        self.DW_D_conv_v = _depthwise(dim, (dilated, 1), dilation)
        self.conv1 = nn.Conv2d(dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        if runs_apart(x, *self.children()):
            return x * self.conv1(self.DW_D_conv_v(self.DW_D_conv_h(self.DW_conv_v(self.DW_conv_h(x)))))
        return self._fused(x, gelu=False)

    def after_gelu(self, x: Tensor) -> Tensor:
        """The same as ``self(F.gelu(x))``, keeping one map less for the backward pass."""
        if has_hooks(self) or runs_apart(x, *self.children()):
            return self(F.gelu(x))
        return self._fused(x, gelu=True)

    def _fused(self, x: Tensor, gelu: bool) -> Tensor:
        h0, v0, h1, v1 = self.DW_conv_h, self.DW_conv_v, self.DW_D_conv_h, self.DW_D_conv_v
        pairs = _pair(h0), _pair(v0), _pair(h1), _pair(v1), _pair(self.conv1)
        return lska_attention(x, *pairs, h1.dilation[1], gelu=gelu)

    def extra_repr(self) -> str:
        return f'dim={self.dim}, k_size={self.k_size}'


class LKA(nn.Module):
    """Large Kernel Attention: a dense and a dilated 2-D depthwise kernel.

    ``x * conv1(DW_D_conv(DW_conv(x)))``, every convolution biased and zero-padded.

    Args:
        dim: Channels of input and output.
        k_size: Extent of the receptive field in pixels; see :func:`kernel_ladder`. What VAN calls kernel size 21 (5x5, then 7x7 with
            dilation 3) has the extent 23 and is ``k_size=23`` here.

    Shape:
        (N, dim, H, W) to (N, dim, H, W), any H and W.

    Raises:
        TypeError: If an argument is not an int.
        ValueError: If ``dim`` is not positive or ``k_size`` is not on the ladder.

    Source: VAN paper, section 3.2; LSKA paper, figure 2 (c).

    Example:
        >>> import torch
        >>> LKA(64, 23)(torch.rand(1, 64, 13, 17)).shape
        torch.Size([1, 64, 13, 17])
    """

    def __init__(self, dim: int, k_size: int) -> None:
        super().__init__()
        _check_dim(dim)
        first, dilated, dilation = kernel_ladder(k_size)
        self.dim, self.k_size = dim, k_size
        self.DW_conv = _depthwise(dim, (first, first))
        self.DW_D_conv = _depthwise(dim, (dilated, dilated), dilation)
        self.conv1 = nn.Conv2d(dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.conv1(self.DW_D_conv(self.DW_conv(x)))

    extra_repr = LSKA.extra_repr


class LSKATrivial(nn.Module):
    """LSKA without dilation: one horizontal and one vertical 1-D kernel of the full extent.

    ``x * conv1(DW_conv_v(DW_conv_h(x)))``, every convolution biased and zero-padded.

    Args:
        dim: Channels of input and output.
        k_size: Length of both kernels in pixels, odd.

    Shape:
        (N, dim, H, W) to (N, dim, H, W), any H and W.

    Raises:
        TypeError: If an argument is not an int.
        ValueError: If ``dim`` is not positive or ``k_size`` is even.

    Source: LSKA paper, figure 2 (b).

    Example:
        >>> import torch
        >>> LSKATrivial(64, 23)(torch.rand(1, 64, 13, 17)).shape
        torch.Size([1, 64, 13, 17])
    """

    def __init__(self, dim: int, k_size: int) -> None:
        super().__init__()
        _check_dim(dim)
        k_size = _odd_kernel(k_size)
        self.dim, self.k_size = dim, k_size
        self.DW_conv_h = _depthwise(dim, (1, k_size))
        self.DW_conv_v = _depthwise(dim, (k_size, 1))
        self.conv1 = nn.Conv2d(dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        if runs_apart(x, *self.children()):
            return x * self.conv1(self.DW_conv_v(self.DW_conv_h(x)))
        return self._fused(x, gelu=False)

    after_gelu = LSKA.after_gelu

    def _fused(self, x: Tensor, gelu: bool) -> Tensor:
        pairs = _pair(self.DW_conv_h), _pair(self.DW_conv_v), None, None, _pair(self.conv1)
        return lska_attention(x, *pairs, 1, gelu=gelu)

    extra_repr = LSKA.extra_repr


class LKATrivial(nn.Module):
    """LKA without dilation: one 2-D depthwise kernel of the full extent.

    ``x * conv1(DW_conv(x))``, both convolutions biased and zero-padded.

    Args:
        dim: Channels of input and output.
        k_size: Side of the kernel in pixels, odd.

    Shape:
        (N, dim, H, W) to (N, dim, H, W), any H and W.

    Raises:
        TypeError: If an argument is not an int.
        ValueError: If ``dim`` is not positive or ``k_size`` is even.

    Source: LSKA paper, figure 2 (a).

    Example:
        >>> import torch
        >>> LKATrivial(64, 7)(torch.rand(1, 64, 13, 17)).shape
        torch.Size([1, 64, 13, 17])
    """

    def __init__(self, dim: int, k_size: int) -> None:
        super().__init__()
        _check_dim(dim)
        k_size = _odd_kernel(k_size)
        self.dim, self.k_size = dim, k_size
        self.DW_conv = _depthwise(dim, (k_size, k_size))
        self.conv1 = nn.Conv2d(dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.conv1(self.DW_conv(x))

    extra_repr = LSKA.extra_repr


#: The designs by the names that ``VAN_LSKA(attention=...)`` takes.
ATTENTIONS: dict[str, type[nn.Module]] = {
    'lska': LSKA,
    'lka': LKA,
    'lska_trivial': LSKATrivial,
    'lka_trivial': LKATrivial,
}
