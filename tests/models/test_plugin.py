"""LSKA as a plugin layer of mmcv in mmdet's ResNet, and after its FPN."""

import pytest
import torch
from mmengine.registry import MODELS, init_default_scope

from mmlska.models import LSKANeck, LSKAPlugin

RESNET = dict(type='ResNet', depth=50, base_channels=8, stem_channels=8)
PLUGINS = [
    dict(
        cfg=dict(type='LSKAPlugin', k_size=23, postfix=f'_{i}'),
        stages=(False, False, True, True),
        position=f'after_conv{i}',
    )
    for i in (1, 2, 3)
]


def test_the_identity_until_it_is_trained():
    x = torch.randn(2, 6, 9, 11, requires_grad=True)
    layer = LSKAPlugin(6, k_size=23)
    assert torch.equal(layer(x), x)
    layer(x).square().sum().backward()
    assert layer.layer_scale.grad.abs().min() > 0
    torch.testing.assert_close(LSKAPlugin(6, 7, 0.5).lska.k_size, 7)
    trained = LSKAPlugin(6, 7, layer_scale_init_value=0.5)
    torch.testing.assert_close(trained(x), x + 0.5 * trained.lska(x))


@pytest.mark.parametrize('depth', [18, 50])
def test_resnet_stages(depth):
    init_default_scope('mmdet')
    cfg = dict(RESNET, depth=depth)
    if depth == 18:  # its blocks take no plugins, which mmdet says itself
        with pytest.raises(AssertionError, match='Not implemented yet'):
            MODELS.build(dict(cfg, plugins=PLUGINS))
        return
    stock, ours = MODELS.build(cfg), MODELS.build(dict(cfg, plugins=PLUGINS))
    stock.eval()
    ours.eval()
    missing = ours.load_state_dict(stock.state_dict(), strict=False)
    assert missing.unexpected_keys == []
    assert {name.split('.')[0] for name in missing.missing_keys} == {'layer3', 'layer4'}
    assert all('.lska' in name for name in missing.missing_keys)
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert all(torch.equal(a, b) for a, b in zip(ours(x), stock(x)))
        for m in ours.modules():
            if isinstance(m, LSKAPlugin):
                m.layer_scale.fill_(1.0)
        same = [torch.equal(a, b) for a, b in zip(ours(x), stock(x))]
    assert same == [True, True, False, False]


def test_after_an_fpn():
    init_default_scope('mmdet')
    fpn = dict(type='FPN', in_channels=[32, 64, 128, 256], out_channels=16, num_outs=5)
    stock, neck = MODELS.build(fpn), MODELS.build([fpn, dict(type='LSKANeck', in_channels=16, num_levels=5)])
    neck[0].load_state_dict(stock.state_dict())
    maps = [torch.rand(1, c, s, s) for c, s in zip((32, 64, 128, 256), (16, 8, 4, 2))]
    assert all(torch.equal(a, b) for a, b in zip(neck(maps), stock(maps)))


def test_levels_are_checked():
    with pytest.raises(ValueError, match='num_levels=0 must be the number of maps'):
        LSKANeck(8, 0)
    with pytest.raises(ValueError, match=r'2 maps come in; set num_levels=2 \(it is 3\)'):
        LSKANeck(8, 3)([torch.rand(1, 8, 4, 4)] * 2)
    with pytest.raises(ValueError, match='k_size=12 cannot be split'):
        LSKAPlugin(8, 12)
