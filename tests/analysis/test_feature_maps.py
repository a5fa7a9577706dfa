"""Attention maps against the modules that make them, EigenCAM against features with a known direction."""

import numpy as np
import pytest
import torch
from torch import nn

from mmlska.analysis.feature_maps import attention_maps, eigen_cam, eigen_cams
from mmlska.models.van_lska import VAN_LSKA

ARCH = dict(embed_dims=[8] * 4, depths=[1, 2, 1, 1], ffn_ratios=[2] * 4)


@pytest.mark.parametrize('attention', ['lska', 'lka', 'lska_trivial', 'lka_trivial'])
def test_attention_is_what_the_input_is_multiplied_by(attention):
    torch.manual_seed(0)
    backbone = VAN_LSKA(ARCH, k_size=7, attention=attention).double().eval()
    image = torch.rand(1, 3, 64, 96, dtype=torch.float64)
    seen = {}
    for name, module in backbone.named_modules():
        if name.endswith('spatial_gating_unit'):
            module.register_forward_hook(lambda m, i, o, name=name: seen.update({name: (i[0], o)}))
    maps = attention_maps(backbone, image)
    assert list(maps) == list(seen)
    assert len(maps) == 5
    for name, (x, y) in seen.items():
        expected = (y / x).abs().mean((0, 1)).numpy()
        known = np.isfinite(expected)  # a GELU of 0 hides what it was multiplied by
        assert known.mean() > 0.5
        np.testing.assert_allclose(maps[name][known], expected[known], rtol=1e-5)
    assert not any(m._forward_hooks for n, m in backbone.named_modules() if n.endswith('conv1'))


def test_other_backbones_have_no_attention():
    with pytest.raises(ValueError, match='Conv2d has no large-kernel attention; only EigenCAM is possible'):
        attention_maps(nn.Conv2d(3, 3, 1), torch.rand(1, 3, 8, 8))


@pytest.mark.parametrize('sign', [-1.0, 1.0])
def test_eigen_cam_finds_the_object_whatever_the_sign(sign):
    torch.manual_seed(0)
    feature = 0.01 * torch.randn(16, 12, 9)
    feature[:, 3:6, 2:5] += sign * torch.rand(16, 1, 1)
    cam = eigen_cam(feature)
    assert cam.shape == (12, 9)
    assert cam.max() == 1
    assert cam[3:6, 2:5].min() > 0.9
    cam[3:6, 2:5] = 0
    assert cam.max() < 0.1


def test_a_constant_map_is_zero():
    assert eigen_cam(torch.ones(4, 3, 3)).max() == 0


def test_one_eigen_cam_for_each_output():
    cams = eigen_cams(VAN_LSKA(ARCH, k_size=7, out_indices=(1, 3)).eval(), torch.rand(1, 3, 64, 96))
    assert [cam.shape for cam in cams] == [(8, 12), (2, 3)]
