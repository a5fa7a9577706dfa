"""Backbone and attention blocks, registered in MMEngine's root registry so that every scope finds them by bare name."""

from mmengine.registry import MODELS

from .attention import ATTENTIONS, LKA, LSKA, LKATrivial, LSKATrivial, kernel_ladder
from .classifier import VANLSKAClassifier, van_lska_base, van_lska_large, van_lska_small, van_lska_tiny
from .deploy import fold_for_inference
from .plugin import LSKANeck, LSKAPlugin
from .van_lska import VAN_LSKA

# The blocks stay plain PyTorch; registering them here lets a config build dict(type='LSKA', dim=256, k_size=11).
for _module in (*ATTENTIONS.values(), LSKANeck, LSKAPlugin, VAN_LSKA):
    MODELS.register_module(module=_module)

__all__ = [
    'ATTENTIONS',
    'LKA',
    'LSKA',
    'VANLSKAClassifier',
    'VAN_LSKA',
    'LKATrivial',
    'LSKANeck',
    'LSKAPlugin',
    'LSKATrivial',
    'fold_for_inference',
    'kernel_ladder',
    'van_lska_base',
    'van_lska_large',
    'van_lska_small',
    'van_lska_tiny',
]
