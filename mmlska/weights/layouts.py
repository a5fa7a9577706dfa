"""The layouts in which VAN and VAN-LSKA weights are published, and their conversion to this package's parameter names.

One network, several spellings: classification files say ``block1.0`` where detection and segmentation code says
``blocks1.0``, mmpretrain puts ``backbone.`` in front, and so on. :data:`SPELLINGS` is the only place that knows the names;
everything else is derived.

Source: models/van.py, mmdetection/mmdet/models/backbones/van.py and mmsegmentation/van.py of the LSKA authors' repository;
models/van.py of VAN-Classification; mmpretrain/models/backbones/van.py of mmpretrain.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

_GATE = 'attn.spatial_gating_unit.'

#: For each kind of container (ours, classification) its modules (ours, classification).
SPELLINGS: dict[tuple[str, str], tuple[tuple[str, str], ...]] = {
    ('patch_embed', 'patch_embed'): (('projection', 'proj'), ('norm', 'norm')),
    ('blocks', 'block'): (
        ('layer_scale_1', 'layer_scale_1'),
        ('layer_scale_2', 'layer_scale_2'),
        ('norm1', 'norm1'),
        ('norm2', 'norm2'),
        ('attn.proj_1', 'attn.proj_1'),
        ('attn.proj_2', 'attn.proj_2'),
        (_GATE + 'DW_conv_h', _GATE + 'conv0h'),
        (_GATE + 'DW_conv_v', _GATE + 'conv0v'),
        (_GATE + 'DW_D_conv_h', _GATE + 'conv_spatial_h'),
        (_GATE + 'DW_D_conv_v', _GATE + 'conv_spatial_v'),
        (_GATE + 'DW_conv', _GATE + 'conv0'),
        (_GATE + 'DW_D_conv', _GATE + 'conv_spatial'),
        (_GATE + 'conv1', _GATE + 'conv1'),
        ('mlp.fc1', 'mlp.fc1'),
        ('mlp.dwconv', 'mlp.dwconv.dwconv'),
        ('mlp.fc2', 'mlp.fc2'),
    ),
    ('norm', 'norm'): (('', ''),),
}
_OURS, _CLASSIFICATION = 0, 1

#: What the layouts are called in logs and reports.
DIALECTS = {
    'mmlska': "mmlska's own names, which are those of the published detection and segmentation code",
    'classification': 'the names of the published VAN and LSKA classification code',
    'mmpretrain': "mmpretrain's VAN classifier",
    'mixed': 'names of more than one published layout',
}

# (kind, module) in either spelling, to the pair of both.
_MODULES = {
    (kind, module): (kinds, modules)
    for kinds, rows in SPELLINGS.items()
    for modules in rows
    for kind in kinds
    for module in modules
}
_CONTAINER = re.compile(r'(patch_embed|blocks?|norm)([1-9]\d*)(?:\.(0|[1-9]\d*))?\.')
_LEAF = re.compile(r'(?:^|\.)(weight|bias|running_mean|running_var|num_batches_tracked)$')
_WRAPPED = re.compile(r'(?:(?:module|_orig_mod|model)\.)+')
_HEAD = re.compile(r'head\.(?:fc\.)?(?:weight|bias)$')
_PLAIN_KEYS, _EMA_KEYS = ('state_dict', 'model'), ('state_dict_ema', 'model_ema', 'ema_state_dict')
_FAMILIES = (
    (
        r'encoder\.stages\.\d+\.',
        "the transformers library's VAN, which has other layers; use the authors' original file",
    ),
    (r'layer\d\.\d+\.conv\d\.', 'a ResNet'),
    (r'layers\.\d+\.blocks\.\d+\.', 'a Swin Transformer'),
    (r'cls_token|blocks\.\d+\.attn\.qkv\.', 'a Vision Transformer'),
    (r'block\d\.\d+\.attn\.(q|kv)\.', 'a Pyramid Vision Transformer'),
    (r'spatial_gating_unit\.conv\d_\d\.', "SegNeXt's MSCAN"),
    (r'stages\.\d+\.|downsample_layers\.|stem\.', 'a ConvNeXt or another timm model'),
)


class WeightsError(ValueError):
    """Weights that can't be read, can't be placed or don't fit; the message says which, why and what to do."""


@dataclass(frozen=True)
class ParsedWeights:
    """A checkpoint taken apart: what :func:`convert_state_dict` and :func:`inspect_state_dict` are made of."""

    tensors: dict[str, Tensor]  # by our names
    head: dict[str, Tensor]  # the classifier's
    others: tuple[str, ...]  # names of other parts of a detector or segmentor
    dialect: str
    wrapper: str  # the entry that held the dict: '' or 'state_dict' or ...
    ema: tuple[str, ...]  # entries with averaged weights that the checkpoint has


