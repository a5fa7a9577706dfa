"""Rotated boxes in plain PyTorch: their overlap, non-maximum suppression, RoIAlign.

A box is (centre x, centre y, width, height, angle): pixels and radians, the angle from the x axis to the y axis, which points down.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .nms import greedy
from .roi_align import grid_sizes, groups, kept_samples, places, rois_of
from .sampling import chunks, clamped_neighbours, full_precision, through_autograd, weighted_sums

_PAIRS = 2**18  # pairs of boxes at once: about 300 MB


def box_iou_rotated(boxes1: Tensor, boxes2: Tensor, mode_flag: int = 0, aligned: bool = False) -> Tensor:
    """Overlap of rotated boxes.

    Args:
        boxes1: (N, 5).
        boxes2: (M, 5).
        mode_flag: 0 divides the shared area by that of both together, 1 by that of the first box.
        aligned: Compare each box of the first with the same one of the second only (N = M).

    Returns:
        (N, M), or (N,) where ``aligned``; 0 for a box without area.

    Example:
        >>> box = torch.tensor([[0.0, 0, 4, 2, 0]])
        >>> box_iou_rotated(box, torch.tensor([[0.0, 0, 2, 4, 0], [0, 0, 4, 2, torch.pi / 2]]))
        tensor([[0.3333, 0.3333]])
    """
    first = full_precision(boxes1)
    second = boxes2.to(first.dtype)
    if aligned:
        pairs = first, second
    else:
        pairs = first.repeat_interleave(len(second), 0), second.repeat(len(first), 1)
    parts = [_overlap(pairs[0][part], pairs[1][part], mode_flag) for part in chunks(len(pairs[0]), 1, _PAIRS)]
    overlap = torch.cat(parts) if parts else pairs[0].new_zeros(0)
    return overlap.view(len(first) if aligned else (len(first), len(second))).to(boxes1.dtype)


def nms_rotated(dets: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Greedy non-maximum suppression of rotated boxes.

    Args:
        dets: (N, 5).
        scores: (N,).
        iou_threshold: Of two boxes that overlap by as much or more, the one of lower score is dropped.

    Returns:
        The indices of the boxes that stay, highest score first.

    Example:
        >>> boxes = torch.tensor([[5.0, 5, 4, 2, 0.3], [5, 5, 4, 2, 0.4], [5, 5, 2, 4, 0.3]])
        >>> nms_rotated(boxes, torch.tensor([0.5, 0.6, 0.7]), 0.5)
        tensor([2, 1])
    """
    order = scores.argsort(descending=True, stable=True)
    dets = dets[order]
    return order[greedy(len(dets), lambda a, b: box_iou_rotated(dets[a], dets[b]) >= iou_threshold, dets.device)]


def roi_align_rotated(
    input: Tensor,
    rois: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
    clockwise: bool,
) -> Tensor:
    """Average bilinear samples in the bins of rotated regions.

    Args:
        rois: (R, 6): number of the image, then a rotated box in pixels of the image.
        clockwise: Whether a positive angle turns clockwise in the picture; mmcv's convention makes the other the default.

    The other arguments and the result are those of :func:`mmlska.mmcv_ops.roi_align.roi_align`.

    Source: detectron2's ROIAlignRotated, as documented by mmcv.ops.RoIAlignRotated.

    Example:
        >>> image = torch.arange(16.0).view(1, 1, 4, 4)
        >>> roi = torch.tensor([[0, 2.0, 2, 4, 4, torch.pi / 2]])
        >>> roi_align_rotated(image, roi, 2, 2, 1.0, 2, True, True)
        tensor([[[[ 4.5000, 12.5000], [ 2.5000, 10.5000]]]])
    """
    maps = full_precision(input)
    rois = rois_of(maps.shape, rois, (aligned_height, aligned_width)).to(maps.dtype)
    output = maps.new_zeros(len(rois), input.shape[1], aligned_height, aligned_width)
    for chosen, pixel, weight in _samples(
        rois, input.shape, (aligned_height, aligned_width), spatial_scale, sampling_ratio, aligned, clockwise
    ):
        output[chosen] = _sums(maps, pixel, weight)
    return output.to(input.dtype)


@through_autograd
def roi_align_rotated_backward(
    grad_output: Tensor,
    rois: Tensor,
    input_size: list[int],
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
    clockwise: bool,
) -> Tensor:
    """The gradient of :func:`roi_align_rotated` with respect to its input, (N, C, H, W)."""
    gradient = full_precision(grad_output)
    rois = rois_of(input_size, rois, (aligned_height, aligned_width)).to(gradient.dtype)
    total = gradient.new_zeros(input_size)
    maps = torch.zeros_like(total, requires_grad=True)  # the operator is linear: any input gives the gradient
    for chosen, pixel, weight in _samples(
        rois, input_size, (aligned_height, aligned_width), spatial_scale, sampling_ratio, aligned, clockwise
    ):
        with torch.enable_grad():
            out = _sums(maps, pixel, weight)
        if out.requires_grad:
            total += torch.autograd.grad(out, maps, gradient[chosen])[0]
    return total.to(grad_output.dtype)


