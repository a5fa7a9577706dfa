"""Folding for inference: the same outputs to rounding, borders included, and no folding where it would not be exact."""

from __future__ import annotations

import copy
import io

import pytest
import torch
import van_small
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmlska.models import VAN_LSKA
from mmlska.models.deploy import FoldedVANBlock, fold_for_inference
from mmlska.models.van_lska import VANBlock


def trained(**kwargs) -> VAN_LSKA:
    """A network in evaluation mode whose every parameter and statistic matters."""
    torch.manual_seed(1)
    return van_small.small(**kwargs).eval()


def assert_same(a: nn.Module, b: nn.Module, size: tuple[int, int], tolerance: float, dtype=torch.float64) -> None:
    x = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(2), dtype=torch.float64).to(dtype)
    for i, (found, wanted) in enumerate(zip(a(x), b(x))):
        error = ((found - wanted).abs().max() / wanted.abs().max()).item()
        assert error <= tolerance, f'stage {i}: error {error:.1e}'


# 33 and 32 pixels: the last stage has 2x2 and 1x1 positions, so nearly all of it is border.
@pytest.mark.parametrize('size', [(64, 64), (33, 70), (32, 32)])
@pytest.mark.parametrize('attention', ['lska', 'lka', 'lska_trivial', 'lka_trivial'])
def test_outputs_in_float64(attention, size):
    net = trained(attention=attention).double()
    assert_same(fold_for_inference(net), net, size, 1e-10)


@pytest.mark.parametrize('arch', ['t', 's'])
def test_outputs_of_the_published_variants(arch):
    net = van_small.stir(VAN_LSKA(arch, k_size=23)).double().eval()
    assert_same(fold_for_inference(net), net, (64, 64), 1e-10)


def test_outputs_in_float32():
    net = trained()
    assert_same(fold_for_inference(net), net, (65, 70), 5e-5, torch.float32)


def test_every_batchnorm_and_layer_scale_is_gone():
    folded = fold_for_inference(trained())
    assert not [m for m in folded.modules() if isinstance(m, (_BatchNorm, VANBlock))]
    assert not [name for name, _ in folded.named_parameters() if 'layer_scale' in name]
    assert sum(isinstance(m, FoldedVANBlock) for m in folded.modules()) == 5
    assert not [p for name, p in folded.named_parameters() if p.requires_grad and not name.startswith('norm')]


def test_works_on_a_copy_unless_told_otherwise():
    net = trained()
    before = {name: t.clone() for name, t in net.state_dict().items()}
    assert fold_for_inference(net) is not net
    assert net.state_dict().keys() == before.keys()
    assert all(torch.equal(t, before[name]) for name, t in net.state_dict().items())
    reference = copy.deepcopy(net).double()
    net.double()
    assert fold_for_inference(net, inplace=True) is net
    assert_same(net, reference, (40, 40), 1e-10)


def test_folding_twice_changes_nothing():
    once = fold_for_inference(trained())
    twice = fold_for_inference(once)
    first, second = once.state_dict(), twice.state_dict()
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_inside_any_model():
    class Segmentor(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone, self.other, self.head = trained(), trained(attention='lka'), nn.BatchNorm2d(32)

        def forward(self, x):
            return [self.head(self.backbone(x)[-1] + self.other(x)[-1])]

    model = Segmentor().double().eval()
    folded = fold_for_inference(model)
    assert isinstance(folded.head, nn.BatchNorm2d), 'only backbones are folded'
    assert sum(isinstance(m, FoldedVANBlock) for m in folded.modules()) == 10
    assert_same(folded, model, (64, 48), 1e-10)


@pytest.mark.parametrize('norm', [dict(type='GN', num_groups=2), dict(type='LN')])
def test_norms_that_depend_on_the_input_stay(norm):
    net = trained(norm_cfg=norm).double()
    folded = fold_for_inference(net)
    assert sum(isinstance(m, VANBlock) for m in folded.modules()) == 5
    assert_same(folded, net, (48, 48), 0.0)


def test_batchnorm_without_running_statistics_stays():
    net = trained(norm_cfg=dict(type='BN', track_running_stats=False)).double()
    assert_same(fold_for_inference(net), net, (48, 48), 0.0)


@pytest.mark.parametrize('norm', [dict(type='BN', affine=False), dict(type='BN', eps=0.1), dict(type='SyncBN')])
def test_other_batchnorms(norm):
    net = trained(norm_cfg=norm).double()
    assert_same(fold_for_inference(net), net, (48, 48), 1e-10)


def test_other_activations_and_dropout():
    net = trained(act_cfg=dict(type='ReLU'), drop_rate=0.3, drop_path_rate=0.4).double()
    assert_same(fold_for_inference(net), net, (48, 48), 1e-10)


def test_fewer_stages():
    net = trained(out_indices=(0, 2)).double()
    assert_same(fold_for_inference(net), net, (48, 48), 1e-10)


def test_low_precision_weights():
    net = trained()
    folded = fold_for_inference(copy.deepcopy(net).bfloat16())
    assert {p.dtype for p in folded.parameters()} == {torch.bfloat16}
    x = torch.randn(1, 3, 64, 64)
    for found, wanted in zip(folded(x.bfloat16()), net(x)):
        assert ((found.float() - wanted).abs().max() / wanted.abs().max()).item() < 0.1


def test_survives_saving_channels_last_and_tracing():
    net = trained()
    folded = fold_for_inference(net).to(memory_format=torch.channels_last)
    x = torch.randn(1, 3, 64, 64).to(memory_format=torch.channels_last)
    wanted = folded(x)
    file = io.BytesIO()
    torch.save(folded.state_dict(), file)
    file.seek(0)
    other = fold_for_inference(van_small.small().eval())
    other.load_state_dict(torch.load(file, weights_only=True))
    for model in (other, torch.jit.trace(folded, x)):
        for a, b in zip(model(x), wanted):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_refuses_a_model_in_training_mode():
    net = trained()
    net.train()
    with pytest.raises(
        ValueError, match=r'^VAN_LSKA is in training mode; fold_for_inference needs model.eval\(\) first$'
    ):
        fold_for_inference(net)
    net.eval()
    net.blocks2[1].norm1.train()
    with pytest.raises(ValueError, match='is in training mode'):
        fold_for_inference(net)


def test_refuses_a_model_without_backbone():
    with pytest.raises(ValueError, match=r'^Conv2d contains no VAN_LSKA, so there is nothing to fold$'):
        fold_for_inference(nn.Conv2d(3, 3, 1).eval())
    with pytest.raises(TypeError, match=r'^model must be a torch.nn.Module, got dict$'):
        fold_for_inference({})
