"""Labels whose photos were resized after they were labelled: boxes, outlines and masks follow the photo."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from ..datasets.coco_labels import box_of, decoded, mask_fault, mask_of, resized_runs
from ..images import Header
from ..text import printable, shown
from .annotations import AnnotationFile, is_resized, photo_header, said_size

_NO_SIZE = 'photo whose labels say no size that it can have; that of the file is taken'
_SWAPPED = 'photo whose labels say its height for its width; the size of the file is taken'
_BY_A_PIXEL = 'photo that is a pixel larger or smaller than its labels say'
_NOT_MEANT = 'photo with objects beyond the size that its labels say; that of the file, where they fit, is taken'
_FEW = 0.1  # the share of objects that may be wrong in any set
_SLACK = 1  # pixels that a box may leave its photo
_FARTHEST = 1e9


@dataclass
class _Disagreement:
    """A photo whose file has another size than its labels say."""

    item: int
    image: int
    name: str
    said: tuple[int, int] | None
    header: Header
    boxes: list[Sequence[float]]

    @property
    def swapped(self) -> bool:
        return self.said == self.header.upright[::-1]

    @cached_property
    def size(self) -> tuple[int, int]:
        """That of the file, stored or upright, whichever the labels mean."""
        upright, stored = self.header.upright, self.header.stored
        near = (size for rule in (is_resized, _by_a_pixel) for size in (upright, stored) if rule(self.said, size))
        return next(near, upright) if self.said else upright

    @property
    def place(self) -> str:
        said = 'x'.join(map(str, self.said)) if self.said else 'none'
        return f'{printable(self.name)} ({said} in the labels, {self.size[0]}x{self.size[1]} in the file)'


def rescale_labels(files: Sequence[AnnotationFile]) -> list[AnnotationFile]:
    """Make labels count the pixels of their photos, where these were resized by one factor after they were labelled.

    A size that the labels themselves can't mean gives way to that of the file. Both are remarked. What remains, such as a photo
    that was stretched or cropped, keeps the size that its labels say, which check and training tell.

    Returns:
        The same files with entries of their own for the images.
    """
    out = [_copied(item) for item in files]
    odd = [one for number, item in enumerate(out) for one in _disagreements(number, item)]
    groups: dict[object, list[_Disagreement]] = {}
    for one in odd:
        groups.setdefault('swapped' if one.swapped else one.said, []).append(one)
    remarks: dict[str, list[_Disagreement]] = {}
    scaled = []
    labelled: dict[int, set] = {}  # of each file the ids of the images with annotations, read only where that matters
    for group in groups.values():
        by_boxes = _not_meant(group)
        for one in group:
            if kind := _not_a_size(one) or by_boxes:
                remarks.setdefault(kind, []).append(one)
            elif is_resized(one.said, one.size):
                scaled.append(one)
            else:
                if one.item not in labelled:
                    labelled[one.item] = {a.get('image_id') for a in out[one.item].content['annotations']}
                if _image(out, one).get('id') in labelled[one.item]:
                    continue
            _image(out, one).update(width=one.size[0], height=one.size[1])
    if scaled:
        remarks[_resized(scaled)] = scaled
    for kind, every in remarks.items():
        for one in every:
            out[one.item].remarks.append((kind, one.place))
    _scale(out, scaled)
    return out


def box_said(annotation: dict) -> list[float] | None:
    """Left, top, width and height of an annotation, of which nothing is known yet; None where it has none in plain numbers."""
    box, mask = annotation.get('bbox'), mask_of(annotation)
    if isinstance(box, (list, tuple)) and len(box) == 4 and _are_plain(box):
        return [float(value) for value in box]
    if isinstance(mask, list) and all(isinstance(polygon, list) and _are_plain(polygon) for polygon in mask):
        x, y = ([value for polygon in mask for value in polygon[start::2]] for start in (0, 1))
        return [float(value) for value in (min(x), min(y), max(x) - min(x), max(y) - min(y))]
    if isinstance(mask, dict) and not mask_fault(mask, *reversed(mask['size'])):
        return box_of({'segmentation': mask})
    return None


def same_size(header: Header, size: tuple[int, int]) -> tuple[int, int] | None:
    """The size of a photo, upright or stored, that labels of this size fit, at once or by one factor; None for neither."""
    sizes = header.upright, header.stored
    return size if size in sizes else next((other for other in sizes if is_resized(size, other)), None)


def factor_text(pairs: Iterable[tuple[tuple[int, int], tuple[int, int]]]) -> str:
    """By what sizes were multiplied, such as '0.5' or '0.4 to 0.625'.

    Example:
        >>> factor_text([((80, 60), (40, 30))]), factor_text([((80, 60), (40, 30)), ((40, 30), (80, 60))])
        ('0.5', '0.5 to 2')
    """
    factors = [new[0] / old[0] for old, new in pairs]
    low, high = (f'{value:.3g}' for value in (min(factors), max(factors)))
    return low if low == high else f'{low} to {high}'


def _copied(item: AnnotationFile) -> AnnotationFile:
    content = {**item.content, 'images': [dict(image) for image in item.content['images']]}
    content['annotations'] = list(content['annotations'])
    own = dict(remarks=list(item.remarks), doubts=list(item.doubts), images={**item.images}, lost=set(item.lost))
    return replace(item, content=content, **own)


def _image(files: Sequence[AnnotationFile], one: _Disagreement) -> dict:
    return files[one.item].content['images'][one.image]


def _disagreements(number: int, item: AnnotationFile) -> list[_Disagreement]:
    out = []
    for place, image in enumerate(item.content['images']):
        said = image.get('width'), image.get('height')
        path = item.images.get(image.get('file_name'))
        if path is None or said == (None, None):
            continue
        header = photo_header(item, path)
        if header is None or said in (header.upright, header.stored):
            continue
        size = said_size(image)
        if size in (header.upright, header.stored):  # as text
            image['width'], image['height'] = size
            continue
        name = f'{image["file_name"]}' if size else f'{image["file_name"]}: {shown(said[0])}x{shown(said[1])}'
        out.append(_Disagreement(number, place, name, size, header, []))
    by_id = {item.content['images'][one.image].get('id'): one for one in out}
    for annotation in item.content['annotations'] if out else ():
        one = by_id.get(annotation.get('image_id'))
        if one and (box := box_said(annotation)):
            one.boxes.append(box)
    return out


def _not_a_size(one: _Disagreement) -> str | None:
    """Why the labels of one photo can't mean the size that they say, whatever its objects; None where they can."""
    if one.said is None:
        return _NO_SIZE
    return _BY_A_PIXEL if _by_a_pixel(one.said, one.size) else None


