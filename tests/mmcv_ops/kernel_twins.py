"""What the C++ kernels of mmlska.mmcv_ops compute, written down plainly: one box, one RoI, one query after the other.

The twins follow the definitions of the operators, in the dtype of their inputs; autograd differentiates them.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def overlap(a: list[float], b: list[float], offset: int = 0) -> float:
    """Intersection over union of two boxes (x1, y1, x2, y2)."""
    w = max(0.0, min(a[2], b[2]) - max(a[0], b[0]) + offset)
    h = max(0.0, min(a[3], b[3]) - max(a[1], b[1]) + offset)
    areas = [(box[2] - box[0] + offset) * (box[3] - box[1] + offset) for box in (a, b)]
    union = sum(areas) - w * h
    return w * h / union if union else math.nan


def nms(boxes: Tensor, scores: Tensor, threshold: float, offset: int) -> list[int]:
    """The best box stays, all that overlap it go, and so on."""
    box, left = boxes.tolist(), sorted(range(len(boxes)), key=lambda i: -scores[i].item())
    kept = []
    while left:
        best, *left = left
        kept.append(best)
        left = [i for i in left if not overlap(box[best], box[i], offset) > threshold]
    return kept


def softnms(
    boxes: Tensor, scores: Tensor, threshold: float, sigma: float, min_score: float, method: int, offset: int
) -> tuple[list[int], list[float]]:
    """Numbers and new scores. All scores differ, so it does not matter in which order the boxes wait."""
    box, score = boxes.tolist(), scores.tolist()
    left, kept, final = list(range(len(box))), [], []
    while left:
        best = max(left, key=lambda i: score[i])
        left.remove(best)
        kept.append(best)
        final.append(score[best])
        for i in left:
            iou = overlap(box[best], box[i], offset)
            linear = (0.0, 1 - iou)[method] if method < 2 and iou >= threshold else 1.0
            score[i] *= math.exp(-iou * iou / sigma) if method == 2 else linear
        left = [i for i in left if not score[i] < min_score]
    return kept, final


def bilinear(image: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """Values of an image (C, H, W) at positions of any shape: (C, *shape). More than half a pixel outside they are 0."""
    h, w = image.shape[1:]
    inside = (y >= -1) & (y <= h) & (x >= -1) & (x <= w)
    y, x = y.clamp(0, h - 1), x.clamp(0, w - 1)
    top, left = y.floor().long(), x.floor().long()
    bottom, right = (top + 1).clamp(max=h - 1), (left + 1).clamp(max=w - 1)
    ly, lx = y - top, x - left
    upper = image[:, top, left] * (1 - lx) + image[:, top, right] * lx
    lower = image[:, bottom, left] * (1 - lx) + image[:, bottom, right] * lx
    return (upper * (1 - ly) + lower * ly) * inside


def positions(roi: Tensor, size: tuple[int, int], scale: float, ratio: int, aligned: bool, clockwise: bool):
    """Of the samples of a RoI: y and x, both (bins_h, bins_w, samples_h, samples_w)."""
    offset = 0.5 if aligned else 0.0
    if len(roi) == 5:
        x1, y1, x2, y2 = (roi[1:] * scale - offset).unbind()
        w, h, angle = x2 - x1, y2 - y1, torch.zeros_like(x1)
    else:
        center_x, center_y = roi[1:3] * scale - offset
        w, h, angle = roi[3] * scale, roi[4] * scale, -roi[5] if clockwise else roi[5]
    if not aligned:
        w, h = w.clamp(min=1), h.clamp(min=1)
    if len(roi) == 5:
        center_x, center_y = x1 + w / 2, y1 + h / 2
    axes = []
    for length, bins in ((h, size[0]), (w, size[1])):
        grid = ratio if ratio > 0 else math.ceil(length / bins)
        steps = (torch.arange(bins * grid, dtype=roi.dtype) + 0.5) / max(bins * grid, 1) - 0.5
        axes.append((steps * length).view(bins, grid))
    along_y, along_x = axes[0][:, None, :, None], axes[1][None, :, None, :]
    y = along_y * angle.cos() - along_x * angle.sin() + center_y
    x = along_y * angle.sin() + along_x * angle.cos() + center_x
    return y, x


def roi_align(input: Tensor, rois: Tensor, size, scale, ratio, mode, aligned, clockwise=False) -> Tensor:
    """RoIAlign: mode 1 the average, 0 the maximum of the samples of each bin; rotated where RoIs have six columns."""
    out = [input.new_zeros(0, input.shape[1], *size)]
    for roi in rois:
        y, x = positions(roi, size, scale, ratio, aligned, clockwise)
        samples = bilinear(input[int(roi[0])], y, x).flatten(3)
        if not samples.shape[3]:
            out.append(input.new_zeros(1, input.shape[1], *size))
        else:
            out.append((samples.mean(3) if mode else samples.max(3).values)[None])
    return torch.cat(out)


def ms_deform_attn(value: Tensor, shapes: Tensor, starts: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
    """Sum over levels and points of weight times value, with PyTorch's own sampling; locations are 0 to 1 over a map."""
    batch, _, heads, channels = value.shape
    queries = locations.shape[1]
    total = value.new_zeros(batch, heads, channels, queries)
    for level, ((h, w), start) in enumerate(zip(shapes.tolist(), starts.tolist())):
        maps = value[:, start : start + h * w].permute(0, 2, 3, 1).reshape(batch * heads, channels, h, w)
        grid = locations[:, :, :, level].transpose(1, 2).flatten(0, 1) * 2 - 1
        samples = F.grid_sample(maps, grid, align_corners=False).view(batch, heads, channels, queries, -1)
        total = total + (samples * weights[:, :, :, level].transpose(1, 2)[:, :, None]).sum(-1)
    return total.permute(0, 3, 1, 2).flatten(2)


