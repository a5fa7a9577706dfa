"""Where a backbone looks in one photo: the attention maps of its blocks and EigenCAM of its stages."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import cv2
import numpy as np
import torch
from mmengine.config import Config
from torch import Tensor, nn

from ..bands import BandReader, picture_of
from ..engine.config import find_path
from ..engine.image_reading import band_reader, picture_reading
from ..images import read_photo
from ..models.attention import ATTENTIONS
from .photos import in_fours, model_input

#: The kinds of maps that :func:`maps_over_photo` makes.
KINDS = ('attention', 'eigencam')


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
    """EigenCAM of each output of a backbone in eval mode for an image (1, C, H, W), finest first."""
    with torch.no_grad():
        outputs = backbone(image)
    return [eigen_cam(output[0]) for output in ([outputs] if isinstance(outputs, Tensor) else outputs)]


def scaled_input(cfg: Config, path: str, size: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Read an image for the model of a config, its longer side scaled to ``size`` pixels if that is given.

    Returns:
        What :func:`maps_over_photo` takes, and a picture of it, (H, W, 3) uint8, RGB.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the size is too small, or the file cannot be read, or is no image for the model.
    """
    reader = band_reader(cfg)
    image = read_scaled(path, size, reader, picture_reading(cfg)['as_stored'])
    return image, (image if reader is None else picture_of(image, reader.shown))[..., ::-1]


def read_scaled(
    path: str, size: int | None = None, reader: BandReader | None = None, as_stored: bool = False
) -> np.ndarray:
    """Read a photo, its longer side scaled to ``size`` pixels if that is given: (H, W, 3) uint8, BGR.

    ``as_stored`` does not turn it as its EXIF data say. With the ``reader`` of a model of other images it is
    (H, W, C), uint8 or float32, in the order of the file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the size is too small, or the file cannot be read, or is no image for the reader.
    """
    found = find_path(path)
    if found is None:
        raise FileNotFoundError(f'photo {path} does not exist; name an image file')
    if size is not None and size < 32:
        raise ValueError(f'--size {size} is too small; give 32 pixels or more')
    photo = read_photo(found, as_stored=as_stored) if reader is None else reader.read(found)
    if size is None:
        return photo
    scale = size / max(photo.shape[:2])
    height, width = (max(1, round(n * scale)) for n in photo.shape[:2])
    kind = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return in_fours(partial(cv2.resize, dsize=(width, height), interpolation=kind), photo)


def maps_over_photo(
    model: nn.Module,
    photo: np.ndarray,
    kinds: Sequence[str] = KINDS,
    stages: Sequence[int] | None = None,
    *,
    blocks: bool = False,
) -> dict[str, np.ndarray]:
    """The maps of a model's backbone over one photo, without what lies on the padding.

    Args:
        model: A detector or segmentor in eval mode.
        photo: (H, W, 3) uint8, BGR; for a model of other images (H, W, C), as its reader gives it.
        kinds: Some of ``KINDS``.
        stages: Stages to draw, 1 is the finest; all by default.
        blocks: The attention of every block, not of the last in each stage.

    Returns:
        (h, w) float32 by a title.

    Raises:
        ValueError: If there is no such stage, or no large-kernel attention for kind 'attention'.
    """
    image = model_input(model, photo)
    maps = {}
    if 'attention' in kinds:
        attentions = attention_maps(model.backbone, image)
        last = {name.partition('.')[0]: name for name in attentions}  # of each stage
        for name in attentions if blocks else last.values():
            if not stages or any(name.startswith(f'blocks{stage}.') for stage in stages):
                maps[f'attention {_title(name)}'] = attentions[name]
    if 'eigencam' in kinds:
        cams = enumerate(eigen_cams(model.backbone, image), 1)
        maps |= {f'EigenCAM, output {i}': cam for i, cam in cams if not stages or i in stages}
    if not maps:
        raise ValueError(f'--stages {stages} draws nothing; the backbone has {len(model.backbone(image))} outputs')
    return {name: _inside(values, photo.shape, image.shape) for name, values in maps.items()}


def _title(name: str) -> str:
    """Stage and block of an attention module.

    Example:
        >>> _title('blocks3.4.attn.spatial_gating_unit')
        'stage 3, block 5'
    """
    stage, block, *_ = [*name.split('.'), '']
    number = stage.removeprefix('blocks')
    return f'stage {number}, block {int(block) + 1}' if number.isdigit() and block.isdigit() else name


def _inside(values: np.ndarray, photo: tuple[int, ...], image: tuple[int, ...]) -> np.ndarray:
    """Cut off what lies on the padding at the right and at the bottom."""
    height, width = (max(1, round(n * p / i)) for n, p, i in zip(values.shape, photo[:2], image[2:]))
    return values[:height, :width]
