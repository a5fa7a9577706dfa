"""Parts for MMEngine's Runner; importing this registers them."""

from .checkpoints import SafeCheckpointHook, SafeLocalVisBackend
from .fsdp import FSDPHook
from .hooks import ChannelsLastHook, OverlayHook
from .layer_decay import LayerDecayOptimWrapperConstructor
from .loops import RepeatableEpochLoop, RepeatableIterLoop
from .loss_guard import LossGuardHook
from .precision import AutocastHook
from .samples import GuardedDataset, ResumableBatchSampler
from .zero1 import Zero1Optimizer

__all__ = [
    'AutocastHook',
    'ChannelsLastHook',
    'FSDPHook',
    'GuardedDataset',
    'LayerDecayOptimWrapperConstructor',
    'LossGuardHook',
    'OverlayHook',
    'RepeatableEpochLoop',
    'RepeatableIterLoop',
    'ResumableBatchSampler',
    'SafeCheckpointHook',
    'SafeLocalVisBackend',
    'Zero1Optimizer',
]
