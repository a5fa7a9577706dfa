"""Making weights fit a model that differs from theirs in one respect; each way only on request, and each says what it did."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from .layouts import WeightsError, grouped

_STEM = 'patch_embed1.projection.weight'
_DEPTHWISE = re.compile(r'(.+\.spatial_gating_unit\.DW_\w+)\.weight')
_SQUARE = re.compile(r'(.+\.spatial_gating_unit\.(?:DW_conv|DW_D_conv))\.weight')


def adapt_weights(
    tensors: Mapping[str, Tensor], model: Mapping[str, Tensor], adapt: Sequence[str]
) -> tuple[dict[str, Tensor], list[str]]:
    """Make a converted state dict fit a model, in the ways that are allowed.

    - 'rank1': LKA's 2-D kernels become LSKA's pairs of 1-D kernels by their best rank-1 approximation (singular value
      decomposition). Where a kernel has rank 1, the result is the same function, borders included.
    - 'k_size': depthwise convolutions of another size keep the model's initial values; everything else is taken.
    - 'in_channels': the first convolution is made for another number of image channels. With fewer, each gets the mean of the
      kernels; with more, the kernels are repeated in turn; both times old / new. So an image of equal channels gives the same
      result with fewer channels or a multiple.

    Args:
        tensors: A state dict by our names.
        model: The model's own state dict.
        adapt: What is allowed, among the keys of :data:`ADAPTATIONS`.

    Returns:
        The state dict, and a sentence for each thing that was done.

    Raises:
        WeightsError: If ``adapt`` has an unknown name.
    """
    unknown = [name for name in adapt if name not in ADAPTATIONS]
    if unknown:
        raise WeightsError(f'adapt={unknown[0]!r} is unknown; choose among {", ".join(map(repr, ADAPTATIONS))}')
    tensors, notes = dict(tensors), []
    for name, function in ADAPTATIONS.items():
        if name in adapt:
            notes.append(function(tensors, model) or f'adapt={name!r} was not needed')
    return tensors, notes


def rank1(kernel: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The best separable approximation of each 2-D kernel.

    Args:
        kernel: (C, 1, K, L).

    Returns:
        The vertical kernels (C, 1, K, 1), the horizontal ones (C, 1, 1, L), and for each kernel the share of the squared
        singular values that the approximation keeps, (C,), 1 for kernels of rank 1.

    Example:
        >>> vertical, horizontal, energy = rank1(torch.ones(1, 1, 5, 5))
        >>> torch.allclose(vertical @ horizontal, torch.ones(1, 1, 5, 5)), round(energy.item(), 6)
        (True, 1.0)
    """
    u, s, vh = torch.linalg.svd(kernel.double(), full_matrices=False)
    scale = s[..., :1, None].sqrt()
    squares = s.square().sum(-1)[:, 0]
    energy = torch.where(squares > 0, s[:, 0, 0].square() / squares.clamp_min(torch.finfo(s.dtype).tiny), 1.0)
    return (u[..., :1] * scale).to(kernel.dtype), (vh[..., :1, :] * scale).to(kernel.dtype), energy


def _to_rank1(tensors: dict[str, Tensor], model: Mapping[str, Tensor]) -> str:
    kept = total = 0.0
    lowest, count = (1.0, ''), 0
    for name in list(tensors):
        found = _SQUARE.fullmatch(name)
        if not found or tensors[name].dim() != 4 or f'{found[1]}_h.weight' not in model:
            continue
        base, kernel = found[1], tensors.pop(name)
        vertical, horizontal, energy = rank1(kernel)
        tensors[f'{base}_h.weight'], tensors[f'{base}_v.weight'] = horizontal, vertical
        if f'{base}.bias' in tensors:
            # A bias before the vertical convolution would be missing where that one sees padding; after it, it is exact.
            tensors[f'{base}_v.bias'] = tensors.pop(f'{base}.bias')
            tensors[f'{base}_h.bias'] = torch.zeros_like(tensors[f'{base}_v.bias'])
        power = kernel.double().square().sum((1, 2, 3))
        kept, total, count = kept + float((energy * power).sum()), total + float(power.sum()), count + 1
        lowest = min(lowest, (float((energy * power).sum() / power.sum().clamp_min(1e-300)), base))
    if not count:
        return ''
    return (
        f'rank1: {count} depthwise convolutions of LKA made separable; {kept / total if total else 1:.1%} of the squared '
        f'singular values kept (lowest {lowest[0]:.1%}{", " + lowest[1] if lowest[1] else ""})'
    )


def _to_k_size(tensors: dict[str, Tensor], model: Mapping[str, Tensor]) -> str:
    fresh = []
    for name, tensor in model.items():
        found = _DEPTHWISE.fullmatch(name)
        given, wanted = tensors.get(name, tensor).shape, tensor.shape
        if found and given[2:] != wanted[2:] and given[:2] == wanted[:2]:
            # A bias that was learnt with other weights means nothing.
            fresh += [own for own in (name, f'{found[1]}.bias') if own in model]
    tensors.update({name: model[name] for name in fresh})
    if not fresh:
        return ''
    return f'k_size: {len(fresh)} tensors of depthwise convolutions keep their initial values: {grouped(fresh)}'


def _to_in_channels(tensors: dict[str, Tensor], model: Mapping[str, Tensor]) -> str:
    if _STEM not in tensors or _STEM not in model or tensors[_STEM].dim() != 4:
        return ''
    kernel, new = tensors[_STEM], model[_STEM].shape[1]
    old = kernel.shape[1]
    if old == new:
        return ''
    if new < old:
        rule, kernel = 'mean of the kernels', kernel.mean(1, keepdim=True).repeat(1, new, 1, 1)
    else:
        rule, kernel = 'kernels repeated in turn', kernel.repeat(1, -(-new // old), 1, 1)[:, :new]
    tensors[_STEM] = kernel * (old / new)
    return f'in_channels: first convolution made from {old} for {new} channels: {rule}, times {old}/{new}'


#: The ways, in the order in which they are applied.
ADAPTATIONS = {'rank1': _to_rank1, 'k_size': _to_k_size, 'in_channels': _to_in_channels}
