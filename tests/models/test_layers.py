"""Norms, activations and drop path: built from config dicts, and in every place of the network."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from van_small import SMALL, modules_of

from mmlska.models import VAN_LSKA
from mmlska.models.layers import DropPath, LayerNorm2d


@pytest.mark.parametrize(
    ('cfg', 'cls', 'options'),
    [
        (dict(type='BN', eps=1e-3, momentum=0.01), nn.BatchNorm2d, dict(eps=1e-3, momentum=0.01)),
        (dict(type='BN2d'), nn.BatchNorm2d, dict(eps=1e-5)),
        (dict(type='BN', requires_grad=False), nn.BatchNorm2d, dict(affine=True)),
        (dict(type='SyncBN', requires_grad=True), nn.SyncBatchNorm, dict(momentum=0.1)),
        (dict(type='GN', num_groups=4, eps=1e-4), nn.GroupNorm, dict(num_groups=4, eps=1e-4)),
        (dict(type='LN', eps=1e-4), LayerNorm2d, dict(eps=1e-4)),
    ],
    ids=str,
)
def test_norm_cfg_reaches_every_norm(cfg, cls, options):
    net = VAN_LSKA(SMALL, norm_cfg=cfg)
    norms = {n: m for n, m in modules_of(net, cls).items() if n not in ('norm1', 'norm2', 'norm3', 'norm4')}
    embeds = {f'patch_embed{i}.norm' for i in (1, 2, 3, 4)}
    blocks = {f'blocks{i + 1}.{j}.norm{n}' for i, d in enumerate(SMALL['depths']) for j in range(d) for n in (1, 2)}
    assert set(norms) == embeds | blocks
    for m in norms.values():
        assert {k: getattr(m, k) for k in options} == options
        assert all(p.requires_grad is cfg.get('requires_grad', True) for p in m.parameters())
    assert all(p.requires_grad for p in net.norm1.parameters())
    assert len(net(torch.rand(2, 3, 64, 64))) == 4


@pytest.mark.parametrize(
    ('cfg', 'cls', 'eps'),
    [
        (None, LayerNorm2d, 1e-6),
        (dict(type='LN', eps=1e-5), LayerNorm2d, 1e-5),
        (dict(type='BN'), nn.BatchNorm2d, 1e-5),
    ],
)
def test_stage_norm_cfg(cfg, cls, eps):
    net = VAN_LSKA(SMALL) if cfg is None else VAN_LSKA(SMALL, stage_norm_cfg=cfg)
    assert [(type(m), m.eps) for m in (net.norm1, net.norm2, net.norm3, net.norm4)] == [(cls, eps)] * 4
    frozen = VAN_LSKA(SMALL, stage_norm_cfg=dict(type='LN', requires_grad=False))
    assert not frozen.norm4.weight.requires_grad


def test_act_cfg_reaches_every_activation():
    net = VAN_LSKA(SMALL, act_cfg=dict(type='LeakyReLU', negative_slope=0.3))
    assert [m.negative_slope for m in modules_of(net, nn.LeakyReLU).values()] == [0.3] * 10
    assert not modules_of(net, nn.GELU)
    assert len(modules_of(VAN_LSKA(SMALL), nn.GELU)) == 10


def test_drop_path_drops_whole_samples_and_keeps_the_mean():
    drop, x = DropPath(0.25), torch.ones(4000, 2, 1, 3)
    out = drop(x)
    assert torch.equal(out, out[:, :1, :, :1].expand_as(x))
    torch.testing.assert_close(out.unique(), torch.tensor([0, 4 / 3]))
    assert out.mean().item() == pytest.approx(1, abs=0.03)
    assert drop.eval()(x) is x
