"""Parts for MMEngine's Runner; importing this registers them."""

from .checkpoints import SafeCheckpointHook, SafeLocalVisBackend
from .fsdp import FSDPHook
from .guards import LossGuardHook
from .hooks import ChannelsLastHook, OverlayHook
from .layer_decay import LayerDecayOptimWrapperConstructor
from .loops import RepeatableEpochLoop, RepeatableIterLoop
from .optim import BF16OptimWrapper, Zero1Optimizer
from .samples import GuardedDataset, ResumableBatchSampler

__all__ = [
    'BF16OptimWrapper',
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