def corners(box: Tensor) -> Tensor:
    x, y, w, h, angle = box
    along = torch.stack([angle.cos(), angle.sin()]) * w / 2
    across = torch.stack([-angle.sin(), angle.cos()]) * h / 2
    center = torch.stack([x, y])
    return torch.stack([center + i * along + j * across for i, j in ((-1, -1), (1, -1), (1, 1), (-1, 1))])


def contains(box: Tensor, points: Tensor) -> Tensor:
    x, y, w, h, angle = box
    dx, dy = points[:, 0] - x, points[:, 1] - y
    along, across = dx * angle.cos() + dy * angle.sin(), dy * angle.cos() - dx * angle.sin()
    return (along.abs() <= w / 2 + 1e-9) & (across.abs() <= h / 2 + 1e-9)


def box_iou_rotated(a: Tensor, b: Tensor, mode: int = 0) -> float:
    """The intersection's corners are corners of one box inside the other, and crossings of sides. Of two boxes in float64."""
    pa, pb = corners(a), corners(b)
    found = [pa[contains(b, pa)], pb[contains(a, pb)]]
    for i in range(4):
        for j in range(4):
            side, other = pa[(i + 1) % 4] - pa[i], pb[(j + 1) % 4] - pb[j]
            system = torch.stack([side, -other], 1)
            if abs(torch.linalg.det(system)) > 1e-12:
                t = torch.linalg.solve(system, pb[j] - pa[i])
                if ((t >= 0) & (t <= 1)).all():
                    found.append((pa[i] + t[0] * side)[None])
    points = torch.cat(found)
    area = 0.0
    if len(points) > 2:
        around = points - points.mean(0)
        p = around[torch.atan2(around[:, 1], around[:, 0]).argsort()]
        q = p.roll(-1, 0)
        area = abs((p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0]).sum().item()) / 2
    first, second = (a[2] * a[3]).item(), (b[2] * b[3]).item()
    return area / (first if mode else first + second - area)
