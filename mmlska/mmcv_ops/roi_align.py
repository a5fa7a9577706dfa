"""RoIAlign in plain PyTorch, forward and backward."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .sampling import chunks, clamped_neighbours, full_precision, through_autograd, weighted_sums

#: mmcv's number for the maximum; 1 is the average.
MAX = 0
#: Samples for each pixel of the map from which on the average is a product of matrices.
CROWDED = 1 / 8
#: How far a RoI may reach and have samples, in pixels of the map: far beyond any map, and its samples can still be counted.
FARTHEST = 1e8
#: By how many pixels the place of a sample that far away may be wrong in float32.
_ROUNDING = 32


class _Bins(NamedTuple):
    """RoIs that have equally many samples in a bin."""

    rois: Tensor  # (n,) which of the RoIs
    images: Tensor  # (n,) the image of each
    y: Tensor  # (n, bins, samples) in pixels; of very many samples those near the map
    x: Tensor
    count: int  # of all samples in a bin


def roi_align(
    input: Tensor,
    rois: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Average, or take the maximum of, bilinear samples in the bins of regions.

    Args:
        input: (N, C, H, W), read by its strides: channels_last is as good as contiguous.
        rois: (R, 5): number of the image, then left, top, right, bottom in pixels of the image; computed in the dtype of the map. A region
            with NaN or with a place beyond 1e8 pixels has no samples.
        aligned_height: Bins of a region from top to bottom.
        aligned_width: Bins from left to right.
        spatial_scale: Pixels of the map for one of the image.
        sampling_ratio: Samples in a bin on each axis; 0 takes one for each pixel of the map that is begun.
        pool_mode: 0 for the maximum, 1 for the average.
        aligned: Whether pixels have their centre at half coordinates; without, a region has at least one pixel.

    Returns:
        (R, C, aligned_height, aligned_width); for the maximum also the vertical and the horizontal place of the sample, of the same shape,
        else two empty tensors. All are contiguous. A bin without samples (a region without area) is 0.

    Raises:
        ValueError: For an image that the batch does not have, for regions of a map without pixels, for no bins.

    Source: arXiv 1703.06870, section 3; ``aligned`` is detectron2's ROIAlignV2.

    Example:
        >>> image = torch.arange(16.0).view(1, 1, 4, 4)
        >>> roi_align(image, torch.tensor([[0, 0.0, 0, 4, 4]]), 2, 2, 1.0, 0, 1, True)[0]
        tensor([[[[ 2.5000,  4.5000], [10.5000, 12.5000]]]])
    """
    shape = (len(rois), input.shape[1], aligned_height, aligned_width)
    outputs = [input.new_zeros(shape)]
    if pool_mode == MAX:
        outputs += [torch.full_like(outputs[0], -2) for _ in 'yx']  # outside: no gradient goes there
    else:
        outputs += [input.new_zeros(0) for _ in 'yx']
    maps = full_precision(input)
    rois = rois_of(maps.shape, rois, (aligned_height, aligned_width)).to(maps.dtype)
    channels = input.shape[1] if pool_mode == MAX else 1
    for bins in _bins(
        rois, maps.shape, (aligned_height, aligned_width), spatial_scale, sampling_ratio, aligned, channels
    ):
        if pool_mode == MAX:
            for output, part in zip(outputs, _maximum(maps, bins)):
                output[bins.rois] = part.to(output.dtype)
        else:
            outputs[0][bins.rois] = _average(maps, bins).to(input.dtype)
    return tuple(outputs)


@through_autograd
def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    input_size: list[int],
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> Tensor:
    """The gradient of :func:`roi_align` with respect to its input; arguments as there.

    Args:
        grad_output: (R, C, aligned_height, aligned_width).
        argmax_y, argmax_x: What :func:`roi_align` returned.
        input_size: (N, C, H, W) of the input.

    Returns:
        (N, C, H, W).
    """
    gradient = full_precision(grad_output)
    rois = rois_of(input_size, rois, (aligned_height, aligned_width)).to(gradient.dtype)
    if pool_mode == MAX:
        return _scatter(gradient, rois, argmax_y, argmax_x, input_size).to(grad_output.dtype)
    total = gradient.new_zeros(input_size)
    # The operator is linear in its input, so that any input gives the gradient.
    maps = torch.zeros_like(total, requires_grad=True)
    for bins in _bins(rois, input_size, (aligned_height, aligned_width), spatial_scale, sampling_ratio, aligned, 1):
        with torch.enable_grad():
            out = _average(maps, bins)
        if out.requires_grad:
            total += torch.autograd.grad(out, maps, gradient[bins.rois])[0]
    return total.to(grad_output.dtype)


