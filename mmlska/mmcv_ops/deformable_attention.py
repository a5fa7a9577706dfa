"""Multi-scale deformable attention in plain PyTorch, forward and backward."""

from __future__ import annotations

import torch
from torch import Tensor

from .sampling import chunks, full_precision, through_autograd, weighted_sums


def ms_deform_attn(
    value: Tensor,
    spatial_shapes: Tensor,
    level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
) -> Tensor:
    """Weighted sums of bilinear samples of several maps.

    Args:
        value: (N, S, heads, D): the pixels of all maps, one map after the other.
        spatial_shapes: (levels, 2), height and width of each map.
        level_start_index: (levels,), the place of each map's first pixel.
        sampling_locations: (N, Q, heads, levels, points, 2) as x and y, from 0 to 1 over the map; pixels outside are 0.
        attention_weights: (N, Q, heads, levels, points).

    Returns:
        (N, Q, heads * D).

    Raises:
        ValueError: If a map has more pixels than ``value``.

    Source: arXiv 2010.04159, equation 3.

    Example:
        >>> value = torch.tensor([1.0, 2, 3, 4]).view(1, 4, 1, 1)
        >>> places = torch.tensor([0.5, 0.25]).view(1, 1, 1, 1, 1, 2)
        >>> ms_deform_attn(value, torch.tensor([[2, 2]]), torch.tensor([0]), places, torch.ones(1, 1, 1, 1, 1))
        tensor([[[1.5000]]])
    """
    _check_maps(value, spatial_shapes, level_start_index)
    wide = full_precision(value).dtype
    full = [t.to(wide) for t in (value, sampling_locations, attention_weights)]
    output = full[0].new_zeros(value.shape[0], sampling_locations.shape[1], *value.shape[2:])
    for part in _parts(sampling_locations):
        output[:, part] = _attend(full[0], spatial_shapes, level_start_index, full[1][:, part], full[2][:, part])
    return output.flatten(2).to(value.dtype)


@through_autograd
def ms_deform_attn_backward(
    grad_output: Tensor,
    value: Tensor,
    spatial_shapes: Tensor,
    level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of :func:`ms_deform_attn` with respect to values, locations and weights.

    Args:
        grad_output: (N, Q, heads * D). The other arguments are those of :func:`ms_deform_attn`.
    """
    _check_maps(value, spatial_shapes, level_start_index)
    wide = full_precision(value).dtype
    full = [t.to(wide).detach().requires_grad_() for t in (value, sampling_locations, attention_weights)]
    gradient = grad_output.to(wide).reshape(*grad_output.shape[:2], *value.shape[2:])
    totals = [t.new_zeros(t.shape) for t in full]
    for part in _parts(sampling_locations):
        with torch.enable_grad():
            inputs = [full[0], full[1][:, part], full[2][:, part]]
            out = _attend(inputs[0], spatial_shapes, level_start_index, *inputs[1:])
        if not out.requires_grad:  # no points, or no channels
            break
        of_value, of_locations, of_weights = torch.autograd.grad(out, inputs, gradient[:, part])
        totals[0] += of_value
        totals[1][:, part], totals[2][:, part] = of_locations, of_weights
    return tuple(t.to(x.dtype) for t, x in zip(totals, (value, sampling_locations, attention_weights)))


def _check_maps(value: Tensor, shapes: Tensor, starts: Tensor) -> None:
    """Pixels that are not there would be those of the next image."""
    pixels = value.shape[1]
    for level, ((height, width), start) in enumerate(zip(shapes.tolist(), starts.tolist())):
        if min(height, width, start) < 0 or start + height * width > pixels:
            raise ValueError(
                f'level {level} is a map of {height} x {width} from key {start} on; value has {pixels} keys'
            )


def _parts(locations: Tensor):
    images, queries, heads, levels, points, _ = locations.shape
    return chunks(queries, 4 * images * heads * levels * points)


def _attend(value: Tensor, shapes: Tensor, starts: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
    """(N, Q, heads, D)"""
    images, pixels, heads, width = value.shape
    sizes = shapes.flip(1)[:, None]  # (levels, 1, 2) as x and y
    places = locations * sizes - 0.5
    low = places.detach().floor()
    share = places - low
    # (N, Q, heads, levels, points, 2 neighbours, xy)
    neighbours = torch.stack([low, low + 1], -2)
    share = torch.stack([1 - share, share], -2)
    inside = (neighbours >= 0) & (neighbours < sizes[:, :, None])
    share = torch.where(inside, share, 0)  # of a place that is NaN too
    neighbours = torch.where(inside, neighbours, 0).long()
    x, y = neighbours.unbind(-1)
    rows = y[..., :, None] * sizes[:, :, :1, None] + x[..., None, :] + starts[:, None, None, None]
    weight = weights[..., None, None] * share[..., :, None, 1] * share[..., None, :, 0]
    image = torch.arange(images, device=value.device).view(-1, 1, 1, 1, 1, 1, 1) * pixels
    head = torch.arange(heads, device=value.device).view(-1, 1, 1, 1, 1)
    entries = (image + rows) * heads + head
    out = weighted_sums(value.flatten(0, 2), entries.flatten(3).flatten(0, 2), weight.flatten(3).flatten(0, 2))
    return out.view(images, locations.shape[1], heads, width)
