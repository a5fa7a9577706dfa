"""The structure of the backbone: sizes and names, training behaviour and initial weights."""

from __future__ import annotations

import math

import pytest
import torch
import van_reference as ref
from mmengine.config import ConfigDict
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from van_small import SMALL, TWO, modules_of, small, train_step

from mmlska.designs import ARCHS, van_cost
from mmlska.models import VAN_LSKA
from mmlska.models.layers import DropPath
from mmlska.models.van_lska import VANBlock


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def in_stages(name: str, number: int) -> bool:
    """Whether a parameter, buffer or module belongs to the first ``number`` stages."""
    parts = [f'{part}{stage}' for stage in range(1, number + 1) for part in ('patch_embed', 'blocks', 'norm')]
    return name.split('.')[0] in parts


# ---------------------------------------------------------------------------------------------- sizes, names, outputs

PUBLISHED_COUNTS = {
    ('t', 'lska', 7): 3_752_800,
    ('t', 'lska', 23): 3_772_000,
    ('t', 'lska', 53): 3_804_000,
    ('s', 'lska', 23): 13_219_776,
    ('b', 'lska', 7): 25_708_352,
    ('b', 'lska', 23): 25_779_776,
    ('b', 'lska', 53): 25_898_816,
    ('l', 'lska', 23): 43_724_224,
    ('t', 'lka', 23): 3_848_800,
    ('s', 'lka', 23): 13_348_800,
    ('b', 'lka', 23): 26_065_472,
    ('l', 'lka', 23): 44_252_608,
}


def count(arch: str, attention: str, k_size: int) -> int:
    with torch.device('meta'):
        return sum(p.numel() for p in VAN_LSKA(arch, k_size, attention).parameters())


@pytest.mark.parametrize('key', PUBLISHED_COUNTS, ids=str)
def test_parameter_counts_are_the_published(key):
    assert count(*key) == van_cost(*key, 224, 224).parameters == PUBLISHED_COUNTS[key]


@pytest.mark.parametrize('attention', ['lska', 'lka', 'lska_trivial', 'lka_trivial'])
@pytest.mark.parametrize('arch', ARCHS)
def test_parameter_counts_differ_only_by_depthwise_taps(arch, attention):
    """Every K and design follows from a published count: only taps and biases of the depthwise kernels change."""

    def taps(design: str, k_size: int) -> int:
        first, dilated = ref.LADDER[k_size][:2]
        return {
            'lska': 2 * (first + 1) + 2 * (dilated + 1),
            'lka': first**2 + 1 + dilated**2 + 1,
            'lska_trivial': 2 * (k_size + 1),
            'lka_trivial': k_size**2 + 1,
        }[design]

    channels = sum(d * n for d, n in zip(ARCHS[arch]['embed_dims'], ARCHS[arch]['depths']))
    for k_size in ref.LADDER if arch == 't' else (7, 53):
        more = channels * (taps(attention, k_size) - taps('lska', 23))
        assert count(arch, attention, k_size) == PUBLISHED_COUNTS[arch, 'lska', 23] + more


SIZES = [(1, 1), (1, 40), (2, 3), (4, 5), (7, 31), (32, 32), (33, 64), (63, 65), (64, 33), (97, 131)]


@pytest.mark.parametrize('size', SIZES, ids=str)
@pytest.mark.parametrize('attention', ['lska', 'lka', 'lska_trivial', 'lka_trivial'])
def test_strides_of_any_size(size, attention):
    net = VAN_LSKA(SMALL, k_size=11, attention=attention).eval()
    with torch.no_grad():
        outs = net(torch.rand(1, 3, *size))
    wanted = [(1, d, *(math.ceil(n / s) for n in size)) for d, s in zip(SMALL['embed_dims'], (4, 8, 16, 32))]
    assert [tuple(out.shape) for out in outs] == wanted
    assert all(out.isfinite().all() for out in outs)


