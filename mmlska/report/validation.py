"""What the report of a training keeps of a validation: predictions beside labels of some images, as arrays in one file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmengine.config import Config
from torch import Tensor

from ..analysis.overlaps import pixel_confusion
from ..analysis.predictions import BoxImage, MapImage, Predictions, as_array, classes_of, labelled_image
from ..datasets.coco_labels import draw_mask, mask_fault, mask_of
from ..engine.image_reading import band_reader, picture_reading
from ..files import write_atomically
from ..images import shrink, spread
from .pictures import encode, instance_map, pixels_of

#: At most so many images are counted, and so many shown, both evenly spread over the data set.
MAX_IMAGES, SHOWN = 500, 8
#: Detections of a lower score are neither shown nor in the confusion matrix.
SCORE_THR = 0.3
#: Longest side and most bytes of a picture that is shown.
SIDE, BYTES = 640, 90_000
_BOXES = ('boxes', 'labels', 'scores', 'true_boxes', 'true_labels', 'crowd')


@dataclass(frozen=True, eq=False)
class Shown:
    """An image to show.

    Attributes:
        path: The file; of a classifier the pixels, as base64 of a JPEG.
        found: What was predicted: the class of each pixel, the number of the detection at each pixel (-1 for none), or the class.
        truth: What is labelled, likewise.
        place: Of a detector the number of the image among those with boxes.
    """

    path: str
    found: np.ndarray
    truth: np.ndarray
    place: int = -1


@dataclass(frozen=True, eq=False)
class Validation:
    """What was kept of a validation.

    Attributes:
        task: 'detection', 'segmentation' or 'classification'.
        classes, palette, as_stored, bands: As in :class:`mmlska.analysis.predictions.Predictions`.
        source: Which validation it was.
        total: Number of images in the validation data.
        counted: How many of them are in ``images`` or ``confusion``.
        images: Boxes, of a detector.
        confusion: Pixels or images of each labelled class (rows) by predicted class; empty of a detector.
        shown: Images to show.
    """

    task: str
    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    as_stored: bool
    source: str
    total: int
    counted: int
    images: list[BoxImage]
    confusion: np.ndarray
    shown: list[Shown]
    bands: tuple[int, ...] = ()

    def predictions(self) -> Predictions:
        """The boxes, as the functions of :mod:`mmlska.analysis.errors` take them."""
        return Predictions(self.task, self.classes, self.palette, self.images, {}, self.as_stored, self.bands)


@dataclass
class _Counted:
    task: str = ''
    images: list[BoxImage] = field(default_factory=list)
    confusion: np.ndarray | None = None
    shown: list[Shown] = field(default_factory=list)
    number: int = 0


class ValidationRecord:
    """Collects a validation batch by batch.

    Args:
        dataset: The validation data, in their order.
        cfg: The config of the run.
        every: Number of processes among which the data are dealt; this is the first.
        limit: At most so many images are counted.

    Attributes:
        chosen: Their places in the data set.
    """

    def __init__(self, dataset: Any, cfg: Config, every: int = 1, limit: int = MAX_IMAGES) -> None:
        self._dataset, self._every, self._position = dataset, every, 0
        self._reading, self._bands = picture_reading(cfg), bands_in_pictures(cfg)
        self._classes, self._palette = classes_of(dataset)
        self.chosen = spread(range(0, len(dataset), every), limit)
        self._wanted, self._to_show = set(self.chosen), set(spread(self.chosen, SHOWN))
        self._kept = _Counted()

    def add(self, batch: Any, outputs: Sequence[Any]) -> None:
        """Count the predictions of the next batch; see :meth:`add_one`."""
        images = batch['inputs'] if 'inputs' in batch else [None] * len(outputs)  # those of tiles are not there
        for image, output in zip(images, outputs):
            index, self._position = self._position * self._every, self._position + 1
            if index in self._wanted:
                self.add_one(index, image, output)

    def add_one(self, index: int, image: Tensor | None, output: Any) -> None:
        """Count what was predicted for the image ``index`` of the data set, which went into the preprocessor as ``image``.

        Only of a classifier the image is looked at.

        Raises:
            ValueError: If that is none of boxes, a class map or scores of classes.
        """
        sample = output.to_dict() if hasattr(output, 'to_dict') else dict(output)
        scores = sample.get('scores', sample.get('pred_score'))
        if scores is None:
            self._add_image(labelled_image(sample, self._dataset, index), sample, index)
        else:
            label = sample.get('label', sample.get('gt_label'))
            self._add_class(image, int(as_array(scores).argmax()), int(as_array(label).reshape(-1)[0]), index)
        self._kept.number += 1

    def _add_image(self, image: BoxImage | MapImage, sample: dict, index: int) -> None:
        kept = self._kept
        if isinstance(image, MapImage):
            self._count('segmentation', pixel_confusion(image, len(self._classes)))
            maps = (
                shrink(labels.astype(np.uint8), SIDE, cv2.INTER_NEAREST) for labels in (image.prediction, image.truth)
            )
            if index in self._to_show:
                kept.shown.append(Shown(image.path, *maps))
            return
        kept.task = 'detection'
        kept.images.append(image)
        if index in self._to_show:
            number, masks = int((image.scores >= SCORE_THR).sum()), sample['pred_instances'].get('masks')
            found = np.zeros((0, 0), np.int16)
            if number and hasattr(masks, 'shape'):
                order = np.argsort(-as_array(sample['pred_instances']['scores']), kind='stable')
                found = instance_map(as_array(masks)[order[:number]], SIDE)
            truth = _labelled_masks(self._dataset.get_data_info(index))
            kept.shown.append(Shown(image.path, found, truth, len(kept.images) - 1))

    def _add_class(self, image: Tensor, found: int, truth: int, index: int) -> None:
        confusion = np.zeros((len(self._classes),) * 2, int)
        confusion[truth, found] = 1
        self._count('classification', confusion)
        if index in self._to_show:
            pixels = pixels_of(image, not hasattr(self._dataset, 'get_data_info'), self._bands)
            self._kept.shown.append(Shown(encode(shrink(pixels, SIDE), BYTES), np.array(found), np.array(truth)))

    def _count(self, task: str, confusion: np.ndarray) -> None:
        self._kept.task = task
        self._kept.confusion = confusion if self._kept.confusion is None else self._kept.confusion + confusion

    def save(self, path: Path, source: str) -> None:
        """Write what was collected into an .npz file; ``source`` says which validation it was.

        Raises:
            ValueError: If nothing was.
        """
        kept = self._kept
        if not kept.task:
            raise ValueError('the validation saw no image')
        about = dict(
            task=kept.task,
            classes=self._classes,
            palette=self._palette,
            **self._reading,
            source=source,
            total=len(self._dataset),
            counted=kept.number,
            paths=[image.path for image in kept.images],
            shown=[(shown.path, shown.place) for shown in kept.shown],
        )
        arrays = {'about': np.array(json.dumps(about))}
        if kept.confusion is not None:
            arrays['confusion'] = kept.confusion
        for name in _BOXES if kept.images else ():
            arrays[name] = np.concatenate([getattr(image, name) for image in kept.images])
        arrays['lengths'] = np.array([[len(i.scores), len(i.crowd)] for i in kept.images], int).reshape(-1, 2)
        for number, shown in enumerate(kept.shown):
            arrays[f'found_{number}'], arrays[f'truth_{number}'] = shown.found, shown.truth
        write_atomically(path, lambda name: np.savez_compressed(name, **arrays))


def _labelled_masks(info: dict) -> np.ndarray:
    """The number of the label at each pixel, -1 for none, from what a data set of mmdet says of an image."""
    size = int(info['height']), int(info['width'])
    masks = []
    drawn = shrink(np.zeros(size, np.uint8), SIDE).shape
    for instance in info.get('instances', ()):
        label = {'segmentation': instance.get('mask')}
        mask = mask_of(label)
        sound = mask is not None and mask_fault(mask, size[1], size[0]) is None
        masks.append(draw_mask(label, size, drawn[0] / size[0], drawn) if sound else np.zeros(drawn, bool))
    return instance_map(np.array(masks), SIDE) if masks else np.zeros((0, 0), np.int16)


def bands_in_pictures(cfg: Config) -> tuple[int, ...] | None:
    """Which channels of the images in a batch are shown, for :func:`mmlska.report.pictures.pixels_of`; None for photos."""
    reader = band_reader(cfg)
    return None if reader is None else tuple(reader.shown)


def read_validation(path: Path) -> Validation:
    """Read what :meth:`ValidationRecord.save` wrote.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is another one.
    """
    with np.load(path, allow_pickle=False) as arrays:
        try:
            about = json.loads(str(arrays['about']))
            ends = np.cumsum(arrays['lengths'], axis=0)[:-1]
            parts = {
                name: np.split(arrays[name], ends[:, int(name in _BOXES[3:])])
                for name in _BOXES
                if name in arrays.files
            }
            images = [
                BoxImage(path, *values) for path, *values in zip(about['paths'], *(parts[n] for n in _BOXES if parts))
            ]
            shown = [
                Shown(name, arrays[f'found_{number}'], arrays[f'truth_{number}'], place)
                for number, (name, place) in enumerate(about['shown'])
            ]
            return Validation(
                task=about['task'],
                classes=tuple(about['classes']),
                palette=tuple(tuple(color) for color in about['palette']),
                as_stored=about['as_stored'],
                source=about['source'],
                total=about['total'],
                counted=about['counted'],
                images=images,
                confusion=arrays['confusion'] if 'confusion' in arrays.files else np.zeros((0, 0), int),
                shown=shown,
                bands=tuple(about.get('bands', ())),  # files of earlier versions have none
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f'{path} is no validation of a training: {error}; validate again') from error
