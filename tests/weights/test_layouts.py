"""Every published layout converts to our names, whole, once and for all; what is no VAN is refused by name."""

from __future__ import annotations

import re

import pytest
import torch
from published_layouts import KERNELS, SMALL, published, tensor_rows

from mmlska import VAN_LSKA
from mmlska.models import VANLSKAClassifier
from mmlska.weights import WeightsError, convert_state_dict, inspect_state_dict, load_weights, read_checkpoint
from mmlska.weights.convert import convert_file, describe_file
from mmlska.weights.layouts import LAYOUTS, Layout

ATTENTIONS = ('lska', 'lka', 'lska_trivial', 'lka_trivial')
PUBLISHED = ('classification', 'detection', 'mmpretrain', 'detector')


def same(a: dict, b: dict) -> bool:
    return list(a) == list(b) and all(a[k] is b[k] for k in a)


@pytest.mark.parametrize('attention', ATTENTIONS)
@pytest.mark.parametrize('k_size', KERNELS)
@pytest.mark.parametrize('arch', 'tsbl')
def test_every_network_in_every_layout(arch, k_size, attention):
    """Names, order-free, and shapes are those of the backbone; tensors are passed on, not copied; twice is once."""
    with torch.device('meta'):
        own = {name: t.shape for name, t in VAN_LSKA(arch, k_size=k_size, attention=attention).state_dict().items()}
    for layout in PUBLISHED:
        checkpoint, tensors = published(layout, arch, k_size, attention, device='meta')
        converted = convert_state_dict(checkpoint)
        assert {name: t.shape for name, t in converted.items()} == own
        assert all(converted[name] is tensor for name, tensor in tensors.items())
        assert same(convert_state_dict(converted), converted)
        info = inspect_state_dict(checkpoint)
        assert (info.arch, info.k_size, info.attention, info.in_channels) == (arch, k_size, attention, 3)


@pytest.mark.parametrize('attention', ATTENTIONS)
def test_round_trip_is_bit_exact(attention):
    checkpoint, _ = published('classification', attention=attention)
    there = convert_state_dict(checkpoint)
    back = convert_state_dict(there, to='classification')
    published_names = {k.removeprefix('module.'): v for k, v in checkpoint['state_dict'].items() if 'head' not in k}
    assert same(back, published_names)
    assert same(convert_state_dict(back), there)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64])
def test_dtypes_are_kept(dtype):
    weights = {cls: torch.ones(shape, dtype=dtype) for cls, _, shape in tensor_rows('small')}
    assert {t.dtype for t in convert_state_dict(weights).values()} == {dtype}
    assert inspect_state_dict(weights).dtypes == (str(dtype).removeprefix('torch.'),)


@pytest.mark.parametrize(
    'wrap', [lambda w: w, lambda w: {'model': w}, lambda w: {'state_dict': {'model': w}, 'epoch': 3}]
)
@pytest.mark.parametrize('prefix', ['', 'module.', 'backbone.', 'module.backbone.', 'model.backbone.', '_orig_mod.'])
def test_wrappers_and_prefixes_come_off(wrap, prefix):
    weights = {prefix + cls: torch.empty(shape) for cls, _, shape in tensor_rows('small')}
    assert set(convert_state_dict(wrap(weights))) == {det for _, det, _ in tensor_rows('small')}


def test_averaged_weights_only_when_asked_for():
    plain, tensors = published('classification')
    averaged = {name: t + 1 for name, t in plain['state_dict'].items()}
    both = {**plain, 'state_dict_ema': averaged}
    name = 'norm1.bias'
    assert inspect_state_dict(both).has_ema
    assert not inspect_state_dict(plain).has_ema
    assert convert_state_dict(both)[name] is tensors[name]
    assert convert_state_dict(both, ema=True)[name] is averaged['module.norm1.bias']
    with pytest.raises(WeightsError, match='no averaged weights among epoch'):
        convert_state_dict(plain, ema=True)


def test_a_prefix_chooses_one_of_two_backbones():
    weights = {
        f'{who}.backbone.{det}': torch.full(shape, float(n))
        for n, who in enumerate(('teacher', 'student'))
        for _, det, shape in tensor_rows('small')
    }
    assert convert_state_dict(weights, prefix='student.backbone')['norm1.bias'].eq(1).all()
    with pytest.raises(WeightsError, match="no name begins with 'other.'"):
        convert_state_dict(weights, prefix='other.')


