"""Predictions as files: COCO, one JSON for each image, index masks, or labelme's project files."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ..datasets.coco_labels import encode_mask
from ..engine.hooks import unused_name
from ..files import write_bytes, write_text
from .prediction import Prediction, check_score_thr
from .sources import is_video

Writer = Callable[[Iterable[Prediction], Path, float], list[Path]]

#: The one file of 'coco'.
WHOLE = 'predictions.json'


def write_predictions(
    predictions: Iterable[Prediction], out: str | Path, format: str | Writer, *, score_thr: float = 0.3
) -> list[Path]:
    """Write predictions into a folder, each as soon as it is there.

    Args:
        predictions: For example :meth:`mmlska.infer.Predictor.stream`'s.
        out: The folder.
        format: 'coco': one predictions.json with images, annotations (with ``score``) and categories; a segmentor gives one annotation
            for each class in an image. 'json': ``to_dict()`` of each image, a segmentation as run lengths of each class. 'png': the
            index mask, or of a detector the number of the instance, from 1 in the order of its scores, 0 elsewhere (16 bit).
            'labelme': polygons, or boxes where there are no masks, of images in files. Or a function of another format, which takes the
            predictions, the folder and the threshold, and returns the files.
        score_thr: Leave out instances of a lower score.

    Returns:
        The files.

    Raises:
        ValueError: If the format is unknown, the threshold is not between 0 and 1, 'png' is asked of a detector without masks, or
            'labelme' for a video or an array.
    """
    check_score_thr(score_thr)
    if callable(format):
        return format(predictions, Path(out), score_thr)
    if format not in FORMATS:
        raise ValueError(f'format={format!r} is unknown; choose one of {", ".join(map(repr, FORMATS))}')
    return FORMATS[format](predictions, Path(out), score_thr)


def split_frame(name: str) -> tuple[str, str]:
    """The file that a prediction is named after, and the number of the frame if that is a video: '' of an image.

    Example:
        >>> split_frame('clips/a.mp4#000003'), split_frame('set#1/b.png')
        (('clips/a.mp4', '000003'), ('set#1/b.png', ''))
    """
    path, _, frame = name.rpartition('#')
    return (path, frame) if frame.isdecimal() and is_video(Path(path)) else (name, '')


class FileNames:
    """A name for each prediction: the image's own, numbered where several folders have the same, or where it is ``used`` already."""

    def __init__(self, used: Iterable[str] = ()) -> None:
        self._used = set(used)

    def __call__(self, name: str) -> str:
        """A name without a suffix for what :attr:`Prediction.name` says."""
        path, frame = split_frame(name)
        stem = Path(path).stem or 'image'
        while len(os.fsencode(stem)) > 200:  # 255 bytes is the longest name of a file: room for numbers and a suffix
            stem = stem[:-1]
        return unused_name('_'.join(filter(None, [stem, frame])), self._used)


def to_json(prediction: Prediction, score_thr: float) -> dict[str, Any]:
    """``prediction.to_dict()`` with a segmentation as ``segments``: ``label``, ``class`` and run lengths of each class in the image."""
    result = prediction.to_dict(score_thr)
    if prediction.is_segmentation:
        mask = result.pop('mask')
        result['segments'] = [
            dict(label=label, **{'class': prediction.classes[label]}, mask=encode_mask(mask == label))
            for label in np.unique(mask).tolist()
        ]
    return result


def _json(predictions: Iterable[Prediction], out: Path, score_thr: float) -> list[Path]:
    names = FileNames()
    return [_dump(out / f'{names(p.name)}.json', to_json(p, score_thr)) for p in predictions]


def coco_annotations(prediction: Prediction, score_thr: float, image_id: int, first: int = 1) -> list[dict[str, Any]]:
    """The instances of a prediction, or the classes of a segmentation, as COCO annotations, which COCO's results are a part of.

    Args:
        prediction: The prediction.
        score_thr: Leave out instances of a lower score.
        image_id: The number of the image.
        first: The number of the first annotation; the others count on.

    Returns:
        Each with ``id``, ``image_id``, ``category_id`` (the label + 1), ``iscrowd``, ``bbox`` (x, y, width, height in pixels) and
        ``area``; of an instance ``score``; with masks ``segmentation``, compressed run lengths.
    """
    from pycocotools.mask import area, toBbox

    annotations = []
    for number, item in enumerate(_items(prediction, score_thr), start=first):
        annotation = dict(id=number, image_id=image_id, category_id=item['label'] + 1, iscrowd=0)
        if 'box' in item:
            x1, y1, x2, y2 = item['box']
            annotation.update(bbox=[x1, y1, x2 - x1, y2 - y1], area=(x2 - x1) * (y2 - y1), score=item['score'])
        else:
            annotation['bbox'] = toBbox(item['mask']).tolist()
        if 'mask' in item:
            annotation.update(segmentation=item['mask'], area=int(area(item['mask'])))
        annotations.append(annotation)
    return annotations


