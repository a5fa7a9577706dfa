"""The four large-kernel attention designs of the LSKA paper.

Paper: Large Separable Kernel Attention, arXiv 2309.01439, section 3 and figure 2; the two non-separable designs are those of
Visual Attention Network, arXiv 2202.09741, section 3.2.

All four map (N, C, H, W) to the same shape and multiply their input by the attention map that they make of it. They need nothing but
torch, so they can be used in any network. Which convolutions a design has, :data:`mmlska.designs.DESIGNS` says; parameter names are
those of the published detection and segmentation checkpoints.

The two separable designs run as one fused operator (mmlska.ops), for which their convolutions only hold the parameters; see
:func:`runs_apart` for when they are called themselves.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ..designs import DESIGNS, check_int, design_kernels
from ..ops import lska_attention, stays_plain


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


class LargeKernelAttention(nn.Module):
    """What the designs share: depthwise convolutions one after the other, a 1x1, and the product with the input."""

    design: str  # its name in DESIGNS

    def __init__(self, dim: int, k_size: int) -> None:
        super().__init__()
        check_int('dim', dim)
        if dim < 1:
            raise ValueError(f'dim={dim} must be the number of channels, 1 or more')
        self.dim, self.k_size = dim, k_size
        for name, taps, dilation in design_kernels(self.design, k_size):
            padding = tuple(dilation * (n - 1) // 2 for n in taps)  # keeps the size of the map
            self.add_module(name, nn.Conv2d(dim, dim, taps, padding=padding, dilation=dilation, groups=dim))
        self.conv1 = nn.Conv2d(dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        attn = x
        for conv in self._convolutions():
            attn = conv(attn)
        return x * attn

    def _convolutions(self) -> list[nn.Module]:
        return [*(getattr(self, conv.name) for conv in DESIGNS[self.design]), self.conv1]

    def extra_repr(self) -> str:
        return f'dim={self.dim}, k_size={self.k_size}'


class SeparableAttention(LargeKernelAttention):
    """A design whose convolutions run as one fused operator where that is possible."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if runs_apart(x, *self.children()) else self._fused(x, gelu=False)

    def after_gelu(self, x: Tensor) -> Tensor:
        """The same as ``self(F.gelu(x))``, keeping one map less for the backward pass."""
        if has_hooks(self) or runs_apart(x, *self.children()):
            return self(F.gelu(x))
        return self._fused(x, gelu=True)

    def _fused(self, x: Tensor, gelu: bool) -> Tensor:
        *depthwise, conv1 = self._convolutions()
        pairs = [(conv.weight, conv.bias) for conv in depthwise]
        pairs += [None] * (4 - len(pairs))  # a design without dilation has two
        return lska_attention(x, *pairs, (conv1.weight, conv1.bias), depthwise[-1].dilation[1], gelu=gelu)


class LSKA(SeparableAttention):
    """Large Separable Kernel Attention: both depthwise kernels of LKA as cascaded 1-D kernels.

    ``x * conv1(DW_D_conv_v(DW_D_conv_h(DW_conv_v(DW_conv_h(x)))))``, every convolution biased and zero-padded.

    Args:
        dim: Channels of input and output.
        k_size: Extent of the receptive field in pixels; see :func:`mmlska.designs.kernel_ladder`.

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

    design = 'lska'


class LKA(LargeKernelAttention):
    """Large Kernel Attention: a dense and a dilated 2-D depthwise kernel.

    ``x * conv1(DW_D_conv(DW_conv(x)))``, every convolution biased and zero-padded.

    Arguments, shape and errors are those of :class:`LSKA`. What VAN calls kernel size 21 (5x5, then 7x7 with dilation 3) has the extent
    23 and is ``k_size=23`` here.

    Source: VAN paper, section 3.2; LSKA paper, figure 2 (c).
    """

    design = 'lka'


class LSKATrivial(SeparableAttention):
    """LSKA without dilation: one horizontal and one vertical 1-D kernel of the full extent.

    ``x * conv1(DW_conv_v(DW_conv_h(x)))``, every convolution biased and zero-padded.

    Arguments, shape and errors are those of :class:`LSKA`, but any odd ``k_size``: the length of both kernels in pixels.

    Source: LSKA paper, figure 2 (b).
    """

    design = 'lska_trivial'


class LKATrivial(LargeKernelAttention):
    """LKA without dilation: one 2-D depthwise kernel of the full extent.

    ``x * conv1(DW_conv(x))``, both convolutions biased and zero-padded.

    Arguments, shape and errors are those of :class:`LSKA`, but any odd ``k_size``: the side of the kernel in pixels.

    Source: LSKA paper, figure 2 (a).
    """

    design = 'lka_trivial'


#: The designs by the names that ``VAN_LSKA(attention=...)`` takes.
ATTENTIONS: dict[str, type[nn.Module]] = {module.design: module for module in (LSKA, LKA, LSKATrivial, LKATrivial)}
