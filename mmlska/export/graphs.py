"""A trained model as modules whose inputs and outputs are tensors alone and whose operations ONNX has.

They take normalised images of any batch, height and width. Backbones are folded for inference.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..models import fold_for_inference
from ..models.van_lska import VAN_LSKA

PARTS = ('backbone', 'model')


class BackboneGraph(nn.Module):
    """Feature maps of the backbone, or of backbone and neck, finest first."""

    def __init__(self, backbone: nn.Module, neck: nn.Module | None = None) -> None:
        super().__init__()
        self.backbone, self.neck = backbone, neck

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        maps = self.backbone(image)
        return tuple(maps if self.neck is None else self.neck(maps))


class SegmentorGraph(nn.Module):
    """Logits (N, classes, H, W) at the size of the image."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.backbone, self.head = model.backbone, model.decode_head
        self.neck = model.neck if model.with_neck else None

    def forward(self, image: Tensor) -> Tensor:
        maps = self.backbone(image)
        logits = self.head(maps if self.neck is None else self.neck(maps))
        return F.interpolate(logits, image.shape[2:], mode='bilinear', align_corners=self.head.align_corners)


class RetinaMaps(nn.Module):
    """What RetinaNet's head says at each anchor: the class maps of all levels, then the box maps."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.backbone, self.neck, self.head = model.backbone, model.neck, model.bbox_head

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        scores, deltas = self.head(self.neck(self.backbone(image)))
        return (*scores, *deltas)


class RetinaDecode(nn.Module):
    """From RetinaNet's maps to the candidates of the non-maximum suppression, as mmdet chooses them.

    Args:
        head: mmdet's RetinaHead.

    Shape:
        The maps of :class:`RetinaMaps` and ``shape`` (N, 2), height and width of each image without padding, to boxes (N, P, 4) in
        pixels, the boxes shifted apart by class, scores (N, P) and labels (N, P); P is ``nms_pre`` for each level. A place without a
        candidate has the score -1.

    Source: arXiv 1708.02002, section 4.1 (inference).
    """

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        cfg, coder = head.test_cfg, head.bbox_coder
        self.candidates = cfg.get('nms_pre', -1)
        if self.candidates < 1 or not head.use_sigmoid_cls or type(coder).__name__ != 'DeltaXYWHBBoxCoder':
            raise ValueError(
                'only a RetinaHead with sigmoid classes, DeltaXYWHBBoxCoder and nms_pre > 0 can be exported'
            )
        self.score_thr, self.min_size = cfg.get('score_thr', 0), cfg.get('min_bbox_size', -1)
        self.num_classes, self.clips = head.cls_out_channels, coder.clip_border
        self.strides = [(float(x), float(y)) for x, y in head.prior_generator.strides]
        for i, anchors in enumerate(head.prior_generator.base_anchors):
            self.register_buffer(f'anchors{i}', anchors.clone())
        self.register_buffer('means', torch.tensor(coder.means))
        self.register_buffer('stds', torch.tensor(coder.stds))

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        *maps, shape = inputs
        levels = len(self.strides)
        chosen = [self._level(i, maps[i], maps[levels + i]) for i in range(levels)]
        scores, labels, deltas, anchors = (torch.cat(parts, dim=1) for parts in zip(*chosen))
        boxes = self._decode(anchors, deltas)
        if self.clips:
            limits = shape.to(boxes.dtype)[:, None, [1, 0, 1, 0]]
            boxes = torch.minimum(boxes.clamp(min=0), limits)
        sides = boxes[..., 2:] - boxes[..., :2]
        large_enough = (sides > self.min_size).all(dim=-1)
        scores = torch.where(large_enough, scores, torch.full_like(scores, -1.0))
        # Suppression is within a class: boxes of different classes are moved out of each other's reach.
        apart = boxes + (labels.to(boxes.dtype) * (boxes.max() + 1))[..., None]
        return boxes, apart, scores, labels

    def _level(self, level: int, scores: Tensor, deltas: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        anchors = self._anchors(level, scores)
        batch = scores.shape[0]
        scores = scores.permute(0, 2, 3, 1).reshape(batch, -1).sigmoid()
        deltas = deltas.permute(0, 2, 3, 1).reshape(batch, -1, 4)
        scores = torch.where(scores > self.score_thr, scores, torch.full_like(scores, -1.0))
        # So many empty places that a small map has enough to choose from.
        scores = torch.cat([scores, torch.full_like(deltas[:, :1, 0], -1.0).expand(batch, self.candidates)], dim=1)
        scores, places = scores.topk(self.candidates, dim=1)
        places = torch.where(scores > 0, places, torch.zeros_like(places))
        owners = places // self.num_classes
        deltas = deltas.gather(1, owners[..., None].expand(batch, self.candidates, 4))
        return scores, places % self.num_classes, deltas, anchors[owners]

    def _anchors(self, level: int, scores: Tensor) -> Tensor:
        stride_x, stride_y = self.strides[level]
        x = torch.arange(scores.shape[3], device=scores.device) * stride_x
        y = torch.arange(scores.shape[2], device=scores.device) * stride_y
        shift = torch.stack([(x + 0 * y[:, None]), (0 * x + y[:, None])], dim=-1)[:, :, None]  # (H, W, 1, 2)
        base = getattr(self, f'anchors{level}')
        return torch.cat([base[:, :2] + shift, base[:, 2:] + shift], dim=-1).reshape(-1, 4)

    def _decode(self, anchors: Tensor, deltas: Tensor) -> Tensor:
        deltas = deltas * self.stds + self.means
        size = anchors[..., 2:] - anchors[..., :2]
        centre = (anchors[..., :2] + anchors[..., 2:]) * 0.5 + size * deltas[..., :2]
        half = size * deltas[..., 2:].clamp(-_MAX_RATIO, _MAX_RATIO).exp() * 0.5
        return torch.cat([centre - half, centre + half], dim=-1)


_MAX_RATIO = 4.135166556742356  # log(1000 / 16), the limit of mmdet's coder


class AdaptivePool(nn.Module):
    """``nn.AdaptiveAvgPool2d`` for maps of any size as two matrix products; ONNX has no such operator.

    Bin i of n over a side of L pixels is the mean of the pixels floor(i L / n) to ceil((i + 1) L / n).

    Example:
        >>> x = torch.rand(2, 3, 7, 10)
        >>> torch.allclose(AdaptivePool(6)(x), nn.AdaptiveAvgPool2d(6)(x), atol=1e-6)
        True
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        return self._means(x.shape[2], x) @ x @ self._means(x.shape[3], x).transpose(0, 1)

    def _means(self, length: int, x: Tensor) -> Tensor:
        bins = torch.arange(self.size, device=x.device)[:, None]
        pixels = torch.arange(length, device=x.device)[None]
        first, end = bins * length // self.size, ((bins + 1) * length + self.size - 1) // self.size
        inside = ((pixels >= first) & (pixels < end)).to(x.dtype)
        return inside / inside.sum(dim=1, keepdim=True)


