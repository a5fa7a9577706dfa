"""Names that other implementations of VAN have for what VAN_LSKA has too, so that their configs are understood or told what to write.

The others are VAN-Classification, VAN-Segmentation and VAN-Detection, the code of the LSKA paper, and VAN in MMPretrain and transformers.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from ..designs import ARCHS, OTHER_ARCHS


class Elsewhere(NamedTuple):
    """An argument of other implementations: the values that mean what VAN_LSKA does anyway, and what to write for others."""

    same: tuple[Any, ...]
    advice: str


def _ratios(name: str) -> Elsewhere:
    return Elsewhere(([8, 8, 4, 4],), f'{name} are ffn_ratios here: {_ARCH}')


_ARCH = 'write arch=dict(embed_dims=[...], depths=[...], ffn_ratios=[...]), or one of the archs t, s, b and l'
_ACTIVATION = Elsewhere(('gelu', 'GELU', 'nn.GELU'), "write act_cfg=dict(type='GELU'), with a name of torch.nn")
_NO_CLASSIFIER = 'a backbone has no classifier: leave it out'
_ANY_SIZE = 'images may have any size: leave it out'
_ATTENTION_DROPOUT = Elsewhere((0, 0.0), 'the attention has no dropout here: write drop_rate for that of the MLPs')
_DROPOUT = Elsewhere((0, 0.0), 'write drop_rate')
_CHANNELS = Elsewhere((3,), 'write in_channels')
_CHECKPOINTED = Elsewhere((False,), 'write with_cp')
_KERNEL = Elsewhere((), 'all stages have one kernel size: write k_size=23, or another of 7, 11, 23, 35, 41, 53')
_LAYER_SCALE = Elsewhere((0.01,), 'write layer_scale_init_value')
_NO_QUERIES = Elsewhere((True, False), 'this attention has no queries and keys: leave it out')
#: By their names. None is what is not set.
ARGUMENTS = {
    'act_layer': _ACTIVATION,
    'arch_settings': Elsewhere((), _ARCH),
    'attn_drop': _ATTENTION_DROPOUT,
    'attn_drop_rate': _ATTENTION_DROPOUT,
    'block_cfgs': Elsewhere(({},), 'act_cfg, attention, k_size and layer_scale_init_value are arguments of their own'),
    'channels': Elsewhere((), _ARCH),
    'depths': Elsewhere((), _ARCH),
    'dilation': Elsewhere((3,), 'it follows from k_size: write that'),
    'dims': Elsewhere((), _ARCH),
    'drop': _DROPOUT,
    'drop_path': Elsewhere((), 'write drop_path_rate'),
    'dropout_rate': _DROPOUT,
    'embed_dims': Elsewhere((), _ARCH),
    'ffn_ratios': Elsewhere((), _ARCH),
    'flag': Elsewhere((False,), 'write out_indices for the stages that are wanted'),
    'grad_checkpointing': _CHECKPOINTED,
    'gradient_checkpointing': _CHECKPOINTED,
    'hidden_act': _ACTIVATION,
    'hidden_sizes': Elsewhere((), f'they are embed_dims here: {_ARCH}'),
    'image_size': Elsewhere((), _ANY_SIZE),
    'img_size': Elsewhere((), _ANY_SIZE),
    'in_chans': _CHANNELS,
    'initializer_range': Elsewhere((), 'weights begin as in the published code: leave it out'),
    'kernel': _KERNEL,
    'kernel_size': _KERNEL,
    'kernel_sizes': _KERNEL,
    'large_kernel': _KERNEL,
    'layer_norm_eps': Elsewhere((1e-6,), "write stage_norm_cfg=dict(type='LN', eps=...)"),
    'layer_scale_init': _LAYER_SCALE,
    'layer_scale_init_values': _LAYER_SCALE,
    'linear': Elsewhere((False,), _NO_CLASSIFIER),
    'mlp_expansions': _ratios('mlp_expansions'),
    'mlp_ratio': _ratios('mlp_ratio'),
    'mlp_ratios': _ratios('mlp_ratios'),
    'norm_layer': Elsewhere((), "write norm_cfg=dict(type='BN')"),
    'num_channels': _CHANNELS,
    'num_classes': Elsewhere((), _NO_CLASSIFIER),
    'num_stages': Elsewhere((4,), 'write out_indices: stages after the last of them are not built'),
    'out_channels': Elsewhere((), 'the channels are the embed_dims of the arch: write arch, and out_indices'),
    'out_features': Elsewhere((), 'write out_indices, the numbers of the stages from 0 on'),
    'patch_size': Elsewhere((), 'the patches are fixed at 7, 3, 3, 3: leave it out'),
    'patch_sizes': Elsewhere(([7, 3, 3, 3],), 'it is fixed at [7, 3, 3, 3]: leave it out'),
    'pretrained': Elsewhere((False, ''), "write init_cfg=dict(type='Pretrained', checkpoint=...)"),
    'qk_scale': _NO_QUERIES,
    'qkv_bias': _NO_QUERIES,
    'strides': Elsewhere(([4, 2, 2, 2],), 'they are fixed at [4, 2, 2, 2]: leave it out'),
    'style': Elsewhere(('pytorch',), 'there is one style: leave it out'),
    'use_checkpoint': _CHECKPOINTED,
    'with_checkpoint': _CHECKPOINTED,
}
# Types of VAN in other packages: VAN, van_b2, vanb2, VanModel, and, as if it were one of them, this package's with its arch: VAN_LSKA_T.
_TYPE = re.compile(r'van(?P<lska>_?lska)?(?:_?(?P<arch>\w+?))??(?:model|backbone)?')


def refuse_arguments(given: dict[str, Any]) -> None:
    """Refuse arguments that VAN_LSKA does not have, but for those of other implementations that ask for what it does anyway.

    Raises:
        TypeError: For the first of them; the message says what to write.

    Example:
        >>> refuse_arguments(dict(patch_sizes=[7, 3, 3, 3]))
        >>> refuse_arguments(dict(in_chans=4))
        Traceback (most recent call last):
            ...
        TypeError: VAN_LSKA has no in_chans=4; write in_channels
    """
    for name, value in given.items():
        if name not in ARGUMENTS:
            raise TypeError(f'VAN_LSKA has no argument {name}; correct its name or leave it out')
        other = ARGUMENTS[name]
        plain = list(value) if isinstance(value, tuple) else value
        known = any(plain == same and type(plain) is type(same) or plain == same == {} for same in other.same)
        if not known and value is not None:
            raise TypeError(f'VAN_LSKA has no {name}={value!r}; {other.advice}')


def equivalent_of_type(part: dict) -> str | None:
    """What to write for a backbone of another implementation by its type, such as 'van_b2', or for 'van_lska_t'; None for other types.

    Example:
        >>> equivalent_of_type(dict(type='van_b2'))
        "type='VAN_LSKA', arch='b', attention='lka'"
        >>> equivalent_of_type(dict(type='VAN_LSKA_S', k_size=35))
        "type='VAN_LSKA', arch='s', k_size=35"
    """
    kind = part.get('type')
    name = kind.rpartition('.')[2].lower().replace('-', '_') if isinstance(kind, str) else ''
    found = _TYPE.fullmatch(name)
    if found is None or kind == 'VAN_LSKA' or found['arch'] not in (None, *ARCHS, *OTHER_ARCHS):
        return None
    arch = found['arch'] or part.get('arch') or 't'
    arch = OTHER_ARCHS.get(arch, arch) if isinstance(arch, str) else arch
    # As in the part: LSKA is the attention where nothing else is said.
    design = [f'{key}={part[key]!r}' for key in ('attention', 'k_size') if key in part]
    if not found['lska'] and 'attention' not in part:
        design = ["attention='lska'" if 'k_size' in part else "attention='lka'", *design]
    return ', '.join(["type='VAN_LSKA'", f'arch={arch!r}', *design])
