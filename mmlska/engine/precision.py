"""Mixed precision: convolutions and matrix products in fewer bits."""

from __future__ import annotations

from collections.abc import Callable

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from .config import add_hook
from .processes import bare_model


def mixed_dtype() -> str:
    """The dtype of mixed precision where none is named, as by MMDetection's --amp: 'fp16' on a GPU, 'bf16' without one."""
    return 'fp16' if torch.cuda.is_available() else 'bf16'


def use_dtype(cfg: Config, dtype: str, training: bool) -> None:
    """Compute convolutions and matrix products in fewer bits; weights, losses and what detectors do with boxes stay in float32.

    ``dtype`` is 'fp32', which changes nothing; 'bf16', on CPU and GPU; or 'fp16', on GPU, with loss scaling in training.

    Raises:
        ValueError: If 'fp16' is asked for without a GPU.
    """
    if dtype == 'fp16' and not torch.cuda.is_available():
        raise ValueError('--dtype fp16 needs a GPU and there is none here; use --dtype bf16')
    if dtype == 'fp16' and training:
        cfg.optim_wrapper.update(type='AmpOptimWrapper', dtype='float16', loss_scale='dynamic')
    elif dtype != 'fp32':
        add_hook(cfg, 'AutocastHook', dtype=dtype)


@HOOKS.register_module()
class AutocastHook(Hook):
    """Run a segmentor, backbone and neck of a detector, or backbone of a classifier, under autocast.

    mmcv's operators and the losses on boxes know float32 only, so a detector's heads get float32 maps.

    Args:
        dtype: 'bf16' or 'fp16'.
    """

    def __init__(self, dtype: str) -> None:
        self.dtype = dict(bf16=torch.bfloat16, fp16=torch.float16)[dtype]

    def before_run(self, runner: Runner) -> None:
        """Wrap the model's method, before it is called."""
        model = bare_model(runner)
        device_type = next(model.parameters()).device.type
        if hasattr(model, 'decode_head'):
            model.forward = torch.autocast(device_type, self.dtype)(model.forward)
        else:
            model.extract_feat = float32_after_autocast(model.extract_feat, device_type, self.dtype)


def float32_after_autocast(extract_feat: Callable, device_type: str, dtype: torch.dtype) -> Callable:
    """Run a model's ``extract_feat`` under autocast and return its maps in float32, which is all that mmcv's operators know."""

    def extract(*args, **kwargs):
        with torch.autocast(device_type, dtype):
            maps = extract_feat(*args, **kwargs)
        return tuple(x.float() for x in maps)

    return extract
