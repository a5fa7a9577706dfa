"""Which candidates of a detector learn what, in tiles that show pieces of objects."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.registry import TASK_UTILS
from torch import Tensor

#: Candidates of which so much lies in what a tile shows of an object that is learned elsewhere are no background.
_LEAST_INSIDE = 0.5


@TASK_UTILS.register_module()
class TileAssigner:
    """mmdet's MaxIoUAssigner, but that candidates on a piece of an object are ignored instead of being background.

    MaxIoUAssigner's own ``ignore_iof_thr`` would take candidates on a piece from the objects that lie there as well.

    Args:
        **options: Those of MaxIoUAssigner.
    """

    def __init__(self, **options: Any) -> None:
        self.assigner = TASK_UTILS.build(dict(type='mmdet.MaxIoUAssigner', **options))

    def assign(self, pred_instances: Any, gt_instances: Any, gt_instances_ignore: Any = None, **options: Any) -> Any:
        """mmdet's AssignResult; ``gt_instances_ignore`` holds the pieces."""
        result = self.assigner.assign(pred_instances, gt_instances, None, **options)
        pieces = None if gt_instances_ignore is None else gt_instances_ignore.bboxes
        if pieces is not None and len(pieces) and len(result.gt_inds):
            inside = _shares_inside(pred_instances.priors, pieces).amax(dim=1) >= _LEAST_INSIDE
            result.gt_inds[(result.gt_inds == 0) & inside] = -1
        return result


def _shares_inside(boxes: Tensor, areas: Tensor) -> Tensor:
    """The share of each box (N, 4) that lies in each of some areas (M, 4), (N, M)."""
    low = torch.maximum(boxes[:, None, :2], areas[None, :, :2])
    high = torch.minimum(boxes[:, None, 2:], areas[None, :, 2:])
    own = (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(dim=1)
    return (high - low).clamp(min=0).prod(dim=2) / own.clamp(min=1e-6)[:, None]
