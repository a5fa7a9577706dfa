"""What MMPretrain tests of its VAN, of ``VAN_LSKA(attention='lka')``.

Differences that are documented in docs/other_projects.md: all four stages are returned by default, patches are fixed, a dict of an arch is
checked with ValueError, and ``init_cfg`` of type 'Pretrained' reads every layout of published weights.
"""

from __future__ import annotations

import copy
import itertools
import math

import pytest
import torch
from torch import nn

from mmlska.models import VAN_LSKA
from mmlska.models.layers import DropPath, LayerNorm2d
from mmlska.models.van_lska import VANBlock

SETTINGS = dict(embed_dims=[8, 16, 24, 32], depths=[1, 2, 2, 1], ffn_ratios=[2, 2, 2, 2])
CFG = dict(arch='tiny', attention='lka', drop_path_rate=0.1)


def test_an_arch_is_one_of_the_names_or_a_whole_dict():
    with pytest.raises(ValueError, match="arch='unknown' is unknown"):
        VAN_LSKA(arch='unknown', attention='lka')
    for left_out in SETTINGS:
        settings = {key: value for key, value in SETTINGS.items() if key != left_out}
        with pytest.raises(ValueError, match='it needs exactly embed_dims, depths, ffn_ratios'):
            VAN_LSKA(arch=settings, attention='lka')
    net = VAN_LSKA(arch=copy.deepcopy(SETTINGS), attention='lka')
    for i in range(4):
        blocks = getattr(net, f'blocks{i + 1}')
        assert len(blocks) == SETTINGS['depths'][i]
        assert blocks[0].norm1.num_features == SETTINGS['embed_dims'][i]
        assert blocks[0].mlp.fc1.out_channels == SETTINGS['embed_dims'][i] * SETTINGS['ffn_ratios'][i]


def test_init_weights_draws_them_and_loads_a_checkpoint(tmp_path):
    net = VAN_LSKA(SETTINGS, attention='lka', init_cfg=[dict(type='TruncNormal', layer='Conv2d', std=0.02, bias=0.0)])
    before = net.patch_embed1.projection.weight.clone()
    net.init_weights()
    assert not torch.equal(before, net.patch_embed1.projection.weight)
    torch.save(net.state_dict(), tmp_path / 'net.pth')
    again = VAN_LSKA(SETTINGS, attention='lka', init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'net.pth')))
    again.init_weights()
    torch.testing.assert_close(again.state_dict(), net.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize('channels', [3, 1])
def test_forward_of_one_stage(channels):
    net = VAN_LSKA(**CFG, in_channels=channels, out_indices=(3,)).eval()
    with torch.no_grad():
        (out,) = net(torch.rand(1, channels, 224, 224))
    assert out.shape == (1, 256, 7, 7)


@pytest.mark.parametrize(('arch', 'widths'), [('b0', (32, 64, 160, 256)), ('b2', (64, 128, 320, 512))])
def test_forward_of_several_stages(arch, widths):
    net = VAN_LSKA(arch=arch, attention='lka', out_indices=(0, 1, 2, 3)).eval()
    with torch.no_grad():
        outs = net(torch.rand(2, 3, 96, 128))
    assert [tuple(out.shape) for out in outs] == [
        (2, width, 96 // stride, 128 // stride) for width, stride in zip(widths, (4, 8, 16, 32))
    ]
    assert all(out.is_contiguous() for out in outs)


@pytest.mark.parametrize('size', [(33, 65), (1, 1)])
def test_forward_of_sizes_that_strides_do_not_divide(size):
    net = VAN_LSKA(SETTINGS, attention='lka').eval()
    with torch.no_grad():
        outs = net(torch.rand(1, 3, *size))
    assert [out.shape[2:] for out in outs] == [tuple(math.ceil(n / s) for n in size) for s in (4, 8, 16, 32)]


@pytest.mark.parametrize('rate', [0.0, 0.2])
def test_stochastic_depth_rises_from_an_identity(rate):
    net = VAN_LSKA('tiny', attention='lka', drop_path_rate=rate)
    blocks = [module for module in net.modules() if isinstance(module, VANBlock)]
    wanted = [rate * i / (len(blocks) - 1) for i in range(len(blocks))]
    for block, probability in zip(blocks, wanted, strict=True):
        assert type(block.drop_path) is (DropPath if probability else nn.Identity)
        if probability:
            assert math.isclose(block.drop_path.drop_prob, probability)


@pytest.mark.parametrize('frozen', [-1, 0, 1, 3])
def test_frozen_stages_have_no_gradient_and_stay_in_eval(frozen):
    net = VAN_LSKA(SETTINGS, attention='lka', frozen_stages=frozen, norm_eval=True).train()
    for i in range(4):
        parts = [getattr(net, f'{name}{i + 1}') for name in ('patch_embed', 'blocks', 'norm')]
        for parameter in itertools.chain(*(part.parameters() for part in parts)):
            assert parameter.requires_grad is (i > frozen)
        assert all(part.training is (i > frozen) for part in parts)
    assert not any(module.training for module in net.modules() if isinstance(module, nn.BatchNorm2d))


def test_patches_stem_and_norms():
    net = VAN_LSKA(SETTINGS, attention='lka', norm_cfg=dict(type='BN', eps=1e-3))
    convolutions = [getattr(net, f'patch_embed{i}').projection for i in (1, 2, 3, 4)]
    assert [(c.kernel_size[0], c.stride[0], c.padding[0]) for c in convolutions] == [(7, 4, 3), *[(3, 2, 1)] * 3]
    assert net.patch_embed1.norm.eps == net.blocks1[0].norm2.eps == 1e-3
    assert all(isinstance(getattr(net, f'norm{i}'), LayerNorm2d) for i in (1, 2, 3, 4))
    gate = net.blocks1[0].attn.spatial_gating_unit
    kernels = [(m.kernel_size[0], m.dilation[0], m.groups) for m in gate.children() if isinstance(m, nn.Conv2d)]
    assert kernels == [(5, 1, 8), (7, 3, 8), (1, 1, 1)]


def test_patch_sizes_are_the_published_alone():
    VAN_LSKA(SETTINGS, attention='lka', patch_sizes=[7, 3, 3, 3])
    with pytest.raises(TypeError, match=r'VAN_LSKA has no patch_sizes=\[8, 8, 8, 8\]; it is fixed at \[7, 3, 3, 3\]'):
        VAN_LSKA(SETTINGS, attention='lka', patch_sizes=[8, 8, 8, 8])
