"""LSKA inside the blocks of Ultralytics YOLO.

Each block is the stock one with an attention in it, so that its tensors keep their stock names. LSKA's kernel comes last in every
signature, after the arguments of the stock block.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from ultralytics.nn.modules import SPPF, Bottleneck, C2f, C3k2, Conv
from ultralytics.nn.modules.block import C2PSA, C3k, PSABlock

from ..models.attention import LSKA

#: The kernel of the tutorials' SPPF and of :func:`mmlska.yolo.attach`.
DEFAULT_K_SIZE = 11


class LSKABottleneck(Bottleneck):
    """The stock bottleneck with LSKA after its second convolution, inside the shortcut.

    Args:
        c1: Channels of the input.
        c2: Channels of the output.
        shortcut: Add the input where the channels allow it.
        g: Groups of the second convolution.
        k: Kernels of both convolutions.
        e: Channels between them, as a share of ``c2``.
        k_size: Extent of LSKA in pixels of the feature map.

    Shape:
        (N, c1, H, W) to (N, c2, H, W).

    Raises:
        ValueError: If ``k_size`` is not on LSKA's ladder.
    """

    def __init__(
        self,
        c1: int,
        c2: int,
        shortcut: bool = True,
        g: int = 1,
        k=(3, 3),
        e: float = 0.5,
        k_size: int = DEFAULT_K_SIZE,
    ) -> None:
        super().__init__(c1, c2, shortcut, g, k, e)
        self.lska = LSKA(c2, k_size)

    def forward(self, x: Tensor) -> Tensor:
        out = self.lska(self.cv2(self.cv1(x)))
        return x + out if self.add else out


class C3k_LSKA(C3k):
    """The stock C3k with :class:`LSKABottleneck` inside."""

    def __init__(
        self,
        c1: int,
        c2: int,
        n: int = 1,
        shortcut: bool = True,
        g: int = 1,
        e: float = 0.5,
        k: int = 3,
        k_size: int = DEFAULT_K_SIZE,
    ) -> None:
        super().__init__(c1, c2, n, shortcut, g, e, k)
        c_ = int(c2 * e)
        self.m = nn.Sequential(*(LSKABottleneck(c_, c_, shortcut, g, (k, k), 1.0, k_size) for _ in range(n)))


class C2f_LSKA(C2f):
    """The stock C2f with :class:`LSKABottleneck` inside; arguments of C2f, then ``k_size``."""

    def __init__(
        self,
        c1: int,
        c2: int,
        n: int = 1,
        shortcut: bool = False,
        g: int = 1,
        e: float = 0.5,
        k_size: int = DEFAULT_K_SIZE,
    ) -> None:
        super().__init__(c1, c2, n, shortcut, g, e)
        kernels = ((3, 3), (3, 3))
        self.m = nn.ModuleList(LSKABottleneck(self.c, self.c, shortcut, g, kernels, 1.0, k_size) for _ in range(n))


class C3k2_LSKA(C3k2):
    """The stock C3k2 with LSKA in its bottlenecks; arguments of C3k2, then ``k_size``."""

    def __init__(
        self,
        c1: int,
        c2: int,
        n: int = 1,
        c3k: bool = False,
        e: float = 0.5,
        attn: bool = False,
        g: int = 1,
        shortcut: bool = True,
        k_size: int = DEFAULT_K_SIZE,
    ) -> None:
        if attn:
            raise ValueError('C3k2_LSKA has LSKA for its attention: leave attn=False')
        super().__init__(c1, c2, n, c3k, e, attn, g, shortcut)
        self.m = nn.ModuleList(
            C3k_LSKA(self.c, self.c, 2, shortcut, g, k_size=k_size)
            if c3k
            else LSKABottleneck(self.c, self.c, shortcut, g, k_size=k_size)
            for _ in range(n)
        )


class SPPF_LSKA(SPPF):
    """The stock SPPF with LSKA on the concatenated pools; arguments of SPPF, then ``k_size``."""

    def __init__(
        self, c1: int, c2: int, k: int = 5, n: int | None = None, shortcut: bool = False, k_size: int = DEFAULT_K_SIZE
    ) -> None:
        # As in the stock parser: rows without n are those of models whose first convolution is activated.
        super().__init__(c1, c2, k, 3 if n is None else n, shortcut)
        if n is None:
            self.cv1.act = Conv.default_act
        self.lska = LSKA(self.cv2.conv.in_channels, k_size)

    def forward(self, x: Tensor) -> Tensor:
        y = [self.cv1(x)]
        y.extend(self.m(y[-1]) for _ in range(self.n))
        out = self.cv2(self.lska(torch.cat(y, 1)))
        return out + x if self.add else out


class PSABlock_LSKA(PSABlock):
    """The stock PSABlock with LSKA in the place of its self-attention."""

    def __init__(self, c: int, shortcut: bool = True, k_size: int = DEFAULT_K_SIZE) -> None:
        super().__init__(c, num_heads=max(c // 64, 1), shortcut=shortcut)
        self.attn = LSKA(c, k_size)


class C2PSA_LSKA(C2PSA):
    """The stock C2PSA with LSKA in the place of self-attention: cost linear in the number of pixels.

    Arguments of C2PSA, then ``k_size``.
    """

    def __init__(self, c1: int, c2: int, n: int = 1, e: float = 0.5, k_size: int = DEFAULT_K_SIZE) -> None:
        super().__init__(c1, c2, n, e)
        self.m = nn.Sequential(*(PSABlock_LSKA(self.c, k_size=k_size) for _ in range(n)))