def _not_meant(group: Sequence[_Disagreement]) -> str | None:
    """Why the objects of photos that all say one size, or all say theirs swapped, speak against it; None where they don't."""
    if group[0].said is None:
        return None
    boxes = [(one, box) for one in group for box in one.boxes]
    if group[0].swapped:
        return _SWAPPED if all(_fits(box, one.header.upright) for one, box in boxes) else None
    # The centre of a box is on its photo even where the box leaves it.
    beyond = [(one, box) for one, box in boxes if _centre_is_beyond(box, one.said)]
    fitting = sum(_fits(box, one.size) for one, box in beyond)
    return _NOT_MEANT if beyond and len(beyond) >= _FEW * len(boxes) and fitting >= (1 - _FEW) * len(beyond) else None


def _by_a_pixel(said: tuple[int, int], size: tuple[int, int]) -> bool:
    return max(abs(one - other) for one, other in zip(said, size)) <= 1


def _centre_is_beyond(box: Sequence[float], size: tuple[int, int]) -> bool:
    return box[0] + box[2] / 2 > size[0] + _SLACK or box[1] + box[3] / 2 > size[1] + _SLACK


def _fits(box: Sequence[float], size: tuple[int, int]) -> bool:
    return box[0] + box[2] <= size[0] + _SLACK and box[1] + box[3] <= size[1] + _SLACK


def _resized(scaled: Sequence[_Disagreement]) -> str:
    by = factor_text((one.said, one.size) for one in scaled)
    return f'photo resized after it was labelled; its labels are rescaled by {by}'


def _scale(files: Sequence[AnnotationFile], scaled: Sequence[_Disagreement]) -> None:
    wanted = {(one.item, _image(files, one).get('id')): one for one in scaled}
    for number in {one.item for one in scaled}:
        annotations = files[number].content['annotations']
        for place, annotation in enumerate(annotations):
            one = wanted.get((number, annotation.get('image_id')))
            if one:
                annotations[place] = _scaled(annotation, one.said, one.size)


def _scaled(annotation: dict, said: tuple[int, int], size: tuple[int, int]) -> dict:
    across, down = size[0] / said[0], size[1] / said[1]
    out, box, area, mask = dict(annotation), annotation.get('bbox'), annotation.get('area'), mask_of(annotation)
    if isinstance(box, (list, tuple)) and len(box) == 4 and _are_plain(box):
        out['bbox'] = [value * factor for value, factor in zip(box, (across, down, across, down))]
    if _are_plain([area]):
        out['area'] = area * across * down
    if isinstance(mask, list) and all(isinstance(polygon, list) and _are_plain(polygon) for polygon in mask):
        out['segmentation'] = [[v * (down if i % 2 else across) for i, v in enumerate(polygon)] for polygon in mask]
    elif isinstance(mask, dict) and list(mask['size']) == [said[1], said[0]] and not mask_fault(mask, *said):
        out['segmentation'] = resized_runs(mask, size)
        if out.get('bbox') and not decoded(out['segmentation']).any():  # one of less than a pixel
            del out['segmentation']
    return out


def _are_plain(values: Sequence) -> bool:
    return all(type(value) in (int, float) and abs(value) < _FARTHEST for value in values)
