"""Small VAN_LSKA networks and the training step that the tests of the backbone share."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmlska.models import VAN_LSKA

SMALL = dict(embed_dims=[8, 16, 24, 32], depths=[1, 2, 1, 1], ffn_ratios=[2, 2, 2, 2])
TWO = dict(embed_dims=[8, 12], depths=[1, 1], ffn_ratios=[2, 3])


def stir(net: VAN_LSKA) -> VAN_LSKA:
    """Move every bias, scale and running statistic away from its neutral value, so that each of them matters."""
    with torch.no_grad():
        for name, t in net.state_dict().items():
            if name.endswith(('bias', 'running_mean')):
                t.normal_(0, 0.3)
            elif 'layer_scale' in name:
                t.uniform_(0.1, 0.3)  # larger ones make a network that multiplies features so often ill-conditioned
            elif t.dim() == 1:
                t.uniform_(0.5, 1.5)
    return net


def small(**kwargs) -> VAN_LSKA:
    """A stirred network of four narrow stages, without drop path unless asked for."""
    return stir(VAN_LSKA(**{**dict(arch=SMALL, k_size=7, drop_path_rate=0.0), **kwargs}))


def train_step(net: nn.Module, x: Tensor, seed: int = 3) -> tuple[list[Tensor], dict[str, Tensor]]:
    """Outputs and gradients of one backward pass from a fixed random direction."""
    torch.manual_seed(seed)
    net.zero_grad()
    outs = net(x)
    directions = torch.Generator().manual_seed(7)
    sum((out * torch.randn(out.shape, generator=directions)).sum() for out in outs).backward()
    gradients = {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}
    return [out.detach() for out in outs], gradients


def modules_of(net: nn.Module, cls: type[nn.Module]) -> dict[str, nn.Module]:
    """The submodules of one class, by name."""
    return {name: m for name, m in net.named_modules() if isinstance(m, cls)}