class WholeUpsample(nn.Module):
    """mmseg's ``Upsample`` by a whole factor. Its own product of size and float is frozen at export, for every size of image."""

    def __init__(self, factor: int, mode: str, align_corners: bool | None) -> None:
        super().__init__()
        self.factor, self.mode, self.align_corners = factor, mode, align_corners

    def forward(self, x: Tensor) -> Tensor:
        size = [x.shape[2] * self.factor, x.shape[3] * self.factor]
        return F.interpolate(x, size, mode=self.mode, align_corners=self.align_corners)


def graph_of(model: nn.Module, part: str) -> tuple[nn.Module, list[str], str]:
    """The module to export.

    Args:
        model: A model in evaluation mode on the CPU; stays as it is.
        part: 'backbone' or 'model'.

    Returns:
        The module, the names of its outputs, and which of 'backbone', 'backbone and neck', 'segmentor' or 'RetinaNet' it is.

    Raises:
        ValueError: If there is no such part or no way to export it.
    """
    if part not in PARTS:
        raise ValueError(f'part={part!r} is unknown; choose one of {", ".join(map(repr, PARTS))}')
    if not any(isinstance(m, VAN_LSKA) for m in model.modules()):
        raise ValueError(f'{type(model).__name__} has no VAN_LSKA; export is for models with this backbone')
    model = exportable(model)
    if part == 'backbone':
        graph = BackboneGraph(model.backbone)
        return graph, [f'stage{i + 1}' for i in model.backbone.out_indices], 'backbone'
    if hasattr(model, 'decode_head'):
        if model.test_cfg.get('mode', 'whole') != 'whole':
            raise ValueError("test_cfg.mode is 'slide'; export needs test_cfg=dict(mode='whole')")
        return SegmentorGraph(model), ['logits'], 'segmentor'
    if type(model).__name__ == 'RetinaNet':
        levels = range(len(model.bbox_head.prior_generator.strides))
        return RetinaMaps(model), [f'{kind}{i}' for kind in ('scores', 'deltas') for i in levels], 'RetinaNet'
    if not model.with_neck:
        raise ValueError(f'{type(model).__name__} cannot be exported whole; use part="backbone"')
    graph = BackboneGraph(model.backbone, model.neck)
    return graph, [f'level{i + 1}' for i in range(model.neck.num_outs)], 'backbone and neck'


def exportable(model: nn.Module) -> nn.Module:
    """A copy, folded for inference, whose operations ONNX has for any size of image."""
    model = fold_for_inference(copy.deepcopy(model), inplace=True)
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.AdaptiveAvgPool2d):
                setattr(module, name, AdaptivePool(child.output_size))
            elif type(child).__name__ == 'Upsample' and type(child).__module__.startswith('mmseg.'):
                factor = child.scale_factor
                if not isinstance(factor, float) or not factor.is_integer():
                    raise ValueError(f'{name} upsamples by scale_factor={factor}; only whole factors can be exported')
                setattr(module, name, WholeUpsample(int(factor), child.mode, child.align_corners))
    return model
