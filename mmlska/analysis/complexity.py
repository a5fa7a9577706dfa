"""Parameters and multiply-adds of a whole model, counted on its traced graph."""

from __future__ import annotations

import copy
from functools import partial
from typing import NamedTuple

import torch
from mmengine.analysis import FlopAnalyzer
from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from ..engine.config import replace_sync_bn
from ..engine.model_checks import check_model


class Complexity(NamedTuple):
    """The cost of one image.

    Attributes:
        parameters: Number of parameters.
        flops: Multiply-adds of convolutions, matrix products, norms and interpolations, one multiply-add counted as one, as
            OpenMMLab's tables and the papers count.
        input_shape: (height, width) in pixels.
        parts: Parameters and multiply-adds of each part of the model (backbone, neck, heads). An auxiliary head has no multiply-adds:
            only training runs it. What remains to ``flops`` lies between the parts, such as resizing the prediction.
    """

    parameters: int
    flops: int
    input_shape: tuple[int, int]
    parts: dict[str, dict[str, int]]


def measure_config(cfg: Config, height: int, width: int) -> Complexity:
    """Count what the model of a config costs at one image size, in its forward pass up to and including all heads.

    Args:
        cfg: Config of an mmdet or mmseg model, or of a classifier, which is counted without MMPretrain: as its backbone, the mean
            of the last map and one linear layer. A two-stage detector is counted with the proposals of its test config (1000, or all
            of a small image), its mask heads with the detections it keeps (100).
        height: Height of the image in pixels.
        width: Width of the image in pixels.

    Raises:
        ValueError: If height or width are not positive, or the parts of the model do not fit each other.
    """
    if height < 1 or width < 1:
        raise ValueError(f'image of {height}x{width} pixels; height and width must be positive')
    init_default_scope(cfg.default_scope)
    replace_sync_bn(cfg)
    if cfg.default_scope not in ('mmdet', 'mmseg'):
        return _measure_classifier(cfg.model, height, width)
    check_model(cfg, trains=False)
    model = MODELS.build(cfg.model).eval()
    image = torch.zeros(_channels(cfg.model), height, width, dtype=torch.uint8)
    sample = _sample(cfg.default_scope, height, width)
    data = model.data_preprocessor(dict(inputs=[image], data_samples=[sample]))
    model.forward = partial(model.forward, data_samples=data['data_samples'])
    proposals = _keep_all_proposals(model.rpn_head) if getattr(model, 'rpn_head', None) else []
    with torch.no_grad():
        flops = _count_flops(FlopAnalyzer(model, data['inputs']), cfg.model, proposals)
    return _complexity(model, flops, (height, width))


def _complexity(model: nn.Module, flops: dict[str, int], shape: tuple[int, int]) -> Complexity:
    sizes = {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}
    parts = {name: dict(parameters=size, flops=flops.get(name, 0)) for name, size in sizes.items() if size}
    parameters = sum(p.numel() for p in model.parameters())
    return Complexity(parameters, flops[''], shape, parts)


class _Classifier(nn.Module):
    """What MMPretrain's classifier and the one for pretraining compute in inference."""

    def __init__(self, model: ConfigDict) -> None:
        super().__init__()
        self.backbone = MODELS.build(model.backbone)
        self.head = nn.Linear(self.backbone.embed_dims[-1], model.get('head', model).num_classes)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.head(self.backbone(image)[-1].mean((2, 3)))


def _measure_classifier(model_cfg: ConfigDict, height: int, width: int) -> Complexity:
    model = _Classifier(model_cfg).eval()
    with torch.no_grad():
        flops = _count_flops(FlopAnalyzer(model, torch.zeros(1, _channels(model_cfg), height, width)), model_cfg, [])
    return _complexity(model, flops, (height, width))


def _channels(model_cfg: ConfigDict) -> int:
    """Channels of the images that a model takes."""
    return model_cfg.backbone.get('in_channels', 3)


def _keep_all_proposals(rpn_head: nn.Module) -> list[int]:
    """Switch NMS off: random weights leave it a random number of boxes. Return the list that will hold the number of proposals."""
    rpn_head.test_cfg = copy.deepcopy(rpn_head.test_cfg)
    rpn_head.test_cfg.nms.iou_threshold = 1.0
    predict, counts = rpn_head.predict, []

    def counting(*args, **kwargs):
        results = predict(*args, **kwargs)
        counts.append(len(results[0]))
        return results

    rpn_head.predict = counting
    return counts


def _count_flops(analyzer: FlopAnalyzer, model_cfg: ConfigDict, proposals: list[int]) -> dict[str, int]:
    """The count of each module, '' being the whole, with mask heads on as many boxes as inference gives them."""
    analyzer.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    by_module = dict(analyzer.by_module())
    if (model_cfg.get('roi_head') or {}).get('type') == 'CascadeRoIHead':
        # mmdet's forward runs a cascade's mask heads on every proposal; StandardRoIHead's, like inference, on 100.
        surplus = 1 - min(model_cfg.test_cfg.rcnn.max_per_img, proposals[-1]) / proposals[-1]
        for name in ('', 'roi_head'):
            by_module[name] -= surplus * by_module['roi_head.mask_head']
    return {name: int(flops) for name, flops in by_module.items()}


def _sample(scope: str, height: int, width: int):
    """The empty sample that a detector or segmentor wants beside its image."""
    shape = dict(img_shape=(height, width), ori_shape=(height, width), scale_factor=(1.0, 1.0))
    if scope == 'mmdet':
        from mmdet.structures import DetDataSample

        return DetDataSample(metainfo=dict(shape, batch_input_shape=(height, width)))
    from mmseg.structures import SegDataSample

    return SegDataSample(metainfo=shape)
