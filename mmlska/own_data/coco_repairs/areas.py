"""The areas of objects: evaluators count small, medium and large ones by them."""

from __future__ import annotations

from ...datasets.coco_labels import area_of
from .entries import CocoEntries, within


def compute_areas(file: CocoEntries) -> None:
    """Areas that are missing, no numbers, the same for all, or far from those of mask and box."""
    every = ((position, annotation, within(annotation['bbox'], size)) for position, annotation, size in file.boxes())
    found = [entry for entry in every if min(entry[2][2:]) > 0]
    # A file without any area is meant so, see docs/own_data.md.
    quiet = not file.as_is and not any('area' in annotation for _, annotation in file.kept())
    areas = {annotation['area'] for _, annotation, _ in found if type(annotation.get('area')) in (int, float)}
    of_boxes = [width * height for _, _, (_, _, width, height) in found]
    constant = len(areas) == 1 and len(found) > 1 and max(of_boxes) > 1.5 * min(of_boxes)
    for position, annotation, box in found:
        area = annotation.get('area')
        if 'area' not in annotation or area is None:
            fault = 'annotation without area'
        elif constant:
            fault = 'one area for all annotations'
        elif _is_far(file, annotation, area, box):
            fault = 'area far from that of mask and box'
        else:
            continue
        annotation.pop('area', None)
        extent = file.extent(annotation)
        annotation['area'] = box[2] * box[3] if extent is None else area_of(annotation, box)
        if not quiet:
            file.repaired(fault, 'computed from mask or box', position)


def _is_far(file: CocoEntries, annotation: dict, area: object, box: list[float]) -> bool:
    if type(area) not in (int, float) or not 0 < area < 1e15:
        return True
    whole = annotation['bbox'][2] * annotation['bbox'][3]
    limit = 1.02 * whole + 2 * sum(box[2:]) + 4  # masks may count the pixels of both sides
    if area > limit:
        return True
    # Where the area is that of the box, which many tools write, it is meant.
    if abs(area - whole) <= 1 + whole / 50:
        return False
    areas = file.areas(annotation)
    if areas is None:  # a thin object has a small part of its box; less than a pixel is a share of the image
        return area < min(1, whole / 200)
    return not areas[0] / 2 - 4 <= area <= 2 * areas[1] + 4
