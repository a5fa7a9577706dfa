"""Small layers of the backbone, and norms and activations built from OpenMMLab's config dicts without mmcv."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

Cfg = dict[str, Any]


class LayerNorm2d(nn.LayerNorm):
    """LayerNorm over the channels of (N, C, H, W); keeps the memory format of its input."""

    def forward(self, x: Tensor) -> Tensor:
        # For a channels_last map both permutations are views; only NCHW pays for a copy, as any LayerNorm there does.
        was_nchw = x.is_contiguous()
        x = super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return x.contiguous() if was_nchw else x


#: Norms by the names that ``norm_cfg`` takes.
NORMS = {
    'BN': nn.BatchNorm2d,
    'BN2d': nn.BatchNorm2d,
    'SyncBN': nn.SyncBatchNorm,
    'GN': nn.GroupNorm,
    'LN': LayerNorm2d,
    'LN2d': LayerNorm2d,
}


def build_norm(cfg: Cfg, channels: int, argument: str) -> nn.Module:
    """Build a norm layer from OpenMMLab's ``dict(type=..., requires_grad=..., eps=...)`` without needing mmcv."""
    if not isinstance(cfg, dict):
        raise TypeError(f"{argument} must be a dict such as dict(type='BN'), got {cfg!r}")
    options = dict(cfg)
    name = options.pop('type', None)
    requires_grad = options.pop('requires_grad', True)
    if name not in NORMS:
        raise ValueError(f'{argument} has type={name!r}; choose one of {", ".join(NORMS)}')
    if name == 'GN':
        norm = nn.GroupNorm(num_channels=channels, **options)
    else:
        norm = NORMS[name](channels, **options)
    return norm.requires_grad_(requires_grad)


def build_act(cfg: Cfg) -> nn.Module:
    """Build an activation of torch.nn from OpenMMLab's ``dict(type='GELU')``."""
    if not isinstance(cfg, dict):
        raise TypeError(f"act_cfg must be a dict such as dict(type='GELU'), got {cfg!r}")
    options = dict(cfg)
    name = options.pop('type', None)
    act = getattr(nn.modules.activation, name, None) if isinstance(name, str) else None
    if act is None:
        raise ValueError(f"act_cfg has type={name!r}; choose an activation of torch.nn, such as 'GELU' or 'ReLU'")
    return act(**options)


class DropPath(nn.Module):
    """Drop the whole residual branch of a sample with probability ``drop_prob`` (stochastic depth, arXiv 1603.09382)."""

    def __init__(self, drop_prob: float) -> None:
        super().__init__()
        self.drop_prob = drop_prob

    def forward(self, x: Tensor) -> Tensor:
        if self.drop_prob == 0.0 or not self.training:
            return x
        keep = 1.0 - self.drop_prob
        return x * (x.new_empty(x.shape[0], 1, 1, 1).bernoulli_(keep) / keep)

    def extra_repr(self) -> str:
        return f'drop_prob={self.drop_prob:.3f}'
