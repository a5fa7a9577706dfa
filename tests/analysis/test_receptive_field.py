"""Effective receptive fields against what the kernels can reach."""

import numpy as np
import pytest
import torch
from torch import nn

from mmlska.analysis.receptive_field import contributions, effective_receptive_field, input_gradient
from mmlska.models.attention import ATTENTIONS
from mmlska.models.van_lska import VAN_LSKA

SIDE = 71  # odd, larger than every kernel


def attention(design: str, k_size: int) -> nn.Module:
    torch.manual_seed(0)
    return ATTENTIONS[design](8, k_size).double()


def box(heat: torch.Tensor) -> tuple[int, int, int, int]:
    """First and last row and column that contribute; every pixel between them does."""
    rows, columns = torch.nonzero(heat, as_tuple=True)
    top, bottom, left, right = (int(x) for x in (rows.min(), rows.max(), columns.min(), columns.max()))
    assert (heat[top : bottom + 1, left : right + 1] > 0).all()
    return top, bottom, left, right


@pytest.mark.parametrize('design', ['lska', 'lka', 'lska_trivial', 'lka_trivial'])
@pytest.mark.parametrize('k_size', [7, 23, 53])
@pytest.mark.parametrize('position', [None, (0, 70), (13, 41)])
def test_one_attention_reaches_its_kernel_exactly(design, k_size, position):
    torch.manual_seed(1)
    images = torch.rand(1, 8, SIDE, SIDE, dtype=torch.float64)
    gradient, size = input_gradient(attention(design, k_size), images, position=position)
    assert size == (SIDE, SIDE)
    half = k_size // 2
    row, column = position or (SIDE // 2, SIDE // 2)
    expected = (max(row - half, 0), min(row + half, SIDE - 1), max(column - half, 0), min(column + half, SIDE - 1))
    assert box(gradient[0]) == expected


def test_symmetric_weights_give_a_symmetric_field():
    module = attention('lska', 23)
    with torch.no_grad():
        for name, weight in module.named_parameters():
            if 'DW' in name and name.endswith('weight'):
                weight.copy_(weight + weight.flip(2, 3))
    field = effective_receptive_field(module, [torch.ones(2, 8, SIDE, SIDE, dtype=torch.float64)])
    assert field.center == (SIDE // 2, SIDE // 2)
    assert field.images == 2
    np.testing.assert_allclose(field.heat, field.heat[::-1], rtol=1e-9)
    np.testing.assert_allclose(field.heat, field.heat[:, ::-1], rtol=1e-9)
    assert contributions(field.heat, field.center, [1.0])[0].side == 23


def test_average_over_images():
    module = attention('lska', 7)
    first, second = torch.rand(2, 1, 8, 15, 15, dtype=torch.float64)
    fields = [effective_receptive_field(module, batches).heat for batches in ([first], [second], [first, second])]
    np.testing.assert_allclose(fields[2], (fields[0] + fields[1]) / 2)
    assert not np.allclose(fields[0], fields[1])


@pytest.mark.parametrize(('stage', 'center'), [(0, 32), (1, 32), (2, 32), (3, 32)])
def test_a_stage_of_a_backbone(stage, center):
    torch.manual_seed(0)
    arch = dict(embed_dims=[8] * 4, depths=[1] * 4, ffn_ratios=[2] * 4)
    backbone = VAN_LSKA(arch, k_size=7).eval()
    field = effective_receptive_field(backbone, [torch.rand(1, 3, 64, 64)], stage=stage)
    assert field.center == (center, center)
    assert field.heat.shape == (64, 64)
    assert field.heat.argmax() // 64 == pytest.approx(32, abs=24)


def test_odd_image_has_its_center_on_the_feature():
    """Stage 1 of a 70 x 61 image is 18 x 16: its feature (9, 8) sits on the pixel (36, 32)."""
    backbone = VAN_LSKA('t', k_size=7, out_indices=(0,)).eval()
    assert effective_receptive_field(backbone, [torch.rand(1, 3, 70, 61)]).center == (36, 32)


def test_squares_hold_what_they_say():
    heat = np.random.default_rng(0).random((31, 40))
    center = (12, 25)
    for found in contributions(heat, center, (0.2, 0.5, 0.99)):
        half = found.side // 2

        def inside(half):
            rows = slice(max(center[0] - half, 0), center[0] + half + 1)
            columns = slice(max(center[1] - half, 0), center[1] + half + 1)
            return heat[rows, columns]

        assert inside(half).sum() >= found.share * heat.sum()
        assert inside(half - 1).sum() < found.share * heat.sum()
        assert found.area_ratio == pytest.approx(inside(half).size / heat.size)


def test_a_single_pixel_is_a_square_of_one():
    heat = np.zeros((5, 5))
    heat[2, 2] = 3
    assert [c.side for c in contributions(heat, (2, 2))] == [1, 1, 1, 1]


def test_errors_name_the_value():
    module = attention('lska', 7)
    image = torch.rand(1, 8, 9, 9, dtype=torch.float64)
    with pytest.raises(ValueError, match=r'position \(9, 0\) is outside the output map of 9x9'):
        input_gradient(module, image, position=(9, 0))
    with pytest.raises(ValueError, match='no images to average over'):
        effective_receptive_field(module, [])
    with pytest.raises(ValueError, match='share 20 must be above 0 and at most 1'):
        contributions(np.ones((3, 3)), (1, 1), [20])
    backbone = VAN_LSKA('t', k_size=7, out_indices=(0,)).eval()
    with pytest.raises(ValueError, match='stage 3 does not exist; the backbone returns 1'):
        effective_receptive_field(backbone, [torch.rand(1, 3, 32, 32)], stage=2)
    with pytest.raises(ValueError, match='zero or not finite'):
        effective_receptive_field(nn.Sequential(nn.Conv2d(8, 8, 1), nn.Hardtanh(-2, -1)).double(), [image])
