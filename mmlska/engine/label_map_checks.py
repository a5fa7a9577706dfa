"""What a data set of mmseg and the step that loads its label maps say of the label 0, and what the label maps hold."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from mmcv.transforms import LoadAnnotations
from torch.utils.data import Dataset

from ..images import spread
from ..log import log
from ..text import printable
from .missing_files import parts_of_dataset

_SAMPLE = 40  # label maps that are looked at
_MOST_CLASSES = 40  # with more, a class may well be in none of those


def check_zero_label(dataset: Dataset, split: str) -> None:
    """Make sure that a data set and its pipeline agree whether the label 0 is a class; warn where the labels look like it.

    Raises:
        ValueError: If they do not agree.
    """
    for part in parts_of_dataset(dataset):
        for step in _loaders(part):
            given = step.reduce_zero_label
            if given is not None and given != part.reduce_zero_label:
                raise ValueError(
                    f'{split} data: reduce_zero_label is {part.reduce_zero_label} in the data set ({type(part).__name__}) and {given} in '
                    f'{type(step).__name__} of its pipeline; set the same in both: False if label 0 is a class, True if it is none'
                )
            if split == 'train' and part.reduce_zero_label and (warning := _without_last(part, step)):
                log(warning, logging.WARNING)


def _loaders(dataset: Any) -> list[Any]:
    """The steps of a pipeline that load label maps as mmseg does."""
    steps = getattr(getattr(dataset, 'pipeline', None), 'transforms', ())
    fits = hasattr(dataset, 'reduce_zero_label')
    return [s for s in steps if fits and isinstance(s, LoadAnnotations) and hasattr(s, 'reduce_zero_label')]


def _without_last(dataset: Any, step: Any) -> str | None:
    """What to say if the last class has no pixel after the labels went down by one, as where they counted from 0."""
    classes = dataset.metainfo.get('classes') or ()
    if not 1 < len(classes) <= _MOST_CLASSES or getattr(dataset, 'label_map', None):
        return None
    largest, places = -1, spread(range(len(dataset)), _SAMPLE)
    for index in places:
        try:
            labels = step(dataset.get_data_info(index))['gt_seg_map']
        except Exception:  # whatever a decoder makes of a broken file, which training names
            continue
        largest = max([largest, *np.unique(labels[labels < len(classes)]).tolist()])
    if not 0 <= largest == len(classes) - 2:
        return None
    return (
        f'with reduce_zero_label=True, label 0 is no class and label 1 is {printable(classes[0])}, and then '
        f'{printable(classes[-1])} has no pixel in {len(places)} label maps of the train data; if label 0 is {printable(classes[0])}, '
        'set reduce_zero_label=False in the data sets'
    )