def rois_of(size: Sequence[int], rois: Tensor, bins: tuple[int, int]) -> Tensor:
    """The regions, if they can be those of maps of this size (N, C, H, W).

    Raises:
        ValueError: If one names an image that is not there, if the maps have no pixels, if there are no bins.
    """
    if min(bins) < 1:
        raise ValueError(f'aligned_height and aligned_width are {bins[0]} and {bins[1]}; they must be 1 or more')
    if len(rois) and not (size[2] and size[3]):
        raise ValueError(f'the map is empty (height {size[2]}, width {size[3]}) but there are {len(rois)} RoIs')
    wrong = ~((rois[:, 0] >= 0) & (rois[:, 0] < size[0]))  # NaN too
    if wrong.any():
        first = int(wrong.nonzero()[0])
        number = float(rois[first, 0])
        raise ValueError(f'rois[{first}] names image {number:g}; the batch has images 0 to {size[0] - 1}')
    return rois


def grid_sizes(rois: Tensor, scale: float, sides: Tensor, bins: int, sampling_ratio: int) -> Tensor:
    """Samples in a bin on one axis, for regions with these sides (R,) in pixels of the map. mmcv counts them in float32."""
    counts = (
        torch.full_like(sides, sampling_ratio) if sampling_ratio > 0 else (sides / bins).float().ceil().clamp(min=0)
    )
    somewhere = ((rois[:, 1:] * scale).abs() <= FARTHEST).all(1)
    return torch.where(somewhere, counts, 0).long()


def groups(*grids: Tensor) -> Iterator[tuple[Tensor, list[int]]]:
    """Regions with equal numbers of samples: their indices, and the numbers."""
    kinds, owners = torch.stack(grids, 1).unique(dim=0, return_inverse=True)
    for i, kind in enumerate(kinds.tolist()):
        yield (owners == i).nonzero()[:, 0], kind


def _bins(
    rois: Tensor,
    size: Sequence[int],
    bins: tuple[int, int],
    scale: float,
    sampling_ratio: int,
    aligned: bool,
    width: int,
) -> Iterator[_Bins]:
    """The samples of all regions, in parts of bounded size."""
    start = rois[:, 1:3] * scale - (0.5 if aligned else 0.0)
    sides = rois[:, 3:5] * scale - (0.5 if aligned else 0.0) - start
    sides = sides if aligned else sides.clamp(min=1)
    grids = [grid_sizes(rois, scale, sides[:, axis], bins[1 - axis], sampling_ratio) for axis in (1, 0)]
    for chosen, grid in groups(*grids):
        if 0 in grid:
            continue
        kept = [kept_samples(n, length, sampling_ratio) for n, length in zip(grid, size[2:])]
        for part in chunks(len(chosen), 4 * kept[0] * kept[1] * bins[0] * bins[1] * width):
            which = chosen[part]
            y, x = (
                places(start[which, axis], sides[which, axis], bins[i], grid[i], kept[i], -1.0)
                for i, axis in enumerate((1, 0))
            )
            yield _Bins(which, rois[which, 0].long(), y, x, grid[0] * grid[1])


def kept_samples(samples: int, length: float, sampling_ratio: int) -> int:
    """How many samples of a bin can lie on so many pixels and one more at each end; all where they are not counted by pixels."""
    return samples if sampling_ratio > 0 else min(samples, math.ceil(length) + 2 + 2 * _ROUNDING)


def places(start: Tensor, sides: Tensor, bins: int, samples: int, kept: int, low: Tensor | float) -> Tensor:
    """Where the samples of each bin lie on one axis: (n, bins, kept), from ``low`` on where not all are kept.

    Args:
        start: (n,), the lower end of each region.
        sides: (n,), its length.
        bins: Bins of a region.
        samples: Samples of a bin.
        kept: How many of them, so that a region of any size costs no more than the map.
        low: Where the map begins, less a pixel: one number, or (n, 1, 1).
    """
    side = (sides / bins)[:, None, None]
    number = torch.arange(bins, device=start.device, dtype=start.dtype)[:, None]
    within = torch.arange(kept, device=start.device, dtype=start.dtype) + 0.5
    origin = start[:, None, None] + number * side
    if kept < samples:
        before = (low - origin) / side * samples - _ROUNDING
        within = within + before.floor().clamp(0, samples - kept)
    return origin + within * side / samples