def _overlap(first: Tensor, second: Tensor, mode_flag: int) -> Tensor:
    """(P, 5) and (P, 5) to (P,).

    Seen from the second box, whose sides are x = +-w/2 and y = +-h/2, every point of the first one's outline is moved to the nearest point
    of the second box. The outline then encloses what both share: what lies outside has been folded onto the sides, where it encloses no
    area. An edge stays straight between the four places where it crosses the lines of the sides. No case is special, neither equal boxes
    nor parallel edges.
    """
    shift, turn = first[:, :2] - second[:, :2], first[:, 4] - second[:, 4]
    cos, sin = second[:, 4].cos(), second[:, 4].sin()
    centre = torch.stack([shift[:, 0] * cos + shift[:, 1] * sin, shift[:, 1] * cos - shift[:, 0] * sin], 1)
    along = torch.stack([turn.cos(), turn.sin()], 1) * first[:, 2:3] / 2
    across = torch.stack([-turn.sin(), turn.cos()], 1) * first[:, 3:4] / 2
    corners = torch.stack(
        [centre - along - across, centre + along - across, centre + along + across, centre - along + across], 1
    )
    edges = corners.roll(-1, 1) - corners  # (P, 4, 2)
    limit = second[:, None, 2:4].abs() / 2
    crossings = torch.cat([(limit - corners) / edges, (-limit - corners) / edges], 2)
    # An edge along a side divides by zero and never crosses it; the ends are 0 and 1.
    ends = torch.zeros_like(crossings[..., :1])
    stops = torch.cat([ends, crossings.nan_to_num(0).clamp(0, 1).sort(2).values, ends + 1], 2)
    points = corners[:, :, None] + stops[..., None] * edges[:, :, None]  # (P, 4, 6, 2)
    points = torch.minimum(torch.maximum(points, -limit[:, :, None]), limit[:, :, None])
    start, end = points[:, :, :-1], points[:, :, 1:]
    twice = (start[..., 0] * end[..., 1] - start[..., 1] * end[..., 0]).sum((1, 2))
    areas = first[:, 2] * first[:, 3], second[:, 2] * second[:, 3]
    shared = (twice / 2).clamp(min=0)
    base = areas[0] if mode_flag == 1 else areas[0] + areas[1] - shared
    without_area = torch.minimum(*areas) < 1e-14
    return (shared / base).masked_fill(without_area, 0)


def _samples(rois, size, bins, scale, sampling_ratio, aligned, clockwise):
    """Regions, and for each of their bins the pixels (n, rows, columns, K) that it averages, with their weights."""
    _, _, height, width = size
    centre = rois[:, 1:3] * scale - (0.5 if aligned else 0.0)
    sides = rois[:, 3:5] * scale
    sides = sides if aligned else sides.clamp(min=1)
    angle = rois[:, 5] if clockwise else -rois[:, 5]
    grids = [grid_sizes(rois, scale, sides[:, axis], bins[1 - axis], sampling_ratio) for axis in (1, 0)]
    diagonal = math.hypot(height, width)
    for chosen, grid in groups(*grids):
        if 0 in grid:
            continue
        kept = [kept_samples(n, diagonal, sampling_ratio) for n in grid]
        for part in chunks(len(chosen), 4 * kept[0] * kept[1] * bins[0] * bins[1]):
            which = chosen[part]
            cos, sin = angle[which].cos(), angle[which].sin()
            # The middle of the map as the region sees it, from its own centre.
            y, x = (height - 1) / 2 - centre[which, 1], (width - 1) / 2 - centre[which, 0]
            lows = (t[:, None, None] - diagonal / 2 - 1 for t in (y * cos - x * sin, y * sin + x * cos))
            offsets = (
                places(-side / 2, side, bins[i], grid[i], kept[i], low).flatten(1)
                for i, (side, low) in enumerate(zip((sides[which, 1], sides[which, 0]), lows))
            )
            down, right = (t.unsqueeze(2 - i) for i, t in enumerate(offsets))
            cos, sin = cos[:, None, None], sin[:, None, None]
            y = down * cos + right * sin + centre[which, 1, None, None]
            x = right * cos - down * sin + centre[which, 0, None, None]
            (row, weight_y), (column, weight_x) = clamped_neighbours(y, height), clamped_neighbours(x, width)
            image = rois[which, 0].long()[:, None, None, None, None] * height * width
            pixel = image + row[..., :, None] * width + column[..., None, :]
            weight = weight_y[..., :, None] * weight_x[..., None, :] / (grid[0] * grid[1])
            yield which, *(_by_bin(t, bins, kept) for t in (pixel, weight))


def _by_bin(entries: Tensor, bins: tuple[int, int], grid: list[int]) -> Tensor:
    """(n, rows * samples, columns * samples, 2, 2) to (n, rows, columns, K)."""
    apart = entries.view(len(entries), bins[0], grid[0], bins[1], grid[1], 4)
    return apart.permute(0, 1, 3, 2, 4, 5).flatten(3)


def _sums(maps: Tensor, pixel: Tensor, weight: Tensor) -> Tensor:
    n, rows, columns, _ = pixel.shape
    table = maps.permute(0, 2, 3, 1).flatten(0, 2)
    out = weighted_sums(table, pixel.flatten(0, 2), weight.flatten(0, 2))
    return out.view(n, rows, columns, maps.shape[1]).permute(0, 3, 1, 2)
