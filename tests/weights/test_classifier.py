"""Classifiers: the entry points, their head, and published checkpoints in plain PyTorch and in MMEngine."""

import pytest
import torch
from mmengine.runner import load_checkpoint
from published_layouts import SMALL, published

import mmlska
from mmlska.classification import PretrainingClassifier
from mmlska.models import VANLSKAClassifier
from mmlska.weights import WeightsError


# Backbones of DESIGN at K = 23 and the head's (C + 1) * 1000.
@pytest.mark.parametrize(
    ('build', 'parameters'),
    [
        (mmlska.van_lska_tiny, 3_772_000 + 257_000),
        (mmlska.van_lska_small, 13_219_776 + 513_000),
        (mmlska.van_lska_base, 25_779_776 + 513_000),
        (mmlska.van_lska_large, 43_724_224 + 513_000),
    ],
)
def test_entry_points(build, parameters):
    assert sum(p.numel() for p in build().parameters()) == parameters


def test_output_is_the_head_of_the_pooled_last_stage():
    model = VANLSKAClassifier(SMALL, num_classes=7, k_size=7).eval()
    x = torch.rand(2, 3, 45, 33)
    maps = model.forward_features(x)
    assert maps.shape == (2, 24, 2, 2)
    torch.testing.assert_close(model(x), maps.flatten(2).mean(2) @ model.head.weight.T + model.head.bias)
    pooled = VANLSKAClassifier(SMALL, num_classes=0, k_size=7)
    assert pooled(x).shape == (2, pooled.num_features)


def test_training_reaches_every_parameter():
    model = mmlska.van_lska_tiny(num_classes=3, drop_path_rate=0.0)
    model(torch.rand(2, 3, 64, 64)).sum().backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize('num_classes', [-1, -1000])
def test_wrong_classes(num_classes):
    with pytest.raises(ValueError, match=f'num_classes={num_classes} must be 0'):
        mmlska.van_lska_tiny(num_classes)


@pytest.fixture
def file(tmp_path):
    checkpoint, tensors = published('classification', arch='t')
    checkpoint['state_dict']['module.head.bias'].copy_(torch.arange(1000.0))
    torch.save(checkpoint, tmp_path / 'van.pth')
    return str(tmp_path / 'van.pth'), tensors


def test_pretrained_with_its_head_or_a_new_one(file):
    path, tensors = file
    whole = mmlska.van_lska_tiny(pretrained=path)
    assert torch.equal(whole.head.bias, torch.arange(1000.0))
    other = mmlska.van_lska_tiny(num_classes=5, pretrained=path)
    assert other.head.weight.abs().sum() > 0  # not the zeros of the file
    for model in (whole, other, mmlska.van_lska_tiny(num_classes=0, pretrained=path)):
        assert all(torch.equal(v, tensors[k]) for k, v in model.backbone.state_dict().items())


def test_state_dicts_of_published_layout_and_of_our_own(file):
    path, tensors = file
    model = mmlska.van_lska_tiny()
    model.load_state_dict(torch.load(path, weights_only=True)['state_dict'])
    assert torch.equal(model.head.bias, torch.arange(1000.0))
    again = mmlska.van_lska_tiny()
    again.load_state_dict(model.state_dict())
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in model.state_dict().items())
    with pytest.raises(WeightsError, match='the file has a head of 1000 classes, the model one of 5'):
        mmlska.van_lska_tiny(num_classes=5).load_state_dict(model.state_dict())
    with pytest.raises(WeightsError, match='belong to no published layout'):
        model.load_state_dict({'layer1.0.conv1.weight': torch.zeros(1)})


@pytest.mark.parametrize('layout', ['classification', 'mmpretrain'])
def test_mmengines_classifier_loads_published_files_with_their_head(layout, tmp_path):
    checkpoint, tensors = published(layout)
    for name, value in checkpoint['state_dict'].items():
        if 'head' in name:
            value.copy_(torch.arange(value.numel()).reshape(value.shape))
    torch.save(checkpoint, tmp_path / 'van.pth')
    backbone = dict(type='VAN_LSKA', arch=SMALL, out_indices=(3,))
    model = PretrainingClassifier(backbone, num_classes=1000)
    load_checkpoint(model, str(tmp_path / 'van.pth'), map_location='cpu', strict=True)
    assert all(torch.equal(v, tensors[k]) for k, v in model.backbone.state_dict().items())
    assert torch.equal(model.head.weight, torch.arange(24_000.0).reshape(1000, 24))
    with pytest.raises(WeightsError, match='the file has a head of 1000 classes, the model one of 5; to keep only the'):
        load_checkpoint(PretrainingClassifier(backbone, num_classes=5), str(tmp_path / 'van.pth'), map_location='cpu')