def test_another_layout_is_one_column(monkeypatch, tmp_path, log):
    """It is read, loaded, inspected, written and named in messages, from its entry in the table alone."""
    column = Layout(
        'the names of a zoo',
        containers={'patch_embed': 'down', 'blocks': 'layers', 'norm': 'out_norm'},
        modules={'attn.spatial_gating_unit.DW_conv_h': 'gate.first', 'mlp.dwconv': 'mlp.depthwise'},
        head='classifier',
    )
    _, tensors = published('detection')
    zoo = {}
    for name, tensor in tensors.items():
        name = re.sub('^norm', 'out_norm', name.replace('patch_embed', 'down').replace('blocks', 'layers'))
        zoo[name.replace('attn.spatial_gating_unit.DW_conv_h', 'gate.first').replace('dwconv', 'depthwise')] = tensor
    whole = {**zoo, 'classifier.weight': torch.ones(5, 24), 'classifier.bias': torch.zeros(5)}
    path, classification = tmp_path / 'zoo.pth', tmp_path / 'classification.pth'
    torch.save(whole, path)
    torch.save(published('classification')[0], classification)
    with pytest.raises(WeightsError, match='belong to no published layout'):
        convert_state_dict(whole)

    monkeypatch.setitem(LAYOUTS, 'zoo', column)
    assert set(convert_state_dict(whole)) == set(tensors)
    assert same(convert_state_dict(tensors, to='zoo'), zoo)
    info = inspect_state_dict(whole)
    assert (info.layout, info.num_classes, info.arch, info.attention) == ('zoo', 5, SMALL, 'lska')
    assert inspect_state_dict({**tensors, 'layers9.0.norm1.bias': torch.zeros(8)}).layout == 'mixed'
    model = VANLSKAClassifier(SMALL, num_classes=5)
    model.load_state_dict(whole)
    assert torch.equal(model.head.weight, whole['classifier.weight'])
    assert all(torch.equal(t, tensors[name]) for name, t in model.backbone.state_dict().items())
    backbone = VAN_LSKA(SMALL)
    load_weights(backbone, str(path))
    assert all(torch.equal(t, tensors[name]) for name, t in backbone.state_dict().items())
    assert 'tensors loaded, the names of a zoo, from' in log[-1][1]
    written = read_checkpoint(convert_file(classification, tmp_path / 'written.pth', to='zoo'))
    assert describe_file(written)['layout'] == 'zoo: the names of a zoo'
    with pytest.raises(ValueError, match="to='timm' is unknown; choose one of mmlska, classification, zoo"):
        convert_file(classification, tmp_path / 'timm.pth', to='timm')


@pytest.mark.parametrize(
    ('names', 'family'),
    [
        (['layer1.0.conv1.weight', 'bn1.weight'], 'a ResNet'),
        (['van.encoder.stages.0.patch_embeddings.convolution.weight'], "the transformers library's VAN"),
        (['cls_token', 'blocks.0.attn.qkv.weight'], 'a Vision Transformer'),
        (['layers.0.blocks.0.attn.qkv.weight'], 'a Swin Transformer'),
        (['patch_embed1.proj.weight', 'block1.0.attn.q.weight'], 'a Pyramid Vision Transformer'),
        (['block1.0.attn.spatial_gating_unit.conv0_1.weight'], "SegNeXt's MSCAN"),
        (['stem.0.weight', 'stages.0.blocks.0.gamma'], 'a ConvNeXt or another timm model'),
    ],
)
def test_other_networks_are_refused_by_name(names, family):
    with pytest.raises(WeightsError, match=f'{names[-1]}.*this looks like {family}'):
        convert_state_dict({name: torch.zeros(2) for name in names})


@pytest.mark.parametrize(
    ('checkpoint', 'message'),
    [
        ({}, 'is empty'),
        ({'state_dict': {}}, 'state_dict is empty'),
        ([1], 'is of type list, not a dict of tensors'),
        ({'state_dict': [1]}, "'state_dict' is of type list"),
        ({'epoch': 3}, "'epoch' of the weights is of type int"),
        ({3: torch.zeros(1)}, '3 of the weights is of type Tensor, not a named tensor'),
        ({'norm1.bias': torch.zeros(2, dtype=torch.int8)}, 'norm1.bias is of torch.int8; weights are floating-point'),
        ({'head.weight': torch.zeros(2, 2)}, 'no weights of a VAN among head.weight'),
        ({'norm1.bias': torch.zeros(2), 'foo': torch.zeros(2)}, '1 of 2 names belong to no published layout.*: foo;'),
        (
            {'block1.0.mlp.fc1.bias': torch.zeros(2), 'blocks1.0.mlp.fc1.bias': torch.zeros(2)},
            'block1.0.mlp.fc1.bias and blocks1.0.mlp.fc1.bias are both blocks1.0.mlp.fc1.bias',
        ),
        ({'backbone.norm1.bias': torch.zeros(2), 'norm2.bias': torch.zeros(2)}, 'norm2.bias stands outside backbone.'),
        ({'neck.norm': torch.zeros(2), 'backbone.foo': torch.zeros(2)}, '1 of 2 names .*: backbone.foo'),
    ],
)
def test_what_cannot_be_placed_is_named(checkpoint, message):
    with pytest.raises(WeightsError, match=message) as info:
        convert_state_dict(checkpoint)
    assert '\n' not in str(info.value)


@pytest.mark.parametrize(
    'name',
    [
        'norm0.bias',
        'blocks1.mlp.fc1.bias',
        'blocks1.0.mlp.fc1',
        'patch_embed1.0.norm.bias',
        'norm1.0.bias',
        'blocks1.00.norm1.bias',
        'blocks1.0.layer_scale_1.weight',
        'norm1.scale',
    ],
)
def test_names_that_only_resemble_ours_are_refused(name):
    with pytest.raises(WeightsError, match='belong to no published layout'):
        convert_state_dict({name: torch.zeros(2)})
