"""Fold the BatchNorms and layer scales of a trained VAN_LSKA into its convolutions: the same outputs from fewer operations.

With ``norm1(x) = a * x + c`` (evaluation statistics) and layer scale ``s``, the attention half of a block,

    x + s * (norm1(x) + proj_2(gate(proj_1(norm1(x))))),

is one scale for each channel, ``1 + s * a``, and two 1x1 convolutions that take in everything else. No padding lies between a norm and the
1x1 after it, so nothing changes at the border either; the MLP's 3x3 pads after fc1.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from .van_lska import VAN_LSKA, PatchEmbed, VANBlock


class FoldedVANBlock(nn.Module):
    """A VAN block for inference, without norms and layer scales; takes over the convolutions of a trained one and changes them."""

    def __init__(self, block: VANBlock) -> None:
        super().__init__()
        self.attn, self.mlp = block.attn, block.mlp
        a1, c1 = _affine(block.norm1)
        a2, c2 = _affine(block.norm2)
        s1, s2 = block.layer_scale_1.double(), block.layer_scale_2.double()
        _fold_before(self.attn.proj_1, a1, c1)
        _fold_after(self.attn.proj_2, s1, s1 * c1)
        _fold_before(self.mlp.fc1, a2, c2)
        _fold_after(self.mlp.fc2, s2, torch.zeros_like(s2))
        scale = (1 + s1 * a1)[:, None, None]
        self.residual_scale = nn.Parameter(scale.to(block.layer_scale_1.dtype), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        branch = self.attn.proj_2(self.attn.gated(x))
        x = torch.addcmul(branch, x, self.residual_scale)
        return x + self.mlp(x)


@torch.no_grad()
def fold_for_inference(model: nn.Module, *, inplace: bool = False) -> nn.Module:
    """Fold every VAN_LSKA in a model for inference: BatchNorms and layer scales disappear into the convolutions beside them.

    The outputs are the same up to rounding. The folded model cannot be trained and its state dict has other entries, so load the
    checkpoint first. GroupNorm, LayerNorm and BatchNorms without running statistics depend on the input and stay, and so do the blocks
    that have them. Folding twice changes nothing more.

    Args:
        model: A VAN_LSKA or any model that contains some, such as a detector or segmentor, in evaluation mode.
        inplace: Change ``model`` itself instead of a copy.

    Returns:
        The folded copy, or ``model`` with ``inplace=True``.

    Raises:
        TypeError: If ``model`` is not a module.
        ValueError: If ``model`` is in training mode or contains no VAN_LSKA.

    Example:
        >>> backbone = VAN_LSKA('t').eval()
        >>> folded = fold_for_inference(backbone)
        >>> x = torch.rand(1, 3, 64, 64)
        >>> all(torch.allclose(a, b, atol=1e-3) for a, b in zip(backbone(x), folded(x)))
        True
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f'model must be a torch.nn.Module, got {type(model).__name__}')
    backbones = [m for m in model.modules() if isinstance(m, VAN_LSKA)]
    if not backbones:
        raise ValueError(f'{type(model).__name__} contains no VAN_LSKA, so there is nothing to fold')
    if model.training or any(m.training for backbone in backbones for m in backbone.modules()):
        raise ValueError(f'{type(model).__name__} is in training mode; fold_for_inference needs model.eval() first')
    if not inplace:
        return fold_for_inference(copy.deepcopy(model), inplace=True)
    for backbone in backbones:
        for patch_embed, blocks, _ in backbone._stages():
            _fold_patch_embed(patch_embed)
            for i, block in enumerate(blocks):
                if isinstance(block, VANBlock) and _foldable(block.norm1) and _foldable(block.norm2):
                    blocks[i] = FoldedVANBlock(block).requires_grad_(False).eval()
    return model


def _fold_patch_embed(patch_embed: PatchEmbed) -> None:
    if _foldable(patch_embed.norm):
        a, c = _affine(patch_embed.norm)
        _fold_after(patch_embed.projection, a, c)
        patch_embed.norm = nn.Identity().eval()


def _foldable(norm: nn.Module) -> bool:
    """In evaluation mode a BatchNorm with running statistics is a fixed scale and shift of each channel."""
    return isinstance(norm, _BatchNorm) and norm.running_mean is not None and norm.running_var is not None


def _affine(norm: _BatchNorm) -> tuple[Tensor, Tensor]:
    """Scale and shift of a BatchNorm, in float64 so that folding adds no rounding of its own."""
    a = (norm.running_var.double() + norm.eps).rsqrt()
    a = a if norm.weight is None else a * norm.weight.double()
    c = -a * norm.running_mean.double()
    return a, c if norm.bias is None else c + norm.bias.double()


def _fold_before(conv: nn.Conv2d, scale: Tensor, shift: Tensor) -> None:
    """Make the 1x1 ``conv(x)`` what ``conv(scale * x + shift)`` was."""
    weight = conv.weight.double()
    _set(conv, weight * scale[None, :, None, None], conv.bias.double() + weight[:, :, 0, 0] @ shift)


def _fold_after(conv: nn.Conv2d, scale: Tensor, shift: Tensor) -> None:
    """Make ``conv(x)`` what ``scale * conv(x) + shift`` was."""
    _set(conv, conv.weight.double() * scale[:, None, None, None], conv.bias.double() * scale + shift)


def _set(conv: nn.Conv2d, weight: Tensor, bias: Tensor) -> None:
    conv.weight.copy_(weight)
    conv.bias.copy_(bias)
    conv.requires_grad_(False)
