"""What is asked of a classifier before it gives scores; tests_extras has the scores themselves."""

import pytest
import torch
from mmengine.config import Config

from mmlska.classification.scores import build_predict
from mmlska.models import VANLSKAClassifier
from mmlska.weights import WeightsError

MODEL = dict(
    type=VANLSKAClassifier, arch=dict(embed_dims=[8] * 4, depths=[1] * 4, ffn_ratios=[2] * 4), k_size=7, num_classes=5
)


@pytest.mark.parametrize('lost', ['head.bias', 'backbone.norm4.weight'])
def test_a_checkpoint_that_fills_the_model_in_part_is_refused(tmp_path, lost):
    weights = VANLSKAClassifier(**{k: v for k, v in MODEL.items() if k != 'type'}).state_dict()
    del weights[lost]
    torch.save(dict(state_dict=weights), tmp_path / 'a.pth')
    with pytest.raises(
        WeightsError, match=rf'a.pth does not fit the config: .* tensors fit; .*\(missing: {lost}\)'
    ) as info:
        build_predict(Config(dict(default_scope='mmpretrain', model=MODEL)), str(tmp_path / 'a.pth'))
    assert '\n' not in str(info.value)


def test_other_settings_that_are_refused(tmp_path):
    with pytest.raises(ValueError, match='the config is of mmdet; give one of a classifier'):
        build_predict(Config(dict(default_scope='mmdet')), 'a.pth')
    with pytest.raises(FileNotFoundError, match=r'checkpoint .*nothing.pth does not exist; a training leaves its own'):
        build_predict(Config(dict(default_scope='mmpretrain', model=MODEL)), str(tmp_path / 'nothing.pth'))
