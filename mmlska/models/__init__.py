"""Backbone and attention blocks, registered in MMEngine's root registry so that every scope finds them by bare name."""

from mmengine.registry import MODELS

from .attention import ATTENTIONS, LKA, LSKA, LKATrivial, LSKATrivial, kernel_ladder
from .deploy import fold_for_inference
from .van_lska import VAN_LSKA

# The blocks stay plain PyTorch; registering them here lets a config build dict(type='LSKA', dim=256, k_size=11).
for _module in (*ATTENTIONS.values(), VAN_LSKA):
    MODELS.register_module(module=_module)

__all__ = ['ATTENTIONS', 'LKA', 'LSKA', 'VAN_LSKA', 'LKATrivial', 'LSKATrivial', 'fold_for_inference', 'kernel_ladder']
