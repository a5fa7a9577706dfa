"""An optimizer whose state is spread over the processes (ZeRO stage 1)."""

from __future__ import annotations

from mmengine.optim import ZeroRedundancyOptimizer
from mmengine.registry import OPTIMIZERS


@OPTIMIZERS.register_module()
class Zero1Optimizer(ZeroRedundancyOptimizer):
    """MMEngine's ZeroRedundancyOptimizer for checkpoints that the first process writes alone.

    MMEngine's asks all processes for their part when only the first one saves, and waits for ever. Here
    :class:`mmlska.engine.runner.SafeRunner` has them call ``consolidate_state_dict`` before.
    """

    def state_dict(self) -> dict:
        """The whole state, as it was consolidated."""
        return super(ZeroRedundancyOptimizer, self).state_dict()
