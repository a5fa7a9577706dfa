"""Repairs of COCO files before anything reads them: training, check, ``--fix`` and ``convert`` see the same annotations.

Each annotation is sound, repaired or dropped. A repair says in :attr:`AnnotationFile.repaired` what was wrong and how it is read, a drop
in :attr:`AnnotationFile.dropped` why. What :func:`mmlska.datasets.coco_labels.problem` says of the rest is dropped by each reader.
"""

from __future__ import annotations

from ..annotations import AnnotationFile
from .areas import compute_areas
from .boxes import boxes_of_masks, compare_with_masks, read_boxes, scale_fractions
from .entries import CocoEntries
from .forms import read_boxes_as_numbers, read_crowds, read_masks_as_numbers, read_sizes, short_outlines
from .ids import (
    annotation_ids,
    join_categories,
    join_images,
    shared_categories,
    shared_images,
    shifted_categories,
    shifted_images,
)
from .runs import fit_runs, read_pairs, turned_sizes

#: In their order: each finds what those before it left.
REPAIRS = (
    shared_images,
    join_images,
    shifted_images,
    join_categories,
    shifted_categories,
    shared_categories,
    annotation_ids,
    read_sizes,
    read_boxes_as_numbers,
    read_masks_as_numbers,
    read_crowds,
    scale_fractions,
    read_pairs,
    turned_sizes,
    fit_runs,
    short_outlines,
    read_boxes,
    boxes_of_masks,
    compare_with_masks,
    compute_areas,
)


def repair_annotations(item: AnnotationFile, *, as_is: bool = False) -> None:
    """Repair or drop the annotations of a file, in place, once the files of its images are known.

    What no repair knows stays as it is, for :func:`mmlska.own_data.annotations.check_entries` and ``problem`` to name.

    Args:
        item: The file.
        as_is: Something else will read the file without repairs: what is missing in all annotations is noted too.
    """
    entries = CocoEntries(item, as_is)
    for repair in REPAIRS:
        repair(entries)
    entries.close()
