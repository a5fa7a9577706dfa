"""Small inputs for every operator of mmcv that has a stand-in, made from a seed, and how mmcv's public functions are called with them.

``record.py`` runs the cases with compiled mmcv and keeps the results; the tests run them with the stand-ins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

import mmlska  # noqa: F401, without compiled operators mmcv.ops cannot be imported before

ops = pytest.importorskip('mmcv.ops')


class Case(NamedTuple):
    """A call of a public function of mmcv; ``run`` returns its tensors, gradients included."""

    name: str
    run: Callable[[], list[Tensor]]


def boxes(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Boxes (N, 4) of which many overlap, some are equal, and scores.

    No two scores are equal: which of them comes first is not settled in compiled mmcv, whose sorting differs from processor to processor.
    """
    random = np.random.RandomState(seed)
    corner, side = random.rand(count, 2) * 40, random.rand(count, 2) * 20
    found = np.concatenate([corner, corner + side], 1)
    found[3], found[5] = found[1], found[4][[0, 1, 0, 1]]  # equal ones, one without area
    return torch.tensor(found, dtype=torch.float32), torch.tensor(
        (random.permutation(count) + 1) / count, dtype=torch.float32
    )


def rotated_boxes(count: int, seed: int) -> Tensor:
    """(N, 5); many overlap, some touch or are equal, some have parallel sides."""
    random = np.random.RandomState(seed)
    found = np.concatenate(
        [random.rand(count, 2) * 20, 2 + random.rand(count, 2) * 10, random.rand(count, 1) * 7 - 3.5], 1
    )
    found[1] = found[0]
    found[2] = found[0] + [found[0, 2] / 4, 0, 0, 0, 0]
    found[3, 4], found[4, 4] = 0, np.pi / 2
    found[5] = [found[3, 0] + found[3, 2] / 2 + 2, found[3, 1], 4, found[3, 3], 0]  # touches number 3
    return torch.tensor(found, dtype=torch.float32)


def feature_map(dtype: torch.dtype = torch.float32) -> Tensor:
    """(2, 3, 9, 11)"""
    return torch.tensor(np.random.RandomState(7).randn(2, 3, 9, 11), dtype=dtype)


def regions(dtype: torch.dtype = torch.float32) -> Tensor:
    """(7, 5) in pixels of an image of 18 x 22: inside, over the border, outside, small, on pixels, without area, the whole."""
    found = [
        [0, 2.3, 3.1, 14.7, 11.9],
        [1, -6.0, -4.5, 9.0, 30.0],
        [1, 30.0, 40.0, 50.0, 60.0],
        [0, 7.2, 7.4, 7.9, 8.0],
        [0, 4.0, 4.0, 16.0, 12.0],
        [1, 5.0, 6.0, 5.0, 9.0],
        [1, 0.0, 0.0, 22.0, 18.0],
    ]
    return torch.tensor(found, dtype=dtype)


def rotated_regions() -> Tensor:
    """(6, 6)"""
    found = [
        [0, 9.0, 8.0, 10.0, 6.0, 0.4],
        [1, 2.0, 3.0, 12.0, 9.0, -1.2],
        [1, 50.0, 50.0, 10.0, 10.0, 0.3],
        [0, 10.0, 9.0, 0.5, 0.4, 2.0],
        [0, 11.0, 9.0, 22.0, 18.0, 0.0],
        [1, 11.0, 9.0, 0.0, 5.0, 0.7],
    ]
    return torch.tensor(found)


def with_gradient(function: Callable[[Tensor], Tensor], x: Tensor) -> list[Tensor]:
    """The output, and the gradient with respect to x for a fixed gradient of the output."""
    x = x.clone().requires_grad_()
    out = function(x)
    slope = torch.linspace(-1, 1, out.numel()).view(out.shape).to(out)
    return [out.detach(), torch.autograd.grad(out, x, slope)[0]]


def nms_cases() -> Iterator[Case]:
    for count, threshold, offset in product((60, 700), (0.3, 0.6), (0, 1)):
        b, s = boxes(count, count)
        yield Case(
            f'nms-{count}-{threshold}-{offset}', lambda b=b, s=s, t=threshold, o=offset: [ops.nms(b, s, t, offset=o)[1]]
        )
    b, s = boxes(60, 1)
    groups = torch.arange(60) % 3
    config = dict(type='nms', iou_threshold=0.5)
    yield Case('batched_nms', lambda: list(ops.batched_nms(b, s, groups, config)))
    ties = (s * 12).ceil() / 12  # nothing is sorted here
    for method, offset in product(('naive', 'linear', 'gaussian'), (0, 1)):
        name = f'soft_nms-{method}-{offset}'
        yield Case(name, lambda m=method, o=offset: list(ops.soft_nms(b, ties, 0.3, 0.5, 0.05, m, o)))
    for threshold in (0.3, 0.7):
        dets = torch.cat([b, s[:, None]], 1)
        yield Case(
            f'nms_match-{threshold}',
            lambda d=dets, t=threshold: [
                torch.tensor([len(g) for g in ops.nms_match(d, t)]),
                torch.cat(ops.nms_match(d, t)),
            ],
        )


def roi_align_cases() -> Iterator[Case]:
    for ratio, aligned, mode in product((0, 1, 3), (True, False), ('avg', 'max')):
        rois = regions()
        if mode == 'max':  # where a bin has no samples compiled mmcv gives -10000
            rois = rois[[0, 1, 2, 3, 4, 6]]
        layer = ops.RoIAlign((3, 2), 0.5, ratio, mode, aligned)
        yield Case(
            f'roi_align-{ratio}-{aligned}-{mode}',
            lambda f=layer, r=rois: with_gradient(lambda x: f(x, r), feature_map()),
        )


def rotated_cases() -> Iterator[Case]:
    a, b = rotated_boxes(12, 3), rotated_boxes(9, 4)
    b[0] = a[0]
    for mode, clockwise in product(('iou', 'iof'), (True, False)):
        yield Case(
            f'box_iou_rotated-{mode}-{clockwise}', lambda m=mode, c=clockwise: [ops.box_iou_rotated(a, b, m, False, c)]
        )
    yield Case('box_iou_rotated-aligned', lambda: [ops.box_iou_rotated(a[:9], b, 'iou', True)])
    many = rotated_boxes(50, 5)
    scores = torch.tensor(np.random.RandomState(6).rand(50), dtype=torch.float32)
    for threshold in (0.1, 0.5):
        yield Case(f'nms_rotated-{threshold}', lambda t=threshold: [ops.nms_rotated(many, scores, t)[1]])
    for ratio, aligned, clockwise in product((0, 2), (True, False), (True, False)):
        layer = ops.RoIAlignRotated((3, 2), 0.5, ratio, aligned, clockwise)
        name = f'roi_align_rotated-{ratio}-{aligned}-{clockwise}'
        yield Case(name, lambda f=layer: with_gradient(lambda x: f(x, rotated_regions()), feature_map()))


CASES = [*nms_cases(), *roi_align_cases(), *rotated_cases()]
