"""What weights are: the architecture, kernel size and attention that names and shapes of a state dict tell."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..designs import ARCHS, recognise_design
from .layouts import ParsedWeights, parse

_GATE = re.compile(r'blocks\d+\.\d+\.attn\.spatial_gating_unit\.(DW_\w+)\.weight')


@dataclass(frozen=True)
class WeightsInfo:
    """Facts about weights; None where names and shapes don't tell.

    Attributes:
        layout: A key of :data:`mmlska.weights.LAYOUTS`, or 'mixed'.
        arch: 't', 's', 'b', 'l', or the lists of the stages.
        k_size: Extent of the attention kernel in pixels.
        attention: The name that ``VAN_LSKA(attention=...)`` takes.
        in_channels: Channels of the image.
        num_classes: Size of the classifier in the file.
        parameters: Number of the backbone's parameters, without classifier and running statistics.
        tensors: Number of the backbone's tensors.
        dtypes: The floating-point types that occur.
        has_ema: Whether the checkpoint has averaged weights too.
        wrapper: The entry of the file that holds the weights.
        parts: The other parts of a whole model in the file: 'neck', 'bbox_head', ...
    """

    layout: str
    arch: str | dict[str, list[int]] | None
    k_size: int | None
    attention: str | None
    in_channels: int | None
    num_classes: int | None
    parameters: int
    tensors: int
    dtypes: tuple[str, ...]
    has_ema: bool
    wrapper: str
    parts: tuple[str, ...]


def inspect_state_dict(checkpoint: Mapping[str, Any], *, prefix: str | None = None, ema: bool = False) -> WeightsInfo:
    """Tell what the weights in a checkpoint are, from names and shapes alone.

    Arguments and errors are those of :func:`mmlska.weights.convert_state_dict`.

    Example:
        >>> from mmlska import VAN_LSKA
        >>> info = inspect_state_dict(VAN_LSKA('t', k_size=35).state_dict())
        >>> info.arch, info.k_size, info.attention, info.in_channels
        ('t', 35, 'lska', 3)
    """
    return inspect_parsed(parse(checkpoint, prefix=prefix, ema=ema))


def inspect_parsed(parsed: ParsedWeights) -> WeightsInfo:
    """As :func:`inspect_state_dict`, of weights that are taken apart already."""
    tensors = parsed.tensors
    head = parsed.head.get('weight')
    stem = tensors.get('patch_embed1.projection.weight')
    attention, k_size = _attention(tensors)
    floats = {str(t.dtype).removeprefix('torch.') for t in tensors.values() if t.is_floating_point()}
    return WeightsInfo(
        layout=parsed.layout,
        arch=_arch(tensors),
        k_size=k_size,
        attention=attention,
        in_channels=stem.shape[1] if stem is not None and stem.dim() == 4 else None,
        num_classes=head.shape[0] if head is not None and head.dim() == 2 else None,
        parameters=sum(t.numel() for name, t in tensors.items() if not re.search('running_|num_batches', name)),
        tensors=len(tensors),
        dtypes=tuple(sorted(floats)),
        has_ema=bool(parsed.ema),
        wrapper=parsed.wrapper,
        parts=tuple(dict.fromkeys(name.removeprefix('module.').split('.')[0] for name in parsed.others)),
    )


def _arch(tensors: Mapping[str, Tensor]) -> str | dict[str, list[int]] | None:
    """The stages' widths and depths as a name of ARCHS, or as they are; None where tensors are missing."""
    blocks = {(int(m[1]), int(m[2])) for m in (re.match(r'blocks(\d+)\.(\d+)\.', name) for name in tensors) if m}
    settings: dict[str, list[int]] = dict(embed_dims=[], depths=[], ffn_ratios=[])
    for stage in range(1, max((s for s, _ in blocks), default=0) + 1):
        fc1 = tensors.get(f'blocks{stage}.0.mlp.fc1.weight')
        depth = sum(s == stage for s, _ in blocks)
        if fc1 is None or fc1.dim() != 4 or (stage, depth - 1) not in blocks:
            return None
        hidden, width = fc1.shape[:2]
        settings['embed_dims'].append(width)
        settings['depths'].append(depth)
        settings['ffn_ratios'].append(hidden // max(width, 1))
    if not settings['depths']:
        return None
    # A backbone cut off by out_indices has only the first stages, which more than one architecture can share.
    count = len(settings['depths'])
    names = [name for name, arch in ARCHS.items() if all(arch[k][:count] == v for k, v in settings.items())]
    return ' or '.join(names) if names else settings


def _attention(tensors: Mapping[str, Tensor]) -> tuple[str | None, int | None]:
    """Name and kernel size of the attention, if all blocks agree on them."""
    convolutions: dict[str, set[int]] = {}
    for name, tensor in tensors.items():
        if found := _GATE.fullmatch(name):
            convolutions.setdefault(found[1], set()).add(max(tensor.shape[2:], default=0))
    return recognise_design(convolutions)
