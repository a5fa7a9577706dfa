"""What is labelled in the training and validation data of a run, counted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..engine.ignored_label import ignored_by
from ..images import spread

#: At most so many images of a split are looked at, evenly spread: entries of a COCO file, or label maps, which are read.
MAX_IMAGES, MAX_MAPS = 20_000, 100


@dataclass(frozen=True, eq=False)
class LabelCounts:
    """The labels of one split.

    Attributes:
        unit: What ``counts`` counts: 'objects', 'pixels' or 'images'.
        total: Number of images in the split.
        looked_at: How many of them were counted.
        counts: For each class.
        images: For each class the number of images that have it.
        sizes: Width and height of each box in pixels of its file, (N, 2); of a detector only.
    """

    unit: str
    total: int
    looked_at: int
    counts: np.ndarray
    images: np.ndarray
    sizes: np.ndarray


def count_labels(dataset: Any, num_classes: int) -> LabelCounts:
    """Count the labels of a data set of mmdet, mmseg, mmpretrain or this package, without its images.

    Crowds and other labels that training ignores are not counted.

    Raises:
        ValueError: If it is none of these.
    """
    # One that repeats another has each image many times, one of tiles each object.
    while hasattr(dataset, 'dataset') and (hasattr(dataset, 'times') or hasattr(dataset, 'tile')):
        dataset = dataset.dataset
    labels = getattr(dataset, 'labels', None)
    if labels is not None:  # photos in memory
        counts = np.bincount(np.asarray(labels), minlength=num_classes)
        return LabelCounts('images', len(dataset), len(dataset), counts, counts, np.zeros((0, 2)))
    if hasattr(dataset, 'full_init'):
        dataset.full_init()
    if not hasattr(dataset, 'get_data_info'):
        raise ValueError(f'a {type(dataset).__name__} does not tell its labels')
    first = dataset.get_data_info(0)
    if 'instances' in first:
        return _objects(dataset, num_classes)
    if first.get('seg_map_path'):
        return _pixels(dataset, num_classes)
    if 'gt_label' in first:
        chosen = spread(range(len(dataset)), MAX_IMAGES)
        labels = np.concatenate([np.reshape(dataset.get_data_info(i)['gt_label'], -1) for i in chosen]).astype(int)
        counts = np.bincount(labels, minlength=num_classes)
        return LabelCounts('images', len(dataset), len(chosen), counts, counts, np.zeros((0, 2)))
    raise ValueError(f'a {type(dataset).__name__} has no boxes, label maps or classes of images')


def _objects(dataset: Any, num_classes: int) -> LabelCounts:
    chosen = spread(range(len(dataset)), MAX_IMAGES)
    counts, images, boxes = np.zeros(num_classes, int), np.zeros(num_classes, int), []
    for index in chosen:
        wanted = [item for item in dataset.get_data_info(index)['instances'] if not item.get('ignore_flag')]
        found = np.bincount([item['bbox_label'] for item in wanted], minlength=num_classes)
        counts, images = counts + found, images + (found > 0)
        boxes += [item['bbox'] for item in wanted]
    corners = np.array(boxes, float).reshape(-1, 4)
    return LabelCounts('objects', len(dataset), len(chosen), counts, images, corners[:, 2:] - corners[:, :2])


def _pixels(dataset: Any, num_classes: int) -> LabelCounts:
    chosen, counts = spread(range(len(dataset)), MAX_MAPS), np.zeros(num_classes, int)
    images = np.zeros(num_classes, int)
    read, ignored = next(_label_readers(dataset), None), ignored_by(dataset)
    if read is None:
        raise ValueError('its pipeline reads no label maps')
    for index in chosen:
        labels = read(dict(dataset.get_data_info(index), seg_fields=[]))['gt_seg_map']
        found = np.bincount(labels[labels != ignored].ravel(), minlength=num_classes)[:num_classes]
        counts, images = counts + found, images + (found > 0)
    return LabelCounts('pixels', len(dataset), len(chosen), counts, images, np.zeros((0, 2)))


def _label_readers(dataset: Any) -> Iterator[Any]:
    """The steps of a data set's pipeline, or of one inside it, that read label maps."""
    for step in getattr(getattr(dataset, 'pipeline', None), 'transforms', ()):
        if 'Load' in type(step).__name__ and 'Annotations' in type(step).__name__:
            yield step
    for inner in (getattr(dataset, 'dataset', None), *(getattr(dataset, 'datasets', None) or ())):
        if inner is not None:
            yield from _label_readers(inner)
