"""Non-maximum suppression in plain PyTorch: greedy, soft, and in groups."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .sampling import chunks, full_precision

#: Boxes that are decided on together; the memory that is needed is this times the number of all boxes.
BLOCK = 512


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int = 0) -> Tensor:
    """Greedy non-maximum suppression.

    Args:
        boxes: (N, 4) as left, top, right, bottom in pixels.
        scores: (N,). Of equal scores the first counts as the higher.
        iou_threshold: Of two boxes that overlap by more, the one of lower score is dropped.
        offset: 1 where the right and bottom pixel belong to the box, else 0.

    Returns:
        The indices of the boxes that stay, highest score first.

    Example:
        >>> boxes = torch.tensor([[0.0, 0, 10, 10], [1, 1, 11, 11], [20, 20, 30, 30]])
        >>> nms(boxes, torch.tensor([0.8, 0.9, 0.1]), 0.5)
        tensor([1, 2])
    """
    order = scores.argsort(descending=True, stable=True)
    boxes = full_precision(boxes)[order]
    return order[greedy(len(boxes), lambda a, b: _iou(boxes[a], boxes[b], offset) > iou_threshold, boxes.device)]


def greedy(count: int, overlap: Callable[[Tensor, Tensor], Tensor], device: torch.device) -> Tensor:
    """Keep each thing that no kept one before it overlaps.

    Whole blocks are decided at once: what no earlier one overlaps stays, what a staying one overlaps goes, until nothing changes. The order
    makes the result unique, and that of the greedy loop.

    Args:
        count: Number of things, in order.
        overlap: For indices (A,) and (B,), whether each pair overlaps: bool (A, B).
        device: Where the indices are.

    Returns:
        The indices of what stays, rising.
    """
    alive = torch.ones(count, dtype=torch.bool, device=device)
    for start in range(0, count, BLOCK):
        block = start + alive[start : start + BLOCK].nonzero()[:, 0]
        hits = overlap(block, block).triu(1)
        keep, before = torch.ones_like(block, dtype=torch.bool), None
        while before is None or not torch.equal(keep, before):
            keep, before = ~(hits & keep[:, None]).any(0), keep
        alive[block] = keep
        later = start + BLOCK + alive[start + BLOCK :].nonzero()[:, 0]
        alive[later] = ~overlap(block[keep], later).any(0)
    return alive.nonzero()[:, 0]


def nms_match(dets: Tensor, iou_threshold: float) -> list[list[int]]:
    """Group boxes: each kept one, then those that it suppresses, by falling score.

    Args:
        dets: (N, 5), boxes with their scores.
        iou_threshold: Boxes that overlap by as much or more belong together.

    Example:
        >>> nms_match(torch.tensor([[0.0, 0, 10, 10, 0.8], [1, 1, 11, 11, 0.9], [20, 20, 30, 30, 0.1]]), 0.5)
        [[1, 0], [2]]
    """
    order = dets[:, 4].argsort(descending=True, stable=True)
    boxes = full_precision(dets[:, :4])[order]

    def overlap(a: Tensor, b: Tensor) -> Tensor:
        return _iou(boxes[a], boxes[b], 0) >= iou_threshold

    kept = greedy(len(boxes), overlap, boxes.device)
    groups = {int(k): [int(order[k])] for k in kept}
    dropped = torch.ones(len(boxes), dtype=torch.bool, device=boxes.device).index_fill_(0, kept, False).nonzero()[:, 0]
    for part in chunks(len(dropped), 1, BLOCK):
        block = dropped[part]
        # The first kept box that overlaps a dropped one has taken it.
        owners = kept[(overlap(kept, block) & (kept[:, None] < block)).byte().argmax(0)]
        for owner, box in zip(owners.tolist(), order[block].tolist()):
            groups[owner].append(box)
    return list(groups.values())


def softnms(
    boxes: Tensor, scores: Tensor, iou_threshold: float, sigma: float, min_score: float, method: int, offset: int
) -> tuple[Tensor, Tensor]:
    """Soft non-maximum suppression: lower the scores of boxes that overlap a better one.

    Args:
        boxes: (N, 4) as left, top, right, bottom in pixels.
        scores: (N,).
        iou_threshold: From which overlap on a score is lowered, for methods 0 and 1.
        sigma: Width of the Gaussian of method 2.
        min_score: A box whose score falls below is dropped.
        method: 0 drops (factor 0), 1 multiplies by 1 - IoU, 2 by exp(-IoU^2 / sigma).
        offset: 1 where the right and bottom pixel belong to the box, else 0.

    Returns:
        Boxes with their new scores (K, 5), in the order in which they were chosen, and their indices (K,).

    Source: arXiv 1704.04503. Which of equal scores comes first follows from mmcv's order of work: the box that is chosen changes places
    with the first, and the last box takes the place of one that is dropped.

    Example:
        >>> boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10], [20, 20, 30, 30]])
        >>> dets, index = softnms(boxes, torch.tensor([0.8, 0.9, 0.1]), 0.5, 0.5, 0.05, 1, 0)
        >>> index, dets[:, 4]
        (tensor([1, 2]), tensor([0.9000, 0.1000]))
    """
    wide = full_precision(boxes)
    dets = torch.cat([wide, scores[:, None].to(wide.dtype)], 1)
    index = torch.arange(len(dets), device=dets.device)
    first = 0
    while first < len(dets):
        best = first + int(dets[first:, 4].argmax())
        swap = torch.tensor([best, first], device=dets.device)
        dets[[first, best]], index[[first, best]] = dets[swap], index[swap]
        rest = dets[first + 1 :]
        iou = _iou(dets[first : first + 1, :4], rest[:, :4], offset)[0]
        if method == 2:
            rest[:, 4] *= (-iou.square() / sigma).exp()
        else:
            rest[:, 4] *= torch.where(iou >= iou_threshold, 1 - iou if method == 1 else torch.zeros_like(iou), 1)
        places = _without(rest[:, 4] < min_score) + first + 1
        dets = torch.cat([dets[: first + 1], dets[places]])
        index = torch.cat([index[: first + 1], index[places]])
        first += 1
    return dets.to(boxes.dtype), index


def _without(dropped: Tensor) -> Tensor:
    """The places that stay; the holes are filled from the end."""
    count = int((~dropped).sum())
    places = torch.arange(count, device=dropped.device)
    places[dropped[:count]] = count + (~dropped[count:]).nonzero()[:, 0].flip(0)
    return places


def _iou(a: Tensor, b: Tensor, offset: int) -> Tensor:
    """(A, B); NaN for two boxes without area."""
    corner = torch.maximum(a[:, None, :2], b[:, :2])
    sides = (torch.minimum(a[:, None, 2:], b[:, 2:]) - corner + offset).clamp(min=0)
    shared = sides[..., 0] * sides[..., 1]
    areas = [(x[:, 2] - x[:, 0] + offset) * (x[:, 3] - x[:, 1] + offset) for x in (a, b)]
    return shared / (areas[0][:, None] + areas[1] - shared)
