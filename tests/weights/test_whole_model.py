"""A whole model is filled wholly, or the file is refused in one line that says why."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
from published_layouts import SMALL, published
from torch import nn

from mmlska import VAN_LSKA
from mmlska.models import VANLSKAClassifier
from mmlska.weights import WeightsError, load_whole_model


class Detector(nn.Module):
    def __init__(self, **backbone) -> None:
        super().__init__()
        self.backbone = VAN_LSKA(SMALL, **backbone)
        self.neck = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4))


@pytest.fixture
def weights() -> dict:
    torch.manual_seed(1)
    return Detector().state_dict()


@pytest.fixture
def load(tmp_path):
    def load(model: nn.Module, state_dict: dict, **others) -> dict:
        torch.save(dict(others, state_dict=state_dict), tmp_path / 'a.pth')
        return load_whole_model(model, tmp_path / 'a.pth', 'small.py')

    return load


def holds(model: nn.Module, tensors: dict) -> bool:
    return all(torch.equal(t, tensors[name]) for name, t in model.state_dict().items())


def test_its_own_checkpoint(load, weights):
    model = Detector()
    assert load(model, weights, meta=dict(epoch=3)) == dict(epoch=3)
    assert holds(model, weights)
    assert load(model, weights, meta=[1]) == {}


@pytest.mark.parametrize(
    'change',
    [
        lambda weights: {f'module.{name}': t for name, t in weights.items()},
        lambda weights: dict(model=weights),
        lambda weights: {**weights, 'auxiliary_head.bias': torch.zeros(3)},
        lambda weights: OrderedDict((name, t) for name, t in weights.items() if 'num_batches' not in name),
    ],
    ids=['of several GPUs', 'wrapped', 'with a part more', 'without counters'],
)
def test_what_fits_as_well(load, weights, change):
    model = Detector()
    changed = change(weights)
    if isinstance(changed, OrderedDict):
        changed._metadata = weights._metadata  # by which torch knows that there should be counters
    load(model, changed)
    assert all(torch.equal(t, weights[name]) for name, t in model.state_dict().items() if 'num_batches' not in name)


def test_published_names(load, weights):
    checkpoint, tensors = published('classification')
    theirs = {name.replace('module.', 'backbone.'): t for name, t in checkpoint['state_dict'].items()}
    theirs = {name: t for name, t in theirs.items() if 'head' not in name}
    neck = {name: t for name, t in weights.items() if name.startswith('neck')}
    model = Detector()
    load(model, theirs | neck)
    assert holds(model, neck | {f'backbone.{name}': t for name, t in tensors.items()})
    classifier = VANLSKAClassifier(SMALL)
    load(classifier, checkpoint['state_dict'])
    assert holds(classifier.backbone, tensors)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'neck.0.bias': None}, r': 202 of 203 tensors fit; give .* \(missing: neck.\*.bias\)'),
        ({'neck.2.bias': torch.zeros(4)}, r': 203 of 203 tensors fit; .* \(unexpected: neck.\*.bias\)'),
        ({'neck.0.bias': torch.zeros(5)}, r': 202 of 203 .*of another shape: neck.0.bias \(5 in the file, 4 in the mod'),
        ({'backbone.norm1.bias': None}, r'\(missing: backbone.norm1.bias\)'),
        ({'backbone.norm1.bias': torch.zeros(3)}, r' does not fit small.py; give .*\(195 of 196 .* architecture and kernel'),
        ({'backbone.norm1.bias': torch.full((8,), torch.nan)}, 'a.pth holds NaN or infinity in backbone.norm1.bias'),
        ({'backbone.norm1.bias': 3}, "a.pth holds no tensor under 'backbone.norm1.bias'"),
    ],
)  # fmt: skip
def test_what_does_not_fit(load, weights, change, message):
    changed = {name: t for name, t in {**weights, **change}.items() if t is not None}
    with pytest.raises(WeightsError, match=message) as info:
        load(Detector(), changed)
    assert '\n' not in str(info.value)


def test_other_networks(load, weights):
    with pytest.raises(WeightsError, match='fit small.py: 0 of 203 tensors fit;'):
        load(Detector(), {'a': torch.ones(1)})
    with pytest.raises(
        WeightsError, match=r'fit small.py, it was saved by run7; .*holds k_size 23; the model is k_size 35'
    ):
        load(Detector(k_size=35), weights, meta=dict(experiment_name='run7'))
    with pytest.raises(WeightsError, match='does not fit small.py; .*it holds a backbone alone'):
        load(Detector(), published('detection')[0])
    with pytest.raises(WeightsError, match='the file has a head of 1000 classes, the model one of 5'):
        load(VANLSKAClassifier(SMALL, num_classes=5), published('classification')[0]['state_dict'])
