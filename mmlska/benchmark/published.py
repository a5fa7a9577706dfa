"""The published modules written out, clones and layout copies included: the contender that every ratio is taken against.

Parameter names are those of :mod:`mmlska.models`, so that both load the same weights. Nothing here is made slow on purpose: it is what the
papers' code computes, one PyTorch operator after the other.

Source: LSKA paper, arXiv 2309.01439, and the published detection and segmentation code of its authors and of VAN's.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..models.attention import ATTENTIONS
from ..models.van_lska import VAN_LSKA


class _Layers(nn.Module):
    """The layers of another module under their names."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        for name, child in module.named_children():
            self.add_module(name, child)


class PublishedAttention(_Layers):
    """One of the four designs as published: a copy of the input, the convolutions one by one, a multiplication.

    Args:
        design: 'lska', 'lka', 'lska_trivial' or 'lka_trivial'.
        dim: Channels.
        k_size: Extent of the kernel in pixels.

    Shape:
        (N, dim, H, W) to (N, dim, H, W).
    """

    def __init__(self, design: str, dim: int, k_size: int) -> None:
        super().__init__(ATTENTIONS[design](dim, k_size))

    def forward(self, x: Tensor) -> Tensor:
        u = x.clone()
        attn = x
        for conv in self.children():
            attn = conv(attn)
        return u * attn


class PublishedMLP(_Layers):
    """A block's MLP as published, made of the layers of one of ours."""

    def forward(self, x: Tensor) -> Tensor:
        return self.drop(self.fc2(self.drop(self.act(self.dwconv(self.fc1(x))))))


class PublishedDepthwiseGELU(nn.Module):
    """The MLP's depthwise convolution and GELU as published, without the 1x1 before and after.

    Shape:
        (N, dim, H, W) to (N, dim, H, W).
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)
        self.act = nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.dwconv(x))


class PublishedBlock(_Layers):
    """A VAN block as published, made of the layers of one of ours."""

    def __init__(self, block: nn.Module, design: str, dim: int, k_size: int) -> None:
        super().__init__(block)
        self.layer_scale_1, self.layer_scale_2 = block.layer_scale_1, block.layer_scale_2
        self.attn.spatial_gating_unit = PublishedAttention(design, dim, k_size)
        self.mlp = PublishedMLP(block.mlp)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.layer_scale_1[:, None, None] * self._attend(self.norm1(x)))
        return x + self.drop_path(self.layer_scale_2[:, None, None] * self.mlp(self.norm2(x)))

    def _attend(self, x: Tensor) -> Tensor:
        shortcut, attn = x.clone(), self.attn
        x = attn.proj_2(attn.spatial_gating_unit(attn.activation(attn.proj_1(x))))
        return x + shortcut


class PublishedVAN(nn.Module):
    """The backbone as published; each stage norm copies the map to NHWC and back.

    Args:
        arch: 't', 's', 'b' or 'l'.
        k_size: Extent of the attention kernel in pixels.
        attention: One of the four designs.
        drop_path_rate: Stochastic depth of the last block.

    Shape:
        (N, 3, H, W) to a tuple of (N, embed_dims[i], ceil(H / s), ceil(W / s)) with s = 4, 8, 16, 32.
    """

    def __init__(self, arch: str, k_size: int = 23, attention: str = 'lska', drop_path_rate: float = 0.0) -> None:
        super().__init__()
        ours = VAN_LSKA(arch, k_size=k_size, attention=attention, drop_path_rate=drop_path_rate)
        for i, dim in enumerate(ours.embed_dims, 1):
            self.add_module(f'patch_embed{i}', getattr(ours, f'patch_embed{i}'))
            blocks = (PublishedBlock(block, attention, dim, k_size) for block in getattr(ours, f'blocks{i}'))
            self.add_module(f'blocks{i}', nn.ModuleList(blocks))
            self.add_module(f'norm{i}', nn.LayerNorm(dim, eps=1e-6))
        self.num_stages = len(ours.embed_dims)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        outs = []
        for i in range(1, self.num_stages + 1):
            x = getattr(self, f'patch_embed{i}')(x)
            for block in getattr(self, f'blocks{i}'):
                x = block(x)
            # Published with both axes of the image flattened into one, which is the same work. But the strides that its gradient then
            # has for a batch of one are misread by the BatchNorm of PyTorch 2.13 on CPU: wrong gradients in every layer before.
            x = getattr(self, f'norm{i}')(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2).contiguous()
            outs.append(x)
        return tuple(outs)


def published_twin(ours: VAN_LSKA) -> PublishedVAN:
    """The published backbone with the weights of ours, on its device, in NCHW, in the same mode."""
    blocks = [m for m in ours.modules() if hasattr(m, 'drop_path')]
    twin = PublishedVAN(ours.arch, ours.k_size, ours.attention, getattr(blocks[-1].drop_path, 'drop_prob', 0.0))
    twin.load_state_dict(ours.state_dict())
    parameter = next(ours.parameters())
    twin.to(parameter.device, parameter.dtype).to(memory_format=torch.contiguous_format)
    return twin.train(ours.training)
