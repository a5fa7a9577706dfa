"""Closed forms, counts as the modules run, and the numbers of the papers."""

import pytest
import torch

from mmlska.analysis.backbone_cost import (
    OTHERS,
    build_other,
    compare_designs,
    compare_others,
)
from mmlska.cost import count
from mmlska.designs import attention_cost, ladder_sizes
from mmlska.models.attention import ATTENTIONS


@pytest.mark.parametrize('attention', list(ATTENTIONS))
def test_closed_form_and_trace_of_the_attention_agree(attention):
    for k_size in ladder_sizes():
        for dim, height, width in ((6, 9, 14), (32, 7, 7)):
            with torch.device('meta'):
                module = ATTENTIONS[attention](dim, k_size).eval()
            counted = count(module, (1, dim, height, width))
            assert counted[:2] == attention_cost(attention, dim, k_size, height, width)


@pytest.mark.parametrize('attention', list(ATTENTIONS))
@pytest.mark.parametrize('arch', ['t', 's', 'b'])
def test_closed_form_and_trace_of_whole_backbones_agree(arch, attention):
    """On an odd image, so that every stage rounds its size up."""
    for row in compare_designs([arch], [7, 17, 119], (1, 3, 225, 190), attentions=[attention]):
        assert row['closed_form'] == {key: row[key] for key in ('parameters', 'flops')}


def test_the_fused_operators_are_counted_too():
    """On the CPU the designs run fused; what they cost does not depend on that."""
    rows = {row['attention']: row for row in compare_designs(['t'], [23], (1, 3, 64, 64))}
    assert rows['lska']['flops'] < rows['lka']['flops'] < rows['lka_trivial']['flops']
    assert rows['lska']['activations'] > rows['lka']['activations']  # four depthwise maps instead of two


# Published: parameters in M with the classifier, taken off here, and FLOPs in G at 224 x 224, from each paper.
PUBLISHED = {
    'ResNet-50': (25.56 - 2.05, 4.1),
    'Swin-T': (28.3 - 0.77, 4.5),
    'PVTv2-B2': (25.4 - 0.51, 4.0),
    'MSCAN-T': (4.2 - 0.26, 0.9),
    'MSCAN-B': (26.8 - 0.51, 5.1),
}


def test_other_backbones_have_their_papers_counts():
    pytest.importorskip('mmdet')
    pytest.importorskip('mmseg')
    rows = {row['name']: row for row in compare_others()}
    assert set(rows) == set(OTHERS)
    for name, (parameters, flops) in PUBLISHED.items():
        assert rows[name]['parameters'] / 1e6 == pytest.approx(parameters, rel=0.01)
        assert rows[name]['flops'] / 1e9 == pytest.approx(flops, rel=0.03)
    if build_other('ConvNeXt-T') is None:
        assert rows['ConvNeXt-T'] == dict(name='ConvNeXt-T', missing='mmpretrain is not installed')


def test_unknown_designs_are_named():
    with pytest.raises(ValueError, match="attention='dense' is unknown; choose one of 'lska'"):
        attention_cost('dense', 8, 7, 4, 4)
    with pytest.raises(ValueError, match='k_size=24 cannot be split'):
        compare_designs(['t'], [24])
