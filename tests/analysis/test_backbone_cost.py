"""Closed forms, counts as the modules run, and the numbers of the papers."""

import pytest
import torch

from mmlska.analysis.backbone_cost import (
    OTHERS,
    attention_cost,
    build_other,
    build_van,
    compare_designs,
    compare_others,
    ladder,
    van_cost,
)
from mmlska.cost import count
from mmlska.models.attention import ATTENTIONS

# DESIGN: parameters of the backbones without a classifier.
PARAMETERS = {
    ('t', 'lska', 23): 3_772_000,
    ('s', 'lska', 23): 13_219_776,
    ('b', 'lska', 23): 25_779_776,
    ('l', 'lska', 23): 43_724_224,
    ('t', 'lska', 7): 3_752_800,
    ('t', 'lska', 53): 3_804_000,
    ('b', 'lska', 7): 25_708_352,
    ('b', 'lska', 53): 25_898_816,
    ('t', 'lka', 23): 3_848_800,
    ('s', 'lka', 23): 13_348_800,
    ('b', 'lka', 23): 26_065_472,
    ('l', 'lka', 23): 44_252_608,
}


def test_ladder_holds_the_papers_sizes():
    assert {7, 11, 23, 35, 41, 53} <= set(ladder())
    assert ladder()[-1] == 119
    assert len(ladder()) == 20


@pytest.mark.parametrize('attention', list(ATTENTIONS))
def test_closed_form_and_trace_of_the_attention_agree(attention):
    for k_size in ladder():
        for dim, height, width in ((6, 9, 14), (32, 7, 7)):
            with torch.device('meta'):
                module = ATTENTIONS[attention](dim, k_size).eval()
            counted = count(module, (1, dim, height, width))
            assert counted[:2] == attention_cost(attention, dim, k_size, height, width)


@pytest.mark.parametrize('key', list(PARAMETERS), ids=str)
def test_backbones_have_the_published_parameters(key):
    counted = count(build_van(*key), (1, 3, 224, 224))
    formula = van_cost(*key, 224, 224)
    assert counted.parameters == formula.parameters == PARAMETERS[key]
    assert counted.flops == formula.flops


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