def _average(maps: Tensor, bins: _Bins) -> Tensor:
    """(n, C, bins, bins) of maps (N, C, H, W)."""
    (n, rows, samples_y), (_, columns, samples_x) = bins.y.shape, bins.x.shape
    channels, height, width = maps.shape[1:]
    (y, weight_y), (x, weight_x) = clamped_neighbours(bins.y, height), clamped_neighbours(bins.x, width)
    # Divided once, at the end, as in mmcv: whether a mask is at least 0.5 somewhere shall not hang on another rounding.
    if 4 * rows * samples_y * samples_x > height * width * CROWDED:
        # Samples as dense as the pixels: a matrix for each axis has less to do.
        by_row = maps.new_zeros(n, 1, rows, height).scatter_add_(3, y.flatten(2)[:, None], weight_y.flatten(2)[:, None])
        by_column = maps.new_zeros(n, 1, columns, width)
        by_column.scatter_add_(3, x.flatten(2)[:, None], weight_x.flatten(2)[:, None])
        parts = [
            by_row[part] @ maps[bins.images[part]] @ by_column[part].mT for part in chunks(n, channels * height * width)
        ]
        return torch.cat(parts) / bins.count
    pixel = _outer(y * width, x, torch.add) + (bins.images * height * width)[:, None, None, None]
    weight = _outer(weight_y, weight_x, torch.mul)
    table = maps.permute(0, 2, 3, 1).flatten(0, 2)
    out = weighted_sums(table, pixel.flatten(0, 2), weight.flatten(0, 2))
    return out.view(n, rows, columns, channels).permute(0, 3, 1, 2) / bins.count


def _maximum(maps: Tensor, bins: _Bins) -> tuple[Tensor, Tensor, Tensor]:
    (n, rows, samples_y), (_, columns, samples_x) = bins.y.shape, bins.x.shape
    channels, height, width = maps.shape[1:]
    (y, weight_y), (x, weight_x) = clamped_neighbours(bins.y, height), clamped_neighbours(bins.x, width)
    pixel = _outer(y * width, x, torch.add) + (bins.images * height * width)[:, None, None, None]
    weight = _outer(weight_y, weight_x, torch.mul)
    table = maps.permute(0, 2, 3, 1).flatten(0, 2)
    place_y, place_x = bins.y[:, None, :, None], bins.x[:, None, None]
    results = []
    for part in chunks(channels, pixel.numel()):
        rows_of_table = table[:, part][pixel] * weight[..., None]
        # The two neighbours of both axes lie apart in the last dimensions: samples_y, 2, samples_x, 2.
        values = rows_of_table.view(n, rows, columns, samples_y, 2, samples_x, 2, -1).sum((4, 6)).flatten(3, 4)
        best, index = (t.permute(0, 3, 1, 2) for t in values.max(3))
        y_of, x_of = (t.expand(*index.shape, -1) for t in (place_y, place_x))
        y_of = y_of.gather(4, (index // samples_x)[..., None])[..., 0]
        x_of = x_of.gather(4, (index % samples_x)[..., None])[..., 0]
        results.append((best, y_of, x_of))
    return tuple(torch.cat(parts, 1) for parts in zip(*results))


def _outer(y: Tensor, x: Tensor, combine: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """(n, rows, samples, 2) and (n, columns, samples, 2) to (n, rows, columns, samples * 2 * samples * 2)."""
    return combine(y.flatten(2)[:, :, None, :, None], x.flatten(2)[:, None, :, None, :]).flatten(3)


def _scatter(gradient: Tensor, rois: Tensor, y: Tensor, x: Tensor, input_size: list[int]) -> Tensor:
    """Give each gradient to the four pixels of the sample that was the maximum."""
    _, channels, height, width = input_size
    (y, weight_y), (x, weight_x) = (
        clamped_neighbours(place.to(gradient.dtype), size) for place, size in ((y, height), (x, width))
    )
    plane = rois[:, 0].long()[:, None] * channels + torch.arange(channels, device=rois.device)
    pixel = (plane[:, :, None, None, None, None] * height + y[..., :, None]) * width + x[..., None, :]
    share = gradient[..., None, None] * weight_y[..., :, None] * weight_x[..., None, :]
    total = gradient.new_zeros(input_size)
    return total.view(-1).index_add_(0, pixel.reshape(-1), share.reshape(-1)).view(input_size)
