"""Pictures of predictions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..files import write_atomically
from ..images import shrink
from .prediction import Prediction

#: Larger images are drawn at this size, and without instance masks, each of which would be as large as the image.
MAX_SIDE = 2048


def draw_prediction(
    visualizer: Any, prediction: Prediction, out_file: Path, score_thr: float, names: bool = True
) -> None:
    """Write an image with a prediction drawn over it.

    Args:
        visualizer: mmdet's or mmseg's, with ``dataset_meta``.
        prediction: What to draw.
        out_file: A .png or .jpg file.
        score_thr: Instances of a lower score are left out.
        names: Write the classes into a segmentation.

    Raises:
        FileExistsError: If ``out_file`` is there and no regular file, such as a link.
    """
    import cv2

    image, sample = prediction.image, prediction.sample.clone()
    if not prediction.is_segmentation:
        sample.pred_instances = sample.pred_instances.clone()  # which clone() of the sample shares
    height, width = image.shape[:2]
    scale = MAX_SIDE / max(height, width)
    if scale < 1:
        image = shrink(image, MAX_SIDE)
        if not prediction.is_segmentation:
            instances = sample.pred_instances
            instances.bboxes = instances.bboxes * scale
            instances.pop('masks', None)
    elif not prediction.is_segmentation and isinstance(sample.pred_instances.get('masks'), list):
        sample.pred_instances.masks = _dense(sample.pred_instances.masks, height, width)
    if prediction.is_segmentation:
        mask = shrink(prediction.index_mask, MAX_SIDE, cv2.INTER_NEAREST)
        sample = sample.new()
        # An array, as mmseg indexes with the data, and a tensor of a single pixel counts as a number there.
        sample.pred_sem_seg = type(prediction.sample.pred_sem_seg)(data=mask.astype(np.int64)[None])
    options = dict(with_labels=names) if prediction.is_segmentation else dict(pred_score_thr=score_thr)
    # mmdet varies the colours of masks by NumPy's global generator; the same prediction shall give the same picture.
    state = np.random.get_state()  # noqa: NPY002
    np.random.seed(0)  # noqa: NPY002
    pixels = np.ascontiguousarray(image[..., ::-1])
    try:
        write_atomically(
            out_file,
            lambda tmp: visualizer.add_datasample(
                'prediction', pixels, data_sample=sample, draw_gt=False, out_file=tmp, **options
            ),
        )
    finally:
        np.random.set_state(state)  # noqa: NPY002


def _dense(masks: list[dict], height: int, width: int) -> np.ndarray:
    from pycocotools.mask import decode

    return np.stack([decode(mask).astype(bool) for mask in masks]) if masks else np.zeros((0, height, width), bool)
