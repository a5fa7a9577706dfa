"""VAN-LSKA as an MMPretrain classifier: what configs/van_lska_*_imagenet.py import.

Importing this needs no MMPretrain, so that the configs can be read without it; building the model does.
"""

from __future__ import annotations

from functools import partial

from mmengine.registry import MODELS
from torch import nn

from ..torchvision_cpu import mend_torchvision
from ..weights.classifier import adopt_classifier

mend_torchvision()  # before MMPretrain imports it


@MODELS.register_module(name='VANClassifier')
def build_classifier(**cfg) -> nn.Module:
    """Build MMPretrain's ImageClassifier so that it also loads published classification checkpoints, with their head.

    Args:
        cfg: Arguments of MMPretrain's ``ImageClassifier``; its head must be a ``LinearClsHead``.
    """
    from mmpretrain.models import ImageClassifier

    model = ImageClassifier(**cfg)
    adopt = partial(_adopt, model)
    model._register_load_state_dict_pre_hook(adopt)
    return model


def _adopt(model: nn.Module, state_dict: dict, prefix: str, *_) -> None:
    adopt_classifier(state_dict, prefix, head='head.fc.', classes=model.head.fc.out_features)
