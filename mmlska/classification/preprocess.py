"""What happens to a batch of photos before the network sees it, on the network's device and on the whole batch at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseDataPreprocessor
from mmengine.registry import MODELS
from torch import Tensor


def random_resized_crop(
    images: Tensor, scale: tuple[float, float], ratio: float = 4 / 3, flip: float = 0.5, size: int | None = None
) -> Tensor:
    """Cut a window out of every image, resize it, and mirror some.

    Args:
        images: (N, C, H, W), floating point.
        scale: Smallest and largest part of the area that a window covers.
        ratio: Most that a window is wider than high, or the other way round, relative to the image.
        flip: Probability of mirroring left and right.
        size: Height and width of the result in pixels; None for the image's own.

    Returns:
        (N, C, H, W) or (N, C, size, size); bilinear, windows stay inside the image.

    Source: Going Deeper with Convolutions, arXiv 1409.4842, section 6 (training by crops of 8 % to 100 % of the area).

    Example:
        >>> random_resized_crop(torch.rand(2, 3, 8, 10), (0.3, 1.0)).shape
        torch.Size([2, 3, 8, 10])
    """
    n = len(images)
    random = torch.rand(5, n, device=images.device)
    area = scale[0] + (scale[1] - scale[0]) * random[0]
    stretch = torch.exp((2 * random[1] - 1) * 0.5 * math.log(ratio))
    width, height = (area.sqrt() * stretch).clamp(max=1), (area.sqrt() / stretch).clamp(max=1)
    mirror = torch.where(random[2] < flip, -1.0, 1.0)
    # In grid_sample's coordinates the image reaches from -1 to 1.
    theta = torch.zeros(n, 2, 3, device=images.device)
    theta[:, 0, 0], theta[:, 1, 1] = width * mirror, height
    theta[:, 0, 2], theta[:, 1, 2] = (1 - width) * (2 * random[3] - 1), (1 - height) * (2 * random[4] - 1)
    shape = images.shape[-2:] if size is None else (size, size)
    grid = F.affine_grid(theta, [*images.shape[:2], *shape], align_corners=False)
    # Windows that touch the border are sampled half a pixel beyond it.
    return F.grid_sample(images, grid.to(images.dtype), padding_mode='border', align_corners=False)


def color_jitter(images: Tensor, strength: float) -> Tensor:
    """Change brightness, contrast and saturation of every image, in that order, each by a factor of its own.

    Args:
        images: (N, 3, H, W), floating point, RGB of 0 to 255.
        strength: The factors are from 1 - strength to 1 + strength.

    Returns:
        (N, 3, H, W), of 0 to 255.

    Source: the changes are those of Pillow's ImageEnhance (Brightness, Contrast, Color), with its greys of ITU-R BT.601.

    Example:
        >>> color_jitter(torch.full((2, 3, 8, 10), 90.0), 0.4).shape
        torch.Size([2, 3, 8, 10])
    """
    factors = 1 + strength * (2 * torch.rand(3, len(images), 1, 1, 1, device=images.device) - 1)
    weights = images.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)

    def grey(colored: Tensor) -> Tensor:
        return (colored * weights).sum(1, keepdim=True)

    brightness, contrast, saturation = factors.to(images.dtype)
    images = (images * brightness).clamp(0, 255)
    images = torch.lerp(grey(images).mean((2, 3), keepdim=True), images, contrast).clamp(0, 255)
    return torch.lerp(grey(images), images, saturation).clamp(0, 255)


def random_erase(images: Tensor, prob: float) -> Tensor:
    """Fill a window of some images with noise of mean 0 and variance 1.

    Args:
        images: (N, C, H, W), floating point, normalised.
        prob: Share of the images that are changed.

    Returns:
        (N, C, H, W). A window covers 2 % to a third of the image and is up to 3.3 times wider than high, relative to the image, or the
        other way round. Windows stay inside the image: a longer one is cut to its size.

    Source: Random Erasing Data Augmentation, arXiv 1708.04896, section 3.2.

    Example:
        >>> random_erase(torch.zeros(2, 3, 8, 10), 0.25).shape
        torch.Size([2, 3, 8, 10])
    """
    n, _, height, width = images.shape
    random = torch.rand(5, n, device=images.device)
    part = 0.02 + (1 / 3 - 0.02) * random[0]
    stretch = torch.exp((2 * random[1] - 1) * 0.5 * math.log(3.3))
    inside = []
    for size, length, place in ((height, part.sqrt() / stretch, random[2]), (width, part.sqrt() * stretch, random[3])):
        length = (size * length).round().clamp(max=size)
        start = (place * (size - length + 1)).floor().clamp(max=size - length)
        pixels = torch.arange(size, device=images.device)
        inside.append((pixels >= start[:, None]) & (pixels < (start + length)[:, None]))
    window = inside[0][:, None, :, None] & inside[1][:, None, None, :] & (random[4] < prob).view(-1, 1, 1, 1)
    return torch.where(window, torch.randn_like(images), images)


def mix(images: Tensor, labels: Tensor, mixup: float, cutmix: float) -> tuple[Tensor, Tensor, float]:
    """Mix every image of a batch with another one: all pixels blended (mixup) or a window pasted (CutMix), one or the other by chance.

    Args:
        images: (N, C, H, W), floating point.
        labels: (N,).
        mixup: Parameter of mixup's beta distribution; 0 for no mixup.
        cutmix: Parameter of CutMix's; 0 for none.

    Returns:
        The images (N, C, H, W), the labels of the other ones (N,), and the share of the first in the mixture.

    Source: mixup, arXiv 1710.09412, section 2; CutMix, arXiv 1905.04899, section 3.1.
    """
    if not (mixup or cutmix):
        return images, labels, 1.0
    # A batch is in random order, so its neighbour is as good as any other image.
    other, other_labels = images.roll(1, 0), labels.roll(1, 0)
    chance, up, across = torch.rand(3).tolist()
    cut = cutmix and (not mixup or chance < 0.5)
    alpha = torch.tensor(float(cutmix if cut else mixup))
    share = torch.distributions.Beta(alpha, alpha).sample().item()
    if not cut:
        return images.lerp(other, 1 - share), other_labels, share
    height, width = images.shape[-2:]
    h, w = round(height * math.sqrt(1 - share)), round(width * math.sqrt(1 - share))
    top, left = round(up * (height - h)), round(across * (width - w))
    images = images.clone()
    images[..., top : top + h, left : left + w] = other[..., top : top + h, left : left + w]
    return images, other_labels, 1 - h * w / (height * width)


@MODELS.register_module()
class BatchPreprocessor(BaseDataPreprocessor):
    """Normalise a batch of photos; for training crop, mirror, colour, erase and mix it too, in that order.

    The random numbers are torch's own, so a seed fixes them.

    Args:
        mean, std: Of the channels, for pixels of 0 to 255.
        crop_scale: Smallest and largest part of the area that a crop covers; None for no crop and no flip.
        size: Height and width in pixels of what the network sees; None for those of the photos. Enlarging small photos gives the
            network larger maps; its first has a quarter of the size of its input.
        jitter: Strength of :func:`color_jitter`; 0 for none.
        erase_prob: Share of the images that :func:`random_erase` changes.
        mixup, cutmix: See :func:`mix`.
        mix_prob: Share of the batches that are mixed.
        non_blocking: Let copies to a GPU run beside it.

    Raises:
        ValueError: If a part or a probability is not between 0 and 1, or if the size is below 1.
    """

    def __init__(
        self,
        mean: Sequence[float] = (123.675, 116.28, 103.53),
        std: Sequence[float] = (58.395, 57.12, 57.375),
        crop_scale: Sequence[float] | None = (0.35, 1.0),
        size: int | None = None,
        jitter: float = 0.0,
        erase_prob: float = 0.0,
        mixup: float = 0.0,
        cutmix: float = 0.0,
        mix_prob: float = 1.0,
        non_blocking: bool = False,
    ) -> None:
        super().__init__(non_blocking)
        if crop_scale is not None and not 0 < crop_scale[0] <= crop_scale[1] <= 1:
            raise ValueError(f'crop_scale={tuple(crop_scale)} must rise and be above 0 and at most 1')
        for name, value in (('jitter', jitter), ('erase_prob', erase_prob), ('mix_prob', mix_prob)):
            if not 0 <= value <= 1:
                raise ValueError(f'{name}={value} must be 0 to 1')
        if size is not None and size < 1:
            raise ValueError(f'size={size} must be at least 1 pixel, or None')
        self.size = size
        self.crop_scale, self.jitter, self.erase_prob = crop_scale, jitter, erase_prob
        self.mixup, self.cutmix, self.mix_prob = mixup, cutmix, mix_prob
        self.register_buffer('mean', torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer('std', torch.tensor(std).view(-1, 1, 1), persistent=False)

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Return the arguments of :meth:`PretrainingClassifier.forward` for a batch of :class:`Photos`.

        Args:
            data: ``inputs`` (N, 3, H, W) uint8, RGB, and ``labels`` (N,).
            training: Whether to change and mix the photos.
        """
        data = self.cast_data(data)
        images = data['inputs'].float()
        if training and self.crop_scale is not None:
            images = random_resized_crop(images, self.crop_scale, size=self.size)
        elif self.size is not None:
            images = F.interpolate(images, (self.size, self.size), mode='bilinear', align_corners=False)
        if training and self.jitter:
            images = color_jitter(images, self.jitter)
        images = (images - self.mean) / self.std
        if not training:
            return dict(inputs=images, labels=data['labels'])
        if self.erase_prob:
            images = random_erase(images, self.erase_prob)
        mixed_labels, share = data['labels'], 1.0
        if (self.mixup or self.cutmix) and torch.rand(()).item() < self.mix_prob:
            images, mixed_labels, share = mix(images, data['labels'], self.mixup, self.cutmix)
        return dict(inputs=images, labels=data['labels'], mixed_labels=mixed_labels, share=share)
