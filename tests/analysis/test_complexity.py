"""Counts of whole models."""

import json
import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from mmlska.analysis.complexity import measure_config
from mmlska.catalog import config_costs
from mmlska.designs import van_cost
from mmlska.engine.config import replace_sync_bn
from mmlska.models.classifier import VANLSKAClassifier

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'


def read(name: str) -> Config:
    return Config.fromfile(CONFIGS / f'{name}.py')


@pytest.mark.parametrize('name', ['fpn_van_lska_t', 'retinanet_van_lska_t'])
def test_multiply_adds_agree_with_weights_times_pixels(name):
    cfg = read(name)
    height, width = 128, 192
    count = measure_config(cfg, height, width)
    init_default_scope(cfg.default_scope)
    replace_sync_bn(cfg)
    model = MODELS.build(cfg.model).eval()

    convolutions = 0
    for part, module in model.backbone.named_modules():
        if isinstance(module, nn.Conv2d):  # every one keeps the size of its stage
            stride = 2 ** (int(re.search(r'[1-4]', part)[0]) + 1)
            convolutions += module.weight.numel() * (height // stride) * (width // stride)

    def add(module, inputs, output):
        nonlocal convolutions
        convolutions += module.weight.numel() * output[0, 0].numel()

    for module in [
        *model.neck.modules(),
        *(model.decode_head if name.startswith('fpn') else model.bbox_head).modules(),
    ]:
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(add)
    with torch.no_grad():
        model(torch.rand(1, 3, height, width), mode='tensor')
    # Norms and interpolations come on top.
    assert convolutions < count.flops < 1.06 * convolutions
    assert count.parameters == sum(p.numel() for p in model.parameters())
    assert count.input_shape == (height, width)


@pytest.mark.parametrize(
    ('name', 'arch', 'classes'), [('van_lska_s_imagenet', 's', 1000), ('pretrain_van_lska_t_tiny_imagenet', 't', 200)]
)
def test_classifiers_are_counted_without_mmpretrain(name, arch, classes):
    count = measure_config(read(name), 64, 96)
    network = VANLSKAClassifier(arch, classes)
    assert count.parameters == sum(p.numel() for p in network.parameters())
    weights = network.head.weight.numel()
    assert count.parts['head'] == dict(parameters=weights + classes, flops=weights)
    convolutions = van_cost(arch, 'lska', 23, 64, 96).flops
    assert convolutions < count.parts['backbone']['flops'] < 1.06 * convolutions  # norms come on top
    assert count.flops == sum(part['flops'] for part in count.parts.values())


@pytest.mark.parametrize('name', ['van_lska_t_imagenet', 'demo/retinanet_van_lska_t_scenes'])
def test_what_configs_lists_is_what_is_counted_now(name):
    written = config_costs()[Path(name).stem]
    count = measure_config(read(name), *written['input_shape'])
    assert json.loads(json.dumps(count._asdict())) == written


def test_cost_grows_with_the_area():
    small, large = (measure_config(read('fpn_van_lska_t'), side, side) for side in (64, 128))
    assert large.flops == pytest.approx(4 * small.flops, rel=0.01)
    assert large.parameters == small.parameters


def few_boxes(cfg) -> None:
    """A thousand proposals and a hundred masks take a minute to count."""
    cfg.model.test_cfg.rpn.max_per_img, cfg.model.test_cfg.rcnn.max_per_img = 40, 20


@pytest.mark.slow
def test_a_cascade_is_counted_with_the_boxes_that_it_keeps():
    """Three box heads on all proposals, three mask heads on the boxes kept, whatever boxes random weights predict.

    Mask R-CNN's mask head takes 100 boxes at most, here as many as there are proposals.
    """
    counts = []
    for name in ('mask_rcnn', 'cascade_mask_rcnn'):
        cfg = read(f'{name}_van_lska_t')
        few_boxes(cfg)
        counts.append(measure_config(cfg, 128, 128).parts['roi_head']['flops'])
    # Multiply-adds of the heads for one box (12544x1024 + 1024x1024 + 1024x401) and for one mask.
    box, mask = 14_304_256, 529_858_560
    expected = [40 * (box + mask), 3 * (40 * box + 20 * mask)]
    assert counts == [pytest.approx(count, rel=0.02) for count in expected]


@pytest.mark.slow
@pytest.mark.parametrize(
    ('name', 'shape', 'published'),
    [
        ('upernet_van_lska_b', (512, 2048), 948),
        ('fpn_van_lska_t', (512, 512), 26),
        ('fpn_van_lska_s', (512, 512), 35),
        ('fpn_van_lska_b', (512, 512), 48),
    ],
)
def test_with_lka_the_models_cost_what_van_publishes(name, shape, published):
    """VAN paper, arXiv 2202.09741, tables 7 and 8: giga multiply-adds of UperNet on VAN-B2, Semantic FPN on VAN-B0, B1, B2."""
    cfg = read(name)
    cfg.model.backbone.attention = 'lka'
    count = measure_config(cfg, *shape)
    assert count.flops / 1e9 == pytest.approx(published, rel=0.03)
    if name.startswith('upernet'):
        assert round(count.parameters / 1e6) == 57


@pytest.mark.slow
@pytest.mark.parametrize(
    ('name', 'parts'),
    [
        ('retinanet_van_lska_t', ['backbone', 'neck', 'bbox_head']),
        ('cascade_mask_rcnn_van_lska_t', ['backbone', 'neck', 'rpn_head', 'roi_head']),
        ('upernet_van_lska_t', ['backbone', 'decode_head', 'auxiliary_head']),
    ],
)
def test_parts_add_up(name, parts):
    cfg = read(name)
    if 'rpn_head' in parts:
        few_boxes(cfg)
    count = measure_config(cfg, 64, 64)
    assert list(count.parts) == parts
    assert sum(part['parameters'] for part in count.parts.values()) == count.parameters
    assert count.parts['backbone']['parameters'] == 3_772_000
    between = count.flops - sum(part['flops'] for part in count.parts.values())
    assert 0 <= between < 0.01 * count.flops
    unused = {name for name, part in count.parts.items() if part['flops'] == 0}
    assert unused == {'auxiliary_head'} & set(parts)


def test_no_empty_images():
    with pytest.raises(ValueError, match='image of 0x64 pixels'):
        measure_config(read('fpn_van_lska_t'), 0, 64)
