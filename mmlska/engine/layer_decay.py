"""Layer-wise learning-rate decay: the deeper a layer of the backbone, the larger its learning rate."""

from __future__ import annotations

from collections.abc import Callable

from mmengine.logging import print_log
from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS
from torch import nn

_OPTIONS = ('layer_decay_rate', 'print_groups')


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """Build an optimizer whose learning rate falls by a factor from each block to the one before it.

    A parameter of depth d gets ``lr * layer_decay_rate ** (deepest - d)``; depths are those of the backbone's
    ``get_layer_depth``: 0 is the first patch embedding, 1 to N are the blocks, N + 1 is what follows the backbone. Biases,
    norms and layer scales, the parameters with less than two dimensions, get no weight decay. Frozen ones are left out.

    Args:
        optim_wrapper_cfg: MMEngine's ``optim_wrapper`` config, with ``lr`` in its optimizer.
        paramwise_cfg: ``layer_decay_rate``, above 0 and up to 1, and ``print_groups=True`` to log a table of the groups.

    Raises:
        ValueError: If an option is unknown or out of range, ``lr`` is missing, or no part of the model has ``get_layer_depth``.

    Source: BEiT, arXiv 2106.08254, appendix; used for ConvNeXt, arXiv 2201.03545, appendix A.

    Example:
        >>> from mmlska import VAN_LSKA
        >>> build = LayerDecayOptimWrapperConstructor(
        ...     dict(optimizer=dict(type='AdamW', lr=1.0, weight_decay=0.05)), dict(layer_decay_rate=0.5)
        ... )
        >>> groups = build(VAN_LSKA(dict(embed_dims=[8], depths=[1], ffn_ratios=[2]), out_indices=0)).optimizer.param_groups
        >>> [(group['group'], group['lr'], group['weight_decay']) for group in groups]
        [('depth 0', 0.25, 0.05), ('depth 0, no decay', 0.25, 0.0), ('depth 1', 0.5, 0.05), ('depth 1, no decay', 0.5, 0.0)]
    """

    def _validate_cfg(self) -> None:
        super()._validate_cfg()
        rate = self.paramwise_cfg.get('layer_decay_rate')
        unknown = sorted(set(self.paramwise_cfg) - set(_OPTIONS))
        if unknown:
            raise ValueError(f'paramwise_cfg has {unknown[0]!r}; layer-wise decay takes {", ".join(_OPTIONS)}')
        if not isinstance(rate, (int, float)) or not 0 < rate <= 1:
            raise ValueError(
                f'paramwise_cfg has layer_decay_rate={rate!r}; set it above 0 and up to 1, for example 0.9'
            )
        if self.base_lr is None:
            raise ValueError('layer-wise decay needs lr in the config of the optimizer; set optim_wrapper.optimizer.lr')

    def add_params(self, params: list[dict], module: nn.Module, **_) -> None:
        """Append the groups of the model's parameters, by depth, to ``params``."""
        depth_of, deepest = _depths(module)
        members: dict[tuple[int, bool], dict[str, nn.Parameter]] = {}
        for name, parameter in module.named_parameters():
            if parameter.requires_grad:
                members.setdefault((depth_of(name), parameter.ndim < 2), {})[name] = parameter
        for depth, bare in sorted(members):
            group = dict(params=list(members[depth, bare].values()))
            group['lr'] = self.base_lr * self.paramwise_cfg['layer_decay_rate'] ** (deepest - depth)
            if self.base_wd is not None:
                group['weight_decay'] = 0.0 if bare else self.base_wd
            group['group'] = f'depth {depth}, no decay' if bare else f'depth {depth}'
            params.append(group)
        if self.paramwise_cfg.get('print_groups'):
            print_log(_table(params, [list(members[key]) for key in sorted(members)]), logger='current')


def _depths(model: nn.Module) -> tuple[Callable[[str], int], int]:
    """The function from a parameter's name to its depth, and the largest depth."""
    found = [(f'{name}.' if name else '', m) for name, m in model.named_modules() if hasattr(m, 'get_layer_depth')]
    if not found:
        raise ValueError(
            f'{type(model).__name__} has no part with get_layer_depth; use layer-wise decay with a VAN_LSKA backbone'
        )
    prefix, backbone = found[0]
    deepest = backbone.get_layer_depth('', prefix)[1] - 1

    def depth_of(name: str) -> int:
        return backbone.get_layer_depth(name, prefix)[0] if name.startswith(prefix) else deepest

    return depth_of, deepest


def _table(groups: list[dict], names: list[list[str]]) -> str:
    """The groups as a table for the log."""
    lines = [f'{"group":<22}{"lr":>10}{"decay":>10}{"tensors":>9}  first of them']
    for group, members in zip(groups, names):
        decay = group.get('weight_decay', 0.0)
        lines.append(f'{group["group"]:<22}{group["lr"]:>10.3g}{decay:>10.3g}{len(members):>9}  {members[0]}')
    return 'groups of parameters:\n' + '\n'.join(lines)