def test_custom_arch_of_two_and_five_stages():
    x = torch.rand(1, 4, 50, 67)
    two = VAN_LSKA(TWO, in_channels=4, out_indices=[0, 1])
    assert [tuple(out.shape) for out in two(x)] == [(1, 8, 13, 17), (1, 12, 7, 9)]
    assert two.blocks2[0].mlp.fc1.weight.shape == (36, 12, 1, 1)
    five = dict(embed_dims=[4, 6, 8, 10, 12], depths=[1, 1, 1, 1, 2], ffn_ratios=[1, 1, 2, 2, 1.5])
    net = VAN_LSKA(ConfigDict(five), in_channels=4, out_indices=(0, 1, 2, 3, 4)).eval()
    assert [tuple(out.shape[1:]) for out in net(x)] == [(4, 13, 17), (6, 7, 9), (8, 4, 5), (10, 2, 3), (12, 1, 2)]
    assert net.blocks5[1].mlp.fc1.out_channels == 18


@pytest.mark.parametrize('out_indices', [(0,), (1,), [0, 2], (1, 2, 3), 2])
def test_out_indices_return_the_stages_of_the_whole_network(out_indices):
    whole, x = small(drop_path_rate=0.3).eval(), torch.rand(2, 3, 45, 38)
    part = VAN_LSKA(SMALL, 7, drop_path_rate=0.3, out_indices=out_indices).eval()
    indices = [out_indices] if isinstance(out_indices, int) else list(out_indices)
    built = {name: t for name, t in whole.state_dict().items() if in_stages(name, indices[-1] + 1)}
    assert list(part.state_dict()) == list(built)
    part.load_state_dict(built)
    outs = whole(x)
    for found, i in zip(part(x), indices, strict=True):
        assert torch.equal(found, outs[i])
    rates = [m.drop_prob for m in part.modules() if isinstance(m, DropPath)]
    assert rates == [m.drop_prob for m in whole.modules() if isinstance(m, DropPath)][: len(rates)]


# ------------------------------------------------------------------------------------------------ training behaviour


def test_every_parameter_gets_a_gradient():
    net = small()
    gradients = train_step(net.eval(), torch.rand(1, 3, 64, 64))[1]
    assert set(gradients) == set(dict(net.named_parameters()))
    assert not [name for name, g in gradients.items() if not g.any()]
    assert set(train_step(net.train(), torch.rand(1, 3, 64, 64))[1]) == set(gradients)


@pytest.mark.parametrize('arch', ['t', 's', SMALL], ids=str)
def test_drop_path_rises_linearly_over_blocks(arch):
    with torch.device('meta'):
        net = VAN_LSKA(arch, drop_path_rate=0.3)
    rates = [getattr(m.drop_path, 'drop_prob', 0) for m in net.modules() if isinstance(m, VANBlock)]
    assert rates == pytest.approx(torch.linspace(0, 0.3, len(rates), dtype=torch.float64).tolist(), abs=1e-12)
    assert len(rates) == sum(net.depths)


def test_drop_path_of_a_single_block_is_zero():
    net = VAN_LSKA(dict(embed_dims=[8], depths=[1], ffn_ratios=[2]), out_indices=(0,), drop_path_rate=0.5)
    assert type(net.blocks1[0].drop_path) is nn.Identity


def test_drop_rate_reaches_every_mlp():
    net = VAN_LSKA(SMALL, drop_rate=0.2)
    assert [m.p for m in net.modules() if isinstance(m, nn.Dropout)] == [0.2] * 5
    assert not torch.equal(net(torch.rand(1, 3, 64, 64))[0], net(torch.rand(1, 3, 64, 64))[0])


@pytest.mark.parametrize('frozen', [-1, 0, 1, 3])
def test_frozen_stages(frozen):
    net = small(frozen_stages=frozen)
    assert net.train() is net
    for name, p in net.named_parameters():
        assert p.requires_grad is not in_stages(name, frozen + 1), name
    for name, m in net.named_modules():
        if name:
            assert m.training is not in_stages(name, frozen + 1), name
    before = {name: t.clone() for name, t in net.named_buffers()}
    outs = net(torch.rand(2, 3, 64, 64))
    for name, t in net.named_buffers():
        assert torch.equal(t, before[name]) is in_stages(name, frozen + 1), name
    assert outs[-1].requires_grad is (frozen < 3)
    assert not any(m.training for m in net.eval().modules())


