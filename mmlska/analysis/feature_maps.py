"""Where a backbone looks in one photo: the attention maps of its blocks and EigenCAM of its stages."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from ..models.attention import ATTENTIONS


def attention_maps(backbone: nn.Module, image: Tensor) -> dict[str, np.ndarray]:
    """What each large-kernel attention multiplies its input by: the mean over channels of its absolute value.

    Args:
        backbone: A VAN_LSKA, or any module with LSKA, LKA, LSKATrivial or LKATrivial in it, in eval mode.
        image: (1, C, H, W).

    Returns:
        (h, w) float32 by the name of the attention module, in the order in which they run.

    Raises:
        ValueError: If there is no such attention in the backbone.
    """
    found = {name: m for name, m in backbone.named_modules() if isinstance(m, tuple(ATTENTIONS.values()))}
    if not found:
        raise ValueError(f'{type(backbone).__name__} has no large-kernel attention; only EigenCAM is possible')
    maps = {}

    def keep(name: str):
        def hook(module: nn.Module, inputs: tuple, output: Tensor) -> None:
            maps[name] = output[0].abs().mean(0).float().cpu().numpy()

        return hook

    # The last 1x1 gives the map; a module with a hook runs by itself instead of inside a fused operator.
    handles = [module.conv1.register_forward_hook(keep(name)) for name, module in found.items()]
    try:
        with torch.no_grad():
            backbone(image)
    finally:
        for handle in handles:
            handle.remove()
    return maps


def eigen_cam(feature: Tensor) -> np.ndarray:
    """Project a feature map on its first principal direction; needs neither labels nor gradients.

    Args:
        feature: (C, h, w).

    Returns:
        (h, w) float32, from 0 to 1; higher is more of what makes up most of the map. The sign of a principal direction is arbitrary:
        here the side with the larger extremes is the positive one, and the other is 0.

    Source: EigenCAM, arXiv 2008.00299, section III; channels are centred first, as its published code does.
    """
    channels, height, width = feature.shape
    points = feature.detach().double().reshape(channels, -1).T
    points = points - points.mean(0)
    _, _, directions = torch.linalg.svd(points, full_matrices=False)
    projection = (points @ directions[0]).reshape(height, width)
    if projection.max() < -projection.min():
        projection = -projection
    projection = projection.clamp(min=0)
    peak = projection.max()
    return (projection / peak if peak > 0 else projection).float().numpy()


def eigen_cams(backbone: nn.Module, image: Tensor) -> list[np.ndarray]:
    """EigenCAM of each output of a backbone, finest first.

    Args:
        backbone: In eval mode.
        image: (1, C, H, W).
    """
    with torch.no_grad():
        outputs = backbone(image)
    return [eigen_cam(output[0]) for output in ([outputs] if isinstance(outputs, Tensor) else outputs)]


def last_of_each_stage(names: Sequence[str]) -> list[str]:
    """The last of the names of each stage, a stage being what stands before the first dot.

    Example:
        >>> last_of_each_stage(['blocks1.0.attn', 'blocks1.1.attn', 'blocks2.0.attn'])
        ['blocks1.1.attn', 'blocks2.0.attn']
    """
    return list({name.partition('.')[0]: name for name in names}.values())
