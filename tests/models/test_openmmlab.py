"""The models in MMEngine: by bare name in its registry, the backbone as its BaseModule, and what plain PyTorch says instead."""

from __future__ import annotations

import copy
import inspect

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import nn
from van_small import SMALL, modules_of

import mmlska
from mmlska.models import ATTENTIONS, VAN_LSKA, van_lska


def test_the_class_of_users_is_the_registered_one():
    assert mmlska.VAN_LSKA is VAN_LSKA is MODELS.get('VAN_LSKA')
    assert issubclass(VAN_LSKA, BaseModule)
    assert issubclass(VAN_LSKA, van_lska.VAN_LSKA)
    assert not issubclass(van_lska.VAN_LSKA, BaseModule)
    assert list(inspect.signature(VAN_LSKA).parameters) == list(inspect.signature(van_lska.VAN_LSKA).parameters)
    assert 'Visual Attention Network' in inspect.getdoc(VAN_LSKA)


def test_registered_and_configured_by_bare_name():
    cfg = ConfigDict(type='VAN_LSKA', arch='t', k_size=7, norm_cfg=dict(type='BN'), out_indices=[1])
    before = copy.deepcopy(cfg)
    assert type(MODELS.build(cfg)) is VAN_LSKA
    assert cfg == before


@pytest.mark.parametrize('design', ATTENTIONS)
def test_builds_by_config(design):
    cls = ATTENTIONS[design]
    layer = MODELS.build(dict(type=cls.__name__, dim=256, k_size=11))
    assert type(layer) is cls
    assert layer.conv1.weight.shape == (256, 256, 1, 1)
    assert 'dim=256, k_size=11' in repr(layer)


def test_init_cfg_is_honoured(tmp_path):
    net = VAN_LSKA(SMALL, init_cfg=dict(type='Constant', layer='Conv2d', val=0.5, bias=0.25))
    net.init_weights()
    convs = modules_of(net, nn.Conv2d).values()
    assert all((m.weight == 0.5).all() and (m.bias == 0.25).all() for m in convs)
    torch.save(dict(state_dict=net.state_dict()), tmp_path / 'weights.pth')
    loaded = VAN_LSKA(SMALL, init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'weights.pth')))
    loaded.init_weights()
    torch.testing.assert_close(loaded.state_dict(), net.state_dict(), rtol=0, atol=0)


def test_init_cfg_belongs_to_the_network():
    init_cfg = dict(type='Constant', layer='Conv2d', val=0.5)
    net = VAN_LSKA(SMALL, init_cfg=init_cfg)
    init_cfg['val'] = 1.0
    assert net.init_cfg == dict(type='Constant', layer='Conv2d', val=0.5)
    assert 'init_cfg=' in repr(net)
    assert VAN_LSKA(SMALL).init_cfg is None


def test_without_mmengine_an_init_cfg_is_refused():
    with pytest.raises(ImportError, match='^init_cfg is for models of MMEngine .pip install .*load_weights') as caught:
        van_lska.VAN_LSKA(SMALL, init_cfg=dict(type='Pretrained', checkpoint='x.pth'))
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('cls', [VAN_LSKA, van_lska.VAN_LSKA])
def test_whole_networks_are_kept(cls, tmp_path):
    """Pickles of earlier versions name the class where the plain one is now."""
    net, x = cls(SMALL).eval(), torch.rand(1, 3, 40, 40)
    torch.save(net, tmp_path / 'net.pt')
    again = torch.load(tmp_path / 'net.pt', weights_only=False)
    assert type(again) is cls
    assert torch.equal(again(x)[3], net(x)[3])
    assert (van_lska.LayerNorm2d, van_lska.DropPath) == (type(net.norm1), type(net.blocks2[0].drop_path))


def test_both_classes_hold_the_same_network():
    torch.manual_seed(0)
    plain = van_lska.VAN_LSKA(SMALL)
    torch.manual_seed(0)
    ours = VAN_LSKA(SMALL)
    torch.testing.assert_close(dict(ours.state_dict()), dict(plain.state_dict()), rtol=0, atol=0)