def test_frozen_stages_beyond_the_built_ones():
    net = VAN_LSKA(SMALL, out_indices=(0, 1), frozen_stages=3)
    assert not any(p.requires_grad for p in net.parameters())


def test_norm_eval_keeps_statistics():
    net = small(norm_eval=True)
    assert net.train() is net
    before = {name: t.clone() for name, t in net.named_buffers()}
    net(torch.rand(2, 3, 64, 64))
    assert all(torch.equal(t, before[name]) for name, t in net.named_buffers())
    assert not any(m.training for m in modules_of(net, _BatchNorm).values())
    assert all(m.training for m in modules_of(net, DropPath).values())
    assert all(p.requires_grad for p in net.parameters())
    assert net.eval() is net


CHECKPOINTED = [
    {},
    dict(norm_cfg=dict(type='BN', momentum=None)),
    dict(norm_cfg=dict(type='SyncBN')),
    dict(norm_cfg=dict(type='GN', num_groups=4)),
    dict(frozen_stages=1),
    dict(frozen_stages=0, norm_eval=True),
]


@pytest.mark.parametrize('kwargs', CHECKPOINTED, ids=str)
def test_with_cp_changes_nothing_but_memory(kwargs):
    plain = small(drop_path_rate=0.4, drop_rate=0.2, **kwargs).train()
    recomputed = VAN_LSKA(SMALL, 7, drop_path_rate=0.4, drop_rate=0.2, with_cp=True, **kwargs).train()
    recomputed.load_state_dict(plain.state_dict())
    calls = []
    for m in modules_of(recomputed, VANBlock).values():
        m.attn.register_forward_hook(lambda *_: calls.append(1))
    for step in range(2):
        x = torch.rand(3, 3, 64, 50)
        (outs, gradients), (outs_cp, gradients_cp) = train_step(plain, x, step), train_step(recomputed, x, step)
        torch.testing.assert_close((outs_cp, gradients_cp), (outs, gradients), rtol=0, atol=0)
        torch.testing.assert_close(dict(recomputed.named_buffers()), dict(plain.named_buffers()), rtol=0, atol=0)
    live = sum(SMALL['depths'][kwargs.get('frozen_stages', -1) + 1 :])
    assert len(calls) == 2 * (sum(SMALL['depths']) + live), 'each trained block runs twice a step, the others once'
    for a, b in zip(modules_of(recomputed, _BatchNorm).values(), modules_of(plain, _BatchNorm).values()):
        assert a.momentum == b.momentum


def test_no_recomputation_without_gradients():
    net = small(with_cp=True)
    with torch.no_grad():
        assert len(net(torch.rand(1, 3, 64, 64))) == 4


# ------------------------------------------------------------------------------------------------------------- weights


def test_layer_scale_init_value():
    def scales(**kwargs):
        return [p for name, p in VAN_LSKA(SMALL, **kwargs).named_parameters() if 'layer_scale' in name]

    assert len(scales()) == 10
    assert all(torch.equal(p, torch.full_like(p, 1e-2)) for p in scales())
    assert all(torch.equal(p, torch.ones_like(p)) for p in scales(layer_scale_init_value=1))


def test_published_weight_initialisation():
    net = VAN_LSKA('t')
    net.init_weights()  # what a Runner calls: without init_cfg it must change nothing
    big = 0
    for name, m in net.named_modules():
        if isinstance(m, nn.Conv2d):
            assert not m.bias.any(), name
            if m.weight.numel() > 5000:
                std = math.sqrt(2 * m.groups / (m.kernel_size[0] * m.kernel_size[1] * m.out_channels))
                assert m.weight.std().item() == pytest.approx(std, rel=0.05), name
                assert abs(m.weight.mean().item()) < 0.05 * std, name
                big += m.groups > 1
        elif isinstance(m, (_BatchNorm, nn.LayerNorm)):
            assert (m.weight == 1).all(), name
            assert not m.bias.any(), name
    assert big, 'no depthwise layer was checked'
