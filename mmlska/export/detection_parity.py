"""Does a file choose the boxes that its model chooses? Where two scores tie, rounding decides, and both choices are right."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import nn

from .parity import LIMITS, SIZES, photo_batch

#: Two scores tie, and two overlaps, if they differ by less than this part.
_TIE = 1e-3


def compare_detections(
    run: Callable[[np.ndarray, np.ndarray], Sequence[np.ndarray]],
    model: nn.Module,
    photos: Sequence[np.ndarray],
    rule: dict,
) -> tuple[dict[tuple[int, int], float], int]:
    """The largest difference at each size between RetinaNet's detections and those of a file in fp32; also their number.

    Args:
        run: From a batch (N, C, H, W) and its shapes (N, 2) to the file's ``boxes``, ``scores``, ``labels`` and ``image_index``.
        model: mmdet's RetinaNet.
        photos: As :func:`mmlska.export.parity.read_photos` gives them; all of them make one batch.
        rule: The input rule, whose normalisation is used.
    """
    head, differences, count = model.bbox_head, {}, 0
    for size in SIZES:
        batch = photo_batch(photos, size, rule)
        metas = [dict(img_shape=size, ori_shape=size, scale_factor=(1.0, 1.0)) for _ in batch]
        with torch.inference_mode():
            maps = head(model.extract_feat(torch.from_numpy(batch)))
            chosen = head.predict_by_feat(*maps, batch_img_metas=metas)
            candidates = head.predict_by_feat(*maps, batch_img_metas=metas, with_nms=False)
        boxes, scores, labels, image_index = run(batch, np.array([size] * len(batch), np.int64))
        actual = np.concatenate([boxes, scores[:, None], labels[:, None]], axis=1)
        pairs = [(_rows(chosen[i]), _rows(candidates[i]), actual[image_index == i]) for i in range(len(batch))]
        count += sum(len(expected) for expected, _, _ in pairs)
        differences[size] = max(detection_difference(*pair, head.test_cfg) for pair in pairs)
    return differences, count


def _rows(instances) -> np.ndarray:
    return torch.cat([instances.bboxes, instances.scores[:, None], instances.labels[:, None]], dim=1).numpy()


def detection_difference(expected: np.ndarray, candidates: np.ndarray, actual: np.ndarray, cfg: Mapping) -> float:
    """Difference of two choices of boxes, each box matched with its nearest; infinite for a box that only one of them has.

    A box may be in one alone where rounding decides: its score ties with that of a rival, the score threshold or the end of a full list,
    its overlap ties with the threshold of the suppression, or it is a rival of such a box. The file's must be one of the candidates.

    Args:
        expected: The model's choice; rows of (x1, y1, x2, y2, score, label), in pixels.
        candidates: What the model chooses from.
        actual: The file's choice.
        cfg: How boxes are chosen: ``score_thr``, ``max_per_img`` and ``nms`` of mmdet's ``test_cfg``.

    Example:
        >>> cfg = dict(score_thr=0.05, max_per_img=100, nms=dict(iou_threshold=0.5))
        >>> one, other = np.array([[0, 0, 10, 10, 0.3, 0]]), np.array([[0, 0, 10, 9, 0.3, 0]])
        >>> detection_difference(one, np.concatenate([one, other]), other, cfg)
        0.0
        >>> detection_difference(one, one, other, cfg)  # by how much the file's box is none of the candidates
        0.1
    """
    apart, strange = _apart(expected, actual), _apart(actual, candidates).min(axis=1, initial=np.inf)
    limit = LIMITS['fp32']
    lost, new = apart.min(axis=1, initial=np.inf), apart.min(axis=0, initial=np.inf)
    differences = [*lost[lost <= limit], *new[new <= limit]]
    alone = np.concatenate([expected[lost > limit], actual[new > limit]])
    if len(alone):
        in_file = np.arange(len(alone)) >= (lost > limit).sum()
        differences += strange[new > limit].tolist()
        if not _by_ties(alone, in_file, expected, actual, cfg).all():
            return float('inf')
    return float(max(differences, default=0.0))


def _by_ties(
    alone: np.ndarray, in_file: np.ndarray, expected: np.ndarray, actual: np.ndarray, cfg: Mapping
) -> np.ndarray:
    """Which of the boxes that one choice has ``alone``, the file's or the model's, can be there by a tie."""
    tied = _equal(alone[:, 4], cfg['score_thr'])
    for mine, others in ((in_file, expected), (~in_file, actual)):
        if len(others) >= cfg['max_per_img'] > 0:
            tied |= mine & (alone[:, 4] <= others[:, 4].min() * (1 + _TIE))
        overlaps, same = _overlaps(alone, others), alone[:, None, 5] == others[None, :, 5]
        equal = _equal(alone[:, None, 4], others[None, :, 4]) & (overlaps > cfg['nms']['iou_threshold'])
        tied |= mine & (same & (equal | _equal(overlaps, cfg['nms']['iou_threshold']))).any(axis=1)
    rivals = (_overlaps(alone, alone) > cfg['nms']['iou_threshold']) & (alone[:, None, 5] == alone[None, :, 5])
    rivals &= in_file[:, None] != in_file[None]
    for _ in alone:
        tied |= (rivals & tied).any(axis=1)
    return tied


def _equal(values: np.ndarray, others: np.ndarray | float) -> np.ndarray:
    return np.abs(values - others) <= _TIE * np.abs(others)


def _overlaps(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union of all pairs, (M, N)."""
    from mmdet.structures.bbox import bbox_overlaps

    return bbox_overlaps(*(torch.from_numpy(part[:, :4].astype(np.float64)) for part in (rows, others))).numpy()


def _apart(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The difference of all pairs, (M, N): of coordinates relative to the largest above 1, of scores, and of labels without limit."""
    corner = max(1.0, float(np.abs(rows[:, :4]).max(initial=0)))
    scale = np.array([corner] * 4 + [1.0, 1e-9])
    return np.abs((rows[:, None] - others[None]) / scale).max(axis=2)
