"""The adaptations are exact where they say so."""

from __future__ import annotations

import pytest
import torch
from published_layouts import SMALL, published

from mmlska import LKA, LSKA, VAN_LSKA
from mmlska.weights import adapt_weights, convert_state_dict
from mmlska.weights.adapt import rank1


def separable(lka: LKA) -> LKA:
    with torch.no_grad():
        for conv in (lka.DW_conv, lka.DW_D_conv):
            c, _, k, _ = conv.weight.shape
            conv.weight.copy_(torch.randn(c, 1, k, 1) @ torch.randn(c, 1, 1, k))
            conv.bias.normal_()
    return lka


def test_the_approximation_is_the_best_of_rank_one():
    kernel = torch.randn(6, 1, 7, 7, dtype=torch.float64)
    vertical, horizontal, energy = rank1(kernel)
    assert vertical.shape == (6, 1, 7, 1)
    assert horizontal.shape == (6, 1, 1, 7)
    for i in range(6):  # Eckart-Young: what is lost is the sum of the other squared singular values
        s = torch.linalg.svdvals(kernel[i, 0])
        lost = (kernel[i] - vertical[i] @ horizontal[i]).square().sum()
        torch.testing.assert_close(lost, s[1:].square().sum())
        torch.testing.assert_close(energy[i], s[0] ** 2 / s.square().sum())
    assert rank1(torch.zeros(1, 1, 5, 5))[2].item() == 1.0


@pytest.mark.parametrize('size', [(40, 44), (5, 6), (1, 1), (24, 3)])
@pytest.mark.parametrize('k_size', [11, 23])
def test_rank_one_kernels_give_the_same_attention_borders_included(k_size, size):
    lka, lska = separable(LKA(8, k_size)), LSKA(8, k_size)
    names = {f'blocks1.0.attn.spatial_gating_unit.{k}': v for k, v in lka.state_dict().items()}
    model = {f'blocks1.0.attn.spatial_gating_unit.{k}': v for k, v in lska.state_dict().items()}
    adapted, (note,) = adapt_weights(names, model, ['rank1'])
    assert '2 depthwise convolutions of LKA made separable; 100.0% of' in note
    lska.load_state_dict({k.rpartition('unit.')[2]: v for k, v in adapted.items()})
    x = torch.randn(2, 8, *size)
    with torch.no_grad():
        torch.testing.assert_close(lska(x), lka(x), rtol=1e-5, atol=1e-4)
    assert lska.DW_conv_h.bias.eq(0).all()
    assert torch.equal(lska.DW_conv_v.bias, lka.DW_conv.bias)


def test_the_energy_is_reported_as_a_share_with_the_lowest():
    weights = convert_state_dict(published('classification', attention='lka')[0])
    model = VAN_LSKA(SMALL).state_dict()
    bases = [name for name in weights if name.endswith(('DW_conv.weight', 'DW_D_conv.weight'))]
    _, (note,) = adapt_weights(weights, model, ['rank1'])
    kept = total = 0.0
    for b in bases:
        s = torch.linalg.svdvals(weights[b][:, 0].double()).square()
        kept, total = kept + s[:, 0].sum().item(), total + s.sum().item()
    assert f'{len(bases)} depthwise convolutions' in note
    assert f'{kept / total:.1%} of the squared singular values kept (lowest ' in note


@pytest.mark.parametrize(('k_file', 'per_block'), [(35, 4), (11, 8), (7, 8)])
def test_another_kernel_keeps_the_rest(k_file, per_block):
    weights = convert_state_dict(published('classification', k_size=k_file)[0])
    net = VAN_LSKA(SMALL)
    model = net.state_dict()
    adapted, (note,) = adapt_weights(weights, model, ['k_size'])
    fresh = [k for k in adapted if adapted[k] is model[k]]
    assert len(fresh) == per_block * sum(SMALL['depths'])
    assert all('.DW_' in k for k in fresh)
    assert f'{len(fresh)} tensors of depthwise convolutions keep their initial values' in note
    assert all(adapted[k] is weights[k] for k in weights if k not in fresh)
    net.load_state_dict(adapted)


@pytest.mark.parametrize('channels', [1, 2, 4, 6])
def test_other_image_channels_agree_on_images_of_equal_channels(channels):
    weights = convert_state_dict(published('classification')[0])
    rgb, other = VAN_LSKA(SMALL).eval(), VAN_LSKA(SMALL, in_channels=channels).eval()
    rgb.load_state_dict(weights)
    adapted, (note,) = adapt_weights(weights, other.state_dict(), ['in_channels'])
    other.load_state_dict(adapted)
    grey = torch.randn(1, 1, 64, 64)
    same = torch.allclose(rgb(grey.repeat(1, 3, 1, 1))[-1], other(grey.repeat(1, channels, 1, 1))[-1], atol=1e-3)
    assert same == (channels != 4)  # repeating three kernels in turn for four channels counts the first one twice
    assert f'made from 3 for {channels} channels' in note
    assert ('mean' if channels < 3 else 'repeated in turn') in note


def test_what_is_not_needed_is_said_and_nothing_changes():
    weights = convert_state_dict(published('classification')[0])
    adapted, notes = adapt_weights(weights, VAN_LSKA(SMALL).state_dict(), ['in_channels', 'k_size', 'rank1'])
    assert all(adapted[k] is weights[k] for k in weights)
    assert notes == [f"adapt='{name}' was not needed" for name in ('rank1', 'k_size', 'in_channels')]
