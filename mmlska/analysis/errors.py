"""What a detector or a segmentor gets wrong, image by image: functions that return data.

A detection is an error of one kind, by the definitions and thresholds of TIDE: a good box overlaps an object by an IoU of at
least 0.5, one on the background by less than 0.1. What an image costs is the gain of the data set's AP50 or mIoU if this image
alone were predicted perfectly.

Source: Bolya et al., TIDE: A General Toolbox for Identifying Object Detection Errors, ECCV 2020 (arXiv 2008.08115), section 2.2;
the order in which the kinds are tried is that of its published code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..infer.prediction import check_score_thr
from .overlaps import box_iou, iou_of_classes, pixel_confusion
from .predictions import BoxImage, MapImage, Predictions

FOREGROUND = 0.5
BACKGROUND = 0.1
MISSED, WRONG_CLASS, BADLY_PLACED = 'missed', 'wrong class', 'badly placed'
BOTH, DUPLICATE, ON_BACKGROUND = 'wrong class, badly placed', 'duplicate', 'background'
DETECTION_KINDS = (MISSED, WRONG_CLASS, BADLY_PLACED, BOTH, DUPLICATE, ON_BACKGROUND)
CORRECT, IGNORED = 'correct', 'in a crowd'

INVENTED, POOR_OVERLAP = 'invented', 'poor overlap'
SEGMENTATION_KINDS = (MISSED, INVENTED, POOR_OVERLAP)
FOUND_SHARE = 0.1  # a class of which less than this share is found in an image is missed there
LARGEST = 1e9  # pixels; beyond it, areas lose their meaning and NaN is not far

#: Where COCO looks at the precision.
RECALLS = np.linspace(0, 1, 101)


@dataclass(frozen=True, eq=False)
class Outcome:
    """What became of the boxes of one image.

    Attributes:
        kinds: For each detection 'correct', 'in a crowd' or one of ``DETECTION_KINDS`` but the first.
        objects: For each detection the object that it is about, -1 for none.
        missed: For each object whether it is missed: not found, and no error of class or place points at it.
        found: For each object whether a correct detection found it.
    """

    kinds: list[str]
    objects: np.ndarray
    missed: np.ndarray
    found: np.ndarray


def classify_boxes(image: BoxImage, score_thr: float = 0.0) -> Outcome:
    """Sort the detections of one image, but those scored below ``score_thr``, into correct ones and the kinds of error.

    Example:
        >>> boxes = np.array([[0.0, 0, 10, 10], [0, 0, 10, 9], [40, 40, 50, 50]])
        >>> image = BoxImage('a.png', boxes, np.array([0, 0, 1]), np.array([0.9, 0.8, 0.7]),
        ...                  np.array([[0.0, 0, 10, 10], [70, 0, 80, 10]]), np.array([0, 0]), np.zeros(2, bool))
        >>> outcome = classify_boxes(image)
        >>> outcome.kinds, outcome.missed.tolist()
        (['correct', 'duplicate', 'background'], [False, True])
    """
    number = int((image.scores >= score_thr).sum())
    labels, wanted = image.labels[:number], ~image.crowd
    iou = box_iou(image.boxes[:number], image.true_boxes, image.crowd)
    same = labels[:, None] == image.true_labels
    kinds, objects = [''] * number, np.full(number, -1)
    found = np.zeros(len(wanted), bool)
    for i in range(number):  # the better scored choose first
        overlap = np.where(same[i] & wanted & ~found, iou[i], 0)
        if overlap.size and overlap.max() >= FOREGROUND:
            kinds[i], objects[i] = CORRECT, overlap.argmax()
            found[objects[i]] = True
        elif np.any(same[i] & image.crowd & (iou[i] >= FOREGROUND)):
            kinds[i] = IGNORED
    pointed_at = np.zeros(len(wanted), bool)
    for i in range(number):
        if not kinds[i]:
            kinds[i], objects[i] = _kind_of_error(np.where(wanted, iou[i], 0), same[i])
            if kinds[i] in (WRONG_CLASS, BADLY_PLACED):
                pointed_at[objects[i]] = True
    return Outcome(kinds, objects, wanted & ~found & ~pointed_at, found)


def _kind_of_error(iou: np.ndarray, same: np.ndarray) -> tuple[str, int]:
    """The kind of a wrong detection and the object it is about, from its overlap with all objects."""
    if not iou.size or iou.max() < BACKGROUND:
        return ON_BACKGROUND, -1
    own, other = np.where(same, iou, 0), np.where(same, 0, iou)
    if BACKGROUND <= own.max() < FOREGROUND:
        return BADLY_PLACED, int(own.argmax())
    if other.max() >= FOREGROUND:
        return WRONG_CLASS, int(other.argmax())
    if own.max() >= FOREGROUND:  # else it were correct, so another one was before it
        return DUPLICATE, int(own.argmax())
    return BOTH, int(other.argmax())


def precision_at_recalls(hits: np.ndarray, positives: int) -> np.ndarray:
    """Return COCO's precision at each of ``RECALLS``, (101,), of detections in falling order of score.

    Args:
        hits: Which of them are correct, bool (N,).
        positives: Number of objects; with none the result is NaN.

    Example:
        >>> precision_at_recalls(np.array([True, False, True]), 2)[[0, 50, 51, 100]].round(2)
        array([1.  , 1.  , 0.67, 0.67])
    """
    if not positives:
        return np.full(len(RECALLS), np.nan)
    true = np.cumsum(hits)
    precision = true / np.arange(1, len(true) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    return np.append(precision, 0.0)[np.searchsorted(true / positives, RECALLS, side='left')]


def average_precision(hits: np.ndarray, positives: int) -> float:
    """Return COCO's average precision, the mean of :func:`precision_at_recalls`.

    Example:
        >>> round(average_precision(np.array([True, False, True]), 2), 4)
        0.835
    """
    return float(precision_at_recalls(hits, positives).mean())


def precision_curves(predictions: Predictions) -> np.ndarray:
    """The precision of each class of a detector at ``RECALLS``, (classes, 101); NaN for a class without objects.

    Its mean over all classes with objects is AP50, as :func:`find_errors` returns it in percent.

    Raises:
        ValueError: As :func:`find_errors`.
    """
    number = len(predictions.classes)
    found = _matched([_usable(image, number) for image in predictions.images], number)
    return np.array([precision_at_recalls(*found.ranked(c)[::2]) for c in range(number)])


def object_confusion(predictions: Predictions, score_thr: float) -> np.ndarray:
    """The confusion matrix of a detector, (classes + 1, classes + 1), as in the result of :func:`find_errors`.

    Raises:
        ValueError: As :func:`find_errors`.
    """
    number = len(predictions.classes)
    confusion = np.zeros((number + 1,) * 2, int)
    for image in predictions.images:
        for pair in _confused_pairs(_usable(image, number), score_thr, number):
            confusion[pair] += 1
    return confusion


def find_errors(predictions: Predictions, score_thr: float = 0.3) -> dict:
    """Return every error of a detector or segmentor on a test set, with what each image costs.

    AP50 counts all detections, as COCO's metric does; errors and the confusion matrix those that a user would see, with a score of
    at least ``score_thr``. In one image a class is missed where less than a tenth of its pixels are found, invented where it is
    predicted and not labelled, and of poor overlap where its IoU is otherwise below 0.5.

    Returns:
        Plain data: ``metric`` ('AP50' or 'mIoU') and its ``value``, ``per_class``, ``counts`` of the kinds, ``confusion`` (rows: labelled,
        columns: predicted; objects, the last of each: nothing, or pixels) and ``images``, the costliest first, each with its ``truths``
        and ``detections``, or its ``miou``, ``accuracy``, ``errors`` and ``classes``. Of a detector also ``left_out``, the number of
        detections of NaN or infinity.

    Raises:
        ValueError: If the predictions are of other classes, nothing is labelled, a labelled box is not finite or the threshold no share.
    """
    if predictions.task == 'detection':
        return _detection_errors(predictions, score_thr)
    return _segmentation_errors(predictions)


def _report(
    predictions: Predictions, metric: str, values: np.ndarray, counts: dict[str, int], confusion: np.ndarray, **more
) -> dict:
    """What both tasks have in common; ``values`` are those of the classes, 0..1."""
    return {
        'task': predictions.task,
        'metric': metric,
        'value': None if np.all(np.isnan(values)) else _percent(np.nanmean(values)),
        'classes': list(predictions.classes),
        'kinds': list(counts),
        'per_class': {name: _percent(value) for name, value in zip(predictions.classes, values)},
        'counts': counts,
        'confusion': confusion.tolist(),
        **more,
    }


def _detection_errors(predictions: Predictions, score_thr: float) -> dict:
    check_score_thr(score_thr)
    classes = range(len(predictions.classes))
    counts = dict.fromkeys(DETECTION_KINDS, 0)
    confusion = np.zeros((len(classes) + 1,) * 2, int)
    entries = []
    images = [_usable(image, len(classes)) for image in predictions.images]
    lost, values = _lost_precision(images, len(classes))
    for image, cost in zip(images, lost):
        outcome = classify_boxes(image, score_thr)
        pairs = _confused_pairs(image, score_thr, len(classes))
        for pair in pairs:
            confusion[pair] += 1
        for kind in outcome.kinds:
            if kind in counts:
                counts[kind] += 1
        counts[MISSED] += int(outcome.missed.sum())
        entries.append({**_box_entry(image, outcome, cost), 'pairs': sorted(set(pairs))})
    entries.sort(key=lambda entry: -entry['lost'])
    left_out = sum(len(old.labels) - len(new.labels) for old, new in zip(predictions.images, images))
    more = dict(score_thr=score_thr, left_out=left_out, images=entries)
    return _report(predictions, 'AP50', values, counts, confusion, **more)


def _usable(image: BoxImage, num_classes: int) -> BoxImage:
    """An image without the detections of NaN or infinity, which have no place in it."""
    for labels in (image.labels, image.true_labels):
        if labels.size and not 0 <= labels.min() <= labels.max() < num_classes:
            raise ValueError(
                f'{image.path} has a label that is none of the {num_classes} classes; give the config of that test'
            )
    if not np.all(np.abs(image.true_boxes) < LARGEST):
        raise ValueError(f'{image.path} has a labelled box of NaN or infinity; look at it with mmlska check')
    keep = np.all(np.abs(image.boxes) < LARGEST, axis=1) & np.isfinite(image.scores)
    return replace(image, boxes=image.boxes[keep], labels=image.labels[keep], scores=image.scores[keep])


@dataclass(frozen=True, eq=False)
class _Matched:
    """What became of all detections of a test set, and where its objects are: ``positives`` is (images, classes)."""

    labels: np.ndarray
    scores: np.ndarray
    kinds: np.ndarray
    owners: np.ndarray
    positives: np.ndarray

    def ranked(self, label: int) -> tuple[np.ndarray, np.ndarray, int]:
        """Of a class: which detections are correct, the best scored first; the images that they are of; the number of objects."""
        chosen = np.flatnonzero((self.labels == label) & (self.kinds != IGNORED))
        chosen = chosen[np.argsort(-self.scores[chosen], kind='stable')]
        return self.kinds[chosen] == CORRECT, self.owners[chosen], int(self.positives[:, label].sum())


def _matched(images: Sequence[BoxImage], num_classes: int) -> _Matched:
    positives = np.zeros((len(images), num_classes), int)
    for row, image in zip(positives, images):
        row += np.bincount(image.true_labels[~image.crowd], minlength=num_classes)
    return _Matched(
        np.concatenate([np.zeros(0, int), *(image.labels for image in images)]),
        np.concatenate([np.zeros(0), *(image.scores for image in images)]),
        np.array([kind for image in images for kind in classify_boxes(image).kinds], object),
        np.repeat(np.arange(len(images)), [len(image.labels) for image in images]),
        positives,
    )


def _lost_precision(images: Sequence[BoxImage], num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """For each image the gain in AP50, in points, if it were perfect; and the AP50 of each class, 0..1."""
    found = _matched(images, num_classes)
    values = np.full(num_classes, np.nan)
    gains = np.zeros((len(images), num_classes))
    for c in range(num_classes):
        hits, of, total = found.ranked(c)
        values[c] = average_precision(hits, total)
        for i in set(of) | set(np.flatnonzero(found.positives[:, c])) if total else ():
            # Perfect: its objects found with the highest scores, and nothing else in it.
            better = np.concatenate([np.ones(found.positives[i, c], bool), hits[of != i]])
            gains[i, c] = average_precision(better, total) - values[c]
    # A class without objects has no AP and does not count in the mean.
    return 100 * gains.sum(1) / max(np.sum(~np.isnan(values)), 1), values


def _confused_pairs(image: BoxImage, score_thr: float, nothing: int) -> list[tuple[int, int]]:
    """The entries of the confusion matrix (labelled, predicted): every object occurs once, every detection shown to a user once."""
    number = int((image.scores >= score_thr).sum())
    iou = box_iou(image.boxes[:number], image.true_boxes, image.crowd)
    free, pairs = ~image.crowd, []
    for i in range(number):  # the better scored choose first
        label, overlap = int(image.labels[i]), np.where(free, iou[i], 0)
        if overlap.size and overlap.max() >= FOREGROUND:
            # Of several objects of one overlap the one of the right class.
            best = np.flatnonzero(overlap == overlap.max())
            right = best[image.true_labels[best] == label]
            chosen = (right if right.size else best)[0]
            free[chosen] = False
            pairs.append((int(image.true_labels[chosen]), label))
        elif not np.any(image.crowd & (image.true_labels == label) & (iou[i] >= FOREGROUND)):
            pairs.append((nothing, label))
    return pairs + [(int(label), nothing) for label in image.true_labels[free]]


def _box_entry(image: BoxImage, outcome: Outcome, cost: float) -> dict:
    truths = [
        {'box': _rounded(box), 'label': int(label), 'missed': bool(missed), 'crowd': bool(crowd)}
        for box, label, missed, crowd in zip(image.true_boxes, image.true_labels, outcome.missed, image.crowd)
    ]
    detections = [
        {'box': _rounded(box), 'label': int(label), 'score': round(float(score), 3), 'kind': kind, 'truth': int(truth)}
        for box, label, score, kind, truth in zip(
            image.boxes, image.labels, image.scores, outcome.kinds, outcome.objects
        )
    ]
    return {
        'name': Path(image.path).name,
        'path': image.path,
        'lost': round(float(cost), 4),
        'truths': truths,
        'detections': detections,
    }


def _rounded(box: np.ndarray) -> list[float]:
    return [round(float(side), 1) for side in box]


def _percent(share: float) -> float | None:
    return None if np.isnan(share) else round(100 * float(share), 2)


def _segmentation_errors(predictions: Predictions) -> dict:
    number = len(predictions.classes)
    parts = [pixel_confusion(image, number) for image in predictions.images]
    total = np.sum(parts, 0)
    if not np.any(total):
        raise ValueError('no pixel of the test data is labelled; give a config whose test data have labels')
    values, counts, entries = iou_of_classes(total), dict.fromkeys(SEGMENTATION_KINDS, 0), []
    for image, part in zip(predictions.images, parts):
        perfect = total - part + np.diag(part.sum(1))
        entry = _map_entry(image, part, 100 * float(np.nanmean(iou_of_classes(perfect)) - np.nanmean(values)))
        for error in entry['errors']:
            counts[error['kind']] += 1
        entries.append(entry)
    entries.sort(key=lambda entry: -entry['lost'])
    return _report(predictions, 'mIoU', values, counts, total, images=entries)


def _map_entry(image: MapImage, part: np.ndarray, cost: float) -> dict:
    labelled, predicted, right, ious = part.sum(1), part.sum(0), np.diag(part), iou_of_classes(part)
    errors, classes = [], []
    for c in np.flatnonzero(labelled + predicted):
        kind = None
        if not labelled[c]:
            kind = INVENTED
        elif right[c] < FOUND_SHARE * labelled[c]:
            kind = MISSED
        elif ious[c] < FOREGROUND:
            kind = POOR_OVERLAP
        if kind:
            errors.append({'kind': kind, 'label': int(c)})
        classes.append({'label': int(c), 'iou': _percent(ious[c]), 'pixels': int(labelled[c])})
    wrong = part - np.diag(right)
    # The largest confusions only: some data sets have 150 classes.
    largest = [np.unravel_index(i, wrong.shape) for i in np.argsort(-wrong, axis=None, kind='stable')[:10]]
    pixels = max(int(part.sum()), 1)
    return {
        'name': Path(image.path).name,
        'path': image.path,
        'lost': round(cost, 4),
        'miou': _percent(np.nanmean(ious)) if classes else None,
        'accuracy': _percent(right.sum() / pixels),
        'errors': errors,
        'classes': classes,
        'confused': [[int(a), int(b), round(100 * int(wrong[a, b]) / pixels, 2)] for a, b in largest if wrong[a, b]],
    }
