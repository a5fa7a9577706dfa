"""Optimiser wrappers for MMEngine."""

from __future__ import annotations

from contextlib import contextmanager

import torch
from mmengine.optim import OptimWrapper, ZeroRedundancyOptimizer
from mmengine.registry import OPTIM_WRAPPERS, OPTIMIZERS
from torch import nn


@OPTIM_WRAPPERS.register_module()
class BF16OptimWrapper(OptimWrapper):
    """Train under bfloat16 autocast, on CPU and GPU.

    MMEngine's AmpOptimWrapper refuses a CPU and always scales the loss; bfloat16 has the exponent range of float32 and needs no
    scaling.
    """

    @contextmanager
    def optim_context(self, model: nn.Module):
        """Run the forward pass of ``model`` under autocast."""
        device = next(model.parameters()).device.type
        with super().optim_context(model), torch.autocast(device, dtype=torch.bfloat16):
            yield


@OPTIMIZERS.register_module()
class Zero1Optimizer(ZeroRedundancyOptimizer):
    """MMEngine's ZeroRedundancyOptimizer for checkpoints that the first process writes alone.

    MMEngine's asks all processes for their part when only the first one saves, and waits for ever. Here
    :class:`mmlska.engine.runner.SafeRunner` has them call ``consolidate_state_dict`` before.
    """

    def state_dict(self) -> dict:
        """The whole state, as it was consolidated."""
        return super(ZeroRedundancyOptimizer, self).state_dict()
