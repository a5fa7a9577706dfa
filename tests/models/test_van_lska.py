"""The structure of the backbone: sizes and names, training behaviour, its options and its error texts."""

from __future__ import annotations

import copy
import math
import re

import pytest
import torch
import van_reference as ref
from mmengine.config import ConfigDict
from mmengine.registry import MODELS
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from van_small import SMALL, TWO, modules_of, small, train_step

from mmlska.models import VAN_LSKA
from mmlska.models.van_lska import ARCHS, DropPath, LayerNorm2d, VANBlock


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
    assert count(*key) == PUBLISHED_COUNTS[key]


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


def test_tiny_has_the_published_names():
    names = list(VAN_LSKA('t').state_dict())
    assert len(names) == 452
    assert not [n for n in names if '.block' in n or 'dwconv.dwconv' in n or 'spatial_h' in n]
    for name in (
        'patch_embed1.projection.weight',
        'patch_embed4.norm.running_var',
        'norm4.bias',
        'blocks3.4.norm2.weight',
    ):
        assert name in names
    parts = [
        'layer_scale_1',
        'layer_scale_2',
        'attn.proj_1.weight',
        'attn.proj_2.bias',
        'mlp.fc1.weight',
        'mlp.fc2.bias',
    ]
    parts += ['attn.spatial_gating_unit.DW_D_conv_v.weight', 'attn.spatial_gating_unit.conv1.bias', 'mlp.dwconv.weight']
    assert {f'blocks1.0.{part}' for part in parts} <= set(names)


@pytest.mark.parametrize('alias', ['tiny', 'Tiny', 'T'])
def test_arch_aliases(alias):
    with torch.device('meta'):
        assert str(VAN_LSKA(alias)) == str(VAN_LSKA('t')) == str(VAN_LSKA(ARCHS['t']))


@pytest.mark.parametrize(('short', 'long'), [('s', 'small'), ('b', 'base'), ('l', 'large')])
def test_long_arch_names(short, long):
    with torch.device('meta'):
        assert str(VAN_LSKA(long)) == str(VAN_LSKA(short))


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


def test_registered_and_configured_by_bare_name():
    cfg = ConfigDict(type='VAN_LSKA', arch='t', k_size=7, norm_cfg=dict(type='BN'), out_indices=[1])
    before = copy.deepcopy(cfg)
    assert type(MODELS.build(cfg)) is VAN_LSKA
    assert cfg == before


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
    rates = [m.drop_prob for m in net.modules() if isinstance(m, DropPath)]
    assert rates == pytest.approx(torch.linspace(0, 0.3, len(rates), dtype=torch.float64).tolist(), abs=1e-12)
    assert len(rates) == sum(m.__class__ is VANBlock for m in net.modules()) == sum(net.depths)


def test_drop_path_of_a_single_block_is_zero():
    net = VAN_LSKA(dict(embed_dims=[8], depths=[1], ffn_ratios=[2]), out_indices=(0,), drop_path_rate=0.5)
    assert net.blocks1[0].drop_path.drop_prob == 0


def test_drop_path_drops_whole_samples_and_keeps_the_mean():
    drop, x = DropPath(0.25), torch.ones(4000, 2, 1, 3)
    out = drop(x)
    assert torch.equal(out, out[:, :1, :, :1].expand_as(x))
    torch.testing.assert_close(out.unique(), torch.tensor([0, 4 / 3]))
    assert out.mean().item() == pytest.approx(1, abs=0.03)
    assert drop.eval()(x) is x


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


# ---------------------------------------------------------------------------------------- norms, activations, weights


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


def test_init_cfg_is_honoured(tmp_path):
    net = VAN_LSKA(SMALL, init_cfg=dict(type='Constant', layer='Conv2d', val=0.5, bias=0.25))
    net.init_weights()
    convs = modules_of(net, nn.Conv2d).values()
    assert all((m.weight == 0.5).all() and (m.bias == 0.25).all() for m in convs)
    torch.save(dict(state_dict=net.state_dict()), tmp_path / 'weights.pth')
    loaded = VAN_LSKA(SMALL, init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'weights.pth')))
    loaded.init_weights()
    torch.testing.assert_close(loaded.state_dict(), net.state_dict(), rtol=0, atol=0)


# ------------------------------------------------------------------------------------------------------- error texts

