"""LSKA for networks that exist already: a residual layer that begins as the identity, in the two shapes that OpenMMLab configs take.

``dict(type='LSKAPlugin')`` is a plugin layer of mmcv, for the ``plugins`` of a ResNet; ``dict(type='LSKANeck')`` follows an FPN.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..designs import check_int
from .attention import LSKA


class LSKAPlugin(nn.Module):
    """``x + layer_scale * LSKA(x)``: with a layer scale of 0 the identity, to the last bit, until it is trained.

    The gradient of the layer scale is not 0, so the first step moves it, and LSKA learns from the second on.

    Args:
        in_channels: Channels of the map.
        k_size: Extent of LSKA in pixels of the map.
        layer_scale_init_value: Initial value of the learnt scale.

    Shape:
        (N, in_channels, H, W) to the same.

    Raises:
        ValueError: If ``k_size`` is not on LSKA's ladder.

    Example:
        >>> x = torch.rand(1, 8, 13, 17)
        >>> torch.equal(LSKAPlugin(8)(x), x)
        True
    """

    _abbr_ = 'lska'  # mmcv names the layer so

    def __init__(self, in_channels: int, k_size: int = 11, layer_scale_init_value: float = 0.0) -> None:
        super().__init__()
        self.lska = LSKA(in_channels, k_size)
        self.layer_scale = nn.Parameter(torch.full((in_channels,), float(layer_scale_init_value)))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layer_scale[:, None, None] * self.lska(x)


class LSKANeck(nn.Module):
    """A :class:`LSKAPlugin` on each map of a pyramid, to put after a neck: ``neck=[dict(type='FPN', ...), dict(type='LSKANeck', ...)]``.

    Args:
        in_channels: Channels of all maps.
        num_levels: Number of maps.
        k_size, layer_scale_init_value: Of each :class:`LSKAPlugin`.

    Raises:
        ValueError: If there are no levels, or as many maps as levels do not come in.
    """

    def __init__(
        self, in_channels: int, num_levels: int, k_size: int = 11, layer_scale_init_value: float = 0.0
    ) -> None:
        super().__init__()
        check_int('num_levels', num_levels)
        if num_levels < 1:
            raise ValueError(f'num_levels={num_levels} must be the number of maps, 1 or more')
        self.levels = nn.ModuleList(LSKAPlugin(in_channels, k_size, layer_scale_init_value) for _ in range(num_levels))

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
        if len(maps) != len(self.levels):
            raise ValueError(f'{len(maps)} maps come in; set num_levels={len(maps)} (it is {len(self.levels)})')
        return tuple(level(x) for level, x in zip(self.levels, maps))
