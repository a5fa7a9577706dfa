"""Parts for MMEngine's Runner; importing this registers them."""

from .hooks import ChannelsLastHook, OverlayHook
from .layer_decay import LayerDecayOptimWrapperConstructor
from .optim import BF16OptimWrapper

__all__ = ['BF16OptimWrapper', 'ChannelsLastHook', 'LayerDecayOptimWrapperConstructor', 'OverlayHook']
