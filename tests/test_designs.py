"""The table of designs and architectures, and that a new row of it is all that the package needs to be told."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import torch

from mmlska.designs import (
    ARCHS,
    DESIGNS,
    Depthwise,
    attention_cost,
    design_kernels,
    kernel_ladder,
    ladder_sizes,
    recognise_design,
    van_cost,
)
from mmlska.models import ATTENTIONS, VAN_LSKA
from mmlska.models.attention import LargeKernelAttention
from mmlska.weights import inspect_state_dict, load_weights, save_weights

ROOT = Path(__file__).parents[1]


def test_ladder_sizes_hold_the_papers():
    assert {7, 11, 23, 35, 41, 53} <= set(ladder_sizes())
    assert ladder_sizes()[-1] == 119
    assert len(ladder_sizes()) == 20


def test_ladder_accepts_exactly_the_sizes_that_fit():
    passed = []
    for k_size in range(1, 201):
        try:
            first, dilated, dilation = kernel_ladder(k_size)
        except ValueError:
            continue
        passed.append(k_size)
        assert dilation == (2 if k_size <= 11 else 3)
        assert first == 2 * dilation - 1
        assert dilated == k_size // dilation
        assert dilated % 2 == 1
        assert first + (dilated - 1) * dilation == k_size
    assert passed == [3, 7, 11, *range(17, 201, 6)]


@pytest.mark.parametrize('alias', ['tiny', 'Tiny', 'T', 'small', 'base', 'large'])
def test_arch_aliases(alias):
    short = alias[0].lower()
    with torch.device('meta'):
        assert str(VAN_LSKA(alias)) == str(VAN_LSKA(short)) == str(VAN_LSKA(ARCHS[short]))


@pytest.mark.parametrize('k_size', [7, 11, 23, 53, 119])
@pytest.mark.parametrize('attention', DESIGNS)
def test_a_design_is_recognised_by_its_kernels(attention, k_size):
    lengths = {kernel.name: {max(kernel.taps)} for kernel in design_kernels(attention, k_size)}
    assert recognise_design(lengths) == (attention, k_size)
    other = max(lengths[next(iter(lengths))]) + 2
    assert recognise_design({**lengths, next(iter(lengths)): {other}}) != (attention, k_size)
    assert recognise_design({**lengths, 'DW_conv_x': {3}}) == (None, None)


def test_kernels_that_no_design_can_have():
    assert recognise_design({'DW_conv': {4}}) == ('lka_trivial', None)
    assert recognise_design({'DW_conv': {5}, 'DW_D_conv': {8}}) == ('lka', None)
    assert recognise_design({'DW_conv': {0}, 'DW_D_conv': {2**62}}) == ('lka', None)


@pytest.fixture
def rows_only(monkeypatch):
    """A design that nobody has published: a row of the table and a class."""

    class RowsOnly(LargeKernelAttention):
        design = 'rows_only'

    monkeypatch.setitem(DESIGNS, 'rows_only', (Depthwise('DW_conv_h', 'row'),))
    monkeypatch.setitem(ATTENTIONS, 'rows_only', RowsOnly)
    return RowsOnly


def test_a_new_design_is_a_row_and_a_class(rows_only, tmp_path):
    with pytest.raises(ValueError, match="attention='cols' is unknown; choose one of 'lska', .*, 'rows_only'$"):
        VAN_LSKA('t', attention='cols')
    arch = dict(embed_dims=[8, 12], depths=[1, 2], ffn_ratios=[2, 3])
    net = VAN_LSKA(arch, 9, 'rows_only', out_indices=(0, 1))
    net(torch.rand(2, 3, 40, 33))[1].sum().backward()
    assert net.blocks2[1].attn.spatial_gating_unit.DW_conv_h.weight.grad.shape == (12, 1, 1, 9)
    layer = rows_only(6, 9)
    assert attention_cost('rows_only', 6, 9, 5, 4) == (sum(p.numel() for p in layer.parameters()), 20 * 6 * (9 + 6))
    assert van_cost(arch, 'rows_only', 9, 64, 64).parameters == sum(p.numel() for p in net.parameters())
    found = inspect_state_dict(net.state_dict())
    assert (found.attention, found.k_size) == ('rows_only', 9)
    file = save_weights(net.state_dict(), tmp_path / 'rows.pth')
    again = VAN_LSKA(arch, 9, 'rows_only', out_indices=(0, 1))
    assert load_weights(again, str(file)).complete
    assert all(torch.equal(t, again.state_dict()[name]) for name, t in net.state_dict().items())


def test_no_other_file_lists_the_designs_or_the_architectures():
    """weights/load.py may: it says which design becomes which by rank 1."""
    for file in [*(ROOT / 'mmlska').rglob('*.py'), *(ROOT / 'tools').rglob('*.py')]:
        name = file.relative_to(ROOT).as_posix()
        if name in ('mmlska/designs.py', 'mmlska/models/attention.py', 'mmlska/weights/load.py'):
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding='utf-8'))):
            if isinstance(node, ast.List | ast.Tuple | ast.Set | ast.Dict):
                items = node.keys if isinstance(node, ast.Dict) else node.elts
                words = {item.value for item in items if isinstance(item, ast.Constant)}
                assert len(words & set(DESIGNS)) < 2, f'{name}:{node.lineno} lists designs'
                assert not words >= set(ARCHS), f'{name}:{node.lineno} lists architectures'
