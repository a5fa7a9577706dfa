"""OpenMMLab's face of the models: the backbone as a BaseModule with ``init_cfg``, and everything in MMEngine's registry.

The root registry is used, so that every scope (mmdet, mmseg, ...) finds the modules by bare name: ``dict(type='VAN_LSKA')``, or
``dict(type='LSKA', dim=256, k_size=11)``.
"""

from __future__ import annotations

import copy
from functools import wraps
from inspect import signature

from mmengine.model import BaseModule, PretrainedInit, update_init_info
from mmengine.registry import MODELS

from ..weights import WeightsError, load_weights
from . import van_lska
from .attention import ATTENTIONS
from .plugin import LSKANeck, LSKAPlugin


class WrongInitCfg(WeightsError, TypeError):
    """An entry of ``init_cfg`` of type 'Pretrained' with arguments that :func:`load_weights` does not take."""


class VAN_LSKA(van_lska.VAN_LSKA, BaseModule):
    # No docstring of its own: help() shows the one of the plain network.
    @wraps(van_lska.VAN_LSKA.__init__)
    def __init__(self, *args, init_cfg: dict | list[dict] | None = None, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.init_cfg = copy.deepcopy(init_cfg)

    def init_weights(self) -> None:
        """Initialise as ``init_cfg`` says; an entry of type 'Pretrained' takes the arguments of :func:`mmlska.weights.load_weights`.

        Raises:
            WrongInitCfg: If it has other arguments, or no checkpoint.
            WeightsError: If the file can't be read or does not fit.
        """
        whole, first_time = self.init_cfg, not self.is_init
        configs = [whole] if isinstance(whole, dict) else list(whole or [])
        pretrained = [cfg for cfg in configs if cfg.get('type') in ('Pretrained', PretrainedInit)]
        self.init_cfg = [cfg for cfg in configs if cfg not in pretrained]
        try:
            super().init_weights()
        finally:
            self.init_cfg = whole
        for cfg in pretrained if first_time else []:
            self._load_pretrained(**{name: value for name, value in cfg.items() if name != 'type'})

    def _load_pretrained(self, **arguments) -> None:
        allowed = list(signature(load_weights).parameters)[1:]
        if not set(arguments) <= set(allowed) or 'checkpoint' not in arguments:
            raise WrongInitCfg(
                f'init_cfg of type Pretrained has {sorted(arguments)}; it takes {", ".join(allowed)}, checkpoint at least'
            )
        load_weights(self, **arguments)
        if hasattr(self, '_params_init_info'):  # MMEngine's record of who initialised what
            update_init_info(self, init_info=f'Pretrained: {arguments["checkpoint"]}')


for _module in (*ATTENTIONS.values(), LSKANeck, LSKAPlugin, VAN_LSKA):
    MODELS.register_module(module=_module)