USER_ERRORS = [
    (
        dict(arch='xl'),
        ValueError,
        r"^arch='xl' is unknown; choose one of 't', 's', 'b', 'l', 'tiny', .*, or give a dict$",
    ),
    (dict(arch=4), TypeError, '^arch must be a str or a dict, got 4 of type int$'),
    (dict(arch=None), TypeError, '^arch must be a str or a dict, got None of type NoneType$'),
    (
        dict(arch=dict(embed_dims=[8], depths=[1])),
        ValueError,
        r"^arch dict has the keys \['depths', 'embed_dims'\]; it needs exactly embed_dims, depths, ffn_ratios$",
    ),
    (
        dict(arch=dict(TWO, num_heads=[1, 2])),
        ValueError,
        "'num_heads'.*; it needs exactly embed_dims, depths, ffn_ratios$",
    ),
    (
        dict(arch=dict(TWO, depths=[1, 1, 1])),
        ValueError,
        "^arch dict has lists of lengths {'embed_dims': 2, 'depths': 3, 'ffn_ratios': 2}; they need one entry for each",
    ),
    (dict(arch=dict(embed_dims=[], depths=[], ffn_ratios=[])), ValueError, 'they need one entry for each stage$'),
    (dict(k_size=24), ValueError, '^k_size=24 cannot be split .*; the nearest that can are 17, 23, 29, 35$'),
    (dict(k_size=24, attention='lka_trivial'), ValueError, '^k_size=24 must be odd and positive'),
    (dict(k_size='23'), TypeError, "^k_size must be an int, got '23' of type str$"),
    (
        dict(attention='lsk'),
        ValueError,
        "^attention='lsk' is unknown; choose one of 'lska', 'lka', 'lska_trivial', 'lka_trivial'$",
    ),
    (dict(attention=dict(type='LSKA')), ValueError, "^attention={'type': 'LSKA'} is unknown; choose one of 'lska', "),
    (dict(in_channels=0), ValueError, '^in_channels=0 must be the number of image channels, 1 or more$'),
    (dict(in_channels='3'), TypeError, "^in_channels must be an int, got '3' of type str$"),
    (dict(in_channels=True), TypeError, '^in_channels must be an int, got True of type bool$'),
    (dict(out_indices=(0, 4)), ValueError, r'^out_indices=\(0, 4\) must be rising stage numbers from 0 to 3'),
    (dict(arch=TWO), ValueError, r'^out_indices=\(0, 1, 2, 3\) must be rising stage numbers from 0 to 1'),
    (dict(out_indices=(-1,)), ValueError, r'^out_indices=\(-1,\) must be rising stage numbers'),
    (dict(out_indices=()), ValueError, r'^out_indices=\(\) must be rising stage numbers'),
    (dict(out_indices=[2, 1]), ValueError, r'^out_indices=\[2, 1\] must be rising stage numbers'),
    (dict(out_indices=[1, 1]), ValueError, r'^out_indices=\[1, 1\] must be rising stage numbers'),
    (dict(out_indices=['0']), ValueError, r"^out_indices=\['0'\] must be rising stage numbers"),
    (dict(frozen_stages=4), ValueError, r'^frozen_stages=4 must be -1 \(none\) to 3 \(all\)$'),
    (dict(frozen_stages=-2), ValueError, r'^frozen_stages=-2 must be -1 \(none\) to 3 \(all\)$'),
    (dict(frozen_stages='1'), TypeError, "^frozen_stages must be an int, got '1' of type str$"),
    (dict(drop_rate=1.0), ValueError, '^drop_rate=1.0 must be at least 0 and below 1$'),
    (dict(drop_path_rate=-0.1), ValueError, '^drop_path_rate=-0.1 must be at least 0 and below 1$'),
    (dict(drop_path_rate=float('nan')), ValueError, '^drop_path_rate=nan must be at least 0 and below 1$'),
    (dict(drop_path_rate='0.1'), TypeError, "^drop_path_rate must be a number, got '0.1' of type str$"),
    (
        dict(norm_cfg=dict(type='IN')),
        ValueError,
        "^norm_cfg has type='IN'; choose one of BN, BN2d, SyncBN, GN, LN, LN2d$",
    ),
    (dict(norm_cfg=dict(eps=1e-5)), ValueError, '^norm_cfg has type=None; choose one of BN, '),
    (dict(norm_cfg=None), TypeError, r"^norm_cfg must be a dict such as dict\(type='BN'\), got None$"),
    (dict(stage_norm_cfg='LN'), TypeError, r"^stage_norm_cfg must be a dict such as dict\(type='BN'\), got 'LN'$"),
    (dict(stage_norm_cfg=dict(type='Layer')), ValueError, "^stage_norm_cfg has type='Layer'; choose one of BN, "),
    (
        dict(act_cfg=dict(type='Gelu')),
        ValueError,
        "^act_cfg has type='Gelu'; choose an activation of torch.nn, such as 'GELU'",
    ),
    (dict(act_cfg=None), TypeError, r"^act_cfg must be a dict such as dict\(type='GELU'\), got None$"),
]


@pytest.mark.parametrize(
    ('kwargs', 'error', 'text'), USER_ERRORS, ids=lambda value: str(value) if isinstance(value, dict) else ''
)
def test_user_errors_are_clear(kwargs, error, text):
    with torch.device('meta'), pytest.raises(error, match=text) as caught:
        VAN_LSKA(**kwargs)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('shape', [(1, 4, 32, 32), (3, 32, 32), (1, 1, 3, 32, 32)], ids=str)
def test_wrong_input_is_a_clear_error(shape):
    text = (
        re.escape(f'input of shape {shape} does not fit; VAN_LSKA expects (N, 3, H, W): ')
        + 'set in_channels to the number of channels of your images$'
    )
    with pytest.raises(ValueError, match=text):
        small()(torch.rand(shape))