def rename(name: str, column: int = _OURS) -> tuple[str, tuple[bool, bool]] | None:
    """Spell a tensor's name as we do (column 0) or as classification does (1).

    Returns:
        The name, and whether the given one was valid in each of the two spellings; None if it belongs to no VAN.

    Example:
        >>> rename('block1.0.attn.spatial_gating_unit.conv0h.bias')
        ('blocks1.0.attn.spatial_gating_unit.DW_conv_h.bias', (False, True))
        >>> rename('norm4.weight', 1)
        ('norm4.weight', (True, True))
        >>> rename('layer1.0.conv1.weight') is None
        True
    """
    container = _CONTAINER.match(name)
    if container is None:
        return None
    kind, stage, block = container.groups()
    rest = name[container.end() :]
    leaf = _LEAF.search(rest)
    module = rest[: leaf.start()] if leaf else rest
    found = _MODULES.get((kind, module))
    # Only blocks are numbered within their stage, and only layer scales are parameters of their own.
    if found is None or (block is not None) != (found[0][0] == 'blocks') or (leaf is None) != ('layer_scale' in module):
        return None
    kinds, modules = found
    spelled = tuple(kinds[i] == kind and modules[i] == module for i in (_OURS, _CLASSIFICATION))
    parts = [f'{kinds[column]}{stage}', block, modules[column], leaf and leaf.group(1)]
    return '.'.join(part for part in parts if part), spelled


def convert_state_dict(
    checkpoint: Mapping[str, Any], *, prefix: str | None = None, ema: bool = False
) -> dict[str, Tensor]:
    """Return the backbone's tensors of a checkpoint of any published layout under this package's names.

    Wrappers (``state_dict``, ``model``, ``state_dict_ema``) and prefixes (``module.``, ``backbone.``) are taken off; the
    classifier and, in a checkpoint of a whole detector or segmentor, everything outside ``backbone.`` are left out. Tensors are
    passed on, not copied. What this function returned is returned unchanged when converted again.

    Args:
        checkpoint: What a file held, or a state dict.
        prefix: Take only the names that begin so, for example 'teacher.backbone.'; by default found out.
        ema: Take the averaged weights of a checkpoint that has both.

    Raises:
        WeightsError: If the checkpoint is empty, holds other things than tensors, names that belong to no VAN, or two names for one tensor.

    Example:
        >>> import torch
        >>> weights = {'module.patch_embed1.proj.bias': torch.zeros(32), 'module.head.bias': torch.zeros(10)}
        >>> list(convert_state_dict({'state_dict': weights}))
        ['patch_embed1.projection.bias']
    """
    return parse(checkpoint, prefix=prefix, ema=ema).tensors


