"""Check annotations in COCO's form and their images: what training stops at, leaves out or should know."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ..datasets.coco_labels import (
    BAD_BOX,
    BAD_POLYGON,
    BAD_RUNS,
    WRONG_MASK_SIZE,
    box_of,
    has_size,
    is_cut,
    is_ignored,
    mask_of,
    problem,
)
from ..image_windows import MOST_PIXELS
from ..text import shown
from .annotations import (
    NONE_LEARNED,
    NONE_USED,
    AnnotationFile,
    categories_of,
    labelled_as_stored,
    odd_ids,
    place_of,
)
from .check_splits import alike, check_splits
from .data_folder import NOT_READ
from .folder import LEADS_OUT
from .input_scale import InputScale, resized_by
from .palettes import spelling
from .report import ERROR, WARNING, Report, check_image
from .turned_photos import TurnedPhotos

# Of a mistake in numbers the report shows them.
_SHOWN = {BAD_BOX: 'bbox', BAD_POLYGON: 'segmentation', BAD_RUNS: 'segmentation'}


def check_annotations(
    files: Sequence[AnnotationFile], wanted: Sequence[str] | None = None, scale: InputScale | None = None
) -> Report:
    """Check annotations and their images.

    Args:
        files: The files; sizes of images in their content are corrected.
        wanted: The class names of a config that will read them as they are; None for a training by ``--data``, which takes the
            names from the files.
        scale: What training resizes images to, to count box sizes in pixels of its input; None for their own.
    """
    report = Report()
    for item in files:
        for level, entries in (
            (ERROR, item.left_out),
            (ERROR, item.dropped),
            (ERROR, item.doubts),
            (WARNING, item.remarks),
        ):
            for kind, place in entries:
                report.add(level, kind, place)
        for fault, remedy, place in item.repaired:
            if wanted is None:
                report.add(WARNING, f'{fault}, {remedy}', place)
            else:
                report.add(ERROR, f'{fault}, which mmdet does not repair; training by --data does', place)
    try:
        classes, mapping, notes = categories_of(files)
    except ValueError as error:
        report.add(ERROR, 'bad categories', str(error))
        return report
    for kind, text in notes:
        report.add(WARNING, kind, text)
    counts, in_images, seen, sides, turned = Counter(), Counter(), {}, {}, TurnedPhotos()
    of_file: dict[Path, dict[int, int]] = {}
    for (path, number), label in mapping.items():
        of_file.setdefault(path, {})[number] = label
    for item in files:
        for other in _check_images(report, item, turned):
            first = seen.setdefault(other, item)
            if first.split != item.split or wanted is not None and first is not item:
                names = first.path.name, item.path.name
                one, two = (first.split, item.split) if names[0] == names[1] else names
                report.add(ERROR, f'image in {one} and in {two}', other.name)
        labels = of_file.get(item.path, {})
        found = _check_annotations(report, item, labels, wanted is not None, scale, sides.setdefault(item.split, []))
        counts.update(label for labels in found for label in labels)
        in_images.update(label for labels in found for label in set(labels))
    for level, entries in ((ERROR, turned.faults()), (WARNING, turned.remarks(by_config=wanted is not None))):
        for kind, name in entries:
            report.add(level, kind, name)
    report.classes = {name: counts[i] for i, name in enumerate(classes)}
    report.in_images = {name: in_images[i] for i, name in enumerate(classes)}
    for name in classes:
        if not report.classes[name]:
            report.add(WARNING, 'class without annotations', name)
    for one, two in alike(classes):
        report.add(WARNING, 'class names that differ by a letter or two; are they one class?', f'{one!r} and {two!r}')
    trained = next((split for split in ('train', '', 'val', 'test') if split in report.boxes), '')
    if not report.learned and (sound := len(sides.get(trained or None, ()))):
        report.add(ERROR, f'annotations to train on that are all {NONE_LEARNED}', f'all {sound}')
    check_splits(report, files, sides)
    if wanted is not None:
        _check_names(report, files, list(wanted))
    return report


def _check_images(report: Report, item: AnnotationFile, turned: TurnedPhotos) -> list[Path]:
    """Check the images of a file and correct their sizes in its content; return the paths of those that can be read.

    Those that EXIF data turn are added to ``turned``.
    """
    paths = []
    for image in item.content['images']:
        name = str(image.get('file_name'))
        report.images += 1
        if image.get('file_name') in item.outside:
            report.add(ERROR, LEADS_OUT, name)
            continue
        path = item.images.get(image.get('file_name'))
        missing = NOT_READ if image.get('file_name') in item.unread else 'missing image'
        header = check_image(report, path) if path else report.add(ERROR, missing, name)
        if header is None:
            continue
        paths.append(path)
        size = (image.get('width'), image.get('height'))
        if size not in (header.upright, header.stored) and size != (None, None):
            report.add(
                ERROR,
                'size in the labels unlike the image',
                f'{name} ({shown(size[0])}x{shown(size[1])}, not {header.upright[0]}x{header.upright[1]})',
            )
        as_stored = labelled_as_stored(image, header)
        turned.add(name, header, size)
        image['width'], image['height'] = header.stored if as_stored else header.upright
    return paths


def _check_annotations(
    report: Report,
    item: AnnotationFile,
    labels: dict[int, int],
    as_is: bool,
    scale: InputScale | None,
    sides: list[float],
) -> list[list[int]]:
    """Check the annotations of a file, whether or not mmdet will read it as it is; return the classes in each image.

    ``labels`` are the classes of the file's category ids. ``sides`` gets the square root of the share of its image that each sound box has.
    """
    images = {image.get('id'): image for image in item.content['images']}
    category_ids = set(labels)
    found: dict = {number: [] for number in images}
    crowds, learned, lost = Counter(), {}, set(item.lost)
    for position, annotation in enumerate(item.content['annotations']):
        report.labels += 1
        image = images.get(annotation.get('image_id'))
        place = place_of(item, position, image)
        if image is not None and not has_size(image, MOST_PIXELS):
            continue  # its image is missing, which is said already
        reason = problem(annotation, image, category_ids)
        if reason == WRONG_MASK_SIZE:
            size = shown(annotation['segmentation']['size'])
            place += f': {size}, not [{image["height"]}, {image["width"]}]'
        elif reason in _SHOWN:
            place += f': {shown(annotation.get(_SHOWN[reason]))}'
        if reason:
            report.add(ERROR, reason, place)
            lost.add(annotation.get('image_id'))
            continue
        _check_shape(report, annotation, image, place, as_is)
        found[annotation['image_id']].append(labels[annotation['category_id']])
        crowds[annotation['image_id']] += bool(annotation.get('iscrowd'))
        box = box_of(annotation)
        width, height = box[2:]
        across, down = resized_by((image['width'], image['height']), scale)
        report.box_sizes.append((width * across * height * down) ** 0.5)
        if not is_ignored(annotation):
            learned.setdefault(annotation['image_id'], []).append(box)
        sides.append((width * height / (image['width'] * image['height'])) ** 0.5)
    sized = [((images[number]['width'], images[number]['height']), boxes) for number, boxes in learned.items()]
    report.boxes.setdefault(item.split or '', []).extend(sized)
    for kind, place in odd_ids(item):
        report.add(ERROR, kind, place)
    for number, labels in found.items():
        if not labels:
            report.add(
                WARNING,
                NONE_USED if number in lost else 'image without annotations',
                str(images[number].get('file_name')),
            )
        elif crowds[number] == len(labels):
            report.add(WARNING, 'image with crowds only', str(images[number].get('file_name')))
    return list(found.values())


def _check_shape(report: Report, annotation: dict, image: dict, place: str, as_is: bool) -> None:
    if is_cut(box_of(annotation), image):
        report.add(WARNING, 'box partly outside the image', place)
    if annotation.get('segmentation') and mask_of(annotation) is None:
        level = ERROR if as_is and isinstance(annotation['segmentation'], dict) else WARNING
        report.add(level, 'mask of less than three points or broken runs', place)
    if as_is and annotation.get('id') is None:
        report.add(ERROR, 'annotation without id, which mmdet needs; --data fills it in', place)


def _check_names(report: Report, files: Sequence[AnnotationFile], wanted: list[str]) -> None:
    """Compare the category names of the files with those of a config, which mmdet matches to the letter."""
    names = Counter()
    for item in files:
        by_id = {category['id']: str(category['name']) for category in item.content['categories']}
        names.update(by_id[a['category_id']] for a in item.content['annotations'] if a.get('category_id') in by_id)
    total, matched = sum(names.values()), sum(names[name] for name in set(wanted))
    if matched < total:
        like = {spelling(name): name for name in wanted}
        strangers = [name for name in names if name not in wanted]
        pairs = [f'{name!r} is {like[spelling(name)]!r} in the config' for name in strangers if spelling(name) in like]
        rest = [repr(name) for name in strangers if spelling(name) not in like]
        text = '; '.join([*pairs, *([f'{", ".join(rest[:5])} not in the config'] if rest else [])])
        level = ERROR if pairs or not matched else WARNING
        report.add(level, f'{matched} of {total} annotations match the classes of the config', text)
    absent = [name for name in wanted if name not in names]
    if absent and matched:
        report.add(WARNING, 'class of the config without annotations', ', '.join(absent))
