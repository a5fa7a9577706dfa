"""Names that other implementations of VAN have for what VAN_LSKA has too, so that their configs are understood or told what to write.

The others are VAN-Classification, VAN-Segmentation and VAN-Detection, the code of the LSKA paper, and MMPretrain's VAN.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..designs import OTHER_ARCHS


class Elsewhere(NamedTuple):
    """An argument of other implementations: the values that mean what VAN_LSKA does anyway, and what to write for others."""

    same: tuple[Any, ...]
    advice: str


_ARCH = 'write arch=dict(embed_dims=[...], depths=[...], ffn_ratios=[...]), or one of the archs t, s, b and l'
_NO_CLASSIFIER = 'a backbone has no classifier: leave it out'
_ANY_SIZE = 'images may have any size: leave it out'
#: By their names.
ARGUMENTS = {
    'arch_settings': Elsewhere((), _ARCH),
    'block_cfgs': Elsewhere(
        ({}, None), 'act_cfg, attention, k_size and layer_scale_init_value are arguments of their own'
    ),
    'channels': Elsewhere((), _ARCH),
    'depths': Elsewhere((), _ARCH),
    'drop_path': Elsewhere((), 'write drop_path_rate'),
    'embed_dims': Elsewhere((), _ARCH),
    'ffn_ratios': Elsewhere((), _ARCH),
    'flag': Elsewhere((False,), 'write out_indices for the stages that are wanted'),
    'img_size': Elsewhere((), _ANY_SIZE),
    'in_chans': Elsewhere((3,), 'write in_channels'),
    'kernel_size': Elsewhere((), 'write k_size'),
    'linear': Elsewhere((False,), _NO_CLASSIFIER),
    'mlp_ratios': Elsewhere(([8, 8, 4, 4],), f'mlp_ratios are ffn_ratios here: {_ARCH}'),
    'norm_layer': Elsewhere((), "write norm_cfg=dict(type='BN')"),
    'num_classes': Elsewhere((), _NO_CLASSIFIER),
    'num_stages': Elsewhere((4,), 'write out_indices: stages after the last of them are not built'),
    'out_channels': Elsewhere((), 'the channels are the embed_dims of the arch: write arch, and out_indices'),
    'patch_size': Elsewhere((), 'the patches are fixed at 7, 3, 3, 3: leave it out'),
    'patch_sizes': Elsewhere(([7, 3, 3, 3],), 'it is fixed at [7, 3, 3, 3]: leave it out'),
    'pretrained': Elsewhere((None,), "write init_cfg=dict(type='Pretrained', checkpoint=...)"),
    'strides': Elsewhere(([4, 2, 2, 2],), 'they are fixed at [4, 2, 2, 2]: leave it out'),
}


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
        if not any(plain == same and type(plain) is type(same) or plain == same == {} for same in other.same):
            raise TypeError(f'VAN_LSKA has no {name}={value!r}; {other.advice}')


def equivalent_of_type(part: dict) -> str | None:
    """What to write for a backbone of another implementation by its type, such as 'van_b2'; None for any other type.

    Example:
        >>> equivalent_of_type(dict(type='van_b2'))
        "type='VAN_LSKA', arch='b', attention='lka'"
    """
    kind = part.get('type')
    name = kind.rpartition('.')[2].lower().replace('-', '_') if isinstance(kind, str) else ''
    if name not in ('van', *(f'van_{arch}' for arch in OTHER_ARCHS)):
        return None
    arch = OTHER_ARCHS.get(name.removeprefix('van_')) or part.get('arch') or 't'
    arch = OTHER_ARCHS.get(arch, arch) if isinstance(arch, str) else '...'
    design = f"attention='lska', k_size={part['k_size']}" if 'k_size' in part else "attention='lka'"
    return f"type='VAN_LSKA', arch={arch!r}, {design}"
