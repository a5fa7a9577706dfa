"""What the metrics of mmdet, mmseg and mmpretrain are called in tables, and what makes them percent."""

from __future__ import annotations

from math import nan
from numbers import Real

#: Metric as the runner names it, its name in tables, and the factor that makes it percent; in the order of columns.
METRICS = {
    'coco/bbox_mAP': ('box AP', 100),
    'coco/bbox_mAP_50': ('box AP50', 100),
    'coco/segm_mAP': ('mask AP', 100),
    'coco/segm_mAP_50': ('mask AP50', 100),
    'mIoU': ('mIoU', 1),
    'mAcc': ('mAcc', 1),
    'aAcc': ('aAcc', 1),
    'accuracy/top1': ('top-1', 1),
    'accuracy/top5': ('top-5', 1),
}


def in_percent(metrics: dict) -> dict[str, float]:
    """The metrics that tables show, in percent, by their names there; all numbers under their own names if they know none of them.

    COCO's -1, where no object has that size, is NaN.

    Example:
        >>> in_percent({'coco/bbox_mAP': 0.724, 'coco/bbox_mAP_s': 0.6})
        {'box AP': 72.4}
        >>> in_percent({'mine/score': 0.5})
        {'mine/score': 0.5}
    """
    known = {
        name: nan if metrics[key] == -1 else round(metrics[key] * factor, 6)
        for key, (name, factor) in METRICS.items()
        if key in metrics
    }
    return known or {key: value for key, value in metrics.items() if isinstance(value, Real)}