def _items(prediction: Prediction, score_thr: float) -> list[dict[str, Any]]:
    found = to_json(prediction, score_thr)
    return found['segments' if prediction.is_segmentation else 'instances']


def _coco(predictions: Iterable[Prediction], out: Path, score_thr: float) -> list[Path]:
    images, annotations, classes = [], [], ()
    for image_id, prediction in enumerate(predictions, start=1):
        classes, (height, width) = prediction.classes, prediction.image.shape[:2]
        images.append(dict(id=image_id, file_name=prediction.name, height=height, width=width))
        annotations += coco_annotations(prediction, score_thr, image_id, first=len(annotations) + 1)
    categories = [dict(id=i + 1, name=name) for i, name in enumerate(classes)]
    content = dict(images=images, annotations=annotations, categories=categories)
    return [_dump(out / WHOLE, content)]


def _png(predictions: Iterable[Prediction], out: Path, score_thr: float) -> list[Path]:
    import cv2

    names = FileNames()
    files = []
    for prediction in predictions:
        data = cv2.imencode('.png', _numbered(prediction, score_thr))[1]
        files.append(write_bytes(out / f'{names(prediction.name)}.png', data.tobytes()))
    return files


def _numbered(prediction: Prediction, score_thr: float) -> np.ndarray:
    from pycocotools.mask import decode

    if prediction.is_segmentation:
        return prediction.index_mask
    if 'masks' not in prediction.sample.pred_instances:
        raise ValueError("format='png' needs masks and this detector has none; use 'coco', 'json' or 'labelme'")
    numbers = np.zeros(prediction.image.shape[:2], np.uint16)
    instances = prediction.to_dict(score_thr)['instances']
    for number, instance in reversed(list(enumerate(instances, start=1))):  # the better one stays on top
        numbers[decode(instance['mask']).astype(bool)] = number
    return numbers


def _labelme(predictions: Iterable[Prediction], out: Path, score_thr: float) -> list[Path]:
    names = FileNames()
    files = []
    for prediction in predictions:
        content = labelme_project(prediction, score_thr, out)
        files.append(_dump(out / f'{names(prediction.name)}.json', content))
    return files


def labelme_project(prediction: Prediction, score_thr: float, folder: Path) -> dict[str, Any]:
    """The content of labelme's JSON file: polygons, or boxes where there are no masks.

    Args:
        prediction: That of an image file.
        score_thr: Leave out instances of a lower score.
        folder: Where the file will stand; the image is named relative to it.

    Raises:
        ValueError: If the image is not in a file of its own.
    """
    height, width = prediction.image.shape[:2]
    return dict(
        version='5.0.1',
        flags={},
        shapes=[shape for item in _items(prediction, score_thr) for shape in _shapes(item)],
        imagePath=_image_path(prediction.name, folder),
        imageData=None,
        imageHeight=height,
        imageWidth=width,
    )


def _image_path(name: str, out: Path) -> str:
    """The image as labelme looks for it: from the folder of the JSON file."""
    if not name or split_frame(name)[1]:
        what = f'{name} is a frame of a video' if name else 'an array is none'
        raise ValueError(
            f"format='labelme' refers to image files and {what}; use 'coco' or 'json', or save images first and give these"
        )
    return Path(os.path.relpath(Path(name).resolve(), out.resolve())).as_posix()


def _shapes(item: dict[str, Any]) -> list[dict[str, Any]]:
    common = dict(label=item['class'], group_id=None, flags={}, description='')
    if 'mask' not in item:
        x1, y1, x2, y2 = item['box']
        return [dict(common, shape_type='rectangle', points=[[x1, y1], [x2, y2]])]
    import cv2
    from pycocotools.mask import decode

    contours, _ = cv2.findContours(decode(item['mask']), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    polygons = [contour[:, 0].tolist() for contour in contours if len(contour) >= 3]
    return [dict(common, shape_type='polygon', points=points) for points in polygons]


def _dump(path: Path, content: dict) -> Path:
    return write_text(path, json.dumps(content))


FORMATS: dict[str, Writer] = {
    'coco': _coco,
    'json': _json,
    'png': _png,
    'labelme': _labelme,
}
_SUFFIXES = {'json': '.json', 'png': '.png', 'labelme': '.json'}


def suffix_of(format: str | Writer) -> str:
    """That of the file of each prediction; '' where a format has other files."""
    return _SUFFIXES.get(format, '') if isinstance(format, str) else ''
