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
    """Draw with mmdet's or mmseg's visualiser, which has ``dataset_meta``; see :meth:`mmlska.infer.Predictor.draw`.

    Raises:
        FileExistsError: If ``out_file`` is there and no regular file, such as a link.
    """
    import cv2

    height, width = prediction.image.shape[:2]
    scale = MAX_SIDE / max(height, width)
    if prediction.is_segmentation:
        sample, options = prediction.sample.new(), dict(with_labels=names)
        mask = shrink(prediction.index_mask, MAX_SIDE, cv2.INTER_NEAREST)
        # An array, as mmseg indexes with the data, and a tensor of a single pixel counts as a number there.
        sample.pred_sem_seg = type(prediction.sample.pred_sem_seg)(data=mask.astype(np.int64)[None])
    else:
        sample, options = prediction.sample.clone(), dict(pred_score_thr=score_thr)
        instances = sample.pred_instances = sample.pred_instances.clone()  # which clone() of the sample shares
        if scale < 1:
            instances.bboxes = instances.bboxes * scale
            instances.pop('masks', None)
        elif isinstance(instances.get('masks'), list):
            instances.masks = _dense(instances.masks, height, width)
    # mmdet varies the colours of masks by NumPy's global generator; the same prediction shall give the same picture.
    state = np.random.get_state()  # noqa: NPY002
    np.random.seed(0)  # noqa: NPY002
    pixels = np.ascontiguousarray(prediction.picture(MAX_SIDE)[..., ::-1])
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
