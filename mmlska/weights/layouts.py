"""The layouts in which VAN and VAN-LSKA weights are published, and their conversion to this package's names of tensors.

One network, several layouts: classification files say ``block1.0`` where detection and segmentation code says ``blocks1.0``, and so on.
:data:`LAYOUTS` is the only place that knows the names; reading, writing, inspection and messages follow from it. Another layout is one
more entry there.

Source: models/van.py, mmdetection/mmdet/models/backbones/van.py and mmsegmentation/van.py of the LSKA authors' repository;
models/van.py of VAN-Classification; mmpretrain/models/backbones/van.py of mmpretrain.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from torch import Tensor

from ..designs import DESIGNS

_GATE = 'attn.spatial_gating_unit.'
_CONVOLUTIONS = (*dict.fromkeys(conv.name for design in DESIGNS.values() for conv in design), 'conv1')

#: The rows of the table by our names: for each kind of container its modules.
MODULES: dict[str, tuple[str, ...]] = {
    'patch_embed': ('projection', 'norm'),
    'blocks': (
        *('layer_scale_1', 'layer_scale_2', 'norm1', 'norm2', 'attn.proj_1', 'attn.proj_2'),
        *(_GATE + convolution for convolution in _CONVOLUTIONS),
        *('mlp.fc1', 'mlp.dwconv', 'mlp.fc2'),
    ),
    'norm': ('',),
}


@dataclass(frozen=True, eq=False)
class Layout:
    """A column of the table: the names of one layout, where they differ from ours.

    Attributes:
        text: What it is called in logs and reports.
        containers: Ours to its own.
        modules: The same of modules.
        head: Its name of the classifier.
        written: Whether a backbone alone can be told to be of this layout, so that it makes sense to write one.
    """

    text: str
    containers: Mapping[str, str] = field(default_factory=dict)
    modules: Mapping[str, str] = field(default_factory=dict)
    head: str = 'head'
    written: bool = True

    def spell(self, container: str, module: str) -> tuple[str, str]:
        """Its names for a container and a module of ours."""
        return self.containers.get(container, container), self.modules.get(module, module)


def _in_gate(**names: str) -> dict[str, str]:
    return {_GATE + ours: _GATE + theirs for ours, theirs in names.items()}


#: The columns. Where a file fits several, the first counts.
LAYOUTS: dict[str, Layout] = {
    'mmlska': Layout("mmlska's own names, which are those of the published detection and segmentation code"),
    'mmpretrain': Layout("mmpretrain's VAN classifier", head='head.fc', written=False),
    'classification': Layout(
        'the names of the published VAN and LSKA classification code',
        containers={'blocks': 'block'},
        modules={
            'projection': 'proj',
            'mlp.dwconv': 'mlp.dwconv.dwconv',
            **_in_gate(
                DW_conv_h='conv0h', DW_conv_v='conv0v', DW_D_conv_h='conv_spatial_h', DW_D_conv_v='conv_spatial_v'
            ),
            **_in_gate(DW_conv='conv0', DW_D_conv='conv_spatial'),
        },
    ),
}
OURS = 'mmlska'

_CONTAINER = re.compile(r'([a-z_]+)([1-9]\d*)(?:\.(0|[1-9]\d*))?\.')
_LEAF = re.compile(r'(?:^|\.)(weight|bias|running_mean|running_var|num_batches_tracked)$')
_WRAPPED = re.compile(r'(?:(?:module|_orig_mod|model)\.)+')
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
    head: dict[str, Tensor]  # the classifier's 'weight' and 'bias'
    others: tuple[str, ...]  # names of other parts of a detector or segmentor
    layout: str  # a key of LAYOUTS, or 'mixed'
    wrapper: str  # the entry that held the dict: '' or 'state_dict' or ...
    ema: tuple[str, ...]  # entries with averaged weights that the checkpoint has


def layout_text(layout: str) -> str:
    """What a layout is called in logs and reports; for 'mixed' too."""
    return LAYOUTS[layout].text if layout in LAYOUTS else 'names of more than one published layout'


def written_layouts() -> tuple[str, ...]:
    """The layouts in which backbones are written."""
    return tuple(name for name, layout in LAYOUTS.items() if layout.written)


def check_written(to: str) -> None:
    """Raise WeightsError if backbones are not written in a layout."""
    if to not in written_layouts():
        raise WeightsError(f'to={to!r} is unknown; choose one of {", ".join(written_layouts())}')


@cache
def _readings(layouts: tuple[tuple[str, Layout], ...]) -> dict[tuple[str, str], tuple[str, str, frozenset[str]]]:
    """Container and module as any layout, or two mixed, have them: our names, and the layouts of which both are."""
    readings = {}
    for container, modules in MODULES.items():
        for module in modules:
            spelled = {name: layout.spell(container, module) for name, layout in layouts}
            for theirs in {(outer, inner) for outer, _ in spelled.values() for _, inner in spelled.values()}:
                readings[theirs] = container, module, frozenset(n for n, pair in spelled.items() if pair == theirs)
    return readings


def rename(name: str, to: str = OURS) -> tuple[str, frozenset[str]] | None:
    """A tensor's name, of any layout, as another layout has it.

    Returns:
        The name, and the layouts to which the given one belongs; None if it belongs to no VAN.

    Example:
        >>> rename('block1.0.attn.spatial_gating_unit.conv0h.bias')
        ('blocks1.0.attn.spatial_gating_unit.DW_conv_h.bias', frozenset({'classification'}))
        >>> name, layouts = rename('norm4.weight', 'classification')
        >>> name, sorted(layouts)
        ('norm4.weight', ['classification', 'mmlska', 'mmpretrain'])
        >>> rename('layer1.0.conv1.weight') is None
        True
    """
    found = _CONTAINER.match(name)
    if found is None:
        return None
    container, stage, block = found.groups()
    rest = name[found.end() :]
    leaf = _LEAF.search(rest)
    reading = _readings(tuple(LAYOUTS.items())).get((container, rest[: leaf.start()] if leaf else rest))
    if reading is None:
        return None
    container, module, layouts = reading
    # Only blocks are numbered within their stage, and only layer scales are parameters of their own.
    if (block is not None) != (container == 'blocks') or (leaf is None) != ('layer_scale' in module):
        return None
    container, module = LAYOUTS[to].spell(container, module)
    parts = [f'{container}{stage}', block, module, leaf and leaf.group(1)]
    return '.'.join(part for part in parts if part), layouts


def head_part(name: str) -> tuple[str, frozenset[str]] | None:
    """Which tensor of a classifier's head a name means: 'weight' or 'bias', and the layouts that call it so; None if none.

    Example:
        >>> head_part('head.fc.bias')
        ('bias', frozenset({'mmpretrain'}))
    """
    head, _, leaf = name.rpartition('.')
    layouts = frozenset(key for key, layout in LAYOUTS.items() if layout.head == head)
    return (leaf, layouts) if layouts and leaf in ('weight', 'bias') else None


def convert_state_dict(
    checkpoint: Mapping[str, Any], *, prefix: str | None = None, ema: bool = False, to: str = OURS
) -> dict[str, Tensor]:
    """Return the backbone's tensors of a checkpoint of any published layout under the names of another, by default this package's.

    Wrappers (``state_dict``, ``model``, ``state_dict_ema``) and prefixes (``module.``, ``backbone.``) are taken off; the
    classifier and, in a checkpoint of a whole detector or segmentor, everything outside ``backbone.`` are left out. Tensors are
    passed on, not copied. What this function returned is returned unchanged when converted again.

    Args:
        checkpoint: What a file held, or a state dict.
        prefix: Take only the names that begin so, for example 'teacher.backbone.'; by default found out.
        ema: Take the averaged weights of a checkpoint that has both.
        to: One of :func:`written_layouts`.

    Raises:
        WeightsError: If the checkpoint is empty, holds other things than tensors, names that belong to no VAN, or two names for one
            tensor; or if ``to`` is unknown.

    Example:
        >>> import torch
        >>> weights = {'module.patch_embed1.proj.bias': torch.zeros(32), 'module.head.bias': torch.zeros(10)}
        >>> list(convert_state_dict({'state_dict': weights}))
        ['patch_embed1.projection.bias']
        >>> list(convert_state_dict({'blocks1.0.mlp.dwconv.bias': torch.zeros(256)}, to='classification'))
        ['block1.0.mlp.dwconv.dwconv.bias']
    """
    check_written(to)
    tensors = parse(checkpoint, prefix=prefix, ema=ema).tensors
    return tensors if to == OURS else {rename(name, to)[0]: tensor for name, tensor in tensors.items()}


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
    layouts, head_layouts = set(LAYOUTS), set(LAYOUTS)  # to which all names belong
    for short, name in backbone:
        if part := head_part(short):
            head[part[0]] = state_dict[name]
            head_layouts &= part[1]
            continue
        found = rename(short)
        if found is None:
            unknown.append(name)
            continue
        ours, of_layouts = found
        if ours in origin:
            raise WeightsError(f'{origin[ours]} and {name} are both {ours}; remove one of them from the file')
        if not state_dict[name].is_floating_point() and not ours.endswith('num_batches_tracked'):
            raise WeightsError(f'{name} is of {state_dict[name].dtype}; weights are floating-point numbers, give such')
        tensors[ours], origin[ours] = state_dict[name], name
        layouts &= of_layouts
    if unknown:
        raise WeightsError(_describe_unknown(unknown, len(state_dict)))
    if not tensors:
        raise WeightsError(f'no weights of a VAN among {_some(state_dict)}; give a backbone or a model that has one')
    heads = {name: part for name in others if (part := head_part(_WRAPPED.sub('', name, count=1)))}
    if not head:
        head = {part: state_dict[name] for name, (part, _) in heads.items()}
        head_layouts.intersection_update(*(of_layouts for _, of_layouts in heads.values()))
    fitting = [layout for layout in LAYOUTS if layout in layouts]
    return ParsedWeights(
        tensors=tensors,
        head=head,
        others=tuple(name for name in others if name not in heads),
        layout=next((layout for layout in fitting if layout in head_layouts), (*fitting, 'mixed')[0]),
        wrapper=wrapper,
        ema=found_ema,
    )


def _unwrap(checkpoint: Mapping[str, Any], ema: bool) -> tuple[Mapping[str, Any], str, tuple[str, ...]]:
    """Find the dict of tensors; return it, the path of keys that led to it, and the entries with averaged weights."""
    path, found_ema = [], ()
    while len(path) < 10:
        if not isinstance(checkpoint, Mapping):
            where = f'entry {".".join(path)!r}' if path else 'the checkpoint'
            kind = type(checkpoint).__name__
            raise WeightsError(f'{where} is of type {kind}, not a dict of tensors; give a state dict')
        if not checkpoint:
            place = f'the dict of weights {".".join(path)}'.rstrip()
            raise WeightsError(f'{place} is empty; the file was not written completely')
        present = [k for k in (*_PLAIN_KEYS, *_EMA_KEYS) if k in checkpoint and not isinstance(checkpoint[k], Tensor)]
        found_ema = found_ema or tuple(k for k in present if k in _EMA_KEYS)
        if ema and not path and not found_ema:
            raise WeightsError(f'no averaged weights among {_some(checkpoint)}; load without ema=True')
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
            raise WeightsError(f'no name begins with {prefix!r}; there are {_some(state_dict)}')
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


def _describe_unknown(unknown: list[str], total: int) -> str:
    families = [text for pattern, text in _FAMILIES if any(re.search(pattern, name) for name in unknown)]
    guess = f'; this looks like {families[0]}' if families else ''
    return (
        f'{len(unknown)} of {total} names belong to no published layout of VAN or VAN-LSKA: {_some(unknown)}{guess}; '
        f'give weights of VAN or VAN-LSKA'
    )


def _some(names: Collection) -> str:
    more = f' and {len(names) - 4} more' if len(names) > 4 else ''
    return ', '.join(map(str, list(names)[:4])) + more


def grouped(names: Iterable[str]) -> str:
    """Names for a message, the same tensor of all blocks of a stage taken together.

    Example:
        >>> grouped(['blocks1.0.mlp.fc1.bias', 'blocks1.1.mlp.fc1.bias', 'norm1.bias'])
        'blocks1.*.mlp.fc1.bias (2), norm1.bias'
    """
    counts = Counter(re.sub(r'\.\d+\.', '.*.', name) for name in names)
    return ', '.join(f'{key} ({n})' if n > 1 else key for key, n in counts.items())
