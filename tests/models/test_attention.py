"""The four attention designs against an independent reference, in float64, borders included."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
import van_reference as ref
from torch import Tensor, nn

from mmlska.designs import kernel_ladder
from mmlska.models import LKA, LSKA, LKATrivial, LSKATrivial

DESIGNS = {'lska': LSKA, 'lka': LKA, 'lska_trivial': LSKATrivial, 'lka_trivial': LKATrivial}
LADDER_DESIGNS = {'lska': LSKA, 'lka': LKA}
TRIVIAL_DESIGNS = {'lska_trivial': LSKATrivial, 'lka_trivial': LKATrivial}
K_SIZES = sorted(ref.LADDER)
EXACT = {'rtol': 1e-10, 'atol': 1e-10}

every_design = pytest.mark.parametrize('design', DESIGNS)
every_k = pytest.mark.parametrize('k_size', K_SIZES)


def make(design: str, k_size: int, dim: int = 3) -> nn.Module:
    """A module in float64 whose parameters, biases too, are all far from zero."""
    torch.manual_seed(k_size)
    module = DESIGNS[design](dim, k_size).double()
    with torch.no_grad():
        for p in module.parameters():
            fan_in = p[0].numel() if p.dim() > 1 else 1
            p.copy_(torch.randn_like(p) / fan_in**0.5)
    return module


def outputs_and_gradients(function, x: Tensor, params: dict[str, Tensor]) -> list[Tensor]:
    x = x.detach().requires_grad_()
    out = function(x)
    # A random direction, the same for both sides, so that no error can cancel in a sum.
    direction = torch.randn(out.shape, generator=torch.Generator().manual_seed(1), dtype=out.dtype)
    return [out, *torch.autograd.grad((out * direction).sum(), [x, *params.values()])]


def assert_matches(design: str, k_size: int, x: Tensor, depthwise=ref.conv_depthwise) -> None:
    module = make(design, k_size, x.shape[1])
    params = dict(module.named_parameters())
    before = x.clone()
    found = outputs_and_gradients(module, x, params)
    wanted = outputs_and_gradients(lambda y: ref.attention(design, k_size, params, y, depthwise=depthwise), x, params)
    for name, a, b in zip(['output', 'input', *params], found, wanted):
        torch.testing.assert_close(a, b, **EXACT, msg=lambda text, name=name: f'{name}: {text}')
    assert torch.equal(x, before), 'the input was modified'


def attention_map(module: nn.Module, x: Tensor, layer: str = 'conv1') -> Tensor:
    """The output of one layer inside the module."""
    seen = []
    handle = getattr(module, layer).register_forward_hook(lambda _m, _i, out: seen.append(out))
    module(x)
    handle.remove()
    return seen[0]


@pytest.mark.parametrize(('k_size', 'expected'), ref.LADDER.items())
def test_ladder_is_the_papers_table(k_size, expected):
    assert kernel_ladder(k_size) == expected[:3]
    lska, lka = LSKA(2, k_size), LKA(2, k_size)
    first, dilated, dilation, padding = expected
    assert (lska.DW_conv_h.kernel_size, lska.DW_conv_v.kernel_size) == ((1, first), (first, 1))
    assert (lska.DW_conv_h.padding, lska.DW_conv_v.padding) == ((0, first // 2), (first // 2, 0))
    assert (lska.DW_D_conv_h.kernel_size, lska.DW_D_conv_v.kernel_size) == ((1, dilated), (dilated, 1))
    assert (lska.DW_D_conv_h.padding, lska.DW_D_conv_v.padding) == ((0, padding), (padding, 0))
    assert lka.DW_conv.kernel_size == (first, first)
    assert lka.DW_D_conv.kernel_size == (dilated, dilated)
    assert lka.DW_D_conv.padding == (padding, padding)
    assert lska.DW_D_conv_h.dilation == lska.DW_D_conv_v.dilation == lka.DW_D_conv.dilation == (dilation, dilation)


@pytest.mark.parametrize('cls', LADDER_DESIGNS.values())
@pytest.mark.parametrize(
    ('k_size', 'nearest'),
    [(-4, '3, 7'), (0, '3, 7'), (1, '3, 7'), (5, '3, 7, 11'), (12, '7, 11, 17, 23'), (21, '11, 17, 23, 29')]
    + [(24, '17, 23, 29, 35'), (200, '191, 197, 203, 209')],
)
def test_impossible_k_lists_its_neighbours(cls, k_size, nearest):
    text = f'^k_size={k_size} cannot be split into a dense and a dilated kernel; the nearest that can are {nearest}$'
    with pytest.raises(ValueError, match=text):
        cls(8, k_size)


@pytest.mark.parametrize('cls', TRIVIAL_DESIGNS.values())
@pytest.mark.parametrize(('k_size', 'nearest'), [(-3, '1, 3'), (0, '1, 3'), (2, '1, 3, 5'), (24, '21, 23, 25, 27')])
def test_even_k_lists_its_neighbours(cls, k_size, nearest):
    with pytest.raises(
        ValueError, match=f'^k_size={k_size} must be odd and positive; the nearest that are: {nearest}$'
    ):
        cls(8, k_size)


@pytest.mark.parametrize('cls', TRIVIAL_DESIGNS.values())
def test_trivial_designs_take_any_odd_k(cls):
    x = torch.rand(1, 2, 4, 5)
    assert all(cls(2, k_size)(x).shape == x.shape for k_size in (1, 5, 9, 21))


@every_design
@pytest.mark.parametrize(('value', 'kind'), [(True, 'bool'), (23.0, 'float'), ('23', 'str'), (None, 'NoneType')])
def test_arguments_must_be_ints(design, value, kind):
    with pytest.raises(TypeError, match=f'^k_size must be an int, got {value!r} of type {kind}$'):
        DESIGNS[design](8, value)
    with pytest.raises(TypeError, match=f'^dim must be an int, got {value!r} of type {kind}$'):
        DESIGNS[design](value, 23)


@every_design
@pytest.mark.parametrize('dim', [0, -3])
def test_dim_must_be_positive(design, dim):
    with pytest.raises(ValueError, match=f'^dim={dim} must be the number of channels, 1 or more$'):
        DESIGNS[design](dim, 23)


@every_design
@every_k
@pytest.mark.parametrize('size', [(1, 1), (5, 9), (31, 40)])
def test_matches_reference(design, k_size, size):
    """Odd and even sizes, one pixel, maps far smaller than the kernel; 31x40 shows interior and border at once."""
    torch.manual_seed(0)
    assert_matches(design, k_size, torch.randn(2, 3, *size, dtype=torch.float64))


@every_design
@every_k
def test_matches_shifted_sums(design, k_size):
    """Against sums of shifted images, so that a shared misuse of conv2d cannot hide."""
    torch.manual_seed(0)
    assert_matches(design, k_size, torch.randn(1, 2, 11, 14, dtype=torch.float64), ref.shifted_depthwise)


@every_design
def test_any_memory_layout(design):
    torch.manual_seed(0)
    base = torch.randn(2, 12, 18, 7, dtype=torch.float64)
    layouts = {
        'strided': base[:, ::3, 1::2],
        'transposed': base[:, :4].transpose(2, 3),
        'expanded': base[:1, :4].expand(2, -1, -1, -1),
        'channels_last': base[:, :4].contiguous(memory_format=torch.channels_last),
    }
    for x in layouts.values():
        assert not x.is_contiguous()
        assert_matches(design, 11, x)
    module = make(design, 11, 4).to(memory_format=torch.channels_last)
    assert module(layouts['channels_last']).is_contiguous(memory_format=torch.channels_last)


@every_design
@pytest.mark.parametrize(('dtype', 'tolerance'), [(torch.float32, 1e-5), (torch.bfloat16, 5e-2)])
def test_lower_precision_keeps_dtype(design, dtype, tolerance):
    module, x = make(design, 23), torch.randn(2, 3, 13, 10, dtype=torch.float64)
    wanted = module(x)
    found = module.to(dtype)(x.to(dtype))
    assert found.dtype == dtype
    assert (found.double() - wanted).norm() <= tolerance * wanted.norm()


@every_k
@pytest.mark.parametrize('size', [(1, 1), (6, 9), (33, 61)])
def test_closed_form_of_the_separable_chain(k_size, size):
    """All horizontal passes, all vertical passes and a separable bias field give the chain, borders included."""
    module, x = make('lska', k_size), torch.randn(2, 3, *size, dtype=torch.float64)
    dilation = ref.LADDER[k_size][2]
    h0, v0, h1, v1 = module.DW_conv_h, module.DW_conv_v, module.DW_D_conv_h, module.DW_D_conv_v

    def respond(image: Tensor, layer: nn.Conv2d) -> Tensor:
        return ref.conv_depthwise(image, layer.weight, None, dilation if layer in (h1, v1) else 1)

    ones = torch.ones_like(x)
    b_h0, b_v0, b_h1, b_v1 = (layer.bias.reshape(1, -1, 1, 1) for layer in (h0, v0, h1, v1))
    cv1, ch1, cv1_of_cv0 = respond(ones, v1), respond(ones, h1), respond(respond(ones, v0), v1)
    chain = respond(respond(respond(respond(x, h0), h1), v0), v1)
    wanted = chain + ch1 * (b_h0 * cv1_of_cv0 + b_v0 * cv1) + b_h1 * cv1 + b_v1
    torch.testing.assert_close(attention_map(module, x, 'DW_D_conv_v'), wanted, rtol=1e-12, atol=1e-12)


@every_design
@every_k
def test_receptive_field_is_exactly_k(design, k_size):
    module = make(design, k_size, dim=1)
    for p in module.parameters():
        p.data.abs_().add_(0.1)  # positive taps cannot cancel, so the gradient is non-zero wherever a tap reaches
    height, width = k_size + 4, k_size + 7
    row, col, reach = height // 2, width // 2, k_size // 2
    x = torch.zeros(1, 1, height, width, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(attention_map(module, x)[0, 0, row, col], x)
    box = torch.zeros(height, width, dtype=torch.bool)
    box[row - reach : row + reach + 1, col - reach : col + reach + 1] = True
    assert torch.equal(gradient[0, 0] != 0, box)


@every_design
def test_depthwise_channels_mix_only_in_conv1(design):
    module, x = make(design, 7), torch.randn(1, 3, 8, 8, dtype=torch.float64, requires_grad=True)
    last = [name for name, _ in module.named_children()][-2]
    (gradient,) = torch.autograd.grad(attention_map(module, x, last)[0, 1].sum(), x)
    assert gradient.abs().sum((0, 2, 3)).count_nonzero() == 1


def test_merging_biased_kernels_is_not_exact_at_the_border():
    """Why the bias field exists: one merged kernel with one merged bias fits the interior only."""
    module, x = make('lska_trivial', 7), torch.randn(1, 3, 15, 15, dtype=torch.float64)
    weight = module.DW_conv_v.weight * module.DW_conv_h.weight
    bias = module.DW_conv_v.bias + module.DW_conv_h.bias * module.DW_conv_v.weight.sum((1, 2, 3))
    merged = F.conv2d(x, weight, bias, padding=3, groups=3)
    found = attention_map(module, x, 'DW_conv_v')
    torch.testing.assert_close(found[..., 3:-3, :], merged[..., 3:-3, :], **EXACT)
    assert (found[..., 0, :] - merged[..., 0, :]).abs().max() > 1e-3