def to_classification(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict of any known layout under the names of the published classification code; the inverse of the conversion.

    Raises:
        WeightsError: As :func:`convert_state_dict`.

    Example:
        >>> import torch
        >>> list(to_classification({'blocks1.0.mlp.dwconv.bias': torch.zeros(256)}))
        ['block1.0.mlp.dwconv.dwconv.bias']
    """
    return {rename(name, _CLASSIFICATION)[0]: tensor for name, tensor in convert_state_dict(state_dict).items()}


def parse(checkpoint: Mapping[str, Any], *, prefix: str | None = None, ema: bool = False) -> ParsedWeights:
    """Take a checkpoint apart; arguments and errors as for :func:`convert_state_dict`."""
    state_dict, wrapper, found_ema = _unwrap(checkpoint, ema)
    for name, value in state_dict.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            kind = type(value).__name__
            raise WeightsError(
                f'entry {name!r} of the weights is of type {kind}, not a named tensor; give a state dict'
            )
    backbone, others = _backbone_names(state_dict, prefix)

    tensors: dict[str, Tensor] = {}
    head: dict[str, Tensor] = {}
    origin: dict[str, str] = {}
    unknown: list[str] = []
    spellings = set()
    for short, name in backbone:
        if _HEAD.match(short):
            head[short] = state_dict[name]
            continue
        renamed = rename(short)
        if renamed is None:
            unknown.append(name)
            continue
        ours, spelled = renamed
        if ours in origin:
            raise WeightsError(f'{origin[ours]} and {name} are both {ours}; remove one of them from the file')
        if not state_dict[name].is_floating_point() and not ours.endswith('num_batches_tracked'):
            raise WeightsError(f'{name} is of {state_dict[name].dtype}; weights are floating-point numbers, give such')
        tensors[ours], origin[ours] = state_dict[name], name
        spellings.add(spelled)
    if unknown:
        raise WeightsError(_describe_unknown(unknown, len(state_dict)))
    if not tensors:
        raise WeightsError(
            f'no weights of a VAN among {_some(list(state_dict))}; give a backbone or a model that has one'
        )
    head_elsewhere = {name: state_dict[name] for name in others if _HEAD.match(_WRAPPED.sub('', name, count=1))}
    return ParsedWeights(
        tensors=tensors,
        head=head or head_elsewhere,
        others=tuple(name for name in others if name not in head_elsewhere),
        dialect=_dialect(spellings, head or head_elsewhere),
        wrapper=wrapper,
        ema=found_ema,
    )


def _unwrap(checkpoint: Mapping[str, Any], ema: bool) -> tuple[Mapping[str, Any], str, tuple[str, ...]]:
    """Find the dict of tensors; return it, the path of keys that led to it, and the entries with averaged weights."""
    path, found_ema = [], ()
    while len(path) < 10:
        if not isinstance(checkpoint, Mapping):
            where = f'entry {".".join(path)!r}' if path else 'the checkpoint'
            raise WeightsError(
                f'{where} is of type {type(checkpoint).__name__}, not a dict of tensors; give a state dict'
            )
        if not checkpoint:
            raise WeightsError(
                f'the dict of weights {".".join(path)} is empty; the file was not written completely'.replace('  ', ' ')
            )
        present = [k for k in (*_PLAIN_KEYS, *_EMA_KEYS) if k in checkpoint and not isinstance(checkpoint[k], Tensor)]
        found_ema = found_ema or tuple(k for k in present if k in _EMA_KEYS)
        if ema and not path and not found_ema:
            raise WeightsError(f'no averaged weights among {_some(list(checkpoint))}; load without ema=True')
        if not present:
            return checkpoint, '.'.join(path), found_ema
        path.append(found_ema[0] if ema and not path else present[0])
        checkpoint = checkpoint[path[-1]]
    raise WeightsError(f'the weights lie below {".".join(path)} or deeper; give a state dict')


def _backbone_names(state_dict: Mapping[str, Any], prefix: str | None) -> tuple[list[tuple[str, str]], list[str]]:
    """Split the names into the backbone's, as (without prefix, in full), and the others'."""
    if prefix is not None:
        prefix = prefix.rstrip('.') + '.'
        inside = [(name[len(prefix) :], name) for name in state_dict if name.startswith(prefix)]
        if not inside:
            raise WeightsError(f'no name begins with {prefix!r}; there are {_some(list(state_dict))}')
        return inside, [name for name in state_dict if not name.startswith(prefix)]
    bare = [(_WRAPPED.sub('', name, count=1) if _WRAPPED.match(name) else name, name) for name in state_dict]
    inside = [(short.removeprefix('backbone.'), name) for short, name in bare if short.startswith('backbone.')]
    if not inside:
        return bare, []
    outside = [(short, name) for short, name in bare if not short.startswith('backbone.')]
    for short, name in outside:
        if rename(short):
            raise WeightsError(
                f'{name} stands outside backbone. where {inside[0][1]} is inside; the file mixes two layouts'
            )
    return inside, [name for _, name in outside]


def _dialect(spellings: set[tuple[bool, bool]], head: Mapping[str, Tensor]) -> str:
    if all(spelled[_OURS] for spelled in spellings):
        return 'mmpretrain' if any('head.fc.' in name for name in head) else 'mmlska'
    return 'classification' if all(spelled[_CLASSIFICATION] for spelled in spellings) else 'mixed'


def _describe_unknown(unknown: list[str], total: int) -> str:
    families = [text for pattern, text in _FAMILIES if any(re.search(pattern, name) for name in unknown)]
    guess = f'; this looks like {families[0]}' if families else ''
    return (
        f'{len(unknown)} of {total} names belong to no published layout of VAN or VAN-LSKA: {_some(unknown)}{guess}; '
        f'give weights of VAN or VAN-LSKA'
    )


def _some(names: list, limit: int = 4) -> str:
    more = f' and {len(names) - limit} more' if len(names) > limit else ''
    return ', '.join(map(str, names[:limit])) + more


def grouped(names: Iterator[str] | list[str]) -> str:
    """Names for a message, the same tensor of all blocks of a stage taken together.

    Example:
        >>> grouped(['blocks1.0.mlp.fc1.bias', 'blocks1.1.mlp.fc1.bias', 'norm1.bias'])
        'blocks1.*.mlp.fc1.bias (2), norm1.bias'
    """
    counts: dict[str, int] = {}
    for name in names:
        key = re.sub(r'\.\d+\.', '.*.', name)
        counts[key] = counts.get(key, 0) + 1
    return ', '.join(f'{key} ({n})' if n > 1 else key for key, n in counts.items())
