"""How far boxes and class maps cover each other."""

from __future__ import annotations

import numpy as np

from ..engine.ignored_label import IGNORED
from .predictions import MapImage


def box_iou(boxes: np.ndarray, others: np.ndarray, crowd: np.ndarray | None = None) -> np.ndarray:
    """Return the overlap of every box (N, 4) with every other one (M, 4), (N, M); with a crowd, bool (M,), the share of the box inside it.

    Example:
        >>> box_iou(np.array([[0, 0, 2, 2]]), np.array([[0, 0, 2, 1], [2, 2, 3, 3]]))
        array([[0.5, 0. ]])
    """
    low, high = np.maximum(boxes[:, None, :2], others[:, :2]), np.minimum(boxes[:, None, 2:], others[:, 2:])
    inside = np.clip(high - low, 0, None).prod(2)
    areas, other_areas = ((b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1]) for b in (boxes, others))
    whole = areas[:, None] + other_areas - inside
    if crowd is not None:
        whole = np.where(crowd, areas[:, None], whole)
    return inside / np.maximum(whole, 1e-12)


def pixel_confusion(image: MapImage, num_classes: int) -> np.ndarray:
    """Return how many pixels of each labelled class (rows) got each class (columns), (num_classes, num_classes).

    Raises:
        ValueError: If a label or a prediction is none of the classes.
    """
    valid = image.truth != IGNORED
    for found in (image.truth[valid], image.prediction[valid]):
        highest, lowest = found.max(initial=0), found.min(initial=0)
        if lowest < 0 or highest >= num_classes:
            raise ValueError(
                f'{image.path} has the label {lowest if lowest < 0 else highest}, the model {num_classes} classes; '
                f'give the config of its data'
            )
    pairs = image.truth[valid].astype(int) * num_classes + image.prediction[valid]
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def iou_of_classes(confusion: np.ndarray) -> np.ndarray:
    """Return the IoU of each class, 0..1, from a confusion matrix of pixels; NaN for one that is neither labelled nor predicted.

    Example:
        >>> iou_of_classes(np.array([[3, 1], [0, 0]]))
        array([0.75, 0.  ])
    """
    right = np.diag(confusion)
    union = confusion.sum(0) + confusion.sum(1) - right
    return np.divide(right, union, out=np.full(len(right), np.nan), where=union > 0)
