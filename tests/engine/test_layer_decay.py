"""Every parameter gets the learning rate of its depth and the weight decay of its kind, in models built from the configs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from torch import nn

from mmlska import VAN_LSKA
from mmlska.engine.layer_decay import LayerDecayOptimWrapperConstructor

CONFIGS = Path(__file__).parents[2] / 'configs'
OPTIMIZER = dict(type='AdamW', lr=1e-3, weight_decay=0.05)


def settings(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, tuple[float, float]]:
    """Name to (learning rate, weight decay)."""
    of = {id(p): (group['lr'], group['weight_decay']) for group in optimizer.param_groups for p in group['params']}
    return {name: of[id(p)] for name, p in model.named_parameters() if id(p) in of}


@pytest.mark.parametrize(
    ('config', 'kind'), [('upernet_van_lska_b_layer_decay.py', 'mmseg'), ('retinanet_van_lska_b.py', 'mmdet')]
)
def test_named_parameters_of_a_whole_model(config, kind):
    registry = pytest.importorskip(f'{kind}.registry').MODELS
    cfg = Config.fromfile(CONFIGS / config)
    init_default_scope(cfg.get('default_scope'))
    if kind == 'mmdet':
        wrapper = dict(
            cfg.optim_wrapper, constructor='LayerDecayOptimWrapperConstructor', paramwise_cfg=dict(layer_decay_rate=0.9)
        )
    else:
        wrapper = cfg.optim_wrapper
    with torch.device('meta'):
        model = registry.build(cfg.model)
    found = settings(model, build_optim_wrapper(model, wrapper).optimizer)
    lr, decay = wrapper['optimizer']['lr'], wrapper['optimizer']['weight_decay']
    # VAN-LSKA-B: 3 + 3 + 12 + 3 blocks, so depth 22 is what follows the backbone
    expected = {
        'backbone.patch_embed1.projection.weight': (0, decay),
        'backbone.patch_embed1.norm.weight': (0, 0.0),
        'backbone.blocks1.0.attn.proj_1.weight': (1, decay),
        'backbone.blocks1.0.layer_scale_1': (1, 0.0),
        'backbone.blocks1.2.mlp.fc2.bias': (3, 0.0),
        'backbone.norm1.weight': (3, 0.0),
        'backbone.patch_embed2.projection.weight': (4, decay),
        'backbone.blocks3.11.attn.spatial_gating_unit.DW_D_conv_v.weight': (18, decay),
        'backbone.blocks4.2.norm2.bias': (21, 0.0),
        'backbone.norm4.bias': (21, 0.0),
    }
    for name, (depth, own_decay) in expected.items():
        assert found[name] == pytest.approx((lr * 0.9 ** (22 - depth), own_decay)), name
    outside = {name: values for name, values in found.items() if not name.startswith('backbone.')}
    assert outside
    for name, values in outside.items():
        assert values == pytest.approx(
            (lr, decay if name.endswith('weight') and model.get_parameter(name).ndim > 1 else 0.0)
        ), name
    assert set(found) == {name for name, p in model.named_parameters() if p.requires_grad}


def test_get_layer_depth_counts_built_stages_only():
    net = VAN_LSKA('t', out_indices=(0, 1))
    assert net.get_layer_depth('patch_embed1.norm.bias') == (0, 8)
    assert net.get_layer_depth('blocks2.2.norm1.bias') == (6, 8)
    assert net.get_layer_depth('norm2.bias') == (6, 8)
    assert net.get_layer_depth('x.backbone.blocks2.0.norm1.bias', 'x.backbone.') == (4, 8)
    assert net.get_layer_depth('neck.bias', 'x.backbone.') == (7, 8)


def test_frozen_parameters_are_left_out_and_the_table_says_all(caplog):
    net = VAN_LSKA('t', frozen_stages=0)
    build = LayerDecayOptimWrapperConstructor(dict(optimizer=OPTIMIZER), dict(layer_decay_rate=0.5, print_groups=True))
    with caplog.at_level('INFO'):
        optimizer = build(net).optimizer
    assert set(settings(net, optimizer)) == {name for name, p in net.named_parameters() if p.requires_grad}
    assert not [name for name in settings(net, optimizer) if 'blocks1' in name]
    (step,) = {group['lr'] for group in optimizer.param_groups if group['group'] == 'depth 13'}
    assert step == pytest.approx(0.5e-3)


@pytest.mark.parametrize(
    ('model', 'options', 'message'),
    [
        (VAN_LSKA, dict(layer_decay_rate=1.5), r'layer_decay_rate=1.5; set it above 0 and up to 1'),
        (VAN_LSKA, dict(num_layers=3), "paramwise_cfg has 'num_layers'; layer-wise decay takes layer_decay_rate"),
        (VAN_LSKA, dict(print_groups=True), 'layer_decay_rate=None'),
        (lambda: nn.Linear(2, 2), dict(layer_decay_rate=0.9), 'Linear has no part with get_layer_depth'),
    ],
)
def test_bad_options_are_named(model, options, message):
    with pytest.raises(ValueError, match=message):
        LayerDecayOptimWrapperConstructor(dict(optimizer=OPTIMIZER), options)(model())
    with pytest.raises(ValueError, match='set optim_wrapper.optimizer.lr'):
        LayerDecayOptimWrapperConstructor(dict(optimizer=dict(type='AdamW')), dict(layer_decay_rate=0.9))
