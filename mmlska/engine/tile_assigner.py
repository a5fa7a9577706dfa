"""Which candidates of a detector learn what, in tiles that show pieces of objects."""

from __future__ import annotations

from typing import Any

from mmengine.registry import TASK_UTILS

# The share of a candidate that must be on a piece of an object, so that it is ignored.
_LEAST_INSIDE = 0.5


@TASK_UTILS.register_module()
class TileAssigner:
    """mmdet's MaxIoUAssigner, but that candidates on a piece of an object are ignored instead of being background.

    MaxIoUAssigner's own ``ignore_iof_thr`` would also ignore the candidates of objects that are learned and lie on a piece.

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
            shares = self.assigner.iou_calculator(
                pred_instances.priors, pieces, mode='iof'
            )  # by the area of the candidate
            inside = shares.amax(dim=1) >= _LEAST_INSIDE
            result.gt_inds[(result.gt_inds == 0) & inside] = -1
        return result
