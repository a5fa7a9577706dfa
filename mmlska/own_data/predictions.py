"""Predictions as labels in the formats of annotation tools, so that a model labels photos before people do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from ..infer.prediction import Prediction
from ..infer.writers import coco_annotations, split_frame
from ..outputs import RECORD, Record
from .folder import LABEL_SUFFIXES
from .repair import check_target
from .writers import WRITERS, PhotoToWrite
from .writers.photo import flat_names


def write_labels(to: str, predictions: Iterable[Prediction], out: Path, score_thr: float) -> list[Path]:
    """Write predictions of a detector, with copies of the photos, as labels; arguments as for :data:`mmlska.infer.FORMATS`.

    Args:
        to: One of :data:`mmlska.own_data.writers.WRITERS`.
        predictions: Those of image files.
        out: A new folder.
        score_thr: Leave out instances of a lower score.

    Returns:
        The files, without the photos and pictures of predictions.

    Raises:
        FileExistsError: If the folder exists and is not empty.
        ValueError: If a prediction is a segmentor's, or of no image file.
    """
    check_target(str(out), '--out')
    photos: list[PhotoToWrite] = []
    classes: Sequence[str] = ()
    for prediction in predictions:
        photos.append(_photo(prediction, to, score_thr))
        classes = prediction.classes
    for photo, name in zip(photos, flat_names(photos)):  # those of several folders may have one name
        photo.name = name
    out.mkdir(parents=True, exist_ok=True)
    pictures, record = set(out.rglob('*')), Record(out)
    WRITERS[to](photos, classes, out)
    written = [
        path for path in sorted(out.rglob('*')) if path.is_file() and path not in pictures and path.name != RECORD
    ]
    for path in written:
        record.add(path, is_label=True)
    return [path for path in written if path.suffix in LABEL_SUFFIXES]


def _photo(prediction: Prediction, to: str, score_thr: float) -> PhotoToWrite:
    path, frame = split_frame(prediction.name)
    if prediction.is_segmentation:
        raise ValueError(f"format={to!r} holds objects and a segmentor predicts none; use 'png' or 'coco'")
    if not path or frame:
        what = f'{prediction.name} is a frame of a video' if path else 'an array is none'
        raise ValueError(f"format={to!r} copies image files and {what}; use 'coco' or 'json'")
    height, width = prediction.image.shape[:2]
    objects = [(a['category_id'] - 1, a) for a in coco_annotations(prediction, score_thr, 1)]
    return PhotoToWrite(Path(path), Path(path).name, '', (width, height), False, objects)


#: Beside :data:`mmlska.infer.FORMATS`, which has its own writers for coco and labelme, of predictions alone.
LABEL_FORMATS = {name: partial(write_labels, name) for name in ('yolo', 'voc', 'cvat')}
