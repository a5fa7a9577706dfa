"""Backbone and attention blocks: plain PyTorch, and where MMEngine is installed registered there, the backbone as its BaseModule."""

from ..environment import has_mmengine
from .attention import ATTENTIONS, LKA, LSKA, LKATrivial, LSKATrivial
from .classifier import VANLSKAClassifier, van_lska_base, van_lska_large, van_lska_small, van_lska_tiny
from .deploy import fold_for_inference
from .plugin import LSKANeck, LSKAPlugin

if has_mmengine():
    from .openmmlab import VAN_LSKA
else:
    from .van_lska import VAN_LSKA

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
    'van_lska_base',
    'van_lska_large',
    'van_lska_small',
    'van_lska_tiny',
]
